"""A model's graph reduced to what a drawing needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

# A drawing of more boxes than this helps nobody; the report says so instead.
MAX_NODES = 2000


@dataclass(frozen=True)
class GraphNode:
    """One op.

    Attributes:
        name, op_type: of the op.
        inputs: numbers of the nodes that make what it reads.
        weights: shapes of the constants that it reads, as text.
        output: shape of its first result as text, "" where unknown.
        members: labels of the ops that this one stands for; () where it is an op itself.
    """

    name: str
    op_type: str
    inputs: tuple[int, ...]
    weights: tuple[str, ...] = ()
    output: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphView:
    """The main graph of a model.

    Attributes:
        nodes: in topological order; ops that only compute constants are left out.
        inputs, outputs: names with shapes, as text.
        omitted: number of nodes if there were too many to draw, else 0.
    """

    nodes: tuple[GraphNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    omitted: int = 0


def graph_view(model: ir.Model) -> GraphView:
    """The view of a model's main graph."""
    graph = model.graph
    makers: dict[int, int] = {}
    nodes: list[GraphNode] = []
    count = len(graph)
    if count <= MAX_NODES:
        for node in graph:
            before = [makers[id(v)] for v in node.inputs if v is not None and id(v) in makers]
            given = any(v is not None and v.is_graph_input() for v in node.inputs)
            if not before and not given:
                continue
            weights = [_constant_shape(v) for v in node.inputs]
            for value in node.outputs:
                makers[id(value)] = len(nodes)
            out = _shape(node.outputs[0]) if node.outputs else ""
            nodes.append(
                GraphNode(
                    node.name or "",
                    node.op_type,
                    tuple(dict.fromkeys(before)),
                    tuple(w for w in weights if w),
                    out,
                )
            )
    return GraphView(
        tuple(nodes),
        tuple(_port(v) for v in graph.inputs if not v.is_initializer()),
        tuple(_port(v) for v in graph.outputs),
        count if count > MAX_NODES else 0,
    )


def _constant_shape(value: ir.Value | None) -> str:
    """The shape of an initializer or a Constant's result, "" for what a caller may give."""
    import onnx_ir as ir

    if value is None or value.is_graph_input():
        return ""
    tensor = ir.convenience.get_const_tensor(value)
    return "" if tensor is None else "x".join(str(dim) for dim in tensor.shape)


def _shape(value: ir.Value) -> str:
    shape = value.shape
    return "" if shape is None else "x".join(_dim(d) for d in shape)


def _dim(dim: object) -> str:
    return str(dim) if isinstance(dim, int) else str(getattr(dim, "value", None) or "?")


def _port(value: ir.Value) -> str:
    shape = _shape(value)
    return f"{value.name} [{shape}]" if shape else str(value.name)
