"""``-`` for a file: a model from stdin, a folded model to stdout."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

DASH = Path("-")


def received(model: Path) -> Path:
    """The path of a model; one that comes from stdin is kept in a file until the command ends.

    Raises:
        click.UsageError: stdin was taken already, or is a terminal.
    """
    if model != DASH:
        return model
    context = click.get_current_context()
    if context.meta.setdefault("bnfold.stdin", False):
        raise click.UsageError("stdin ('-') can be read only once.")
    if sys.stdin.isatty():
        raise click.UsageError("stdin ('-') is a terminal: pipe a model into it.")
    context.meta["bnfold.stdin"] = True
    path = _scratch() / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


@dataclass(frozen=True)
class Sink:
    """Where a result goes.

    Attributes:
        path: the file to write.
        to_stdout: the file is a temporary one, to be copied to stdout by `deliver`.
    """

    path: Path
    to_stdout: bool = False

    @property
    def name(self) -> str:
        """For reports."""
        return "standard output" if self.to_stdout else str(self.path)

    def deliver(self) -> None:
        """Write what belongs on stdout there."""
        if self.to_stdout:
            with self.path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def sink_name(output: str | None, form: str | None) -> str | None:
    """The name to write to: a temporary file's where -o says stdout.

    Args:
        output: from -o.
        form: from --to, "onnx" or "keras".

    Raises:
        click.UsageError: stdout is a terminal, or the form is one that only files have.
    """
    if output != str(DASH):
        return output
    if form not in (None, "onnx"):
        raise click.UsageError("stdout ('-o -') gets ONNX; give Keras models a file.")
    if sys.stdout.isatty():
        raise click.UsageError("stdout ('-o -') is a terminal: redirect it to a file or a pipe.")
    return str(_scratch() / "stdout.onnx")


def _scratch() -> Path:
    """A folder that is gone when the command ends."""
    folder = tempfile.TemporaryDirectory(prefix="bnfold-")
    return Path(click.get_current_context().with_resource(folder))
