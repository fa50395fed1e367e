"""Resizing by matrices: what TensorFlow's resampling of one axis of a known size multiplies by.

The formulas are those of its ScaleAndTranslate and ResizeArea: every result is a mean of elements
with weights that sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - x)


def _keys_cubic(x: float) -> float:
    if x >= 2.0:
        return 0.0
    if x >= 1.0:
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return (1.5 * x - 2.5) * x * x + 1.0


def _mitchell_cubic(x: float) -> float:
    if x >= 2.0:
        return 0.0
    if x >= 1.0:
        return (((-7.0 / 18.0) * x + 2.0) * x - 10.0 / 3.0) * x + 16.0 / 9.0
    return ((7.0 / 6.0) * x - 2.0) * x * x + 8.0 / 9.0


def _gaussian(x: float) -> float:
    return math.exp(-2.0 * x * x) if x < 1.5 else 0.0


def _lanczos(radius: float) -> Callable[[float], float]:
    def kernel(x: float) -> float:
        if x > radius:
            return 0.0
        if x <= 1e-3:
            return 1.0
        angle = math.pi * x
        return radius * math.sin(angle) * math.sin(angle / radius) / (angle * angle)

    return kernel


# The kernel and its radius.
_KERNELS: Mapping[str, tuple[Callable[[float], float], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_keys_cubic, 2.0),
    "gaussian": (_gaussian, 1.5),
    "lanczos3": (_lanczos(3.0), 3.0),
    "lanczos5": (_lanczos(5.0), 5.0),
    "mitchellcubic": (_mitchell_cubic, 2.0),
}


def needs_matrix(kind: str, antialias: bool) -> bool:
    """Whether ONNX's Resize does not interpolate like this."""
    if kind == "area":
        return True
    return kind in _KERNELS and (antialias or kind != "bilinear")


def keeps_size(kind: str) -> bool:
    """Whether images that stay as large stay as they are; these two blur them all the same."""
    return kind not in ("gaussian", "mitchellcubic")


def resampling(kind: str, size: int, target: int, antialias: bool) -> Array:
    """The matrix [target, size] that resamples one axis."""
    if kind == "area":
        return _area(size, target)
    if kind == "bicubic" and not antialias:
        return _by_table(size, target)
    return _spans(kind, size, target, antialias)


_TABLE = 1024


def _by_table(size: int, target: int) -> Array:
    """TensorFlow takes the weights of its bicubic interpolation from a table of so many steps."""
    step, half = np.float32(size) / np.float32(target), np.float32(0.5)
    matrix = np.zeros((target, size))
    for place in range(target):
        centre = (np.float32(place) + half) * step - half
        start = math.floor(centre)
        apart = round(float((centre - np.float32(start)) * np.float32(_TABLE))) / _TABLE
        for one in range(max(start - 1, 0), min(start + 3, size)):
            matrix[place, one] = _keys_cubic(abs(one - start - apart))
        matrix[place] /= matrix[place].sum()
    return matrix


def _spans(kind: str, size: int, target: int, antialias: bool) -> Array:
    kernel, radius = _KERNELS[kind]
    step = size / target
    # Where pixels become fewer, antialiasing widens the kernel.
    width = max(step, 1.0) if antialias else 1.0
    matrix = np.zeros((target, size))
    for place in range(target):
        centre = (place + 0.5) * step
        start = min(max(math.ceil(centre - radius * width - 0.5), 0), size - 1)
        stop = min(max(math.floor(centre + radius * width - 0.5), 0), size - 1) + 1
        weights = [kernel(abs(one + 0.5 - centre) / width) for one in range(start, stop)]
        total = sum(weights)
        matrix[place, start:stop] = np.asarray(weights) / (total or 1.0)
    return matrix


def _area(size: int, target: int) -> Array:
    step = size / target
    matrix = np.zeros((target, size))
    for place in range(target):
        low, high = place * step, (place + 1) * step
        for one in range(math.floor(low), min(math.ceil(high), size)):
            matrix[place, one] = min(one + 1, high) - max(one, low)
    return matrix / step
