"""Differences between the results of several evaluations, summed up as the inputs go by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.codes import Fault

Array = NDArray[Any]

_ULP_BUCKETS = 64


@dataclass
class Spread:
    """Root mean square and maximum of a difference, over all elements seen.

    Attributes:
        squares, count: sum of the squares in units of `largest`, number of elements.
        largest: the largest absolute difference.
        where: index of the largest within its array.
        feed: number of the feed that the largest came from.
    """

    squares: float = 0.0
    count: int = 0
    largest: float = 0.0
    where: tuple[int, ...] = ()
    feed: int = -1

    @property
    def rms(self) -> float:
        """Root mean square, 0 where nothing was seen."""
        return self.largest * math.sqrt(self.squares / self.count) if self.count else 0.0

    def add(self, difference: Array, feed: int) -> None:
        """Take in one array of differences, which must be finite."""
        if not difference.size:
            return
        size = np.abs(difference)
        at = int(size.argmax())
        top = float(size.flat[at])
        self.count += difference.size
        if self.feed < 0 or top > self.largest:
            if top > 0:
                self.squares *= (self.largest / top) ** 2
            self.largest, self.feed = top, feed
            self.where = tuple(int(i) for i in np.unravel_index(at, difference.shape))
        if self.largest > 0:
            self.squares += float(np.sum((size / self.largest) ** 2))


@dataclass
class Ulps:
    """Distances in units of the last place, in buckets of powers of two."""

    counts: list[int] = field(default_factory=lambda: [0] * _ULP_BUCKETS)
    largest: float = 0.0

    def add(self, a: Array, b: Array) -> None:
        """Take in two arrays of one floating-point type (float16, float32 or float64)."""
        distance = ulp_distance(a, b)
        if not distance.size:
            return
        self.largest = max(self.largest, float(distance.max()))
        bucket = np.ceil(np.log2(np.maximum(distance, 0.5))).astype(int) + 1
        for index, count in enumerate(np.bincount(bucket.ravel())[:_ULP_BUCKETS]):
            self.counts[index] += int(count)

    def quantile(self, share: float) -> float:
        """The upper end of the bucket within which `share` of all distances lies."""
        total, seen = sum(self.counts), 0
        for index, count in enumerate(self.counts):
            seen += count
            if total and seen >= share * total:
                return 0.0 if index == 0 else min(2.0 ** (index - 1), self.largest)
        return 0.0


def ulp_distance(a: Array, b: Array) -> Array:
    """How many representable numbers apart two arrays of the same type are, elementwise."""
    kind = {2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]

    def ordered(x: Array) -> Array:
        bits = np.ascontiguousarray(x).view(kind).astype(np.float64)
        low = float(np.iinfo(kind).min)
        return np.asarray(np.where(bits < 0, low - bits, bits), dtype=np.float64)

    finite = np.isfinite(a) & np.isfinite(b)
    return np.asarray(np.abs(ordered(a)[finite] - ordered(b)[finite]))


@dataclass
class OutputTally:
    """Everything that is known of one output.

    Attributes:
        name: the output.
        spreads: label -> difference; see `sampling` for the labels.
        size: of the reference itself.
        ulps: candidate against original in the runtime.
        rows, agreeing: rows with an argmax, and how many of them agree.
        margins: of each row that disagrees, the reference's margin and the feed.
        elements, mismatches: label -> number of discrete elements seen and different.
        faults: what is wrong beyond numbers: fault, text, feed.
        not_finite: elements that are not finite in the reference.
        found: label -> elements that are finite where the reference is not, in float64, with the
            place and the feed of the first.
        coarse: whether some value has a type coarser than float32.
    """

    name: str
    spreads: dict[str, Spread] = field(default_factory=dict)
    size: Spread = field(default_factory=Spread)
    ulps: Ulps = field(default_factory=Ulps)
    rows: int = 0
    agreeing: int = 0
    margins: list[tuple[float, int]] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)
    mismatches: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[Fault, str, int]] = field(default_factory=list)
    not_finite: int = 0
    found: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    coarse: bool = False

    def spread(self, label: str) -> Spread:
        """The spread under a label, empty where nothing was seen."""
        return self.spreads.get(label, Spread())

    def share(self, label: str) -> float:
        """Share of discrete elements that differ under a label."""
        count = self.elements.get(label, 0)
        return self.mismatches.get(label, 0) / count if count else 0.0

    def compare(self, label: str, base: Any, other: Any, feed: int, *, report: bool) -> None:
        """Take in `other` against `base`.

        Args:
            label: where it is counted.
            base, other: arrays, or lists of arrays.
            feed: number of the feed.
            report: whether a wrong shape or a lost number is a fault of the candidate.
        """
        for before, after in zip(_arrays(base), _arrays(other), strict=False):
            self._compare(label, before, after, feed, report=report)
        if report and len(_arrays(base)) != len(_arrays(other)):
            text = f"a sequence of {len(_arrays(other))} instead of {len(_arrays(base))}"
            self.faults.append((Fault.RUN_SHAPE, text, feed))

    def _compare(self, label: str, base: Array, other: Array, feed: int, *, report: bool) -> None:
        if base.shape != other.shape:
            if report:
                text = f"shape {other.shape} instead of {base.shape}"
                self.faults.append((Fault.RUN_SHAPE, text, feed))
            return
        if base.dtype.kind not in "fc" and base.dtype.name != "bfloat16":
            self.elements[label] = self.elements.get(label, 0) + base.size
            self.mismatches[label] = self.mismatches.get(label, 0) + int(np.sum(base != other))
            return
        base, other = base.astype(np.float64), other.astype(np.float64)
        known, given = np.isfinite(base), np.isfinite(other)
        lost = known & ~given
        if report and lost.any():
            fault = Fault.NOT_A_NUMBER if np.isnan(other[lost]).any() else Fault.INFINITE
            at = tuple(int(i) for i in np.argwhere(lost)[0])
            text = f"{int(lost.sum())} of {base.size} elements, the first at {list(at)}"
            self.faults.append((fault, text, feed))
        found = ~known & given
        if found.any():
            count, text, first = self.found.get(label, (0, "", feed))
            place = [int(i) for i in np.argwhere(found)[0]]
            text = text or f"{int(found.sum())} of {base.size} elements, the first at {place}"
            self.found[label] = (count + int(found.sum()), text, first)
        both = known & given
        if both.all():
            difference = other - base
        else:
            difference = np.where(both, np.where(both, other, 0) - np.where(both, base, 0), 0)
        self.spreads.setdefault(label, Spread()).add(difference, feed)

    @property
    def hidden(self) -> tuple[int, str, int] | None:
        """Where the candidate gives numbers and the reference, rounded however, gives none.

        A result on the verge of being defined shows among the draws of the noise.
        """
        if "noise" in self.found:
            return None
        return self.found.get("exact") or self.found.get("stored")

    def see_argmax(self, reference: Array, original: Array, folded: Array, feed: int) -> None:
        """Count the rows of a [rows, classes] output whose largest element is the same.

        The margin (largest minus second largest in the reference) of each disagreeing row is kept.
        """
        if reference.ndim != 2 or reference.shape[1] < 2 or original.shape != reference.shape:
            return
        if folded.shape != reference.shape or reference.dtype.kind != "f":
            return
        if not all(np.isfinite(x).all() for x in (reference, original, folded)):
            return
        agree = original.argmax(axis=1) == folded.argmax(axis=1)
        self.rows += len(agree)
        self.agreeing += int(agree.sum())
        top = np.sort(reference, axis=1)[:, -2:]
        for row in np.flatnonzero(~agree):
            self.margins.append((float(top[row, 1] - top[row, 0]), feed))


def _arrays(value: Any) -> list[Array]:
    """The arrays of a value: itself, or those of a sequence."""
    if isinstance(value, list | tuple):
        return [array for item in value for array in _arrays(item)]
    if isinstance(value, Mapping):
        return [array for item in value.values() for array in _arrays(item)]
    return [np.asarray(value)]
