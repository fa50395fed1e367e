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


class BrokenInvariant(AssertionError):
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
        BrokenInvariant: with what broke.
    """
    before = proto.SerializeToString(deterministic=True)
    result = fold_model(ir.from_proto(proto))
    folded = ir.to_proto(result.model)
    if proto.SerializeToString(deterministic=True) != before:
        raise BrokenInvariant("the input model changed")
    onnx.checker.check_model(folded, full_check=True)
    onnx.shape_inference.infer_shapes(folded, strict_mode=True)
    if _interface(folded) != _interface(proto):
        raise BrokenInvariant("the interface changed")
    if _work(folded) > _work(proto):
        raise BrokenInvariant(f"more nodes: {_work(folded)} > {_work(proto)}")
    error = _compare(proto, folded, x, tolerance)
    again = fold_model(ir.from_proto(folded))
    if again.plan.graphs:
        raise BrokenInvariant(f"folding again changes: {again.folds} {again.kept}")
    twice = ir.to_proto(fold_model(ir.from_proto(proto)).model)
    if twice.SerializeToString(deterministic=True) != folded.SerializeToString(deterministic=True):
        raise BrokenInvariant("two runs differ")
    return Checked(result, error)


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
        except Exception as error:
            raise CannotRun(str(error)) from error
        found = ReferenceEvaluator(folded).run(None, {"x": x})
    worst = 0.0
    for name, a, b in zip([o.name for o in original.graph.output], wanted, found, strict=True):
        if a.shape != b.shape:
            raise BrokenInvariant(f"{name}: shape {a.shape} became {b.shape}")
        if not np.isfinite(a).all():
            continue
        scale = max(float(np.abs(a).max(initial=0.0)), 1e-3)
        error = float(np.abs(a - b).max(initial=0.0)) / scale
        if not error <= tolerance:
            raise BrokenInvariant(f"{name}: relative error {error:.3g}")
        worst = max(worst, error)
    return worst
