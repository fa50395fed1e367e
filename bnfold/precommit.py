"""The pre-commit hook: fail for models that hold affines which could be folded.

python -m bnfold.precommit [--max-remaining N] [--allow CODE] MODEL...
"""

from __future__ import annotations

from pathlib import Path

import click

from bnfold.core.diagnostics import Reason


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--max-remaining",
    metavar="N",
    type=click.IntRange(min=0),
    help="Also fail if more than N affines are left that cannot be folded.",
)
@click.option(
    "--allow",
    metavar="CODE",
    multiple=True,
    type=click.Choice([reason.code for reason in Reason]),
    help="Do not count affines that are left for this reason. Repeatable.",
)
@click.pass_context
def main(
    context: click.Context,
    models: tuple[Path, ...],
    max_remaining: int | None,
    allow: tuple[str, ...],
) -> None:
    """Exit code 1 if a MODEL holds affines that could be folded, 2 if one cannot be used."""
    from bnfold.core.errors import BnfoldError
    from bnfold.report.wording import printable
    from bnfold.testing import assert_folded

    worst = 0
    for model in models:
        try:
            assert_folded(model, max_remaining=max_remaining, allow=allow)
        except AssertionError as failure:
            lines, code = str(failure).splitlines(), 1
        except BnfoldError as error:
            lines, code = [" ".join(str(error).split())], 2
        else:
            continue
        click.echo("\n".join(printable(line) for line in lines))
        worst = max(worst, code)
    context.exit(worst)


if __name__ == "__main__":
    main(prog_name="python -m bnfold.precommit")
