"""Layers that move elements, pool, pad, crop, repeat or pass on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.convolutions import (
    channels_of,
    is_channels_first,
    keras_shape,
    result_of,
    space_of,
    spatial_form,
)
from bnfold.convert.direct.layout import flatten, reshape, transpose, unsqueeze, value
from bnfold.convert.direct.ops import cast, elementwise, pad, reduce, slices
from bnfold.convert.direct.resampling import needs_matrix, resampling
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, permuted, plain
from bnfold.formats.keras.dtypes import gives_floats
from bnfold.formats.keras.geometry import (
    fill_reshape,
    pairs_of,
    pool_window_of,
    spatial_count,
    tuple_of,
)


def identity(site: Site) -> Tensor:
    """Layers that do nothing at inference: Dropout and its kin."""
    return site.input


def random_only(site: Site) -> Tensor:
    """Layers that do nothing at inference, unless they are called as in training."""
    if site.is_training and site.config.get("rate", 1):
        raise site.unsupported("is called with training=True, so its result is random")
    if gives_floats(site.layer.class_name, site.generation):
        return cast(site, site.input, site.dtype)
    return site.input


def flatten_layer(site: Site) -> Tensor:
    """Flatten."""
    x = site.input
    if is_channels_first(site) and x.rank > 2:
        # Keras moves the channels last before it flattens.
        x = transpose(site, x, (0, *range(2, x.rank), 1))
    return flatten(site, x)


def reshape_layer(site: Site) -> Tensor:
    """Reshape; one size may be -1."""
    x = site.input
    target = [-1 if one is None else int(one) for one in site.config["target_shape"]]
    return reshape(
        site, x, (x.shape[0], *fill_reshape(x.shape[1:], target, site.emitter.fresh_dim))
    )


def permute_layer(site: Site) -> Tensor:
    """Permute: axes counted from 1, the batch stays."""
    dims = [int(one) for one in site.config["dims"]]
    return transpose(site, site.input, (0, *dims))


def repeat_vector(site: Site) -> Tensor:
    """RepeatVector: [batch, n] to [batch, times, n]."""
    x = site.input
    times = int(site.config["n"])
    wide = unsqueeze(site, x, [1])
    shape = (x.shape[0], times, x.shape[1])
    made = site.node(
        "Tile",
        [value(site, wide, plain(3)), site.integers([1, times, 1], "repeats")],
        (x.dtype, shape),
    )
    return Tensor(shape, x.dtype, {plain(3): made})


def pooling(op: str) -> Callable[[Site], Tensor]:
    """MaxPooling or AveragePooling of 1 to 3 axes."""

    return lambda site: pool(site, op, site.input, spatial_count(site.layer.class_name))


def pool(site: Site, op: str, x: Tensor, count: int) -> Tensor:
    """Pooling over windows of ``count`` axes, as the config states them."""
    window = pool_window_of(site.config, count)
    if x.rank != count + 2 or window.padding not in ("valid", "same"):
        raise site.unsupported("pools in a way that has no rule")
    form = spatial_form(site, x.rank)
    space = space_of(site, x.shape)
    shape = keras_shape(
        site, x.shape[0], channels_of(site, x.shape), result_of(site, window, space)
    )
    made = site.node(
        op,
        [value(site, x, form)],
        (x.dtype, permuted(shape, form)),
        kernel_shape=list(window.kernel),
        **window.attributes(space),
    )
    return Tensor(shape, x.dtype, {form: made})


def global_pooling(op: str, reduction: str) -> Callable[[Site], Tensor]:
    """GlobalMaxPooling or GlobalAveragePooling."""

    def emit(site: Site) -> Tensor:
        x = site.input
        count = spatial_count(site.layer.class_name)
        if x.rank != count + 2:
            raise site.unsupported(f"is given a value with {x.rank} axes")
        mask = site.mask(x) if reduction == "ReduceMean" and count == 1 else None
        if mask is not None:
            return _masked_mean(site, x, mask)
        axes = range(2, x.rank) if is_channels_first(site) else range(1, x.rank - 1)
        keepdims = bool(site.config.get("keepdims"))
        form = spatial_form(site, x.rank)
        if x.form != form:
            return reduce(site, reduction, x, list(axes), keepdims)
        ones = keras_shape(site, x.shape[0], channels_of(site, x.shape), (1,) * count)
        made = site.node(op, [value(site, x, form)], (x.dtype, permuted(ones, form)))
        y = Tensor(ones, x.dtype, {form: made})
        if keepdims:
            return y
        return flatten(site, y)

    return emit


def _masked_mean(site: Site, x: Tensor, mask: Tensor) -> Tensor:
    """GlobalAveragePooling1D over the timesteps that count."""
    if is_channels_first(site):
        raise site.unsupported("averages masked channels-first values")
    keep = bool(site.config.get("keepdims"))
    factor = unsqueeze(site, cast(site, mask, x.dtype), [-1])
    total = reduce(site, "ReduceSum", elementwise(site, "Mul", x, factor), [1], keep)
    return elementwise(site, "Div", total, reduce(site, "ReduceSum", factor, [1], keep))


def _spatial_axes(site: Site, rank: int) -> list[int]:
    return list(range(2, rank)) if is_channels_first(site) else list(range(1, rank - 1))


def zero_padding(site: Site) -> Tensor:
    """ZeroPadding1D/2D/3D."""
    x = site.input
    amounts = [(0, 0)] * x.rank
    stated = pairs_of(site.config["padding"], spatial_count(site.layer.class_name))
    for axis, amount in zip(_spatial_axes(site, x.rank), stated, strict=True):
        amounts[axis] = amount
    y = pad(site, x, amounts)
    if y is not x:
        y.padded = (x, tuple(amounts))
    return y


def cropping(site: Site) -> Tensor:
    """Cropping1D/2D/3D."""
    x = site.input
    stated = pairs_of(site.config["cropping"], spatial_count(site.layer.class_name))
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    for axis, (before, after) in zip(_spatial_axes(site, x.rank), stated, strict=True):
        cuts[axis] = (before or None, -after if after else None, 1)
    return slices(site, x, cuts)


_REPEATED = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}
# The pixel in which the centre of the new one lies.
_NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "half_pixel",
    "nearest_mode": "round_prefer_ceil",
}
_CUBIC = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}


def upsampling(site: Site) -> Tensor:
    """UpSampling1D/2D/3D: repetition, or interpolation between pixels' centres."""
    x = site.input
    count = spatial_count(site.layer.class_name)
    factors = tuple_of(site.config["size"], count)
    space = [
        dim * factor if isinstance(dim, int) else site.emitter.fresh_dim()
        for dim, factor in zip(space_of(site, x.shape), factors, strict=True)
    ]
    shape = keras_shape(site, x.shape[0], channels_of(site, x.shape), space)
    kind = str(site.config.get("interpolation", "nearest"))
    scales = np.asarray([1, 1, *factors], dtype=np.float32)
    return resize(site, x, shape, kind, scales)


