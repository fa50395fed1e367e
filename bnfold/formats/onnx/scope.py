"""The graphs of a model, each with what is constant in it, in one fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from bnfold.formats.onnx.attributes import bodies
from bnfold.formats.onnx.constants import OnnxConstants


@dataclass(frozen=True)
class Scope:
    """One graph, subgraph or function body.

    Attributes:
        graph: it.
        constants: constants visible in it.
        opset: version of the default domain.
    """

    graph: ir.Graph | ir.Function
    constants: OnnxConstants
    opset: int


def scopes(model: ir.Model, *, fold_overridable: bool = False) -> Iterator[Scope]:
    """The main graph, its subgraphs, the functions and theirs; the same order every time."""
    version = int(model.ir_version or 8)
    opset = model.opset_imports.get("", 0)
    yield from _nested(model.graph, version, opset, fold_overridable, None)
    for function in model.functions.values():
        opset = function.opset_imports.get("", opset)
        yield from _nested(function, version, opset, fold_overridable, None)


def _nested(
    graph: ir.Graph | ir.Function,
    version: int,
    opset: int,
    fold_overridable: bool,
    outer: OnnxConstants | None,
) -> Iterator[Scope]:
    constants = OnnxConstants(version, fold_overridable=fold_overridable, outer=outer)
    constants.add_graph(graph)
    yield Scope(graph, constants, opset)
    for node in graph:
        for body in bodies(node):
            yield from _nested(body, version, opset, fold_overridable, constants)
