"""Text in a ModelProto that is not UTF-8, which protobuf hands out as bytes.

A name that links things must be right, so it is refused; what is only for people to read is
decoded as far as it goes, since old exporters wrote whatever encoding they met.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx

from bnfold.core.errors import InputError
from bnfold.formats.text import clip

_GRAPH_KINDS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def mend_text(model: onnx.ModelProto) -> None:
    """Decode comments in place.

    Raises:
        InputError: a name, op type, domain or attribute name is not UTF-8.
    """
    _mend(model, "producer_name", "producer_version", "doc_string")
    _demand((model.domain, *(opset.domain for opset in model.opset_import)), "domain")
    _mend_notes(model.metadata_props)
    _mend_graph(model.graph)
    for function in model.functions:
        _demand((function.name, function.domain, function.overload), "function name")
        _demand(function.input, "value name")
        _demand(function.output, "value name")
        _demand(function.attribute, "attribute name")
        _demand((opset.domain for opset in function.opset_import), "domain")
        _mend(function, "doc_string")
        _mend_notes(function.metadata_props)
        _mend_nodes(function.node)
        _mend_values(function.value_info)


def _mend_graph(graph: onnx.GraphProto) -> None:
    _mend(graph, "name", "doc_string")
    _mend_notes(graph.metadata_props)
    for values in (graph.input, graph.output, graph.value_info):
        _mend_values(values)
    for tensor in graph.initializer:
        _demand((tensor.name,), "tensor name")
        _mend_tensor(tensor)
    for annotation in graph.quantization_annotation:
        _demand((annotation.tensor_name,), "tensor name")
        for entry in annotation.quant_parameter_tensor_names:
            _demand((entry.key, entry.value), "tensor name")
    _mend_nodes(graph.node)


def _mend_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        _demand((node.op_type, node.domain, node.overload), "op type")
        _demand(node.input, "value name")
        _demand(node.output, "value name")
        _mend(node, "name", "doc_string")
        _mend_notes(node.metadata_props)
        for attribute in node.attribute:
            _demand((attribute.name, attribute.ref_attr_name), "attribute name")
            _mend(attribute, "doc_string")
            if attribute.type in _GRAPH_KINDS:
                for graph in (attribute.g, *attribute.graphs):
                    _mend_graph(graph)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _mend(attribute.t, "name")
                _mend_tensor(attribute.t)
            elif attribute.type == onnx.AttributeProto.TENSORS:
                for tensor in attribute.tensors:
                    _mend(tensor, "name")
                    _mend_tensor(tensor)


def _mend_tensor(tensor: onnx.TensorProto) -> None:
    _mend(tensor, "doc_string")
    _mend_notes(tensor.metadata_props)
    for entry in tensor.external_data:
        _demand((entry.key, entry.value), "data file name")


def _mend_values(values: Iterable[onnx.ValueInfoProto]) -> None:
    for value in values:
        _demand((value.name,), "value name")
        _mend(value, "doc_string")
        _mend_notes(value.metadata_props)
        _mend(value.type, "denotation")
        if value.type.HasField("tensor_type"):
            for dim in value.type.tensor_type.shape.dim:
                _demand((dim.dim_param,), "dimension name")
                _mend(dim, "denotation")


def _mend_notes(entries: Iterable[onnx.StringStringEntryProto]) -> None:
    for entry in entries:
        _mend(entry, "key", "value")


def _mend(message: Any, *fields: str) -> None:
    for field in fields:
        text = getattr(message, field)
        if isinstance(text, bytes):
            setattr(message, field, text.decode("utf-8", "replace"))


def _demand(texts: Iterable[str | bytes], what: str) -> None:
    for text in texts:
        if isinstance(text, bytes):
            shown = text.decode("utf-8", "backslashreplace")
            raise InputError(f"the {what} '{clip(shown, 80)}' is not UTF-8")
