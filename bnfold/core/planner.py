"""From a graph to a plan: pure, deterministic, knowing no framework.

Each unit of adjacent affines is tried whole and in halves, backward and forward:

    s*x + t            scale and shift go the same way, or the scale backward, the shift forward
    s*(x + t/s)        the shift goes backward, the scale forward

and what cannot go is left in its cheapest form. Of all placements that a unit allows the one is
chosen that leaves the fewest elementwise passes, then the fewest ops, then the fewest rewritten
ops. A placement is taken only if it leaves less than there was, so planning ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Absorption, Direction, Reason, Refusal
from bnfold.core.graph import Graph, Use
from bnfold.core.holding import form_for
from bnfold.core.plan import Plan
from bnfold.core.reporting import Outcome, report
from bnfold.core.state import Standing, State
from bnfold.core.trail import Stopped
from bnfold.core.transfer import Form, Source
from bnfold.core.units import Unit, find_units
from bnfold.core.walk import Walker

MAX_ROUNDS = 20
Cost = tuple[float, int, int]
DIRECTIONS = (Direction.BACKWARD, Direction.FORWARD)


def plan(graph: Graph, blocked: Mapping[Use, Reason] | None = None) -> Plan:
    """Find a place for every affine of ``graph``.

    Args:
        graph: the neutral view.
        blocked: constants that an earlier attempt could not hold in their data type, with the
            reason; operand -1 stands for the parameters of a source itself.
    """
    state = State(graph, blocked or {})
    initial = find_units(state)
    outcomes: dict[int, Outcome] = {}
    units = initial
    for _ in range(MAX_ROUNDS):
        first = len(state.touched)
        changed = [
            # A unit that another one has changed meanwhile is found anew in the next round.
            not set(unit.ops).intersection(state.touched[first:]) and _settle(state, unit, outcomes)
            for unit in sorted(units, key=lambda unit: _holds_both(state, unit))
        ]
        if not any(changed) and len(state.touched) == first:
            break
        units = find_units(state)
    standing = {number: now for number, now in state.standing.items() if _differs(state, number)}
    folds, kept = report(state, initial, outcomes)
    return Plan(dict(state.edits), standing, folds, kept)


def _holds_both(state: State, unit: Unit) -> bool:
    """Whether a normalization is among its ops: it comes last, so that others may merge into it."""
    return any(state.standing[op].form is Form.NORM for op in unit.ops)


def _differs(state: State, number: int) -> bool:
    """Whether the source stands for anything else, or as anything else, than in the graph."""
    source, now = state.graph.ops[number].transfer, state.standing[number].affine
    assert isinstance(source, Source)
    return state.written(number) is not source.form or not now.equals(source.affine)


@dataclass(frozen=True)
class Placement:
    """One way to place a unit: what goes back, what goes forward, what stays."""

    back: Affine
    forth: Affine
    stay: Affine


def _placements(affine: Affine) -> Iterator[Placement]:
    """All placements worth trying, the best first."""
    none = Affine.identity(affine.rank)
    scale, shift = affine.only_scale(), affine.only_shift()
    inner = affine.inner_shift()
    yield Placement(affine, none, none)
    yield Placement(none, affine, none)
    if not (affine.is_scale or affine.is_shift):
        yield Placement(scale, shift, none)
        if inner is not None:
            yield Placement(inner, scale, none)
        yield Placement(scale, none, shift)
        if inner is not None:
            yield Placement(inner, none, scale)
            yield Placement(none, scale, inner)
        yield Placement(none, shift, scale)
    yield Placement(none, none, affine)


def _settle(state: State, unit: Unit, outcomes: dict[int, Outcome]) -> bool:
    """Place one unit as well as can be; whether anything changed."""
    if any(state.is_removed(op) for op in unit.ops):
        return False
    if not unit.affine.is_finite:
        refusal = _here(state, unit, Reason.NOT_FINITE)
        _record(outcomes, unit.ops, (refusal,), ())
        return False
    if not state.uses(unit.value) and state.exposed(unit.value) is None:
        _record(outcomes, unit.ops, (_here(state, unit, Reason.UNUSED_VALUE, unit.value),), ())
        return False
    walker = Walker(state)
    before = _cost(state)
    best: tuple[Cost, Placement] | None = None
    refusals: list[Refusal] = []
    first_absorbed, first_touched = len(state.absorbed), len(state.touched)
    for index, placement in enumerate(_placements(unit.affine)):
        mark = state.mark()
        try:
            _carry_out(state, walker, unit, placement)
        except Stopped as stopped:
            if index < 2:
                refusals.append(_going(stopped.refusal, DIRECTIONS[index]))
            continue
        cost = _cost(state)
        better = cost < before and (best is None or cost < best[0])
        if better:
            best = (cost, placement)
            if placement.stay.is_identity:
                break  # nothing of it is left: it stays carried out
        state.rollback(mark)
    if best is None:
        _record(outcomes, unit.ops, tuple(refusals), ())
        return False
    if not best[1].stay.is_identity:
        _carry_out(state, walker, unit, best[1])
    taken = tuple(state.absorbed[first_absorbed:])
    _record(outcomes, [*unit.ops, *state.touched[first_touched:]], tuple(refusals), taken)
    return True


def _record(
    outcomes: dict[int, Outcome],
    ops: Iterable[int],
    refusals: tuple[Refusal, ...],
    taken: tuple[Absorption, ...],
) -> None:
    """The latest refusals, and all that was ever taken."""
    for op in dict.fromkeys(ops):
        earlier = outcomes[op].into if op in outcomes else ()
        outcomes[op] = Outcome(refusals, tuple(dict.fromkeys((*earlier, *taken))))


def _going(refusal: Refusal, direction: Direction) -> Refusal:
    """A forward walk may end backward, at the other operand of a product: it is still forward."""
    if refusal.direction is Direction.HERE:
        return refusal
    return replace(refusal, direction=direction)


def _cost(state: State) -> Cost:
    return round(state.passes, 6), state.nodes, state.rewrites


def _carry_out(state: State, walker: Walker, unit: Unit, placement: Placement) -> None:
    mark = state.mark()
    try:
        walker.request(unit.use, placement.back)
        walker.offer(unit.value, placement.forth)
        _leave(state, unit, placement.stay)
    except Stopped:
        state.rollback(mark)
        raise


def _leave(state: State, unit: Unit, stay: Affine) -> None:
    """Let the unit's ops stand for ``stay`` in its cheapest form."""
    try:
        if stay.is_identity:
            _check_removable(state, unit)
            holders: dict[int, Standing] = {}
        else:
            holders = _holders(state, unit, stay)
        for op in unit.ops:
            if op in holders:
                state.place(op, holders[op])
            else:
                state.remove(op)
    except Blocked as blocked:
        raise Stopped(_here(state, unit, blocked.reason, blocked.detail)) from None


