"""Usage, help, exit codes and the single line of an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnfold import __version__, api
from bnfold.core.diagnostics import Reason
from bnfold.verify.codes import Fault
from tests.cli.conftest import Bnfold, Done

ENTRIES = [*Reason, *Fault]


def one_line(done: Done) -> bool:
    """Whether an ending said one line on stderr, nothing on stdout, and showed no traceback."""
    return (
        done.out == ""
        and done.err.startswith("bnfold: ")
        and done.err.count("\n") == 1
        and "Traceback" not in done.err
    )


def test_help_has_examples_commands_options_and_exit_codes(bnfold: Bnfold) -> None:
    done = bnfold("--help")
    assert done.code == 0
    for text in ("bnfold model.h5 -o model.onnx", "--no-verify", "explain", "Exit codes:"):
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 100


def test_no_arguments_at_all_show_the_help(bnfold: Bnfold) -> None:
    assert bnfold() == bnfold("--help")


@pytest.mark.parametrize("command", ["fold", "inspect", "verify", "bench", "diff", "explain"])
def test_every_command_has_help(bnfold: Bnfold, command: str) -> None:
    done = bnfold(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: bnfold {command} ")
    assert re.search(rf"\n  Examples:\n    bnfold ({command} )?", done.out)


def test_version_names_what_matters(bnfold: Bnfold) -> None:
    done = bnfold("--version")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"bnfold {__version__}"
    assert "onnxruntime " in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "--nonsense"),
        (["model.onnx", "--opset", "many"], "many"),
        (["model.onnx", "--opset", "0"], "0"),
        (["model.onnx", "second.onnx"], "name one with -o"),
        (["model.onnx", "second.onnx", "-o", "out.onnx"], "name one with -o"),
        (["model.onnx", "--jobs", "2"], "name one with -o"),
        (["model.onnx", "-o", "out/", "--report", "r.md"], "--report"),
        (["model.onnx", "-o", "out/", "--github"], "--github"),
        (["model.onnx", "-o", "out/", "--max-remaining", "0"], "gates"),
        (["model.onnx", "-o", "out/", "--inputs", "x.npz"], "--inputs"),
        (["model.onnx", "-o", "out/", "--counterexample", "x.npz"], "--counterexample"),
        (["model.onnx", "--max-remaining", "-1"], "-1"),
        (["model.onnx", "--require-speedup", "0"], "0"),
        (["diff", "a.onnx"], "AFTER"),
        (["verify", "a.onnx"], "CANDIDATE"),
        (["fold"], "MODEL"),
        (["explain", "BNF999"], "BNF999"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    bnfold: Bnfold, arguments: list[str], words: str
) -> None:
    done = bnfold(*arguments)
    assert done.code == 2
    assert one_line(done)
    assert words in done.err


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.code)
def test_explain_knows_every_code(bnfold: Bnfold, entry: Reason | Fault) -> None:
    by_code, lowered = bnfold("explain", entry.code), bnfold("explain", entry.code.lower())
    assert by_code == lowered
    for name in (entry.number, entry.title):
        assert by_code.out in bnfold("explain", name).out
    for part in (entry.code, entry.title, entry.why, entry.hint):
        assert part in by_code.out


def test_explain_lists_all(bnfold: Bnfold) -> None:
    lines = bnfold("explain").out.splitlines()
    assert lines == [f"{entry.code}  {entry.title}" for entry in ENTRIES]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bnf2003", "BNF203"), ("paddng-blocks-shift", "padding-blocks-shift")],
)
def test_explain_guesses_what_was_meant(bnfold: Bnfold, typed: str, meant: str) -> None:
    assert f"Did you mean {meant}?" in bnfold("explain", typed).err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["inspec", "FOLDABLE"], "inspect"),
        (["verfy", "FOLDABLE", "FOLDABLE"], "verify"),
        (["FOLDABLE", "--no-benhc"], "--no-bench"),
        (["inspect", "FOLDBLE"], "foldable.onnx"),
        (["inspect", "FOLDABLE", "--layer", "bnn"], "bn"),
    ],
)
def test_what_is_misspelt_is_guessed(
    bnfold: Bnfold, foldable: Path, typed: list[str], meant: str
) -> None:
    near = foldable.with_name("foldble.onnx")
    words = [w.replace("FOLDABLE", str(foldable)).replace("FOLDBLE", str(near)) for w in typed]
    done = bnfold(*words)
    assert done.code == 2 and one_line(done)
    assert re.search(rf"[Dd]id you mean \S*{meant}.?\?", done.err)


def test_a_model_may_be_called_as_a_command_nearly_is(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foldable.rename(foldable.with_name("verif"))
    monkeypatch.chdir(foldable.parent)
    assert bnfold("verif", "--no-verify", "--no-bench").code == 0


def test_one_layer_can_be_asked_for(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold("inspect", foldable, "--layer", "bn")
    assert done.code == 0 and "bn " in done.out and "1 of 1 affines are shown" in done.out


def fails_with(error: BaseException) -> object:
    def attempt(*_: object, **__: object) -> None:
        raise error

    return attempt


def test_a_bug_is_one_line_and_exit_3(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BNFOLD_DEBUG", raising=False)
    monkeypatch.setattr(api, "attempt", fails_with(ZeroDivisionError("two\nlines")))
    done = bnfold(foldable)
    assert done.code == 3
    assert one_line(done)
    assert "ZeroDivisionError: two lines" in done.err


@pytest.mark.parametrize("flags", [["-vv"], ["-v", "-v"], ["--verbose", "--verbose"]])
def test_debugging_shows_the_traceback(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setattr(api, "attempt", fails_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        bnfold(foldable, *flags)


def test_the_environment_can_ask_for_the_traceback(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "attempt", fails_with(ZeroDivisionError()))
    monkeypatch.setenv("BNFOLD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        bnfold(foldable)


def test_interrupting_is_exit_130(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "attempt", fails_with(KeyboardInterrupt()))
    done = bnfold(foldable)
    assert done.code == 130
    assert done.err.strip() == "bnfold: interrupted."
    assert list(foldable.parent.iterdir()) == [foldable]


def test_too_little_memory_is_exit_2(
    bnfold: Bnfold, foldable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "attempt", fails_with(MemoryError()))
    done = bnfold(foldable)
    assert done.code == 2
    assert one_line(done)


def test_a_closed_pipe_is_no_traceback_and_no_failed_check() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bnfold", "explain"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


def test_the_module_and_the_console_script_are_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bnfold", "explain", "BNF204"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("BNF204 activation")
