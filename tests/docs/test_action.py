"""The composite action: valid, and its steps do their work in a shell as the runner starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT
from tests.docs.test_recipes import schema_errors

ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in ACTION["runs"]["steps"]}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="runs bash")


@dataclass(frozen=True)
class Done:
    """How a step ended."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str


def run_step(step: str, home: Path, given: dict[str, str]) -> Done:
    """Run a step's script as the runner does: expressions in `env`, files for what it gives."""
    files = {}
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        files[name] = home / name
        files[name].write_text("")
    temp = home / "temp"
    temp.mkdir(exist_ok=True)
    environment = {**os.environ, "RUNNER_TEMP": str(temp), **{k: str(v) for k, v in files.items()}}
    environment["PYTHONPATH"] = str(ROOT)
    for name, value in STEPS[step]["env"].items():
        environment[name] = evaluated(value, given)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
        check=False,
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
    )
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    log = done.stdout + done.stderr
    return Done(done.returncode, log, outputs, files["GITHUB_STEP_SUMMARY"].read_text())


def evaluated(expression: str, given: dict[str, str]) -> str:
    match = re.fullmatch(r"\$\{\{ (.+) \}\}", expression)
    assert match, expression
    name = match[1]
    if name.startswith("inputs."):
        name = name.removeprefix("inputs.")
        return given.get(name, str(ACTION["inputs"][name].get("default", "")))
    return given[name]


@pytest.fixture
def bnfold(tmp_path: Path) -> dict[str, str]:
    """What the first step gives to the second: where bnfold is."""
    script = tmp_path / "bnfold-here"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnfold "$@"\n')
    script.chmod(0o755)
    return {"steps.install.outputs.bnfold": str(script)}


def test_the_action_is_valid() -> None:
    assert schema_errors("vendor.github-actions", ROOT / "action.yml") == ""


def test_nothing_that_a_caller_gives_is_put_into_a_script() -> None:
    for step in STEPS.values():
        assert "${{" not in step["run"]


def test_it_folds_and_sums_up(home: Path, bnfold: dict[str, str]) -> None:
    given = {"model": "model.onnx", "output": "out put.onnx", "arguments": "--no-bench --seed 1"}
    done = run_step("run", home, {**bnfold, **given})
    assert done.code == 0, done.log
    assert (home / "out put.onnx").exists()
    assert "5 of 5 affines folded" in done.summary
    assert "::notice title=bnfold::" in done.log
    report = Path(done.outputs["report"])
    assert {path.suffix for path in report.iterdir()} == {".html", ".json", ".md", ".xml"}
    assert json.loads((report / "report.json").read_text("utf-8"))["kind"] == "fold"


def test_it_fails_with_the_command_and_still_reports(home: Path, bnfold: dict[str, str]) -> None:
    given = {"command": "verify", "model": "original.onnx", "candidate": "broken.onnx"}
    done = run_step("run", home, {**bnfold, **given})
    assert done.code == 1
    assert "::error title=BNV" in done.log
    assert "BNV" in done.summary


def test_it_fails_where_the_usage_is_wrong(home: Path, bnfold: dict[str, str]) -> None:
    done = run_step("run", home, {**bnfold, "model": "$(touch hacked); model.onnx"})
    assert done.code == 2
    assert not (home / "hacked").exists()


@pytest.mark.slow
def test_it_installs(home: Path) -> None:
    given = {"github.action_path": str(ROOT), "python": sys.executable}
    done = run_step("install", home, given)
    assert done.code == 0, done.log
    version = subprocess.run(
        [done.outputs["bnfold"], "--version"], check=True, capture_output=True, text=True
    )
    assert version.stdout.startswith("bnfold ")
