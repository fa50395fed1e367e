"""Figures of a model that need no run: nodes, bytes, opset, ops."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bnfold.report.model import ModelFacts

if TYPE_CHECKING:
    import onnx_ir as ir


def model_facts(model: ir.Model, name: str, format_name: str) -> ModelFacts:
    """The facts of `model`.

    Args:
        model: the model; it is not changed.
        name: what to call it: a file name or a kind of object.
        format_name: the format it came in, for people.
    """
    counts: Counter[str] = Counter()
    for node in _all_nodes(model):
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}::"
        counts[domain + node.op_type] += 1
    return ModelFacts(
        name=name,
        format=format_name,
        nodes=counts.total(),
        bytes=model_bytes(model),
        opset=model.opset_imports.get("", model.opset_imports.get("ai.onnx")),
        op_counts=dict(sorted(counts.items())),
    )


def model_bytes(model: ir.Model) -> int:
    """Size in bytes of the serialized model, with weights that lie in other files.

    No weight is read for it, or computed.
    """
    from bnfold.formats.onnx.encode import skeleton_of

    return skeleton_of(model).encoded_size()


def _all_nodes(model: ir.Model) -> list[ir.Node]:
    import onnx_ir.traversal as traversal

    nodes = list(traversal.RecursiveGraphIterator(model.graph))
    for function in model.functions.values():
        nodes.extend(traversal.RecursiveGraphIterator(function.graph))
    return nodes
