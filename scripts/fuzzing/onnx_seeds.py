"""Small whole ONNX models of many kinds, to be damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
from onnx import NodeProto, TensorProto, ValueInfoProto

FLOAT = TensorProto.FLOAT
_RNG = np.random.default_rng(7)


def value(name: str, *dims: int | str) -> ValueInfoProto:
    """A float input or output."""
    return oh.make_tensor_value_info(name, FLOAT, list(dims))


def floats(name: str, *dims: int) -> TensorProto:
    """Random weights."""
    return nh.from_array(_RNG.standard_normal(dims).astype(np.float32), name)


def integers(name: str, *content: int) -> TensorProto:
    """Shapes, axes, indices."""
    return nh.from_array(np.array(content, np.int64), name)


def statistics(prefix: str, channels: int) -> list[TensorProto]:
    """The parameters of a BatchNormalization, a zero gamma among them."""
    scale = _RNG.standard_normal(channels).astype(np.float32)
    scale[0] = 0
    variance = _RNG.uniform(0.1, 3, channels).astype(np.float32)
    return [
        nh.from_array(scale, f"{prefix}_scale"),
        floats(f"{prefix}_shift", channels),
        floats(f"{prefix}_mean", channels),
        nh.from_array(variance, f"{prefix}_var"),
    ]


def normalization(prefix: str, source: str, result: str) -> NodeProto:
    """The node that goes with `statistics`."""
    names = [f"{prefix}_{part}" for part in ("scale", "shift", "mean", "var")]
    return oh.make_node("BatchNormalization", [source, *names], [result], name=prefix)


def build(
    nodes: Sequence[NodeProto],
    weights: Sequence[TensorProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    opset: int = 17,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """A model of these parts."""
    graph = oh.make_graph(list(nodes), "seed", list(inputs), list(outputs), list(weights))
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", opset)], ir_version=ir_version)


def dense() -> onnx.ModelProto:
    """Gemm, BN, Relu, MatMul, Add, BN."""
    nodes = [
        oh.make_node("Gemm", ["x", "w", "b"], ["g"], name="gemm", transB=1, alpha=0.5),
        normalization("bn", "g", "n"),
        oh.make_node("Relu", ["n"], ["r"], name="relu"),
        oh.make_node("MatMul", ["r", "v"], ["m"], name="matmul"),
        oh.make_node("Add", ["m", "c"], ["a"], name="add"),
        normalization("bn2", "a", "y"),
    ]
    weights = [floats("w", 5, 4), floats("b", 5), floats("v", 5, 3), floats("c", 3)]
    weights += statistics("bn", 5) + statistics("bn2", 3)
    return build(nodes, weights, [value("x", "N", 4)], [value("y", "N", 3)])


def convolution() -> onnx.ModelProto:
    """Conv, BN, Relu, pooling, Flatten by a computed shape, Gemm."""
    nodes = [
        oh.make_node("Mul", ["x", "k"], ["s"], name="scale"),
        oh.make_node("Conv", ["s", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        normalization("bn", "c", "n"),
        oh.make_node("Relu", ["n"], ["r"], name="relu"),
        oh.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        oh.make_node("Shape", ["p"], ["ps"], name="shape"),
        oh.make_node("Gather", ["ps", "zero"], ["batch"], name="gather"),
        oh.make_node("Concat", ["batch", "rest"], ["target"], name="concat", axis=0),
        oh.make_node("Reshape", ["p", "target"], ["f"], name="reshape"),
        oh.make_node("Transpose", ["f"], ["t"], name="transpose", perm=[0, 1]),
        oh.make_node("Gemm", ["t", "v", "b"], ["y"], name="gemm"),
    ]
    weights = [floats("k", 1, 2, 1, 1), floats("w", 4, 2, 3, 3), *statistics("bn", 4)]
    weights += [integers("zero", 0), integers("rest", -1), floats("v", 36, 3), floats("b", 3)]
    return build(nodes, weights, [value("x", "N", 2, 6, 6)], [value("y", "N", 3)])


def constants() -> onnx.ModelProto:
    """Weights that are made by constant subexpressions."""
    nodes = [
        oh.make_node("ConstantOfShape", ["dims"], ["ones"], name="fill", value=floats("v", 1)),
        oh.make_node("Expand", ["k", "dims2"], ["wide"], name="expand"),
        oh.make_node("Tile", ["k", "repeats"], ["tiled"], name="tile"),
        oh.make_node("Range", ["from", "to", "step"], ["range"], name="range"),
        oh.make_node("Cast", ["range"], ["cast"], name="cast", to=FLOAT),
        oh.make_node("MatMul", ["x", "ones"], ["m"], name="matmul"),
        oh.make_node("Mul", ["m", "wide"], ["a"], name="mul"),
        oh.make_node("Add", ["a", "tiled"], ["b"], name="add"),
        oh.make_node("Sub", ["b", "cast"], ["c"], name="sub"),
        oh.make_node("Pad", ["c", "pads"], ["d"], name="pad"),
        oh.make_node("Slice", ["d", "starts", "ends"], ["e"], name="slice"),
        oh.make_node("Gemm", ["e", "w"], ["y"], name="gemm"),
    ]
    weights = [
        integers("dims", 4, 3),
        floats("k", 1),
        integers("dims2", 3),
        integers("repeats", 3),
        nh.from_array(np.array(0, np.int64), "from"),
        nh.from_array(np.array(3, np.int64), "to"),
        nh.from_array(np.array(1, np.int64), "step"),
        integers("pads", 0, 0, 0, 0),
        integers("starts", 0),
        integers("ends", 2**31),
        floats("w", 3, 2),
    ]
    return build(nodes, weights, [value("x", "N", 4)], [value("y", "N", 2)])


def branches() -> onnx.ModelProto:
    """An If whose bodies fold too, and read the outer graph."""
    body = oh.make_graph(
        [oh.make_node("Gemm", ["x", "inner"], ["g"], name="gemm"), normalization("bn", "g", "z")],
        "body",
        [],
        [value("z", "N", 3)],
        [floats("inner", 4, 3)],
    )
    nodes = [
        oh.make_node("If", ["c"], ["i"], name="if", then_branch=body, else_branch=body),
        oh.make_node("Mul", ["i", "k"], ["y"], name="mul"),
    ]
    weights = [nh.from_array(np.array(True), "c"), floats("k", 3), *statistics("bn", 3)]
    return build(nodes, weights, [value("x", "N", 4)], [value("y", "N", 3)])


def functions() -> onnx.ModelProto:
    """A local function around a normalizer, called twice."""
    model = build(
        [
            oh.make_node("Norm", ["x"], ["n"], name="first", domain="own"),
            oh.make_node("Gemm", ["n", "w"], ["g"], name="gemm"),
            oh.make_node("Norm", ["g"], ["y"], name="second", domain="own"),
        ],
        [floats("w", 4, 4)],
        [value("x", "N", 4)],
        [value("y", "N", 4)],
    )
    body = [
        oh.make_node("Constant", [], ["m"], name="mean", value=floats("v", 4)),
        oh.make_node("Constant", [], ["d"], name="deviation", value=floats("v", 4)),
        oh.make_node("Sub", ["a", "m"], ["s"], name="sub"),
        oh.make_node("Div", ["s", "d"], ["b"], name="div"),
    ]
    model.opset_import.append(oh.make_opsetid("own", 1))
    model.functions.append(
        oh.make_function("own", "Norm", ["a"], ["b"], body, [oh.make_opsetid("", 17)])
    )
    return model


def recurrent() -> onnx.ModelProto:
    """BN into an LSTM, embedding, Concat, Split, Softmax."""
    nodes = [
        oh.make_node("Gather", ["table", "ids"], ["e"], name="embed", axis=0),
        oh.make_node("Mul", ["e", "k"], ["s"], name="scale"),
        oh.make_node("LSTM", ["s", "w", "r"], ["l", "", ""], name="lstm", hidden_size=2),
        oh.make_node("Squeeze", ["l", "axes"], ["q"], name="squeeze"),
        oh.make_node("Split", ["q"], ["p1", "p2"], name="split", axis=2, num_outputs=2),
        oh.make_node("Concat", ["p1", "p2"], ["c"], name="concat", axis=2),
        oh.make_node("Softmax", ["c"], ["y"], name="softmax", axis=-1),
    ]
    weights = [floats("table", 9, 3), floats("k", 3), floats("w", 1, 8, 3), floats("r", 1, 8, 2)]
    ids = oh.make_tensor_value_info("ids", TensorProto.INT64, [5, "N"])
    return build(nodes, [*weights, integers("axes", 1)], [ids], [value("y", 5, "N", 2)], opset=18)


def quantized() -> onnx.ModelProto:
    """A dequantized weight, half precision, strings, and IR 3."""
    kernel = nh.from_array(_RNG.integers(-9, 9, (4, 3)).astype(np.int8), "q")
    nodes = [
        oh.make_node("DequantizeLinear", ["q", "qs", "qz"], ["w"], name="dequantize", axis=1),
        oh.make_node("MatMul", ["x", "w"], ["m"], name="matmul"),
        normalization("bn", "m", "n"),
        oh.make_node("Cast", ["n"], ["y"], name="cast", to=TensorProto.FLOAT16),
    ]
    weights = [kernel, floats("qs", 3), nh.from_array(np.zeros(3, np.int8), "qz")]
    weights += [*statistics("bn", 3), nh.from_array(np.array([b"a"], object), "note")]
    half = oh.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 3])
    return build(nodes, weights, [value("x", "N", 4)], [half], opset=13, ir_version=3)


SEEDS: tuple[Callable[[], onnx.ModelProto], ...] = (
    dense,
    convolution,
    constants,
    branches,
    functions,
    recurrent,
    quantized,
)
