"""Layers that resize, crop or recolour images."""

from __future__ import annotations

import numpy as np

from bnfold.convert.direct.activations import clip
from bnfold.convert.direct.convolutions import is_channels_first, keras_shape, space_of
from bnfold.convert.direct.layout import constant
from bnfold.convert.direct.operators_math import saturated
from bnfold.convert.direct.ops import cast, elementwise, pad, reduce, slices, unary
from bnfold.convert.direct.promotion import is_float
from bnfold.convert.direct.resampling import keeps_size
from bnfold.convert.direct.shaping import resize
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor


def resizing(site: Site) -> Tensor:
    """Resizing to a size that the config states."""
    x, config = _images(site), site.config
    kind = str(config.get("interpolation", "bilinear"))
    whole = not is_float(x.dtype)
    back = x.dtype if whole and site.generation == 3 else ""
    x = cast(site, x, "float32" if back else site.dtype) if whole else x
    if config.get("crop_to_aspect_ratio"):
        x = _cropped(site, x)
    elif config.get("pad_to_aspect_ratio"):
        x = _padded(site, x)
    y = _resized(site, x, kind, bool(config.get("antialias")))
    # Whole numbers again, as Keras 3 gives them for images of whole numbers.
    return saturated(site, unary(site, "Round", y), back) if back else y


def _images(site: Site) -> Tensor:
    x = site.input
    if x.rank != 4:
        raise site.unsupported("is given something else than a batch of images")
    return x


def _target(site: Site) -> tuple[int, int]:
    return int(site.config["height"]), int(site.config["width"])


def _resized(site: Site, x: Tensor, kind: str = "bilinear", antialias: bool = False) -> Tensor:
    target = _target(site)
    if space_of(site, x.shape) == target and keeps_size(kind):
        return x
    channels = x.shape[1] if is_channels_first(site) else x.shape[3]
    shape = keras_shape(site, x.shape[0], channels, target)
    return resize(site, x, shape, kind, None, antialias)


def _sizes(site: Site, x: Tensor) -> tuple[int, int]:
    height, width = space_of(site, x.shape)
    if not isinstance(height, int) or not isinstance(width, int):
        raise site.unsupported("keeps the aspect ratio of images whose size is free")
    return height, width


def _of_ratio(site: Site, height: int, width: int) -> tuple[int, int]:
    """Height that goes with this width, and width that goes with this height."""
    want_height, want_width = _target(site)
    # TensorFlow divides in float32.
    tall = int(np.float32(width * want_height) / np.float32(want_width))
    return tall, int(np.float32(height * want_width) / np.float32(want_height))


def _spatial(site: Site) -> tuple[int, int]:
    return (2, 3) if is_channels_first(site) else (1, 2)


def _cropped(site: Site, x: Tensor) -> Tensor:
    """The middle of the images, as large as their sides' ratio allows."""
    sizes = _sizes(site, x)
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    for axis, have, want in zip(_spatial(site), sizes, _of_ratio(site, *sizes), strict=True):
        kept = max(min(have, want), 1)
        start = (have - kept) // 2
        cuts[axis] = (start, start + kept, 1) if kept < have else (None, None, 1)
    return slices(site, x, cuts)


def _padded(site: Site, x: Tensor) -> Tensor:
    """The images with as much beside them as their sides' ratio asks for."""
    sizes = _sizes(site, x)
    amounts = [(0, 0)] * x.rank
    for axis, have, want in zip(_spatial(site), sizes, _of_ratio(site, *sizes), strict=True):
        border = (max(have, want) - have) // 2
        amounts[axis] = (border, border)
    return pad(site, x, amounts, fill=float(site.config.get("fill_value") or 0.0))


def center_crop(site: Site) -> Tensor:
    """CenterCrop: the middle of larger images; smaller ones are resized."""
    x = _images(site)
    x = x if is_float(x.dtype) else cast(site, x, site.dtype)
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    smaller = False
    for axis, want in zip(_spatial(site), _target(site), strict=True):
        have = x.shape[axis]
        if not isinstance(have, int):
            raise site.unsupported("crops images whose size is free")
        smaller = smaller or have < want
        start = (have - want) // 2
        cuts[axis] = (start, start + want, 1)
    return _resized(site, _cropped(site, x)) if smaller else slices(site, x, cuts)


def random_crop(site: Site) -> Tensor:
    """RandomCrop: at inference Keras 3 leaves images alone, Keras 2 resizes them."""
    if site.generation == 3:
        return site.input
    if site.is_training:
        raise site.unsupported("is called with training=True, so its result is random")
    x = _images(site)
    x = x if is_float(x.dtype) else cast(site, x, site.dtype)
    return _resized(site, _cropped(site, x))


def auto_contrast(site: Site) -> Tensor:
    """AutoContrast: each channel of each image stretched over the whole range."""
    x = cast(site, _images(site), site.dtype)
    low, high = sorted(float(one) for one in site.config.get("value_range", (0, 255)))
    y = _between(site, x, (low, high), (0.0, 255.0))
    # Whatever the data format, these are the second axis and the third.
    least, most = (reduce(site, op, y, [1, 2], True) for op in ("ReduceMin", "ReduceMax"))
    width = elementwise(site, "Sub", most, least)
    scale = elementwise(site, "Div", constant(site.number(255.0, x.dtype)), width, dtype=x.dtype)
    shift = elementwise(site, "Neg", elementwise(site, "Mul", least, scale))
    y = elementwise(site, "Add", elementwise(site, "Mul", y, scale), shift)
    y = _between(site, clip(site, y, 0.0, 255.0), (0.0, 255.0), (low, high))
    undefined = elementwise(site, "IsNaN", y, dtype="bool")
    return elementwise(site, "Where", undefined, x, y, dtype=x.dtype)


def _between(
    site: Site, x: Tensor, source: tuple[float, float], target: tuple[float, float]
) -> Tensor:
    """Values of one range as those of another."""
    if source == target:
        return x
    steps = (
        ("Sub", source[0]),
        ("Div", source[1] - source[0]),
        ("Mul", target[1] - target[0]),
        ("Add", target[0]),
    )
    for op, number in steps:
        if (op in ("Sub", "Add") and number == 0.0) or (op in ("Div", "Mul") and number == 1.0):
            continue
        x = elementwise(site, op, x, constant(site.number(number, x.dtype)))
    return x
