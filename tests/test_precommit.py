"""The pre-commit hook fails for models that could be folded, and says which."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bnfold
from bnfold.precommit import main

ROOT = Path(__file__).parent.parent


def check(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folded(tmp_path: Path, sample_models: Path) -> Path:
    path = tmp_path / "folded.onnx"
    bnfold.fold(sample_models / "autoencoder.onnx", verify=False).save(path)
    return path


def test_a_folded_model_passes_in_silence(folded: Path) -> None:
    assert (check(folded).exit_code, check(folded).output) == (0, "")
    assert check().exit_code == 0


def test_an_unfolded_model_fails_with_its_layers(folded: Path, sample_models: Path) -> None:
    done = check(folded, sample_models / "autoencoder.onnx")
    assert done.exit_code == 1
    assert "holds 5 affines that can be folded" in done.output
    assert "bn_3" in done.output
    assert str(folded) not in done.output


def test_a_file_that_is_no_model_does_not_hide_the_others(
    tmp_path: Path, sample_models: Path
) -> None:
    junk = tmp_path / "junk.onnx"
    junk.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    done = check(junk, sample_models / "autoencoder.onnx")
    assert done.exit_code == 2
    assert "junk.onnx" in done.output and "bn_3" in done.output


def test_what_is_left_counts_only_when_asked_and_not_allowed(stuck: Path) -> None:
    assert check(stuck).exit_code == 0
    done = check("--max-remaining", 0, stuck)
    assert done.exit_code == 1
    codes = {word for word in done.output.replace(",", " ").split() if word.startswith("BNF")}
    assert codes
    allowed = [part for code in codes for part in ("--allow", code)]
    assert check("--max-remaining", 0, *allowed, stuck).exit_code == 0
    assert check("--allow", "BNF999", stuck).exit_code == 2


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """Elu -> BatchNormalization -> Softmax: nothing takes the normalization."""
    import onnx
    import onnx.parser

    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[batch, 3] x) => (float[batch, 3] y)
        <float[3] g = {1.5, -2.0, 0.5}, float[3] b = {1.0, 0.5, -1.0},
         float[3] m = {0.5, -0.5, 1.0}, float[3] v = {0.5, 1.5, 2.0}> {
            e = Elu(x)
            n = BatchNormalization(e, g, b, m, v)
            y = Softmax<axis: int = -1>(n)
        }
    """)
    path = tmp_path / "stuck.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_pre_commit_itself_runs_it(tmp_path: Path, sample_models: Path, folded: Path) -> None:
    pytest.importorskip("pre_commit")
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(sample_models / "autoencoder.onnx", home / "unfolded.onnx")
    shutil.copy(folded, home / "folded.onnx")
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    # As the manifest has it, but with the Python of these tests in place of an installed copy.
    local = hooks.replace("language: python", "language: system")
    local = local.replace("entry: python", f"entry: {sys.executable}")
    local = local.replace("entry: bnfold", f"entry: {sys.executable} -m bnfold")
    indented = local.replace("\n", "\n      ")
    (home / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: local\n    hooks:\n      {indented}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PRE_COMMIT_HOME": str(tmp_path / "c")}

    def git_and_hooks(*files: str) -> int:
        for command in (
            ["git", "init", "-q"],
            ["git", "add", ".pre-commit-config.yaml", *files],
        ):
            subprocess.run(command, check=True, cwd=home)
        command = [sys.executable, "-m", "pre_commit", "run", "bnfold-folded", "--files", *files]
        return subprocess.run(command, check=False, cwd=home, env=environment).returncode

    assert git_and_hooks("folded.onnx") == 0
    assert git_and_hooks("folded.onnx", "unfolded.onnx") == 1
