"""Pools, vectorized: onnx.reference visits every window in a Python loop."""

from __future__ import annotations

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call, ints
from bnfold.verify.reference_ops.windows import Window, window_of


def _window(call: Call) -> Window:
    x = call.array(0)
    kernel = ints(call.get("kernel_shape"), [])
    return window_of(call, x.shape[2:], kernel, pool=True)


def max_pool(call: Call) -> tuple[Array, ...]:
    """MaxPool, with Indices (flat positions over the whole tensor) where they are asked for."""
    x, window = call.array(0), _window(call)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    padded = window.pad(x, lowest)
    if call.outputs < 2:
        taps = (tap for _, tap in window.taps(padded))
        best = next(taps).copy()
        for tap in taps:
            np.maximum(best, tap, out=best)
        return (best,)
    positions = window.pad(_positions(x, bool(call.get("storage_order", 0))), -1)
    best, where = None, None
    for (_, tap), (_, place) in zip(window.taps(padded), window.taps(positions), strict=True):
        if best is None or where is None:
            best, where = tap.copy(), place.copy()
            continue
        better = (tap > best) | ((where < 0) & (place >= 0))
        best, where = np.where(better, tap, best), np.where(better, place, where)
    assert best is not None and where is not None
    return best, where


def _positions(x: Array, column_major: bool) -> Array:
    """Flat index of every element; column-major counts the spatial axes in reverse."""
    spatial = x.shape[2:]
    size = int(np.prod(spatial))
    one = np.arange(size).reshape(spatial[::-1]).T if column_major else np.arange(size)
    base = np.arange(x.shape[0] * x.shape[1]) * size
    return (base[:, None] + one.reshape(1, size)).reshape(x.shape)


def average_pool(call: Call) -> tuple[Array, ...]:
    """AveragePool; the divisor counts padding only under count_include_pad."""
    x, window = call.array(0), _window(call)
    total = _sum(window.pad(x, 0.0), window)
    include = bool(call.get("count_include_pad", 0))
    return (total / _divisor(x.shape[2:], window, include),)


def _divisor(spatial: tuple[int, ...], window: Window, include: bool) -> Array:
    """How many elements each window averages, [1, 1, *out]."""
    inside = np.ones((1, 1, *spatial))
    if include:
        widths = [(max(0, h), max(0, t)) for h, t in zip(window.head, window.tail, strict=True)]
        inside = np.pad(inside, [(0, 0), (0, 0), *widths], constant_values=1.0)
        window = Window(
            window.kernel,
            window.strides,
            window.dilations,
            (0,) * len(spatial),
            (0,) * len(spatial),
            window.out,
        )
    return _sum(window.pad(inside, 0.0), window)


def _sum(padded: Array, window: Window) -> Array:
    total = np.zeros((*padded.shape[:2], *window.out), dtype=padded.dtype)
    for _, tap in window.taps(padded):
        total += tap
    return total


def lp_pool(call: Call) -> tuple[Array, ...]:
    """LpPool: (sum of |x|^p)^(1/p)."""
    x, window = call.array(0), _window(call)
    p = float(call.get("p", 2))
    return (_sum(window.pad(np.abs(x) ** p, 0.0), window) ** (1.0 / p),)


def global_max_pool(call: Call) -> tuple[Array, ...]:
    """GlobalMaxPool over every spatial axis, which stay with size 1."""
    x = call.array(0)
    return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


def global_lp_pool(call: Call) -> tuple[Array, ...]:
    """GlobalLpPool: (sum of |x|^p)^(1/p) over all of space."""
    x, p = call.array(0), float(call.get("p", 2))
    axes = tuple(range(2, x.ndim))
    return (np.sum(np.abs(x) ** p, axis=axes, keepdims=True) ** (1 / p),)
