"""Every situation that bnfold claims to handle, a row each; docs/support-table.md shows them.

Each row is folded in float32 and held to every invariant: in onnxruntime, at every level of
optimization, it is as near to the truth as the original; the model is valid, of the same interface,
never larger, and a second fold finds nothing. Unless the row is about a type, it is folded in
float64 too, where both models must agree to the rounding of that type.
"""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import ModelProto

from bnfold.formats.onnx.apply import apply_plan
from bnfold.formats.onnx.fold import OnnxFold
from bnfold.verify.evaluate import Float64Model
from bnfold.verify.lift import lift_to_float64
from tests.formats.onnx.situations.table import TABLE
from tests.formats.onnx.support.build import feeds_of
from tests.formats.onnx.support.cases import Case
from tests.formats.onnx.support.check import (
    LEVELS,
    assert_no_further,
    assert_preserved,
    assert_same,
    assert_settled,
    assert_well_formed,
    fold,
    is_valid,
    left_in,
    reasons,
    run_float64,
    run_onnxruntime,
    run_reference,
)

ROWS = [
    pytest.param(
        row,
        id=f"{section}: {row.title}".replace(" ", "_"),
        marks=[pytest.mark.xfail(strict=True)] if row.expected else [],
    )
    for section, rows in TABLE.items()
    for row in rows
]


@pytest.mark.parametrize("row", ROWS)
def test_situation(row: Case) -> None:
    proto = row.build("float")
    assert is_valid(proto) == row.valid
    result, folded = fold(proto, row.options)
    assert left_in(folded) == row.left
    assert set(row.why) <= reasons(result.kept)
    assert bool(result.kept) == bool(row.why)
    assert all(kept.refusals for kept in result.kept)
    assert_well_formed(proto, folded)
    assert_preserved(proto, folded)
    assert_settled(proto, folded, row.options)
    if row.runs:
        feeds = row.inputs_for(proto)
        truth = run_float64(proto, feeds)
        for level in LEVELS:
            try:
                expected = run_onnxruntime(proto, feeds, level)
            except Exception:  # onnxruntime cannot run the original either
                continue
            assert_no_further(
                truth, expected, run_onnxruntime(folded, feeds, level), level, row.step
            )
        _assert_plan_is_unrounded(proto, result)
        if not row.dtype:
            _assert_exact(row)


def _assert_exact(row: Case) -> None:
    for seed in (0, 1):
        proto = row.build("double", seed)
        _, folded = fold(proto, row.options)
        feeds = row.inputs_for(proto, seed)
        run = run_reference if row.reference else run_float64
        assert_same(run(proto, feeds), run(folded, feeds), "float64")


def _assert_plan_is_unrounded(proto: ModelProto, result: OnnxFold) -> None:
    """The plan of a model in a small type holds for the same model in float64, to its rounding.

    Verification relies on this: it tells a wrong formula from rounding.
    """
    lifted = lift_to_float64(ir.from_proto(proto))
    exact = apply_plan(lifted, result.plan, double=True)
    feeds = feeds_of(proto)
    assert_same(
        list(Float64Model(lifted).run(feeds).values()),
        list(Float64Model(exact).run(feeds).values()),
        "lifted",
    )


def test_titles_are_unique() -> None:
    titles = [row.title for rows in TABLE.values() for row in rows]
    assert len(titles) == len(set(titles))
