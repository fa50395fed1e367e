"""A folded constant: what it is computed from, whether it fits its type, and its tensor.

Large ones are computed when they are written, one after the other, so that memory does not grow
with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.formats.onnx.constants import is_float

# Below this many elements a constant is computed at once: keeping it costs nothing.
_SMALL = 1 << 16
# Elements that are widened at a time: what does not leave the processor's cache is quick.
_CHUNK = 1 << 15


@dataclass(frozen=True, eq=False)
class Edited:
    """``affine`` of a constant, to be rounded once to ``dtype``.

    Attributes:
        base: the constant in its own type; a zero of rank 0 for a constant that is new.
        affine: scale and shift, broadcastable with ``base``.
        dtype: the type of the result.
        is_new: there was no constant before, so leading axes of size 1 are kept.
    """

    base: NDArray[np.generic]
    affine: Affine
    dtype: ir.DataType
    is_new: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: leading axes that only the affine has are dropped."""
        shape = np.broadcast_shapes(self.base.shape, self.affine.shape)
        while not self.is_new and len(shape) > max(self.base.ndim, 1) and shape[0] == 1:
            shape = shape[1:]
        return shape

    def exact(self) -> Array:
        """The result in float64, unrounded."""
        result = self.base.astype(np.float64) * self.affine.scale + self.affine.shift
        return result.reshape(self.shape)

    def compute(self) -> NDArray[np.generic]:
        """The result, rounded once; large ones a slice at a time."""
        target = np.dtype(self.dtype.numpy())
        full = np.broadcast_shapes(self.base.shape, self.affine.shape)
        result = np.empty(full, dtype=target)
        rank = len(full)
        scale, shift = self.affine.at_rank(rank).scale, self.affine.at_rank(rank).shift
        base = self.base.reshape((1,) * (rank - self.base.ndim) + self.base.shape)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if not rank:
                return np.asarray(self.exact().astype(target))
            step = max(1, _CHUNK // max(1, result[:1].size))
            # One buffer for all slices: to get memory anew costs more than the arithmetic.
            wide = np.empty((min(step, full[0]), *full[1:]))
            shifted = bool(shift.any())
            for start in range(0, full[0], step):
                rows = slice(start, start + step)
                part = wide[: min(step, full[0] - start)]
                np.copyto(part, _rows(base, rows))
                np.multiply(part, _rows(scale, rows), out=part)
                if shifted:
                    np.add(part, _rows(shift, rows), out=part)
                result[rows] = part
        return result.reshape(self.shape)

    def tensor(self, name: str) -> ir.TensorProtocol:
        """The result as a tensor, computed now if it is small and when it is read if not."""
        if self.base.size <= _SMALL:
            return ir.Tensor(self.compute(), dtype=self.dtype, name=name)
        return ir.LazyTensor(
            lambda: ir.Tensor(self.compute(), dtype=self.dtype, name=name),
            dtype=self.dtype,
            shape=ir.Shape(self.shape),
            name=name,
        )

    def why_not(self) -> Reason | None:
        """Why the type cannot hold the result; None if it can.

        Overflow: an infinity that the original had not. Underflow: in some channel the rounding
        error exceeds the unit roundoff times the largest element, which only numbers below the
        smallest normal one can cause (Higham, Accuracy and Stability, 2.1).
        """
        if not is_float(self.dtype):
            return Reason.UNREADABLE_CONSTANT
        if not _meet(self.base.shape, self.affine.shape):
            return Reason.AXIS_MISMATCH
        if self.base.size > _SMALL and self._fits_by_bounds():
            return None
        original, exact, result = self.base.astype(np.float64), self.exact(), self.compute()
        if np.isfinite(original).all() and not np.isfinite(result.astype(np.float64)).all():
            return Reason.OVERFLOW
        info = ml_dtypes.finfo(result.dtype)  # type: ignore[no-untyped-call]
        unit = float(info.eps) / 2
        others = _other_axes(self.affine, exact.ndim)
        error = np.abs(result.astype(np.float64) - exact).max(axis=others, initial=0.0)
        largest = np.abs(exact).max(axis=others, initial=0.0)
        normal = np.abs(original).max(initial=0.0) >= float(info.tiny)
        if normal and np.any(error > unit * largest * 1.01):
            return Reason.UNDERFLOW
        return None

    def _fits_by_bounds(self) -> bool:
        """Whether channel maxima alone show that a pure scale neither over- nor underflows."""
        info = ml_dtypes.finfo(np.dtype(self.dtype.numpy()))  # type: ignore[no-untyped-call]
        if not self.affine.is_scale or self.affine.rank > self.base.ndim:
            return False
        others = _other_axes(self.affine, self.base.ndim)
        high = self.base.max(axis=others, keepdims=True).astype(np.float64)
        low = self.base.min(axis=others, keepdims=True).astype(np.float64)
        largest = np.abs(np.maximum(high, -low) * self.affine.scale)
        # Rounding loses half a spacing below the smallest normal: far above, nothing is lost.
        safe = (largest == 0.0) | (largest > float(info.tiny) / float(info.eps) * 4)
        return bool(np.all(np.isfinite(largest) & (largest < float(info.max)) & safe))


def _meet(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes broadcast; those of a model that no runtime would take may not."""
    return all(a == b or 1 in (a, b) for a, b in zip(one[::-1], other[::-1], strict=False))


def _rows(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    return array if array.shape[0] == 1 else array[rows]


def _other_axes(affine: Affine, rank: int) -> tuple[int, ...]:
    """Axes of the result along which the scale is constant."""
    spread = affine.scale.shape
    offset = rank - len(spread)
    return tuple(a for a in range(rank) if a < offset or spread[a - offset] == 1)
