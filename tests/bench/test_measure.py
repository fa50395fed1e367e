"""The measurement as a whole. No figure of time decides whether a test passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.bench import measure
from bnfold.bench.lockstep import Launch
from bnfold.bench.measure import benchmark_models
from bnfold.bench.types import Benchmark, Comparison, Verdict
from bnfold.core.errors import BnfoldError, InputError

Builder = Callable[..., ir.Model]


def without_bn(model: ir.Model) -> ir.Model:
    """Drop the last node of a Gemm-BN model: fewer nodes, same interface."""
    copy = model.clone()
    gemm, norm = list(copy.graph)
    gemm.outputs[0].type = norm.outputs[0].type
    copy.graph.outputs[0] = gemm.outputs[0]
    copy.graph.remove(norm, safe=True)
    for name in ("gamma", "beta", "mean", "var"):
        del copy.graph.initializers[name]
    return copy


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest) -> Benchmark:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("models", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    models = module_from_spec(spec)
    spec.loader.exec_module(models)
    original = models.dense_bn(width=16)
    return benchmark_models(
        original,
        without_bn(original),
        batches=(1, 4),
        modes=("ENABLE_ALL", "DISABLE_ALL"),
        budget_seconds=1.0,
    )


def test_every_mode_and_batch_is_compared(result: Benchmark) -> None:
    labels = [(row.mode, row.batch, row.threads) for row in result.comparisons]
    assert labels == [
        ("ENABLE_ALL", 1, 1),
        ("ENABLE_ALL", 4, 1),
        ("DISABLE_ALL", 1, 1),
        ("DISABLE_ALL", 4, 1),
    ]


def test_figures_hang_together(result: Benchmark) -> None:
    for row in result.comparisons:
        assert 0 < row.low <= row.speedup <= row.high
        assert 0 < row.control_low <= row.control_high
        assert row.pairs >= 3
        assert row.baseline_seconds > 0 and row.candidate_seconds > 0
        reach = max(row.high, 1 / row.low, row.control_high, 1 / row.control_low)
        assert row.resolution == pytest.approx(reach - 1)


def test_size_nodes_and_operations(result: Benchmark) -> None:
    assert (result.baseline_nodes, result.candidate_nodes) == (2, 1)
    # 16x16 products and sums, 16 biases, and a product and a sum per element for the BN.
    assert (result.baseline_flops, result.candidate_flops) == (2 * 256 + 16 + 32, 2 * 256 + 16)
    assert result.baseline_bytes > result.candidate_bytes > 16 * 16 * 4
    assert result.baseline_load_seconds > 0 and result.candidate_load_seconds > 0


def test_the_circumstances_are_told(result: Benchmark) -> None:
    assert {"cpu", "cores", "python", "onnxruntime", "threads"} <= set(result.environment)
    assert result.inputs == ("x: float32 [1, 16], generated",)
    json.dumps(result.environment)


def test_temporary_files_are_gone(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    benchmark_models(build(), build(), budget_seconds=0.1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError):
        benchmark_models(build(), build(width=9), inputs={}, budget_seconds=0.1)
    assert list(tmp_path.iterdir()) == []


def test_external_data_is_found_from_a_model_and_from_a_path(
    build: Builder, tmp_path: Path
) -> None:
    path = tmp_path / "big.onnx"
    ir.save(build(width=64), path, external_data="big.data")
    outside = (tmp_path / "big.data").stat().st_size
    result = benchmark_models(ir.load(path), path, budget_seconds=0.1)
    assert result.candidate_bytes == path.stat().st_size + outside
    assert result.baseline_bytes > outside >= 64 * 64 * 4


def test_a_large_model_is_written_with_external_data(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "EXTERNAL_DATA_BYTES", 100)
    result = benchmark_models(build(width=64), build(width=64), budget_seconds=0.1)
    assert result.baseline_bytes > 64 * 64 * 4


def test_what_does_not_fit_into_memory_is_not_begun(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three sessions, each with 8x8 + 5x8 floats twice over.
    needed = 3 * 2 * (64 + 40) * 4
    monkeypatch.setattr(measure, "available_memory", lambda: needed - 1)
    with pytest.raises(BnfoldError, match="three sessions need about"):
        benchmark_models(build(), build(), budget_seconds=0.1)
    monkeypatch.setattr(measure, "available_memory", lambda: needed)
    assert benchmark_models(build(), build(), budget_seconds=0.1).comparisons


def test_a_full_disk_is_one_line(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ir, "save", full)
    with pytest.raises(BnfoldError, match="temporary copy of the model: No space left"):
        benchmark_models(build(), build(), budget_seconds=0.1)


def test_given_inputs_set_the_batch(build: Builder) -> None:
    array = np.ones((6, 8), np.float32)
    result = benchmark_models(build(), build(), inputs={"x": array}, budget_seconds=0.1)
    assert [row.batch for row in result.comparisons] == [6]
    assert result.inputs == ("x: float32 [6, 8], given",)


def test_a_missing_op_is_one_line_that_names_the_model(build: Builder) -> None:
    strange = build()
    next(iter(strange.graph)).op_type = "Gemmm"
    with pytest.raises(BnfoldError, match=r"cannot load the folded model: .*Gemmm") as caught:
        benchmark_models(build(), strange, budget_seconds=0.1)
    assert "\n" not in str(caught.value)


def test_refused_inputs_are_one_line_that_says_what_to_do(build: Builder) -> None:
    model = build()
    model.graph.inputs[0].shape = ir.Shape(["N", "width"])
    with pytest.raises(BnfoldError, match=r"\[1, 32\], generated, width=32 by default") as caught:
        benchmark_models(model, model, budget_seconds=0.1)
    assert "give inputs or dimensions" in str(caught.value)
    assert "\n" not in str(caught.value)
    result = benchmark_models(model, model, dims={"width": 8}, budget_seconds=0.1)
    assert result.inputs == ("x: float32 [1, 8], generated",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": (0,)}, "batch sizes"),
        ({"batches": ()}, "batch sizes"),
        ({"threads": -1}, "threads"),
        ({"modes": ("FAST",)}, "unknown runtime mode 'FAST'"),
        ({"modes": ()}, "at least one"),
        ({"budget_seconds": 0.0}, "budget"),
        ({"confidence": 1.0}, "confidence"),
        ({"providers": ("quantum",)}, "no provider 'quantum'"),
        ({"dims": {"T": 3}}, "'T'"),
        ({"inputs": {"z": np.zeros(1)}}, "'x'"),
    ],
)
def test_options_are_checked_before_anything_runs(
    build: Builder, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        benchmark_models(build(), build(), **options)  # type: ignore[arg-type]


def test_short_provider_names_are_known(build: Builder) -> None:
    result = benchmark_models(build(), build(), providers=("cpu",), budget_seconds=0.1)
    assert result.environment["providers"] == "CPUExecutionProvider"


def test_models_with_other_inputs_are_refused(build: Builder) -> None:
    other = build()
    other.graph.inputs[0].name = "z"
    with pytest.raises(InputError, match="different inputs"):
        benchmark_models(build(), other, budget_seconds=0.1)


def test_who_is_compared_with_whom(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Original 3 s, original again 3.03 s (1 % of noise), folded 2 s; a little spread over launches.
    def launches(*args: object) -> list[Launch]:
        return [
            Launch(
                (((3 * f, 3 * f), (3.03 * f, 3.03 * f), (2 * f, 2 / f)),),
                (0.3, 0.3, 0.2),
                (7, 7, 5),
            )
            for f in (0.999, 1.0, 1.001)
        ]

    monkeypatch.setattr(measure, "run_launches", launches)
    result = benchmark_models(build(), build())
    (row,) = result.comparisons
    # Both processes of the original are the baseline: the geometric mean of 3 and 3.03.
    assert row.speedup == pytest.approx((3 * 3.03) ** 0.5 / 2, rel=1e-3)
    assert row.low < row.speedup < row.high
    assert row.control_low == pytest.approx(1 / 1.01) == row.control_high
    assert (row.verdict, row.pairs) == (Verdict.FASTER, 3)
    assert 3 <= row.baseline_seconds <= 3.03
    assert row.candidate_seconds == pytest.approx(2, rel=1e-3)
    assert (result.baseline_load_seconds, result.candidate_load_seconds) == (0.3, 0.2)
    assert (result.baseline_peak_bytes, result.candidate_peak_bytes) == (7, 5)


ROW = Comparison(
    mode="ENABLE_ALL",
    batch=1,
    threads=1,
    baseline_seconds=2.0,
    candidate_seconds=1.6,
    speedup=1.25,
    low=1.2,
    high=1.3,
    confidence=0.95,
    pairs=7,
    control_low=0.99,
    control_high=1.02,
    verdict=Verdict.FASTER,
    resolution=0.3,
)


def test_a_comparison_in_words() -> None:
    assert ROW.sentence == "1.25x faster (1.20 to 1.30)"
    slower = replace(ROW, verdict=Verdict.SLOWER, speedup=0.8, low=0.75, high=0.85)
    assert slower.sentence == "1.25x slower (1.18 to 1.33)"
    same = replace(ROW, verdict=Verdict.NO_DIFFERENCE, resolution=0.0213)
    assert same.sentence == "no difference larger than 2.1 %"


def test_a_control_off_by_more_than_five_percent_is_noisy() -> None:
    assert not ROW.noisy
    assert replace(ROW, control_low=0.94).noisy
    wide = replace(ROW, control_high=1.06)
    assert wide.noisy
    assert wide.sentence.endswith("; the machine is noisy")
