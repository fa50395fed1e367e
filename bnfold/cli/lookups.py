"""The commands that answer a question without folding: what differs, what a code means."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bnfold.cli import options as opt
from bnfold.cli.group import examples, suggestion
from bnfold.cli.streams import received

if TYPE_CHECKING:
    from bnfold.core.diagnostics import Reason
    from bnfold.report.model import Report
    from bnfold.verify.codes import Fault

# The environment variable by which a shell asks for completions.
COMPLETE_VARIABLE = "_BNFOLD_COMPLETE"
_MODEL = click.Path(path_type=Path)


@click.command(
    "diff",
    epilog=examples(
        "bnfold diff model.onnx folded.onnx", "bnfold diff model.onnx folded.onnx --json"
    ),
)
@click.argument("before", type=_MODEL)
@click.argument("after", type=_MODEL)
@opt.loading_options
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.option("-v", "--verbose", count=True, help="Print long lists whole; -vv also tracebacks.")
def diff_command(before: Path, after: Path, as_json: bool, verbose: int, **rest: Any) -> int:
    """Show what differs between two models: interface, nodes, weights; exit 1 if anything does."""
    from bnfold import api

    before, after = received(before), received(after)
    diff = api.diff(before, after, **opt.loading(rest))
    if as_json:
        from bnfold.report.jsonform import render_diff_json

        click.echo(render_diff_json(diff), nl=False)
    else:
        from bnfold.report.difftext import render_diff

        click.echo(render_diff(diff, verbose=bool(verbose)), nl=False)
    return 0 if diff.is_empty else 1


def only_layers(report: Report, names: Sequence[str]) -> Report:
    """The report with the affines of these layers or ops alone; all of them without names.

    Raises:
        click.UsageError: the model has no affine of that name.
    """
    if not names:
        return report
    known = {name: row for row in report.affines for name in (row.name, *row.ops)}
    for name in names:
        if name not in known:
            guess = suggestion(name, known) or " 'bnfold inspect MODEL' lists them all."
            raise click.UsageError(f"the model has no affine {name!r}.{guess}")
    rows = tuple(row for row in report.affines if {row.name, *row.ops}.intersection(names))
    note = f"{len(rows)} of {len(report.affines)} affines are shown, as asked"
    return dataclasses.replace(report, affines=rows, notes=(*report.notes, note))


@click.command("completion", epilog=examples('eval "$(bnfold completion zsh)"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print the completion of SHELL: eval "$(bnfold completion bash)".

    For fish: bnfold completion fish | source
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root.command, {}, "bnfold", COMPLETE_VARIABLE).source())
    return 0


def _codes(ctx: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    from bnfold.core.diagnostics import Reason
    from bnfold.verify.codes import Fault

    entries: list[Reason | Fault] = [*Reason, *Fault]
    return [
        CompletionItem(entry.code, help=entry.title)
        for entry in entries
        if entry.code.startswith(start.upper())
    ]


@click.command(
    "explain", epilog=examples("bnfold explain BNF203", "bnfold explain padding-blocks-shift")
)
@click.argument("code", required=False, shell_complete=_codes)
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
