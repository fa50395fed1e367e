"""Are the stored constants the unrounded ones, rounded once?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.codes import Fault
from bnfold.verify.types import Check, CheckKind, Status

Array = NDArray[Any]

# Rounding to nearest is off by half a unit; the rest is for types that are rounded to through
# float32.
_BOUND = 0.51


def check_stored(folded: ir.Model, exact: ir.Model) -> Check:
    """The largest distance of a stored constant from its unrounded counterpart, in ulp.

    Args:
        folded: with the constants that are in the file.
        exact: the same model with float64 constants, under the same names.
    """
    worst, where, count = -1.0, "", 0
    unrounded = dict(_constants(exact))
    for name, stored in _constants(folded):
        other = unrounded.get(name)
        if other is None:
            continue
        distance = _distance(stored.numpy(), other.numpy())
        if distance is None:
            continue
        count += 1
        if not distance <= worst:
            worst, where = distance, name
    if not count:
        detail = "no constant has an unrounded counterpart"
        return Check(CheckKind.WEIGHTS, Status.SKIPPED, None, None, "", detail)
    held = worst <= _BOUND
    return Check(
        CheckKind.WEIGHTS,
        Status.PASSED if held else Status.FAILED,
        worst,
        _BOUND,
        "ulp",
        f"{count} stored constants are the unrounded ones, rounded once",
        "" if held else Fault.WEIGHTS.code,
        where,
    )


def _constants(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype.is_floating_point():
                yield name, value.const_value


def _distance(stored: Array, exact: Array) -> float | None:
    """Largest |stored - exact| in units of the stored type's last place; None if not comparable."""
    if stored.dtype not in _LAST_PLACE or exact.dtype != np.float64:
        return None
    if stored.shape != exact.shape:
        return float("inf")
    if not stored.size:
        return 0.0
    digits, smallest = _LAST_PLACE[stored.dtype]
    value = stored.astype(np.float64)
    same = (value == exact) | (np.isnan(value) & np.isnan(exact))
    size = np.maximum(np.abs(exact), np.abs(value))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.where(size > 0, size, 1.0)))
        unit = np.maximum(np.ldexp(1.0, (exponent - digits).astype(int)), smallest)
        distance = np.where(same, 0.0, np.abs(value - exact) / unit)
    return float(np.max(np.where(np.isnan(distance), np.inf, distance)))


# Type -> digits behind the leading one, and the distance of subnormal numbers.
_LAST_PLACE: dict[np.dtype[Any], tuple[int, float]] = {
    np.dtype(np.float64): (52, 2.0**-1074),
    np.dtype(np.float32): (23, 2.0**-149),
    np.dtype(np.float16): (10, 2.0**-24),
    np.dtype(ml_dtypes.bfloat16): (7, 2.0**-133),
}
