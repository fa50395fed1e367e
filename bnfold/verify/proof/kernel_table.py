"""Constant kernels by the shared value that they act on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.base_table import BaseTable
from bnfold.verify.proof.chains import compare_chain
from bnfold.verify.proof.forms import Base, Form, Shape, Trace, align
from bnfold.verify.proof.kernels import AffineMatch, Kernel, Match, compare, compare_affine
from bnfold.verify.proof.rounding import EXACT, Array, Grain

#: Scales of one kernel's results that are remembered from the original.
MAX_SIGHTINGS = 24
#: Kernels in a row that are looked at as one.
MAX_CHAIN = 8

#: Brings one number per kernel row to the axes of the result.
Place = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(eq=False)
class Entry:
    """A constant kernel of the original acting on a shared value.

    Attributes:
        number: running number.
        first: number of its first row.
        kernel: the constants.
        base: the product.
        op: name of the op.
        via: names of the affine ops before it, since the last shared value.
        scales: factors that the original puts on the product later on.
        lent: whether the folded model has defined rows that are zeros in the original.
    """

    number: int
    first: int
    kernel: Kernel
    base: Base
    op: str
    via: frozenset[str]
    scales: list[tuple[Trace, Array]] = field(default_factory=list)
    lent: bool = False


@dataclass(frozen=True)
class Chain:
    """Kernels of the original that act one after the other with nothing but constants between.

    Attributes:
        root: the value that the first acts on.
        factors: the kernels, in the order in which they act.
    """

    root: Base
    factors: tuple[Kernel, ...]


@dataclass(frozen=True)
class KernelHit:
    """A kernel of the folded model was found to be a multiple of one of the original's.

    Attributes:
        op: the folded model's op.
        entry: the original's kernel.
        match: factors, and the worst element.
        removed: the original's affine ops before it that the folded model lacks.
        sampled: whether it was compared with a product of kernels, on random vectors.
    """

    op: str
    entry: Entry
    match: Match
    removed: frozenset[str]
    sampled: bool = False


@dataclass(frozen=True)
class TableHit:
    """A constant table as an affine function of a shared one, per row of the kernel.

    Attributes:
        base: the shared table's entries.
        ratio, shift: the affine function.
        mag, unit, grain: of the shift, as in `Form`.
    """

    base: Base
    ratio: Array
    shift: Array
    mag: Array
    unit: Array
    grain: Grain


class KernelTable(BaseTable):
    """The original's kernels, and which of them the folded model's are multiples of.

    Attributes:
        hits: kernels of the folded model that were found.
        misses: kernels that were taken for the likeliest one, though they do not fit it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[KernelHit] = []
        self.misses: list[KernelHit] = []
        self._rows = 0
        self._kernels: dict[Hashable, list[Entry]] = defaultdict(list)
        self._entries: list[Entry] = []
        self._chains: dict[int, Chain] = {}
        self._composites: dict[tuple[int, int, int], list[tuple[Entry, Chain]]] = defaultdict(list)

    def contract(
        self,
        key: Hashable,
        kernel: Kernel,
        shape: Shape | None,
        dtype: ir.DataType | None,
        place: Place,
        *,
        via: frozenset[str] = frozenset(),
        unit_factor: bool = False,
        through: Base | None = None,
    ) -> tuple[Base, Array]:
        """The base that a kernel's product is a multiple of, and the factor of each row.

        Args:
            key: the operand's base, the geometry, the op.
            kernel: the constants.
            shape, dtype: of the product.
            place: brings one number per row to the product's axes.
            via: names of the affine ops before it.
            unit_factor: only a factor of 1 will do (the op is not linear in its kernel).
            through: the operand's base, if the kernel acts on its last axis alone.
        """
        found = self._find(self._kernels[key], kernel, unit_factor)
        if found is not None:
            entry, match = found
            if self.folded:
                self.hits.append(KernelHit(self.op, entry, match, entry.via - via))
            return entry.base, place(match.ratio)
        collapsed = self._collapsed(kernel, through) if self.folded else None
        if collapsed is not None:
            entry, match = collapsed
            self.hits.append(KernelHit(self.op, entry, match, entry.via - via, sampled=True))
            return entry.base, place(match.ratio)
        if self.folded and self.lenient:
            likely = self._likeliest(self._kernels[key], kernel, unit_factor)
            if likely is not None:
                entry, match = likely
                self.misses.append(KernelHit(self.op, entry, match, entry.via - via))
                return entry.base, place(match.ratio)
        base = self._enter(key, kernel, shape, dtype, place, via)
        if through is not None and not self.folded:
            self._chain(self._entries[-1], through)
        return base, place(kernel.live)

    def _chain(self, entry: Entry, through: Base) -> None:
        """Remember what a kernel makes together with those before it."""
        before = self._chains.get(through.id, Chain(through, ()))
        if len(before.factors) >= MAX_CHAIN:
            before = Chain(through, ())
        chain = Chain(before.root, (*before.factors, entry.kernel))
        self._chains[entry.base.id] = chain
        # Any tail of the chain may have been collapsed, too; its root is then in between.
        if len(chain.factors) > 1:
            key = (chain.root.id, entry.kernel.rows, chain.factors[0].columns)
            self._composites[key].append((entry, chain))

    def _collapsed(self, kernel: Kernel, through: Base | None) -> tuple[Entry, Match] | None:
        """The original's product of kernels that this one kernel is a multiple of."""
        if through is None:
            return None
        for entry, chain in self._composites.get((through.id, kernel.rows, kernel.columns), ()):
            match = compare_chain(chain.factors, kernel, self._candidates(entry))
            if match.ulps <= kernel.grain.limit:
                return entry, match
        return None

    def _likeliest(
        self, bucket: Sequence[Entry], kernel: Kernel, unit_factor: bool
    ) -> tuple[Entry, Match] | None:
        taken = {id(hit.entry) for hit in self.hits}
        free = [e for e in bucket if e.op == self.op or (id(e) not in taken and len(bucket) == 1)]
        for entry in free:
            match = self.match(entry, kernel, unit_factor, robust=True)
            if match is not None and np.isfinite(match.ratio).all():
                return entry, match
        return None

    def _enter(
        self,
        key: Hashable,
        kernel: Kernel,
        shape: Shape | None,
        dtype: ir.DataType | None,
        place: Place,
        via: frozenset[str] = frozenset(),
    ) -> Base:
        """A new entry of the kernel table; its base remembers which row makes which element."""
        rows = place(np.arange(self._rows, self._rows + kernel.rows))
        trace = Trace(rows.astype(np.int64), np.ones((1,) * rows.ndim), (len(self._entries),))
        base = self.make(shape, dtype, [trace])
        entry = Entry(len(self._entries), self._rows, kernel, base, self.op, via)
        self._entries.append(entry)
        self._kernels[key].append(entry)
        self._rows += kernel.rows
        return base

    def look_up(
        self,
        key: Hashable,
        kernel: Kernel,
        shape: Shape | None,
        dtype: ir.DataType | None,
        place: Place,
    ) -> TableHit:
        """The base that a table's entries are an affine function of."""
        none = np.zeros(kernel.rows)
        named = sorted(self._kernels[key], key=lambda entry: entry.op != self.op)
        likely: tuple[Entry, AffineMatch] | None = None
        for entry in named:
            if not self.folded and not entry.kernel.same_as(kernel):
                continue
            found = compare_affine(entry.kernel, kernel, self._candidates(entry))
            if found.match.ulps <= kernel.grain.limit:
                if self.folded:
                    self.hits.append(KernelHit(self.op, entry, found.match, frozenset()))
                return self._as_table(entry, found, kernel)
            likely = likely or (entry, found)
        if self.lenient and self.folded and likely is not None:
            entry = likely[0]
            candidates = self._candidates(entry)
            found = compare_affine(entry.kernel, kernel, candidates, robust=True)
            self.misses.append(KernelHit(self.op, entry, found.match, frozenset()))
            return self._as_table(entry, found, kernel)
        base = self._enter(key, kernel, shape, dtype, place)
        return TableHit(base, np.ones(kernel.rows), none, none, none, EXACT)

    @staticmethod
    def _as_table(entry: Entry, found: AffineMatch, kernel: Kernel) -> TableHit:
        none = np.zeros(kernel.rows)
        if found.match.identical:
            return TableHit(entry.base, found.match.ratio, none, none, none, EXACT)
        shift = found.shift
        if found.match.bad is not None:
            shift = np.where(found.match.bad, np.nan, shift)
        unit = kernel.grain.spacing(found.size)
        mag = np.abs(found.shift) + found.size
        return TableHit(entry.base, found.match.ratio, shift, mag, unit, kernel.grain)

    def _find(
        self, bucket: Sequence[Entry], kernel: Kernel, unit_factor: bool
    ) -> tuple[Entry, Match] | None:
        named = sorted(bucket, key=lambda entry: entry.op != self.op)
        for entry in named:
            if entry.kernel.same_as(kernel):
                return entry, Match(entry.kernel.live, 0.0, identical=True)
        if not self.folded:
            return None
        for entry in named:
            match = self.match(entry, kernel, unit_factor)
            if match is None or not match.ulps <= kernel.grain.limit:
                continue
            if match.foreign is not None:
                if entry.lent:
                    continue
                entry.lent = True
            return entry, match
        return None

    def shows(self, entry: Entry, match: Match) -> bool:
        """Whether a row that is off counts: the original does not multiply it by zero later on."""
        gone = np.any(self._candidates(entry) == 0, axis=0) & (match.ratio != 0)
        return match.bad is not None and bool(np.any(match.bad & ~gone))

    def match(
        self, entry: Entry, kernel: Kernel, unit_factor: bool, robust: bool = False
    ) -> Match | None:
        """Compare a kernel with the original's; None if they have no common shape."""
        if entry.kernel.rows != kernel.rows or entry.kernel.columns != kernel.columns:
            return None
        if unit_factor:
            return compare(entry.kernel, kernel, np.ones((1, kernel.rows)), forced=True)
        return compare(entry.kernel, kernel, self._candidates(entry), robust=robust)

    def _candidates(self, entry: Entry) -> Array:
        found = [np.ones(entry.kernel.rows)]
        for trace, coef in entry.scales:
            rank = max(trace.rows.ndim, coef.ndim)
            rows, scale = np.broadcast_arrays(
                align(trace.rows, rank), align(coef, rank) * align(trace.ratio, rank)
            )
            index = rows.ravel() - entry.first
            inside = (index >= 0) & (index < entry.kernel.rows)
            row = np.full(entry.kernel.rows, np.nan)
            row[index[inside].astype(np.int64)] = scale.ravel()[inside]
            found.append(row)
        return np.stack(found)

    def note(self, form: Form) -> None:
        """Remember a scale that the original puts on a kernel's product."""
        if self.folded or form.base is None:
            return
        for trace in form.base.traces:
            for number in trace.kernels:
                scales = self._entries[number].scales
                known = any(t is trace and c is form.coef for t, c in scales)
                if len(scales) < MAX_SIGHTINGS and not known:
                    scales.append((trace, form.coef))
