"""The values that both models share, numbered: equal values get the same number.

The original is read first and fills the tables; the folded model then finds its values in them.
A value is found when it is the same function of shared values, up to the rounding of stored
constants; how far that rounding reaches is measured each time (`Landing`, `KernelHit`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.forms import (
    Base,
    Form,
    Shape,
    Trace,
    UnfitError,
    align,
    merged,
    of_base,
    same_extent,
)
from bnfold.verify.proof.kernels import Kernel, Match, compare, compare_affine
from bnfold.verify.proof.rounding import EXACT, NOISE, Array, Grain, coarser

#: Scales of one kernel's results that are remembered from the original.
MAX_SIGHTINGS = 24
#: Kernels that a base remembers to come from.
MAX_TRACES = 8

#: Brings one number per kernel row to the axes of the result.
Place = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Gap:
    """How far a form is from the one it is taken for.

    Attributes:
        scale_ulps: of coef, relative, in units of the constants' type.
        shift_ulps: of const, in units of the last place of the constants that it came from.
        shift_relative: of const, over the sum of its absolute terms.
    """

    scale_ulps: float = 0.0
    shift_ulps: float = 0.0
    shift_relative: float = 0.0

    @property
    def size(self) -> float:
        """The larger of the two."""
        return max(self.scale_ulps, self.shift_ulps)


@dataclass(frozen=True)
class Landing:
    """A value of the folded model was found to be one of the original's.

    Attributes:
        op: the folded model's op that reads it.
        base: the shared value that it is a function of.
        removed: the original's affine ops on the way from there, which the folded model lacks.
        gap: the difference that was taken for rounding.
    """

    op: str
    base: Base | None
    removed: frozenset[str]
    gap: Gap


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
    """

    number: int
    first: int
    kernel: Kernel
    base: Base
    op: str
    via: frozenset[str]
    scales: list[tuple[Trace, Array]] = field(default_factory=list)


@dataclass(frozen=True)
class KernelHit:
    """A kernel of the folded model was found to be a multiple of one of the original's.

    Attributes:
        op: the folded model's op.
        entry: the original's kernel.
        match: factors, and the worst element.
        removed: the original's affine ops before it that the folded model lacks.
    """

    op: str
    entry: Entry
    match: Match
    removed: frozenset[str]


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


@dataclass(eq=False)
class _Variant:
    form: Form
    full: Base | None = None


@dataclass(eq=False)
class _Ray:
    sign: Array
    shift: Array
    base: Base
    via: frozenset[str]


@dataclass(eq=False)
class _Pair:
    first: Array
    second: Array
    base: Base


@dataclass(eq=False)
class _Joint:
    parts: list[tuple[Array, Array]]
    base: Base


