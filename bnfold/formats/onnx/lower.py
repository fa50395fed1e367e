"""From an ONNX graph to the neutral graph that the planner works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from bnfold.core.diagnostics import Reason
from bnfold.core.graph import Graph, Op
from bnfold.core.moves import Shape
from bnfold.core.transfer import Form, Opaque, Source, Transfer
from bnfold.formats.onnx import (  # noqa: F401 - fill the table
    ops_elementwise,
    ops_linear,
    ops_move,
    ops_pick,
    ops_space,
)
from bnfold.formats.onnx.attributes import bodies
from bnfold.formats.onnx.computed_shapes import shape_of
from bnfold.formats.onnx.constants import read_by
from bnfold.formats.onnx.rules import NodeView, transfer_of
from bnfold.formats.onnx.scope import Scope

#: Axes of a batch of images.
_IMAGE_RANK = 4


@dataclass(frozen=True)
class Lowered:
    """A neutral graph and the way back.

    Attributes:
        graph: what the planner sees.
        nodes: for each op its position among the graph's nodes.
        dtypes: for each op the data type of its first result, None unknown.
    """

    graph: Graph
    nodes: tuple[int, ...]
    dtypes: tuple[ir.DataType | None, ...]

    @property
    def keeping(self) -> dict[int, Source]:
        """The normalizations that stay some, by number of the op."""
        sources = {number: op.transfer for number, op in enumerate(self.graph.ops)}
        return {n: s for n, s in sources.items() if isinstance(s, Source) and s.keeps}


def lower(scope: Scope, labels: Mapping[str, str]) -> Lowered:
    """The neutral view of one graph. Ops that only compute constants are left out."""
    ops: list[Op] = []
    nodes: list[int] = []
    dtypes: list[ir.DataType | None] = []
    shapes: dict[str, Shape] = {}
    captured: set[str] = set()
    names: dict[str, int] = {}
    graph = scope.graph
    for given in graph.inputs:
        _note_shape(shapes, given)
    for position, node in enumerate(graph):
        captured.update(_captured(node))
        if all(scope.constants.is_known(v.name or "") for v in node.outputs if v.name) and all(
            scope.constants.is_constant(v.name or "") for v in node.outputs if v.name
        ):
            continue
        for value in (*node.inputs, *node.outputs):
            _note_shape(shapes, value)
        ops.append(
            Op(
                _unique(node.name or f"{node.op_type}_{position}", names),
                node.op_type,
                tuple(None if v is None or not v.name else v.name for v in read_by(node)),
                tuple(v.name or "" for v in node.outputs),
                _transfer(NodeView(node, scope.constants, scope.opset)),
                labels.get(node.name or "", ""),
            )
        )
        nodes.append(position)
        dtypes.append(node.outputs[0].dtype if node.outputs else None)
    neutral = Graph(
        _keeping_blocks(ops),
        [v.name or "" for v in graph.inputs],
        [v.name or "" for v in graph.outputs],
        shapes,
        scope.constants,
        frozenset(captured),
    )
    return Lowered(neutral, tuple(nodes), tuple(dtypes))


def _keeping_blocks(ops: list[Op]) -> list[Op]:
    """Let normalizations of images stay some where there are convolutions.

    A Mul or an Add is less work by itself. But runtimes keep images in blocks of channels from
    convolution to convolution: a normalization passes that, with the activation behind it, and an
    op with an array of constants makes them take the blocks apart and put them together again.
    """
    if not any(op.op_type == "Conv" for op in ops):
        return ops
    return [
        replace(op, transfer=replace(op.transfer, keeps=True))
        if isinstance(op.transfer, Source)
        and op.transfer.form is Form.NORM
        and op.transfer.affine.rank == _IMAGE_RANK
        else op
        for op in ops
    ]


def _transfer(view: NodeView) -> Transfer:
    if any(attribute.ref_attr_name for attribute in view.node.attributes.values()):
        return Opaque(Reason.OPAQUE_OP, "its attributes are given by the caller")
    try:
        return transfer_of(view)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # A node that contradicts itself, which onnx.checker may not see, stays; the rest need not.
        return Opaque(Reason.OPAQUE_OP, f"it contradicts itself: {error}")


def _note_shape(shapes: dict[str, Shape], value: ir.Value | None) -> None:
    shape = shape_of(value)
    if value is not None and value.name and shape is not None:
        shapes[value.name] = shape


def _unique(name: str, names: dict[str, int]) -> str:
    count = names.get(name, 0)
    names[name] = count + 1
    return name if not count else f"{name}#{count + 1}"


def _captured(node: ir.Node) -> Iterator[str]:
    """Names that the node's subgraphs read; more than those from outside does no harm."""
    for body in bodies(node):
        for value in body.outputs:
            if value.name:
                yield value.name
        for inner in body:
            yield from (v.name for v in inner.inputs if v is not None and v.name)
            yield from _captured(inner)
