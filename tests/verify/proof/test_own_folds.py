"""bnfold's own folds of random graphs: all proved, and none proved once broken."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from bnfold.formats.onnx.fold import fold_model
from bnfold.verify.proof import ProofStatus, prove, reader
from tests.fuzz.graphs import SeededChooser, random_model

GRAPHS = 120


def in_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The generator's float64 graph with all of its floats in float32."""
    for tensor in [*proto.graph.initializer, *constants(proto)]:
        if tensor.data_type == TensorProto.DOUBLE:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    return proto


def constants(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [
        attribute.t
        for node in proto.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]


def test_random_graphs_are_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FORGIVEN", ())  # here a law that stumbles is a bug
    open_ones = []
    for seed in range(GRAPHS):
        original = ir.from_proto(in_float32(random_model(SeededChooser(seed))))
        proof = prove(original, fold_model(original).model)
        assert proof.status is not ProofStatus.REFUTED, (seed, proof.refutations)
        if proof.status is ProofStatus.UNKNOWN:
            open_ones.append((seed, proof.notes))
        else:
            assert all(group.max_ulps <= group.bound for group in proof.groups), seed
    assert not open_ones


def test_a_changed_weight_is_never_proved_if_it_shows() -> None:
    """The reference evaluator, in float64, says whether a change shows."""
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(0)
    shown = 0
    for seed in range(60):
        proto = random_model(SeededChooser(seed))
        folded = ir.to_proto(fold_model(ir.from_proto(proto)).model)
        floats = [
            t
            for t in [*folded.graph.initializer, *constants(folded)]
            if t.data_type == TensorProto.DOUBLE and numpy_helper.to_array(t).size
        ]
        if not floats:
            continue
        given = proto.graph.input[0]
        shape = [dim.dim_value or 4 for dim in given.type.tensor_type.shape.dim]
        feeds = {given.name: rng.standard_normal(shape)}
        try:
            before = ReferenceEvaluator(folded).run(None, feeds)
        except Exception:  # an op that the reference cannot run
            continue
        tensor = floats[rng.integers(len(floats))]
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[rng.integers(array.size)] *= 1 + 1e-4
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        after = ReferenceEvaluator(folded).run(None, feeds)
        if all(
            np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(before, after, strict=True)
        ):
            continue
        shown += 1
        proof = prove(ir.from_proto(proto), ir.from_proto(folded))
        assert proof.status is not ProofStatus.PROVED, seed
    assert shown > 20