class Space:
    """The tables of shared values.

    Attributes:
        folded: whether the folded model is being read.
        op: name of the op being read.
        made: name of the value being made.
        fresh: bases that the folded model made and the original does not have.
        landings, hits: what was found, for the figures.
        lenient: whether a kernel that fits none of the original's is taken for the likeliest
            one all the same; `misses` then says so. For naming faults, never for a proof.
    """

    def __init__(self) -> None:
        self.folded = False
        self.op = ""
        self.made = ""
        self.fresh: list[Base] = []
        self.landings: list[Landing] = []
        self.hits: list[KernelHit] = []
        self.lenient = False
        self.misses: list[KernelHit] = []
        self._bases = 0
        self._rows = 0
        self._interned: dict[Hashable, tuple[Base, ...]] = {}
        self._variants: dict[Hashable, list[_Variant]] = defaultdict(list)
        self._rays: dict[int, list[_Ray]] = defaultdict(list)
        self._pairs: dict[tuple[int, int], list[_Pair]] = defaultdict(list)
        self._relatives: dict[Hashable, list[_Joint]] = defaultdict(list)
        self._kernels: dict[Hashable, list[Entry]] = defaultdict(list)
        self._entries: list[Entry] = []

    # Bases

    def make(
        self, shape: Shape | None, dtype: ir.DataType | None, traces: Sequence[Trace] = ()
    ) -> Base:
        """A new base."""
        base = Base(self._bases, shape, dtype, tuple(traces)[:MAX_TRACES], self.made)
        self._bases += 1
        if self.folded:
            self.fresh.append(base)
        return base

    def intern(
        self,
        key: Hashable,
        shape: Shape | None,
        dtype: ir.DataType | None,
        traces: Sequence[Trace] = (),
    ) -> Base:
        """The base known by a key; made if there is none yet."""
        return self.intern_all(key, [(shape, dtype)], traces)[0]

    def intern_all(
        self,
        key: Hashable,
        kinds: Sequence[tuple[Shape | None, ir.DataType | None]],
        traces: Sequence[Trace] = (),
    ) -> tuple[Base, ...]:
        """The bases of an op with several outputs."""
        found = self._interned.get(key)
        if found is None or len(found) < len(kinds):
            found = tuple(self.make(shape, dtype, traces) for shape, dtype in kinds)
            self._interned[key] = found
        else:
            for base, (shape, _) in zip(found, kinds, strict=False):
                if same_extent(base.shape, shape):
                    base.shape = merged(base.shape, shape)
        return found

    def anchored(self, form: Form) -> Form:
        """The same value on a base of its own shape, where broadcasting has enlarged it."""
        base = form.base
        if base is None or base.shape is None or form.shape is None:
            return form
        rank = len(form.shape)
        grown = any(
            size > 1 and dim == 1
            for array in (form.coef, form.const)
            for size, dim in zip(
                array.shape, (1,) * (rank - len(base.shape)) + base.shape, strict=True
            )
        )
        if not grown and len(base.shape) == rank:
            return form
        wider = self.intern(
            ("grown", form.shape, base.id),
            form.shape,
            base.dtype,
            moved_traces(base.traces, lambda a: a.reshape((1,) * (rank - a.ndim) + a.shape)),
        )
        return replace(form, base=wider)

    # Equal values

    def snap(self, form: Form) -> Form:
        """The form under which an equal value is known; itself where none is known."""
        form = self.anchored(form)
        if form.base is not None and not form.coef.any():
            form = replace(form, base=None)
        if form.pure:
            return form
        variant, gap = self._variant(form)
        if not self.folded:
            self.note(form)
        elif variant.form is not form:
            self.landed(form.base, variant.form.via - form.via, gap)
        return replace(variant.form, via=form.via, dtype=form.dtype)

    def landed(self, base: Base | None, removed: frozenset[str], gap: Gap) -> None:
        if self.folded and (removed or gap.size > 0):
            self.landings.append(Landing(self.op, base, removed, gap))

    def _variant(self, form: Form) -> tuple[_Variant, Gap]:
        bucket = self._variants[self._bucket(form)]
        if not bucket and form.base is not None and form.base.shape is not None:
            bucket.append(_Variant(of_base(form.base), form.base))
        best: tuple[_Variant, Gap] | None = None
        for variant in bucket:
            gap = self.gap(form, variant.form)
            if gap is not None and (best is None or gap.size < best[1].size):
                best = variant, gap
                if gap.size == 0:
                    break
        if best is None:
            # What the original holds is exact by definition.
            best = _Variant(form if self.folded else form.settled()), Gap()
            bucket.append(best[0])
        return best

    @staticmethod
    def _bucket(form: Form) -> Hashable:
        return ("constant", form.rank) if form.base is None else form.base.id

    def gap(self, form: Form, target: Form) -> Gap | None:
        """The difference of two forms on one base, None where it is more than rounding."""
        if form.base is not target.base or not _same_size(form, target):
            return None
        grain = form.grain if self.folded else EXACT
        limit, eps = grain.limit, (grain.eps if self.folded else 0.0)
        with np.errstate(all="ignore"):
            scale = np.abs(form.coef - target.coef)
            whole = np.abs(target.coef)
            if not np.all(scale <= (NOISE + limit * eps) * whole):
                return None
            shift = np.abs(form.const - target.const)
            mag = np.maximum(form.mag, target.mag)
            excess = np.maximum(shift - NOISE * mag, 0.0)
            unit = form.unit if self.folded else np.zeros_like(form.unit)
            if not np.all(excess <= limit * (unit + eps * mag)):
                return None
            scale = np.maximum(scale - NOISE * whole, 0.0)
            return Gap(
                _peak(scale / (eps * whole)),
                _peak(excess / np.maximum(unit, np.where(unit > 0, 0.0, eps * mag))),
                _peak(excess / mag),
            )

    def full(self, form: Form) -> Base:
        """The base that is the value itself."""
        form = self.anchored(form)
        if form.base is not None and form.pure:
            return form.base
        if form.base is not None and not form.coef.any():
            form = replace(form, base=None)
        variant, gap = self._variant(form)
        if self.folded and variant.form is not form:
            self.landed(form.base, variant.form.via - form.via, gap)
        if variant.full is None:
            variant.full = self.make(form.shape, form.dtype)
        return variant.full

    # Multiples of a shifted value

    def ray(self, form: Form, signed: bool) -> tuple[Array, Base]:
        """Write a value as factor * (value on a base of its own).

        Args:
            form: an anchored form whose coef is nonzero wherever it matters: elements with
                coef 0 are left undefined on the base.
            signed: whether the factor may be negative.

        Returns:
            The factor and the base; the base stands for ``sign * b + shift``.
        """
        base = form.base
        if base is None:
            raise UnfitError("constant")
        factor = form.coef if signed else np.abs(form.coef)
        dead = form.coef == 0
        safe = np.where(dead, 1.0, factor)
        sign = np.where(dead, np.nan, form.coef / safe)
        shift = np.where(dead, np.nan, form.const / safe)
        if not np.any(sign[~np.isnan(sign)] != 1) and not np.any(shift[~np.isnan(shift)]):
            return factor, base
        error = (form.unit + form.grain.eps * form.mag) / np.abs(safe)
        limit = form.grain.limit if self.folded else 0.0
        for ray in self._rays[base.id]:
            same = _agree(sign, ray.sign, 0.0)
            tolerance = NOISE * form.mag / np.abs(safe) + limit * error
            if same and _agree(shift, ray.shift, tolerance):
                self.landed(base, ray.via - form.via, _shift_gap(shift, ray.shift, error))
                ray.sign, ray.shift = _filled(ray.sign, sign), _filled(ray.shift, shift)
                return factor, ray.base
        made = self.make(form.shape, form.dtype, _signed_traces(base.traces, sign))
        self._rays[base.id].append(_Ray(sign, shift, made, form.via))
        return factor, made

    # Sums

    def add(self, first: Form, second: Form) -> Form:
        """The sum of two values."""
        if first.shape is None or second.shape is None:
            raise UnfitError("rank unknown")
        rank = max(len(first.shape), len(second.shape))
        first, second = self.anchored(first.aligned(rank)), self.anchored(second.aligned(rank))
        shape = _broadcast(first.shape, second.shape)
        grain = coarser(first.grain, second.grain)
        rest = replace(
            first,
            shape=shape,
            const=first.const + second.const,
            mag=first.mag + second.mag,
            unit=first.unit + second.unit,
            grain=grain,
            via=first.via | second.via,
        )
        if first.base is None or second.base is None or first.base is second.base:
            return replace(rest, base=first.base or second.base, coef=first.coef + second.coef)
        if first.base.id > second.base.id:
            first, second = second, first
        base, factor = self._pair(first, second, shape)
        return replace(rest, base=base, coef=factor)

    def _pair(self, first: Form, second: Form, shape: Shape | None) -> tuple[Base, Array]:
        assert first.base is not None and second.base is not None
        one, two = np.broadcast_arrays(first.coef, second.coef)
        factor = np.where(one != 0, one, two)
        safe = np.where(factor == 0, np.nan, factor)
        share, other = one / safe, two / safe
        grain = coarser(first.grain, second.grain)
        tolerance = NOISE + (2 * grain.limit * grain.eps if self.folded else 0.0)
        for pair in self._pairs[first.base.id, second.base.id]:
            if (
                np.broadcast_shapes(pair.first.shape, share.shape) == pair.first.shape
                and same_extent(pair.base.shape, shape)
                and _agree(share, pair.first, tolerance)
                and _agree(other, pair.second, tolerance * np.abs(other))
            ):
                off = np.nan_to_num(np.abs(other - pair.second) / np.abs(other)).max(initial=0.0)
                if off > NOISE:
                    self.landed(pair.base, frozenset(), Gap(scale_ulps=float(off) / grain.eps))
                pair.first, pair.second = _filled(pair.first, share), _filled(pair.second, other)
                return pair.base, factor
        traces = [
            Trace(trace.rows, align(trace.ratio, share.ndim) * np.nan_to_num(part), trace.kernels)
            for side, part in ((first, share), (second, other))
            for trace in moved_traces(
                side.base.traces if side.base else (), lambda a: align(a, share.ndim)
            )
        ]
        made = self.make(shape, first.dtype, traces)
        self._pairs[first.base.id, second.base.id].append(_Pair(share, other, made))
        return made, factor

    # Several values up to a common affine

    def relative(
        self, key: Hashable, lead: Form, others: Sequence[Form], shape: Shape | None
    ) -> Base:
        """The base of an op that passes an affine common to its operands.

        The others are held as functions of their bases after the lead's affine has been undone;
        where the lead's coef is 0 that is undefined, and any value agrees.
        """
        dead = lead.coef == 0
        inverse = 1.0 / np.where(dead, np.nan, lead.coef)
        grain = lead.grain
        parts: list[tuple[Array, Array]] = []
        slack: list[tuple[Array, Array]] = []
        for form in others:
            grain = coarser(grain, form.grain)
            ratio, shift = form.coef * inverse, (form.const - lead.const) * inverse
            parts.append((ratio, shift))
            error = (form.unit + lead.unit + grain.eps * (form.mag + lead.mag)) * np.abs(inverse)
            noise = NOISE * (form.mag + lead.mag) * np.abs(inverse)
            limit = grain.limit if self.folded else 0.0
            eps = 2 * limit * grain.eps if limit else 0.0
            slack.append(((NOISE + eps) * np.abs(ratio), noise + limit * error))
        bucket = self._relatives[key]
        for joint in bucket:
            if all(
                _agree(new, old, room)
                for pair, known, rooms in zip(parts, joint.parts, slack, strict=True)
                for new, old, room in zip(pair, known, rooms, strict=True)
            ):
                joint.parts = [
                    (_filled(known[0], pair[0]), _filled(known[1], pair[1]))
                    for pair, known in zip(parts, joint.parts, strict=True)
                ]
                return joint.base
        traces = lead.base.traces if lead.base is not None else ()
        made = self.make(shape, lead.dtype, traces)
        bucket.append(_Joint(parts, made))
        return made

    # Constant kernels

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
    ) -> tuple[Base, Array]:
        """The base that a kernel's product is a multiple of, and the factor of each row.

        Args:
            key: the operand's base, the geometry, the op.
            kernel: the constants.
            shape, dtype: of the product.
            place: brings one number per row to the product's axes.
            via: names of the affine ops before it.
            unit_factor: only a factor of 1 will do (the op is not linear in its kernel).
        """
        found = self._find(self._kernels[key], kernel, unit_factor)
        if found is not None:
            entry, match = found
            if self.folded:
                self.hits.append(KernelHit(self.op, entry, match, entry.via - via))
            return entry.base, place(match.ratio)
        if self.folded and self.lenient:
            likely = self._likeliest(self._kernels[key], kernel, unit_factor)
            if likely is not None:
                entry, match = likely
                self.misses.append(KernelHit(self.op, entry, match, entry.via - via))
                return entry.base, place(match.ratio)
        return self._enter(key, kernel, shape, dtype, place, via), place(kernel.live)

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
        for entry in named:
            if not self.folded and not entry.kernel.same_as(kernel):
                continue
            found = compare_affine(entry.kernel, kernel, self._candidates(entry))
            if found.match.ulps > kernel.grain.limit:
                continue
            if self.folded:
                self.hits.append(KernelHit(self.op, entry, found.match, frozenset()))
            unit = none if found.match.identical else kernel.grain.spacing(found.size)
            grain = EXACT if found.match.identical else kernel.grain
            mag = np.abs(found.shift) + (0 if found.match.identical else found.size)
            return TableHit(entry.base, found.match.ratio, found.shift, mag, unit, grain)
        base = self._enter(key, kernel, shape, dtype, place)
        return TableHit(base, np.ones(kernel.rows), none, none, none, EXACT)

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
            if match is not None and match.ulps <= kernel.grain.limit:
                return entry, match
        return None

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