def _holders(state: State, unit: Unit, stay: Affine) -> dict[int, Standing]:
    """Which ops of the unit stay, and as what."""
    sources = {op: state.graph.ops[op].transfer for op in unit.ops}

    def by_form(form: Form) -> Callable[[int], bool]:
        return lambda op: state.standing[op].form is not form

    for form in (Form.MUL, Form.ADD, Form.NORM):
        # The op that is of the wanted form already comes first, so that least is rewritten.
        for op in sorted(unit.ops, key=by_form(form)):
            source = sources[op]
            assert isinstance(source, Source)
            if form_for(source, stay) is form:
                return {op: Standing(stay, form)}
    if len(unit.ops) >= 2:
        first, *_, last = unit.ops
        return {
            first: Standing(stay.only_scale(), Form.MUL),
            last: Standing(stay.only_shift(), Form.ADD),
        }
    raise Blocked(Reason.COST_WOULD_RISE, "it would take two ops where there is one")


def _check_removable(state: State, unit: Unit) -> None:
    """A model's output must be written by an op: it cannot be one of its inputs."""
    graph = state.graph
    name = graph.ops[unit.use.op].inputs[unit.use.operand]
    assert name is not None
    value = state.origin(name)
    if state.exposed(unit.value) is Reason.GRAPH_OUTPUT and (
        value not in graph.producers or state.exposed_itself(value)
    ):
        raise Blocked(Reason.GRAPH_OUTPUT, unit.value)


def _here(state: State, unit: Unit, reason: Reason, detail: str = "") -> Refusal:
    op = state.graph.ops[unit.ops[0]]
    return Refusal(reason, Direction.HERE, op.name, op.op_type, detail)
