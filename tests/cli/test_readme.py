"""The commands and snippets of README.md and docs/getting-started.md do what they say."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import onnx
import pytest

from bnfold.cli.commands import cli
from tests.cli.conftest import Bnfold

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "docs" / "getting-started.md"]


def marked(name: str) -> str:
    """The one command line between two markers of README.md."""
    match = re.search(
        rf"<!-- {name} -->\n```sh\n(.+)\n```\n<!-- /{name} -->", README.read_text("utf-8")
    )
    assert match, name
    return match.group(1)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands() -> list[list[str]]:
    """Every bnfold command line of the pages, without comments."""
    lines = [
        line
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith("bnfold ")
    ]
    assert len(lines) > 10
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that has the sample models, as a clone has."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without TensorFlow, as the main command makes it."""
    for name in ("tensorflow", "keras", "tf_keras", "tf2onnx"):
        monkeypatch.setitem(sys.modules, name, None)


def test_both_commands_stand_on_the_first_screen() -> None:
    top = "\n".join(README.read_text("utf-8").splitlines()[:25])
    for name in ("main-command", "test-command"):
        assert marked(name) in top
        assert marked(name).startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_ci_runs_the_test_command_of_the_readme_and_no_other() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "<!-- test-command -->" in script
    assert "-m pytest" not in script
    assert marked("test-command").endswith(".venv/bin/python -m pytest")


@pytest.mark.usefixtures("light")
def test_the_main_command_does_the_main_job(bnfold: Bnfold, home: Path) -> None:
    program, *arguments = shlex.split(marked("main-command").split(" && ")[-1])
    assert program == ".venv/bin/bnfold"
    done = bnfold(*arguments)
    assert (done.code, done.err) == (0, "")
    onnx.checker.check_model(onnx.load(home / "folded.onnx"))


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_option_that_is_shown_exists(arguments: list[str]) -> None:
    name = arguments[0] if arguments[0] in cli.commands else "fold"
    known = {option for item in cli.commands[name].params for option in item.opts}
    used = {argument for argument in arguments if argument.startswith("-")}
    assert used <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("home")
def test_python_snippets_run(page: Path) -> None:
    snippets = blocks(page, "python")
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, page.name, "exec"), {})


def transcripts() -> dict[str, str]:
    """Command line to what the page says it prints."""
    text = README.read_text("utf-8")
    found = re.findall(
        r"<!-- transcript: bnfold (.+?) -->\n```console\n\$ bnfold \1\n(.+?)```\n", text, re.S
    )
    assert len(found) == text.count("<!-- transcript:")
    return dict(found)


@pytest.mark.usefixtures("light", "home")
@pytest.mark.parametrize("line", [line for line in transcripts() if line.startswith("inspect ")])
def test_transcripts_of_inspections_are_what_is_printed(bnfold: Bnfold, line: str) -> None:
    assert bnfold(*shlex.split(line)).out == transcripts()[line]


@pytest.mark.usefixtures("light", "home")
@pytest.mark.parametrize("line", [line for line in transcripts() if "-o" in line])
def test_transcripts_of_folds_say_what_is_printed_figures_aside(bnfold: Bnfold, line: str) -> None:
    printed, shown = bnfold(*shlex.split(line), "--no-bench").out, transcripts()[line]
    head = shown.partition("\nEquivalent")[0]
    assert printed.startswith(head)
    # Kinds of checks that are shown are those that ran; figures vary with the machine.
    kinds = re.compile(r"^  (?:ok|skipped) +(\S+)", re.M)
    assert kinds.findall(printed) == kinds.findall(shown)
    assert shown.splitlines()[-1] == printed.splitlines()[-1] == "Wrote folded.onnx"
