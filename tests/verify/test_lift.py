"""Lifting: every type that matters becomes float64, names stay, results gain precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from bnfold.verify.evaluate import Float64Model
from bnfold.verify.lift import LIFTED, NotLiftableError, lift_to_float64, random_op
from tests.verify.pairs import FAMILIES, mlp

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
main (float[N, 4] x, int64[N] i, bool c) => (float[N, 4] y, int64[K] s)
<float16[4] half = {1, 2, 3, 4}, float[2, 4] table = {1, 2, 3, 4, 5, 6, 7, 8}, int64[1] k = {4}>
{
   a = Constant <value_float: float = 0.1> ()
   b = Constant <value_floats: floats = [0.1, 0.2, 0.3, 0.4]> ()
   d = Constant <value: tensor = float[4] {1, 2, 3, 4}> ()
   n = Constant <value_int: int = 2> ()
   h = Cast <to: int = 1> (half)
   z = ConstantOfShape (k)
   one = ConstantOfShape <value: tensor = float[1] {1}> (k)
   f = Cast <to: int = 1> (i)
   g = Gather <axis: int = 0> (table, i)
   t0 = Add (x, a)
   t1 = Add (t0, b)
   t2 = Mul (t1, d)
   t3 = Add (t2, h)
   t4 = Add (t3, z)
   t5 = Mul (t4, one)
   t6 = Add (t5, g)
   t7 = local.scale <by: float = 0.3> (t6)
   y = If (c) <
      then_branch = then () => (float[N, 4] p) {
         q = Constant <value: tensor = float {0.7}> ()
         p = Mul (t7, q)
      },
      else_branch = other () => (float[N, 4] r) { r = Identity (t7) }
   >
   s = Shape (x)
}
<domain: "local", opset_import: ["" : 17]>
scale <by> (v) => (w)
{
   u = Constant <value_float: float = @by> ()
   w = Mul (v, u)
}
"""


def feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(2, 4)),
        "i": np.array([0, 1]),
        "c": np.array(True),
    }


def test_everything_becomes_double() -> None:
    model = ir.from_onnx_text(TEXT)
    lifted = lift_to_float64(model)
    assert [v.dtype for v in lifted.graph.inputs] == [
        ir.DataType.DOUBLE,
        ir.DataType.INT64,
        ir.DataType.BOOL,
    ]
    assert lifted.graph.outputs[0].dtype == ir.DataType.DOUBLE
    for graph in (lifted.graph, *lifted.graph.subgraphs()):
        for value in graph.initializers.values():
            assert value.const_value is not None
            assert value.dtype == value.const_value.dtype
            assert value.dtype not in LIFTED
        for node in graph:
            for key, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.TENSOR:
                    assert attribute.as_tensor().dtype not in LIFTED
                if node.op_type == "Cast" and key == "to":
                    assert ir.DataType(attribute.as_int()) not in LIFTED
                assert not (node.op_type == "Constant" and key.startswith("value_float"))


def test_names_stay_and_the_original_is_untouched() -> None:
    model = ir.from_onnx_text(TEXT)
    before = ir.to_proto(model).SerializeToString()
    lifted = lift_to_float64(model)
    assert ir.to_proto(model).SerializeToString() == before
    names = [[v.name for node in m.graph for v in node.outputs] for m in (model, lifted)]
    assert names[0] == names[1]
    assert set(model.graph.initializers) == set(lifted.graph.initializers)


def test_the_lifted_model_runs_in_onnx_reference_and_equals_our_evaluation() -> None:
    model = ir.from_onnx_text(TEXT)
    # onnx.reference takes a function's value_float for float32: leave the function out there.
    plain = ir.from_onnx_text(TEXT.replace("local.scale <by: float = 0.3>", "Identity"))
    theirs = ReferenceEvaluator(ir.to_proto(lift_to_float64(plain))).run(None, feeds())
    assert theirs[0].dtype == np.float64
    ours = Float64Model(plain).run(feeds())
    np.testing.assert_allclose(ours["y"], theirs[0], rtol=1e-15)
    np.testing.assert_array_equal(ours["s"], [2, 4])
    whole = Float64Model(model).run(feeds())
    np.testing.assert_allclose(whole["y"], ours["y"] * np.float64(np.float32(0.3)), rtol=1e-15)
    lifted = Float64Model(lift_to_float64(model)).run(feeds())
    np.testing.assert_array_equal(lifted["y"], whole["y"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_lifted_families_run_in_onnx_reference(family: str, dtype: type) -> None:
    """onnx.reference refuses mixed types, so a type left behind would raise."""
    model = FAMILIES[family](0, dtype=dtype).folded
    lifted = ir.to_proto(lift_to_float64(model))
    shape = [d.dim_value or 2 for d in lifted.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=shape)
    (theirs,) = ReferenceEvaluator(lifted).run(None, {"x": x})
    assert theirs.dtype == np.float64
    np.testing.assert_allclose(theirs, Float64Model(model).run({"x": x})["y"], rtol=1e-12)


def test_weights_are_converted_when_they_are_read() -> None:
    lifted = lift_to_float64(mlp(0).original)
    tensor = lifted.graph.initializers["W0"].const_value
    assert isinstance(tensor, ir.LazyTensor)
    assert tensor.numpy().dtype == np.float64
    exact = mlp(0).original.graph.initializers["W0"].const_value
    assert exact is not None
    np.testing.assert_array_equal(tensor.numpy(), exact.numpy())


@pytest.mark.parametrize(
    "body",
    [
        "y = RandomNormalLike (x)",
        "r = Bernoulli (x)  y = Identity (r)",
        "y = If (c) <then_branch = a () => (float[2] p) { p = RandomUniformLike (x) },"
        " else_branch = b () => (float[2] q) { q = Identity (x) }>",
    ],
)
def test_random_ops_are_not_lifted(body: str) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> m (float[2] x, bool c) => (float[2] y) {%s}'
    model = ir.from_onnx_text(text % body)
    assert "draws random numbers" in random_op(model)
    with pytest.raises(NotLiftableError, match="no two runs can be compared"):
        lift_to_float64(model)


def test_ordinary_models_hold_nothing_random() -> None:
    assert random_op(mlp(0).original) == ""
