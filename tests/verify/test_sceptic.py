"""What someone who does not believe the verifier would try on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from bnfold.core.errors import InputError
from bnfold.verify.compare import verify_models
from bnfold.verify.types import CheckKind, Status, Verification

RNG = np.random.default_rng(0)
GEMM = "(float[N, 5] x) => (float[N, 4] y) { g = Gemm(x, W, b) y = Tanh(g) }"
WEIGHTS = {"W": RNG.normal(size=(5, 4)).astype(np.float32), "b": np.ones(4, np.float32)}


def model(text: str, **weights: Any) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net {text}')
    for name, value in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def codes(result: Verification) -> set[str]:
    return {check.code for check in result.checks if check.status is Status.FAILED}


def test_a_number_where_the_reference_has_none_fails() -> None:
    reference = model("(float[N, 5] x) => (float[N, 5] y) { y = Log(x) }")
    hiding = model("(float[N, 5] x) => (float[N, 5] y) { a = Abs(x) y = Log(a) }")
    assert "BNV140" in codes(verify_models(reference, hiding, samples=8, prove=False))
    same = verify_models(reference, reference, samples=8, prove=False)
    assert same.passed and codes(same) == set()


def test_the_inputs_that_show_it_are_saved(tmp_path: Path) -> None:
    reference = model("(float[N, 5] x) => (float[N, 5] y) { y = Log(x) }")
    hiding = model("(float[N, 5] x) => (float[N, 5] y) { a = Abs(x) y = Log(a) }")
    result = verify_models(reference, hiding, samples=8, counterexample=tmp_path / "x.npz")
    assert result.counterexample is not None
    again = verify_models(reference, hiding, inputs=result.counterexample, prove=False)
    assert codes(again) == {"BNV140"}


def test_what_is_on_the_verge_of_being_defined_is_no_fault() -> None:
    """sqrt(x * c - x * c'), zero but for rounding, is NaN or 0 as the rounding falls."""
    text = "(float[N, 5] x) => (float[N, 5] y) {{ {} r = Sub(s, x) y = Sqrt(r) }}"
    factors = {"c": np.float32(3), "d": np.float32(1 / 3)}
    reference = model(text.format("a = Mul(x, c) s = Mul(a, d)"), **factors)
    other = model(text.format("a = Mul(x, d) s = Mul(a, c)"), **factors)
    assert "BNV140" not in codes(verify_models(reference, other, samples=8, prove=False))


def test_a_coarser_type_is_not_excused_by_its_own_rounding() -> None:
    half = {name: value.astype(np.float16) for name, value in WEIGHTS.items()}
    coarse = model(
        "(float[N, 5] x) => (float[N, 4] y) "
        "{ h = Cast<to = 10>(x) g = Gemm(h, W, b) t = Cast<to = 1>(g) y = Tanh(t) }",
        **half,
    )
    result = verify_models(model(GEMM, **WEIGHTS), coarse, samples=12)
    assert not result.passed
    assert codes(result) & {"BNV123", "BNV136", "BNV122"}


def test_a_finer_type_passes() -> None:
    """The other way round: the candidate computes in float64 what the reference does in float32."""
    fine = {name: value.astype(np.float64) for name, value in WEIGHTS.items()}
    finer = model(
        "(float[N, 5] x) => (float[N, 4] y) "
        "{ h = Cast<to = 11>(x) g = Gemm(h, W, b) t = Cast<to = 1>(g) y = Tanh(t) }",
        **fine,
    )
    assert verify_models(model(GEMM, **WEIGHTS), finer, samples=12).passed


def test_an_output_that_no_input_reaches() -> None:
    value = np.ones(2, np.float32)
    one = model("() => (float[2] y) { y = Identity(c) }", c=value)
    two = model("() => (float[2] y) { z = Identity(c) y = Identity(z) }", c=value)
    assert verify_models(one, two).passed
    other = model("() => (float[2] y) { z = Identity(c) y = Identity(z) }", c=value * 2)
    assert not verify_models(one, other).passed


def test_a_discrete_output_says_how_seldom_a_fault_may_be() -> None:
    text = "(float[N, 5] x) => (int64[N, 1] y) { g = Gemm(x, W, b) y = ArgMax<axis = 1>(g) }"
    one = model(text, **WEIGHTS)
    other = model(text, W=WEIGHTS["W"] * np.float32(1.7), b=WEIGHTS["b"] * np.float32(1.7))
    result = verify_models(one, other, samples=30, prove=False)
    assert result.passed
    assert any("fewer than 1 in 10 differ" in note for note in result.notes)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((3, 6), np.float32), "[3, 6]"),
        (np.ones(5, np.float32), "[5]"),
        (np.full((3, 5), 0.1), "float64"),
        (np.ones((3, 5), bool), "bool"),
        (np.ones((3, 5), np.int64), "int64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(array: np.ndarray, words: str) -> None:
    one = model(GEMM, **WEIGHTS)
    with pytest.raises(InputError) as caught:
        verify_models(one, one, inputs={"x": array})
    assert "'x'" in str(caught.value) and words in str(caught.value)


def test_inputs_in_a_wider_type_are_taken_where_no_value_changes() -> None:
    one = model(GEMM, **WEIGHTS)
    given = np.array([[0, 1, 255, np.nan, -np.inf]])
    result = verify_models(one, one, inputs={"x": given}, prove=False)
    assert result.samples == 1 and not codes(result)


def test_no_blame_where_nothing_can_be_shown() -> None:
    """Where rounding alone moves the output by its own size, Keras's other result says nothing."""
    reference = model(
        "(float[N, 5] x) => (float[N, 4] y) { g = Gemm(x, W, b) h = Mul(g, c) y = Sin(h) }",
        **WEIGHTS,
        c=np.float32(1e8),
    )

    def keras(arrays: list[np.ndarray]) -> list[np.ndarray]:
        product = (arrays[0].astype(np.float64) @ WEIGHTS["W"] + 1.0).astype(np.float32)
        return [np.sin(product * np.float32(1e8))]

    result = verify_models(reference, reference, samples=8, reference=keras)
    (check,) = (one for one in result.checks if one.kind is CheckKind.KERAS)
    assert check.status is Status.SKIPPED and "nothing can be shown" in check.detail
    assert "wrong" not in check.detail
