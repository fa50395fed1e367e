"""A model as the prover reads it: live ops in order, their attributes in full, fresh shapes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from bnfold.verify.proof.constants import Const, digest, of_tensor
from bnfold.verify.proof.expansions import expand
from bnfold.verify.proof.forms import Form, Shape, merged

logger = logging.getLogger(__name__)

Known = Const | Form


@dataclass(eq=False)
class Source:
    """One of the two models, on a scratch copy.

    Attributes:
        model: the copy, functions inlined, fused ops written out, shapes inferred anew.
        overridable: whether initializers that are also inputs count as constants.
        wide_epsilon: read epsilons as they are in memory, not as the file format holds them.
        parts: names of values that the model itself does not have, inside of fused ops.
    """

    model: ir.Model
    overridable: bool = False
    wide_epsilon: bool = False
    parts: frozenset[str] = frozenset()

    @property
    def graph(self) -> ir.Graph:
        """The main graph."""
        return self.model.graph

    def version(self, domain: str) -> int:
        """The opset version that the model imports for a domain; 0 when it does not."""
        imports = self.model.opset_imports
        if domain in ("", "ai.onnx"):
            return int(imports.get("", imports.get("ai.onnx", 0)))
        return int(imports.get(domain, 0))

    def constants(self, graph: ir.Graph) -> dict[ir.Value, Const]:
        """The graph's initializers that nobody can override."""
        given = (
            set()
            if self.overridable or (self.model.ir_version or 0) < 4
            else {id(value) for value in graph.inputs}
        )
        found = {}
        for value in graph.initializers.values():
            if value.const_value is not None and id(value) not in given:
                with contextlib.suppress(OSError):  # external data that is not there
                    found[value] = of_tensor(value.const_value)
        return found


@dataclass(eq=False)
class Op:
    """A node with what is known of its operands.

    Attributes:
        node: the node.
        version: opset version of its domain.
        inputs: constants and forms; None where an optional input is absent.
        wide_epsilon: see `Source`.
    """

    node: ir.Node
    version: int
    inputs: list[Known | None]
    wide_epsilon: bool = False

    @property
    def name(self) -> str:
        """The node's name, or its first named output."""
        if self.node.name:
            return self.node.name
        return next((v.name for v in self.node.outputs if v.name), "")

    @property
    def op_type(self) -> str:
        """The op type."""
        return self.node.op_type

    @property
    def kind(self) -> tuple[str, str]:
        """Domain and op type; the two products, which become each other, are one kind."""
        product = not self.domain and self.op_type in ("MatMul", "Gemm")
        return self.domain, "product" if product else self.op_type

    @property
    def domain(self) -> str:
        """The domain, "" for the default one."""
        return "" if self.node.domain == "ai.onnx" else self.node.domain

    @cached_property
    def schema(self) -> Any:
        """ONNX's own definition of the op, None if it has none."""
        return _schema(self.op_type, self.domain, self.version)

    @property
    def since(self) -> int:
        """The version in which the op got its present meaning; 0 if undefined."""
        return int(self.schema.since_version) if self.schema is not None else 0

    def shape(self, index: int = 0) -> Shape | None:
        """Inferred dims of an output."""
        return shape_of(self.node.outputs[index])

    def shape_as(self, known: Shape | None, index: int = 0) -> Shape | None:
        """Inferred dims of an output, completed by what is known of them otherwise."""
        inferred = self.shape(index)
        if inferred is None or known is None or len(inferred) != len(known):
            return known if known is not None else inferred
        return merged(inferred, known)

    def shape_of_rank(self, rank: int, index: int = 0) -> Shape:
        """Inferred dims of an output that surely has so many."""
        return self.shape_as((None,) * rank, index) or (None,) * rank

    def dtype(self, index: int = 0) -> ir.DataType | None:
        """Inferred element type of an output."""
        return self.node.outputs[index].dtype

    def input(self, index: int) -> Known | None:
        """An operand; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        attr = self.node.attributes.get(name)
        return default if attr is None else int(attr.as_int())

    def real(self, name: str, default: float) -> float:
        """A float attribute, at the precision of the file format (float32)."""
        attr = self.node.attributes.get(name)
        return float(np.float32(default if attr is None else attr.as_float()))

    @property
    def epsilon(self) -> float:
        """The epsilon of a normalization."""
        if not self.wide_epsilon:
            return self.real("epsilon", 1e-5)
        attr = self.node.attributes.get("epsilon")
        return 1e-5 if attr is None else float(attr.as_float())

    def integers(self, name: str, default: Sequence[int] = ()) -> tuple[int, ...]:
        """A list of integers."""
        attr = self.node.attributes.get(name)
        return tuple(default) if attr is None else tuple(int(i) for i in attr.as_ints())

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        attr = self.node.attributes.get(name)
        return default if attr is None else attr.as_string()

    @cached_property
    def attributes(self) -> dict[str, object]:
        """Attributes by name, defaults filled in, graphs left out, as hashable values."""
        found: dict[str, object] = {}
        if self.schema is not None:
            for name, attr in self.schema.attributes.items():
                if attr.default_value.name:
                    found[name] = _canonical(ir.from_proto(attr.default_value))
        for name, attr in self.node.attributes.items():
            if attr.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
                found[name] = _canonical(attr)
        return found

    @property
    def attribute_key(self) -> tuple[object, ...]:
        """The attributes, hashable."""
        return tuple(sorted(self.attributes.items(), key=lambda item: item[0]))

    @cached_property
    def bodies(self) -> dict[str, list[ir.Graph]]:
        """Graph attributes by name."""
        found: dict[str, list[ir.Graph]] = {}
        for name, attr in self.node.attributes.items():
            if attr.type == ir.AttributeType.GRAPH:
                found[name] = [attr.as_graph()]
            elif attr.type == ir.AttributeType.GRAPHS:
                found[name] = list(attr.as_graphs())
        return found


@lru_cache(maxsize=4096)
def _schema(op_type: str, domain: str, version: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


def _canonical(attr: ir.Attr) -> object:
    """An attribute's value, hashable and as the file format holds it."""
    value = attr.value
    if isinstance(value, float):
        return ("float", float(np.float32(value)))
    if attr.type == ir.AttributeType.FLOATS:
        return ("floats", tuple(float(np.float32(v)) for v in value))
    if attr.type == ir.AttributeType.TENSOR:
        array = np.asarray(value.numpy())
        return ("tensor", int(value.dtype), array.shape, digest(array))
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, int | str | bytes):
        return value
    return repr(value)


