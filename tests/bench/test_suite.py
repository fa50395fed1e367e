"""The benchmark suite itself: its models, its checks and its pages, without timing anything."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from benchmarks import check, latency_control, peers, render, results, suite
from benchmarks.models import CASES, Case

Builder = Callable[..., ir.Model]
NORMS = {"BatchNormalization", "Mul", "Sub", "Div"}


@pytest.mark.parametrize("case", [c for c in CASES if not c.keras], ids=lambda case: case.name)
def test_an_onnx_model_is_reproducible_and_its_twin_has_no_normalization(case: Case) -> None:
    model, again, twin = case.build(True), case.build(True), case.build(False)
    assert model.SerializeToString() == again.SerializeToString()
    assert NORMS & {node.op_type for node in model.graph.node}
    assert not NORMS & {node.op_type for node in twin.graph.node}
    assert list(model.graph.input) == list(twin.graph.input)
    assert "\n" not in case.what


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.keras], ids=lambda case: case.name)
def test_a_keras_model_and_its_twin_are_built_with_biases(case: Case) -> None:
    pytest.importorskip("tf2onnx")
    model, twin = case.build(True), case.build(False)
    assert len(twin.graph.node) < len(model.graph.node)
    assert {"Add", "Conv", "LSTM"} & {node.op_type for node in twin.graph.node}


def saved(model: ir.Model, path: Path) -> Path:
    ir.save(model, path)
    return path


def test_a_rewritten_model_is_checked(build: Builder, tmp_path: Path) -> None:
    original = saved(build(), tmp_path / "a.onnx")
    assert check.difference(original, saved(build(), tmp_path / "b.onnx")) == ""
    other = saved(build(seed=1), tmp_path / "c.onnx")
    assert check.difference(original, other).startswith("wrong: output y is off by")
    renamed = build()
    renamed.graph.outputs[0].name = "z"
    assert check.difference(original, saved(renamed, tmp_path / "d.onnx")) == "other outputs"
    broken = tmp_path / "e.onnx"
    broken.write_bytes(b"nothing")
    assert check.difference(original, broken).startswith("invalid model")


def test_a_small_error_is_wrong_and_rounding_is_not(build: Builder, tmp_path: Path) -> None:
    original = saved(build(), tmp_path / "a.onnx")
    for name, factor, agrees in (("b", 1 + 1e-6, True), ("c", 1.001, False)):
        model = build()
        weight = model.graph.initializers["w"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(factor), name="w")
        verdict = check.difference(original, saved(model, tmp_path / f"{name}.onnx"))
        assert (verdict == "") is agrees


def test_nan_is_wrong() -> None:
    nan = np.full(3, np.nan)
    assert not check._relative_rms(np.ones(3), nan) <= 1.0


def test_bnfold_takes_part(build: Builder, tmp_path: Path) -> None:
    source = saved(build(), tmp_path / "a.onnx")
    outcome = peers.run_peer("bnfold", source, tmp_path / "b.onnx")
    assert outcome.problem == ""
    assert outcome.path is not None
    assert [node.op_type for node in onnx.load(outcome.path).graph.node] == ["Gemm"]


@pytest.mark.parametrize(
    ("code", "stderr", "problem"),
    [
        (peers.NOT_INSTALLED, "No module named 'x'", "not installed"),
        (1, "Traceback\nValueError: bad\n\n", "failed: ValueError: bad"),
        (-11, "", "failed: exit code -11, no file written"),
        (0, "", "failed: exit code 0, no file written"),
    ],
)
def test_a_peer_that_is_absent_or_fails_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, stderr: str, problem: str
) -> None:
    def run(*args: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    outcome = peers.run_peer("onnxsim", tmp_path / "a", tmp_path / "b")
    assert (outcome.path, outcome.problem) == (None, problem)


def test_a_hanging_peer_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*args: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert "gave up" in peers.run_peer("onnxsim", tmp_path / "a", tmp_path / "b").problem


def rows(unfolded: float, control: float, bnfold: float, peer: float, twin: float) -> Any:
    """Launches of [unfolded, control, bnfold, onnxsim, twin] with a little spread."""
    return [
        [[seconds * factor] * 2 for seconds in (unfolded, control, bnfold, peer, twin)]
        for factor in (1.0, 1.01, 0.99)
    ]


SWINGS = [(1, 2, 1, 2, 1), (2, 1, 1, 1, 2), (1, 1, 2, 1, 1)]
NAMES = [results.UNFOLDED, "unfolded again", "bnfold", "onnxsim", results.TWIN]


def sample(peer: float) -> results.SuiteResult:
    timing = suite._timing(1, 1, NAMES, rows(3.0, 3.003, 2.0, peer, 1.9))
    variants = (
        results.Variant(results.UNFOLDED, "", 9, 2048, 0.0, 1.5),
        results.Variant("bnfold", "", 5, 1024, 0.4, 1.0),
        results.Variant("onnxslim", "wrong: output y is off by 1e-1 of its size"),
    )
    case = results.CaseResult("net", "Gemm -> BN", "", variants, (timing,))
    absent = results.CaseResult("other", "x", "cannot be built: no module keras")
    return results.SuiteResult({"cpu": "c"}, {"bnfold": "0"}, 1.0, (case, absent))


def test_ratios_say_who_is_faster() -> None:
    (timing,) = sample(peer=2.4).cases[0].timings
    fold = timing.ratio(results.UNFOLDED, "bnfold")
    assert fold is not None
    assert fold.value == pytest.approx((3 * 3.003) ** 0.5 / 2)
    assert fold.verdict == "faster"
    peer = timing.ratio("onnxsim", "bnfold")
    assert peer is not None
    assert (round(peer.value, 6), peer.verdict) == (1.2, "faster")
    twin = timing.ratio(results.TWIN, "bnfold")
    assert twin is not None and twin.verdict == "slower"
    assert timing.micros["bnfold"] == pytest.approx(2e6)
    assert "unfolded again" not in timing.micros


def test_a_loss_to_a_peer_is_named_and_the_twin_is_no_peer() -> None:
    assert suite.losses(sample(peer=2.4).cases) == []
    ((name, _, ratio),) = suite.losses(sample(peer=1.8).cases)
    assert (name, ratio.over) == ("net", "onnxsim")
    page = render.to_markdown(sample(peer=1.8), "make", "p.svg")
    assert "- net, batch 1, 1 thread: 1.11 times onnxsim's time" in page
    assert "Nowhere was bnfold's version measurably slower" in render.to_markdown(
        sample(peer=2.4), "make", "p.svg"
    )


def test_the_page_has_every_figure_and_every_problem() -> None:
    page = render.to_markdown(sample(peer=2.4), "make it", "p.svg")
    assert "`make it`" in page
    assert "| net | 3e+06" not in page and "| net | 3e+03 ms |" in page
    assert "| **1.50** | **1.25** | - |" in page
    assert "9 / 2 / 1.5 |" in page and "5 / 1 / 1.0 / 0.4 |" in page
    assert "- net, onnxslim: wrong: output y is off" in page
    assert "- other: cannot be built: no module keras" in page


def test_noise_is_called_noise() -> None:
    wild = [[[s * f] * 2 for s, f in zip((3, 3, 2, 2, 2), row, strict=True)] for row in SWINGS]
    timing = suite._timing(1, 1, NAMES, wild)
    case = results.CaseResult("net", "x", "", (), (timing,))
    result = results.SuiteResult({"cpu": "c"}, {"bnfold": "0"}, 1.0, (case,))
    page = render.to_markdown(result, "make", "p.svg")
    assert "| net | 3e+03 ms | noise |" in page
    assert "| unfolded | 0 |" not in page, "noise is no evidence, and is not counted as any"


def test_a_loss_to_the_unfolded_model_is_a_loss() -> None:
    timing = suite._timing(1, 1, NAMES, rows(2.0, 2.002, 2.4, 2.5, 1.9))
    case = results.CaseResult("net", "x", "", (), (timing,))
    assert [ratio.over for _, _, ratio in suite.losses([case])] == [results.UNFOLDED]


def test_results_survive_json(tmp_path: Path) -> None:
    before = sample(peer=2.4)
    results.save(before, tmp_path / "r.json")
    assert results.load(tmp_path / "r.json") == before


def test_the_plot_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        render.plot(sample(peer=2.4), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(("trials", "allowed"), [(1, 1), (40, 5), (100, 10)])
def test_what_chance_allows(trials: int, allowed: int) -> None:
    # Quantiles of the binomial at 97.5 %, from any table: 0.05 is the chance of one alarm.
    assert latency_control.binomial_upper(trials, 0.05) == allowed


def test_false_alarms_and_finds_are_counted() -> None:
    def trial(planted: bool, verdict: str, low: float, high: float) -> latency_control.Trial:
        return latency_control.Trial(
            "m", planted, (low * high) ** 0.5, low, high, 0.99, 1.01, 5, verdict, 0.02, False, ""
        )

    trials = [
        trial(False, "no difference", 0.98, 1.01),
        trial(False, "no difference", 1.001, 1.01),
        trial(False, "faster", 1.02, 1.03),
        trial(True, "slower", 0.89, 0.92),
        trial(True, "no difference", 0.89, 1.02),
    ]
    figures = latency_control.summarize(trials)
    assert figures["comparisons with itself"] == 3
    assert figures["false alarms"] == 1
    assert figures["intervals that exclude 1"] == 2
    assert (figures["planted slowdowns"], figures["found"]) == (2, 1)
    page = latency_control.to_markdown(trials, {"cpu": "c"}, 5.0)
    assert "**1 of them with a false alarm**" in page and "**found in 1**" in page


def test_an_interrupted_suite_is_taken_up_again_and_only_with_the_same_settings(
    tmp_path: Path,
) -> None:
    cases = list(sample(peer=2.4).cases)
    partial, settings = tmp_path / "p.json", {"batches": [1], "threads": [1], "seconds": 1.0}
    assert results.load_partial(partial, settings) == []
    results.save_partial(partial, settings, cases)
    assert results.load_partial(partial, settings) == cases
    assert results.load_partial(partial, {**settings, "seconds": 2.0}) == []


def test_the_command_leaves_no_partial_and_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import __main__ as command

    ran: list[str] = []

    def run_case(case: object, *rest: object) -> results.CaseResult:
        name = case.name  # type: ignore[attr-defined]
        if name == "autoencoder" and not ran.count(name):
            ran.append(name)
            raise KeyboardInterrupt
        ran.append(name)
        return results.CaseResult(name, "x", "cannot be built: no module keras")

    monkeypatch.setattr(command, "run_case", run_case)
    monkeypatch.setattr(command, "_render", lambda *_: None)
    arguments = ["mlp-3x256", "autoencoder", "--threads", "1", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        command.main(arguments)
    assert command.main(arguments) == 0
    assert ran == ["mlp-3x256", "autoencoder", "autoencoder"]
    assert [p.name for p in tmp_path.iterdir()] == ["suite.json"]
    names = [case.name for case in results.load(tmp_path / "suite.json").cases]
    assert names == ["mlp-3x256", "autoencoder"]
