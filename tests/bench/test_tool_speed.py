"""The script that times the tool itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import bnfold
from benchmarks import tool_speed
from benchmarks.tool_speed import Entrant, Figure, take_turns, to_markdown

SAMPLES = Path(__file__).parents[2] / "sample_models"


def test_entrants_take_turns_and_what_fails_is_named(tmp_path: Path) -> None:
    entrants = [
        Entrant("quick", [sys.executable, "-c", "pass"]),
        Entrant("slow", [sys.executable, "-c", "sum(range(20_000_000))"]),
        Entrant("broken", [sys.executable, "-c", "raise SystemExit('no such model')"]),
        Entrant("absent", [str(tmp_path / "nothing")]),
    ]
    quick, slow, broken, absent = take_turns("s", entrants, 2, tmp_path, against="quick")
    assert (quick.against, slow.against) == ("", "quick")
    assert slow.cpu > quick.cpu > 0 and slow.cpu_ratio > 1
    assert (broken.problem, absent.problem) == ("no such model", "not installed")


def test_the_page_has_every_figure_and_every_problem() -> None:
    figures = [
        Figure("tiny", "bnfold", 0.5, 0.4, 0.45, 60.0, "onnxslim", 0.9, 0.8),
        Figure("tiny", "onnxsim", problem="not installed"),
    ]
    page = to_markdown(figures, {"machine": "M", "versions": "V"}, "make it")
    assert "| bnfold | 0.50 | 0.40 | 0.45 | 60 | 0.90 (0.80 processor) of onnxslim |" in page
    assert "| onnxsim | not installed |" in page and "`make it`" in page
    assert page.count("## ") == 1, "only the sections that were measured"


def test_the_wide_net_is_a_keras_file_that_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_speed, "WIDE", 40)
    tool_speed.make_wide(SAMPLES / "post_activation.h5", tmp_path / "wide.h5")
    result = bnfold.fold(tmp_path / "wide.h5", verify=False)
    assert (len(result.folds), len(result.kept)) == (3, 0)
    kernels = [
        v.shape for v in result.model.graph.initializers.values() if v.shape and v.shape.rank() == 2
    ]
    assert sorted(tuple(shape.numpy()) for shape in kernels) == [(40, 10), (40, 40), (784, 40)]
