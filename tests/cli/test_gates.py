"""Conditions of a pipeline: a fold that does not meet them is reported and not written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnfold import folding
from tests.cli.conftest import Bnfold
from tests.cli.test_files import snapshot
from tests.report import samples


def test_max_remaining(bnfold: Bnfold, stuck: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out.onnx", tmp_path / "r.json"
    before = snapshot(tmp_path)
    flags = ["-o", out, "--no-verify", "--no-bench", "-q"]
    done = bnfold(stuck, *flags, "--max-remaining", "0", "--report", report)
    assert done.code == 1
    assert done.err == "bnfold: 1 affine remains, and --max-remaining allows 0\n"
    assert snapshot(tmp_path).keys() - before.keys() == {"r.json"}
    data = json.loads(report.read_text())
    assert data["output"] == ""
    assert any("--max-remaining" in note for note in data["notes"])
    assert bnfold(stuck, *flags, "--max-remaining", "1").code == 0
    assert out.is_file()


def test_max_size_growth(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> None:
    flags = [foldable, "--no-verify", "--no-bench", "-q"]
    done = bnfold(*flags, "-o", tmp_path / "o.onnx", "--max-size-growth", "-99")
    assert done.code == 1
    assert "--max-size-growth allows -99" in done.err
    assert not (tmp_path / "o.onnx").exists()
    assert bnfold(*flags, "-o", tmp_path / "o.onnx", "--max-size-growth", "0").code == 0


@pytest.mark.parametrize(
    ("wanted", "code"),
    [("1.2", 0), ("1.36", 1)],  # the sample's interval is 1.31 to 1.44
)
def test_require_speedup_counts_what_the_interval_shows(
    bnfold: Bnfold,
    foldable: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    code: int,
) -> None:
    monkeypatch.setattr(folding, "benchmark_opened", lambda *_, **__: samples.BENCHMARK)
    out = tmp_path / "o.onnx"
    # Latency is measured for the gate even where --no-bench was given.
    done = bnfold(foldable, "-o", out, "--no-bench", "--no-verify", "--require-speedup", wanted)
    assert done.code == code
    assert out.exists() is (code == 0)
    if code:
        assert "the interval shows only 1.310 to 1.440" in done.err


def test_a_gate_leaves_the_old_output(bnfold: Bnfold, stuck: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    flags = ["--no-verify", "--no-bench", "--force", "--max-remaining", "0"]
    assert bnfold(stuck, "-o", out, *flags).code == 1
    assert out.read_bytes() == b"precious"
