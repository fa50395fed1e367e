"""Stable names and a stable order: the same model always becomes the same bytes.

tf2onnx names things after TensorFlow's scopes and counters. Here every node is called after its
Keras layer and op ("bn_1/Mul"), every constant after the first node that reads it and the operand
that it is there ("dense_1/MatMul.B"), and nodes stand in the order in which the outputs need them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
import onnx_ir as ir

BATCH = "batch"


def canonicalize(
    model: ir.Model,
    inputs: Sequence[tuple[str, Sequence[int | None]]],
    outputs: Sequence[str],
    layer_of: Callable[[str], str | None],
) -> dict[str, str]:
    """Rename and reorder `model` in place.

    Args:
        model: the model as tf2onnx wrote it.
        inputs: final name and shape (None where free) of each graph input, in order.
        outputs: final name of each graph output, in order.
        layer_of: name of a node, as tf2onnx wrote it, to the path of its layer.

    Returns:
        The new name of each node that belongs to a layer, to the layer's path.
    """
    graph = model.graph
    names = _Names(layer_of, model.opset_imports)
    for value, (name, _) in zip(graph.inputs, inputs, strict=True):
        names.give(value, name)
    for value, name in zip(graph.outputs, outputs, strict=True):
        names.give(value, name)
    _sort(graph)
    names.walk(graph)
    _name_dimensions(graph, inputs)
    used = {node.domain for node in ir.traversal.RecursiveGraphIterator(graph)} | {""}
    for domain in [d for d in model.opset_imports if d not in used]:
        del model.opset_imports[domain]
    model.producer_version = (model.producer_version or "").partition(" ")[0]  # no git hash
    graph.name = "bnfold"
    graph.doc_string = model.doc_string = None
    return names.labels


class _Names:
    """Hands out names that are used once."""

    def __init__(self, layer_of: Callable[[str], str | None], opsets: Mapping[str, int]) -> None:
        self.labels: dict[str, str] = {}
        self._layer_of = layer_of
        self._opsets = opsets
        self._values: set[str] = set()
        self._nodes: set[str] = set()
        self._named: set[int] = set()
        self._constants: set[int] = set()

    def give(self, value: ir.Value, name: str) -> None:
        value.name = _free(name, self._values)
        self._named.add(id(value))

    def walk(self, graph: ir.Graph) -> list[ir.Value]:
        """Name every node, value and constant of the graph and of the bodies in it.

        The graph's own constants are put in the order of their first reader.

        Returns:
            The constants of outer graphs that were named here, in that order.
        """
        own = {id(value): value for value in graph.initializers.values()}
        graph.initializers.clear()  # so that no new name can meet an old one
        self._constants.update(own)
        order: list[ir.Value] = []
        for node in graph:
            layer = self._layer_of(node.name or "")
            node.name = _free(f"{layer}/{node.op_type}" if layer else node.op_type, self._nodes)
            if layer:
                self.labels[node.name] = layer
            self._constant_second(node)
            for i, value in enumerate(node.inputs):
                if value is not None and self._is_unnamed_constant(value):
                    self.give(value, f"{node.name}.{self._operand(node, i)}")
                    order.append(value)
            for i, value in enumerate(node.outputs):
                if id(value) not in self._named and value.name:
                    self.give(value, node.name if i == 0 else f"{node.name}:{i}")
            order.extend(self._walk_bodies(node))
        for value in own.values():
            if id(value) not in self._named and (value.is_graph_output() or value.uses()):
                self.give(value, value.name or "constant")
                order.append(value)
        for value in order:
            if id(value) in own:
                graph.register_initializer(value)
        return [value for value in order if id(value) not in own]

    def _walk_bodies(self, node: ir.Node) -> list[ir.Value]:
        outer: list[ir.Value] = []
        for i, body in enumerate(_bodies(node)):
            body.name, body.doc_string = f"{node.name}.{i}", None
            for value in body.inputs:
                self.give(value, f"{node.name}.{_plain(value.name)}")
            outer.extend(self.walk(body))
        return outer

    def _is_unnamed_constant(self, value: ir.Value) -> bool:
        return id(value) in self._constants and id(value) not in self._named

    def _constant_second(self, node: ir.Node) -> None:
        """Write the constant of a commutative op as its second operand, as everybody does."""
        if node.op_type not in ("Add", "Mul") or node.domain not in ("", "ai.onnx"):
            return
        first, second = node.inputs
        if id(first) in self._constants and id(second) not in self._constants:
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)

    def _operand(self, node: ir.Node, index: int) -> str:
        """The name that ONNX's specification gives to an operand."""
        try:
            schema = onnx.defs.get_schema(
                node.op_type, self._opsets.get(node.domain, 1), node.domain
            )
        except onnx.defs.SchemaError:
            return str(index)
        formal = schema.inputs
        if index < len(formal) - 1 or (index < len(formal) and len(node.inputs) <= len(formal)):
            return str(formal[index].name)
        return f"{formal[-1].name}{index - len(formal) + 1}" if formal else str(index)


def _free(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _plain(name: str | None) -> str:
    return (name or "value").partition(":")[0].rpartition("/")[2].partition("__")[0] or "value"


def _bodies(node: ir.Node) -> list[ir.Graph]:
    bodies: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            bodies.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            bodies.extend(attribute.as_graphs())
    return bodies


def _reads(node: ir.Node, graph: ir.Graph) -> list[ir.Node]:
    """The nodes of `graph` whose results this node reads, itself or in its bodies, in order."""
    producers: list[ir.Node] = []
    stack: list[ir.Node] = [node]
    while stack:
        current = stack.pop()
        for value in current.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and producer.graph is graph:
                producers.append(producer)
        for body in _bodies(current):
            stack.extend(body)
            for value in body.outputs:
                producer = value.producer()
                if producer is not None and producer.graph is graph:
                    producers.append(producer)
    return producers


def _sort(graph: ir.Graph) -> None:
    """Order the nodes of the graph, and of all bodies, as a depth-first walk from the outputs."""
    order: list[ir.Node] = []
    done: set[int] = set()
    roots = [value.producer() for value in graph.outputs]
    for root in [node for node in (*roots, *graph) if node is not None and node.graph is graph]:
        stack = [(root, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                order.append(node)
            elif id(node) not in done:
                done.add(id(node))
                stack.append((node, True))
                unseen = [read for read in _reads(node, graph) if id(read) not in done]
                stack.extend((read, False) for read in reversed(unseen))
    for node in order:
        for body in _bodies(node):
            _sort(body)
    graph.remove(order)
    graph.extend(order)


def _name_dimensions(graph: ir.Graph, inputs: Sequence[tuple[str, Sequence[int | None]]]) -> None:
    batch_is_free = False
    for value, (name, shape) in zip(graph.inputs, inputs, strict=True):
        sizes: list[int | ir.SymbolicDim] = []
        for axis, size in enumerate(shape):
            free = BATCH if axis == 0 else f"{name}_dim_{axis}"
            sizes.append(ir.SymbolicDim(free) if size is None else size)
        batch_is_free |= bool(shape) and shape[0] is None
        value.shape = ir.Shape(sizes)
    for value in graph.outputs:
        if value.shape is None or value.is_graph_input():
            continue
        known: list[int | ir.SymbolicDim] = []
        for axis, dim in enumerate(value.shape):
            free = BATCH if axis == 0 and batch_is_free else f"{value.name}_dim_{axis}"
            known.append(dim if isinstance(dim, int) else ir.SymbolicDim(free))
        value.shape = ir.Shape(known)
