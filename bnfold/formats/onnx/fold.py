"""Folding an ONNX model: lower each of its graphs, plan, apply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx_ir as ir

from bnfold.core.diagnostics import Fold, Kept, Reason
from bnfold.core.graph import Use
from bnfold.core.planner import plan
from bnfold.formats.onnx.apply import DoesNotFit, GraphPlan, OnnxPlan, apply_plan
from bnfold.formats.onnx.lower import lower
from bnfold.formats.onnx.scope import scopes
from bnfold.formats.onnx.shapes import scratch_copy

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class FoldOptions:
    """What a user may allow.

    Attributes:
        fold_overridable: treat initializers that are also graph inputs as constants.
        collapse: make one matrix product of two in a row where that is smaller.
    """

    fold_overridable: bool = False
    collapse: bool = False


@dataclass(frozen=True)
class OnnxFold:
    """A folded model and what happened.

    Attributes:
        model: the folded copy, or the model itself if it was folded in place.
        folds, kept: every affine of the original is in one of them.
        plan: to apply the same changes to a model of the same structure.
    """

    model: ir.Model
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    plan: OnnxPlan = field(repr=False)


def fold_model(
    model: ir.Model,
    *,
    labels: Mapping[str, str] = _NO_LABELS,
    steps: Collection[str] = (),
    options: FoldOptions | None = None,
    in_place: bool = False,
) -> OnnxFold:
    """Fold every affine that can be folded exactly, on a copy unless told otherwise.

    Args:
        model: any valid model; it stays as it is.
        labels: node name to the layer it came from, for the report.
        steps: names of nodes that are steps of something else: where such an affine stays, it is
            not reported.
        options: see `FoldOptions`.
        in_place: change ``model`` itself.
    """
    options = options or FoldOptions()
    scratch = scratch_copy(model)
    lowered = [
        lower(scope, labels) for scope in scopes(scratch, fold_overridable=options.fold_overridable)
    ]
    blocked: dict[int, dict[Use, Reason]] = {}
    while True:
        parts = [
            GraphPlan(
                number,
                plan(part.graph, blocked.get(number)),
                part.nodes,
                part.dtypes,
                part.keeping,
            )
            for number, part in enumerate(lowered)
        ]
        changes = OnnxPlan(
            tuple(part for part in parts if not part.plan.is_empty),
            options.fold_overridable,
            options.collapse,
        )
        try:
            result = apply_plan(model, changes, in_place=in_place)
            break
        except DoesNotFit as error:
            # Each round blocks at least one more constant, so this ends.
            for number, uses in error.blocked.items():
                blocked.setdefault(number, {}).update(uses)
    folds = tuple(fold for part in parts for fold in part.plan.folds)
    kept = tuple(
        item for part in parts for item in part.plan.kept if not set(item.ops).issubset(steps)
    )
    return OnnxFold(result, folds, kept, changes)
