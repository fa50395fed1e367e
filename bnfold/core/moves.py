"""How parameters move with the elements of a value: forward (input to output) and back.

An op that only moves or averages elements lets an affine pass; the affine's parameters then
move as the elements do. A move raises `Blocked` where the parameters of elements that become one
differ, or where too little of the shape is known to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bnfold.core.affine import Affine, Array, simplify
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Reason

Dim = int | str | None
Shape = tuple[Dim, ...]


class Move(Protocol):
    """Carries an affine's parameters through an op."""

    def forward(self, affine: Affine) -> Affine:
        """Parameters on the output from those on the input."""
        ...

    def backward(self, affine: Affine) -> Affine:
        """Parameters on the input from those on the output."""
        ...


@dataclass(frozen=True)
class Keep:
    """Elements stay where they are; along ``fixed`` axes the parameters must be constant."""

    fixed: tuple[int, ...] = ()

    def forward(self, affine: Affine) -> Affine:
        """The same affine."""
        for axis in self.fixed:
            if affine.rank and affine.varies_along(axis):
                raise Blocked(Reason.MIXES_CHANNELS, f"it varies along axis {axis}")
        return affine

    backward = forward


@dataclass(frozen=True)
class Permute:
    """Axes are reordered: output axis i is input axis ``order[i]``."""

    order: tuple[int, ...]

    def forward(self, affine: Affine) -> Affine:
        """Permuted parameters."""
        return affine.at_rank(len(self.order)).map(lambda a: a.transpose(self.order))

    def backward(self, affine: Affine) -> Affine:
        """Parameters permuted back."""
        inverse = tuple(int(i) for i in np.argsort(self.order))
        return affine.at_rank(len(self.order)).map(lambda a: a.transpose(inverse))


@dataclass(frozen=True)
class Segment:
    """A run of input axes that holds the same elements as a run of output axes."""

    before: tuple[Dim, ...]
    after: tuple[Dim, ...]


@dataclass(frozen=True)
class Regroup:
    """A reshape, cut into segments that do not mix."""

    segments: tuple[Segment, ...]

    @staticmethod
    def between(before: Shape, after: Shape) -> Regroup:
        """The finest segments that are certain, matched from both ends."""
        left, i, j = _match(before, after)
        right, k, m = _match(before[i:][::-1], after[j:][::-1])
        middle = Segment(before[i : len(before) - k], after[j : len(after) - m])
        tail = [Segment(s.before[::-1], s.after[::-1]) for s in reversed(right)]
        inner = [middle] if middle.before or middle.after else []
        return Regroup((*left, *inner, *tail))

    def forward(self, affine: Affine) -> Affine:
        """Parameters at the output's shape."""
        return _regroup(affine, [(s.before, s.after) for s in self.segments])

    def backward(self, affine: Affine) -> Affine:
        """Parameters at the input's shape."""
        return _regroup(affine, [(s.after, s.before) for s in self.segments])


def _match(before: Shape, after: Shape) -> tuple[list[Segment], int, int]:
    """Segments matched from the start, and how many axes of each side they use."""
    segments: list[Segment] = []
    i = j = 0
    while i < len(before) and j < len(after):
        if before[i] == after[j] and before[i] is not None and before[i] != 0:
            segments.append(Segment((before[i],), (after[j],)))
            i, j = i + 1, j + 1
            continue
        found = _equal_products(before[i:], after[j:])
        if found is None:
            break
        a, b = found
        segments.append(Segment(before[i : i + a], after[j : j + b]))
        i, j = i + a, j + b
    return segments, i, j


def _equal_products(before: Shape, after: Shape) -> tuple[int, int] | None:
    """How many leading axes of each side have equal products, fewest first."""
    a = b = 0
    left = right = 1
    while True:
        if left <= right and a < len(before):
            size, a = before[a], a + 1
            if not isinstance(size, int) or size <= 0:
                return None
            left *= size
        elif b < len(after):
            size, b = after[b], b + 1
            if not isinstance(size, int) or size <= 0:
                return None
            right *= size
        else:
            return None
        if left == right and a and b:
            return a, b


def _regroup(affine: Affine, segments: Sequence[tuple[Shape, Shape]]) -> Affine:
    rank = sum(len(before) for before, _ in segments)
    out_rank = sum(len(after) for _, after in segments)
    if affine.is_uniform:
        return affine.at_rank(out_rank)
    affine = affine.at_rank(rank)

    def reshape(array: Array) -> Array:
        # One segment after the other: input axes of the segments to come stay behind.
        done: list[int] = []
        position = 0
        for before, after in segments:
            here = array.shape[position : position + len(before)]
            if all(size == 1 for size in here):
                new: tuple[int, ...] = (1,) * len(after)
            else:
                sizes = _known(before, here)
                target = array.shape[:position] + sizes + array.shape[position + len(before) :]
                array = np.broadcast_to(array, target)
                new = _known(after, None)
                if prod(new) != prod(sizes):
                    raise Blocked(Reason.UNKNOWN_SHAPE, "sizes of the reshape do not agree")
            tail = array.shape[position + len(before) :]
            array = simplify(array.reshape((*done, *new, *tail)))
            done = list(array.shape[: len(done) + len(new)])
            position = len(done)
        return array

    return affine.map(reshape)


