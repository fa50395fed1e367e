"""Every command and snippet of every page does what it says, or says why it is not run here."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from bnfold.cli.commands import cli
from bnfold.cli.main import run
from tests.docs.pages import ROOT, Block, blocks, blocks_of, pages

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

LANGUAGES = {"", "sh", "python", "yaml", "console"}
WRITES = {"-o", "--output", "--report", "--counterexample"}
KERAS = re.compile(r"\.(h5|keras)\b|keras\.Model|import keras")


def every(language: str) -> list[Block]:
    found = blocks(language)
    assert found
    return found


def bnfold_lines() -> list[tuple[Block, list[str]]]:
    """Each command line of bnfold once, with the first block that shows it."""
    found: dict[tuple[str, ...], Block] = {}
    for block in every("sh"):
        for words in block.commands():
            if Path(words[0]).name == "bnfold":
                found.setdefault(tuple(words[1:]), block)
    return [(block, list(words)) for words, block in found.items()]


LINES = bnfold_lines()


def name_of(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def command_of(arguments: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and its arguments: as the group itself decides."""
    with click.Context(cli, info_name="bnfold") as context:
        context.obj = None
        first = arguments[0] if arguments[0] in cli.commands else "fold"
        return cli.commands[first], arguments[arguments[0] == first :]


def parsed(arguments: list[str]) -> click.Context:
    """The line parsed by the command line's own parser, without running it."""
    command, rest = command_of(arguments)
    return command.make_context(command.name, list(rest))


def written(words: list[str]) -> list[str]:
    """The files that the line is going to write. A certificate is written by a fold alone."""
    options = WRITES if words[0] == "verify" else {*WRITES, "--certificate"}
    return [word for before, word in itertools.pairwise(words) if before in options]


def prepare(home: Path, words: list[str]) -> None:
    """Take the files away that the line is going to write."""
    for name in written(words):
        if (home / name).is_symlink():
            (home / name).unlink()


# ------------------------------------------------------------------------------ pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_is_of_a_kind_that_is_tested(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES or block.language.startswith("{"), str(block)
        assert set(block.remarks) <= {"transcript", "exit code", "not run"}, str(block)
        if block.language == "console":
            assert "transcript" in block.remarks and block.page == "README.md", str(block)


# ------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(("block", "words"), LINES, ids=name_of)
def test_the_command_line_takes_it(block: Block, words: list[str]) -> None:
    parsed(words)


def test_a_wrong_line_would_be_found() -> None:
    for line in ("verify one.onnx", "model.onnx --no-such-option", "model.onnx --max-remaining x"):
        with pytest.raises(click.UsageError):
            parsed(shlex.split(line))


def expected_code(block: Block) -> int:
    return int(block.remarks.get("exit code", "0"))


ONNX_LINES = [(block, words) for block, words in LINES if not KERAS.search(" ".join(words))]


def quicker(words: list[str]) -> list[str]:
    """The same line with less time for what is measured: figures decide nothing here."""
    options = {option for item in parsed(words).command.params for option in item.opts}
    if "--no-bench" in options:
        return [*words, "--no-bench"]
    shorter = [*words, "--bench-seconds", "0.1"] if "--bench-seconds" in options else list(words)
    if "--mutation-test" in shorter:
        shorter[shorter.index("--mutation-test") + 1] = "2"
    return shorter


def expanded(words: list[str]) -> list[str]:
    """The words as a shell gives them: a pattern becomes the files that it names."""
    found = {word: sorted(map(str, Path().glob(word))) for word in words if "*" in word}
    return [one for word in words for one in (found.get(word) or [word])]


@pytest.mark.parametrize(("block", "words"), ONNX_LINES, ids=name_of)
def test_lines_on_onnx_models_do_what_they_say(
    block: Block, words: list[str], home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = expanded(words)
    prepare(home, words)
    code = run(quicker(words))
    printed = capfd.readouterr()
    assert code == expected_code(block), printed.err
    assert printed.out
    assert all((home / target).exists() for target in written(words))


PIPES = [(b, line) for b in every("sh") for line in b.pipes() if "not run" not in b.remarks]


@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell of POSIX")
@pytest.mark.parametrize(("block", "line"), PIPES, ids=name_of)
def test_pipes_do_what_they_say(block: Block, line: str, home: Path, tmp_path: Path) -> None:
    shim = tmp_path / "bin" / "bnfold"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnfold "$@"\n')
    shim.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == expected_code(block), done.stderr
    written = re.search(r">(\S+)$", line)
    assert written is None or (home / written[1]).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize(("block", "words"), LINES, ids=name_of)
def test_lines_do_what_they_say_word_for_word(block: Block, words: list[str], home: Path) -> None:
    prepare(home, words)
    done = subprocess.run(
        [sys.executable, "-m", "bnfold", *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == expected_code(block), done.stderr


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def check_pip(words: list[str]) -> None:
    """`pip install ...`: extras that exist, files that exist."""
    assert words[0] == "install"
    extras = project()["optional-dependencies"]
    for before, word in itertools.pairwise(words):
        if before in ("-r", "--requirement"):
            assert (ROOT / word).is_file(), word
        match = re.search(r"\[([\w,]+)\]$", word)
        assert match is None or set(match[1].split(",")) <= set(extras), word  # type: ignore[arg-type]


def check_python(words: list[str]) -> None:
    """`python -m MODULE ...` and `python FILE ...`: there, and knowing the options."""
    if words[0] == "-m":
        module, rest = words[1], words[2:]
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        if module in ("venv", "pytest", "build"):
            return
        source = Path(str(spec.origin))
        source = source.with_name("__main__.py") if source.name == "__init__.py" else source
    else:
        source, rest = ROOT / words[0], words[1:]
    text = source.read_text("utf-8")
    for word in rest:
        assert not word.startswith("--") or f'"{word.partition("=")[0]}"' in text, word


def check_tool(words: list[str]) -> None:
    """A tool of development: in the extra that installs them."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "bnfold": lambda words: None,  # see above
    "pip": check_pip,
    "python": check_python,
    "python3": check_python,
    "ruff": check_tool,
    "mypy": check_tool,
    "nox": check_tool,
    "sphinx-build": check_tool,
    "pre-commit": check_tool,
}


@pytest.mark.parametrize("block", every("sh"), ids=str)
def test_other_commands_name_what_is_there(block: Block) -> None:
    for words in block.commands():
        CHECKS[Path(words[0]).name](words[1:])


# ------------------------------------------------------------------------------ Python


def sources() -> str:
    return "\n".join(path.read_text("utf-8") for path in (ROOT / "bnfold").rglob("*.py"))


def check_snippet(block: Block, home: Path) -> None:
    if "not run" in block.remarks or block.text in sources():
        return  # an excerpt of the source, word for word
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block.text, str(block), "exec"), namespace)
    for name, function in namespace.items():
        if name.startswith("test_"):
            fixtures = {"tmp_path": home}
            function(**{name: fixtures[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize("block", [b for b in every("python") if not KERAS.search(b.text)], ids=str)
def test_python_snippets_run(block: Block, home: Path) -> None:
    check_snippet(block, home)


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("keras")
@pytest.mark.parametrize("block", [b for b in every("python") if KERAS.search(b.text)], ids=str)
def test_python_snippets_with_keras_run(block: Block, home: Path) -> None:
    check_snippet(block, home)
