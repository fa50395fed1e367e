"""Convolutions: in ONNX channels stand first, in Keras mostly last; kernels are transposed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.layout import value
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Form, Tensor, channels_first, permuted, plain
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


def tuple_of(value: Any, count: int) -> tuple[int, ...]:
    """A config's number or list as ``count`` numbers."""
    if isinstance(value, (list, tuple)):
        numbers = tuple(int(item) for item in value)
        return numbers if len(numbers) == count else numbers * count
    return (int(value),) * count


@dataclass(frozen=True)
class Window:
    """How a kernel moves over space.

    Attributes:
        kernel, strides, dilations: one each per spatial axis.
        padding: "valid", "same" or "causal".
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str

    @property
    def reach(self) -> tuple[int, ...]:
        """Sizes of the dilated kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def pads(self, space: Sequence[Dim]) -> list[tuple[int, int]] | None:
        """Padding of each axis; None where it depends on sizes that are free."""
        found = []
        for dim, reach, stride in zip(space, self.reach, self.strides, strict=True):
            if self.padding == "valid":
                found.append((0, 0))
            elif self.padding == "causal":
                found.append((reach - 1, 0))
            else:
                if isinstance(dim, int):
                    total = max((-(-dim // stride) - 1) * stride + reach - dim, 0)
                elif stride == 1:
                    total = reach - 1
                else:
                    return None
                found.append((total // 2, total - total // 2))
        return found

    def result(self, site: Site, space: Sequence[Dim]) -> tuple[Dim, ...]:
        """Sizes of the result."""
        sizes: list[Dim] = []
        for dim, reach, stride in zip(space, self.reach, self.strides, strict=True):
            if isinstance(dim, int):
                extra = 0 if self.padding == "valid" else reach - 1
                sizes.append(
                    -(-dim // stride)
                    if self.padding == "same"
                    else (dim + extra - reach) // stride + 1
                )
            elif (stride == 1 and self.padding != "valid") or (stride == 1 and reach == 1):
                sizes.append(dim)
            else:
                sizes.append(site.emitter.fresh_dim())
        if any(isinstance(size, int) and size < 1 for size in sizes):
            raise site.unsupported("has a kernel larger than its input")
        return tuple(sizes)

    def attributes(self, space: Sequence[Dim]) -> dict[str, Any]:
        """ONNX attributes for strides and padding (dilations are the caller's)."""
        pads = self.pads(space)
        found: dict[str, Any] = {"strides": list(self.strides)}
        if pads is None:
            found["auto_pad"] = "SAME_UPPER"
        elif any(pad != (0, 0) for pad in pads):
            found["pads"] = [before for before, _ in pads] + [after for _, after in pads]
        return found


def window_of(site: Site, count: int) -> Window:
    """The window of a convolution's config."""
    config = site.config
    padding = str(config.get("padding", "valid")).lower()
    if padding not in ("valid", "same", "causal"):
        raise site.unsupported(f"has the padding {padding!r}")
    return Window(
        tuple_of(config["kernel_size"], count),
        tuple_of(config.get("strides", 1), count),
        tuple_of(config.get("dilation_rate", 1), count),
        padding,
    )


def _image(site: Site, count: int) -> tuple[Tensor, int]:
    """The input and its number of channels."""
    x = site.input
    if x.rank != count + 2:
        raise site.unsupported(f"is given a value with {x.rank} axes")
    channels = channels_of(site, x.shape)
    if not isinstance(channels, int):
        raise site.unsupported("is given a value whose number of channels is free")
    return x, channels


def _convolve(
    site: Site,
    x: Tensor,
    kernel: AnyArray,
    bias: AnyArray | None,
    window: Window,
    group: int,
    names: tuple[str, str, str] = ("kernel", "bias", "Conv"),
) -> Tensor:
    """ONNX Conv with a kernel [out, in / group, *space]."""
    form = spatial_form(site, x.rank)
    space = space_of(site, x.shape)
    shape = keras_shape(site, x.shape[0], kernel.shape[0], window.result(site, space))
    operands = [value(site, x, form), site.constant(kernel, names[0])]
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
        **window.attributes(space),
    )
    return Tensor(shape, x.dtype, {form: made})


def _bias(site: Site, count: int) -> AnyArray | None:
    return site.weight("bias", (count,)) if site.config.get("use_bias", True) else None


def conv(site: Site) -> Tensor:
    """Conv1D, Conv2D, Conv3D: kernel [*space, in / groups, filters]."""
    count = len(_kernel_size(site))
    x, channels = _image(site, count)
    window = window_of(site, count)
    groups, filters = int(site.config.get("groups") or 1), int(site.config["filters"])
    if channels % groups:
        raise site.unsupported(f"has {groups} groups for {channels} channels")
    kernel = site.weight("kernel", (*window.kernel, channels // groups, filters))
    moved = kernel.transpose(count + 1, count, *range(count))
    y = _convolve(site, x, moved, _bias(site, filters), window, groups)
    return activate(site, y, site.config.get("activation"))


def _kernel_size(site: Site) -> tuple[int, ...]:
    digits = {"1D": 1, "2D": 2, "3D": 3}
    count = next(n for text, n in digits.items() if text in site.layer.class_name)
    return tuple_of(site.config["kernel_size"], count)


def depthwise(site: Site) -> Tensor:
    """DepthwiseConv1D/2D: kernel [*space, in, multiplier]."""
    count = len(_kernel_size(site))
    x, channels = _image(site, count)
    window = window_of(site, count)
    multiplier = int(site.config.get("depth_multiplier", 1))
    kernel = site.weight("kernel", (*window.kernel, channels, multiplier))
    moved = _depthwise_kernel(kernel)
    y = _convolve(site, x, moved, _bias(site, channels * multiplier), window, channels)
    return activate(site, y, site.config.get("activation"))


def _depthwise_kernel(kernel: AnyArray) -> AnyArray:
    """From [*space, in, multiplier] to [in * multiplier, 1, *space]."""
    count = kernel.ndim - 2
    moved = kernel.transpose(count, count + 1, *range(count))
    flat: AnyArray = moved.reshape(-1, 1, *kernel.shape[:count])
    return flat


def separable(site: Site) -> Tensor:
    """SeparableConv1D/2D: a depthwise and a pointwise convolution."""
    count = len(_kernel_size(site))
    x, channels = _image(site, count)
    window = window_of(site, count)
    multiplier = int(site.config.get("depth_multiplier", 1))
    filters = int(site.config["filters"])
    deep = site.weight("depthwise_kernel", (*window.kernel, channels, multiplier))
    point = site.weight("pointwise_kernel", (*(1,) * count, channels * multiplier, filters))
    y = _convolve(
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
    y = _convolve(
        site, y, moved, _bias(site, filters), one, 1, ("pointwise_kernel", "bias", "PointwiseConv")
    )
    return activate(site, y, site.config.get("activation"))


def transposed(site: Site) -> Tensor:
    """Conv1D/2D/3DTranspose: kernel [*space, filters, in]."""
    count = len(_kernel_size(site))
    x, channels = _image(site, count)
    window = window_of(site, count)
    filters = int(site.config["filters"])
    extra = site.config.get("output_padding")
    outs = None if extra is None else tuple_of(extra, count)
    kernel = site.weight("kernel", (*window.kernel, filters, channels))
    space = space_of(site, x.shape)
    rows = [
        _transposed_axis(site, window, axis, None if outs is None else outs[axis])
        for axis in range(count)
    ]
    sizes: list[Dim] = [
        (dim - 1) * window.strides[axis] + window.reach[axis] - before - after + more
        if isinstance(dim, int)
        else site.emitter.fresh_dim()
        for axis, (dim, (before, after, more)) in enumerate(zip(space, rows, strict=True))
    ]
    shape = keras_shape(site, x.shape[0], filters, sizes)
    form = spatial_form(site, x.rank)
    operands = [
        value(site, x, form),
        site.constant(kernel.transpose(count + 1, count, *range(count)), "kernel"),
    ]
    bias = _bias(site, filters)
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
    y = Tensor(shape, x.dtype, {form: made})
    return activate(site, y, site.config.get("activation"))


def _transposed_axis(
    site: Site, window: Window, axis: int, output_padding: int | None
) -> tuple[int, int, int]:
    """Padding before and after and output padding of one axis, as TensorFlow cuts the result.

    The transpose of a convolution with padding "same" cuts off what that padding had added; the
    size of the result is then ``stride * size``, or, with an output padding,
    ``(size - 1) * stride + kernel - 2 * (kernel // 2) + output_padding``.
    """
    stride, reach = window.strides[axis], window.reach[axis]
    if window.padding == "causal":
        raise site.unsupported("is a causal transposed convolution")
    same = window.padding == "same"
    if output_padding is None:
        surplus = reach - stride
    else:
        surplus = 2 * (reach // 2) - output_padding if same else -output_padding
    cut = max(surplus, 0) if same else 0
    return cut // 2, cut - cut // 2, max(-surplus, 0)
