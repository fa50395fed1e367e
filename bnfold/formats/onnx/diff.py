"""What differs between two models: interface, nodes, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnfold.formats.onnx.attributes import bodies
from bnfold.formats.onnx.computed_shapes import shape_of


@dataclass(frozen=True)
class Port:
    """An input or output: name, data type, shape as text."""

    name: str
    dtype: str
    shape: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{self.shape}]"


@dataclass(frozen=True)
class NodeChange:
    """A node of one name in both models that is not the same.

    Attributes:
        name: of the node.
        what: one line per difference: type, attributes, operands.
    """

    name: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class WeightChange:
    """An initializer of one name in both models that is not the same.

    Attributes:
        name: of the initializer.
        before, after: data type and shape as text.
        largest: largest absolute difference of an element; None where shapes or kinds differ.
        relative: that difference relative to the largest element before.
        elements: how many elements differ.
    """

    name: str
    before: str
    after: str
    largest: float | None = None
    relative: float | None = None
    elements: int = 0


@dataclass(frozen=True)
class ModelDiff:
    """All differences; empty tuples where there are none.

    Attributes:
        inputs, outputs: (before, after) of a port that changed; None where there is none.
        removed, added: nodes of one model only, as "OpType name".
        changed: nodes of both.
        weights_removed, weights_added: initializers of one model only, by name.
        weights_changed: initializers of both.
        ops: op type to (count before, count after), where they differ.
        header: other differences: opsets, IR version, order of ports.
    """

    inputs: tuple[tuple[Port | None, Port | None], ...]
    outputs: tuple[tuple[Port | None, Port | None], ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[NodeChange, ...]
    weights_removed: tuple[str, ...]
    weights_added: tuple[str, ...]
    weights_changed: tuple[WeightChange, ...]
    ops: dict[str, tuple[int, int]]
    header: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """The models do not differ in anything that is compared."""
        parts = (
            self.inputs,
            self.outputs,
            self.removed,
            self.added,
            self.changed,
            self.weights_removed,
            self.weights_added,
            self.weights_changed,
            self.header,
        )
        return not any(parts)

    @property
    def interface_changed(self) -> bool:
        """Callers would notice: an input or output differs, or their order."""
        return bool(self.inputs or self.outputs or any("order" in h for h in self.header))


def diff_models(before: ir.Model, after: ir.Model) -> ModelDiff:
    """Compare two models by the names of their nodes, weights and ports.

    Nodes without a name are matched by the name of their first result.
    """
    nodes_a, nodes_b = (dict(_named_nodes(m)) for m in (before, after))
    weights_a, weights_b = (dict(_weights(m)) for m in (before, after))
    counts_a, counts_b = (Counter(n.op_type for n in _nodes(m.graph)) for m in (before, after))
    changed = [
        NodeChange(name, tuple(_node_differences(nodes_a[name], nodes_b[name])))
        for name in nodes_a
        if name in nodes_b
    ]
    weights = [
        _weight_change(name, weights_a[name], weights_b[name])
        for name in weights_a
        if name in weights_b
    ]
    return ModelDiff(
        _ports_changed(_ports(before.graph.inputs), _ports(after.graph.inputs)),
        _ports_changed(_ports(before.graph.outputs), _ports(after.graph.outputs)),
        tuple(f"{n.op_type} {name}" for name, n in nodes_a.items() if name not in nodes_b),
        tuple(f"{n.op_type} {name}" for name, n in nodes_b.items() if name not in nodes_a),
        tuple(change for change in changed if change.what),
        tuple(name for name in weights_a if name not in weights_b),
        tuple(name for name in weights_b if name not in weights_a),
        tuple(change for change in weights if change is not None),
        {
            op: (counts_a[op], counts_b[op])
            for op in sorted({*counts_a, *counts_b})
            if counts_a[op] != counts_b[op]
        },
        tuple(_header(before, after)),
    )


def _nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for body in bodies(node):
            yield from _nodes(body)


def _named_nodes(model: ir.Model) -> Iterator[tuple[str, ir.Node]]:
    for node in _nodes(model.graph):
        yield node.name or (node.outputs[0].name if node.outputs else "") or node.op_type, node


def _weights(model: ir.Model) -> Iterator[tuple[str, ir.Value]]:
    for graph in model.graphs():
        yield from graph.initializers.items()


def _node_differences(a: ir.Node, b: ir.Node) -> Iterator[str]:
    if (a.domain, a.op_type) != (b.domain, b.op_type):
        yield f"{a.op_type} became {b.op_type}"
    for name in sorted({*a.attributes, *b.attributes}):
        one, other = a.attributes.get(name), b.attributes.get(name)
        if one is None or other is None:
            yield f"attribute {name} {'added' if one is None else 'removed'}"
        elif _attribute(one) != _attribute(other):
            yield f"attribute {name}: {_attribute(one)} became {_attribute(other)}"
    names_a, names_b = ([_name(v) for v in n.inputs] for n in (a, b))
    if names_a != names_b:
        yield f"reads {', '.join(names_b)} where it read {', '.join(names_a)}"
    outs_a, outs_b = ([_name(v) for v in n.outputs] for n in (a, b))
    if outs_a != outs_b:
        yield f"writes {', '.join(outs_b)} where it wrote {', '.join(outs_a)}"


def _name(value: ir.Value | None) -> str:
    return "nothing" if value is None or not value.name else value.name


def _attribute(attribute: ir.Attr) -> str:
    if attribute.ref_attr_name:
        return f"@{attribute.ref_attr_name}"
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"{_described(tensor)} {hash(tensor.tobytes()):x}"
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return "a graph"  # its nodes are compared by themselves
    return str(attribute.value)


def _ports(values: object) -> list[Port]:
    ports: list[Port] = []
    for value in values:  # type: ignore[attr-defined]
        shape = shape_of(value)
        text = (
            "unknown" if shape is None else ", ".join("?" if d is None else str(d) for d in shape)
        )
        ports.append(Port(value.name or "", "" if value.dtype is None else value.dtype.name, text))
    return ports


def _ports_changed(
    before: list[Port], after: list[Port]
) -> tuple[tuple[Port | None, Port | None], ...]:
    a, b = ({port.name: port for port in ports} for ports in (before, after))
    names = dict.fromkeys([*a, *b])
    return tuple((a.get(n), b.get(n)) for n in names if a.get(n) != b.get(n))


def _weight_change(name: str, a: ir.Value, b: ir.Value) -> WeightChange | None:
    one, other = a.const_value, b.const_value
    if one is None or other is None or one is other:
        return None
    before, after = _described(one), _described(other)
    if before != after:
        return WeightChange(name, before, after)
    left, right = one.numpy(), other.numpy()
    same = left == right
    if left.dtype.kind in "fV":
        same |= (left != left) & (right != right)
    if bool(np.all(same)):
        return None
    if left.dtype.kind not in "fiuV":
        return WeightChange(name, before, after, elements=int(np.size(same) - np.sum(same)))
    x, y = left.astype(np.float64), right.astype(np.float64)
    largest = float(np.max(np.abs(x - y)))
    scale = float(np.max(np.abs(x)))
    relative = largest / scale if scale else float("inf")
    return WeightChange(name, before, after, largest, relative, int(same.size - same.sum()))


def _described(tensor: ir.TensorProtocol) -> str:
    return f"{tensor.dtype.name}[{', '.join(str(d) for d in tensor.shape)}]"


def _header(before: ir.Model, after: ir.Model) -> Iterator[str]:
    if before.ir_version != after.ir_version:
        yield f"IR version {before.ir_version} became {after.ir_version}"
    for domain in sorted({*before.opset_imports, *after.opset_imports}):
        a, b = before.opset_imports.get(domain), after.opset_imports.get(domain)
        if a != b:
            yield f"opset of {domain or 'ai.onnx'}: {a} became {b}"
    for kind in ("inputs", "outputs"):
        a_names, b_names = ([v.name for v in getattr(m.graph, kind)] for m in (before, after))
        if a_names != b_names and sorted(map(str, a_names)) == sorted(map(str, b_names)):
            yield f"the order of the {kind} changed"
