"""`-`: models from stdin, results to stdout, and the report out of their way."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import onnx
import pytest


def piped(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bnfold", *arguments], input=data, capture_output=True, check=False
    )


def op_types(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def test_a_model_through_a_pipe(foldable: Path, tmp_path: Path) -> None:
    done = piped(foldable.read_bytes(), "-", "-o", "-", "--no-bench")
    assert done.returncode == 0, done.stderr
    assert "BatchNormalization" not in op_types(done.stdout)
    text = done.stderr.decode()
    assert text.startswith("bnfold ") and "1 of 1 affine folded" in text
    assert "Equivalent" in text and text.rstrip().endswith("Wrote standard output")
    assert [entry.name for entry in tmp_path.iterdir()] == [foldable.name]


def test_the_same_bytes_as_by_files(foldable: Path, tmp_path: Path) -> None:
    quick = ("--no-verify", "--no-bench", "-q")
    done = piped(foldable.read_bytes(), "-", "-o", "-", *quick)
    assert done.stderr == b""
    assert piped(b"", str(foldable), "-o", str(tmp_path / "out.onnx"), *quick).returncode == 0
    assert done.stdout == (tmp_path / "out.onnx").read_bytes()


def test_reports_do_not_mix_with_the_model(foldable: Path) -> None:
    done = piped(foldable.read_bytes(), "-", "-o", "-", "--no-bench", "--json")
    assert json.loads(done.stderr)["output"] == "standard output"
    assert op_types(done.stdout)


def test_a_keras_model_from_stdin(sample_models: Path) -> None:
    done = piped((sample_models / "conv.keras").read_bytes(), "inspect", "-")
    assert done.returncode == 0 and b"2 of 3 affines can be folded" in done.stdout


@pytest.mark.parametrize("command", ["verify", "diff"])
def test_one_of_two_models(foldable: Path, command: str) -> None:
    for pair in (("-", str(foldable)), (str(foldable), "-")):
        assert piped(foldable.read_bytes(), command, *pair).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-",), "needs a name"),
        (("verify", "-", "-"), "only once"),
        (("-", "-o", "-", "--to", "keras"), "gets ONNX"),
        (("inspect", "-"), "stdin is empty"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = piped(b"", *arguments)
    assert done.returncode == 2 and done.stdout == b""
    assert said in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_nothing_is_written_when_a_condition_fails(stuck: Path) -> None:
    done = piped(stuck.read_bytes(), "-", "-o", "-", "--no-bench", "--max-remaining", "0")
    assert done.returncode == 1 and done.stdout == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_a_terminal_is_no_place_for_a_model(foldable: Path) -> None:
    main, side = pty.openpty()
    command = [sys.executable, "-m", "bnfold", str(foldable), "-o", "-"]
    done = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, check=False)
    os.close(side)
    os.close(main)
    assert done.returncode == 2 and b"is a terminal" in done.stderr
