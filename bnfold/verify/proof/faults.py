"""Names the op at which a folded model departs from the original.

The folded model is read a second time. Where it makes a value that the original does not have,
its counterpart's value is assumed in its place, so that what follows can still be held against
the original; each assumption is a suspect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form
from bnfold.verify.proof.kernel_table import KernelHit
from bnfold.verify.proof.reader import Step
from bnfold.verify.proof.rounding import CERTAIN, Array
from bnfold.verify.proof.source import Known, Op, reads
from bnfold.verify.proof.space import Space
from bnfold.verify.proof.vocabulary import NORMALIZING, REVEALING

#: A difference of scales or shifts that a normalization cannot take for rounding.
VISIBLE = 1e-5

#: A relative difference that is rather a fault than a fold.
SMALL = 0.1


@dataclass(frozen=True)
class Suspect:
    """An op of the folded model whose result the original does not have.

    Attributes:
        op, op_type: the op ("" for an output).
        counterpart: the original's op.
        reason: what is wrong.
        certain: whether the difference is one that no op can hide.
        removed: the original's affines on the way that the folded model lacks.
        holders: ops of the folded model whose constants decide the operand.
    """

    op: str
    op_type: str
    counterpart: str
    reason: str
    certain: bool
    removed: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


@dataclass(eq=False)
class Detective:
    """Finds counterparts and makes assumptions while the folded model is read.

    Attributes:
        space: the shared values.
        originals: the original's ops as they were read.
        suspects: by folded op name, in order of reading.
        tainted: values of the folded model that rest on an assumption, with the suspects.
    """

    space: Space
    originals: list[Step]
    suspects: dict[str, Suspect] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    tainted: dict[ir.Value, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name = {(step.op.name, step.op.kind): step for step in self.originals}
        self._by_output = {
            value.name: step
            for step in self.originals
            for value in step.op.node.outputs
            if value.name
        }
        self._by_operand: dict[Hashable, list[Step]] = defaultdict(list)
        for step in self.originals:
            self._by_operand[_place_of(step.op)].append(step)
        self._seen_misses = 0

    def watch(self, step: Step) -> tuple[Known, ...]:
        """Called for each op of the folded model; returns the results to go on with."""
        inherited: frozenset[str] = frozenset().union(
            *(self.tainted.get(value, frozenset()) for value in reads(step.op.node))
        )
        results, suspect = step.results, None
        misses = self.space.misses[self._seen_misses :]
        self._seen_misses = len(self.space.misses)
        if misses:
            suspect = self._wrong_kernel(step, misses[0])
        elif step.fresh:
            partner = self._partner(step.op)
            if partner is not None:
                suspect = self._wrong_operand(step, partner)
                results = tuple(map(_assumed, step.results, partner.results))
        own = inherited
        if suspect is not None:
            # One assumption explains one fault; where it takes a second, neither is certain.
            suspect = replace(suspect, certain=suspect.certain and not inherited)
            # The parts of a fused op have one name; the first to differ tells why.
            self.suspects.setdefault(step.op.name, suspect)
            if not inherited:
                self.first.append(step.op.name)
            own = inherited | {step.op.name}
        if own:
            for value in step.op.node.outputs:
                self.tainted[value] = own
        return results

    def _partner(self, op: Op) -> Step | None:
        """The original's op of the same name and kind, or with the same output."""
        named = self._by_name.get((op.name, op.kind))
        if named is not None:
            return named
        for value in op.node.outputs:
            step = self._by_output.get(value.name or "")
            if step is not None and step.op.kind == op.kind:
                return step
        # Names have been lost: the only op of the kind on the same value.
        alike = self._by_operand.get(_place_of(op), [])
        return alike[0] if len(alike) == 1 else None

    def _wrong_kernel(self, step: Step, miss: KernelHit) -> Suspect:
        match = miss.match
        ulps = "not finite" if not np.isfinite(match.ulps) else f"{match.ulps:.4g} ulp off"
        reason = (
            f"kernel channel {match.row}, element {match.column} is {match.stored:.9g} where "
            f"the original demands {match.demanded:.9g} ({ulps}); "
            f"{match.bad_rows} of {match.ratio.size} channels differ"
        )
        sure = match.ulps > CERTAIN * miss.entry.kernel.grain.limit
        if match.bad is not None:
            sure = sure and self.space.shows(miss.entry, match)
        return Suspect(
            step.op.name, step.op.op_type, miss.entry.op, reason, sure, tuple(sorted(miss.removed))
        )

    def _wrong_operand(self, step: Step, partner: Step) -> Suspect:
        differences: dict[str, str] = {}
        certain = step.op.op_type in REVEALING or bool(step.op.bodies)
        removed: set[str] = set()
        held: set[str] = set()
        for name, value in step.op.attributes.items():
            other = partner.op.attributes.get(name)
            if value != other:
                text = f"attribute {name} is {_shown(value)}, was {_shown(other)}"
                differences[f"attribute {name}"] = text
                certain = certain and isinstance(value, tuple) and value[0] == "float"
        for what, new, old in _compared(step, partner):
            text, numeric = self._operand_difference(new, old)
            if not text:
                continue
            if isinstance(new, Form) and isinstance(old, Form):
                removed |= old.via - new.via
                held |= set(self.holders(new))
            differences.setdefault(what, f"{what} {text}")
            certain = certain and numeric
        if len(step.op.inputs) != len(partner.op.inputs) and not step.covered:
            differences["operands"] = "the number of operands changed"
            certain = False
        if not differences:
            differences[""] = "the op computes something else"
            certain = False
        certain = certain or self._plain(step, partner)
        # Two differences may make up for each other.
        certain = certain and len(differences) == 1
        return Suspect(
            step.op.name,
            step.op.op_type,
            partner.op.name,
            "; ".join(differences.values()),
            certain,
            tuple(sorted(removed)),
            tuple(sorted(held)),
        )

    def _plain(self, step: Step, partner: Step) -> bool:
        """Whether a normalization sees a difference that is more than one affine for all."""
        new, old = step.op.input(0), partner.op.input(0)
        if step.op.op_type not in NORMALIZING or step.op.attributes != partner.op.attributes:
            return False
        if not isinstance(new, Form) or not isinstance(old, Form) or new.base is not old.base:
            return False
        with np.errstate(all="ignore"):
            ratio = new.coef / old.coef
            rest = np.asarray(new.const - ratio * old.const)
        return any(_spread(array) > VISIBLE for array in (ratio, rest))

    def holders(self, form: Form) -> list[str]:
        """The folded model's ops whose kernels make a value."""
        if form.base is None:
            return []
        kernels = {number for trace in form.base.traces for number in trace.kernels}
        found = [*self.space.hits, *self.space.misses]
        return sorted({hit.op for hit in found if hit.entry.number in kernels})

    def _operand_difference(self, new: Known | None, old: Known | None) -> tuple[str, bool]:
        """What is different, "" if nothing is; and whether it is a matter of numbers."""
        if isinstance(new, Const) and isinstance(old, Const):
            if new.key == old.key:
                return "", True
            return "is another constant", new.floating and new.shape == old.shape
        if not isinstance(new, Form) or not isinstance(old, Form):
            return ("", True) if new is old else ("is of another kind", False)
        new, old = self.space.anchored(new), self.space.anchored(old)
        if new.base is not old.base:
            return (
                f"is another value: {_origin(new)} where the original has {_origin(old)}",
                False,
            )
        if self.space.gap(new, old) is not None:
            return "", True
        sure = self.space.gap(new, old, widen=CERTAIN) is None
        return describe(new, old), sure


