"""The affine map ``y = scale * x + shift``, elementwise with broadcasting, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Reason

Array = NDArray[np.float64]


def simplify(array: Array) -> Array:
    """The same values with size 1 on every axis along which they are constant."""
    for axis, size in enumerate(array.shape):
        if size > 1:
            first = array.take([0], axis=axis)
            if np.array_equal(np.broadcast_to(first, array.shape), array):
                array = first
    return array


def at_rank(array: Array, rank: int) -> Array:
    """``array`` with exactly ``rank`` axes: size-1 axes are added or dropped in front.

    Raises:
        Blocked: if an axis that would be dropped holds more than one element.
    """
    if array.size == 1:
        return array.reshape((1,) * rank)
    surplus = array.ndim - rank
    if surplus > 0:
        if any(size != 1 for size in array.shape[:surplus]):
            raise Blocked(Reason.AXIS_MISMATCH, f"shape {array.shape} does not fit rank {rank}")
        return array.reshape(array.shape[surplus:])
    return array.reshape((1,) * -surplus + array.shape)


@dataclass(frozen=True, eq=False)
class Affine:
    """``y = scale * x + shift``.

    Attributes:
        scale, shift: float64, of one rank, broadcastable to the value they belong to and of
            size 1 on every axis along which they are constant. Rank 0 is a uniform affine on a
            value of unknown rank.
    """

    scale: Array
    shift: Array

    @staticmethod
    def of(scale: ArrayLike, shift: ArrayLike, rank: int | None = None) -> Affine:
        """An affine from anything numpy reads, simplified and brought to one rank."""
        s = simplify(np.asarray(scale, dtype=np.float64))
        t = simplify(np.asarray(shift, dtype=np.float64))
        if rank is None:
            rank = max(s.ndim, t.ndim)
        return Affine(at_rank(s, rank), at_rank(t, rank))

    @staticmethod
    def identity(rank: int = 0) -> Affine:
        """The affine that changes nothing."""
        return Affine.of(1.0, 0.0, rank)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.scale.ndim

    @property
    def is_scale(self) -> bool:
        """The shift is zero everywhere."""
        return not self.shift.any()

    @property
    def is_shift(self) -> bool:
        """The scale is one everywhere."""
        return bool(np.all(self.scale == 1.0))

    @property
    def is_identity(self) -> bool:
        """Nothing changes."""
        return self.is_scale and self.is_shift

    @property
    def is_uniform(self) -> bool:
        """One scale and one shift for the whole value."""
        return self.scale.size == 1 and self.shift.size == 1

    @property
    def is_finite(self) -> bool:
        """Neither NaN nor infinity."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of scale and shift."""
        return np.broadcast_shapes(self.scale.shape, self.shift.shape)

    @property
    def channels(self) -> int:
        """How many different pairs it can hold."""
        return int(np.prod(self.shape, dtype=np.int64))

    def varies_along(self, axis: int) -> bool:
        """Whether scale or shift differ along the axis."""
        return self.shape[axis] > 1

    def at_rank(self, rank: int) -> Affine:
        """The same affine on a value of another rank; see `at_rank`."""
        if rank == self.rank:
            return self
        return Affine(at_rank(self.scale, rank), at_rank(self.shift, rank))

    def after(self, inner: Affine) -> Affine:
        """``self(inner(x))``: scale s*s', shift s*t' + t, simplified."""
        return Affine.of(self.scale * inner.scale, self.scale * inner.shift + self.shift)

    def equals(self, other: Affine) -> bool:
        """Whether both are the same numbers on the same axes."""
        return self is other or (
            np.array_equal(self.scale, other.scale) and np.array_equal(self.shift, other.shift)
        )

    @property
    def digest(self) -> bytes:
        """Equal for equal affines, and in practice only for them."""
        digest = blake2b(repr((self.scale.shape, self.shift.shape)).encode())
        digest.update(np.ascontiguousarray(self.scale).tobytes())
        digest.update(np.ascontiguousarray(self.shift).tobytes())
        return digest.digest()

    def only_scale(self) -> Affine:
        """Its scale without the shift."""
        return Affine.of(self.scale, 0.0, self.rank)

    def only_shift(self) -> Affine:
        """Its shift without the scale."""
        return Affine.of(1.0, self.shift, self.rank)

    def inner_shift(self) -> Affine | None:
        """The shift t/s that gives the same affine when it comes before the scale.

        ``s*x + t = s*(x + t/s)``. None where a scale is zero and its shift is not.
        """
        s, t = np.broadcast_arrays(self.scale, self.shift)
        if np.any((s == 0.0) & (t != 0.0)):
            return None
        with np.errstate(over="ignore"):
            inner = np.divide(t, s, out=np.zeros(s.shape), where=s != 0.0)
        return Affine.of(1.0, inner, self.rank) if np.isfinite(inner).all() else None

    def map(self, function: Callable[[Array], Array]) -> Affine:
        """Both arrays carried through one movement of elements."""
        return Affine.of(function(self.scale), function(self.shift))

    def expanded(self, sizes: Sequence[int]) -> Affine:
        """Both arrays at the given full shape, not simplified."""
        return Affine(
            np.ascontiguousarray(np.broadcast_to(self.scale, tuple(sizes))),
            np.ascontiguousarray(np.broadcast_to(self.shift, tuple(sizes))),
        )
