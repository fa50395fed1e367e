"""Lowering rules: affines, activations, sums and products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Shape
from bnfold.core.transfer import (
    Commute,
    Concat,
    Contraction,
    Form,
    Join,
    Opaque,
    Sign,
    Source,
    Sum,
    Transfer,
)
from bnfold.formats.keras.dtypes import gives_floats
from bnfold.formats.keras.geometry import axes_of
from bnfold.formats.keras.graph import epsilon_of, stated_numbers
from bnfold.formats.keras.lower_view import Held, Holder, Value, View

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def identity(view: View) -> Value:
    """Nothing happens at inference."""
    return view.op(Commute(), [view.input], view.input.shape)


def random_only(view: View) -> Value:
    """Nothing happens at inference, unless it is called as in training."""
    # What Keras 3 predicts does not heed it, and its augmenting layers always state it.
    if view.kwargs.get("training") is True and view.generation == 2:
        return view.op(Opaque(Reason.TRAINING_MODE, "dropout at work"), [view.input], None)
    x, dtype = view.input, view.layer.policy.compute
    if x.dtype not in _FLOATS and gives_floats(view.layer.class_name, view.generation):
        return view.op(Opaque(detail=_OF_WHOLE), [x], x.shape, dtype=dtype)
    return identity(view)


def auto_contrast(view: View) -> Value:
    """AutoContrast: what it does depends on the image."""
    x = view.input
    return view.op(
        Opaque(detail="it stretches each image over the whole range"),
        [x],
        x.shape,
        dtype=view.layer.policy.compute,
    )


def shape_keeper(view: View) -> Value:
    """UnitNormalization, Masking: nothing passes; the shape is that of the input."""
    return view.op(Opaque(Reason.ACTIVATION, "it is not linear"), view.inputs, view.input.shape)


# -- affines -------------------------------------------------------------------------------


def batch_norm(view: View) -> Value:
    """BatchNormalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``."""
    x, config = view.input, view.config
    if view.kwargs.get("training") is True and config.get("trainable", True):
        return _no_affine(view, Reason.TRAINING_MODE, "it is called with training=True")
    if x.shape is None:
        return _no_affine(view, Reason.UNKNOWN_SHAPE, "the rank of its input is not known")
    roles = ["moving_mean", "moving_variance"]
    arrays = {role: _float64(view, role) for role in [*roles, "gamma", "beta"]}
    mean, variance = arrays["moving_mean"], arrays["moving_variance"]
    if mean is None or variance is None:
        return _no_affine(view, Reason.UNREADABLE_CONSTANT, "its statistics are missing")
    gamma = np.ones_like(mean) if arrays["gamma"] is None else arrays["gamma"]
    beta = np.zeros_like(mean) if arrays["beta"] is None else arrays["beta"]
    epsilon = epsilon_of(config, view.layer.policy.compute)
    spread = variance + epsilon
    bad = np.flatnonzero(~(spread.reshape(-1) > 0))
    if bad.size:
        nan = bool(np.isnan(spread).any())
        detail = f"channel {bad[0]}: variance {variance.reshape(-1)[bad[0]]:g}"
        return _no_affine(view, Reason.NOT_FINITE if nan else Reason.NONPOSITIVE_VARIANCE, detail)
    scale = gamma / np.sqrt(spread)
    shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return _no_affine(view, Reason.NOT_FINITE, "")
    rank = len(x.shape)
    axes = sorted(axes_of(config.get("axis", -1), rank))
    wide = along(x.shape, axes, mean)
    affine = Affine.of(scale.reshape(wide), shift.reshape(wide), rank)
    single = len(axes) == 1
    hold = _batch_norm_holder(mean.shape, axes[0]) if single else None
    source = _norm(affine, axes[0]) if single else Source(affine, Form.FIXED, axis=axes[0])
    return view.op(source, [x], x.shape, hold=hold)


def _norm(affine: Affine, axis: int) -> Source:
    """A layer that stays one of its kind whatever it holds."""
    return Source(affine, Form.NORM, axis=axis, keeps=True)


# With the variance that goes with it a spread of 1, exactly so in every type of float. (Older
# TensorFlows take 1.001e-5 for any that is smaller.)
_PLAIN_EPSILON = 2.0**-8


def _batch_norm_holder(shape: tuple[int, ...], axis: int) -> Holder:
    """Gamma is the scale and beta the shift.

    The layer's own statistics would have to be divided out, and rounding would leave a scale
    beside 1 where there is none.
    """

    def hold(affine: Affine) -> Held | None:
        if any(size != 1 for place, size in enumerate(affine.shape) if place != axis):
            return None
        arrays = {
            "gamma": np.broadcast_to(affine.scale.reshape(-1), shape),
            "beta": np.broadcast_to(affine.shift.reshape(-1), shape),
            "moving_mean": np.zeros(shape),
            "moving_variance": np.full(shape, 1.0 - _PLAIN_EPSILON),
        }
        return Held(arrays, {"epsilon": _PLAIN_EPSILON})

    return hold


def along(shape: Shape, axes: Sequence[int], array: Array) -> tuple[int, ...]:
    """The shape that spreads the axes of ``array`` over ``axes`` of a value."""
    if array.ndim == len(shape):
        return array.shape
    sizes = dict(zip(axes, array.shape, strict=True))
    return tuple(sizes.get(axis, 1) for axis in range(len(shape)))


def _no_affine(view: View, reason: Reason, detail: str) -> Value:
    """Something that looks like an affine and cannot be used as one."""
    transfer = Opaque(reason, detail, candidate=True)
    kind = view.layer.policy.compute
    return view.op(transfer, [view.input], view.input.shape, dtype=kind)


def _float64(view: View, role: str) -> Array | None:
    array = view.layer.weights.get(role)
    return None if array is None else array.read().astype(np.float64)


def normalization(view: View) -> Value:
    """Normalization: ``(x - mean) / max(sqrt(variance), 1e-7)``, or its inverse."""
    x, config = view.input, view.config
    if x.shape is None:
        return _no_affine(view, Reason.UNKNOWN_SHAPE, "the rank of its input is not known")
    if x.dtype not in _FLOATS:
        return _no_affine(view, Reason.NARROWER_TYPE, _OF_WHOLE)
    rank = len(x.shape)
    stated = config.get("axis", -1)
    axes = [] if stated is None else sorted(axes_of(stated, rank))
    found = [_statistic(view, role) for role in ("mean", "variance")]
    if found[0] is None or found[1] is None:
        return _no_affine(view, Reason.UNREADABLE_CONSTANT, "its statistics are missing")
    mean, variance = (_spread(array, axes, rank) for array in found if array is not None)
    spread = np.maximum(np.sqrt(variance), 1e-7)
    if not (np.isfinite(spread).all() and np.isfinite(mean).all()):
        return _no_affine(view, Reason.NOT_FINITE, "")
    if config.get("invert"):
        affine = Affine.of(spread, mean, rank)
    else:
        affine = Affine.of(1.0 / spread, -mean / spread, rank)
    hold = _rescaling_holder(view, rank, "Rescaling")
    return view.op(_norm(affine, rank - 1), [x], x.shape, hold=hold)


# Other layers take whole numbers as they are, and some cannot: this one has to stay.
_OF_WHOLE = "it also makes floating-point numbers of whole ones"


def _statistic(view: View, role: str) -> Array | None:
    stated = view.config.get(role)
    if stated is None:
        return _float64(view, role)
    return stated_numbers(stated, exact=view.generation == 2)


def _spread(array: Array, axes: Sequence[int], rank: int) -> Array:
    if array.ndim == rank:
        return array
    shape = [1] * rank
    for size, axis in zip(reversed(array.shape), reversed(axes), strict=False):
        shape[axis] = size
    return array.reshape(shape)


def rescaling(view: View) -> Value:
    """Rescaling: ``x * scale + offset``, by numbers or by one per element of the last axes."""
    x = view.input
    if x.shape is None:
        return _no_affine(view, Reason.UNKNOWN_SHAPE, "the rank of its input is not known")
    scale, offset = (stated_numbers(view.config.get(key, 0.0)) for key in ("scale", "offset"))
    affine = Affine.of(scale, offset, len(x.shape))
    if not affine.is_finite:
        return _no_affine(view, Reason.NOT_FINITE, "")
    if x.dtype not in _FLOATS:
        return _no_affine(view, Reason.NARROWER_TYPE, _OF_WHOLE)
    rank = len(x.shape or ())
    return view.op(_norm(affine, rank - 1), [x], x.shape, hold=_rescaling_holder(view, rank, ""))


def _rescaling_holder(view: View, rank: int, class_name: str) -> Holder:
    """A Rescaling can hold numbers, and vectors along the last axis: numbers of float32."""
    wide = view.layer.policy.compute == "float64"

    def hold(affine: Affine) -> Held | None:
        if any(size != 1 for size in affine.shape[: rank - 1]):
            return None
        numbers = affine.scale, affine.shift
        if wide and any((stated_numbers(one) != one).any() for one in numbers):
            return None
        settings = {
            "scale": _plain(affine.scale),
            "offset": _plain(affine.shift),
        }
        return Held({}, settings, class_name)

    return hold


def _plain(array: Array) -> Any:
    """A number where there is one only, else a list."""
    flat = array.reshape(-1)
    return float(flat[0]) if flat.size == 1 else [float(one) for one in flat]


def layer_scale(view: View) -> Value:
    """LayerScale of ConvNeXt: a factor per channel of the last axis."""
    x, gamma = view.input, _float64(view, "gamma")
    if x.shape is None or gamma is None:
        return _no_affine(view, Reason.UNKNOWN_SHAPE, "")

    def hold(affine: Affine) -> Held | None:
        if not affine.is_scale or any(size != 1 for size in affine.shape[:-1]):
            return None
        return Held({"gamma": np.broadcast_to(affine.scale.reshape(-1), gamma.shape)})

    source = Source(Affine.of(gamma, 0.0, len(x.shape)), Form.MUL)
    return view.op(source, [x], x.shape, hold=hold)


# -- activations ---------------------------------------------------------------------------


def homogeneous(title: str) -> Commute:
    """f(s * x) = s * f(x) for s >= 0."""
    return Commute(
        sign=Sign.NOT_NEGATIVE,
        shift_blocked=Reason.ACTIVATION_SHIFT,
        detail=f"{title} passes a scale, not a shift",
    )


_HOMOGENEOUS = frozenset({"relu", "leaky_relu"})
_NOTHING = frozenset({"linear"})


def activation_transfer(name: str) -> Transfer | None:
    """How an activation treats an affine; None for none at all."""
    if name in _NOTHING:
        return None
    if name in _HOMOGENEOUS:
        return homogeneous(name)
    return Opaque(Reason.ACTIVATION, f"{name} is not linear")


def _name_of(spec: Any) -> str:
    if spec is None:
        return "linear"
    if isinstance(spec, dict):
        if spec.get("class_name") == "function":
            return str(spec.get("config"))
        return str(spec.get("class_name", "?"))
    return str(spec)


def activate(view: View, x: Value) -> Value:
    """The activation that is part of a layer: a second step."""
    spec = view.config.get("activation")
    name = _name_of(spec)
    if isinstance(spec, dict) and name in _LAYERS:
        transfer: Transfer | None = _LAYERS[name](dict(spec.get("config") or {}))
    else:
        transfer = activation_transfer(name)
    if transfer is None:
        return x
    return view.op(transfer, [x], x.shape, suffix="activation", op_type=name)


def activation(view: View) -> Value:
    """Activation."""
    name = _name_of(view.config.get("activation"))
    transfer = activation_transfer(name)
    return view.op(transfer or Commute(), [view.input], view.input.shape)


def _relu(config: Mapping[str, Any]) -> Transfer:
    if config.get("max_value") is not None or config.get("threshold"):
        return Opaque(Reason.ACTIVATION, "a bounded ReLU is not linear")
    return homogeneous("ReLU")


_LAYERS: Mapping[str, Callable[[Mapping[str, Any]], Transfer]] = {
    "ELU": lambda config: Opaque(Reason.ACTIVATION, "ELU is not linear"),
    "LeakyReLU": lambda config: homogeneous("LeakyReLU"),
    "PReLU": lambda config: homogeneous("PReLU"),
    "ReLU": _relu,
    "Softmax": lambda config: Opaque(Reason.ACTIVATION, "Softmax is not linear"),
    "ThresholdedReLU": lambda config: Opaque(Reason.ACTIVATION, "it is not linear"),
}


def activation_layer(view: View) -> Value:
    """ReLU, LeakyReLU, PReLU, ELU, Softmax."""
    transfer = _LAYERS[view.layer.class_name](view.config)
    return view.op(transfer, [view.input], view.input.shape)


# -- merges --------------------------------------------------------------------------------


def broadcast(values: Sequence[Value]) -> Shape | None:
    """The shape of an elementwise result; None where a rank is not known."""
    shapes = [one.shape for one in values if one.shape is not None]
    if len(shapes) < len(values) or not shapes:
        return None
    rank = max(len(shape) for shape in shapes)
    result: list[int | str | None] = []
    for axis in range(-rank, 0):
        dims = [shape[axis] for shape in shapes if -axis <= len(shape)]
        wide = [dim for dim in dims if dim != 1]
        known = [dim for dim in wide if isinstance(dim, int)]
        result.append(known[0] if known else wide[0] if wide else 1)
    return tuple(result)


def _same_rank(values: Sequence[Value]) -> bool:
    """Keras lets merging layers bring ranks together by rules of its own."""
    return len({one.rank for one in values}) == 1 and values[0].rank is not None


def weighted_sum(*signs: float) -> Callable[[View], Value]:
    """Add, Subtract; Average where no signs are given."""

    def rule(view: View) -> Value:
        values = view.inputs
        if not _same_rank(values):
            return view.op(Opaque(Reason.UNKNOWN_SHAPE), values, broadcast(values))
        weights = signs or (1.0 / len(values),) * len(values)
        if len(weights) < len(values):
            weights = (*weights, *weights[-1:] * (len(values) - len(weights)))
        return view.op(Sum(tuple(range(len(values))), weights), values, broadcast(values))

    return rule


def custom_scale(view: View) -> Value:
    """CustomScaleLayer of InceptionResNetV2: the first plus a multiple of the second."""
    values = view.inputs
    if len(values) != 2 or not _same_rank(values):
        return view.op(Opaque(Reason.UNKNOWN_SHAPE), values, broadcast(values))
    factor = float(view.config.get("scale", 1.0))
    return view.op(Sum((0, 1), (1.0, factor)), values, broadcast(values))


def _left_out(view: View) -> bool:
    """Whether Keras 3 may leave masked elements out of what it merges."""
    return view.generation == 3 and any(one.masked for one in view.inputs)


def extremum(view: View) -> Value:
    """Maximum, Minimum."""
    values = view.inputs
    transfer = Join(tuple(range(len(values))), Sign.NOT_NEGATIVE)
    usable = _same_rank(values) and not _left_out(view)
    return view.op(transfer if usable else Opaque(), values, broadcast(values))


def concatenate(view: View) -> Value:
    """Concatenate."""
    values = view.inputs
    shape = broadcast([])
    if not _same_rank(values):
        return view.op(Opaque(Reason.UNKNOWN_SHAPE), values, shape)
    first = values[0].shape
    assert first is not None
    axis = int(view.config.get("axis", -1)) % len(first)
    dims = [one.shape[axis] for one in values if one.shape is not None]
    sizes = tuple(dim if isinstance(dim, int) else None for dim in dims)
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else view.builder.fresh_dim()
    return view.op(Concat(axis, sizes), values, (*first[:axis], total, *first[axis + 1 :]))


def multiply(view: View) -> Value:
    """Multiply of two computed values: each is the other's kernel."""
    values = view.inputs
    shape = broadcast(values)
    if len(values) != 2 or shape is None or not _same_rank(values) or _left_out(view):
        return view.op(Opaque(detail="a product of computed values"), values, shape)
    return view.op(product_of(values, shape), values, shape)


