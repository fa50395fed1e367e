"""The fold as a pass of onnx-ir."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto
from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass

from bnfold.core.diagnostics import Reason
from bnfold.passes import FoldBatchNorm
from tests.formats.onnx.support.build import Norm, feeds_of, model
from tests.formats.onnx.support.check import (
    assert_same,
    assert_well_formed,
    fold,
    left_in,
    run_reference,
)


def _proto(**settings: object) -> ModelProto:
    return model(
        "h = Conv(x, W, b)  i = Identity(h)  g = BN(i, a)  r = Sigmoid(g)  y = BN(r, c)",
        "T[2,3,4,4] x",
        W=(3, 3, 3, 3),
        b=(3,),
        a=Norm(3),
        c=Norm(3),
        **settings,
    )


def test_it_changes_the_model_it_is_given() -> None:
    proto = _proto()
    subject = ir.from_proto(proto)
    result = FoldBatchNorm()(subject)
    assert result.model is subject
    assert result.modified
    folded = ir.to_proto(subject)
    assert folded.SerializeToString() == fold(proto)[1].SerializeToString()
    assert_well_formed(proto, folded)
    feeds = feeds_of(proto)
    assert_same(run_reference(proto, feeds), run_reference(folded, feeds))


def test_reasons_are_reachable() -> None:
    fold_pass = FoldBatchNorm(labels={"batchnormalization2": "bn_1"})
    fold_pass(ir.from_proto(_proto()))
    assert [item.source for item in fold_pass.folds] == ["bn_1"]
    (kept,) = fold_pass.kept
    assert kept.source == "batchnormalization4"
    assert [refusal.reason for refusal in kept.refusals] == [
        Reason.ACTIVATION,
        Reason.GRAPH_OUTPUT,
    ]


def test_in_a_pipeline_until_nothing_changes() -> None:
    proto = _proto()
    subject = ir.from_proto(proto)
    fold_pass = FoldBatchNorm()
    pipeline = ir.passes.PassManager(
        [IdentityEliminationPass(), fold_pass, RemoveUnusedNodesPass()], steps=5, early_stop=True
    )
    pipeline(subject)
    assert left_in(ir.to_proto(subject)) == "Conv Sigmoid BatchNormalization"
    assert fold_pass.folds == (), "the last of the rounds found nothing more"
    assert len(fold_pass.kept) == 1


def test_nothing_to_fold_is_no_change() -> None:
    proto = model("y = Relu(x)", "T[2,3] x")
    subject = ir.from_proto(proto)
    assert not FoldBatchNorm()(subject).modified
    assert left_in(ir.to_proto(subject)) == "Relu"


@pytest.mark.parametrize(("allowed", "left"), [(False, "Conv BatchNormalization"), (True, "Conv")])
def test_overridable_initializers(allowed: bool, left: str) -> None:
    proto = model(
        "h = Conv(x, W, b)  y = BN(h, a)",
        "T[2,3,4,4] x",
        W=(3, 3, 1, 1),
        b=(3,),
        a=Norm(3),
        listed=("*",),
    )
    subject = ir.from_proto(proto)
    FoldBatchNorm(fold_overridable=allowed)(subject)
    assert left_in(ir.to_proto(subject)) == left


def test_a_constant_too_large_for_its_type_leaves_the_model_as_it_was() -> None:
    proto = model(
        "h = Gemm(x, W, b)  y = Mul(h, s)",
        "T[2,3] x",
        W=np.full((3, 3), 300.0),
        b=(3,),
        s=np.array([1.0, 400.0, 2.0]),
        dtype="float16",
    )
    subject = ir.from_proto(proto)
    fold_pass = FoldBatchNorm()
    assert not fold_pass(subject).modified
    assert ir.to_proto(subject).SerializeToString() == (
        ir.to_proto(ir.from_proto(proto)).SerializeToString()
    )
    assert Reason.OVERFLOW in {refusal.reason for refusal in fold_pass.kept[0].refusals}
