"""The verdict: right folds pass, wrong ones fail, whoever made them; and it says what it saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bnfold.core.errors import InputError
from bnfold.verify.codes import Fault
from bnfold.verify.compare import verify_models
from bnfold.verify.inputs import generate_inputs, load_inputs
from bnfold.verify.lift import lift_to_float64
from bnfold.verify.mutate import is_below_noise
from bnfold.verify.runtime import Session
from bnfold.verify.types import Check, CheckKind, Status, Verification
from tests.verify.pairs import FAMILIES, FAULTS, Graph, Pair, conv, forward, mlp

SEEDS = range(25)


def verify(pair: Pair, **options: object) -> Verification:
    lifted = (lift_to_float64(pair.original), pair.exact)
    return verify_models(pair.original, pair.folded, lifted=lifted, **options)  # type: ignore[arg-type]


def stranger(pair: Pair, **options: object) -> Verification:
    """The pair as if nothing were known of how it came about, and nothing could be proved."""
    return verify_models(pair.original, pair.folded, prove=False, **options)  # type: ignore[arg-type]


def codes(result: Verification) -> set[str]:
    return {check.code for check in result.checks if check.status is Status.FAILED}


def check_of(result: Verification, kind: CheckKind, status: Status | None = None) -> Check:
    return next(
        c for c in result.checks if c.kind is kind and (status is None or c.status is status)
    )


# ------------------------------------------------------------------ right folds


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_right_folds_pass(family: str, seed: int) -> None:
    result = verify(FAMILIES[family](seed), seed=seed, samples=24)
    assert result.passed, [c for c in result.checks if c.status is Status.FAILED]
    assert result.samples == 24
    assert result.difference == "" and result.counterexample is None


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("family", FAMILIES)
def test_right_folds_in_half_precision_pass(family: str, seed: int) -> None:
    result = verify(FAMILIES[family](seed, dtype=np.float16), seed=seed, samples=24)
    assert result.passed, [c for c in result.checks if c.status is Status.FAILED]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_strangers_right_fold_passes(family: str, seed: int) -> None:
    assert stranger(FAMILIES[family](seed), seed=seed, samples=24).passed


def test_every_question_is_asked_of_our_own_fold() -> None:
    result = verify(mlp(3))
    passed = [check.kind for check in result.checks if check.status is Status.PASSED]
    assert set(passed) == set(CheckKind) - {CheckKind.KERAS, CheckKind.CERTIFICATE}
    assert passed.count(CheckKind.ALGEBRA) >= 2
    for check in result.checks:
        if check.figure is not None:
            assert check.bound is not None and check.figure <= check.bound
            assert check.unit and check.detail


def test_a_model_equals_itself() -> None:
    model = mlp(5).original
    result = verify_models(model, model.clone())
    assert result.passed
    output = result.outputs[0]
    assert output.max_abs == 0 and output.ulp_max == 0 and output.argmax_agreement == 1.0


def test_figures_of_each_output() -> None:
    (output,) = verify(mlp(3)).outputs
    assert output.name == "y"
    assert output.rmse_original is not None and output.rmse_folded is not None
    assert output.bound is not None and output.rmse_folded <= output.bound
    assert output.ratio == pytest.approx(output.rmse_folded / output.rmse_original)
    assert 0.3 < output.ratio < 3
    assert 0 < output.max_abs < 1e-5 and output.where.startswith("[")
    assert output.ulp_median is not None and output.ulp_99 is not None
    assert output.ulp_max is not None and output.ulp_median <= output.ulp_99 <= output.ulp_max
    assert output.passed and "float64" not in output.bound_source
    assert output.size == pytest.approx(0.14, rel=0.5)


def test_the_seed_decides_the_inputs() -> None:
    first, again, other = (verify(mlp(3), seed=s).outputs[0].max_abs for s in (1, 1, 2))
    assert first == again != other


# ------------------------------------------------------------------ wrong folds


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_planted_bugs_are_caught(family: str, fault: str, seed: int) -> None:
    pair = FAMILIES[family](seed, fault=fault)
    ours, theirs = verify(pair, seed=seed, samples=24), stranger(pair, seed=seed, samples=24)
    assert not ours.passed
    assert codes(ours) & {Fault.ALGEBRA.code, Fault.REFUTED.code}
    if theirs.passed:  # a channel that no input wakes shows nothing
        right = FAMILIES[family](seed).folded
        feeds = generate_inputs(pair.original, seed=seed, samples=24)
        assert fault == "column" and is_below_noise(right, pair.folded, feeds)
    else:
        assert codes(theirs) & {Fault.ALGEBRA.code, Fault.CONSTANTS.code}


@pytest.mark.parametrize("fault", [f for f in FAULTS if f != "relu"])
def test_the_first_op_that_differs_is_named(fault: str) -> None:
    for seed in (0, 1, 3):
        result = stranger(mlp(seed, fault=fault))
        assert "'h0' still equals" in result.difference
        assert "'gemm_n1' (Gemm)" in result.difference


def test_constants_that_were_not_written_fail_although_the_plan_was_right() -> None:
    right, wrong = mlp(1), mlp(1, fault="column")
    mixed = Pair(right.original, wrong.folded, right.exact)
    result = verify(mixed)
    assert Fault.CONSTANTS.code in codes(result)
    assert Fault.ALGEBRA.code not in codes(result)


def test_a_wrong_plan_fails_although_the_stored_constants_are_right() -> None:
    right, wrong = mlp(1), mlp(1, fault="epsilon")
    result = verify(Pair(right.original, right.folded, wrong.exact), prove=False)
    assert codes(result) == {Fault.ALGEBRA.code, Fault.WEIGHTS.code}


def test_one_class_named_wrongly_beyond_the_margin_fails() -> None:
    assert Fault.ARGMAX.code in codes(stranger(mlp(0, fault="shift")))


def test_a_lost_number_fails() -> None:
    for value, fault in ((np.nan, Fault.NOT_A_NUMBER), (np.inf, Fault.INFINITE)):
        pair = mlp(2, softmax=False)
        array = pair.folded.graph.initializers["B2"].const_value.numpy().copy()
        array[3] = value
        pair.folded.graph.initializers["B2"].const_value = ir.Tensor(array, name="B2")
        result = stranger(pair)
        assert fault.code in codes(result)


def test_results_of_another_shape_fail() -> None:
    def model(shape: list[int]) -> ir.Model:
        graph = Graph()
        graph.weights["shape"] = np.array(shape, dtype=np.int64)
        graph.op("Reshape", "x", "shape", to="y")
        return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["A", "B"]})

    result = verify_models(model([-1, 4]), model([-1, 2]), prove=False)
    assert codes(result) == {Fault.RUN_SHAPE.code}


def test_a_candidate_that_does_not_run_fails() -> None:
    pair = mlp(1)
    broken = pair.folded.clone()
    array = np.zeros((7, 24), dtype=np.float32)
    broken.graph.initializers["W1"].const_value = ir.Tensor(array, name="W1")
    broken.graph.initializers["W1"].shape = ir.Shape(array.shape)
    result = verify_models(pair.original, broken, prove=False)
    assert codes(result) == {Fault.DOES_NOT_RUN.code}


def test_differing_interfaces_end_the_verification() -> None:
    pair = mlp(1)
    renamed = pair.folded.clone()
    renamed.graph.outputs[0].name = "z"
    result = verify_models(pair.original, renamed)
    assert codes(result) == {Fault.RENAMED_OUTPUT.code}
    assert all(c.status is Status.SKIPPED for c in result.checks if not c.code)
    assert not result.passed


def test_half_precision_faults_above_the_noise_are_caught() -> None:
    for fault in ("shift", "axis", "channels"):
        assert not stranger(mlp(1, dtype=np.float16, fault=fault)).passed


def test_baking_in_what_callers_may_override_fails_unless_it_was_allowed() -> None:
    pair = mlp(1)
    for model in (pair.original, pair.folded):
        model.graph.inputs.append(model.graph.initializers["W1"])
    assert not stranger(pair).passed
    assert stranger(pair, overrides=False).passed
    same = pair.original.clone()
    assert verify_models(pair.original, same, prove=False).passed


# ------------------------------------------------------------------ what is said


def test_the_offending_inputs_are_saved_and_show_the_fault_again(tmp_path: Path) -> None:
    pair = conv(1, fault="shift")
    result = stranger(pair, counterexample=tmp_path / "offending")
    assert result.counterexample == tmp_path / "offending.npz"
    (feed,) = load_inputs(result.counterexample, pair.original)
    assert feed["x"].dtype == np.float32
    again = stranger(pair, inputs=result.counterexample)
    assert codes(again) == codes(result)
    assert again.samples == feed["x"].shape[0]


def test_a_right_fold_saves_nothing(tmp_path: Path) -> None:
    assert verify(mlp(1), counterexample=tmp_path / "never.npz").counterexample is None
    assert list(tmp_path.iterdir()) == []


def test_the_strength_is_what_a_planted_error_shows() -> None:
    """An error somewhat above the stated one fails, for the column where it says so."""
    pair = mlp(3, softmax=False)
    strength = stranger(pair).strength
    assert strength is not None and strength.column_error is not None
    assert strength.kernels == 3 and strength.columns == 6
    assert 1e-8 < strength.column_error < 1e-4
    assert 0 < strength.both_signs <= strength.activation_channels == 48
    kernel = pair.folded.graph.initializers["W1"]
    array = kernel.const_value.numpy().copy()
    column = int(np.argmax(np.abs(array).sum(axis=0)))
    array[:, column] *= np.float32(1 + max(4e-6, 4 * strength.column_error))
    kernel.const_value = ir.Tensor(array, name="W1")
    assert not stranger(pair).passed


def test_a_short_budget_is_kept_and_said() -> None:
    result = stranger(mlp(1), samples=4000, budget_seconds=0.3)
    assert result.passed
    assert result.seconds < 3
    assert 0 < result.samples < 4000
    assert any("within the time budget" in note for note in result.notes)


def test_inputs_that_cannot_be_used_are_an_error() -> None:
    with pytest.raises(InputError, match="no input 'z'"):
        stranger(mlp(1), inputs={"x": np.zeros((1, 20), np.float32), "z": np.zeros(1)})


def test_given_inputs_are_used_as_they_are() -> None:
    pair = mlp(1)
    x = np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32)
    result = stranger(pair, inputs={"x": x})
    assert result.samples == 5
    expected = np.abs(
        Session(pair.original).run({"x": x})["y"] - Session(pair.folded).run({"x": x})["y"]
    )
    assert result.outputs[0].max_abs == float(expected.max())


# ------------------------------------------------------------------ Keras


def keras_of(model: ir.Model):  # type: ignore[no-untyped-def]
    session = Session(model, optimize=False)
    return lambda arrays: [session.run({"x": arrays[0]})["y"]]


def test_keras_itself_is_compared_with() -> None:
    pair = mlp(1)
    result = verify(pair, reference=keras_of(pair.original))
    assert check_of(result, CheckKind.KERAS).status is Status.PASSED


def test_a_conversion_that_differs_from_keras_is_blamed() -> None:
    """The same fold of another net: both ONNX models agree, and Keras disagrees with both."""
    pair, other = mlp(1), mlp(1, fault="epsilon")
    result = verify(pair, reference=keras_of(other.folded))
    check = check_of(result, CheckKind.KERAS)
    assert check.code == Fault.KERAS.code
    assert "the conversion is wrong, not the fold" in check.detail


def test_a_fold_that_differs_from_keras_is_blamed() -> None:
    pair = mlp(1, fault="epsilon")
    check = check_of(verify(pair, reference=keras_of(pair.original)), CheckKind.KERAS)
    assert check.code == Fault.KERAS.code
    assert "so the fold is wrong" in check.detail


def test_keras_that_does_not_run_is_skipped_with_the_reason() -> None:
    def broken(arrays: list[np.ndarray]) -> list[np.ndarray]:
        raise RuntimeError("no such layer")

    check = check_of(verify(mlp(1), reference=broken), CheckKind.KERAS)
    assert check.status is Status.SKIPPED and "no such layer" in check.detail


# ------------------------------------------------------------------ awkward models


def test_random_models_are_not_compared() -> None:
    def model() -> ir.Model:
        graph = Graph()
        graph.op("RandomNormalLike", "x", to="r")
        graph.op("Add", "x", "r", to="y")
        return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})

    result = verify_models(model(), model(), prove=False)
    assert not result.passed  # nothing was shown
    assert not codes(result)
    assert "draws random numbers" in check_of(result, CheckKind.END_TO_END).detail


def test_a_model_that_onnxruntime_lacks_kernels_for_is_still_compared() -> None:
    """There is no float64 Conv in onnxruntime's CPU provider."""
    result = stranger(conv(1, dtype=np.float64))
    assert result.passed
    assert any("onnxruntime does not load the original" in note for note in result.notes)
    assert check_of(result, CheckKind.END_TO_END).status is Status.PASSED
    assert not stranger(conv(1, dtype=np.float64, fault="epsilon")).passed


