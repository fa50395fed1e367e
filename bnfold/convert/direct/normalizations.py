"""Normalizations: by fixed numbers (BatchNormalization, Rescaling, ...) and by each sample's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant, reshape, value
from bnfold.convert.direct.ops import cast, elementwise, reduce, scalar, scale_shift, unary
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Form, Shape, Tensor, permuted, plain, size
from bnfold.formats.keras.geometry import axes_of
from bnfold.formats.keras.graph import AnyArray, epsilon_of, stated_numbers

_SMALL = ("float16", "bfloat16")


def in_float32(site: Site, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Keras computes these in float32 even where the layer's dtype is smaller."""
    if x.dtype not in _SMALL:
        return function(x)
    return cast(site, function(cast(site, x, "float32")), x.dtype)


def _own(x: Tensor) -> str:
    """The dtype in which `in_float32` computes, and has its parameters."""
    return "float32" if x.dtype in _SMALL else x.dtype


def batch_norm(site: Site) -> Tensor:
    """BatchNormalization with its moving statistics.

    One ONNX BatchNormalization where its channels stand on ONNX's axis 1; else Mul and Add by
    constants, rounded once from float64.
    """
    x = site.input
    config = site.config
    axes = axes_of(config.get("axis", -1), x.rank)
    if site.is_training and config.get("trainable", True):
        raise site.unsupported("is called with training=True, so it uses the batch's statistics")
    broadcast = [_known(site, x.shape[axis]) if axis in axes else 1 for axis in range(x.rank)]
    shape = [broadcast[axis] for axis in axes] if len(axes) == 1 else broadcast
    own = _own(x)
    mean = site.weight("moving_mean", shape, own)
    variance = site.weight("moving_variance", shape, own)
    gamma = site.weight("gamma", shape, own) if config.get("scale", True) else None
    beta = site.weight("beta", shape, own) if config.get("center", True) else None
    epsilon = epsilon_of(config, x.dtype)
    form = x.form
    if len(axes) == 1 and x.rank > 1 and form.axis(axes[0]) == 1:
        return _norm_op(site, x, form, (gamma, beta, mean, variance), epsilon)
    wide = variance.astype(np.float64) + epsilon
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = (1.0 if gamma is None else gamma.astype(np.float64)) / np.sqrt(wide)
        shift = (0.0 if beta is None else beta.astype(np.float64)) - mean * scale
    arrays = scale.reshape(broadcast), shift.reshape(broadcast)
    y = in_float32(site, x, lambda wide: scale_shift(site, wide, *arrays))
    return y


def _norm_op(
    site: Site,
    x: Tensor,
    form: Form,
    arrays: tuple[AnyArray | None, AnyArray | None, AnyArray, AnyArray],
    epsilon: float,
) -> Tensor:
    gamma, beta, mean, variance = arrays
    if x.dtype == "float64":
        # The attribute has float32's digits only; the rest goes to the variance.
        variance = variance + (epsilon - float(np.float32(epsilon)))
    gamma = np.ones_like(mean) if gamma is None else gamma
    beta = np.zeros_like(mean) if beta is None else beta
    if form.flat:
        *space, channels = form.flat
        gamma, beta, mean, variance = (
            np.moveaxis(one.reshape(*space, channels), -1, 0).reshape(-1)
            for one in (gamma, beta, mean, variance)
        )
    # Before opset 15 all operands have one dtype, and Keras computes in float32.
    narrow = x.dtype in _SMALL and site.opset < 15
    data = cast(site, x, "float32") if narrow else x
    named = zip(
        ("gamma", "beta", "moving_mean", "moving_variance"),
        (gamma, beta, mean, variance),
        strict=True,
    )
    made = site.node(
        "BatchNormalization",
        [value(site, data, form), *(site.constant(array, name) for name, array in named)],
        (data.dtype, permuted(x.shape, form)),
        epsilon=epsilon,
    )
    y = Tensor(x.shape, data.dtype, {form: made})
    y = cast(site, y, x.dtype)
    return y