def _known(sizes: Shape, present: tuple[int, ...] | None) -> tuple[int, ...]:
    known: list[int] = []
    for index, size in enumerate(sizes):
        if not isinstance(size, int):
            if present is not None and present[index] > 1:
                known.append(present[index])
                continue
            raise Blocked(Reason.UNKNOWN_SHAPE, "the reshape's sizes are not known")
        known.append(size)
    return tuple(known)


@dataclass(frozen=True, eq=False)
class Take:
    """Along one axis, output element i is input element ``index[i]`` (-1: a constant).

    Serves Slice, Gather by constants, Split, Tile, Pad (with -1 at a constant border). A confined
    one leaves elements alone that were not taken, even where all could have the same parameters.
    """

    axis: int
    size: int
    index: NDArray[np.int64]
    confined: bool = False

    def forward(self, affine: Affine) -> Affine:
        """Taken parameters; the identity where the output is a constant."""
        border = bool((self.index < 0).any())
        if affine.rank == 0 and border:
            raise Blocked(Reason.UNKNOWN_SHAPE, "the rank is not known")
        if not border and (affine.rank == 0 or not affine.varies_along(self.axis)):
            return affine

        def take(array: Array, fill: float) -> Array:
            full = self._widen(array, self.size)
            taken = np.take(full, np.maximum(self.index, 0), axis=self.axis)
            mask = np.expand_dims(
                self.index < 0, tuple(i for i in range(array.ndim) if i != self.axis)
            )
            return np.where(mask, fill, taken)

        return Affine.of(take(affine.scale, 1.0), take(affine.shift, 0.0))

    def backward(self, affine: Affine) -> Affine:
        """Parameters scattered back; the identity where nothing was taken."""
        border = bool((self.index < 0).any())
        free = affine.rank == 0 or not affine.varies_along(self.axis)
        if free and not border and not self.confined:
            return affine
        if affine.rank == 0:
            raise Blocked(Reason.UNKNOWN_SHAPE, "the rank is not known")

        def scatter(array: Array, fill: float) -> Array:
            wide = self._widen(array, self.index.size)
            shape = (*wide.shape[: self.axis], self.size, *wide.shape[self.axis + 1 :])
            full = np.full(shape, fill)
            lines = np.moveaxis(full, self.axis, 0)
            wanted = np.moveaxis(wide, self.axis, 0)
            inside = self.index >= 0
            lines[self.index[inside]] = wanted[inside]
            if not np.array_equal(lines[self.index[inside]], wanted[inside]):
                raise Blocked(Reason.MIXES_CHANNELS, "one element is taken twice, differently")
            if not np.all(wanted[~inside] == fill):
                raise Blocked(Reason.PADDING_SHIFT, "the constant border would change")
            return full

        return Affine.of(scatter(affine.scale, 1.0), scatter(affine.shift, 0.0))

    def _widen(self, array: Array, size: int) -> Array:
        shape = (*array.shape[: self.axis], size, *array.shape[self.axis + 1 :])
        return np.broadcast_to(array, shape)


@dataclass(frozen=True)
class Reduce:
    """Axes are averaged away (or their largest element is taken)."""

    axes: tuple[int, ...]
    rank: int
    keepdims: bool

    def forward(self, affine: Affine) -> Affine:
        """Parameters without the reduced axes."""
        affine = affine.at_rank(self.rank)
        for axis in self.axes:
            if affine.varies_along(axis):
                raise Blocked(Reason.MIXES_CHANNELS, f"it varies along the reduced axis {axis}")
        if self.keepdims:
            return affine
        return affine.map(lambda a: np.squeeze(a, axis=self.axes))

    def backward(self, affine: Affine) -> Affine:
        """Parameters constant along the reduced axes."""
        if self.keepdims:
            return affine.at_rank(self.rank)
        affine = affine.at_rank(self.rank - len(self.axes))
        return affine.map(lambda a: np.expand_dims(a, self.axes))


@dataclass(frozen=True)
class Repeat:
    """Each result is the sum of ``times`` elements: a shift counts as often, a scale once."""

    times: int

    def forward(self, affine: Affine) -> Affine:
        """The shift so many times."""
        return Affine(affine.scale, affine.shift * self.times)

    def backward(self, affine: Affine) -> Affine:
        """Its share of the shift."""
        return Affine(affine.scale, affine.shift / self.times)


@dataclass(frozen=True)
class Chain:
    """Several moves, one after the other."""

    moves: tuple[Move, ...]

    def forward(self, affine: Affine) -> Affine:
        """First move first."""
        for move in self.moves:
            affine = move.forward(affine)
        return affine

    def backward(self, affine: Affine) -> Affine:
        """Last move first."""
        for move in reversed(self.moves):
            affine = move.backward(affine)
        return affine


def confined(move: Move) -> Move:
    """The same move, which backward asks nothing of elements that it does not take."""
    if isinstance(move, Take):
        return replace(move, confined=True)
    if isinstance(move, Chain):
        return Chain(tuple(confined(part) for part in move.moves))
    return move
