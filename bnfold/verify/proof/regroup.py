"""How parameters pass a Reshape: cut both shapes into runs that hold the same elements."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.forms import Dim, Shape, UnfitError

Run = tuple[tuple[Dim, ...], tuple[Dim, ...]]


def regrouped(array: NDArray[Any], before: Shape, after: Shape) -> NDArray[Any]:
    """Parameters on a value of shape ``before``, brought to its reshape ``after``.

    Args:
        array: one element, or the full size, along each axis of ``before``.
        before, after: dims as far as known; both hold the same number of elements.

    Raises:
        UnfitError: parameters vary along axes whose sizes are not known well enough.
    """
    if array.size == 1:
        return array.reshape((1,) * len(after))
    middle: list[int] = []
    target: list[int] = []
    start = 0
    for old, new in runs(before, after):
        sizes = array.shape[start : start + len(old)]
        start += len(old)
        if all(size == 1 for size in sizes):
            middle += [1] * len(old)
            target += [1] * len(new)
        elif old == new and (len(old) == 1 or None not in old):
            middle += sizes
            target += sizes
        elif all(isinstance(dim, int) for dim in old + new):
            middle += [int(dim) for dim in old if isinstance(dim, int)]
            target += [int(dim) for dim in new if isinstance(dim, int)]
        else:
            raise UnfitError("reshape mixes channels with axes of unknown size")
    return np.broadcast_to(array, middle).reshape(target)


def runs(before: Shape, after: Shape) -> list[Run]:
    """The finest runs that are certain, matched from both ends; the rest is one run."""
    head, i, j = _matched(before, after)
    tail, k, m = _matched(before[i:][::-1], after[j:][::-1])
    rest = (before[i : len(before) - k], after[j : len(after) - m])
    back = [(old[::-1], new[::-1]) for old, new in reversed(tail)]
    return [*head, *([rest] if rest[0] or rest[1] else []), *back]


def _matched(before: Shape, after: Shape) -> tuple[list[Run], int, int]:
    """Runs matched from the front, and how many axes of each shape they take."""
    found: list[Run] = []
    i = j = 0
    while i < len(before) and j < len(after):
        a = b = 1
        if before[i] is None or before[i] != after[j]:
            lengths = _equal_products(before[i:], after[j:])
            if lengths is None:
                break
            a, b = lengths
        found.append((before[i : i + a], after[j : j + b]))
        i, j = i + a, j + b
    return found, i, j


def _equal_products(before: Shape, after: Shape) -> tuple[int, int] | None:
    """The fewest leading axes of each, all known and not 0, that hold as many elements."""
    a = b = 1
    while a <= len(before) and b <= len(after):
        old, new = before[:a], after[:b]
        if not all(isinstance(dim, int) and dim > 0 for dim in old + new):
            return None
        first, second = (prod(d for d in dims if isinstance(d, int)) for dims in (old, new))
        if first == second:
            return a, b
        if first < second:
            a += 1
        else:
            b += 1
    return None
