"""The neutral, immutable view of a graph that the planner works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from bnfold.core.affine import Array
from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Shape
from bnfold.core.transfer import ShapeOnly, Transfer


@dataclass(frozen=True, order=True)
class Use:
    """One reading of a value: operand ``operand`` of op number ``op``."""

    op: int
    operand: int


@dataclass(frozen=True)
class Op:
    """One op of the graph.

    Attributes:
        name: unique in the graph.
        op_type: the format's own name of it.
        inputs: names of the values it reads, None for an absent operand.
        outputs: names of the values it writes.
        transfer: how it treats an affine.
        label: the layer that it belongs to, "" where unknown.
    """

    name: str
    op_type: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    transfer: Transfer
    label: str = ""


class Constants(Protocol):
    """Constant values of a graph, read only when asked for."""

    def is_constant(self, name: str) -> bool:
        """Whether the value is constant and may be replaced by an edited copy."""
        ...

    def why_not(self, name: str) -> Reason | None:
        """The reason why a value that looks constant may not be edited; None if it does not."""
        ...

    def value(self, name: str) -> Array | None:
        """The value in float64, None where it is not constant or cannot be read."""
        ...


@dataclass(frozen=True)
class Graph:
    """Ops in topological order.

    Attributes:
        ops: the ops; ops that only compute constants are left out.
        inputs, outputs: names of values.
        shapes: shape of each value where its rank is known; dims may be names or None.
        constants: the constant values.
        captured: values that are also read inside a subgraph.
    """

    ops: Sequence[Op]
    inputs: Sequence[str]
    outputs: Sequence[str]
    shapes: Mapping[str, Shape]
    constants: Constants
    captured: frozenset[str] = frozenset()

    @cached_property
    def producers(self) -> dict[str, tuple[int, int]]:
        """Value name to (op number, output number)."""
        return {
            name: (number, index)
            for number, op in enumerate(self.ops)
            for index, name in enumerate(op.outputs)
            if name
        }

    @cached_property
    def live(self) -> frozenset[int]:
        """Numbers of the ops whose results' elements an output depends on.

        An op that nobody reads, or of which only the shape is read, minds no affine.
        """
        needed = {*self.outputs, *self.captured}
        found: set[int] = set()
        for number in reversed(range(len(self.ops))):
            op = self.ops[number]
            if needed.isdisjoint(op.outputs):
                continue
            found.add(number)
            if not isinstance(op.transfer, ShapeOnly):
                needed.update(name for name in op.inputs if name is not None)
        return frozenset(found)

    @cached_property
    def readers(self) -> dict[str, tuple[Use, ...]]:
        """Value name to the uses that depend on its elements, and that an output depends on."""
        found: dict[str, list[Use]] = {}
        for number, op in enumerate(self.ops):
            if number not in self.live or isinstance(op.transfer, ShapeOnly):
                continue
            for operand, name in enumerate(op.inputs):
                if name is not None:
                    found.setdefault(name, []).append(Use(number, operand))
        return {name: tuple(uses) for name, uses in found.items()}

    @cached_property
    def output_names(self) -> frozenset[str]:
        """The outputs as a set."""
        return frozenset(self.outputs)

    def rank(self, name: str | None) -> int | None:
        """Number of axes of a value, None where unknown."""
        shape = self.shapes.get(name) if name is not None else None
        return None if shape is None else len(shape)
