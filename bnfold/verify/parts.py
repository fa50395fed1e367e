"""Cutting two models into parts: regions between values that are equal in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnfold.verify.dataflow import UNIT_ROUNDOFF
from bnfold.verify.matching import Matching


@dataclass(frozen=True)
class Part:
    """A region of the folded model with its counterpart.

    Attributes:
        inputs: pairs (original, folded) of the equal values before it.
        output: the equal values behind it.
        original, folded: the regions as models of their own.
    """

    inputs: tuple[tuple[str, str], ...]
    output: tuple[str, str]
    original: ir.Model
    folded: ir.Model

    @property
    def ops(self) -> tuple[str, ...]:
        """Names of the folded region's ops; types where they have none."""
        return tuple(node.name or node.op_type for node in self.folded.graph)

    @property
    def label(self) -> str:
        """The folded region's ops, for people."""
        names = self.ops
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def find_parts(
    original: ir.Model, folded: ir.Model, matching: Matching, *, unchanged: bool = False
) -> tuple[list[Part], list[str]]:
    """The regions between equal values, and why some could not be cut out.

    Single ops that were left alone are no parts, unless `unchanged` asks for them too.
    """
    ours = {out.name or "": node for node in original.graph for out in node.outputs}
    theirs = {out.name or "": node for node in folded.graph for out in node.outputs}
    parts: list[Part] = []
    failures: list[str] = []
    for after, before in matching.pairs.items():
        region = _region(theirs, after, set(matching.pairs) - {after})
        if region is None:
            continue
        nodes, border = region
        wanted = {matching.pairs.get(name, name) for name in border}
        counterpart = _region(ours, before, wanted)
        if counterpart is None or (not unchanged and _same(counterpart[0], nodes)):
            continue
        if not counterpart[1] <= wanted:
            failures.append(f"the part before '{after}' has no counterpart of its own")
            continue
        pairs = tuple((matching.pairs.get(name, name), name) for name in sorted(border))
        try:
            parts.append(
                Part(
                    pairs,
                    (before, after),
                    _cut(original, [o for o, _ in pairs], before),
                    _cut(folded, [f for _, f in pairs], after),
                )
            )
        except (ValueError, KeyError, RuntimeError):
            failures.append(f"the part before '{after}' cannot stand alone")
    return parts, failures


def _region(
    producers: Mapping[str, ir.Node], output: str, stops: set[str]
) -> tuple[list[ir.Node], set[str]] | None:
    """The nodes back from `output` to `stops` or inputs, and the data values on that border."""
    if output not in producers:
        return None
    nodes: dict[int, ir.Node] = {}
    border: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if (name in stops and name != output) or node is None:
            border.add(name)
            continue
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for value in node.inputs:
            if value is not None and not _is_constant(value):
                waiting.append(value.name or "")
    return list(nodes.values()), border


def _is_constant(value: ir.Value) -> bool:
    node = value.producer()
    return value.is_initializer() or (node is not None and node.op_type == "Constant")


def _same(a: list[ir.Node], b: list[ir.Node]) -> bool:
    """True for a single op that was left alone: same type, same attributes, same constants."""
    if len(a) != 1 or len(b) != 1 or a[0].op_type != b[0].op_type:
        return False
    if set(a[0].attributes) != set(b[0].attributes):
        return False
    for key, attribute in a[0].attributes.items():
        other = b[0].attributes[key]
        if attribute.type != other.type or (
            attribute.type not in _GRAPHS and str(attribute.value) != str(other.value)
        ):
            return False
    if len(a[0].inputs) != len(b[0].inputs):
        return False
    return all(_same_constant(x, y) for x, y in zip(a[0].inputs, b[0].inputs, strict=True))


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _same_constant(x: ir.Value | None, y: ir.Value | None) -> bool:
    if x is None or y is None:
        return x is y
    first, second = ir.convenience.get_const_tensor(x), ir.convenience.get_const_tensor(y)
    if first is None or second is None:
        return first is second
    return first is second or bool(np.array_equal(first.numpy(), second.numpy(), equal_nan=True))


def _cut(model: ir.Model, inputs: list[str], output: str) -> ir.Model:
    """The region as a model; every input and output gets the element type it has in `model`."""
    graph = ir.convenience.extract(model.graph, inputs, [output])
    default = _float_type(model)
    for value in (*graph.inputs, *graph.outputs):
        if value.type is None:
            value.type = ir.TensorType(default)
    for value in graph.inputs:
        value.shape = None if value.shape is None else ir.Shape([None] * len(value.shape))
    graph.opset_imports.update(model.opset_imports)
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))


def _float_type(model: ir.Model) -> ir.DataType:
    for value in (*model.graph.initializers.values(), *model.graph.inputs):
        if value.dtype in UNIT_ROUNDOFF:
            return value.dtype
    return ir.DataType.FLOAT
