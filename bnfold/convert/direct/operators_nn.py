"""Operators of neural nets: convolutions, pooling, normalizations, attention, blocks of space."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.convolutions import (
    channels_of,
    convolve,
    convolve_transposed,
    keras_shape,
    space_of,
    spatial_form,
)
from bnfold.convert.direct.expressions import Expr, Options, Rule
from bnfold.convert.direct.layout import constant, reshape, transpose, value
from bnfold.convert.direct.normalizations import in_float32, layer_norm_op
from bnfold.convert.direct.operators_reduce import axes_option, variance
from bnfold.convert.direct.ops import (
    cast,
    gather,
    matmul,
    pad,
    positions,
    scale_shift,
    slices,
    softmax,
)
from bnfold.convert.direct.promotion import alone, operands
from bnfold.convert.direct.shaping import pool
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, permuted, plain
from bnfold.formats.keras.geometry import Window, tuple_of
from bnfold.formats.keras.graph import AnyArray, float_dtype


def configured(site: Site, options: Options) -> Site:
    """The call as that of a layer whose config these options are."""
    return dataclasses.replace(site, layer=dataclasses.replace(site.layer, config=options))


def known(site: Site, dims: Sequence[Dim]) -> tuple[int, ...]:
    """Sizes that must be known."""
    found = tuple(dim for dim in dims if isinstance(dim, int))
    if len(found) < len(dims):
        raise site.unsupported("has a size that is free where it must be known")
    return found


def filled_up(args: list[Any], count: int) -> list[Any]:
    """Call arguments with None for those that are not given."""
    return [*args, *[None] * (count - len(args))]


# -- convolutions and pooling --------------------------------------------------------------


def _window(site: Site, kernel: Tensor, options: Options) -> Window:
    """The window of a kernel [*space, in, out]."""
    space = known(site, kernel.shape[:-2])
    padding = str(options.get("padding") or "valid").lower()
    if padding not in ("valid", "same"):
        raise site.unsupported(f"has the padding {padding!r}")
    strides, dilation = options.get("strides"), options.get("dilation_rate")
    return Window(
        space,
        tuple_of(1 if strides is None else strides, len(space)),
        tuple_of(1 if dilation is None else dilation, len(space)),
        padding,
    )


def _onnx_kernel(site: Site, kernel: Tensor, *, depthwise: bool = False) -> Tensor:
    """From [*space, in, out] to [out, in, *space]; of a depthwise one to [in * out, 1, *space]."""
    count = kernel.rank - 2
    if not depthwise:
        return transpose(site, kernel, (count + 1, count, *range(count)))
    moved = transpose(site, kernel, (count, count + 1, *range(count)))
    total = math.prod(known(site, kernel.shape[-2:]))
    return reshape(site, moved, (total, 1, *kernel.shape[:count]))


def _image(site: Site, args: list[Any], count: int) -> tuple[Tensor, ...]:
    x, *kernels = operands(site, args[:count])
    if any(one.rank != x.rank for one in kernels):
        raise site.unsupported("has a kernel with other axes than its input")
    return (x, *kernels)


def _conv(site: Site, args: list[Any], options: Options) -> Tensor:
    site = configured(site, options)
    x, kernel = _image(site, args, 2)
    (channels,) = known(site, [channels_of(site, x.shape)])
    (inner,) = known(site, kernel.shape[-2:-1])
    if channels % inner:
        raise site.unsupported(f"has a kernel for {inner} channels where there are {channels}")
    window = _window(site, kernel, options)
    return convolve(site, x, _onnx_kernel(site, kernel), None, window, channels // inner)


def _depthwise(site: Site, args: list[Any], options: Options) -> Tensor:
    site = configured(site, options)
    x, kernel = _image(site, args, 2)
    (channels,) = known(site, kernel.shape[-2:-1])
    moved = _onnx_kernel(site, kernel, depthwise=True)
    return convolve(site, x, moved, None, _window(site, kernel, options), channels)


def _separable(site: Site, args: list[Any], options: Options) -> Tensor:
    inner = _depthwise(site, args[:2], options)
    point = {"data_format": options.get("data_format")}
    return _conv(site, [inner, args[2]], point)


def _conv_transpose(site: Site, args: list[Any], options: Options) -> Tensor:
    site = configured(site, options)
    x, kernel = _image(site, args, 2)
    window, extra = _window(site, kernel, options), options.get("output_padding")
    outs = None if extra is None else tuple_of(extra, x.rank - 2)
    known(site, kernel.shape)
    return convolve_transposed(site, x, _onnx_kernel(site, kernel), None, window, outs)


def _pool(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = alone(site, args[0])
        return pool(configured(site, options), op, x, x.rank - 2)

    return rule


def patches_kernel(channels: int, window: Sequence[int], dtype: str) -> AnyArray:
    """A grouped kernel that lays the elements of each channel's window side by side."""
    count = math.prod(window)
    one = np.eye(count).reshape(count, 1, *window)
    return np.tile(one, (channels, *[1] * (one.ndim - 1))).astype(float_dtype(dtype))


