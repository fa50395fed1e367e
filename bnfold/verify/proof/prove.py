"""The proof: read both models into the shared values, compare the outputs, name what differs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from bnfold.verify.proof.chains import PROMISE
from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.counterexample import differing_outputs
from bnfold.verify.proof.faults import Detective, Suspect, describe
from bnfold.verify.proof.forms import Form, of_constant
from bnfold.verify.proof.groups import grouped
from bnfold.verify.proof.pairs import conditions_of, paired
from bnfold.verify.proof.reader import OutOfTimeError, Reader
from bnfold.verify.proof.rounding import CERTAIN
from bnfold.verify.proof.source import Known, Source, prepare
from bnfold.verify.proof.space import Space
from bnfold.verify.proof.types import (
    Condition,
    OutputProof,
    Proof,
    ProofStatus,
    Refutation,
    ValuePair,
)

#: Share of the budget for a counterexample, where the algebra alone does not settle it.
SEARCH_SHARE = 0.5


def prove(
    original: ir.Model,
    folded: ir.Model,
    *,
    budget_seconds: float = 10.0,
    overridable: bool = False,
) -> Proof:
    """Prove that two models compute the same for every input, or refute it.

    Args:
        original: the model to trust.
        folded: the model to check. Neither is changed.
        budget_seconds: wall time after which the answer is UNKNOWN.
        overridable: take initializers that are also inputs for constants.

    Returns:
        The proof. PROVED holds up to the rounding of stored constants, which it measures.
    """
    start = time.perf_counter()
    deadline = start + budget_seconds
    try:
        first, second = prepare(original, overridable), prepare(folded, overridable)
        attempt = _attempt(first, second, deadline, lenient=False)
        if (not _all_proved(attempt) or _figure(attempt) > 1) and _reads_two_ways(first):
            wide = [replace(source, wide_epsilon=True) for source in (first, second)]
            other = _attempt(wide[0], wide[1], deadline, lenient=False)
            if _all_proved(other) and (
                not _all_proved(attempt) or _figure(other) < _figure(attempt)
            ):
                attempt = other
        if not _all_proved(attempt):
            attempt = _attempt(first, second, deadline, lenient=True)
            attempt = _settled(attempt, original, folded, deadline)
    except OutOfTimeError:
        note = f"the budget of {budget_seconds:g} s was used up"
        outputs = tuple(
            OutputProof(v.name or "", ProofStatus.UNKNOWN, note) for v in folded.graph.outputs
        )
        return Proof(
            ProofStatus.UNKNOWN, outputs, seconds=time.perf_counter() - start, notes=(note,)
        )
    return replace(_assembled(attempt), seconds=time.perf_counter() - start)


def _reads_two_ways(source: Source) -> bool:
    """Whether some epsilon in memory is not the float32 number that a file holds of it.

    Tools that fold a model in memory read the one, runtimes the other.
    """
    for graph in source.model.graphs():
        for node in graph:
            if node.op_type != "BatchNormalization":
                continue
            attr = node.attributes.get("epsilon")
            if attr is None and node.outputs[0].dtype == ir.DataType.DOUBLE:
                return True
            if attr is not None and attr.as_float() != float(np.float32(attr.as_float())):
                return True
    return False


def _figure(attempt: _Attempt) -> float:
    return max(*_ulps(attempt.space), 0.0)


def _ulps(space: Space) -> tuple[float, float]:
    """Largest distance of kernels and other scales, and of biases, from what is demanded."""
    kernels = [hit.match.ulps for hit in space.hits]
    scales = [landing.gap.scale_ulps for landing in space.landings]
    shifts = [landing.gap.shift_ulps for landing in space.landings]
    return max([*kernels, *scales], default=0.0), max(shifts, default=0.0)


def _all_proved(attempt: _Attempt) -> bool:
    return all(verdict.status is ProofStatus.PROVED for verdict in attempt.verdicts)


@dataclass(frozen=True)
class _Verdict:
    """One output: what is known of it, and the suspects that it rests on."""

    name: str
    status: ProofStatus
    argument: str
    suspects: frozenset[str] = frozenset()
    certain: bool = False


@dataclass(frozen=True)
class _Attempt:
    space: Space
    first: Reader
    second: Reader
    verdicts: tuple[_Verdict, ...]
    detective: Detective | None
    notes: tuple[str, ...] = ()


def _attempt(first: Source, second: Source, deadline: float, *, lenient: bool) -> _Attempt:
    space = Space()
    one = Reader(first, space, deadline=deadline)
    one.read()
    wanted = [_as_form(one.known(value)) for value in first.graph.outputs]
    wanted = [space.snap(form) if form is not None else None for form in wanted]
    space.folded = True
    space.lenient = lenient
    detective = Detective(space, one.steps) if lenient else None
    two = Reader(second, space, detective.watch if detective else None, deadline=deadline)
    two.read()
    space.op = ""
    verdicts = _compared(space, one, two, wanted, detective)
    return _Attempt(space, one, two, verdicts, detective)


def _as_form(known: Known) -> Form | None:
    """A float value as a form; None for constants of other types."""
    if isinstance(known, Const):
        if not known.floating or not known.finite:
            return None
        return of_constant(known.shape, known.dtype, known.real, known.grain)
    return known


def _compared(
    space: Space,
    one: Reader,
    two: Reader,
    wanted: Sequence[Form | None],
    detective: Detective | None,
) -> tuple[_Verdict, ...]:
    olds, news = one.source.graph.outputs, two.source.graph.outputs
    verdicts = []
    for place, old in enumerate(olds):
        name = old.name or f"output {place}"
        if place >= len(news):
            verdicts.append(
                _Verdict(name, ProofStatus.REFUTED, "the output is missing", certain=True)
            )
            continue
        new = news[place]
        suspects = detective.tainted.get(new, frozenset()) if detective else frozenset()
        if new.name != old.name:
            text = f"the output is called {new.name!r}"
            verdicts.append(_Verdict(name, ProofStatus.REFUTED, text, certain=True))
        elif None not in (old.dtype, new.dtype) and old.dtype != new.dtype:
            text = f"the element type is {new.dtype}, was {old.dtype}"
            verdicts.append(_Verdict(name, ProofStatus.REFUTED, text, certain=True))
        else:
            verdicts.append(
                _compared_output(
                    space, name, one.known(old), two.known(new), wanted[place], suspects
                )
            )
    for new in news[len(olds) :]:
        verdicts.append(
            _Verdict(new.name or "", ProofStatus.REFUTED, "the output is new", certain=True)
        )
    return tuple(verdicts)


def _compared_output(
    space: Space,
    name: str,
    old: Known,
    new: Known,
    wanted: Form | None,
    suspects: frozenset[str],
) -> _Verdict:
    given = _as_form(new)
    if given is None or wanted is None:
        same = isinstance(old, Const) and isinstance(new, Const) and old.key == new.key
        return _Verdict(
            name,
            ProofStatus.PROVED if same else ProofStatus.UNKNOWN,
            "equal constants" if same else "constants differ",
            suspects,
        )
    given = space.anchored(given).lean()
    gap = space.gap(given, wanted)
    if gap is None:
        if given.base is not wanted.base:
            return _Verdict(
                name,
                ProofStatus.UNKNOWN,
                "no relation to the original's output was found",
                suspects,
            )
        # After an assumption that does not explain all, nothing is certain.
        certain = not suspects and space.gap(given, wanted, widen=CERTAIN) is None
        status = ProofStatus.REFUTED if certain else ProofStatus.UNKNOWN
        return _Verdict(name, status, describe(given, wanted), suspects, certain)
    space.landed(given.base, wanted.via - given.via, gap)
    if suspects:
        return _Verdict(name, ProofStatus.REFUTED, "rests on an op that differs", suspects)
    changed = gap.size > 0 or bool(wanted.via - given.via) or bool(space.hits)
    argument = "affine relations" if changed else "equal structure"
    sampled = sum(hit.sampled for hit in space.hits)
    if sampled:
        argument += f"; {sampled} collapsed products compared {PROMISE}"
    return _Verdict(name, ProofStatus.PROVED, argument)


def _settled(attempt: _Attempt, original: ir.Model, folded: ir.Model, deadline: float) -> _Attempt:
    """Only what is certain stays refuted; the rest is put to the test on inputs."""
    detective = attempt.detective
    assert detective is not None
    open_ones = [
        v.name
        for v in attempt.verdicts
        if v.status is not ProofStatus.PROVED and not _certain(v, detective)
    ]
    found: dict[str, float] = {}
    if open_ones:
        left = max(0.0, (deadline - time.perf_counter()) * SEARCH_SHARE)
        found = differing_outputs(original, folded, open_ones, left)
    verdicts = []
    for verdict in attempt.verdicts:
        if verdict.name not in open_ones:
            verdicts.append(verdict)
        elif verdict.name in found:
            text = (
                f"{verdict.argument}; a random input gives a relative difference of "
                f"{found[verdict.name]:.3g}"
            )
            verdicts.append(replace(verdict, status=ProofStatus.REFUTED, argument=text))
        else:
            verdicts.append(replace(verdict, status=ProofStatus.UNKNOWN))
    return replace(attempt, verdicts=tuple(verdicts))


def _certain(verdict: _Verdict, detective: Detective) -> bool:
    """Whether the output differs for sure: all else was shown equal, and nothing can hide it."""
    if verdict.certain:
        return True
    return (
        verdict.status is ProofStatus.REFUTED
        and bool(verdict.suspects)
        and all(detective.suspects[name].certain for name in verdict.suspects)
    )


def _assembled(attempt: _Attempt) -> Proof:
    statuses = [verdict.status for verdict in attempt.verdicts]
    if ProofStatus.REFUTED in statuses:
        status = ProofStatus.REFUTED
    elif statuses and all(s is ProofStatus.PROVED for s in statuses):
        status = ProofStatus.PROVED
    else:
        status = ProofStatus.UNKNOWN
    space, detective = attempt.space, attempt.detective
    pairs: tuple[ValuePair, ...] = ()
    conditions: tuple[Condition, ...] = ()
    refutations = _refutations(attempt)
    groups = grouped(
        space.hits,
        space.misses,
        space.landings,
        status is ProofStatus.PROVED,
        {refutation.op for refutation in refutations},
    )
    if detective is None:
        pairs = paired(space, attempt.first, attempt.second)
        conditions = conditions_of(space, attempt.first, attempt.second, groups)
    kernel, bias = _ulps(space)
    relative = max((landing.gap.shift_relative for landing in space.landings), default=0.0)
    proved = statuses.count(ProofStatus.PROVED)
    good = sum(group.status is ProofStatus.PROVED for group in groups)
    return Proof(
        status,
        tuple(OutputProof(v.name, v.status, v.argument) for v in attempt.verdicts),
        groups,
        refutations,
        proved / len(statuses) if statuses else 0.0,
        good / len(groups) if groups else 1.0,
        max(kernel, bias),
        kernel,
        bias,
        relative,
        pairs=pairs,
        conditions=conditions,
        notes=_notes(attempt),
        arguments=dict(Counter(v.argument for v in attempt.verdicts)),
    )


def _refutations(attempt: _Attempt) -> tuple[Refutation, ...]:
    """The first ops that differ, on the way to outputs that are refuted."""
    detective = attempt.detective
    if detective is None:
        return ()
    found: list[Refutation] = []
    told: set[str] = set()
    for verdict in attempt.verdicts:
        if verdict.status is not ProofStatus.REFUTED:
            continue
        names = [name for name in detective.first if name in verdict.suspects]
        for name in names:
            if name not in told:
                told.add(name)
                found.append(_refutation(detective.suspects[name]))
        if not names:
            found.append(_output_refutation(attempt, detective, verdict))
    return tuple(found)


def _output_refutation(attempt: _Attempt, detective: Detective, verdict: _Verdict) -> Refutation:
    """An output that is wrong though no op before it is."""
    reason = f"output {verdict.name!r}: {verdict.argument}"
    olds, news = attempt.first.source.graph.outputs, attempt.second.source.graph.outputs
    for one, two in zip(olds, news, strict=False):
        if one.name != verdict.name:
            continue
        maker, was = two.producer(), one.producer()
        old, new = attempt.first.known(one), attempt.second.known(two)
        removed: tuple[str, ...] = ()
        holders: tuple[str, ...] = ()
        if isinstance(old, Form) and isinstance(new, Form):
            removed = tuple(sorted(old.via - new.via))
            holders = tuple(detective.holders(new))
        return Refutation(
            (maker.name or "") if maker is not None else "",
            maker.op_type if maker is not None else "",
            reason,
            (was.name or "") if was is not None else "",
            removed,
            holders,
        )
    return Refutation("", "", reason)


def _refutation(suspect: Suspect) -> Refutation:
    return Refutation(
        suspect.op,
        suspect.op_type,
        suspect.reason,
        suspect.counterpart,
        suspect.removed,
        suspect.holders,
    )


def _notes(attempt: _Attempt) -> tuple[str, ...]:
    if attempt.detective is None:
        return attempt.notes
    unknown = [v for v in attempt.verdicts if v.status is ProofStatus.UNKNOWN]
    if not unknown:
        return attempt.notes
    hints = [
        f"{s.op or s.op_type}: {s.reason}"
        for name, s in attempt.detective.suspects.items()
        if any(name in v.suspects for v in unknown)
    ]
    return (*attempt.notes, *hints[:5])
