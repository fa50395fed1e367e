"""Hashes of models: of each weight, and of everything else that decides what they compute."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.verify.proof.source import shape_of


def weight_hashes(model: ir.Model) -> dict[str, str]:
    """SHA-256 of the data of every initializer and every Constant node, by value name.

    Values in bodies and functions are named with the path that leads to them.
    """
    found: dict[str, str] = {}
    for path, graph in _graphs(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                found[f"{path}{value.name}"] = _tensor_hash(value.const_value)
        for node in graph:
            for name, attr in node.attributes.items():
                if attr.type == ir.AttributeType.TENSOR:
                    key = f"{path}{node.outputs[0].name}@{name}"
                    found[key] = _tensor_hash(attr.as_tensor())
    return found


def structure_hash(model: ir.Model) -> str:
    """SHA-256 of interface, ops, attributes and opsets; tensors count by type and shape only."""
    described = {
        "opsets": sorted(model.opset_imports.items()),
        "ir_version": (model.ir_version or 0) < 4,
        "graphs": [[path, _described(graph)] for path, graph in _graphs(model)],
    }
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _graphs(model: ir.Model) -> list[tuple[str, Any]]:
    """The main graph, functions, and all bodies, each with the path that leads to it."""
    found: list[tuple[str, Any]] = []
    stack: list[tuple[str, Any]] = [("", model.graph)]
    stack += [
        (f"{function.domain}::{function.name}::{function.overload}/", function)
        for function in model.functions.values()
    ]
    while stack:
        path, graph = stack.pop(0)
        found.append((path, graph))
        for place, node in enumerate(graph):
            for name, attr in node.attributes.items():
                bodies: list[Any] = []
                if attr.type == ir.AttributeType.GRAPH:
                    bodies = [attr.as_graph()]
                elif attr.type == ir.AttributeType.GRAPHS:
                    bodies = list(attr.as_graphs())
                for number, body in enumerate(bodies):
                    stack.append((f"{path}{place}.{name}.{number}/", body))
    return found


def _described(graph: Any) -> dict[str, Any]:
    initializers = getattr(graph, "initializers", {})
    return {
        "inputs": [_value(value) for value in graph.inputs],
        "outputs": [_value(value) for value in graph.outputs],
        "weights": sorted(
            [value.name, _kind(value.const_value)]
            for value in initializers.values()
            if value.const_value is not None
        ),
        "nodes": [_node(node) for node in graph],
    }


def _value(value: ir.Value | None) -> list[Any]:
    if value is None:
        return []
    shape = shape_of(value)
    return [value.name, str(value.dtype), None if shape is None else [str(d) for d in shape]]


def _node(node: ir.Node) -> list[Any]:
    return [
        node.domain,
        node.op_type,
        node.overload,
        node.name,
        [value.name if value is not None else "" for value in node.inputs],
        [value.name for value in node.outputs],
        sorted([name, _attribute(attr)] for name, attr in node.attributes.items()),
    ]


def _attribute(attr: ir.Attr) -> str:
    if attr.is_ref():
        return f"ref {attr.ref_attr_name}"
    if attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return "graph"
    if attr.type == ir.AttributeType.TENSOR:
        return f"tensor {_kind(attr.as_tensor())}"
    if attr.type == ir.AttributeType.FLOAT:
        return f"float {float(np.float32(attr.as_float()))!r}"
    if attr.type == ir.AttributeType.FLOATS:
        return f"floats {[float(np.float32(v)) for v in attr.as_floats()]!r}"
    value = attr.value
    return repr(list(value) if isinstance(value, tuple) else value)


def _kind(tensor: ir.TensorProtocol) -> str:
    return f"{tensor.dtype} {list(tensor.shape.numpy())}"


def _tensor_hash(tensor: ir.TensorProtocol) -> str:
    try:
        if tensor.dtype == ir.DataType.STRING:
            data = repr(np.asarray(tensor.numpy()).tolist()).encode()
        else:
            data = tensor.tobytes()
    except OSError:
        return "not there"
    return hashlib.sha256(data).hexdigest()
