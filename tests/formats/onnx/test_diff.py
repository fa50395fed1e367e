"""What differs between two models, and that equal ones do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.formats.onnx.diff import diff_models
from bnfold.formats.onnx.fold import fold_model


@pytest.fixture
def model(sample_models: Path) -> ir.Model:
    return ir.load(sample_models / "autoencoder.onnx")


def test_a_model_does_not_differ_from_itself(model: ir.Model) -> None:
    diff = diff_models(model, model.clone(deep_copy=True))
    assert diff.is_empty and not diff.ops


def test_a_fold_as_a_difference(model: ir.Model) -> None:
    diff = diff_models(model, fold_model(model).model)
    assert not diff.interface_changed
    assert diff.ops == {"BatchNormalization": (5, 0)}
    assert len(diff.removed) == 5 and not diff.added
    assert len(diff.weights_removed) == 20
    assert len(diff.weights_changed) == 10
    assert all(c.largest is not None and c.elements > 0 for c in diff.weights_changed)


def test_changed_weight(model: ir.Model) -> None:
    other = model.clone(deep_copy=True)
    name, value = next(iter(other.graph.initializers.items()))
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array.reshape(-1)[0] += 0.5
    value.const_value = ir.Tensor(array, name=name)
    (change,) = diff_models(model, other).weights_changed
    assert change.name == name and change.elements == 1
    assert change.largest == pytest.approx(0.5)
    value.const_value = ir.Tensor(array.astype(np.float64), name=name)
    (change,) = diff_models(model, other).weights_changed
    assert change.largest is None and "DOUBLE" in change.after


def test_changed_node_and_interface(model: ir.Model) -> None:
    other = model.clone(deep_copy=True)
    relu = next(n for n in other.graph if n.op_type == "Relu")
    relu.op_type = "LeakyRelu"
    relu.attributes["alpha"] = ir.AttrFloat32("alpha", 0.3)
    other.graph.outputs[0].name = "renamed"
    other.opset_imports[""] = 18
    diff = diff_models(model, other)
    what = next(c.what for c in diff.changed if c.name == relu.name)
    assert what[0] == "Relu became LeakyRelu" and "alpha" in what[1]
    assert diff.interface_changed
    assert [(a is None, b is None) for a, b in diff.outputs] == [(False, True), (True, False)]
    assert any("opset" in line for line in diff.header)
