"""Many models in one run, as text."""

from __future__ import annotations

from collections.abc import Sequence

from bnfold.report import wording
from bnfold.report.rows import Outcome, Row


def row_line(row: Row) -> str:
    """One model in one line."""
    name = wording.printable(row.source)
    if row.outcome is Outcome.FAILED:
        return f"FAILED  {name}: {wording.printable(row.error)}"
    verified = {True: "verified", False: "NOT verified", None: "not verified"}[row.verified]
    counts = f"{row.folded} folded, {row.kept} kept, {verified}"
    done = "" if row.outcome is Outcome.FOLDED else " (done before)"
    return f"ok      {name} -> {wording.printable(row.output)}: {counts}{done}"


def summary_line(rows: Sequence[Row]) -> str:
    """All models in one line."""
    failed = sum(row.outcome is Outcome.FAILED for row in rows)
    folded = sum(row.folded for row in rows)
    return (
        f"{wording.plural(len(rows), 'model')}: {len(rows) - failed} done, {failed} failed; "
        f"{wording.plural(folded, 'affine')} folded"
    )
