"""Operators as TensorFlow 1.14 to 2.3 wrote them: a layer that holds an op of TensorFlow's graphs.

They are read as what later versions write for the same expression: a function of TensorFlow's
(`TFOpLambda`) with its operands, constants among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASS_NAME = "TensorFlowOpLayer"

# Ops whose operands are all there is to them, by the function that makes them.
_FUNCTIONS: Mapping[str, str] = {
    "Abs": "math.abs",
    "Add": "math.add",
    "AddV2": "math.add",
    "Ceil": "math.ceil",
    "Cos": "math.cos",
    "Elu": "nn.elu",
    "Erf": "math.erf",
    "Exp": "math.exp",
    "Floor": "math.floor",
    "Identity": "identity",
    "Log": "math.log",
    "Log1p": "math.log1p",
    "Maximum": "math.maximum",
    "Minimum": "math.minimum",
    "Mul": "math.multiply",
    "Neg": "math.negative",
    "Pow": "math.pow",
    "RealDiv": "math.truediv",
    "Reciprocal": "math.reciprocal",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "Round": "math.round",
    "Rsqrt": "math.rsqrt",
    "Selu": "nn.selu",
    "Sigmoid": "math.sigmoid",
    "Sign": "math.sign",
    "Sin": "math.sin",
    "Softplus": "nn.softplus",
    "Softsign": "nn.softsign",
    "Sqrt": "math.sqrt",
    "Square": "math.square",
    "Sub": "math.subtract",
    "Tanh": "math.tanh",
}
# Others that only compute, for which there is no rule here.
_ONLY_COMPUTE_NAMES = """
    All Any ArgMax ArgMin AvgPool BatchMatMul BatchMatMulV2 BatchToSpaceND BiasAdd BroadcastTo Cast
    ClipByValue Concat ConcatV2 Conv2D Cumprod Cumsum DepthToSpace DepthwiseConv2dNative Einsum
    Equal ExpandDims FloorDiv FloorMod Gather GatherNd GatherV2 Greater GreaterEqual LeakyRelu Less
    LessEqual LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Mean Min MirrorPad
    NotEqual OneHot Pack Pad PadV2 Prod Range Rank Reshape ResizeBilinear ResizeNearestNeighbor
    ReverseV2 Select SelectV2 Shape Size Slice Softmax SpaceToBatchND SpaceToDepth Split SplitV
    SquaredDifference Squeeze StopGradient StridedSlice Sum Tile TopKV2 Transpose Unpack Where
    ZerosLike OnesLike
"""
_ONLY_COMPUTE = frozenset(_ONLY_COMPUTE_NAMES.split())


def op_of(config: Mapping[str, Any]) -> str:
    """The op of a layer's config, "" where it is none."""
    node = config.get("node_def")
    return str(node.get("op", "")) if isinstance(node, Mapping) else ""


def computes_only(config: Mapping[str, Any]) -> bool:
    """Whether the op does nothing but compute; others read and write files, or run code."""
    op = op_of(config)
    return op in _FUNCTIONS or op in _ONLY_COMPUTE


def as_function(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the function that a later version would name."""
    op = op_of(config)
    return {**config, "function": _FUNCTIONS.get(op, f"raw_ops.{op}")}


def with_constants(config: Mapping[str, Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The op's operands in order: what the layer is called with, and constants of its config."""
    given = list(args[0]) if len(args) == 1 and isinstance(args[0], list) else list(args)
    constants = config.get("constants") or {}
    for place, value in sorted((int(place), value) for place, value in constants.items()):
        given.insert(place, value)
    return tuple(given)
