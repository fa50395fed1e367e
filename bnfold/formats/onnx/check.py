"""Whether a ModelProto is a model that can be worked on, told in one line where it is not.

The checks cover what later code relies on: names that are defined once and before anything needs
them, tensors that hold as many elements as they declare, graphs without cycles. They are linear
in the size of the model. What an op makes of its inputs is the runtime's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from bnfold.core.errors import InputError
from bnfold.formats.onnx.signature import Signatures
from bnfold.formats.onnx.tensors import check_tensor
from bnfold.formats.text import clip

DEEPEST_NESTING = 32
_MOST_NODES = 10_000_000
_DEFAULT_DOMAINS = ("", "ai.onnx")
_ELEMENT_TYPES = frozenset(int(dtype) for dtype in ir.DataType)
_ATTRIBUTE_TYPES = frozenset(onnx.AttributeProto.AttributeType.values())
_PLAIN = frozenset(
    onnx.AttributeProto.AttributeType.Value(name)
    for name in ("FLOAT", "INT", "STRING", "FLOATS", "INTS", "STRINGS", "GRAPH", "GRAPHS")
)


# Domain, name and overload of a function.
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Context:
    """What a body of nodes stands in.

    Attributes:
        signatures: of the ops that may be called.
        scopes: the names that can be read, one set per graph from the innermost outwards.
    """

    signatures: Signatures
    scopes: tuple[frozenset[str], ...] = ()

    def within(self, names: frozenset[str]) -> _Context:
        """The context of the bodies of a graph's nodes.

        Raises:
            InputError: they are nested too deeply.
        """
        if len(self.scopes) >= DEEPEST_NESTING:
            raise InputError(f"its graphs are nested more than {DEEPEST_NESTING} deep")
        return _Context(self.signatures, (names, *self.scopes))

    def sees(self, name: str) -> bool:
        """Whether a node may read the name."""
        return any(name in scope for scope in self.scopes)


@dataclass(frozen=True)
class _Body:
    """A graph's or a function's nodes, and the names that exist before the first of them."""

    where: str
    nodes: Sequence[onnx.NodeProto]
    given: Sequence[str]
    outputs: Sequence[str]


def check_model(model: onnx.ModelProto) -> bool:
    """Check a model; external data is not looked at.

    Returns:
        True when the nodes of every graph stand in topological order.

    Raises:
        InputError: with the first thing that is wrong, and where.
    """
    _check_versions(model)
    _check_functions(model)
    own = frozenset((function.domain, function.name) for function in model.functions)
    context = _Context(Signatures(model.opset_import, own))
    in_order = _check_graph(model.graph, "the graph", context)
    for function in model.functions:
        context = _Context(Signatures(function.opset_import, own))
        in_order &= _check_function(function, context)
    _check_imports(model)
    return in_order


def _check_versions(model: onnx.ModelProto) -> None:
    if not model.HasField("graph"):
        raise InputError("it holds no graph")
    if model.ir_version < 1:
        raise InputError("it states no IR version, so it is no ONNX model")
    if model.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"its IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest that "
            f"onnx {onnx.__version__} knows: install a newer onnx"
        )
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        domain = "" if opset.domain in _DEFAULT_DOMAINS else opset.domain
        if versions.setdefault(domain, opset.version) != opset.version:
            raise InputError(f"it imports two versions of the opset {_quoted(domain)}")
        if opset.version < 1:
            raise InputError(f"it imports version {opset.version} of opset {_quoted(domain)}")


def _check_imports(model: onnx.ModelProto) -> None:
    imported = {opset.domain for opset in model.opset_import}
    if imported & set(_DEFAULT_DOMAINS):
        return
    if not model.opset_import or any(node.domain in _DEFAULT_DOMAINS for node in model.graph.node):
        raise InputError("it does not say which version of the ONNX operators it uses (no opset)")


def _check_functions(model: onnx.ModelProto) -> None:
    """Names are unique, no function calls itself, and calls do not multiply without bound."""
    calls: dict[_Key, Counter[_Key]] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in calls:
            raise InputError(f"function {_quoted(function.name)} is defined twice")
        calls[key] = Counter(_called(node) for node in _all_nodes(function.node))
    # The nodes that each function stands for when every call is replaced by what it calls.
    sizes: dict[_Key, int] = {}
    left = dict(calls)
    while left:
        ready = [key for key, called in left.items() if not called.keys() & left.keys()]
        if not ready:
            raise InputError(f"function {_quoted(min(left)[1])} calls itself")
        for key in ready:
            called = left.pop(key)
            sizes[key] = sum(count * sizes.get(callee, 1) for callee, count in called.items())
    if calls:
        total = sum(sizes.get(_called(node), 1) for node in _all_nodes(model.graph.node))
        if max(total, *sizes.values()) > _MOST_NODES:
            raise InputError(f"its functions stand for more than {_MOST_NODES} nodes")


def _called(node: onnx.NodeProto) -> _Key:
    return (node.domain, node.op_type, node.overload)


def _all_nodes(nodes: Iterable[onnx.NodeProto], depth: int = 1) -> Iterator[onnx.NodeProto]:
    if depth > DEEPEST_NESTING:
        raise InputError(f"its graphs are nested more than {DEEPEST_NESTING} deep")
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from _all_nodes(graph.node, depth + 1)


def _check_function(function: onnx.FunctionProto, context: _Context) -> bool:
    where = f"function {_quoted(function.name)}"
    _check_distinct(function.input, where, "inputs")
    body = _Body(where, function.node, function.input, function.output)
    return _check_body(body, context)


def _check_graph(graph: onnx.GraphProto, where: str, context: _Context) -> bool:
    inputs = [value.name for value in graph.input]
    _check_distinct(inputs, where, "inputs")
    for value in (*graph.input, *graph.output):
        if not value.name:
            raise InputError(f"{where} has an input or output without a name")
        _check_type(value.type, value.name)
    for value in graph.value_info:
        _check_type(value.type, value.name)
    if graph.sparse_initializer:
        raise InputError("it holds sparse initializers, which are not supported: make them dense")
    initializers = [tensor.name for tensor in graph.initializer]
    _check_distinct(initializers, where, "initializers")
    for tensor in graph.initializer:
        if not tensor.name:
            raise InputError(f"{where} has an initializer without a name")
        check_tensor(tensor, f"initializer {_quoted(tensor.name)}")
    given = list(dict.fromkeys([*inputs, *initializers]))
    outputs = [value.name for value in graph.output]
    return _check_body(_Body(where, graph.node, given, outputs), context)


def _check_type(proto: onnx.TypeProto, name: str) -> None:
    kind = proto.WhichOneof("value")
    while kind in ("sequence_type", "optional_type"):
        proto = getattr(proto, kind).elem_type
        kind = proto.WhichOneof("value")
    if kind == "map_type":
        raise InputError(
            f"{_quoted(name)} is a map, which is not supported: export without ZipMap "
            f"(zipmap=False)"
        )
    if kind in ("tensor_type", "sparse_tensor_type"):
        element = getattr(proto, kind).elem_type
        if element not in _ELEMENT_TYPES:
            raise InputError(f"{_quoted(name)} has the unknown element type {element}")
    elif kind is not None:
        raise InputError(f"{_quoted(name)} has a type that is not supported ({kind})")


def _check_body(body: _Body, outer: _Context) -> bool:
    """Check a list of nodes; True when it is in topological order."""
    producer = _producers(body)
    context = outer.within(frozenset(body.given).union(producer))
    needs: list[set[int]] = []
    in_order = True
    for index, node in enumerate(body.nodes):
        _check_node(node, body.where)
        wrong = context.signatures.check(node)
        if wrong:
            raise InputError(f"{_node(node, body.where)} {wrong}")
        read, inner_order = _reads(node, context)
        for name in read:
            if not context.sees(name):
                raise InputError(
                    f"{_node(node, body.where)} reads {_quoted(name)}, which nothing produces"
                )
        # A name defined here hides the outer one.
        needed = {producer[name] for name in read if name in producer}
        in_order &= inner_order and all(other < index for other in needed)
        needs.append(needed)
    if not in_order:
        _check_acyclic(needs, body)
    for name in body.outputs:
        if not context.sees(name):
            raise InputError(f"output {_quoted(name)} of {body.where} is produced by nothing")
    return in_order


def _producers(body: _Body) -> dict[str, int]:
    """Return which node produces each name; every name has one origin."""
    producer: dict[str, int] = {}
    given = set(body.given)
    for index, node in enumerate(body.nodes):
        for name in node.output:
            if not name:
                continue
            if name in producer or name in given:
                raise InputError(f"{_quoted(name)} is defined twice in {body.where}")
            producer[name] = index
    return producer


def _check_node(node: onnx.NodeProto, where: str) -> None:
    if not node.op_type:
        raise InputError(f"a node of {where} says no op type")
    names = set()
    for attribute in node.attribute:
        if not attribute.name or attribute.name in names:
            raise InputError(
                f"{_node(node, where)} has attribute {_quoted(attribute.name)} twice or unnamed"
            )
        names.add(attribute.name)
        if not attribute.ref_attr_name:
            _check_attribute(attribute, node, where)
        # onnx's own inference of shapes ends the process on it.
        is_count = node.op_type == "Split" and attribute.name == "num_outputs"
        if is_count and attribute.i != len(node.output):
            raise InputError(
                f"{_node(node, where)} says {attribute.i} outputs and has {len(node.output)}"
            )


def _check_attribute(attribute: onnx.AttributeProto, node: onnx.NodeProto, where: str) -> None:
    kind, kinds = attribute.type, onnx.AttributeProto
    if kind in _PLAIN:
        return
    label = f"attribute {_quoted(attribute.name)} of {_node(node, where)}"
    if kind == kinds.UNDEFINED or kind not in _ATTRIBUTE_TYPES:
        raise InputError(f"{label} says no type that is known")
    if kind in (kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
        raise InputError(f"{label} is a sparse tensor, which is not supported: make it dense")
    if kind == kinds.TENSOR:
        check_tensor(attribute.t, label)
    elif kind == kinds.TENSORS:
        for tensor in attribute.tensors:
            check_tensor(tensor, label)
    elif kind in (kinds.TYPE_PROTO, kinds.TYPE_PROTOS):
        for proto in (attribute.tp, *attribute.type_protos):
            _check_type(proto, attribute.name)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _reads(node: onnx.NodeProto, context: _Context) -> tuple[set[str], bool]:
    """Return the names of this scope or outer ones that a node and its bodies read."""
    read = {name for name in node.input if name}
    in_order = True
    for graph in _subgraphs(node):
        where = f"the body of {_node(node, '')}"
        in_order &= _check_graph(graph, where, context)
        read |= _captured(graph)
    return read, in_order


def _captured(graph: onnx.GraphProto) -> set[str]:
    """Names that a checked body takes from outside."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    read = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        read.update(name for name in node.input if name)
        for inner in _subgraphs(node):
            read |= _captured(inner)
    return read - own


def _check_acyclic(needs: Sequence[set[int]], body: _Body) -> None:
    """Kahn's algorithm: what can never be scheduled lies on a cycle or behind one."""
    waiting = [len(needed) for needed in needs]
    readers: list[list[int]] = [[] for _ in needs]
    for index, needed in enumerate(needs):
        for other in needed:
            readers[other].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    done = 0
    while ready:
        done += 1
        for reader in readers[ready.pop()]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if done < len(needs):
        stuck = next(index for index, count in enumerate(waiting) if count > 0)
        raise InputError(f"{_node(body.nodes[stuck], body.where)} waits for itself (a cycle)")


def _check_distinct(names: Sequence[str], where: str, what: str) -> None:
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"two {what} of {where} are called {_quoted(name)}")
        seen.add(name)


def _node(node: onnx.NodeProto, where: str) -> str:
    label = node.name or next((name for name in node.output if name), "")
    place = f" in {where}" if where and where != "the graph" else ""
    return f"{clip(node.op_type, 60)} node {_quoted(label)}{place}"


def _quoted(name: str) -> str:
    return f"'{clip(name, 80)}'"
