"""Rounding a folded constant once to its own type, and saying when that type is too small."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason


def numpy_type(dtype: ir.DataType) -> np.dtype[np.generic]:
    """The numpy type of an ONNX floating type."""
    return np.dtype(dtype.numpy())


def rounded(exact: Array, dtype: ir.DataType) -> NDArray[np.generic]:
    """``exact`` rounded once to ``dtype``."""
    with np.errstate(over="ignore", under="ignore"):
        return exact.astype(numpy_type(dtype))


def too_small(
    original: Array, exact: Array, result: NDArray[np.generic], factor: Affine
) -> Reason | None:
    """Why ``result`` cannot stand for ``exact`` in its type; None if it can.

    Overflow: an infinity that the original had not. Underflow: in some channel the rounding
    error exceeds the unit roundoff times the largest element, which only numbers below the
    smallest normal one can cause (Higham, Accuracy and Stability, 2.1).
    """
    if np.isfinite(original).all() and not np.isfinite(result.astype(np.float64)).all():
        return Reason.OVERFLOW
    info = ml_dtypes.finfo(result.dtype)  # type: ignore[no-untyped-call]
    unit = float(info.eps) / 2
    spread = factor.scale.shape
    kept = [
        axis
        for axis in range(exact.ndim)
        if axis - exact.ndim + len(spread) >= 0 and spread[axis - exact.ndim + len(spread)] > 1
    ]
    others = tuple(axis for axis in range(exact.ndim) if axis not in kept)
    error = np.abs(result.astype(np.float64) - exact).max(axis=others, initial=0.0)
    largest = np.abs(exact).max(axis=others, initial=0.0)
    before = np.abs(original).max(initial=0.0)
    if np.any((error > unit * largest * 1.01) & (before >= float(info.tiny))):
        return Reason.UNDERFLOW
    return None