def dot(view: View) -> Value:
    """Dot: one axis of each of two computed values is summed over, sample by sample."""
    values, config = view.inputs, view.config
    ranks = [one.rank or 0 for one in values]
    if len(values) != 2 or not all(2 <= rank <= 3 for rank in ranks):
        return view.op(Opaque(detail="a product of computed values"), values, None)
    stated = config.get("axes", -1)
    pair = list(stated) if isinstance(stated, (list, tuple)) else [stated, stated]
    summed = [int(axis) % rank for axis, rank in zip(pair, ranks, strict=True)]
    sides: list[Axes] = []
    lead: list[tuple[str, ...]] = []
    dims: list[int | str | None] = []
    for place, (one, axis) in enumerate(zip(values, summed, strict=True)):
        names = [("k",) if i == axis else (f"s{place}_{i}",) for i in range(one.rank or 0)]
        names[0] = ("b",)
        sides.append(tuple(names))
        kept = [i for i in range(1, one.rank or 0) if i != axis]
        lead += [names[i] for i in kept]
        dims += [(one.shape or ())[i] for i in kept]
    if not lead:
        lead, dims = [()], [1]
    shape = ((values[0].shape or ())[0], *dims)
    if config.get("normalize"):
        return view.op(Opaque(detail="a product of computed values"), values, shape)
    y: Axes = (("b",), *lead)
    sizes = {
        names[0]: dim
        for axes, one in zip(
            (*sides, y), (*(one.shape or () for one in values), shape), strict=True
        )
        for names, dim in zip(axes, one, strict=True)
        if names and isinstance(dim, int)
    }
    return view.op(Contraction(Labels(sides[0], sides[1], y, sizes)), values, shape)


def product_of(values: Sequence[Value], shape: Shape) -> Contraction:
    """Element by element: each axis of the result has one label."""
    y: Axes = tuple((f"a{i}",) if dim != 1 else () for i, dim in enumerate(shape))
    x, w = (_aligned(one.shape or (), shape, y) for one in values)
    sizes = {
        names[0]: dim for names, dim in zip(y, shape, strict=True) if names and isinstance(dim, int)
    }
    return Contraction(Labels(x, w, y, sizes))


def _aligned(shape: Shape, out: Shape, y: Axes) -> Axes:
    offset = len(out) - len(shape)
    return tuple(
        y[offset + i] if dim is not None and dim == out[offset + i] else ()
        for i, dim in enumerate(shape)
    )
