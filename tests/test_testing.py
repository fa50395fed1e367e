"""The assertions for users' own tests: they hold when they should and say why when they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.core.errors import InputError
from bnfold.testing import assert_equivalent, assert_folded
from tests.verify.pairs import Graph, conv, mlp


def save(model: ir.Model, path: Path) -> Path:
    onnx.save(ir.to_proto(model), path)
    return path


def message(error: pytest.ExceptionInfo[AssertionError]) -> str:
    return str(error.value)


def test_equivalent_models_pass_and_give_their_figures(tmp_path: Path) -> None:
    pair = mlp(1)
    result = assert_equivalent(save(pair.original, tmp_path / "a.onnx"), pair.folded, samples=16)
    assert result.passed and result.samples == 16
    assert_equivalent(ir.to_proto(pair.original), ir.to_proto(pair.folded), samples=8)


def test_a_difference_is_explained(tmp_path: Path) -> None:
    pair = mlp(1, fault="epsilon")
    reference = save(pair.original, tmp_path / "reference.onnx")
    candidate = save(pair.folded, tmp_path / "candidate.onnx")
    with pytest.raises(AssertionError) as error:
        assert_equivalent(reference, candidate, seed=3, counterexample=tmp_path / "bad.npz")
    text = message(error)
    first = text.splitlines()[0]
    assert f"{candidate} and {reference} do not compute the same" in first
    assert "BNV122 algebra at output y" in text and " > " in text
    assert "The rewriting is wrong, not merely inexact" in text
    assert "'h0' still equals the original's" in text and "'gemm_n1' (Gemm)" in text
    assert "Output 'y' differs by at most" in text
    assert "seed 3" in text and str(tmp_path / "bad.npz") in text
    again = f"bnfold verify {reference} {candidate} --inputs {tmp_path / 'bad.npz'}"
    assert text.endswith(f"To see it again: {again}")
    inputs = np.load(tmp_path / "bad.npz")
    with pytest.raises(AssertionError):
        assert_equivalent(reference, candidate, inputs=dict(inputs))


def test_a_changed_interface_is_explained() -> None:
    pair = mlp(1)
    pair.folded.graph.outputs[0].name = "scores"
    with pytest.raises(
        AssertionError, match="BNV103 interface at y; output 'y' is called 'scores'"
    ):
        assert_equivalent(pair.original, pair.folded)


def test_nothing_shown_is_no_pass() -> None:
    def model() -> ir.Model:
        graph = Graph()
        graph.op("RandomNormalLike", "x", to="y")
        return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})

    other = model()
    other.graph.node(0).name = "renamed"
    with pytest.raises(AssertionError) as error:
        assert_equivalent(model(), other)
    assert "Nothing could be shown" in message(error)
    assert "draws random numbers" in message(error)


def test_unusable_input_is_no_assertion(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"")
    with pytest.raises(InputError):
        assert_equivalent(tmp_path / "no.onnx", mlp(1).folded)
    with pytest.raises(InputError):
        assert_folded(tmp_path / "missing.onnx")


def test_a_folded_model_holds_nothing_to_fold(tmp_path: Path) -> None:
    assert_folded(mlp(1).folded, max_remaining=0)
    assert_folded(save(conv(1).folded, tmp_path / "m.onnx"), max_remaining=0)


def test_what_could_be_folded_is_named(tmp_path: Path) -> None:
    path = save(mlp(1).original, tmp_path / "model.onnx")
    with pytest.raises(AssertionError) as error:
        assert_folded(path)
    lines = message(error).splitlines()
    assert lines[0] == f"{path} holds 3 affines that can be folded:"
    assert lines[1].startswith(
        "  batchnormalization_n0 (BatchNormalization, 24 channels) into gemm_d0"
    )
    assert "bnfold MODEL -o OUT" in lines[-1]


def stuck() -> ir.Model:
    """A normalization between two activations: no kernel on either side."""
    graph = Graph()
    for name in ("gamma", "beta", "mean", "variance"):
        graph.weight(name, np.full(4, 0.5), np.float32)
    graph.op("Sigmoid", "x", to="a")
    graph.op("BatchNormalization", "a", "gamma", "beta", "mean", "variance", to="b")
    graph.op("Sigmoid", "b", to="y")
    return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})


def test_what_must_stay_counts_only_when_it_is_limited() -> None:
    assert_folded(stuck())
    assert_folded(stuck(), max_remaining=1)
    with pytest.raises(AssertionError) as error:
        assert_folded(stuck(), max_remaining=0)
    text = message(error)
    assert "1 affine is left in the Model 'graph', more than 0:" in text
    assert "batchnormalization_b (BatchNormalization): BNF204 activation at sigmoid_" in text
    assert_folded(stuck(), max_remaining=0, allow={"BNF204"})


def test_a_code_that_does_not_exist_is_no_permission() -> None:
    with pytest.raises(InputError, match=r"'BNF2O4' \(did you mean BNF204\?\)"):
        assert_folded(stuck(), allow=["BNF2O4"])