def test_an_op_of_the_runtime_alone_does_not_stop_the_check() -> None:
    def model(scale: float) -> ir.Model:
        graph = Graph()
        graph.weight("s", np.linspace(0.5, 2, 4) * np.array([1, scale, 1, 1]), np.float32)
        graph.weight("gamma", np.array([1.0, -2.0, 0.5, 1.5]), np.float32)
        graph.op("Mul", "x", "s", to="m")
        graph.op("SkipLayerNormalization", "m", "x", "gamma", to="y", domain="com.microsoft")
        made = graph.model(np.float32, {"x": ["N", 2, 4]}, {"y": ["N", 2, 4]})
        made.graph.opset_imports["com.microsoft"] = 1
        return made

    right = verify_models(model(1), model(1), prove=False)
    assert right.passed
    assert any("Known to onnxruntime alone" in note for note in right.notes)
    assert not verify_models(model(1), model(1 + 1e-4), prove=False).passed


def test_integer_results_are_compared_exactly() -> None:
    def model(sign: float) -> ir.Model:
        graph = Graph()
        graph.weight("W", sign * np.random.default_rng(0).normal(size=(6, 5)), np.float32)
        graph.op("MatMul", "x", "W", to="m")
        graph.op("ArgMax", "m", to="y", axis=1, keepdims=0)
        made = graph.model(np.float32, {"x": ["N", 6]}, {"y": ["N"]})
        made.graph.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        return made

    assert verify_models(model(1), model(1), prove=False).passed
    result = verify_models(model(1), model(-1), prove=False)
    assert not result.passed
    assert codes(result) == {Fault.DISCRETE.code}
    assert check_of(result, CheckKind.ALGEBRA).unit == "share of elements"


