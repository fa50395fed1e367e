"""The models that the onnx package ships for testing backends pass through unharmed.

Each has recorded inputs and outputs. A model in which nothing is folded must come out as it went
in; where something is folded, the recorded outputs must still match.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from tests.formats.onnx.support.check import (
    assert_well_formed,
    fold,
    left_in,
    run_onnxruntime,
    run_reference,
)

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = [
    folder
    for kind in ("pytorch-converted", "pytorch-operator", "simple")
    for folder in sorted((DATA / kind).glob("test_*"))
]
# Times in seconds of folding and running: a quick sample, and those that take longer.
LIGHT_QUICK = ("squeezenet", "shufflenet", "inception_v1")
LIGHT_SLOW = ("bvlc_alexnet", "densenet121", "inception_v2", "resnet50", "vgg19", "zfnet512")
NODE_PARTS = 12


def _unchanged(proto: ModelProto, folded: ModelProto) -> bool:
    """Whether the model is what merely reading and writing makes of it."""
    return folded.SerializeToString() == ir.to_proto(ir.from_proto(proto)).SerializeToString()


def _read(path: Path) -> NDArray[np.generic]:
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def _recorded(folder: Path, kind: str) -> list[NDArray[np.generic]]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [_read(folder / f"{kind}_{number}.pb") for number in range(count)]


def _assert_recorded(
    proto: ModelProto,
    inputs: list[NDArray[np.generic]],
    outputs: list[NDArray[np.generic]],
    rtol: float = 1e-3,
    atol: float = 1e-5,
) -> None:
    given = {tensor.name for tensor in proto.graph.initializer}
    names = [value.name for value in proto.graph.input if value.name not in given]
    got = run_onnxruntime(proto, dict(zip(names, inputs, strict=True)))
    for want, have in zip(outputs, got, strict=True):
        np.testing.assert_allclose(have, want, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_models_of_the_onnx_package(folder: Path) -> None:
    for proto in _versions(onnx.load(str(folder / "model.onnx"))):
        _, folded = fold(proto)
        assert_well_formed(proto, folded)
        if _unchanged(proto, folded):
            continue
        for data in sorted(folder.glob("test_data_set_*")):
            _assert_recorded(folded, _recorded(data, "input"), _recorded(data, "output"))


def _versions(proto: ModelProto) -> Iterator[ModelProto]:
    """The model, and what ONNX makes of it in an opset in which bnfold folds."""
    yield proto
    if {opset.domain for opset in proto.opset_import} <= {""}:
        with suppress(RuntimeError):
            yield onnx.version_converter.convert_version(proto, 13)


def test_a_normalization_alone_becomes_its_cheapest_form() -> None:
    (folder,) = (folder for folder in FOLDERS if folder.name == "test_BatchNorm2d_eval")
    _, converted = _versions(onnx.load(str(folder / "model.onnx")))
    assert left_in(fold(converted)[1]) == "Mul"


def float_of(node: onnx.NodeProto, name: str) -> float:
    """A float attribute."""
    (value,) = (attribute.f for attribute in node.attribute if attribute.name == name)
    return float(value)


def _ramp(proto: ModelProto) -> list[NDArray[np.generic]]:
    """The input for which the light models' outputs were recorded: a ramp from 0 to 1."""
    given = {tensor.name for tensor in proto.graph.initializer}
    (value,) = (value for value in proto.graph.input if value.name not in given)
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    size = int(np.prod(shape))
    return [(np.arange(size, dtype=np.float32) / size).reshape(shape)]


@pytest.mark.parametrize(
    "name", [*LIGHT_QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LIGHT_SLOW)]
)
def test_light_models(name: str) -> None:
    proto = onnx.load(str(DATA / "light" / f"light_{name}.onnx"))
    result, folded = fold(proto)
    assert_well_formed(proto, folded)
    # DenseNet's stay between Concat and Relu, with no scale.
    norms = [node for node in folded.graph.node if node.op_type == "BatchNormalization"]
    assert [float_of(node, "epsilon") for node in norms] == [0.0] * len(norms)
    norms = Counter(node.op_type for node in proto.graph.node)["BatchNormalization"]
    assert len(result.folds) + len(result.kept) >= norms
    inputs = _ramp(proto)
    outputs = [_read(DATA / "light" / f"light_{name}_output_0.pb")]
    _assert_recorded(proto, inputs, outputs)
    _assert_recorded(folded, inputs, outputs)


@cache
def _node_cases() -> list[onnx.backend.test.case.test_case.TestCase]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.model is not None]


def _part(number: int) -> Iterator[onnx.backend.test.case.test_case.TestCase]:
    yield from _node_cases()[number::NODE_PARTS]


@pytest.mark.parametrize(
    "part",
    [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, NODE_PARTS))],
)
def test_node_tests(part: int) -> None:
    for case in _part(part):
        _, folded = fold(case.model)
        assert_well_formed(case.model, folded)
        if _unchanged(case.model, folded):
            continue
        for inputs, outputs in case.data_sets:
            names = [value.name for value in case.model.graph.input]
            got = run_reference(folded, dict(zip(names, inputs, strict=True)))
            for want, have in zip(outputs, got, strict=True):
                np.testing.assert_allclose(have, want, rtol=case.rtol, atol=case.atol)
