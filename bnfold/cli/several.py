"""`bnfold MODEL MODEL ... -o FOLDER`: many models in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bnfold.cli import options as opt
from bnfold.cli.output import Output

# Asked of one model; for many they would need an answer each.
_SINGLE_ONLY = ("reports", "github")


def fold_several(
    models: Sequence[Path],
    folder: Path | None,
    jobs: int | None,
    out: Output,
    given: Mapping[str, Any],
) -> int:
    """Fold every model into ``folder``; the highest exit code of any.

    Args:
        models: what to fold.
        folder: from -o.
        jobs: from --jobs.
        out: how much to say.
        given: the other options.

    Raises:
        click.UsageError: no folder, or options that make sense for one model only.
    """
    if folder is None or folder.suffix.lower() == ".onnx":
        raise click.UsageError("several models need a folder: give one with -o.")
    if out.reports or out.github:
        raise click.UsageError("--report and --github describe one model; use --json for many.")
    values = dict(given)
    gates = opt.gating(values)
    if gates or values.pop("inputs") is not None:
        raise click.UsageError("gates and --inputs are for one model at a time.")
    opt.measuring(values)
    if values.pop("custom_objects", None):
        raise click.UsageError("--custom-objects is for one model at a time.")
    options = {"verify": values.pop("verify"), "unsafe_load": values.pop("unsafe_load")}
    checks = opt.verifying(values)
    if checks:
        options["verify_options"] = checks
    options.update(opt.folding(values))

    from bnfold.many import Row, fold_many
    from bnfold.report.manytext import row_line, rows_data, summary_line

    done = 0

    def tell(row: Row) -> None:
        nonlocal done
        done += 1
        progress(f"{done} of {len(models)}")
        if row.error:
            click.echo(f"bnfold: {row.source}: {row.error}", err=True)
        elif not (out.quiet or out.as_json):
            click.echo(row_line(row))

    with out.progress() as progress:
        rows = fold_many(models, folder, jobs=jobs, force=out.force, progress=tell, **options)
    if out.as_json:
        import json

        click.echo(json.dumps(rows_data(rows), indent=2))
    elif not out.quiet:
        click.echo(summary_line(rows))
    return max((row.exit_code for row in rows), default=0)
