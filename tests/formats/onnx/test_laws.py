"""One law for every row of the lowering table: folding changes no value.

Each op of the table is met with an affine behind it and one in front of it. Original and folded
model are compared in float64 by ONNX's own reference, and what is left in the graph, or why the
affine stayed, is asserted. An op without a row fails the last test.
"""

from __future__ import annotations

import pytest

import bnfold.formats.onnx.lower  # noqa: F401 - fills the table
from bnfold.formats.onnx.rules import RULES
from tests.formats.onnx.laws import elementwise, linear, move, pick
from tests.formats.onnx.support.cases import Case
from tests.formats.onnx.support.check import (
    assert_same,
    assert_well_formed,
    fold,
    is_valid,
    left_in,
    reasons,
    run_float64,
    run_reference,
)

TABLES = (linear, move, pick, elementwise)
BACKWARD = {op: rows for table in TABLES for op, rows in table.BACKWARD.items()}
FORWARD = {op: rows for table in TABLES for op, rows in table.FORWARD.items()}
LAWS = [
    pytest.param(row, id=f"{direction}-{op}-{row.title.replace(' ', '_')}")
    for direction, laws in (("backward", BACKWARD), ("forward", FORWARD))
    for op, rows in laws.items()
    for row in rows
]


@pytest.mark.parametrize("row", LAWS)
def test_law(row: Case) -> None:
    for seed in (0, 1):
        proto = row.build("double", seed)
        assert is_valid(proto)
        result, folded = fold(proto)
        assert left_in(folded) == row.left
        assert set(row.why) <= reasons(result.kept)
        assert bool(result.kept) == bool(row.why)
        assert_well_formed(proto, folded)
        if row.runs:
            run = run_reference if row.reference else run_float64
            feeds = row.inputs_for(proto, seed)
            assert_same(run(proto, feeds), run(folded, feeds), row.title)


@pytest.mark.parametrize("laws", [BACKWARD, FORWARD], ids=["backward", "forward"])
def test_every_op_of_the_table_has_a_law(laws: dict[str, tuple[Case, ...]]) -> None:
    assert {op for _, op in RULES} == set(laws)
