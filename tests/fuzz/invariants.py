"""What holds for every fold of every graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from bnfold.formats.onnx.apply import apply_plan
from bnfold.formats.onnx.fold import OnnxFold, fold_model
from bnfold.verify.evaluate import EvaluationError, Float64Model
from bnfold.verify.lift import lift_to_float64

Array = NDArray[Any]
# The reference has the ops of older opsets wrong, bnfold's own evaluator has not.
_REFERENCE_FROM = 15
TOLERANCE = 1e-9


class CannotRun(Exception):  # noqa: N818 - says nothing about the fold
    """The original cannot be run."""


class BrokenInvariantError(AssertionError):
    """A fold did something that it must never do."""


@dataclass(frozen=True)
class Checked:
    """A fold that passed.

    Attributes:
        result: the fold.
        error: largest difference of an output in float64, relative to its largest element.
    """

    result: OnnxFold
    error: float


def feeds_for(model: onnx.ModelProto, seed: int) -> dict[str, Array]:
    """A random "x"."""
    kind = model.graph.input[0].type.tensor_type
    shape = [dim.dim_value or 4 for dim in kind.shape.dim]
    x = np.random.default_rng(seed).normal(size=shape)
    return {"x": x.astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))}


def check_fold(proto: onnx.ModelProto, seed: int = 0) -> Checked:
    """Fold ``proto`` and hold the result to every invariant.

    Raises:
        BrokenInvariantError: with what broke.
        CannotRun: if nothing can be compared, for the original cannot be run.
    """
    _check_valid(proto)
    before = proto.SerializeToString(deterministic=True)
    result = fold_model(ir.from_proto(proto))
    folded = ir.to_proto(result.model)
    if proto.SerializeToString(deterministic=True) != before:
        raise BrokenInvariantError("the input model changed")
    onnx.checker.check_model(folded, full_check=True)
    onnx.shape_inference.infer_shapes(folded, strict_mode=True)
    if _interface(folded) != _interface(proto):
        raise BrokenInvariantError("the interface changed")
    if work(folded) > work(proto):
        raise BrokenInvariantError(f"more nodes: {work(folded)} > {work(proto)}")
    again = fold_model(ir.from_proto(folded))
    if again.plan.graphs:
        raise BrokenInvariantError(f"folding again changes: {again.folds} {again.kept}")
    twice = ir.to_proto(fold_model(ir.from_proto(proto)).model)
    if twice.SerializeToString(deterministic=True) != folded.SerializeToString(deterministic=True):
        raise BrokenInvariantError("two runs differ")
    if any(not kept.refusals for kept in result.kept):
        raise BrokenInvariantError("an affine stays and nobody says why")
    feeds = feeds_for(proto, seed)
    error = _algebra(proto, result, feeds)
    if _is_sharp(proto):
        error = max(error, _reference(proto, folded, feeds))
    _runtime(proto, folded, feeds)
    return Checked(result, error)


def _check_valid(proto: onnx.ModelProto) -> None:
    """An op may lack the type or the form that the opset was drawn for."""
    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as failure:
        raise CannotRun(f"not valid: {failure}") from failure


# -- in float64 ---------------------------------------------------------------------------------


def _algebra(proto: onnx.ModelProto, result: OnnxFold, feeds: Mapping[str, Array]) -> float:
    """Original and folded model, both with unrounded constants."""
    lifted = lift_to_float64(ir.from_proto(proto))
    exact = apply_plan(lifted, result.plan, double=True)
    try:
        wanted = Float64Model(lifted).run(feeds)
    except EvaluationError as failure:
        raise CannotRun(str(failure)) from failure
    found = Float64Model(exact).run(feeds)
    return max(_difference(name, wanted[name], found[name]) for name in wanted)


def _is_sharp(proto: onnx.ModelProto) -> bool:
    """Whether everything is in float64 and of an opset that the reference gets right."""
    versions = {opset.domain: opset.version for opset in proto.opset_import}
    kind = proto.graph.input[0].type.tensor_type.elem_type
    inexact = any(node.op_type == "Cast" or _is_wrong_in_reference(node) for node in _nodes(proto))
    return versions[""] >= _REFERENCE_FROM and kind == onnx.TensorProto.DOUBLE and not inexact


def _is_wrong_in_reference(node: onnx.NodeProto) -> bool:
    """The reference adds the bias of a grouped ConvTranspose once per group."""
    grouped = any(a.name == "group" and a.i > 1 for a in node.attribute)
    return node.op_type == "ConvTranspose" and grouped


def _reference(
    original: onnx.ModelProto, folded: onnx.ModelProto, feeds: Mapping[str, Array]
) -> float:
    with np.errstate(all="ignore"):
        try:
            wanted = ReferenceEvaluator(original).run(None, dict(feeds))
        except Exception:  # an op that the reference does not have: the algebra was compared
            return 0.0
        found = ReferenceEvaluator(folded).run(None, dict(feeds))
    names = [value.name for value in original.graph.output]
    rows = zip(names, wanted, found, strict=True)
    return max(_difference(name, np.asarray(a), np.asarray(b)) for name, a, b in rows)


def _difference(name: str, wanted: Array, found: Array) -> float:
    if wanted.shape != found.shape:
        raise BrokenInvariantError(f"{name}: shape {wanted.shape} became {found.shape}")
    if not np.isfinite(wanted).all():
        return 0.0
    size = max(float(np.abs(wanted).max(initial=0.0)), 1e-3)
    error = float(np.abs(wanted - found).max(initial=0.0)) / size
    if not error <= TOLERANCE:
        raise BrokenInvariantError(f"{name}: relative error {error:.3g}")
    return error


# -- in the runtime -------------------------------------------------------------------------------


def _runtime(
    original: onnx.ModelProto, folded: onnx.ModelProto, feeds: Mapping[str, Array]
) -> None:
    """What the runtime loads and runs before, it loads and runs after, at each level."""
    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(original.SerializeToString(), options)
            wanted = session.run(None, dict(feeds))
        except Exception:  # it has no kernel for some op or type of the original
            continue
        try:
            found = ort.InferenceSession(folded.SerializeToString(), options).run(None, dict(feeds))
        except Exception as failure:
            raise BrokenInvariantError(f"onnxruntime at {level}: {failure}") from failure
        for a, b in zip(wanted, found, strict=True):
            if a.shape != b.shape or a.dtype != b.dtype:
                raise BrokenInvariantError(f"onnxruntime at {level}: {a.shape} became {b.shape}")


# -- the file -------------------------------------------------------------------------------------


def _interface(model: onnx.ModelProto) -> list[bytes]:
    """Inputs and outputs; before IR 4 without the constants that are listed there."""
    given = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    values = [v for v in (*model.graph.input, *model.graph.output) if v.name not in given]
    return [value.SerializeToString(deterministic=True) for value in values]


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the graph, of bodies and of functions."""
    waiting = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                waiting.extend(attribute.g.node)


def work(model: onnx.ModelProto) -> int:
    """How many nodes there are, constants left out."""
    return sum(node.op_type != "Constant" for node in _nodes(model))
