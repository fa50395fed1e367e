"""Operators on images, in batches or alone: colours, sizes, borders, patches, filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.convolutions import (
    channels_of,
    convolve,
    is_channels_first,
    keras_shape,
    space_of,
)
from bnfold.convert.direct.expressions import Expr, One, Options, Rule
from bnfold.convert.direct.layout import constant, reshape, squeeze, transpose, unsqueeze
from bnfold.convert.direct.operators_math import saturated
from bnfold.convert.direct.operators_nn import configured, known, patches_kernel
from bnfold.convert.direct.ops import cast, concat, gather, pad, slices, split, unary
from bnfold.convert.direct.promotion import alone, in_floats, is_float
from bnfold.convert.direct.resampling import keeps_size
from bnfold.convert.direct.shaping import resize
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.geometry import Window, tuple_of
from bnfold.formats.keras.graph import AnyArray, float_dtype

Images = Callable[[Site, Tensor, Options], Tensor]


def _of_images(function: Images, count: int = 2) -> One:
    """A rule for batches of images, that images alone go through as batches of one."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        site = configured(site, options)
        x = alone(site, args[0])
        if x.rank == count + 2:
            return function(site, x, options)
        if x.rank != count + 1:
            raise site.unsupported(f"is given a value with {x.rank} axes")
        return squeeze(site, function(site, unsqueeze(site, x, [0]), options), [0])

    return rule


def _channels(site: Site, x: Tensor) -> int:
    return known(site, [channels_of(site, x.shape)])[0]


def _filtered(
    site: Site, x: Tensor, kernel: AnyArray, padding: str = "valid", groups: int = 1
) -> Tensor:
    """A convolution by a constant kernel [out, in, *space]."""
    ones = (1,) * (kernel.ndim - 2)
    window = Window(kernel.shape[2:], ones, ones, padding)
    return convolve(site, x, kernel.astype(float_dtype(x.dtype)), None, window, groups)


# -- colours -------------------------------------------------------------------------------


def _grayscale(site: Site, x: Tensor, options: Options) -> Tensor:
    channels = _channels(site, x)
    if channels == 1:
        return x
    if channels != 3:
        raise site.unsupported(f"is given an image with {channels} channels")
    kernel = np.asarray([0.2989, 0.5870, 0.1140]).reshape(1, 3, 1, 1)
    return cast(site, _filtered(site, in_floats(site, x), kernel), x.dtype)


def _colours(function: Callable[[Expr, Expr, Expr], Sequence[Expr]]) -> Images:
    """A function of three channels to three channels."""

    def images(site: Site, x: Tensor, options: Options) -> Tensor:
        if _channels(site, x) != 3 or not is_float(x.dtype):
            raise site.unsupported("is given something else than three channels of floats")
        axis = 1 if is_channels_first(site) else x.rank - 1
        parts = [Expr(site, one) for one in split(site, x, [1, 1, 1], axis)]
        return concat(site, [one.tensor for one in function(*parts)], axis)

    return images


def _to_hsv(red: Expr, green: Expr, blue: Expr) -> Sequence[Expr]:
    """Hue, saturation and value, each from 0 to 1."""
    large = red.apply("Max", green, blue)
    spread = large - red.apply("Min", green, blue)
    saturation = (large > 0).choose(spread / large, 0.0)
    unit = 1.0 / (spread * 6.0)
    hue = green.equals(large).choose(
        unit * (blue - red) + 2.0 / 6.0, unit * (red - green) + 4.0 / 6.0
    )
    hue = red.equals(large).choose(unit * (green - blue), hue)
    hue = (spread > 0).choose(hue, 0.0)
    return (hue < 0).choose(hue + 1.0, hue), saturation, large


def _to_rgb(hue: Expr, saturation: Expr, level: Expr) -> Sequence[Expr]:
    """Red, green and blue of hues on a wheel of six sectors."""
    sector = hue * 6.0
    pure = (abs(sector - 3.0) - 1.0, 2.0 - abs(sector - 2.0), 2.0 - abs(sector - 4.0))
    return [
        ((1.0 - saturation) + saturation * one.apply("Max", 0.0).apply("Min", 1.0)) * level
        for one in pure
    ]


# -- sizes and borders ---------------------------------------------------------------------


def _resize(site: Site, x: Tensor, options: Options) -> Tensor:
    """To a stated size. TensorFlow interpolates in float32, which Keras 3 casts back."""
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio"):
        if options.get(key):
            raise site.unsupported(f"resizes with {key}")
    height, width = (int(one) for one in options["size"])
    kind = str(options.get("interpolation") or "bilinear")
    if space_of(site, x.shape) == (height, width) and keeps_size(kind):
        return x
    start = x if kind == "nearest" else cast(site, x, "float32")
    shape = keras_shape(site, x.shape[0], channels_of(site, x.shape), (height, width))
    y = resize(site, start, shape, kind, None, bool(options.get("antialias")))
    if y.dtype == x.dtype or site.generation == 2:
        return y
    return saturated(site, y if is_float(x.dtype) else unary(site, "Round", y), x.dtype)


_SIDES = (("top", "bottom", "height"), ("left", "right", "width"))