def _compared(step: Step, partner: Step) -> Iterator[tuple[str, Known | None, Known | None]]:
    """What both ops' results depend on, side by side."""
    pairs = zip(step.op.inputs, partner.op.inputs, strict=False)
    for place, (new, old) in enumerate(pairs):
        if place not in step.covered:
            yield f"operand {place}", new, old
    for (word, inner_new), (_, inner_old) in zip(step.inner, partner.inner, strict=False):
        yield word, inner_new, inner_old


def _spread(array: Array) -> float:
    """Largest difference of two elements along the last axis, of those that are finite."""
    known = np.where(np.isfinite(array), array, np.nan)
    if not known.ndim or known.shape[-1] < 2 or np.isnan(known).all():
        return 0.0
    high = np.max(known, axis=-1, where=~np.isnan(known), initial=-np.inf)
    low = np.min(known, axis=-1, where=~np.isnan(known), initial=np.inf)
    return float(np.max(high - low, initial=0.0))


def _assumed(new: Known, old: Known) -> Known:
    """The folded model's result, on the base that the original's result is on."""
    if not isinstance(new, Form) or not isinstance(old, Form):
        return old
    if new.base is None or old.base is None or new.coef.ndim != old.coef.ndim:
        return old
    try:
        np.broadcast_shapes(new.coef.shape, old.coef.shape, new.const.shape, old.const.shape)
    except ValueError:
        return old
    with np.errstate(all="ignore"):
        scale = np.abs(new.coef - old.coef) <= SMALL * np.abs(old.coef)
        shift = np.abs(new.const - old.const) <= SMALL * np.maximum(new.mag, old.mag)
    return replace(
        new,
        base=old.base,
        coef=np.where(scale, old.coef, new.coef),
        const=np.where(shift, old.const, np.nan),
    )


