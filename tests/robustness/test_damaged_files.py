"""Damaged and hostile files do no harm: some hundreds of the script's ten thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_files.py"


def promises_broken(folder: Path, *options: str) -> list[str]:
    """Run the script; return its complaints, and check that it did what it was asked to do."""
    figures = folder / "figures.json"
    run = subprocess.run(
        [sys.executable, SCRIPT, "--json", figures, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert figures.exists(), run.stderr
    counted = json.loads(figures.read_text())
    assert counted["files"] == int(options[options.index("--count") + 1])
    refused = sum(n for kind, n in counted["outcomes"].items() if kind.endswith("refused"))
    folded = sum(n for kind, n in counted["outcomes"].items() if kind.endswith("folded"))
    assert refused > 0
    assert folded > 0, "every file was refused: the damage says nothing about what comes after"
    complaints = [line for line in run.stdout.splitlines() if line.startswith("case ")]
    assert bool(complaints) == (run.returncode != 0), run.stderr
    return complaints


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory the POSIX way")
@pytest.mark.parametrize("seed", ["11", "12"])
def test_every_promise_holds(tmp_path: Path, seed: str) -> None:
    options = ("--count", "300", "--seed", seed, "--workers", "1", "--timeout", "20")
    assert promises_broken(tmp_path, *options) == []


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory the POSIX way")
def test_every_promise_holds_through_keras(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    options = ("--road", "api", "--only", "keras", "--memory", "4000", "--timeout", "60")
    assert promises_broken(tmp_path, "--count", "200", "--workers", "1", *options) == []
