"""Floating point operations of a model, estimated from its shapes.

A multiplication and an addition count as two. Ops that only move data count nothing; every op
that no row names counts one per output element.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

logger = logging.getLogger(__name__)

_MOVES = frozenset(
    {
        "Cast",
        "CastLike",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "DepthToSpace",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Range",
        "Reshape",
        "Resize",
        "ScatterND",
        "Shape",
        "Size",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Upsample",
    }
)

#: Elements of a constant beyond which it is no shape.
_LARGEST_SHAPE_CONSTANT = 64


class _UnknownShapeError(Exception):
    """A shape that the estimate needs is not known."""


def estimate_flops(model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Estimate the operations of one call.

    Args:
        model: not changed.
        input_shapes: concrete shape of each input.

    Returns:
        the number, or None where a shape stays unknown or a body (If, Loop, Scan, a function)
        decides at run time.
    """
    try:
        return sum(_node_flops(node) for node in _with_shapes(model, input_shapes).graph)
    except _UnknownShapeError as unknown:
        logger.debug("no estimate of operations: the shape of %s is not known", unknown)
    except Exception as error:
        # An estimate is never worth a failed measurement, and inference raises what it likes.
        logger.debug("no estimate of operations: shape inference failed: %s", error)
    return None


def _with_shapes(model: ir.Model, input_shapes: Mapping[str, tuple[int, ...]]) -> ir.Model:
    """Infer the shapes of all values of a copy, from which large constants are left out."""
    import onnx
    import onnx_ir as ir

    copy = model.clone()
    for value in copy.graph.inputs:
        if value.name is not None and value.name in input_shapes:
            value.shape = ir.Shape(input_shapes[value.name])
    for name, value in list(copy.graph.initializers.items()):
        # Inference needs the numbers of shape constants only, and a message must stay small.
        if value.const_value is not None and value.const_value.size > _LARGEST_SHAPE_CONSTANT:
            value.shape = ir.Shape(value.const_value.shape.numpy())
            value.dtype = value.const_value.dtype
            del copy.graph.initializers[name]
            if value not in copy.graph.inputs:
                copy.graph.inputs.append(value)
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(copy), data_prop=True))


def _node_flops(node: ir.Node) -> int:
    if any(_holds_graph(attribute) for attribute in node.attributes.values()):
        raise _UnknownShapeError(f"{node.op_type} {node.name} has a body")
    if node.domain in ("", "ai.onnx"):
        if node.op_type in _MOVES:
            return 0
        count = _COUNTS.get(node.op_type)
        if count is not None:
            return count(node)
    return _elements(node.outputs[0])


def _holds_graph(attribute: Any) -> bool:
    return attribute.type.name in ("GRAPH", "GRAPHS")


def _dims(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        raise _UnknownShapeError(getattr(value, "name", None))
    dims = value.shape.numpy() if value.shape.is_static() else None
    if dims is None:
        raise _UnknownShapeError(value.name)
    return list(dims)


def _elements(value: ir.Value | None) -> int:
    return math.prod(_dims(value))


def _matmul(node: ir.Node) -> int:
    return 2 * _elements(node.outputs[0]) * _dims(node.inputs[0])[-1]


def _gemm(node: ir.Node) -> int:
    transposed = node.attributes.get_int("transA", 0)
    inner = _dims(node.inputs[0])[0 if transposed else 1]
    bias = _elements(node.outputs[0]) if len(node.inputs) > 2 and node.inputs[2] else 0
    return 2 * _elements(node.outputs[0]) * inner + bias


def _conv(node: ir.Node) -> int:
    kernel = _dims(node.inputs[1])
    bias = _elements(node.outputs[0]) if len(node.inputs) > 2 and node.inputs[2] else 0
    return 2 * _elements(node.outputs[0]) * math.prod(kernel[1:]) + bias


def _conv_transpose(node: ir.Node) -> int:
    return 2 * _elements(node.inputs[0]) * math.prod(_dims(node.inputs[1])[1:])


def _recurrent(node: ir.Node) -> int:
    steps = math.prod(_dims(node.inputs[0])[:2])
    return 2 * steps * (_elements(node.inputs[1]) + _elements(node.inputs[2]))


def _pool(node: ir.Node) -> int:
    return _elements(node.outputs[0]) * math.prod(node.attributes.get_ints("kernel_shape"))


def _reduce(node: ir.Node) -> int:
    return _elements(node.inputs[0])


def _batch_normalization(node: ir.Node) -> int:
    return 2 * _elements(node.outputs[0])


_COUNTS: dict[str, Callable[[ir.Node], int]] = {
    "AveragePool": _pool,
    "BatchNormalization": _batch_normalization,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "GlobalAveragePool": _reduce,
    "GlobalMaxPool": _reduce,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "RNN": _recurrent,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
}
