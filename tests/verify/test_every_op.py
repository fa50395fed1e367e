"""Every model of the onnx package's own op tests against itself: no error and no failure."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases

from bnfold.verify.compare import verify_models
from bnfold.verify.types import CheckKind, Status

CASES = {case.name: case.model for case in collect_testcases(None) if case.model is not None}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("letter", sorted({name.split("_")[1][0] for name in CASES}))
def test_a_model_never_differs_from_itself(letter: str) -> None:
    shown = 0
    for name, proto in CASES.items():
        if name.split("_")[1][0] != letter:
            continue
        model = ir.from_proto(proto)
        result = verify_models(model, model.clone(), samples=2, budget_seconds=3, prove=False)
        assert not [c for c in result.checks if c.status is Status.FAILED], name
        runs = [c.status for c in result.checks if c.kind is CheckKind.END_TO_END]
        shown += Status.PASSED in runs
    assert shown