def describe(new: Form, old: Form) -> str:
    """How two functions of one shared value differ, at the worst element."""
    if new.coef.ndim != old.coef.ndim:
        return "has another rank"
    try:
        shape = np.broadcast_shapes(
            new.coef.shape, old.coef.shape, new.const.shape, old.const.shape
        )
    except ValueError:
        return "varies along other axes"
    parts = [np.broadcast_to(a, shape) for a in (new.coef, old.coef, new.const, old.const)]
    scale = np.abs(parts[0] - parts[1]) / np.maximum(np.abs(parts[1]), 1e-300)
    size = np.broadcast_to(np.maximum(new.mag, old.mag), shape)
    # An op before it that differs has left some shifts unknown: those say nothing here.
    unknown = np.isnan(parts[2]) | np.isnan(parts[3])
    shift = np.where(unknown, 0.0, np.abs(parts[2] - parts[3]) / np.maximum(size, 1e-300))
    worst_scale, worst_shift = float(scale.max(initial=0)), float(shift.max(initial=0))
    if worst_scale > 1e-14 and (worst_scale >= worst_shift or worst_shift < 1e-12):
        where = np.unravel_index(int(scale.argmax()), shape)
        got, wanted = parts[0][where], parts[1][where]
        sign = "; the sign differs" if got * wanted < 0 else ""
        return (
            f"has scale {got:.9g} where the original has {wanted:.9g} "
            f"at {_place(where, shape)}{sign}"
        )
    if worst_shift == 0 and unknown.any():
        where = np.unravel_index(int(unknown.argmax()), shape)
        return f"has a shift that is not known at {_place(where, shape)}: an op before it differs"
    where = np.unravel_index(int(shift.argmax()), shape)
    return (
        f"has shift {parts[2][where]:.9g} where the original has {parts[3][where]:.9g} "
        f"at {_place(where, shape)}"
    )


def _place(where: tuple[np.intp, ...], shape: tuple[int, ...]) -> str:
    index = ", ".join(
        str(int(i)) if size > 1 else ":" for i, size in zip(where, shape, strict=True)
    )
    return f"[{index}]"


def _origin(form: Form) -> str:
    return f"one of {form.base.maker!r}" if form.base is not None else "a constant"


def _place_of(op: Op) -> Hashable:
    """What kind of op it is, and the shared values that it reads."""
    bases = [known.base.id for known in op.inputs if isinstance(known, Form) and known.base]
    return (op.kind, tuple(bases))


def _shown(value: object) -> object:
    return (
        value[1]
        if isinstance(value, tuple) and len(value) == 2 and value[0] == "float"
        else (value)
    )
