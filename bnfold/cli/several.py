"""`bnfold MODEL MODEL ... -o FOLDER`: many models in one run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bnfold.cli import options as opt
from bnfold.cli.output import Output


def names_a_folder(output: str | None) -> bool:
    """Whether -o names a folder: one that is there, or a name that ends in a slash."""
    if output is None:
        return False
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return output.endswith(separators) or Path(output).is_dir()


def fold_several(
    models: Sequence[Path],
    folder: str | None,
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
    if folder is None or (Path(folder).suffix.lower() == ".onnx" and not names_a_folder(folder)):
        raise click.UsageError("several models are written to a folder: name one with -o.")
    values = dict(given)
    single = {
        "--report and --github describe": bool(out.reports or out.github),
        "gates judge": bool(opt.gating(values)),
        "--inputs is for": values.pop("inputs") is not None,
        "--certificate is of": values.pop("certificate") is not None,
        "--counterexample is of": values.get("counterexample") is not None,
        "--custom-objects is for": bool(values.pop("custom_objects", None)),
    }
    for what, given_here in single.items():
        if given_here:
            raise click.UsageError(f"{what} one model, written to a file that -o names.")
    opt.measuring(values)
    options = {
        name: value
        for name in ("verify", "unsafe_load", "converter", "to")
        if (value := values.pop(name)) is not None
    }
    checks = opt.verifying(values)
    if checks:
        options["verify_options"] = checks
    options.update(opt.folding(values))

    from bnfold.many import Row, fold_many
    from bnfold.report.manytext import row_line, summary_line
    from bnfold.report.wording import printable

    done = 0

    def tell(row: Row) -> None:
        nonlocal done
        done += 1
        progress.share(done, len(models))
        if row.error:
            place = "" if row.source in row.error else f"{row.source}: "
            click.echo(f"bnfold: {printable(place + row.error)}", err=True)
        elif not (out.quiet or out.as_json):
            click.echo(row_line(row))

    with out.progress() as progress:
        progress(f"folding {len(models)} models")
        rows = fold_many(models, folder, jobs=jobs, force=out.force, progress=tell, **options)
    if out.as_json:
        from bnfold.report.jsonform import render_rows_json

        click.echo(render_rows_json(rows), nl=False)
    elif not out.quiet:
        click.echo(summary_line(rows))
    return max((row.exit_code for row in rows), default=0)
