"""Resize and Upsample with onnxruntime's output sizes and source positions.

Both are computed in float32 there, and a position decides which pixels are read, so the same
positions are used here; the interpolation itself is float64. onnx.reference takes sizes from
float64 products, so that 0.7 * 10 gives 6, and knows no linear Upsample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call, ints

F32 = np.float32


def resize(call: Call) -> tuple[Array, ...]:
    """Resize (opset 10 and later).

    Raises:
        NotImplementedError: for antialias and tf_crop_and_resize.
    """
    x = call.array(0)
    if call.get("antialias", 0):
        raise NotImplementedError("Resize with antialias")
    if call.opset < 11:
        scales, sizes = call.optional(1), None
        position = "asymmetric"
        nearest = "floor" if _upscales(scales) else "ceil"
    else:
        scales, sizes = call.optional(2), call.optional(3)
        position = call.get("coordinate_transformation_mode", "half_pixel")
        nearest = call.get("nearest_mode", "round_prefer_floor")
    if position == "tf_crop_and_resize":
        raise NotImplementedError("Resize with tf_crop_and_resize")
    axes = [a % x.ndim for a in ints(call.get("axes"), list(range(x.ndim)))]
    plan = _plan(call, x.shape, axes, scales, sizes)
    return (_interpolate(call, x, plan, position, nearest),)


def upsample(call: Call) -> tuple[Array, ...]:
    """Upsample (opsets 7 to 9): positions are output index / scale."""
    x = call.array(0)
    given = call.optional(1)
    scales = np.asarray(call.get("scales")) if given is None else given
    plan = _plan(call, x.shape, list(range(x.ndim)), scales, None)
    return (_interpolate(call, x, plan, "asymmetric", "floor"),)


def _upscales(scales: Array | None) -> bool:
    return scales is None or bool(np.all(scales >= 1))


def _plan(
    call: Call, shape: tuple[int, ...], axes: list[int], scales: Array | None, sizes: Array | None
) -> dict[int, tuple[int, np.float32]]:
    """Output size and scale of each axis that changes."""
    if sizes is not None and sizes.size:
        wanted = [int(v) for v in sizes]
        factors = [F32(w) / F32(shape[a]) for w, a in zip(wanted, axes, strict=True)]
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(axes)
            wanted = [int(np.floor(factor * F32(shape[a]) + F32(0.5))) for a in axes]
    elif scales is not None and scales.size:
        factors = [F32(v) for v in scales]
        wanted = [int(f * F32(shape[a])) for f, a in zip(factors, axes, strict=True)]
    else:
        raise ValueError("Resize has neither scales nor sizes")
    return {
        a: (w, f)
        for a, w, f in zip(axes, wanted, factors, strict=True)
        if not (w == shape[a] and f == 1)
    }


def _positions(mode: str, size: int, out: int, scale: np.float32) -> Array:
    """Source position of each output index along one axis, [out] in float32."""
    index = np.arange(out, dtype=F32)
    half = F32(0.5)
    if mode == "align_corners":
        if out == 1:
            return np.zeros(out, F32)
        return np.asarray(index * F32(size - 1) / F32(out - 1))
    if mode == "asymmetric":
        return np.asarray(index / scale)
    if mode == "pytorch_half_pixel" and out == 1:
        return np.full(out, -half)
    centred = np.asarray((index + half) / scale - half)
    if mode == "half_pixel_symmetric":
        adjustment = F32(out) / (scale * F32(size))
        return np.asarray(centred + F32(size / 2) * (F32(1) - adjustment))
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return centred
    raise NotImplementedError(f"coordinate_transformation_mode {mode}")


_NEAREST: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda p: np.ceil(p - F32(0.5)),
    "round_prefer_ceil": lambda p: np.floor(p + F32(0.5)),
}


def _interpolate(
    call: Call,
    x: Array,
    plan: dict[int, tuple[int, np.float32]],
    position: str,
    nearest: str,
) -> Array:
    mode = call.get("mode", "nearest")
    for axis, (out, scale) in plan.items():
        size = x.shape[axis]
        where = _positions(position, size, out, scale)
        if mode == "nearest":
            x = x.take(np.clip(_NEAREST[nearest](where).astype(int), 0, size - 1), axis=axis)
            continue
        index, weights = _taps(call, mode, where, size)
        x = _weighted(x, axis, index, weights)
    return x


def _taps(call: Call, mode: str, where: Array, size: int) -> tuple[Array, Array]:
    """Indices and weights [taps, out] along one axis."""
    if mode in ("linear", "bilinear"):
        where = np.clip(where, 0, size - 1)
        base = np.floor(where)
        ratio = where.astype(np.float64) - base
        offsets, weights = np.arange(2), np.stack([1 - ratio, ratio])
    else:
        a = float(call.get("cubic_coeff_a", -0.75))
        base = np.floor(where)
        ratio = where.astype(np.float64) - base
        offsets, weights = np.arange(-1, 3), _cubic(ratio, a)
    index = base.astype(int) + offsets[:, None]
    if call.get("exclude_outside", 0):
        weights = np.where((index >= 0) & (index < size), weights, 0.0)
        weights = weights / weights.sum(axis=0)
    return np.clip(index, 0, size - 1), weights


def _cubic(t: Array, a: float) -> Array:
    """Weights of the four neighbours at distance t in [0, 1) (Keys, 1981)."""
    far = [a * (d**3 - 5 * d**2 + 8 * d - 4) for d in (1 + t, 2 - t)]
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, 1 - t)]
    return np.stack([far[0], near[0], near[1], far[1]])


def _weighted(x: Array, axis: int, index: Array, weights: Array) -> Array:
    shape = [1] * x.ndim
    shape[axis] = -1
    total: Array = np.zeros(())
    for row, weight in zip(index, weights, strict=True):
        total = total + x.take(row, axis=axis) * weight.reshape(shape)
    return total