def normalization(site: Site) -> Tensor:
    """Normalization: ``(x - mean) / max(sqrt(variance), 1e-7)``, or its inverse."""
    x = site.input
    config = site.config
    axis = config.get("axis", -1)
    axes = [] if axis is None else sorted(axes_of(axis, x.rank))
    broadcast = [1] * x.rank
    for one in axes:
        broadcast[one] = _known(site, x.shape[one])
    if config.get("mean") is not None:
        mean, variance = (
            _aligned(site, config[key], axes, broadcast) for key in ("mean", "variance")
        )
    else:
        shape = [broadcast[one] for one in axes]
        mean, variance = (
            site.weight(key, shape).reshape(broadcast) for key in ("mean", "variance")
        )
    spread = np.maximum(np.sqrt(variance), np.asarray(1e-7, dtype=variance.dtype))
    if config.get("invert"):
        y = elementwise(site, "Mul", x, constant(spread))
        return elementwise(site, "Add", y, constant(mean))
    y = elementwise(site, "Sub", x, constant(mean))
    return elementwise(site, "Div", y, constant(spread))


def _aligned(site: Site, stated: Any, axes: Sequence[int], broadcast: Sequence[int]) -> AnyArray:
    """A mean or variance from the config, set against the axes that it is kept for."""
    numbers = stated_numbers(stated, exact=site.generation == 2)
    array = numbers.astype(site.number(0.0, site.dtype).dtype)
    if array.ndim == len(broadcast):
        return np.broadcast_to(array, broadcast)
    shape = [1] * len(broadcast)
    for count, axis in zip(reversed(array.shape), reversed(axes), strict=False):
        shape[axis] = count
    return np.broadcast_to(array.reshape(shape), broadcast)


def rescaling(site: Site) -> Tensor:
    """Rescaling: ``x * scale + offset``, numbers or one per channel of the last axis."""
    config = site.config
    scale, offset = (stated_numbers(config.get(key, default)) for key, default in _RESCALING)
    return scale_shift(
        site, site.input, None if np.all(scale == 1) else scale, offset if offset.any() else None
    )


_RESCALING = (("scale", 1.0), ("offset", 0.0))


def layer_norm(site: Site) -> Tensor:
    """LayerNormalization over one axis or several."""
    x = site.input
    config = site.config
    if config.get("rms_scaling"):
        raise site.unsupported("uses the older RMS scaling")
    axes = sorted(axes_of(config.get("axis", -1), x.rank))
    shape = [_known(site, x.shape[axis]) for axis in axes]
    gamma = site.weight("gamma", shape, _own(x)) if config.get("scale", True) else None
    beta = site.weight("beta", shape, _own(x)) if config.get("center", True) else None
    epsilon = float(config.get("epsilon", 1e-3))
    last = list(range(x.rank - len(axes), x.rank))

    def normalize(data: Tensor) -> Tensor:
        if axes == last and site.opset >= 17:
            return layer_norm_op(site, data, shape, gamma, beta, epsilon)
        wide = [size if axis in axes else 1 for axis, size in enumerate(_sizes(x.shape))]
        return _standardized(
            site,
            data,
            axes,
            epsilon,
            None if gamma is None else gamma.reshape(wide),
            None if beta is None else beta.reshape(wide),
        )

    y = in_float32(site, x, normalize)
    return y


def _sizes(shape: Shape) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in shape]


def _known(site: Site, size: Any) -> int:
    if not isinstance(size, int):
        raise site.unsupported("normalizes an axis whose size is free")
    return size


def layer_norm_op(
    site: Site,
    x: Tensor,
    shape: Sequence[int],
    gamma: AnyArray | None,
    beta: AnyArray | None,
    epsilon: float,
) -> Tensor:
    """ONNX LayerNormalization over the last axes, whose sizes are ``shape``."""
    count = len(shape)
    form = x.form
    if form.flat or form.perm[-count:] != tuple(range(x.rank - count, x.rank)):
        form = plain(x.rank)
    wanted = site.number(0.0, x.dtype).dtype
    gamma = np.ones(shape) if gamma is None else gamma
    operands = [value(site, x, form), site.constant(gamma.astype(wanted), "gamma")]
    if beta is not None:
        operands.append(site.constant(beta.astype(wanted), "beta"))
    made = site.node(
        "LayerNormalization",
        operands,
        (x.dtype, permuted(x.shape, form)),
        axis=-count,
        epsilon=epsilon,
    )
    return Tensor(x.shape, x.dtype, {form: made})