def shape_of(value: ir.Value) -> Shape | None:
    """Dims of a value as ints, names, or None."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape.dims)


def prepare(model: ir.Model, overridable: bool = False) -> Source:
    """A scratch copy that the prover may read; the model itself is left as it is."""
    scratch = model.clone()
    if scratch.functions:
        scratch = InlinePass()(scratch).model
    parts = expand(scratch)
    declared = {
        value: (value.shape, value.type)
        for graph in scratch.graphs()
        for node in graph
        for value in node.outputs
    }
    kept = {id(value) for graph in scratch.graphs() for value in graph.outputs}
    # What a file says of its inner values may be stale: it is inferred anew.
    for value in declared:
        if id(value) not in kept:
            value.shape = None
    with _quiet():
        scratch = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(
            scratch
        ).model
    inferred = any(value.shape is not None for value in declared if id(value) not in kept)
    if declared and not inferred:
        for value, (shape, kind) in declared.items():
            value.shape, value.type = shape, kind
    return Source(scratch, overridable, parts=parts)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The inference's complaints about odd models are no news for the user."""
    other = logging.getLogger("onnx_ir")
    level = other.level
    other.setLevel(logging.ERROR)
    try:
        yield
    finally:
        other.setLevel(level)


def is_read(value: ir.Value) -> bool:
    """Whether an op or the caller reads a value."""
    return bool(value.uses()) or value.is_graph_output()


def live_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Nodes that an output of the graph depends on, each after those it reads."""
    wanted: set[ir.Node] = set()
    stack = [v.producer() for v in graph.outputs if v is not None]
    while stack:
        node = stack.pop()
        if node is None or node in wanted or node.graph is not graph:
            continue
        wanted.add(node)
        stack.extend(value.producer() for value in reads(node))
    return _ordered([node for node in graph if node in wanted], wanted)


def reads(node: ir.Node) -> list[ir.Value]:
    """The values that a node reads, those that its bodies capture included."""
    values = [value for value in node.inputs if value is not None]
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH:
            values.extend(_captured([attr.as_graph()]))
        elif attr.type == ir.AttributeType.GRAPHS:
            values.extend(_captured(attr.as_graphs()))
    return values


def _captured(graphs: Sequence[ir.Graph]) -> list[ir.Value]:
    values: list[ir.Value] = []
    for graph in graphs:
        values.extend(v for v in graph.outputs if v is not None)
        for node in graph:
            values.extend(reads(node))
    return values


def _ordered(nodes: list[ir.Node], wanted: set[ir.Node]) -> list[ir.Node]:
    """In dependency order; the given order is kept where it is one already."""
    done: set[ir.Node] = set()
    opened: set[ir.Node] = set()
    result: list[ir.Node] = []
    for root in nodes:
        stack: list[tuple[ir.Node, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if node in done:
                continue
            if ready:
                done.add(node)
                result.append(node)
                continue
            if node in opened:  # a cycle: no valid model has one, and no order serves it
                continue
            opened.add(node)
            stack.append((node, True))
            for value in reads(node):
                producer = value.producer()
                if producer is not None and producer in wanted and producer not in done:
                    stack.append((producer, False))
    return result
