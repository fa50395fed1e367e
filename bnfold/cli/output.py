"""What the command line shows: the report, progress, log lines."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bnfold.report.model import Report

_MIN_WIDTH, _MAX_WIDTH = 60, 100


@dataclass(frozen=True)
class Output:
    """How much to say, in which form, where, and where else to write it."""

    reports: tuple[Path, ...] = ()
    as_json: bool = False
    github: bool = False
    quiet: bool = False
    verbose: int = 0
    force: bool = False
    to_stderr: bool = False

    def check(self, taken: Sequence[Path] = (), more: Sequence[Path | None] = ()) -> None:
        """Refuse report files that cannot be written, before any work is done.

        Args:
            taken: files that the run reads or writes besides.
            more: files that are written besides the reports, None for none.

        Raises:
            OutputError: unknown suffix, missing folder, file exists without --force, or two
                outputs with one name.
        """
        files = [*filter(None, more), *self.reports]
        if not files:
            return
        from bnfold.core.errors import OutputError
        from bnfold.formats.atomic import check_target
        from bnfold.report.render import form_of

        seen = {path.resolve() for path in taken}
        for path in self.reports:
            form_of(path)
        for path in files:
            check_target(path, force=self.force)
            if path.resolve() in seen:
                raise OutputError(f"{path} is given twice: give each file a name of its own.")
            seen.add(path.resolve())

    def show(self, report: Report) -> None:
        """Write the report files and print the report."""
        if self.quiet and not (self.reports or self.as_json or self.github):
            return
        from bnfold.formats.atomic import write_atomically
        from bnfold.report.render import form_of, render

        for path in self.reports:
            write_atomically(path, render(report, form_of(path)), force=self.force)
        if self.as_json:
            click.echo(render(report, "json"), nl=False, err=self.to_stderr)
        elif self.github:
            click.echo(render(report, "github"), nl=False, err=self.to_stderr)
        elif not self.quiet:
            click.echo(self._text(report), nl=False, color=True, err=self.to_stderr)

    def _text(self, report: Report) -> str:
        from bnfold.report.text import render_text

        width, stream = 80, sys.stderr if self.to_stderr else sys.stdout
        if stream.isatty():
            width = min(max(shutil.get_terminal_size().columns, _MIN_WIDTH), _MAX_WIDTH)
        color = colors_wanted(stream)
        return render_text(report, width=width, color=color, verbose=bool(self.verbose))

    @contextmanager
    def progress(self) -> Iterator[Watch]:
        """Shows on a terminal what goes on; elsewhere and with --quiet it is silent."""
        if self.quiet or self.verbose or not sys.stderr.isatty() or _dumb():
            yield Watch()
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        # What is printed meanwhile passes through the display only where both are one terminal.
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description} ..."),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        ) as bars:
            yield Watch(bars)


class Watch:
    """Is told what begins, and how far that has come: one bar on a terminal, or nothing.

    Args:
        bars: where to draw; without it the beginnings go to the log.
    """

    def __init__(self, bars: Progress | None = None) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def __call__(self, stage: str) -> None:
        """``stage`` begins; until `share` is called the bar only shows that it lives."""
        if self._bars is None:
            logging.getLogger("bnfold.cli").info("%s", stage)
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(stage, total=None)

    def share(self, done: float, total: float = 1.0) -> None:
        """So much of the stage is done."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)


def colors_wanted(stream: TextIO) -> bool:
    """Whether a stream gets colours: only a terminal does, and not under NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and not _dumb()


def _dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


@contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Send log lines and Python's warnings to stderr, as far as they were asked for."""
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("bnfold", "py.warnings")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (handlers, old_level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(old_level)
