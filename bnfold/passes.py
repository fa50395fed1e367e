"""bnfold as a pass for onnx-ir, beside its own and those of others.

For example::

    import onnx_ir as ir
    from bnfold.passes import FoldBatchNorm

    fold = FoldBatchNorm()
    ir.passes.Sequential(ir.passes.common.RemoveUnusedNodesPass(), fold)(model)
    for kept in fold.kept:
        print(kept.source, kept.refusals[0].reason.code)
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bnfold.core.diagnostics import Fold, Kept
from bnfold.formats.onnx.fold import FoldOptions, fold_model


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold every BatchNormalization and other affine that can be folded exactly, in place.

    Args:
        fold_overridable: treat initializers that are also graph inputs as constants.
        labels: node name to the layer it came from, for `folds` and `kept`.

    Attributes:
        folds: the affines of the last model that are gone, and what took them.
        kept: those that stay, each with the refusals of both directions.
    """

    def __init__(
        self, *, fold_overridable: bool = False, labels: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.options = FoldOptions(fold_overridable=fold_overridable)
        self.labels = dict(labels or {})
        self.folds: tuple[Fold, ...] = ()
        self.kept: tuple[Kept, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold ``model``; ``modified`` says whether anything changed."""
        result = fold_model(model, labels=self.labels, options=self.options, in_place=True)
        self.folds, self.kept = result.folds, result.kept
        return ir.passes.PassResult(model, modified=bool(result.plan.graphs))