def moved_traces(
    traces: Sequence[Trace], move: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> list[Trace]:
    """The traces of a value whose elements are rearranged; none where that cannot be told."""
    found = []
    for trace in traces:
        try:
            found.append(
                Trace(
                    np.asarray(move(trace.rows), np.int64),
                    np.asarray(move(trace.ratio), np.float64),
                    trace.kernels,
                )
            )
        except (UnfitError, ValueError, IndexError):
            continue
    return found


def _signed_traces(traces: Sequence[Trace], sign: Array) -> list[Trace]:
    return [
        Trace(trace.rows, trace.ratio * np.nan_to_num(sign, nan=1.0), trace.kernels)
        for trace in traces
    ]


def _peak(values: Array) -> float:
    """Largest finite value; 0/0, which stands for no difference at all, counts as 0."""
    return float(np.nan_to_num(values, nan=0.0, posinf=np.inf).max(initial=0.0))


def _shift_gap(shift: Array, target: Array, unit: Array) -> Gap:
    with np.errstate(all="ignore"):
        apart = np.abs(shift - target)
        apart = np.maximum(apart - NOISE * np.abs(target), 0.0)
        return Gap(0.0, _peak(apart / unit), _peak(apart / np.abs(target)))


def _agree(first: Array, second: Array, tolerance: Array | float) -> bool:
    """Whether two arrays agree wherever both are defined (not NaN)."""
    try:
        with np.errstate(invalid="ignore"):
            apart = np.abs(first - second) <= tolerance
            return bool(np.all(apart | np.isnan(first) | np.isnan(second)))
    except ValueError:
        return False


def _filled(known: Array, new: Array) -> Array:
    """Undefined elements taken from another array that agrees with it."""
    return np.where(np.isnan(known), new, known)


def _same_size(form: Form, target: Form) -> bool:
    """Whether two forms on one base surely have the same shape."""
    if form.shape is None or target.shape is None:
        return form.shape is target.shape
    if not same_extent(form.shape, target.shape):
        return False
    for axis, (a, b) in enumerate(zip(form.shape, target.shape, strict=True)):
        mine = max(form.coef.shape[axis], form.const.shape[axis])
        its = max(target.coef.shape[axis], target.const.shape[axis])
        if mine > 1 and its > 1 and mine != its:
            return False
        if (mine > 1) != (its > 1) and not (isinstance(a, int) and isinstance(b, int)):
            return False
    return True


def _broadcast(first: Shape | None, second: Shape | None) -> Shape | None:
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
