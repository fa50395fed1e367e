"""Which affines stand together: runs of adjacent sources that are moved as one."""

from __future__ import annotations

from dataclasses import dataclass

from bnfold.core.affine import Affine
from bnfold.core.blocked import Blocked
from bnfold.core.graph import Graph, Use
from bnfold.core.parts import composed
from bnfold.core.state import State
from bnfold.core.transfer import Commute, Contraction, Form, Rewrite, Source


@dataclass(frozen=True)
class Unit:
    """Sources in a row, each the sole reader of the one before.

    Attributes:
        ops: op numbers, first to last.
        affine: what they do together.
        use: the reading of the value in front.
        value: the value behind.
    """

    ops: tuple[int, ...]
    affine: Affine
    use: Use
    value: str


def find_units(state: State) -> list[Unit]:
    """All units of the graph as it stands, first to last."""
    units: list[Unit] = []
    taken: set[int] = set()
    for number in state.standing:
        if number in taken or state.is_removed(number) or is_bias(state, number):
            continue
        chain, affine = [number], state.standing[number].affine
        while (following := _next(state, chain[-1])) is not None:
            try:
                affine = composed(state.standing[following].affine, affine)
            except Blocked:  # two that contradict each other, as only broken models have
                break
            chain.append(following)
        taken.update(chain)
        source = _source(state.graph, number)
        value = state.graph.ops[chain[-1]].outputs[0]
        units.append(Unit(tuple(chain), affine, Use(number, source.data), value))
    return units


def _source(graph: Graph, number: int) -> Source:
    transfer = graph.ops[number].transfer
    assert isinstance(transfer, Source)
    return transfer


def _next(state: State, number: int) -> int | None:
    """The source that alone reads the result of ``number``."""
    value = state.graph.ops[number].outputs[0]
    if state.exposed(value) is not None:
        return None
    uses = state.uses(value)
    if len(uses) != 1 or uses[0].op not in state.standing:
        return None
    return uses[0].op


def is_bias(state: State, number: int) -> bool:
    """Whether the source is the bias of a matrix product that has no bias operand.

    It is an Add behind the product, with only movements of elements between: runtimes treat
    the two as one, so there is nothing to gain by moving it.
    """
    if state.written(number) is not Form.ADD:
        return False
    graph = state.graph
    name = graph.ops[number].inputs[_source(graph, number).data]
    while name is not None:
        name = state.origin(name)
        if len(state.uses(name)) != 1:
            return False
        producer = graph.producers.get(name)
        if producer is None:
            return False
        transfer = graph.ops[producer[0]].transfer
        if isinstance(transfer, Contraction):
            bias = transfer.bias
            if transfer.output_blocked is not None or not transfer.labels.summed:
                return False
            if bias is not None and Use(producer[0], bias.operand) in state.edits:
                return False
            return bias is None or (not bias.present and bias.create is not Rewrite.OPERAND)
        if not isinstance(transfer, Commute) or transfer.shift_blocked is not None:
            return False
        name = graph.ops[producer[0]].inputs[transfer.data]
    return False
