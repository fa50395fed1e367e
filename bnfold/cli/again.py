"""The command that shows a failure again, and where its inputs are kept."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from bnfold.verify.types import Verification

# What only says how to show a result, or what to do beside checking it.
_LEFT_OUT = frozenset(
    {
        *("reports", "as_json", "github", "quiet", "verbose", "force", "counterexample"),
        *("mutations", "no_bench", "bench_seconds", "batches", "threads"),
        *("max_remaining", "require_speedup", "max_size_growth"),
    }
)
# What draws inputs, and what names them: the offending ones stand for all.
_DRAWN = frozenset({"samples", "inputs"})


def kept_inputs() -> Path:
    """A name in the system's folder for temporary files, for offending inputs."""
    return Path(tempfile.gettempdir()) / f"bnfold-offending-{secrets.token_hex(6)}.npz"


def command_again(context: click.Context, verification: Verification | None) -> str:
    """The command line that shows a failed verification again; "" where none failed."""
    if verification is None or verification.passed:
        return ""
    saved = verification.counterexample
    words = [context.command_path, *_words(context, _LEFT_OUT | (_DRAWN if saved else set()))]
    if saved is not None:
        words += ["--inputs", str(saved)]
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def _words(context: click.Context, left_out: frozenset[str]) -> Iterator[str]:
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in left_out or not given or value is None:
            continue
        many = value if isinstance(value, tuple) else (value,)
        if isinstance(parameter, click.Argument):
            yield from map(str, many)
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            yield parameter.opts[-1]
        else:
            for item in many:
                yield from (parameter.opts[-1], str(item))