def test_an_output_of_zeros_is_no_reason_to_fail() -> None:
    """RELU of something negative everywhere: sizes and bounds are zero."""

    def model() -> ir.Model:
        graph = Graph()
        graph.weight("b", np.full(4, -1e6), np.float32)
        graph.op("Add", "x", "b", to="a")
        graph.op("Relu", "a", to="y")
        return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})

    assert verify_models(model(), model(), prove=False).passed


def test_forward_fold_of_an_input_normalizer_draws_from_its_statistics() -> None:
    result = stranger(forward(3))
    assert result.passed and result.strength is not None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["conv"])
def test_onnxruntimes_own_folds_pass(family: str, seed: int, tmp_path: Path) -> None:
    """A stranger that computes its constants in float32, not in float64."""
    original = FAMILIES[family](seed).original
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(ir.to_proto(original).SerializeToString(), options)
    candidate = ir.load(tmp_path / "optimized.onnx")
    assert "BatchNormalization" not in {node.op_type for node in candidate.graph}
    result = stranger(Pair(original, candidate, candidate), seed=seed)
    assert result.passed, [c for c in result.checks if c.status is Status.FAILED]
    channels = [c for c in result.checks if c.kind is CheckKind.LOCAL][1]
    assert channels.figure is not None and channels.figure > 0.05
