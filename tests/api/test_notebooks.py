"""What a notebook shows of a result: tables of its own, safe against names from model files."""

from __future__ import annotations

from pathlib import Path

import bnfold
from bnfold.report.model import Report
from tests.report import samples
from tests.report.test_html import parsed


def test_results_show_themselves(sample_models: Path) -> None:
    result = bnfold.fold(sample_models / "autoencoder.onnx")
    html = result._repr_html_()
    page = parsed(html)
    text = "".join(page.text)
    assert [tag for tag, _ in page.tags].count("table") == 2
    assert "5 of 5 affines folded" in text and "equivalent" in text
    for fold in result.folds:
        assert fold.source in text
    assert result.verification is not None
    assert result.verification._repr_html_() in html


def test_inspections_and_benchmarks_show_themselves(sample_models: Path) -> None:
    report = bnfold.inspect(sample_models / "autoencoder.onnx")
    assert isinstance(report, Report)
    assert "5 of 5 affines can be folded" in "".join(parsed(report._repr_html_()).text)
    text = "".join(parsed(samples.BENCHMARK._repr_html_()).text)
    assert "1.37x faster" in text and "41.2" in text


def test_names_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>\x1b[31m"
    html = samples.hostile_report(evil)._repr_html_()
    assert "\x1b" not in html
    assert "img" not in [tag for tag, _ in parsed(html).tags]
