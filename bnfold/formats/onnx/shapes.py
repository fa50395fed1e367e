"""Shapes and types of all values, inferred on a scratch copy: the model itself stays as it is."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bnfold.core.moves import Shape
from bnfold.formats.onnx.names import name_values


def scratch_copy(model: ir.Model) -> ir.Model:
    """A copy that shares the weights, with every value named and every known shape filled in.

    A model that the inference rejects keeps the shapes that it declares itself.
    """
    scratch = model.clone()
    name_values(scratch)
    # onnx knows no shape rule for GroupNormalization; InstanceNormalization has the one it needs.
    grouped = [n for n in scratch.graph.all_nodes() if n.op_type == "GroupNormalization"]
    for node in grouped:
        node.op_type = "InstanceNormalization"
    library = logging.getLogger("onnx_ir.passes.common.shape_inference")
    level = library.level
    library.setLevel(logging.ERROR)  # a rejected model is no news to the user
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(scratch)
    finally:
        library.setLevel(level)
        for node in grouped:
            node.op_type = "GroupNormalization"
    return scratch


def shape_of(value: ir.Value | None) -> Shape | None:
    """A neutral shape of ints, names and None; None where the rank is unknown."""
    if value is None:
        return None
    if value.shape is not None:
        return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape.dims)
    tensor = value.const_value
    return None if tensor is None else tuple(int(dim) for dim in tensor.shape.numpy())
