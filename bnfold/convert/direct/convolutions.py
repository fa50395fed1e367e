"""Convolutions: in ONNX channels stand first, in Keras mostly last; kernels are transposed once."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.layout import value
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Form, Tensor, channels_first, permuted, plain
from bnfold.formats.keras.geometry import (
    Window,
    spatial_count,
    transposed_axis,
    transposed_result,
    tuple_of,
    window_of,
)
from bnfold.formats.keras.graph import AnyArray


def is_channels_first(site: Site) -> bool:
    """What the config's "data_format" says; Keras's default is channels last."""
    return site.config.get("data_format") == "channels_first"


def spatial_form(site: Site, rank: int) -> Form:
    """The form in which ONNX's spatial ops want a value of this layer."""
    return plain(rank) if is_channels_first(site) else channels_first(rank)


def keras_shape(site: Site, batch: Dim, channels: Dim, space: Sequence[Dim]) -> tuple[Dim, ...]:
    """The shape in the layer's data format."""
    if is_channels_first(site):
        return (batch, channels, *space)
    return (batch, *space, channels)


def space_of(site: Site, shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """The spatial sizes of a value of the layer."""
    return tuple(shape[2:]) if is_channels_first(site) else tuple(shape[1:-1])


def channels_of(site: Site, shape: Sequence[Dim]) -> Dim:
    """The number of channels of a value of the layer."""
    return shape[1] if is_channels_first(site) else shape[-1]


def _window(site: Site, count: int) -> Window:
    window = window_of(site.config, count)
    if window.padding not in ("valid", "same", "causal"):
        raise site.unsupported(f"has the padding {window.padding!r}")
    return window


def result_of(site: Site, window: Window, space: Sequence[Dim]) -> tuple[Dim, ...]:
    """Sizes of what a window makes of ``space``."""
    if window.may_crop(space):
        raise site.unsupported("has strides beyond its window on an axis of free size")
    sizes = window.result(space, site.emitter.fresh_dim)
    if any(isinstance(size, int) and size < 1 for size in sizes):
        raise site.unsupported("has a kernel larger than its input")
    return sizes


def _image(site: Site, count: int) -> tuple[Tensor, int]:
    """The input and its number of channels."""
    x = site.input
    if x.rank != count + 2:
        raise site.unsupported(f"is given a value with {x.rank} axes")
    channels = channels_of(site, x.shape)
    if not isinstance(channels, int):
        raise site.unsupported("is given a value whose number of channels is free")
    return x, channels


def convolve(
    site: Site,
    x: Tensor,
    kernel: AnyArray | Tensor,
    bias: AnyArray | None,
    window: Window,
    group: int,
    names: tuple[str, str, str] = ("kernel", "bias", "Conv"),
) -> Tensor:
    """ONNX Conv with a kernel [out, in / group, *space]; the kernel may be a computed value."""
    form = spatial_form(site, x.rank)
    space = space_of(site, x.shape)
    shape = keras_shape(site, x.shape[0], kernel.shape[0], result_of(site, window, space))
    attributes = window.attributes(space)
    if x.padded is not None and window.padding == "valid":
        inner, amounts = x.padded
        batch, channels, *ordered = (amounts[axis] for axis in form.perm)
        if not any((*batch, *channels)):
            # The Pad stays only if something else reads it.
            x = inner
            attributes["pads"] = [one for one, _ in ordered] + [one for _, one in ordered]
    operands = [value(site, x, form), _kernel(site, kernel, names[0])]
    if bias is not None:
        operands.append(site.constant(bias, names[1]))
    made = site.node(
        "Conv",
        operands,
        (x.dtype, permuted(shape, form)),
        names[2],
        kernel_shape=list(window.kernel),
        dilations=list(window.dilations) if set(window.dilations) != {1} else None,
        group=group if group != 1 else None,
        **attributes,
    )
    return Tensor(shape, x.dtype, {form: made})


def _kernel(site: Site, kernel: AnyArray | Tensor, name: str) -> ir.Value:
    if not isinstance(kernel, Tensor):
        return site.constant(kernel, name)
    if kernel.const is not None:
        return site.constant(kernel.const, name)
    return value(site, kernel, plain(kernel.rank))


def _bias(site: Site, count: int) -> AnyArray | None:
    return site.weight("bias", (count,)) if site.config.get("use_bias", True) else None


def conv(site: Site) -> Tensor:
    """Conv1D, Conv2D, Conv3D: kernel [*space, in / groups, filters]."""
    count = spatial_count(site.layer.class_name)
    x, channels = _image(site, count)
    window = _window(site, count)
    groups, filters = int(site.config.get("groups") or 1), int(site.config["filters"])
    if channels % groups:
        raise site.unsupported(f"has {groups} groups for {channels} channels")
    kernel = site.weight("kernel", (*window.kernel, channels // groups, filters))
    moved = kernel.transpose(count + 1, count, *range(count))
    y = convolve(site, x, moved, _bias(site, filters), window, groups)
    return activate(site, y, site.config.get("activation"))


def depthwise(site: Site) -> Tensor:
    """DepthwiseConv1D/2D: kernel [*space, in, multiplier]."""
    count = spatial_count(site.layer.class_name)
    x, channels = _image(site, count)
    window = _window(site, count)
    multiplier = int(site.config.get("depth_multiplier", 1))
    kernel = site.weight("kernel", (*window.kernel, channels, multiplier))
    moved = _depthwise_kernel(kernel)
    y = convolve(site, x, moved, _bias(site, channels * multiplier), window, channels)
    return activate(site, y, site.config.get("activation"))


def _depthwise_kernel(kernel: AnyArray) -> AnyArray:
    """From [*space, in, multiplier] to [in * multiplier, 1, *space]."""
    count = kernel.ndim - 2
    moved = kernel.transpose(count, count + 1, *range(count))
    flat: AnyArray = moved.reshape(-1, 1, *kernel.shape[:count])
    return flat


def separable(site: Site) -> Tensor:
    """SeparableConv1D/2D: a depthwise and a pointwise convolution."""
    count = spatial_count(site.layer.class_name)
    x, channels = _image(site, count)
    window = _window(site, count)
    multiplier = int(site.config.get("depth_multiplier", 1))
    filters = int(site.config["filters"])
    deep = site.weight("depthwise_kernel", (*window.kernel, channels, multiplier))
    point = site.weight("pointwise_kernel", (*(1,) * count, channels * multiplier, filters))
    y = convolve(
        site,
        x,
        _depthwise_kernel(deep),
        None,
        window,
        channels,
        ("depthwise_kernel", "", "DepthwiseConv"),
    )
    one = Window((1,) * count, (1,) * count, (1,) * count, "valid")
    moved = point.transpose(count + 1, count, *range(count))
    y = convolve(
        site, y, moved, _bias(site, filters), one, 1, ("pointwise_kernel", "bias", "PointwiseConv")
    )
    return activate(site, y, site.config.get("activation"))


def transposed(site: Site) -> Tensor:
    """Conv1D/2D/3DTranspose: kernel [*space, filters, in]."""
    count = spatial_count(site.layer.class_name)
    x, channels = _image(site, count)
    window = _window(site, count)
    filters = int(site.config["filters"])
    extra = site.config.get("output_padding")
    outs = None if extra is None else tuple_of(extra, count)
    kernel = site.weight("kernel", (*window.kernel, filters, channels))
    moved = kernel.transpose(count + 1, count, *range(count))
    y = convolve_transposed(site, x, moved, _bias(site, filters), window, outs)
    return activate(site, y, site.config.get("activation"))


def convolve_transposed(
    site: Site,
    x: Tensor,
    kernel: AnyArray | Tensor,
    bias: AnyArray | None,
    window: Window,
    outs: Sequence[int] | None,
) -> Tensor:
    """ONNX ConvTranspose with a kernel [in, out, *space], cut as TensorFlow cuts its result."""
    count, filters = len(window.kernel), kernel.shape[1]
    space = space_of(site, x.shape)
    if window.padding == "causal":
        raise site.unsupported("is a causal transposed convolution")
    rows = [
        transposed_axis(window, axis, None if outs is None else outs[axis]) for axis in range(count)
    ]
    sizes = transposed_result(window, space, rows, site.emitter.fresh_dim)
    shape = keras_shape(site, x.shape[0], filters, sizes)
    form = spatial_form(site, x.rank)
    operands = [value(site, x, form), _kernel(site, kernel, "kernel")]
    if bias is not None:
        operands.append(site.constant(bias, "bias"))
    pads = [row[0] for row in rows] + [row[1] for row in rows]
    more = [row[2] for row in rows]
    made = site.node(
        "ConvTranspose",
        operands,
        (x.dtype, permuted(shape, form)),
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        dilations=list(window.dilations) if set(window.dilations) != {1} else None,
        pads=pads if any(pads) else None,
        output_padding=more if any(more) else None,
    )
    return Tensor(shape, x.dtype, {form: made})
