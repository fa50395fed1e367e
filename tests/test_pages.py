"""Pages of the documentation that are written from the source are what it says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnfold.core.diagnostics import Reason
from scripts import keras_kinds, refusal_codes, support_table
from tests.formats.onnx.situations.table import TABLE

# Met only within a walk that then tries something else, whose own reason is reported.
INNER = (Reason.COST_WOULD_RISE,)


@pytest.mark.parametrize(
    "script",
    [support_table, refusal_codes, keras_kinds],
    ids=["situations", "codes", "kinds"],
)
def test_the_page_is_fresh(script: object) -> None:
    path: Path = script.PAGE  # type: ignore[attr-defined]
    name = Path(script.__file__).name  # type: ignore[attr-defined]
    assert path.read_text(encoding="utf-8") == script.page(), (  # type: ignore[attr-defined]
        f"run python scripts/{name}"
    )


def test_every_code_has_a_situation() -> None:
    given = {why.split()[1] for rows in TABLE.values() for row in rows for why in row.why}
    assert {reason.code for reason in Reason} - given == {reason.code for reason in INNER}