def _standardized(
    site: Site,
    x: Tensor,
    axes: Sequence[int],
    epsilon: float,
    gamma: AnyArray | None,
    beta: AnyArray | None,
) -> Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` by elementary ops."""
    centred = elementwise(site, "Sub", x, reduce(site, "ReduceMean", x, axes, True))
    square = elementwise(site, "Mul", centred, centred)
    variance = reduce(site, "ReduceMean", square, axes, True)
    spread = unary(
        site, "Sqrt", elementwise(site, "Add", variance, scalar(site, epsilon, variance))
    )
    return scale_shift(site, elementwise(site, "Div", centred, spread), gamma, beta)


def rms_norm(site: Site) -> Tensor:
    """RMSNormalization: ``x / sqrt(mean(x^2) + epsilon) * scale``."""
    x = site.input
    axes = sorted(axes_of(site.config.get("axis", -1), x.rank))
    shape = [_known(site, x.shape[axis]) for axis in axes]
    wide = [size if axis in axes else 1 for axis, size in enumerate(_sizes(x.shape))]
    gain = site.weight("scale", shape, _own(x)).reshape(wide)
    epsilon = float(site.config.get("epsilon", 1e-6))

    def normalize(data: Tensor) -> Tensor:
        square = reduce(site, "ReduceMean", elementwise(site, "Mul", data, data), axes, True)
        spread = elementwise(site, "Add", square, scalar(site, epsilon, square))
        return scale_shift(
            site, elementwise(site, "Div", data, unary(site, "Sqrt", spread)), gain, None
        )

    return in_float32(site, x, normalize)


def unit_norm(site: Site) -> Tensor:
    """UnitNormalization: ``x`` divided by its Euclidean norm over some axes."""
    x = site.input
    axes = axes_of(site.config.get("axis", -1), x.rank)
    return unit(site, x, axes)


def unit(site: Site, x: Tensor, axes: Sequence[int]) -> Tensor:
    """``x / max(norm, tiny)``; tiny is 1e-12 in Keras 3 and 1e-6 in Keras 2."""
    norm = reduce(site, "ReduceL2", x, axes, True)
    tiny = scalar(site, 1e-6 if site.generation == 2 else 1e-12, x)
    return elementwise(site, "Div", x, elementwise(site, "Max", norm, tiny))


def group_norm(site: Site) -> Tensor:
    """GroupNormalization: channels in groups, each standardized over the group and all space."""
    x = site.input
    config = site.config
    axis = axes_of(config.get("axis", -1), x.rank)[0]
    channels = _known(site, x.shape[axis])
    groups = int(config.get("groups", 32))
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise site.unsupported(f"has {groups} groups for {channels} channels")
    broadcast = [1] * x.rank
    broadcast[axis] = channels
    gamma = site.weight("gamma", (channels,), _own(x)) if config.get("scale", True) else None
    beta = site.weight("beta", (channels,), _own(x)) if config.get("center", True) else None
    epsilon = float(config.get("epsilon", 1e-3))
    form = Form((0, axis, *(one for one in range(1, x.rank) if one != axis)))

    def normalize(data: Tensor) -> Tensor:
        first = Tensor(permuted(x.shape, form), data.dtype)
        first.forms[plain(x.rank)] = value(site, data, form)
        total = size(first.shape[1:])
        inner = site.emitter.fresh_dim() if total is None else total // groups
        grouped = reshape(site, first, (x.shape[0], groups, inner))
        ones = np.ones(groups, dtype=site.number(1.0, data.dtype).dtype)
        made = site.node(
            "InstanceNormalization",
            [
                value(site, grouped, plain(3)),
                site.constant(ones, "ones"),
                site.constant(np.zeros_like(ones), "zeros"),
            ],
            (data.dtype, grouped.shape),
            epsilon=epsilon,
        )
        flat = Tensor(grouped.shape, data.dtype, {plain(3): made})
        back = _ungroup(site, flat, first)
        y = Tensor(x.shape, data.dtype, {form: back})
        return scale_shift(
            site,
            y,
            None if gamma is None else gamma.reshape(broadcast),
            None if beta is None else beta.reshape(broadcast),
        )

    return in_float32(site, x, normalize)


def _ungroup(site: Site, flat: Tensor, first: Tensor) -> Any:
    """Back to the shape that was regrouped; its free sizes are read from it."""
    free = [size for size in first.shape[2:] if not isinstance(size, int)]
    if len(free) <= 1:
        return value(site, reshape(site, flat, first.shape), plain(first.rank))
    start = value(site, first, plain(first.rank))
    shape = site.node("Shape", [start], ("int64", (first.rank,)))
    return site.node("Reshape", [value(site, flat, plain(3)), shape], (flat.dtype, first.shape))


def layer_scale(site: Site) -> Tensor:
    """LayerScale of ConvNeXt: a factor per channel of the last axis."""
    x = site.input
    gamma = site.weight("gamma", (_known(site, x.shape[-1]),))
    return elementwise(site, "Mul", x, constant(gamma))
