"""Two products in a row become one only where asked for and only where that is smaller."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bnfold.formats.onnx.fold import FoldOptions, fold_model


def build(
    rng: np.random.Generator, nodes: list[onnx.NodeProto], arrays: dict[str, tuple[int, ...]]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(rng.normal(size=s), name) for name, s in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def node(op: str, *names: str, **attributes: object) -> onnx.NodeProto:
    *inputs, output = names
    return helper.make_node(op, inputs, [output], name=output, **attributes)


ROWS = [
    (
        "two Gemms",
        [node("Gemm", "x", "w", "b", "h"), node("Gemm", "h", "v", "c", "y", transB=1, alpha=0.5)],
        {"w": (6, 8), "b": (8,), "v": (5, 8), "c": (1, 5)},
        ["Gemm"],
    ),
    (
        "two MatMuls",
        [node("MatMul", "x", "w", "h"), node("MatMul", "h", "v", "y")],
        {"w": (6, 8), "v": (8, 5)},
        ["MatMul"],
    ),
    (
        "three, with a BatchNormalization's rest between",
        [
            node("Gemm", "x", "w", "b", "h"),
            node("Mul", "h", "s", "i"),
            node("MatMul", "i", "v", "j"),
            node("Gemm", "j", "u", "y"),
        ],
        {"w": (6, 8), "b": (8,), "s": (8,), "v": (8, 8), "u": (8, 4)},
        ["Gemm"],
    ),
    (
        "a factorization stays",
        [node("Gemm", "x", "w", "b", "h"), node("Gemm", "h", "v", "y")],
        {"w": (6, 1), "b": (1,), "v": (1, 6)},
        ["Gemm", "Gemm"],
    ),
    (
        "another reader",
        [
            node("Gemm", "x", "w", "h"),
            node("Gemm", "h", "v", "i"),
            node("Relu", "h", "r"),
            node("Add", "i", "r", "y"),
        ],
        {"w": (6, 8), "v": (8, 8)},
        ["Gemm", "Gemm", "Relu", "Add"],
    ),
]


@pytest.mark.parametrize(("title", "nodes", "arrays", "left"), ROWS, ids=[r[0] for r in ROWS])
def test_collapse(
    title: str,
    nodes: list[onnx.NodeProto],
    arrays: dict[str, tuple[int, ...]],
    left: list[str],
    rng: np.random.Generator,
) -> None:
    model = build(rng, nodes, arrays)
    folded = fold_model(ir.from_proto(model), options=FoldOptions(collapse=True)).model
    assert [n.op_type for n in folded.graph] == left
    proto = ir.to_proto(folded)
    onnx.checker.check_model(proto, full_check=True)
    x = rng.normal(size=(6, 6))
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(
        ReferenceEvaluator(proto).run(None, {"x": x})[0], expected, rtol=1e-10, atol=1e-12
    )


def test_not_unless_asked(rng: np.random.Generator) -> None:
    title, nodes, arrays, left = ROWS[0]
    folded = fold_model(ir.from_proto(build(rng, nodes, arrays)))
    assert not folded.plan.graphs, title
    assert [n.op_type for n in folded.model.graph] == ["Gemm", "Gemm"] != left
