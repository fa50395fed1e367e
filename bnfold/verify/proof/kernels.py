"""Constant kernels as matrices of rows, and their comparison element by element.

A row makes one channel of the result; its columns are what is summed over. `gain` holds the
scale that the operand had, so that ``stored * gain`` acts on the operand's base: two ops on the
same base make related results if their rows are multiples of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.rounding import NOISE, Array, Grain

#: Elements handled at a time, to bound memory on large kernels.
CHUNK = 1 << 21


@dataclass(eq=False)
class Kernel:
    """A kernel, row axes first.

    Attributes:
        stored: the constant as stored, a view: row axes, then the axes summed over.
        row_axes: how many axes are row axes, at least 1.
        gain: scale of the operand times the op's own factor; broadcasts to ``stored``.
        grain: the type that the constant was rounded to.
        doubt: how far ``gain`` may be off, relatively, if every constant in it was rounded by
            one ulp; broadcasts to ``stored``.
    """

    stored: NDArray[Any]
    row_axes: int
    gain: Array
    grain: Grain
    doubt: Array

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(np.prod(self.stored.shape[: self.row_axes], dtype=np.int64))

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(np.prod(self.stored.shape[self.row_axes :], dtype=np.int64))

    def spans(self) -> Iterator[tuple[slice, slice]]:
        """Slices of the first axis, and of the rows that they hold, to be handled in turn."""
        length = self.stored.shape[0]
        if not length or not self.stored.size:
            return
        each = self.rows // length
        step = max(1, CHUNK // max(1, self.stored.size // length))
        for start in range(0, length, step):
            stop = min(length, start + step)
            yield slice(start, stop), slice(start * each, stop * each)

    def matrix(self, array: NDArray[Any], span: slice) -> Array:
        """Rows of an array that broadcasts to ``stored``, as a matrix."""
        part = np.broadcast_to(array, self.stored.shape)[span]
        return np.asarray(part, dtype=np.float64).reshape(-1, self.columns)

    def vector(self, array: Array, span: slice) -> Array:
        """As `matrix`, but one row where all rows are the same."""
        if all(size == 1 for size in array.shape[: self.row_axes]):
            tail = np.broadcast_to(array, (1,) * self.row_axes + self.stored.shape[self.row_axes :])
            return tail.reshape(1, -1)
        return self.matrix(array, span)

    @cached_property
    def live(self) -> Array:
        """1 for each row that has an effect, 0 for rows of zeros."""
        found = np.zeros(self.rows)
        for span, rows in self.spans():
            product = (self.matrix(self.stored, span) != 0) & (self.vector(self.gain, span) != 0)
            found[rows] = product.any(axis=1)
        return found

    def same_as(self, other: Kernel) -> bool:
        """Whether both hold the same bits and act on the same scale."""
        mine, its = self.stored, other.stored
        if mine.shape != its.shape or mine.dtype != its.dtype or self.row_axes != other.row_axes:
            return False
        if self.gain is not other.gain and not _equal(self.gain, other.gain):
            return False
        if mine is its:
            return True
        bits = np.dtype(f"u{mine.dtype.itemsize}")
        return bool(np.array_equal(mine.view(bits), its.view(bits)))

    def weigh(self, shift: Array, mag: Array, unit: Array) -> tuple[Array, Array, Array]:
        """What a shift of the operand adds to each row's result, with its mag and unit.

        The three arrays broadcast to ``stored``; the results have one element per row.
        """
        total, size, doubt = np.zeros(self.rows), np.zeros(self.rows), np.zeros(self.rows)
        for span, rows in self.spans():
            kernel = self.matrix(self.stored, span)
            moved = self.vector(shift, span)
            total[rows] = (kernel * moved).sum(axis=1)
            size[rows] = (np.abs(kernel) * self.vector(mag, span)).sum(axis=1)
            doubt[rows] = (
                np.abs(kernel) * self.vector(unit, span)
                + self.grain.spacing(kernel) * np.abs(moved)
            ).sum(axis=1)
        return total, size, doubt


def _equal(first: Array, second: Array) -> bool:
    try:
        return bool(np.all(first == second))
    except ValueError:
        return False


@dataclass(frozen=True)
class Match:
    """How one kernel's rows are multiples of another's.

    Attributes:
        ratio: per row, new over reference; 0 for rows of zeros.
        ulps: largest distance of a stored element from the demanded one; inf if not finite.
        row, column: where that is.
        stored, demanded: the two numbers there.
        identical: the bits are the same.
        bad: which rows are off by more than rounding; None for none.
        foreign: which rows the reference does not have: its own are zeros there. None for none.
    """

    ratio: Array
    ulps: float
    row: int = 0
    column: int = 0
    stored: float = 0.0
    demanded: float = 0.0
    identical: bool = False
    bad: NDArray[np.bool_] | None = None
    foreign: NDArray[np.bool_] | None = None

    @property
    def bad_rows(self) -> int:
        """How many rows are off by more than rounding."""
        return 0 if self.bad is None else int(np.count_nonzero(self.bad))


def compare(
    reference: Kernel,
    new: Kernel,
    candidates: Array,
    *,
    forced: bool = False,
    robust: bool = False,
) -> Match:
    """Find the factor of each row, then hold every element against it.

    Args:
        reference: the original's kernel.
        new: the folded model's; as many rows and columns.
        candidates: factors worth trying, shape (any, rows), NaN where there is none. Such a
            factor comes from the original's own affines and is exact, where one estimated from
            rounded elements is not.
        forced: the first candidate is taken as it is.
        robust: estimate by the median, so that few wrong elements do not move the factor.
    """
    if reference.same_as(new):
        return Match(reference.live.copy(), 0.0, identical=True)
    ratio = np.zeros(new.rows)
    worst = Match(ratio, 0.0)
    bad, foreign = np.zeros(new.rows, bool), np.zeros(new.rows, bool)
    for span, rows in new.spans():
        target = reference.matrix(reference.stored, span) * reference.vector(reference.gain, span)
        stored, gain = new.matrix(new.stored, span), new.vector(new.gain, span)
        with np.errstate(all="ignore"):
            if forced:
                ratio[rows] = candidates[0, rows] * (np.abs(target).max(axis=1) > 0)
            else:
                estimator = _median if robust else _least_squares
                estimate = estimator(target, stored * gain)
                ratio[rows] = nearest(estimate, candidates[:, rows], new.grain)
                # A row of zeros says nothing of its new counterpart, which is a value of its own.
                product = stored * gain
                foreign[rows] = ~target.any(axis=1) & product.any(axis=1)
                target = np.where(foreign[rows][:, None], product, target)
                ratio[rows] = np.where(foreign[rows], 1.0, ratio[rows])
            slack = new.vector(new.doubt, span) / 2
            wanted = target * ratio[rows][:, None]
            off, demanded = _distance(wanted, stored, gain, new.grain, slack)
            bad[rows] = off.max(axis=1, initial=0.0) > new.grain.limit
            if robust and bad[rows].any():
                likely = _closest(ratio[rows], candidates[:, rows])
                ratio[rows] = np.where(bad[rows], likely, ratio[rows])
                wanted = target * ratio[rows][:, None]
                off, demanded = _distance(wanted, stored, gain, new.grain, slack)
        peaks = off.max(axis=1, initial=0.0)
        if peaks.size and peaks.max() > worst.ulps:
            row = int(peaks.argmax())
            column = int(off[row].argmax())
            worst = Match(
                ratio,
                float(peaks[row]),
                rows.start + row,
                column,
                float(stored[row, column]),
                float(demanded[row, column]),
            )
    return Match(
        ratio,
        worst.ulps,
        worst.row,
        worst.column,
        worst.stored,
        worst.demanded,
        bad=bad if bad.any() else None,
        foreign=foreign if foreign.any() else None,
    )


def _least_squares(target: Array, product: Array) -> Array:
    """Least-squares factor of each row; 0 for rows of zeros."""
    size = np.abs(target).max(axis=1, keepdims=True, initial=0.0)
    scaled = target / np.where(size > 0, size, 1.0)
    found = (scaled * product).sum(axis=1) / np.maximum((scaled * scaled).sum(axis=1), 1e-300)
    return np.asarray(np.where(size[:, 0] > 0, found / np.where(size > 0, size, 1.0)[:, 0], 0.0))


def _median(target: Array, product: Array) -> Array:
    """Median factor of each row; 0 for rows of zeros."""
    ratio = np.where(target == 0, np.nan, product / np.where(target == 0, 1.0, target))
    live = ~np.isnan(ratio).all(axis=1)
    found = np.zeros(len(ratio))
    # An element of the row, never the mean of two.
    found[live] = np.nanpercentile(ratio[live], 50, axis=1, method="lower")
    return found


def nearest(estimate: Array, candidates: Array, grain: Grain) -> Array:
    """The candidate that the estimate stands for, within rounding; else the estimate."""
    if not candidates.size:
        return estimate
    distance = np.abs(candidates - estimate)
    distance[np.isnan(distance)] = np.inf
    best = distance.argmin(axis=0)
    columns = np.arange(estimate.size)
    close = distance[best, columns] <= 2 * grain.limit * grain.eps * np.abs(estimate)
    return np.asarray(np.where(close, candidates[best, columns], estimate))


def _closest(estimate: Array, candidates: Array) -> Array:
    """The candidate next to the estimate, unless it is quite another number."""
    distance = np.abs(candidates - estimate)
    distance[np.isnan(distance)] = np.inf
    best = distance.argmin(axis=0)
    columns = np.arange(estimate.size)
    close = distance[best, columns] <= np.abs(estimate) / 2
    return np.asarray(np.where(close, candidates[best, columns], estimate))


def _distance(
    wanted: Array, stored: Array, gain: Array, grain: Grain, slack: Array
) -> tuple[Array, Array]:
    """Ulps between each stored element and the one that makes the wanted product.

    What the rounding of other constants explains (slack, relative) does not count.
    """
    demanded = wanted / np.where(gain == 0, 1.0, gain)
    size = np.maximum(np.abs(stored), np.abs(demanded))
    off = np.maximum(np.abs(stored - demanded) - slack * size, 0.0) / grain.spacing(size)
    # A column that nothing reaches may hold anything, provided nothing is wanted of it.
    off = np.where(np.broadcast_to(gain == 0, off.shape), np.where(wanted == 0, 0.0, np.inf), off)
    return np.where(np.isfinite(off) & np.isfinite(stored), off, np.inf), demanded


@dataclass(frozen=True)
class AffineMatch:
    """How one table's columns are affine functions of another's: ``new = ratio * old + shift``.

    Attributes:
        match: ratio per row, and the worst element.
        shift: per row.
        size: largest element of each row of the new table, absolute.
    """

    match: Match
    shift: Array
    size: Array


def compare_affine(
    reference: Kernel, new: Kernel, candidates: Array, *, robust: bool = False
) -> AffineMatch:
    """As `compare`, for tables whose entries take up the shift, too.

    Rows are fitted whole: a table's rows are its channels, its columns the entries.
    """
    shift, size = np.zeros(new.rows), np.zeros(new.rows)
    if reference.same_as(new):
        return AffineMatch(Match(np.ones(new.rows), 0.0, identical=True), shift, size)
    ratio = np.ones(new.rows)
    worst = Match(ratio, 0.0)
    bad = np.zeros(new.rows, bool)
    for span, rows in new.spans():
        old, stored = reference.matrix(reference.stored, span), new.matrix(new.stored, span)
        unit = new.grain.spacing(stored)
        with np.errstate(all="ignore"):
            size[rows] = np.abs(stored).max(axis=1)
            options = np.concatenate([candidates[:, rows], _slope(old, stored)[np.newaxis]])
            best = np.full(old.shape[0], np.inf)
            for option in options:
                rest = stored - option[:, None] * old
                offset = _offset(rest, unit, robust)
                noise = NOISE * (np.abs(option[:, None] * old) + np.abs(offset)[:, None])
                off = np.maximum(np.abs(rest - offset[:, None]) - noise, 0) / unit
                off = np.where(np.isfinite(off), off, np.inf)
                # Where an entry is wrong, the fit that suits most of the others is the likeliest.
                score = (off > new.grain.limit).sum(axis=1) if robust else off.max(axis=1)
                better = score < np.where(best > (0 if robust else new.grain.limit), best, -1.0)
                ratio[rows] = np.where(better, option, ratio[rows])
                shift[rows] = np.where(better, offset, shift[rows])
                best = np.where(better, score, best)
            demanded = ratio[rows][:, None] * old + shift[rows][:, None]
            noise = NOISE * (np.abs(demanded - shift[rows][:, None]) + np.abs(shift[rows])[:, None])
            off = np.maximum(np.abs(stored - demanded) - noise, 0) / unit
            off = np.where(np.isfinite(off), off, np.inf)
        peaks = off.max(axis=1, initial=0.0)
        bad[rows] = peaks > new.grain.limit
        if peaks.size and peaks.max() > worst.ulps:
            row = int(peaks.argmax())
            column = int(off[row].argmax())
            place = (rows.start + row, column, float(stored[row, column]))
            worst = Match(ratio, float(peaks[row]), *place, float(demanded[row, column]))
    match = replace(worst, bad=bad if bad.any() else None)
    return AffineMatch(match, shift, size)


def _offset(rest: Array, unit: Array, robust: bool) -> Array:
    """The shift of each row that every entry, being rounded once, allows; or the median."""
    if robust:
        return np.asarray(np.percentile(rest, 50, axis=1, method="lower"))
    return np.asarray(((rest - unit / 2).max(axis=1) + (rest + unit / 2).min(axis=1)) / 2)


def _slope(old: Array, new: Array) -> Array:
    """Least-squares slope of each row of ``new`` against that of ``old``; 1 where constant."""
    centred = old - old.mean(axis=1, keepdims=True)
    spread = (centred * centred).sum(axis=1)
    slope = (centred * new).sum(axis=1) / np.where(spread > 0, spread, 1.0)
    return np.asarray(np.where(spread > 0, slope, 1.0))
