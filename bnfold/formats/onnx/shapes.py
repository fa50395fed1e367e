"""Shapes and types of all values, inferred on a scratch copy: the model itself stays as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.formats.onnx.computed_shapes import complete_shapes, shape_of
from bnfold.formats.onnx.function_shapes import infer_functions
from bnfold.formats.onnx.names import name_values

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)
# Larger weights are no shapes, axes or pads: the inference need not see them.
_LARGE_BYTES = 1000


def scratch_copy(model: ir.Model) -> ir.Model:
    """A copy that shares the weights, with every value named and every known shape filled in.

    A model that the inference rejects keeps the shapes that it declares itself.
    """
    import onnx

    scratch = model.clone()
    name_values(scratch)
    _name_free_sizes(scratch.graph)
    _look_through_identities(scratch.graph)
    try:
        inferred = onnx.shape_inference.infer_shapes(_light_proto(scratch), data_prop=True)
    except Exception as error:  # the inference library raises whatever it likes on odd models
        logger.info("shape inference failed: %s", error)
        return scratch
    _fill_all(scratch.graph, inferred.graph)
    infer_functions(scratch, _fill_all)
    return scratch


def inference_fault(model: ir.Model) -> str:
    """What onnx's strict inference has against the types and shapes of a model; "" if nothing."""
    import onnx

    try:
        onnx.shape_inference.infer_shapes(
            _light_proto(model), check_type=True, strict_mode=True, data_prop=True
        )
    except Exception as error:  # as in `scratch_copy`
        return str(error)
    return ""


def _name_free_sizes(graph: ir.Graph) -> None:
    """Give each size of an input that is free a name, so that it is known again further on."""
    for value in graph.inputs:
        if value.shape is not None and None in (dims := shape_of(value) or ()):
            value.shape = ir.Shape(
                [f"{value.name}:{axis}" if dim is None else dim for axis, dim in enumerate(dims)]
            )


def _fill_all(graph: ir.Graph | ir.Function, inferred: onnx.GraphProto) -> None:
    _fill(graph, inferred)
    complete_shapes(graph)


def _look_through_identities(graph: ir.Graph) -> None:
    """Let readers of a renamed constant read the constant: the inference sees no further."""
    for node in graph:
        given = node.inputs[0] if node.op_type == "Identity" and node.inputs else None
        if given is None or not given.is_initializer() or given.is_graph_input():
            continue
        if not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(given)


def _light_proto(model: ir.Model) -> onnx.ModelProto:
    """The model with its large weights as inputs of known shape and type."""
    graph = model.graph
    count = len(graph.inputs)
    given = {id(value) for value in graph.inputs}
    large: list[ir.Value] = []
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes <= _LARGE_BYTES:
            continue
        if tensor is not None:
            value.shape = value.shape or ir.Shape(tensor.shape.numpy())
            value.type = value.type or ir.TensorType(tensor.dtype)
        large.append(value)
        del graph.initializers[value.name or ""]
        if id(value) not in given:
            graph.inputs.append(value)
    # onnx knows no shape rule for GroupNormalization; InstanceNormalization has the one it needs.
    grouped = [node for node in graph.all_nodes() if node.op_type == "GroupNormalization"]
    for node in grouped:
        node.op_type = "InstanceNormalization"
    try:
        return ir.to_proto(model)
    finally:
        for node in grouped:
            node.op_type = "GroupNormalization"
        while len(graph.inputs) > count:  # one by one: each value must know that it is none
            graph.inputs.pop()
        for value in large:
            graph.initializers.add(value)


def _fill(graph: ir.Graph | ir.Function, inferred: onnx.GraphProto) -> None:
    """Take over the inferred shapes and types, in subgraphs too."""
    values = {value.name: value for node in graph for value in node.outputs if value.name}
    for info in (*inferred.value_info, *inferred.output):
        value = values.get(info.name)
        if value is None or not info.type.HasField("tensor_type"):
            continue
        tensor_type = info.type.tensor_type
        value.type = value.type or ir.TensorType(ir.DataType(tensor_type.elem_type))
        if tensor_type.HasField("shape"):
            value.shape = _merged(value.shape, tensor_type.shape)
    for node, proto in zip(graph, inferred.node, strict=True):
        for attribute in proto.attribute:
            if attribute.name not in node.attributes:
                continue
            own = node.attributes[attribute.name]
            if attribute.HasField("g"):
                _fill(own.as_graph(), attribute.g)
            bodies = own.as_graphs() if attribute.graphs else ()
            for body, part in zip(bodies, attribute.graphs, strict=True):
                _fill(body, part)


def _merged(known: ir.Shape | None, inferred: onnx.TensorShapeProto) -> ir.Shape:
    """Dims as inferred; where nothing was, as declared."""
    dims: list[int | str | None] = []
    for axis, dim in enumerate(inferred.dim):
        if dim.HasField("dim_value"):
            dims.append(dim.dim_value)
        elif dim.dim_param:
            dims.append(dim.dim_param)
        else:
            own = known[axis] if known is not None and axis < len(known) else None
            dims.append(own if isinstance(own, int) or own is None else own.value)
    return ir.Shape(dims)
