"""How finely each float type can hold a number, and how far a rounded constant may be off.

A fold multiplies constants and rounds the product once to the type of the kernel or bias, so a
correct one is at most half a unit in the last place (ulp) away from what the algebra demands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Relative size of what float64 arithmetic of the prover itself may leave behind: 64 * 2**-53.
NOISE = 64 * 2.0**-53


@dataclass(frozen=True)
class Grain:
    """A binary float format.

    Attributes:
        name: as NumPy calls it.
        bits: explicit bits of the significand.
        lowest: exponent of its smallest subnormal.
    """

    name: str
    bits: int
    lowest: int

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number."""
        return float(2.0**-self.bits)

    @property
    def limit(self) -> float:
        """Most ulps that count as rounding.

        One rounding gives 0.5. Constants that were rounded before (a statistic in float32, two
        merged affines) and the arithmetic of other tools leave up to about 3. In float64 the
        folder's own arithmetic and the prover's are as coarse as the type.
        """
        return 64.0 if self.bits >= 52 else 4.0

    def spacing(self, values: Array) -> Array:
        """Distance between neighbouring numbers of this type at ``values``; same shape."""
        _, exponent = np.frexp(values)
        return np.asarray(np.ldexp(1.0, np.maximum(exponent - 1 - self.bits, self.lowest)))


#: How many times the largest rounding a difference must be to be a fault for certain. Between the
#: two lies what is neither proved nor refuted.
CERTAIN = 4.0

EXACT = Grain("exact", 200, -1000)
FLOAT64 = Grain("float64", 52, -1074)
FLOAT32 = Grain("float32", 23, -149)
FLOAT16 = Grain("float16", 10, -24)
BFLOAT16 = Grain("bfloat16", 7, -133)

GRAINS: dict[ir.DataType, Grain] = {
    ir.DataType.DOUBLE: FLOAT64,
    ir.DataType.FLOAT: FLOAT32,
    ir.DataType.FLOAT16: FLOAT16,
    ir.DataType.BFLOAT16: BFLOAT16,
}


def coarser(first: Grain, second: Grain) -> Grain:
    """The one with fewer digits."""
    return first if first.bits <= second.bits else second
