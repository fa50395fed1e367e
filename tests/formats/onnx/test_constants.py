"""What counts as constant, and with which digits it is computed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnfold.formats.onnx.constants import OnnxConstants
from tests.formats.onnx.support.build import Typed, Weight, model


def _constants(nodes: str, **weights: Weight) -> OnnxConstants:
    proto = model(f"{nodes}  y = Relu(x)", "float[2] x", dtype="float", **weights)
    constants = OnnxConstants(8)
    constants.add_graph(ir.from_proto(proto).graph)
    return constants


def test_a_subexpression_is_computed_in_float64_for_the_algebra() -> None:
    given = np.array([2.0, 3.0, 0.1], dtype=np.float32)
    constants = _constants("r = Sqrt(v)  s = Reciprocal(r)", v=given)
    wide = constants.value("s")
    assert wide is not None
    np.testing.assert_allclose(wide, 1 / np.sqrt(given.astype(np.float64)), rtol=1e-15)


def test_and_in_its_own_type_for_what_is_written() -> None:
    constants = _constants("r = Sqrt(v)", v=np.array([2.0, 3.0]))
    own = constants.array("r")
    assert own is not None
    assert own.dtype == np.float32
    np.testing.assert_array_equal(own, np.sqrt(np.array([2, 3], dtype=np.float32)))


def test_a_cast_rounds_nothing_for_the_algebra() -> None:
    given = np.array([1 / 3, 2 / 3])
    constants = _constants("h = Cast<to=10>(v)  f = Cast<to=1>(h)", v=Typed("double", given))
    np.testing.assert_array_equal(constants.value("f"), given)
    own = constants.array("f")
    assert own is not None
    assert own.dtype == np.float32
    np.testing.assert_array_equal(own, given.astype(np.float16).astype(np.float32))


def test_integers_cast_to_floats_are_floats() -> None:
    constants = _constants("f = Cast<to=1>(i)  g = Mul(f, f)", i=[1, 2, 3])
    np.testing.assert_array_equal(constants.value("g"), [1.0, 4.0, 9.0])


def test_integers_are_no_parameters() -> None:
    assert _constants("j = Identity(i)", i=[1, 2]).value("j") is None


def test_an_op_that_the_reference_gets_wrong_is_not_evaluated() -> None:
    constants = _constants(
        "b = BatchNormalization(w, g, g, g, g)", w=(1, 2, 3), g=np.array([1.0, 2.0])
    )
    assert not constants.is_known("b")
    assert constants.array("b") is None


def test_a_dequantized_weight_is_known_but_not_editable() -> None:
    constants = _constants(
        "d = DequantizeLinear(q, s)", q=np.array([[1, -2]], dtype=np.int8), s=0.1
    )
    assert constants.is_known("d")
    assert not constants.is_constant("d")
    np.testing.assert_allclose(constants.value("d"), [[0.1, -0.2]], rtol=1e-7)