def _sizes(site: Site, start: ir.Value, after: Sequence[Dim]) -> ir.Value:
    """The operand that says how large the result of a Resize is; batch and channels stay."""
    known = [dim for dim in after if isinstance(dim, int)]
    if len(known) == len(after):
        return site.integers(known, "sizes")
    whole = site.node("Shape", [start], ("int64", (len(after),)))
    ends = [site.integers([place], "ends") for place in (0, 2)]
    kept = site.node("Slice", [whole, *ends], ("int64", (2,)))
    wanted = site.integers([dim for dim in after[2:] if isinstance(dim, int)], "sizes")
    return site.node("Concat", [kept, wanted], ("int64", (len(after),)), axis=0)


def resize(
    site: Site, x: Tensor, shape: Sequence[Dim], kind: str, scales: Any, antialias: bool = False
) -> Tensor:
    """ONNX Resize with channels first; ``scales`` is None to go by ``shape``.

    What that cannot do are two products with matrices, where sizes are known. (Of bicubic
    interpolation it can do as TensorFlow does where sizes become powers of two times as large.)
    """
    exact = kind == "bicubic" and not antialias and _powers_of_two(scales)
    if needs_matrix(kind, antialias) and not exact:
        return _by_matrices(site, x, shape, kind, antialias)
    kinds: dict[str, dict[str, Any]] = {
        "nearest": _NEAREST if scales is None else _REPEATED,
        "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        "bicubic": {**_CUBIC, "coordinate_transformation_mode": "half_pixel"},
    }
    if kind not in kinds:
        raise site.unsupported(f"interpolates by {kind!r}")
    form = spatial_form(site, x.rank)
    after = permuted(shape, form)
    start = value(site, x, form)
    sizes = None if scales is not None else _sizes(site, start, after)
    made = site.node(
        "Resize",
        [
            start,
            None,
            None if scales is None else site.constant(scales, "scales"),
            sizes,
        ],
        (x.dtype, after),
        **kinds[kind],
    )
    return Tensor(tuple(shape), x.dtype, {form: made})


def _powers_of_two(scales: Any) -> bool:
    return scales is not None and all(int(one).bit_count() == 1 for one in scales)


def _by_matrices(site: Site, x: Tensor, shape: Sequence[Dim], kind: str, antialias: bool) -> Tensor:
    form = spatial_form(site, x.rank)
    before, after = space_of(site, x.shape), space_of(site, shape)
    channels, done = channels_of(site, x.shape), list(before)
    for place, (have, want) in enumerate(zip(before, after, strict=True)):
        if not isinstance(have, int) or not isinstance(want, int):
            raise site.unsupported(f"interpolates images whose size is free by {kind!r}")
        done[place] = want
        full = resampling(kind, have, want, antialias)
        if have == want and np.allclose(full, np.eye(have)):
            continue
        matrix = full.astype(site.number(0.0, x.dtype).dtype)
        made = keras_shape(site, x.shape[0], channels, done)
        start = value(site, x, form)
        if place == 0:
            operands = [site.constant(matrix, "rows"), start]
        else:
            operands = [start, site.constant(matrix.T, "columns")]
        product = site.node("MatMul", operands, (x.dtype, permuted(made, form)))
        x = Tensor(made, x.dtype, {form: product})
    return x
