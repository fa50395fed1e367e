"""The commands that answer a question without folding: what differs, what a code means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnfold.cli import options as opt
from bnfold.cli.group import suggestion

if TYPE_CHECKING:
    from bnfold.core.diagnostics import Reason
    from bnfold.verify.codes import Fault

_MODEL = click.Path(path_type=Path)


@click.command("diff")
@click.argument("before", type=_MODEL)
@click.argument("after", type=_MODEL)
@opt.loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.option("-v", "--verbose", count=True, help="Print long lists whole; -vv also tracebacks.")
def diff_command(before: Path, after: Path, as_json: bool, verbose: int, **rest: Any) -> int:
    """Show what differs between two models: interface, nodes, weights; exit 1 if anything does."""
    from bnfold import api

    diff = api.diff(before, after, **opt.loading(rest))
    if as_json:
        from bnfold.report.jsonform import render_diff_json

        click.echo(render_diff_json(diff), nl=False)
    else:
        from bnfold.report.difftext import render_diff

        click.echo(render_diff(diff, verbose=bool(verbose)), nl=False)
    return 0 if diff.is_empty else 1


@click.command("explain")
@click.argument("code", required=False)
def explain_command(code: str | None) -> int:
    """Explain CODE: why an affine stays (BNF203) or a check failed (BNV120); all without CODE."""
    from bnfold.core.diagnostics import Reason
    from bnfold.verify.codes import Fault

    entries: list[Reason | Fault] = [*Reason, *Fault]
    if code is None:
        for entry in entries:
            click.echo(f"{entry.code}  {entry.title}")
        return 0
    wanted = code.strip().lower()
    found = [
        entry for entry in entries if wanted in (entry.code.lower(), str(entry.number), entry.title)
    ]
    if not found:
        known = [name for entry in entries for name in (entry.code, entry.title)]
        guess = suggestion(code, known) or " 'bnfold explain' lists them all."
        raise click.UsageError(f"nothing has the code {code!r}.{guess}")
    texts = [
        f"{entry.code} {entry.title}\n\n{entry.why}\n\nWhat to do: {entry.hint}\n"
        for entry in found
    ]
    click.echo("\n".join(texts), nl=False)
    return 0
