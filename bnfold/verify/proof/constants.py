"""Constants: initializers, Constant nodes, and whatever is computed from them alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.rounding import EXACT, GRAINS, Array, Grain


@dataclass(eq=False)
class Const:
    """A value known before the model runs.

    Attributes:
        value: as stored; float64 where it was computed from other constants (a dequantized
            weight, a square root): then it is the real number, which the runtime rounds.
        dtype: the ONNX element type.
        grain: coarsest float type that it was stored in on its way (a float16 weight that is
            cast to float32 has the digits of float16).
    """

    value: NDArray[Any]
    dtype: ir.DataType | None
    grain: Grain

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dims."""
        return tuple(self.value.shape)

    @property
    def floating(self) -> bool:
        """Whether it holds floats that the algebra speaks of."""
        return self.dtype in GRAINS

    @property
    def exact(self) -> bool:
        """Whether the value has more digits than its type."""
        own = self.dtype in GRAINS and self.dtype != ir.DataType.DOUBLE
        return own and self.value.dtype == np.float64

    @property
    def typed(self) -> NDArray[Any]:
        """Rounded to its type."""
        if not self.exact or self.dtype is None:
            return self.value
        with np.errstate(all="ignore"):
            return self.value.astype(self.dtype.numpy())

    @cached_property
    def real(self) -> Array:
        """As float64."""
        return np.asarray(self.value, dtype=np.float64)

    @cached_property
    def finite(self) -> bool:
        """Whether it holds neither NaN nor infinity."""
        if not self.floating:
            return True
        return bool(np.isfinite(self.value).all())

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for equal constants, whoever stores them."""
        return ("const", self.dtype, self.shape, digest(self.typed))

    def ints(self) -> tuple[int, ...]:
        """Its elements as Python integers."""
        return tuple(int(i) for i in self.value.ravel())


def digest(array: NDArray[Any]) -> str:
    """A hash of the elements."""
    if array.dtype == object:
        data = repr(array.tolist()).encode()
    else:
        data = np.ascontiguousarray(array).tobytes()
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def of_tensor(tensor: ir.TensorProtocol) -> Const:
    """The constant that a tensor holds."""
    return Const(np.asarray(tensor.numpy()), tensor.dtype, GRAINS.get(tensor.dtype, EXACT))


def of_array(array: NDArray[Any], dtype: ir.DataType | None, grain: Grain | None = None) -> Const:
    """A constant of a type's own grain, unless another is given."""
    own = GRAINS.get(dtype, EXACT) if dtype is not None else EXACT
    return Const(array, dtype, grain or own)
