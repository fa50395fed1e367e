"""`bnfold.fold` and its result, on ONNX models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold import api, folding
from bnfold.core.diagnostics import Reason
from bnfold.core.errors import InputError, OutputError, VerificationError
from bnfold.report.model import Outcome, ReportKind
from bnfold.report.render import render
from tests.cli.conftest import dense_bn
from tests.conftest import SAMPLE_MODELS
from tests.report import samples


def run_onnx(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a model in onnxruntime, its own optimizations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feed))


def with_verdict(monkeypatch: pytest.MonkeyPatch, verification: object) -> None:
    monkeypatch.setattr(folding, "verify_opened", lambda *_, **__: verification)


@pytest.mark.parametrize("kind", ["path", "proto", "ir"])
def test_the_affine_is_gone_and_the_outputs_stay(
    kind: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    proto = dense_bn(rng)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    before = proto.SerializeToString()
    live = ir.from_proto(proto)
    result = bnfold.fold({"path": path, "proto": proto, "ir": live}[kind])
    assert [fold.source for fold in result.folds] == ["bn"]
    assert result.kept == ()
    assert result.verification is not None
    assert result.verification.passed
    assert result.benchmark is None
    folded = result.to_proto()
    assert "BatchNormalization" not in [node.op_type for node in folded.graph.node]
    # Large inputs, so that both signs and near ties occur.
    feed = {"x": rng.normal(size=(64, 5)).astype(np.float32) * 3}
    np.testing.assert_allclose(run_onnx(folded, feed)[0], run_onnx(proto, feed)[0], atol=2e-6)
    # What went in is as it was.
    assert proto.SerializeToString() == before
    assert (
        ir.to_proto(live).SerializeToString()
        == ir.to_proto(ir.from_proto(proto)).SerializeToString()
    )
    assert path.read_bytes() == before


def test_the_autoencoder_folds_without_keras(rng: np.random.Generator) -> None:
    path = SAMPLE_MODELS / "autoencoder.onnx"
    result = bnfold.fold(path)
    assert len(result.folds) == 5
    assert result.kept == ()
    proto, original = result.to_proto(), onnx.load(path)
    assert {node.op_type for node in proto.graph.node} == {"Gemm", "Relu"}
    feed = {original.graph.input[0].name: rng.uniform(size=(32, 196)).astype(np.float32)}
    np.testing.assert_allclose(
        run_onnx(proto, feed)[0], run_onnx(original, feed)[0], rtol=0, atol=1e-5
    )


def test_what_stays_says_why_in_both_directions(rng: np.random.Generator) -> None:
    result = bnfold.fold(dense_bn(rng, elu_between=True))
    assert result.folds == ()
    (kept,) = result.kept
    assert kept.source == "bn"
    assert {refusal.op for refusal in kept.refusals} == {"act", "softmax"}
    assert Reason.ACTIVATION in {refusal.reason for refusal in kept.refusals}


def test_folding_again_changes_nothing_and_two_runs_write_the_same(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    proto = dense_bn(rng)
    bnfold.fold(proto).save(tmp_path / "one.onnx")
    bnfold.fold(proto).save(tmp_path / "two.onnx")
    again = bnfold.fold(tmp_path / "one.onnx")
    again.save(tmp_path / "again.onnx")
    first = (tmp_path / "one.onnx").read_bytes()
    assert (again.folds, again.kept) == ((), ())
    assert (tmp_path / "two.onnx").read_bytes() == first
    assert (tmp_path / "again.onnx").read_bytes() == first


def test_saving_refuses_what_exists_unless_forced(tmp_path: Path, rng: np.random.Generator) -> None:
    result = bnfold.fold(dense_bn(rng), verify=False)
    path = tmp_path / "out.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        result.save(path)
    assert path.read_bytes() == b"precious"
    result.save(str(path), force=True)
    onnx.checker.check_model(onnx.load(path))


def test_a_failed_verification_withholds_the_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    with_verdict(monkeypatch, samples.FAILING)
    with pytest.raises(VerificationError, match=r"NOT equivalent.*BNV301.*2\.5 > 1\.2") as raised:
        bnfold.fold(dense_bn(rng))
    assert raised.value.verification is samples.FAILING
    result = api.attempt(dense_bn(rng))
    assert result.verification is samples.FAILING
    for refused in (result.to_proto, lambda: result.save(tmp_path / "x.onnx")):
        with pytest.raises(VerificationError):
            refused()
    assert list(tmp_path.iterdir()) == []
    assert not result.report.passed


def test_a_failed_verification_is_not_followed_by_a_benchmark(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    def measured(*_: object, **__: object) -> None:
        raise AssertionError("measured a wrong model")

    with_verdict(monkeypatch, samples.FAILING)
    monkeypatch.setattr(folding, "benchmark_opened", measured)
    assert api.attempt(dense_bn(rng), benchmark=True).benchmark is None


def test_where_no_check_could_run_the_model_is_withheld_too(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    with_verdict(monkeypatch, dataclasses.replace(samples.PASSING, checks=()))
    with pytest.raises(VerificationError, match="no check could run"):
        bnfold.fold(dense_bn(rng))


def test_a_planted_fault_is_caught(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """The whole road notices a folder that loses a part of the shift."""
    from bnfold.formats.onnx import fold as module

    honest = module.fold_model

    def faulty(*args: object, **kwargs: object) -> module.OnnxFold:
        result = honest(*args, **kwargs)  # type: ignore[arg-type]
        for value in result.model.graph.initializers.values():
            assert value.const_value is not None
            array = value.const_value.numpy().copy()
            if array.ndim == 1:
                array[0] += 0.01
                value.const_value = ir.tensor(array, name=value.name)
        return result

    monkeypatch.setattr(module, "fold_model", faulty)
    with pytest.raises(VerificationError):
        bnfold.fold(dense_bn(rng))


def test_the_report_of_a_result(rng: np.random.Generator, tmp_path: Path) -> None:
    result = bnfold.fold(dense_bn(rng))
    report = result.report
    assert report.kind is ReportKind.FOLD
    assert [(row.name, row.outcome) for row in report.affines] == [("bn", Outcome.FOLDED)]
    assert report.original is not None
    assert report.folded is not None
    assert report.original.nodes == 4
    assert report.original.op_counts["BatchNormalization"] == 1
    assert report.folded.nodes < 4
    result.save(tmp_path / "folded.onnx")
    assert report.folded.bytes == (tmp_path / "folded.onnx").stat().st_size
    assert report.folded.opset == 17
    for form in ("text", "json", "markdown", "junit", "github"):
        assert "bn" in render(report, form)


def test_repr_is_one_readable_line(rng: np.random.Generator) -> None:
    assert repr(bnfold.fold(dense_bn(rng))) == "FoldResult(net: 1 folded, 0 kept, verified)"
    assert "not verified" in repr(bnfold.fold(dense_bn(rng), verify=False))


def test_progress_is_told_in_order(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(folding, "benchmark_opened", lambda *_, **__: samples.BENCHMARK)
    heard: list[str] = []
    result = bnfold.fold(dense_bn(rng), benchmark=True, progress=heard.append)
    assert heard == ["reading", "folding", "verifying", "measuring"]
    assert result.benchmark is samples.BENCHMARK


def test_overridable_initializers_are_folded_only_when_allowed(rng: np.random.Generator) -> None:
    proto = dense_bn(rng)
    shape = [4]
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("gamma", onnx.TensorProto.FLOAT, shape)
    )
    kept = bnfold.fold(proto, verify=False).kept
    assert {refusal.reason for item in kept for refusal in item.refusals} == {
        Reason.OVERRIDABLE_INITIALIZER
    }
    assert bnfold.fold(proto, verify=False, fold_overridable=True).kept == ()


@pytest.mark.parametrize("opset", [17, 19, 21])
def test_an_onnx_source_at_another_opset(opset: int, rng: np.random.Generator) -> None:
    result = bnfold.fold(dense_bn(rng), opset=opset)
    proto = result.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset
    assert len(result.folds) == 1


@pytest.mark.parametrize("opset", [10, 9999])
def test_an_impossible_opset_is_refused(opset: int, rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match=rf"[Oo]pset {opset}"):
        bnfold.fold(dense_bn(rng), opset=opset)


def test_inspect_says_what_fold_would_do(rng: np.random.Generator) -> None:
    report = bnfold.inspect(dense_bn(rng, elu_between=True))
    assert report.kind is ReportKind.INSPECT
    assert report.verification is None
    assert [row.outcome for row in report.affines] == [Outcome.KEPT]


def test_convert_opens_without_folding(rng: np.random.Generator) -> None:
    model = bnfold.convert(dense_bn(rng))
    assert "BatchNormalization" in [node.op_type for node in model.graph]
