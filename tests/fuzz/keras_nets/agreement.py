"""Whether both planners fold the same normalization layers of a net, and what explains it if not.

The exceptions are those that docs/keras.md states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bnfold.core.diagnostics import Fold, Kept, Reason
from bnfold.formats.keras.fold import KerasFold
from bnfold.formats.keras.graph import KerasGraph, walk_layers
from bnfold.formats.onnx.fold import OnnxFold

_NORMS = frozenset({"BatchNormalization", "Normalization", "Rescaling"})
_AFFINE_OPS = frozenset({"Mul", "Add", "Sub", "Div"})
_STANDARDIZING = frozenset({"LayerNormalization", "GroupNormalization", "RMSNormalization"})
Planned = KerasFold | OnnxFold


def disagreement(
    graph: KerasGraph, ours: KerasFold, theirs: OnnxFold, marks: Iterable[str]
) -> tuple[str, str]:
    """What explains a difference, and the difference; both empty if there is none.

    The first is empty if nothing explains it.
    """
    norms = {path for path, layer in walk_layers(graph) if layer.class_name in _NORMS}
    here = {item.source for item in ours.folds} & norms
    there = {item.source for item in theirs.folds} & norms
    if here == there:
        return "", ""
    text = f"only Keras folds {sorted(here - there)}, only ONNX {sorted(there - here)}"
    for mark in ("shared", "attention", "masked"):
        if mark in marks:
            return mark, text
    classes = {path: layer.class_name for path, layer in walk_layers(graph)}
    whys = {_why(name, ours, theirs, classes) for name in here - there}
    whys |= {_why(name, theirs, ours, classes) for name in there - here}
    return ("" if "" in whys else ", ".join(sorted(whys))), text


def _why(name: str, folding: Planned, keeping: Planned, classes: Mapping[str, str]) -> str:
    """Why one planner folds what the other keeps."""
    (fold,) = (item for item in folding.folds if item.source == name)
    if _merged(fold, folding.kept):
        return "two in a row"
    kept = next((item for item in keeping.kept if item.source == name), None)
    if kept is None:
        return ""
    if _merged(kept, keeping.folds):
        return "two in a row"
    if any(other is not kept and other.refusals == kept.refusals for other in keeping.kept):
        return "two in a row, tried as one only"
    found = {refusal.reason for refusal in kept.refusals}
    met = {classes.get(op, "") for one in kept.refusals for op in (one.op, *one.path)}
    if isinstance(keeping, OnnxFold):
        standardized = all(into.op_type in _STANDARDIZING for into in fold.into)
        if kept.into or standardized or kept.left_as in (("Add",), ("Mul",)):
            return "a gain or bias that is an op of its own in ONNX"
        return "Casts of mixed precision" if Reason.NARROWER_TYPE in found else ""
    if any(one.detail.startswith("relu6") for one in kept.refusals):
        return "the bounds of a Clip take an affine"
    if any(into.op_type == "Add" for into in fold.into):
        return "a gain or bias that is an op of its own in ONNX"
    if Reason.UNKNOWN_SHAPE in found:
        return "the file does not tell a shape"
    if Reason.OPAQUE_OP in found:
        return "no rule in Keras"
    if Reason.PADDING_SHIFT in found and any("ZeroPadding" in one for one in met):
        return "ONNX pads with any number"
    return "the bias of an EinsumDense keeps its axes" if "EinsumDense" in met else ""


def _merged(item: Fold | Kept, others: Iterable[Fold | Kept]) -> bool:
    """Whether it only became one with another affine, either of which may be what is left."""
    if all(into.op_type in _NORMS | _AFFINE_OPS for into in item.into):
        return isinstance(item, Fold) or bool(item.into)
    return any(set(item.into) == set(other.into) for other in others)