def _amounts(site: Site, x: Tensor, options: Options, what: str, sign: int) -> list[Any]:
    """Rows and columns to add or cut before and after; None where a size says it."""
    found: list[Any] = []
    for (before, after, extent), dim in zip(_SIDES, space_of(site, x.shape), strict=True):
        first, last = (options.get(f"{side}_{what}") for side in (before, after))
        target = options.get(f"target_{extent}")
        if first is None or last is None:
            if not isinstance(dim, int):
                raise site.unsupported("aims at a size from one that is free")
            total = sign * (int(target) - dim)  # type: ignore[arg-type]
            first = total - int(last or 0) if first is None else first
            last = total - int(first) if last is None else last
        found.append((int(first), int(last)))
    return found


def _pad_images(site: Site, x: Tensor, options: Options) -> Tensor:
    rows, columns = _amounts(site, x, options, "padding", 1)
    if min(*rows, *columns) < 0:
        raise site.unsupported("pads by less than nothing")
    lead = 2 if is_channels_first(site) else 1
    pairs = [(0, 0)] * 4
    pairs[lead : lead + 2] = [rows, columns]
    return pad(site, x, pairs)


def _crop_images(site: Site, x: Tensor, options: Options) -> Tensor:
    lead = 2 if is_channels_first(site) else 1
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    for axis, (before, after) in enumerate(_amounts(site, x, options, "cropping", -1), lead):
        if min(before, after) < 0:
            raise site.unsupported("crops by less than nothing")
        cuts[axis] = (before or None, -after if after else None, 1)
    return slices(site, x, cuts)


# -- patches and filters -------------------------------------------------------------------


def _patches(site: Site, args: list[Any], options: Options) -> Tensor:
    size = options["size"]
    count = 2 if isinstance(size, int) else len(size)

    def images(site: Site, x: Tensor, options: Options) -> Tensor:
        return _laid_out(site, x, options, count)

    return _of_images(images, count)(site, args, options)


def _laid_out(site: Site, x: Tensor, options: Options, count: int) -> Tensor:
    """The elements of each window as channels: by place, then by channel."""
    channels = _channels(site, x)
    kernel = tuple_of(options["size"], count)
    strides, rates = options.get("strides"), options.get("dilation_rate") or 1
    steps = kernel if strides is None else tuple_of(strides, count)
    padding = str(options.get("padding") or "valid").lower()
    window = Window(kernel, steps, tuple_of(rates, count), padding)
    y = convolve(site, x, patches_kernel(channels, kernel, x.dtype), None, window, channels)
    total = int(np.prod(kernel))
    if min(channels, total) == 1:
        return y
    # The grouped convolution lays them by channel, then by place.
    order = np.arange(channels * total).reshape(channels, total).T.reshape(-1)
    return gather(site, y, constant(order.astype(np.int64)), 1 if is_channels_first(site) else -1)


def _blur(site: Site, x: Tensor, options: Options) -> Tensor:
    sizes = tuple_of(options.get("kernel_size", (3, 3)), 2)
    widths = [float(one) for one in options.get("sigma", (1.0, 1.0))]
    rows, columns = (_bell(size, width) for size, width in zip(sizes, widths, strict=True))
    # Keras takes the first size and width for columns, and reshapes the product to the sizes.
    kernel = np.outer(columns, rows).reshape(1, 1, *sizes)
    channels = _channels(site, x)
    return _filtered(site, x, np.tile(kernel, (channels, 1, 1, 1)), "same", channels)


def _bell(size: int, width: float) -> AnyArray:
    places = np.arange(size, dtype=np.float64) - (size - 1) / 2
    weights = np.exp(-0.5 * (places / width) ** 2)
    return np.asarray(weights / weights.sum())


_SOBEL = np.asarray([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])


def _sobel(site: Site, x: Tensor, options: Options) -> Tensor:
    """Differences down and across, along a new last axis."""
    first, channels = is_channels_first(site), _channels(site, x)
    pairs = [(0, 0)] * 4
    lead = 2 if first else 1
    pairs[lead : lead + 2] = [(1, 1), (1, 1)]
    kernel = np.tile(np.stack([_SOBEL, _SOBEL.T])[:, None], (channels, 1, 1, 1))
    y = _filtered(site, pad(site, x, pairs, "reflect"), kernel, groups=channels)
    space = space_of(site, x.shape)
    if first:
        wide = reshape(site, y, (x.shape[0], channels, 2, *space))
        return transpose(site, wide, (0, 1, 3, 4, 2))
    return reshape(site, y, (x.shape[0], *space, channels, 2))


IMAGES: Mapping[str, Rule] = {
    "CropImages": _of_images(_crop_images),
    "ExtractPatches": _patches,
    "GaussianBlur": _of_images(_blur),
    "HSVToRGB": _of_images(_colours(_to_rgb)),
    "PadImages": _of_images(_pad_images),
    "RGBToGrayscale": _of_images(_grayscale),
    "RGBToHSV": _of_images(_colours(_to_hsv)),
    "Resize": _of_images(_resize),
    "SobelEdges": _of_images(_sobel),
}
