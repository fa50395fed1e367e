"""What stays of a normalization between convolutions: a normalization, and exactly what stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import bnfold
from bnfold.api import FoldResult

STATISTICS = ("gamma", "beta", "mean", "var")


def between(shape: str, norm: str, rng: np.random.Generator) -> onnx.ModelProto:
    """``norm`` of h, which is the Relu of a convolution, before a padded one."""
    spatial = shape.count(",") - 1
    pads = f"pads = [{','.join(['1'] * 2 * spatial)}]"
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[{shape}] x) => (float[{shape}] y) {{
            c = Conv(x, V)
            h = Relu(c)
            {norm}
            y = Conv<{pads}>(n, W)
        }}
    """)
    gamma = rng.uniform(0.5, 2.0, size=3)
    arrays = {
        "V": rng.normal(size=(3, 3, *[1] * spatial)),
        "W": rng.normal(size=(3, 3, *[3] * spatial)),
        "gamma": gamma,
        "beta": rng.normal(size=3),
        "mean": rng.normal(size=3),
        "var": rng.uniform(0.1, 3, size=3),
        "scale": gamma.reshape(3, *[1] * spatial),
        "shift": rng.normal(size=(3, *[1] * spatial)),
    }
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in arrays.items()
        if name in read
    )
    return model


BN = "n = BatchNormalization(h, gamma, beta, mean, var)"


def left(result: FoldResult) -> onnx.NodeProto:
    (node,) = (n for n in result.to_proto().graph.node if n.op_type not in ("Conv", "Relu"))
    return node


def constants(result: FoldResult, node: onnx.NodeProto) -> list[NDArray[np.generic]]:
    stored = {t.name: numpy_helper.to_array(t) for t in result.to_proto().graph.initializer}
    return [stored[name] for name in node.input if name in stored]


def test_a_shift_between_convolutions_stays_a_normalization(rng: np.random.Generator) -> None:
    model = between("N,3,8,8", BN, rng)
    result = bnfold.fold(model)
    node = left(result)
    assert node.op_type == "BatchNormalization"
    assert [a.f for a in node.attribute if a.name == "epsilon"] == [0.0]
    gamma, beta, mean, var = constants(result, node)
    np.testing.assert_array_equal(gamma, np.ones(3, np.float32))
    np.testing.assert_array_equal(mean, np.zeros(3, np.float32))
    np.testing.assert_array_equal(var, np.ones(3, np.float32))
    assert np.abs(beta).min() > 0
    (kept,) = result.kept
    assert kept.left_as == ("BatchNormalization",) and kept.into
    assert {refusal.reason.code for refusal in kept.refusals} == {"BNF203", "BNF206"}


def test_what_holds_all_that_it_held_is_left_alone(rng: np.random.Generator) -> None:
    """A normalization that only scales, by both signs, between two that pass no sign."""
    norm = "n0 = BatchNormalization(h, gamma, zero, zero, var)  n = Sigmoid(n0)"
    model = between("N,3,8,8", norm, rng)
    for tensor in model.graph.initializer:
        if tensor.name == "gamma":
            tensor.CopyFrom(numpy_helper.from_array(np.float32([-1, 2, -3]), "gamma"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "zero"))
    before = {t.name: t for t in model.graph.initializer}
    result = bnfold.fold(model)
    after = {t.name: t for t in result.to_proto().graph.initializer}
    assert after == before
    assert [kept.left_as for kept in result.kept] == [("BatchNormalization",)]


@pytest.mark.parametrize(
    ("shape", "norm", "op"),
    [
        ("N,3,8", BN, "Add"),
        ("N,3,4,4,4", BN, "Add"),
        ("N,3,8,8", "m = Mul(h, scale)  n = Add(m, shift)", "Add"),
    ],
)
def test_elsewhere_it_is_the_cheapest_op(
    shape: str, norm: str, op: str, rng: np.random.Generator
) -> None:
    result = bnfold.fold(between(shape, norm, rng))
    assert left(result).op_type == op
    assert result.kept[-1].left_as == (op,)


def test_half_precision_with_statistics_of_another_type(rng: np.random.Generator) -> None:
    model = between("N,3,8,8", BN, rng)
    for tensor in model.graph.initializer:
        if tensor.name not in ("mean", "var"):
            array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    result = bnfold.fold(model)
    types = [array.dtype for array in constants(result, left(result))]
    assert types == [np.float16, np.float16, np.float32, np.float32]
