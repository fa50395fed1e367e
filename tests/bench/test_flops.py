"""Counts of operations, by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.bench.flops import estimate_flops

X = "float[N, 3, 8, 8] x"
CASES = {
    "conv": (
        f"({X}) => (float[N, C, H, W] y) <float[4, 3, 3, 3] w, float[4] b>"
        "{ y = Conv<pads=[1,1,1,1]>(x, w, b) }",
        4 * 64 * (2 * 27 + 1),
    ),
    "grouped conv": (
        f"({X}) => (float[N, C, H, W] y) <float[6, 1, 3, 3] w>"
        "{ y = Conv<group=3, pads=[1,1,1,1]>(x, w) }",
        6 * 64 * 2 * 9,
    ),
    "transposed conv": (
        f"({X}) => (float[N, C, H, W] y) <float[3, 5, 2, 2] w>"
        "{ y = ConvTranspose<strides=[2,2]>(x, w) }",
        2 * 3 * 64 * 5 * 4,
    ),
    "pool": (
        f"({X}) => (float[N, C, H, W] y){{ y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }}",
        3 * 16 * 4,
    ),
    "moves cost nothing": (
        f"({X}) => (float[a, b, c, d] y) {{ t = Transpose<perm=[0,2,3,1]>(x) y = Relu(t) }}",
        3 * 64,
    ),
    "matmul and add": (
        f"({X}) => (float[a, b, c, d] y) <float[8, 5] w, float[5] b>"
        "{ t = MatMul(x, w) y = Add(t, b) }",
        3 * 8 * 5 * 16 + 3 * 8 * 5,
    ),
}


def parse(text: str) -> ir.Model:
    import onnx.parser

    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    for value in list(model.graph.value_info):
        # What the parser takes for values with a type are the constants here.
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        constant = onnx.numpy_helper.from_array(np.ones(shape, np.float32), value.name)
        model.graph.initializer.append(constant)
    del model.graph.value_info[:]
    return ir.from_proto(model)


@pytest.mark.parametrize("case", CASES)
def test_counts(case: str) -> None:
    text, expected = CASES[case]
    model = parse(text)
    assert estimate_flops(model, {"x": (1, 3, 8, 8)}) == expected
    assert estimate_flops(model, {"x": (2, 3, 8, 8)}) == 2 * expected
    assert model.graph.inputs[0].shape is not None
    assert not model.graph.inputs[0].shape.is_static(), "the model itself is not touched"


def test_an_unknown_shape_gives_no_number() -> None:
    model = parse(f"({X}) => (float[a, b] y) {{ t = NonZero(x) c = Cast<to=1>(t) y = Relu(c) }}")
    assert estimate_flops(model, {"x": (1, 3, 8, 8)}) is None


def test_a_body_gives_no_number() -> None:
    model = parse(
        "(bool c, float[N, 4] x) => (float[N, 4] y) { y = If(c) <"
        "then_branch = t () => (float[N, 4] a) { a = Relu(x) },"
        "else_branch = e () => (float[N, 4] b) { b = Identity(x) }> }"
    )
    assert estimate_flops(model, {"c": (), "x": (1, 4)}) is None
