"""`bnfold bench`: every option reaches the measurement, and what it found is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from bnfold.bench.environment import cpu_count
from bnfold.bench.types import Verdict
from bnfold.report import wording
from bnfold.report.html import render_html
from bnfold.report.markdown import render_markdown
from bnfold.report.text import render_text
from tests.cli.conftest import Bnfold
from tests.report import samples


@pytest.fixture
def sequence(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A net with a symbolic length beside its batch."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[batch, length, 5] x) => (float[batch, length, 4] y) { y = MatMul(x, W) }
    """)
    kernel = rng.normal(size=(5, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(kernel, "W"))
    path = tmp_path / "sequence.onnx"
    onnx.save(model, path)
    return path


def measured(bnfold: Bnfold, model: Path, *options: object) -> dict[str, Any]:
    done = bnfold("bench", model, model, "--bench-seconds", "0.1", "--json", *options)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)["benchmark"]
    return found


def test_dimensions_threads_provider_and_optimization(bnfold: Bnfold, sequence: Path) -> None:
    options = ["--dim", "length=7", "--batch", "3", "--threads", "0", "--provider", "cpu"]
    levels = ["--optimization", "off", "--optimization", "basic"]
    found = measured(bnfold, sequence, *options, *levels)
    rows = found["comparisons"]
    assert [row["mode"] for row in rows] == ["DISABLE_ALL", "ENABLE_BASIC"]
    assert {(row["threads"], row["batch"]) for row in rows} == {(cpu_count(), 3)}
    assert found["inputs"] == ["x: float32 [3, 7, 5], generated"]
    assert found["environment"]["providers"] == "CPUExecutionProvider"
    assert found["baseline_flops"] == 2 * 3 * 7 * 5 * 4
    assert found["baseline_nodes"] == 1 and found["baseline_bytes"] > 4 * 5 * 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dim", "length"], "'length' is no NAME=SIZE"),
        (["--dim", "length=0"], "'length=0' is no NAME=SIZE"),
        (["--dim", "width=3"], "no dimension is called 'width'"),
        (["--provider", "abacus"], "no provider 'abacus'"),
        (["--optimization", "most"], "'most' is not one of"),
        (["--threads", "-1"], "-1"),
    ],
)
def test_what_does_not_fit_is_one_line(
    bnfold: Bnfold, sequence: Path, options: list[str], said: str
) -> None:
    done = bnfold("bench", sequence, sequence, *options)
    assert done.code == 2
    assert said in done.err and done.err.count("\n") == 1


NOISY = samples.benchmark(
    dataclasses.replace(samples.comparison(Verdict.FASTER), control_low=0.9, control_high=1.02)
)
MEASURED = dataclasses.replace(
    samples.BENCHMARK,
    baseline_peak_bytes=9_000_000,
    candidate_peak_bytes=8_000_000,
    baseline_flops=2_150_000,
    candidate_flops=999,
)


def test_what_stands_beside_latency() -> None:
    assert wording.measured(MEASURED) == [
        ("load time", "3.10 ms", "2.00 ms"),
        ("peak memory", "9.00 MB", "8.00 MB"),
        ("file size", "4.12 MB", "4.11 MB"),
        ("nodes", "14", "8"),
        ("operations per call", "2.15 MFLOP", "999 FLOP"),
    ]
    unknown = dataclasses.replace(MEASURED, baseline_peak_bytes=None, candidate_flops=None)
    names = [name for name, _, _ in wording.measured(unknown)]
    assert names == ["load time", "file size", "nodes"]


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_every_rendering_has_it_and_calls_noise_noise(render) -> None:  # type: ignore[no-untyped-def]
    report = dataclasses.replace(samples.fold_report(), benchmark=MEASURED)
    text = " ".join(render(report).split())
    assert "peak memory" in text and "9.00 MB" in text and "999 FLOP" in text
    assert "noisy" not in text
    loud = " ".join(render(dataclasses.replace(report, benchmark=NOISY)).split())
    assert "too noisy" in loud and "11 %" in loud and "--bench-seconds" in loud
