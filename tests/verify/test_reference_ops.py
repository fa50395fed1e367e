"""The float64 operators against onnxruntime in float32, and that they are float64 indeed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper

from bnfold.verify.evaluate import Float64Model
from bnfold.verify.reference_ops.table import RUNTIME_ONLY, TABLE
from tests.verify.op_rows import ROWS, Row

# Rows that onnx.reference or onnxruntime cannot do stay in the list of rows only if both can here.
TOLERANCE = 1e-4
RUNTIME = tuple(int(part) for part in ort.__version__.split(".")[:2])


def runtime_is_wrong(row: Row) -> bool:
    """onnxruntime before 1.29 counts some of the border that it is told to include twice or not."""
    return RUNTIME < (1, 29) and row.op == "AveragePool" and "count_include_pad" in row.attributes


def proto_of(row: Row) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    names = ["" if x is None else f"x{n}" for n, x in enumerate(row.inputs)]
    outputs = [f"y{n}" for n in range(row.outputs)]
    node = helper.make_node(row.op, names, outputs, domain=row.domain, **row.attributes)
    feeds = {name: x for name, x in zip(names, row.inputs, strict=True) if x is not None}
    graph = helper.make_graph(
        [node],
        "row",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 17 if row.domain else row.opset)]
    if row.domain:
        opsets.append(helper.make_opsetid(row.domain, row.opset))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def in_runtime(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, feeds)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gives_what_the_runtime_gives(row: Row) -> None:
    if runtime_is_wrong(row):
        pytest.skip("wrong in this onnxruntime")
    proto, feeds = proto_of(row)
    expected = in_runtime(proto, feeds)
    model = Float64Model(ir.from_proto(proto))
    given = list(model.run(feeds).values())
    for ours, theirs in zip(given, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == (np.float64 if theirs.dtype == np.float32 else theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    assert not model.in_float32


@pytest.mark.parametrize("row", [row for row in ROWS if row.smooth], ids=str)
def test_does_not_round_to_float32(row: Row) -> None:
    """A change of 1e-11 of the inputs must show, and must not show as 1e-8."""
    proto, feeds = proto_of(row)
    model = Float64Model(ir.from_proto(proto))
    exact = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    if not any(v.dtype == np.float64 for v in exact.values()):
        pytest.skip("no floating-point input")
    first = exact[next(k for k, v in exact.items() if v.dtype == np.float64)]
    moved = {k: v * (1 + 1e-11) if v is first else v for k, v in exact.items()}
    before, after = model.run(exact), model.run(moved)
    for name, base in before.items():
        if base.dtype != np.float64 or not base.size:
            continue
        change = np.abs(after[name] - base).max() / max(np.abs(base).max(), 1e-3)
        assert change < 1e-8
    changed = any(not np.array_equal(after[n], b) for n, b in before.items())
    scale_free = row.op in {"BatchNormalization", "GroupNormalization", "LpNormalization"}
    assert changed or scale_free or row.op.endswith("Normalization")


def test_every_row_of_the_table_is_tested() -> None:
    tested = {(row.domain, row.op) for row in ROWS}
    assert set(TABLE) <= tested


def test_ops_for_the_runtime_alone_are_remembered() -> None:
    assert ("", "GridSample") in RUNTIME_ONLY
    grid = np.random.default_rng(0).uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)
    image = np.random.default_rng(1).normal(size=(1, 2, 4, 5)).astype(np.float32)
    proto, feeds = proto_of(Row("GridSample", (image, grid), 16))
    model = Float64Model(ir.from_proto(proto))
    given = model.run(feeds)["y0"]
    assert given.dtype == np.float64
    assert model.in_float32 == ("y0",)
    np.testing.assert_array_equal(given.astype(np.float32), in_runtime(proto, feeds)[0])
