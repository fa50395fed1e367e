"""From what the planner did to folds and kept affines, one per layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnfold.core.diagnostics import Absorption, Direction, Fold, Kept, Refusal
from bnfold.core.state import State
from bnfold.core.transfer import Form, Opaque
from bnfold.core.units import Unit, is_bias


@dataclass(frozen=True)
class Outcome:
    """What became of one source op.

    Attributes:
        refusals: why it could not go whole, backward and forward.
        into: what took it, or a part.
    """

    refusals: tuple[Refusal, ...]
    into: tuple[Absorption, ...]


def report(
    state: State, units: Sequence[Unit], outcomes: Mapping[int, Outcome]
) -> tuple[tuple[Fold, ...], tuple[Kept, ...]]:
    """Folds and kept affines in the order of the graph."""
    folds: list[Fold] = []
    kept: list[Kept] = []
    for unit in units:
        for group in _groups(state, unit.ops):
            entry = _entry(state, group, outcomes)
            if isinstance(entry, Fold):
                folds.append(entry)
            else:
                kept.append(entry)
    kept += _candidates(state)
    order = {op.name: number for number, op in enumerate(state.graph.ops)}
    kept.sort(key=lambda item: order[item.ops[0]])
    return tuple(folds), tuple(kept)


def _groups(state: State, ops: Iterable[int]) -> list[list[int]]:
    """The ops of a unit by layer; without layers, a normalization stands for itself."""
    groups: list[list[int]] = []
    previous: object = None
    for number in ops:
        op = state.graph.ops[number]
        key: object = op.label
        if not op.label:
            key = number if op.op_type in ("BatchNormalization", "Scaler") else ""
        if groups and key == previous:
            groups[-1].append(number)
        else:
            groups.append([number])
        previous = key
    return groups


def _entry(state: State, group: list[int], outcomes: Mapping[int, Outcome]) -> Fold | Kept:
    graph = state.graph
    ops = [graph.ops[number] for number in group]
    source = ops[0].label or ops[0].name
    names = tuple(op.name for op in ops)
    kind = "+".join(op.op_type for op in ops)
    channels = max(op.transfer.affine.channels for op in ops if hasattr(op.transfer, "affine"))
    found = [outcomes[number] for number in group if number in outcomes]
    into = _merged(taken for outcome in found for taken in outcome.into)
    left = [n for n in group if not state.is_removed(n) and not is_bias(state, n)]
    if not left:
        as_bias = tuple(
            Absorption(graph.ops[n].name, "Add", Direction.HERE, "shift")
            for n in group
            if not state.is_removed(n)
        )
        return Fold(source, names, kind, channels, (*into, *as_bias))
    refusals = tuple(dict.fromkeys(r for outcome in found for r in outcome.refusals))
    forms = tuple(
        ops[group.index(n)].op_type
        if state.standing[n].form is Form.FIXED
        else state.written(n).title
        for n in left
    )
    return Kept(source, names, kind, channels, refusals, forms, into)


def _merged(absorptions: Iterable[Absorption]) -> tuple[Absorption, ...]:
    """One entry per op: a kernel takes the scale, its bias both, the op as a whole both."""
    parts: dict[tuple[str, str, Direction], set[str]] = {}
    for taken in absorptions:
        key = (taken.op, taken.op_type, taken.direction)
        parts.setdefault(key, set()).update(taken.part.split(" and "))
    return tuple(
        Absorption(op, op_type, direction, " and ".join(sorted(names)))
        for (op, op_type, direction), names in parts.items()
    )


def _candidates(state: State) -> list[Kept]:
    """Ops that look like affines but cannot be used as such."""
    return [
        Kept(
            op.label or op.name,
            (op.name,),
            op.op_type,
            0,
            (Refusal(t.reason, Direction.HERE, op.name, op.op_type, t.detail),),
            (op.op_type,),
        )
        for op in state.graph.ops
        for t in (op.transfer,)
        if isinstance(t, Opaque) and t.candidate
    ]
