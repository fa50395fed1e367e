"""What must hold of every fold, whatever the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto
from onnx.reference import ReferenceEvaluator

from bnfold.core.diagnostics import Kept
from bnfold.formats.onnx.fold import FoldOptions, OnnxFold, fold_model
from bnfold.verify.evaluate import Float64Model

Array = NDArray[np.generic]
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
# Rounding of two different orders of summation, as a part of the largest element.
TOLERANCE = {"f8": 1e-11, "f4": 4e-5, "f2": 2e-2, "V2": 1e-1}


def fold(proto: ModelProto, options: FoldOptions | None = None) -> tuple[OnnxFold, ModelProto]:
    """The fold, and the folded model as a proto."""
    result = fold_model(ir.from_proto(proto), options=options)
    return result, ir.to_proto(result.model)


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from nodes_of(body)


def all_nodes(proto: ModelProto) -> list[NodeProto]:
    """Nodes of the graph, of its subgraphs and of the functions."""
    found = list(nodes_of(proto.graph))
    for function in proto.functions:
        found += list(function.node)
    return found


def left_in(proto: ModelProto) -> str:
    """The op types in the order of the graph; constants do not count."""
    return " ".join(n.op_type for n in all_nodes(proto) if n.op_type != "Constant")


def reasons(kept: tuple[Kept, ...]) -> set[str]:
    """Every refusal as "direction code"."""
    return {
        f"{refusal.direction.value} {refusal.reason.code}"
        for item in kept
        for refusal in item.refusals
    }


def run_reference(proto: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """ONNX's own reference."""
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(proto).run(None, dict(feeds)))


def run_float64(proto: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """bnfold's own evaluator, for the ops that ONNX's reference gets wrong or does not know."""
    return list(Float64Model(ir.from_proto(proto)).run(feeds).values())


def run_onnxruntime(
    proto: ModelProto, feeds: Mapping[str, Array], level: str = "ORT_DISABLE_ALL"
) -> list[Array]:
    """onnxruntime on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def assert_same(expected: list[Array], got: list[Array], where: str = "") -> None:
    """Equal up to the rounding of the type, relative to the largest element."""
    assert len(expected) == len(got)
    for number, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert a.shape == b.shape, f"{where} output {number}: shape {a.shape} became {b.shape}"
        assert a.dtype == b.dtype, f"{where} output {number}: {a.dtype} became {b.dtype}"
        if a.dtype.kind not in "fV":
            assert np.array_equal(a, b), f"{where} output {number}"
            continue
        tolerance = TOLERANCE[f"{a.dtype.kind}{a.dtype.itemsize}"]
        wide, narrow = a.astype(np.float64), b.astype(np.float64)
        assert np.array_equal(np.isfinite(wide), np.isfinite(narrow)), f"{where}: not finite"
        mask = np.isfinite(wide)
        largest = max(1e-3, float(np.abs(wide[mask]).max(initial=0.0)))
        error = float(np.abs(wide - narrow)[mask].max(initial=0.0))
        assert error <= tolerance * largest, f"{where} output {number}: {error:g} of {largest:g}"


def assert_no_further(
    truth: list[Array], original: list[Array], folded: list[Array], where: str, step: float = 0.0
) -> None:
    """The folded model is as near to the truth as the original was, up to rounding.

    onnxruntime itself approximates: it quantizes data before a quantized weight, for instance.
    """
    assert len(original) == len(folded)
    for number, (t, a, b) in enumerate(zip(truth, original, folded, strict=True)):
        assert a.shape == b.shape, f"{where} output {number}: shape {a.shape} became {b.shape}"
        assert a.dtype == b.dtype, f"{where} output {number}: {a.dtype} became {b.dtype}"
        if a.dtype.kind not in "fV":
            assert np.array_equal(a, b), f"{where} output {number}"
            continue
        assert np.isfinite(t).all() and np.isfinite(b.astype(np.float64)).all(), where
        rounding = TOLERANCE[f"{a.dtype.kind}{a.dtype.itemsize}"]
        largest = max(1e-3, float(np.abs(t).max(initial=0.0)))
        before, after = (
            float(np.abs(got.astype(np.float64) - t).max(initial=0.0)) for got in (a, b)
        )
        assert after <= 4 * before + rounding * largest + step, (
            f"{where} output {number}: off by {after:g}, the original by {before:g} of {largest:g}"
        )


def is_valid(proto: ModelProto) -> bool:
    """Whether onnx.checker accepts the model."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def _versions(proto: ModelProto) -> dict[str, int]:
    return {opset.domain: opset.version for opset in proto.opset_import}


def _inputs(proto: ModelProto) -> list[bytes]:
    """The inputs as bytes; before IR 4 without those that merely declare an initializer."""
    given = {tensor.name for tensor in proto.graph.initializer} if proto.ir_version < 4 else set()
    return [v.SerializeToString() for v in proto.graph.input if v.name not in given]


def assert_well_formed(original: ModelProto, folded: ModelProto) -> None:
    """Valid, of the same interface, and no larger."""
    assert is_valid(folded) or not is_valid(original), "the folded model is not valid"
    assert _inputs(original) == _inputs(folded)
    assert [v.SerializeToString() for v in original.graph.output] == [
        v.SerializeToString() for v in folded.graph.output
    ]
    assert _versions(original) == _versions(folded)
    assert original.ir_version == folded.ir_version
    assert len(all_nodes(folded)) <= len(all_nodes(original))


def assert_settled(proto: ModelProto, folded: ModelProto, options: FoldOptions | None) -> None:
    """Folding again finds nothing; folding the original again gives the same bytes."""
    again, twice = fold(folded, options)
    assert again.plan.graphs == (), f"a second fold finds {again.folds}"
    assert twice.SerializeToString() == folded.SerializeToString()
    assert fold(proto, options)[1].SerializeToString() == folded.SerializeToString()


def assert_preserved(original: ModelProto, folded: ModelProto) -> None:
    """What no fold may touch: metadata, order, names of what is still there."""
    for name in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(original, name) == getattr(folded, name), name
    assert list(original.metadata_props) == list(folded.metadata_props)
    assert original.graph.name == folded.graph.name
    assert original.graph.doc_string == folded.graph.doc_string
    assert list(original.graph.metadata_props) == list(folded.graph.metadata_props)
    before = {node.name: node for node in original.graph.node}
    if len(before) == len(original.graph.node):
        kept = [node.name for node in folded.graph.node if node.name in before]
        order = [name for name in before if name in set(kept)]
        assert kept == order, "the order of nodes changed"
        for node in folded.graph.node:
            if node.name in before:
                assert node.doc_string == before[node.name].doc_string
                assert list(node.metadata_props) == list(before[node.name].metadata_props)
    names = {name for node in all_nodes(original) for name in node.output}
    for node in folded.graph.node:
        if node.op_type != "Constant":
            assert set(node.output) <= names, f"new value names: {set(node.output) - names}"
