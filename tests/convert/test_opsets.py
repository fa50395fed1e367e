"""The opset asked for is the opset that comes out."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from bnfold.convert.opsets import LOWEST, ir_version_of, opset_to_emit, raised
from bnfold.core.errors import InputError

NEWEST = onnx.defs.onnx_opset_version()


@pytest.mark.parametrize(
    ("wanted", "emitted"), [(9, 9), (17, 17), (18, 18), (19, 17), (NEWEST, 17)]
)
def test_tf2onnx_is_asked_for_what_it_knows(wanted: int, emitted: int) -> None:
    assert opset_to_emit(wanted) == emitted


@pytest.mark.parametrize("wanted", [-1, LOWEST - 1, NEWEST + 1])
def test_other_opsets_are_refused(wanted: int) -> None:
    with pytest.raises(InputError, match=f"choose one from {LOWEST} to {NEWEST}"):
        opset_to_emit(wanted)


@pytest.mark.parametrize(("opset", "version"), [(9, 4), (13, 7), (17, 8), (19, 9), (21, 10)])
def test_ir_version_that_came_with_an_opset(opset: int, version: int) -> None:
    assert ir_version_of(opset) == version


def test_raised_model_has_opset_and_ir_version() -> None:
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 1])
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])
    graph = helper.make_graph([node], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = raised(model, 21)
    onnx.checker.check_model(result, full_check=True)
    assert (result.opset_import[0].version, result.ir_version) == (21, 10)
    assert len(result.graph.node[-1].input) == 2, "the axes became an input at opset 18"
