"""Values as affine functions of values that both models share.

Every value of either model is held as ``coef * base + const``: `Base` is a value that means the
same in both models, coef and const are float64 arrays of the value's rank, of size 1 along the
axes on which they are constant. Two values with the same base are thereby related element by
element: ``coef_f * v_o - coef_o * v_f = coef_f * const_o - coef_o * const_f``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.rounding import EXACT, Array, Grain, coarser

Dim = int | str | None
Shape = tuple[Dim, ...]


class UnfitError(Exception):
    """A law does not apply to these operands; the op is then taken as opaque."""


@dataclass(frozen=True)
class Trace:
    """From which kernel rows the elements of a base come.

    Attributes:
        rows: number of the kernel row that makes each element; -1 where there is none.
        ratio: factor on that row's product.
        kernels: numbers of the kernels that the rows belong to.
    """

    rows: NDArray[np.int64]
    ratio: Array
    kernels: tuple[int, ...]


@dataclass(eq=False)
class Base:
    """A value of real numbers (or integers) that both models have in common.

    Attributes:
        id: running number.
        shape: dims as far as known; None when even the rank is not.
        dtype: element type of the value that introduced it.
        traces: kernel rows that it comes from (at most a few).
        maker: name of the value that introduced it.
        reshaped: the base that this one is a reshape of, if it is one.
        permuted: the base that this one is a transpose of, and by which permutation.
    """

    id: int
    shape: Shape | None
    dtype: ir.DataType | None
    traces: tuple[Trace, ...] = ()
    maker: str = ""
    reshaped: Base | None = None
    permuted: tuple[Base, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Form:
    """``coef * base + const``.

    Attributes:
        shape: dims of the value as far as known; None when the rank is unknown.
        dtype: its element type.
        base: None for a constant.
        coef, const: float64, rank of the value (0-d when the rank is unknown).
        mag: sum of the absolute terms that const came from, as large as const or larger.
        unit: how far const may be off if every constant in it was rounded by one ulp.
        scale_unit: the same for coef.
        grain: coarsest type of the constants that both came from.
        via: names of the affine ops since the base.
    """

    shape: Shape | None
    dtype: ir.DataType | None
    base: Base | None
    coef: Array
    const: Array
    mag: Array
    unit: Array
    scale_unit: Array
    grain: Grain = EXACT
    via: frozenset[str] = field(default_factory=frozenset)

    @property
    def rank(self) -> int | None:
        """Number of axes, None when unknown."""
        return None if self.shape is None else len(self.shape)

    @property
    def pure(self) -> bool:
        """Whether it is exactly its base."""
        return (
            self.base is not None
            and bool(np.all(self.coef == 1))
            and not np.any(self.const)
            and same_extent(self.shape, self.base.shape)
        )

    def moved(self, base: Base | None, shape: Shape | None, move: Callable[[Array], Array]) -> Form:
        """The form of a value whose elements are these, rearranged by ``move``."""
        return replace(
            self,
            base=base,
            shape=shape,
            coef=move(self.coef),
            const=move(self.const),
            mag=move(self.mag),
            unit=move(self.unit),
            scale_unit=move(self.scale_unit),
        )

    def aligned(self, rank: int) -> Form:
        """The same with leading axes of size 1, as broadcasting from the right adds them."""
        if self.shape is None:
            raise UnfitError("rank unknown")
        if rank == len(self.shape):
            return self
        shape = (1,) * (rank - len(self.shape)) + self.shape
        return self.moved(self.base, shape, lambda array: align(array, rank))

    def times(self, factor: Array, grain: Grain) -> Form:
        """Multiplied by a constant of the same rank, which may enlarge the value."""
        shift_error = np.abs(self.const * factor) * (grain.eps if grain.bits < 52 else 0.0)
        return replace(
            self,
            shape=enlarged(self.shape, factor),
            coef=self.coef * factor,
            const=self.const * factor,
            mag=self.mag * np.abs(factor),
            unit=self.unit * np.abs(factor) + shift_error,
            scale_unit=(self.scale_unit + np.abs(self.coef) * grain.eps) * np.abs(factor),
            grain=coarser(self.grain, grain),
        )

    def plus(self, shift: Array, mag: Array, unit: Array, grain: Grain) -> Form:
        """With a constant of the same rank added, which may enlarge the value."""
        return replace(
            self,
            shape=enlarged(self.shape, shift),
            const=self.const + shift,
            mag=self.mag + mag,
            unit=self.unit + unit,
            grain=coarser(self.grain, grain),
        )

    def lean(self) -> Form:
        """The same without a base that does not show."""
        if self.coef.any() or (self.base is None and self.coef.size == 1):
            return self
        zero = np.zeros((1,) * self.coef.ndim)
        return replace(self, base=None, coef=zero, scale_unit=zero)

    def settled(self) -> Form:
        """The same, taken as exact from here on: its deviation has been accounted for."""
        zero = np.zeros((1,) * self.coef.ndim)
        return replace(self, unit=zero, scale_unit=zero, grain=EXACT)

    @property
    def doubt(self) -> Array:
        """scale_unit relative to coef, 0 where coef is 0."""
        size = np.abs(self.coef)
        return np.asarray(np.where(size > 0, self.scale_unit / np.where(size > 0, size, 1.0), 0.0))


def of_base(base: Base, dtype: ir.DataType | None = None) -> Form:
    """The form of a value that is its base."""
    rank = len(base.shape) if base.shape is not None else 0
    zero = np.zeros((1,) * rank)
    one = np.ones((1,) * rank)
    return Form(base.shape, dtype or base.dtype, base, one, zero, zero, zero, zero)


def multiple(
    base: Base | None,
    shape: Shape | None,
    dtype: ir.DataType | None,
    coef: Array,
    scale_unit: Array,
    grain: Grain,
    via: frozenset[str] = frozenset(),
) -> Form:
    """The form of a multiple of a base."""
    zero = np.zeros((1,) * coef.ndim)
    return Form(shape, dtype, base, coef, zero, zero, zero, scale_unit, grain, via)


def of_constant(shape: Shape, dtype: ir.DataType | None, value: Array, grain: Grain) -> Form:
    """The form of a constant of known rank."""
    zero = np.zeros((1,) * len(shape))
    size = np.abs(value)
    return Form(shape, dtype, None, zero, value, size, grain.spacing(size), zero, grain)


def align(array: NDArray[np.generic], rank: int) -> Array:
    """Leading axes of size 1 added until the array has ``rank`` axes."""
    if array.ndim > rank:
        raise UnfitError("constant of higher rank than the value")
    return array.reshape((1,) * (rank - array.ndim) + array.shape)  # type: ignore[return-value]


def enlarged(shape: Shape | None, array: Array) -> Shape | None:
    """The shape of a value after broadcasting it against an array of its rank."""
    if shape is None:
        return None
    return tuple(
        dim if size == 1 else (size if dim == 1 or not isinstance(dim, int) else dim)
        for dim, size in zip(shape, array.shape, strict=True)
    )


def same_extent(first: Shape | None, second: Shape | None) -> bool:
    """Whether no dim is known to differ."""
    if first is None or second is None:
        return first is second
    return len(first) == len(second) and not any(
        isinstance(a, int) and isinstance(b, int) and a != b
        for a, b in zip(first, second, strict=True)
    )


def merged(first: Shape | None, second: Shape | None) -> Shape | None:
    """What is known of a shape from two sources; the first wins."""
    if first is None or second is None or len(first) != len(second):
        return first if first is not None else second
    return tuple(
        a if isinstance(a, int) or not isinstance(b, int) else b
        for a, b in zip(first, second, strict=True)
    )


def varies(array: NDArray[np.generic], axes: tuple[int, ...] | range) -> bool:
    """Whether the array has more than one element along any of the axes."""
    return any(array.shape[axis] != 1 for axis in axes)


def peak_over(array: Array, like: Array) -> Array:
    """The largest element along the axes on which ``like`` has size 1."""
    axes = tuple(i for i in range(array.ndim) if like.shape[i] == 1 and array.shape[i] > 1)
    return array.max(axis=axes, keepdims=True) if axes else array


def shrunk(array: Array) -> Array:
    """Axes along which all elements are equal reduced to size 1."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            if np.array_equal(np.broadcast_to(first, array.shape), array):
                array = first
    return array


def broadcast(first: Shape | None, second: Shape | None) -> Shape | None:
    """The shape of two values of one rank broadcast against each other, as far as known."""
    if first is None or second is None:
        return None
    return tuple(_wider(a, b) for a, b in zip(first, second, strict=True))


def _wider(first: int | str | None, second: int | str | None) -> int | str | None:
    if first == second or second == 1:
        return first
    if first == 1:
        return second
    if isinstance(first, int):
        return first
    return second if isinstance(second, int) else None