# -- blocks of space -----------------------------------------------------------------------


def _blocks(op: str) -> Rule:
    """DepthToSpace, SpaceToDepth: a block's rows, its columns, then the channels."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        site = configured(site, options)
        x, block = alone(site, args[0]), int(options["block_size"])
        if x.rank != 4:
            raise site.unsupported(f"is given a value with {x.rank} axes")
        shrinks = op == "SpaceToDepth"
        (channels,) = known(site, [channels_of(site, x.shape)])
        space = [
            (dim // block if shrinks else dim * block)
            if isinstance(dim, int)
            else site.emitter.fresh_dim()
            for dim in space_of(site, x.shape)
        ]
        depth = channels * block**2 if shrinks else channels // block**2
        shape = keras_shape(site, x.shape[0], depth, space)
        form = spatial_form(site, 4)
        made = site.node(
            op, [value(site, x, form)], (x.dtype, permuted(shape, form)), blocksize=block
        )
        return Tensor(shape, x.dtype, {form: made})

    return rule


def _fold_window(options: Options) -> tuple[Window, tuple[int, int]]:
    sizes = [
        tuple_of(options.get(key, usual), 2)
        for key, usual in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    ]
    return Window(sizes[0], sizes[1], sizes[2], "valid"), (sizes[3][0], sizes[3][1])


def _unfold(site: Site, args: list[Any], options: Options) -> Tensor:
    """Windows of a channels-first image as columns [batch, channels * window, places]."""
    site = configured(site, {"data_format": "channels_first"})
    x = alone(site, args[0])
    window, (high, wide) = _fold_window(options)
    (channels,) = known(site, x.shape[1:2])
    padded = _zeros_around(site, x, (high, wide))
    kernel = patches_kernel(channels, window.kernel, x.dtype)
    y = convolve(site, padded, kernel, None, window, channels)
    places = known(site, y.shape[2:])
    return reshape(site, y, (x.shape[0], *known(site, y.shape[1:2]), math.prod(places)))


def _zeros_around(site: Site, x: Tensor, amounts: Sequence[int]) -> Tensor:
    return pad(site, x, [(0, 0), (0, 0), *((one, one) for one in amounts)])


def _fold(site: Site, args: list[Any], options: Options) -> Tensor:
    """The sum of columns put back where `_unfold` took them from."""
    site = configured(site, {"data_format": "channels_first"})
    x = alone(site, args[0])
    window, around = _fold_window(options)
    target = tuple_of(options["output_size"], 2)
    (depth,) = known(site, x.shape[1:2])
    channels = depth // math.prod(window.kernel)
    wide = [size + 2 * more for size, more in zip(target, around, strict=True)]
    places = window.result(wide, site.emitter.fresh_dim)
    columns = reshape(site, x, (x.shape[0], depth, *places))
    kernel = patches_kernel(channels, window.kernel, x.dtype)
    used = [
        (int(count) - 1) * stride + reach  # type: ignore[arg-type]
        for count, stride, reach in zip(places, window.strides, window.reach, strict=True)
    ]
    made = site.node(
        "ConvTranspose",
        [value(site, columns, plain(4)), site.constant(kernel, "kernel")],
        (x.dtype, (x.shape[0], channels, *used)),
        group=channels,
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        dilations=list(window.dilations),
    )
    y = Tensor((x.shape[0], channels, *used), x.dtype, {plain(4): made})
    rest = [max(size - one, 0) for size, one in zip(wide, used, strict=True)]
    y = pad(site, y, [(0, 0), (0, 0), *((0, one) for one in rest)])
    cuts: dict[int, tuple[int | None, int | None, int]] = {
        axis: (more, more + size, 1)
        for axis, (size, more) in enumerate(zip(target, around, strict=True), 2)
        if y.shape[axis] != size
    }
    return slices(site, y, cuts)


# -- normalizations ------------------------------------------------------------------------


def _batch_norm(site: Site, args: list[Any], options: Options) -> Tensor:
    """By given statistics; by constant ones it is one product and one sum."""
    x, mean, spread, offset, scale = filled_up(args, 5)
    x, axis = alone(site, x), int(options.get("axis", -1))
    epsilon = options.get("epsilon")
    epsilon = 1e-3 if epsilon is None else float(epsilon)
    shape = [1] * x.rank

    def along(given: Any) -> Tensor | None:
        if given is None:
            return None
        tensor = alone(site, given)
        if tensor.rank == 1 and axis % x.rank != x.rank - 1:
            shape[axis] = known(site, tensor.shape)[0]
            tensor = reshape(site, tensor, shape)
        return cast(site, tensor, x.dtype)

    stats = [along(one) for one in (mean, spread, scale, offset)]
    fixed = [None if one is None else one.const for one in stats]
    if all((one is None) == (other is None) for one, other in zip(stats, fixed, strict=True)):
        m, v, gamma, beta = (None if a is None else a.astype(np.float64) for a in fixed)
        assert m is not None and v is not None
        factor = (1.0 if gamma is None else gamma) / np.sqrt(v + epsilon)
        shift = (0.0 if beta is None else beta) - m * factor
        return scale_shift(site, x, factor, shift)
    m1, v1, gamma1, beta1 = (None if one is None else Expr(site, one) for one in stats)
    assert m1 is not None and v1 is not None
    inverse = (v1 + epsilon).apply("Sqrt").apply("Reciprocal")
    inverse = inverse if gamma1 is None else inverse * gamma1
    shift1 = -m1 * inverse if beta1 is None else beta1 - m1 * inverse
    return (Expr(site, x) * inverse + shift1).tensor


def _epsilon(options: Options) -> float:
    stated = options.get("epsilon")
    return 1e-7 if stated is None else float(stated)


def _aligned(site: Site, given: Any, x: Tensor, axes: Sequence[int]) -> Expr | None:
    """Gains set against the axes that are normalized."""
    if given is None:
        return None
    tensor = cast(site, alone(site, given), x.dtype)
    if tensor.rank != x.rank and list(axes) != [x.rank - 1]:
        shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.rank)]
        tensor = reshape(site, tensor, shape)
    return Expr(site, tensor)


def _layer_norm(site: Site, args: list[Any], options: Options) -> Tensor:
    x, gamma, beta = filled_up(args, 3)
    x = alone(site, x)
    axes = sorted(axes_option(site, x, options))
    epsilon = _epsilon(options)

    def normalize(data: Tensor) -> Tensor:
        gain, shift = (_aligned(site, one, data, axes) for one in (gamma, beta))
        if options.get("rms_scaling"):
            inverse = (variance(Expr(site, data), axes, True) + epsilon).apply("Sqrt")
            y = Expr(site, data) / inverse
            return y.tensor if gain is None else (y * gain).tensor
        shape = [x.shape[axis] for axis in axes]
        fixed = [None if one is None else one.tensor.const for one in (gain, shift)]
        constant_ones = all(
            one is None or (array is not None and array.size == math.prod(known(site, shape)))
            for one, array in zip((gain, shift), fixed, strict=True)
        )
        last = axes == list(range(x.rank - len(axes), x.rank))
        if last and constant_ones and site.opset >= 17:
            sizes = known(site, shape)
            arrays = [None if one is None else one.reshape(sizes) for one in fixed]
            return layer_norm_op(site, data, sizes, arrays[0], arrays[1], epsilon)
        centred = Expr(site, data) - Expr(site, data).over("ReduceMean", axes, True)
        spread = (centred * centred).over("ReduceMean", axes, True) + epsilon
        y = centred / spread.apply("Sqrt")
        y = y if gain is None else y * gain
        return (y if shift is None else y + shift).tensor

    return in_float32(site, x, normalize)


def _rms_norm(site: Site, args: list[Any], options: Options) -> Tensor:
    x, scale = filled_up(args, 2)
    x = alone(site, x)
    axes = sorted(axes_option(site, x, options))

    def normalize(data: Tensor) -> Tensor:
        y = Expr(site, data)
        square = (y * y).over("ReduceMean", axes, True) + _epsilon(options)
        y = y / square.apply("Sqrt")
        # Broadcast as it is, against the last axes.
        return (y if scale is None else y * _given(site, scale, data.dtype)).tensor

    return in_float32(site, x, normalize)


def _given(site: Site, operand: Any, dtype: str) -> Expr:
    return Expr(site, cast(site, alone(site, operand), dtype))


# -- attention -----------------------------------------------------------------------------


def _attention(site: Site, args: list[Any], options: Options) -> Tensor:
    """Queries [batch, time, heads, size] against keys and values; scores in float32 at least."""
    query, key, content, bias, mask, scale = filled_up(args, 6)
    q, k, v = operands(site, [query, key, content])
    if any(one.rank != 4 for one in (q, k, v)):
        raise site.unsupported("attends between values with other than four axes")
    heads, shared = known(site, (q.shape[2], k.shape[2]))
    (size,) = known(site, k.shape[3:])
    if heads > shared > 1:
        index = constant(np.repeat(np.arange(shared), heads // shared).astype(np.int64))
        k, v = (gather(site, one, index, 2) for one in (k, v))
    wide = "float32" if q.dtype in ("float16", "bfloat16") else q.dtype
    made = matmul(site, transpose(site, q, (0, 2, 1, 3)), transpose(site, k, (0, 2, 3, 1)))
    scores = Expr(site, cast(site, made, wide))
    if isinstance(scale, Tensor):
        scores = scores * _given(site, scale, wide)
    else:
        scores = scores * (1.0 / math.sqrt(size) if scale is None else float(scale))
    if bias is not None:
        scores = scores + _given(site, _given(site, bias, q.dtype).tensor, wide)
    low = -0.7 * 3.38953e38
    if mask is not None:
        scores = _given(site, mask, "bool").choose(scores, low)
    if options.get("is_causal"):
        rows, columns = (Expr(site, positions(site, scores.tensor, axis)) for axis in (2, 3))
        scores = (columns <= rows.spread(1)).choose(scores, low)
    weights = cast(site, softmax(site, scores.tensor, -1), q.dtype)
    mixed = matmul(site, weights, transpose(site, v, (0, 2, 1, 3)))
    return transpose(site, mixed, (0, 2, 1, 3))


NETS: Mapping[str, Rule] = {
    "AveragePool": _pool("AveragePool"),
    "BatchNorm": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _blocks("DepthToSpace"),
    "DepthwiseConv": _depthwise,
    "DotProductAttention": _attention,
    "Fold": _fold,
    "LayerNorm": _layer_norm,
    "MaxPool": _pool("MaxPool"),
    "RMSNorm": _rms_norm,
    "SeparableConv": _separable,
    "SpaceToDepth": _blocks("SpaceToDepth"),
    "Unfold": _unfold,
}
