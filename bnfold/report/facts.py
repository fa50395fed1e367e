"""Figures of a model that need no run: nodes, bytes, opset, ops."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bnfold.report.model import ModelFacts

if TYPE_CHECKING:
    import onnx_ir as ir

# Beyond this a serialized copy, made only to be measured, costs more memory than it is worth.
_EXACT_SIZE_LIMIT = 512 * 2**20


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
    """Size in bytes of the serialized model, weights included.

    Exact for small models; for large ones the bytes of the weights, which is all but a fraction
    of a percent of it.
    """
    import onnx_ir as ir

    weights = sum(_tensor_bytes(value) for value in model.graph.initializers.values())
    if weights > _EXACT_SIZE_LIMIT:
        return weights
    proto = ir.to_proto(model)
    external = sum(
        _tensor_bytes(value)
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    )
    return int(proto.ByteSize()) + external


def _tensor_bytes(value: ir.Value) -> int:
    return 0 if value.const_value is None else int(value.const_value.nbytes)


def _all_nodes(model: ir.Model) -> list[ir.Node]:
    import onnx_ir.traversal as traversal

    nodes = list(traversal.RecursiveGraphIterator(model.graph))
    for function in model.functions.values():
        nodes.extend(traversal.RecursiveGraphIterator(function.graph))
    return nodes
