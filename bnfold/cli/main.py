"""The entry point: runs the command line and turns every ending into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from bnfold.cli.commands import cli
from bnfold.cli.lookups import COMPLETE_VARIABLE
from bnfold.core.errors import BnfoldError

EXIT_USAGE = 2
EXIT_INTERNAL = 3
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main() -> None:
    """What the console script ``bnfold`` calls."""
    for stream in (sys.stdout, sys.stderr):
        # A layer name that the terminal's encoding lacks must not end the run.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; whatever happens becomes one line on stderr and an exit code.

    Exit codes: 0 done; 1 a check failed; 2 unusable input, output or usage; 3 a bug in bnfold;
    130 interrupted; 141 the reader of the output went away.
    """
    debug = _wants_traceback(arguments)
    try:
        code = cli.main(list(arguments) or ["--help"], prog_name="bnfold", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted.")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and COMPLETE_VARIABLE in os.environ:
            return int(error.code or 0)  # a shell asked what could be typed
        # click answers a closed pipe by SystemExit(1), which here would mean a failed check; it
        # has no other use for SystemExit in this mode. Python would flush again and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except click.ClickException as error:
        _say(f"{_one_line(error.format_message())} See 'bnfold --help'.")
        return EXIT_USAGE
    except BnfoldError as error:
        if debug:
            raise
        _say(_one_line(str(error)))
        return error.exit_code
    except MemoryError:
        if debug:
            raise
        _say("not enough memory for this model.")
        return EXIT_USAGE
    except Exception as error:
        if debug:
            raise
        text = _one_line(f"{type(error).__name__}: {error}")
        _say(f"this is a bug in bnfold: {text} (please report it; -vv shows the traceback)")
        return EXIT_INTERNAL
    return code if isinstance(code, int) else 0


def _wants_traceback(arguments: Sequence[str]) -> bool:
    if os.environ.get("BNFOLD_DEBUG", "") not in ("", "0"):
        return True
    count = sum(
        argument.count("v") if set(argument) == {"-", "v"} and argument[1] != "-" else 0
        for argument in arguments
        if len(argument) > 1
    )
    return count + arguments.count("--verbose") >= 2


def _one_line(text: str) -> str:
    from bnfold.report.wording import printable

    return printable(" ".join(text.split()))


def _say(text: str) -> None:
    click.echo(f"bnfold: {text}", err=True)
