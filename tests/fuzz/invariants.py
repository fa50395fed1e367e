"""What holds for every fold of every graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from bnfold.formats.onnx.fold import OnnxFold, fold_model


class CannotRun(Exception):  # noqa: N818 - says nothing about the fold
    """The reference cannot run the original itself."""


class BrokenInvariantError(AssertionError):
    """A fold did something that it must never do."""


@dataclass(frozen=True)
class Checked:
    """A fold that passed.

    Attributes:
        result: the fold.
        error: largest difference of an output, relative to its largest element.
    """

    result: OnnxFold
    error: float


def check_fold(proto: onnx.ModelProto, x: np.ndarray, tolerance: float = 1e-9) -> Checked:
    """Fold ``proto`` and hold the result to every invariant.

    Raises:
        BrokenInvariantError: with what broke.
    """
    before = proto.SerializeToString(deterministic=True)
    result = fold_model(ir.from_proto(proto))
    folded = ir.to_proto(result.model)
    if proto.SerializeToString(deterministic=True) != before:
        raise BrokenInvariantError("the input model changed")
    onnx.checker.check_model(folded, full_check=True)
    onnx.shape_inference.infer_shapes(folded, strict_mode=True)
    if _interface(folded) != _interface(proto):
        raise BrokenInvariantError("the interface changed")
    if _work(folded) > _work(proto):
        raise BrokenInvariantError(f"more nodes: {_work(folded)} > {_work(proto)}")
    error = 0.0
    if not any(_wrong_in_reference(node) for node in folded.graph.node):
        error = _compare(proto, folded, x, tolerance)
    again = fold_model(ir.from_proto(folded))
    if again.plan.graphs:
        raise BrokenInvariantError(f"folding again changes: {again.folds} {again.kept}")
    twice = ir.to_proto(fold_model(ir.from_proto(proto)).model)
    if twice.SerializeToString(deterministic=True) != folded.SerializeToString(deterministic=True):
        raise BrokenInvariantError("two runs differ")
    return Checked(result, error)


def _wrong_in_reference(node: onnx.NodeProto) -> bool:
    """The reference adds the bias of a grouped ConvTranspose once per group."""
    grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
    return node.op_type == "ConvTranspose" and grouped and len(node.input) > 2


def _interface(model: onnx.ModelProto) -> list[bytes]:
    values = [*model.graph.input, *model.graph.output]
    return [value.SerializeToString(deterministic=True) for value in values]


def _work(model: onnx.ModelProto) -> int:
    return sum(node.op_type != "Constant" for node in model.graph.node)


def _compare(
    original: onnx.ModelProto, folded: onnx.ModelProto, x: np.ndarray, tolerance: float
) -> float:
    with np.errstate(all="ignore"):
        try:
            wanted = ReferenceEvaluator(original).run(None, {"x": x})
        except Exception as failure:
            raise CannotRun(str(failure)) from failure
        found = ReferenceEvaluator(folded).run(None, {"x": x})
    worst = 0.0
    for name, a, b in zip([o.name for o in original.graph.output], wanted, found, strict=True):
        if a.shape != b.shape:
            raise BrokenInvariantError(f"{name}: shape {a.shape} became {b.shape}")
        if not np.isfinite(a).all():
            continue
        scale = max(float(np.abs(a).max(initial=0.0)), 1e-3)
        error = float(np.abs(a - b).max(initial=0.0)) / scale
        if not error <= tolerance:
            raise BrokenInvariantError(f"{name}: relative error {error:.3g}")
        worst = max(worst, error)
    return worst
