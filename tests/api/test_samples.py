"""The sample models from end to end: nothing left to fold, the same answers, the same accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import bnfold
from bnfold.verify.types import CheckKind, Status
from tests.api.test_fold import run_onnx
from tests.conftest import SAMPLE_MODELS

# Ops that may be left of the classic nets: the reshape, products with bias, Elu, Softmax.
CLASSIC = {"Reshape", "Flatten", "MatMul", "Add", "Gemm", "Elu", "Softmax"}
KERAS_FILES = [
    "post_activation.h5",
    "post_activation.keras",
    "pre_activation.h5",
    "pre_activation.keras",
    "post_activation_keras2.h5",
]

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("keras")]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Test images as the nets take them, and their labels."""
    with np.load(SAMPLE_MODELS / "digits_test.npz") as data:
        return data["images"].astype(np.float32) / 255, data["labels"]


def load(keras: ModuleType, name: str) -> Any:
    if "keras2" in name:
        return pytest.importorskip("tf_keras").models.load_model(
            SAMPLE_MODELS / name, compile=False
        )
    return keras.models.load_model(SAMPLE_MODELS / name, compile=False)


def run_folded(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    (value,) = model.graph.input
    return run_onnx(model, {value.name: images})[0]


@pytest.mark.parametrize("name", KERAS_FILES)
def test_a_classic_net_loses_all_its_normalizations(
    keras: ModuleType, digits: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    images, labels = digits
    result = bnfold.fold(SAMPLE_MODELS / name)
    assert {fold.source for fold in result.folds} == {"bn_input", "bn_1", "bn_2"}
    assert result.kept == ()
    directions = {fold.source: fold.into[0].direction.value for fold in result.folds}
    assert directions["bn_input"] == "forward"
    if name.startswith("post"):
        assert set(directions.values()) == {"forward"}

    proto = result.to_proto()
    assert {node.op_type for node in proto.graph.node} <= CLASSIC
    products = [node for node in proto.graph.node if node.op_type in ("Gemm", "MatMul")]
    biases = [node for node in proto.graph.node if node.op_type == "Add"]
    assert len(products) == 3
    assert len(biases) + sum(len(node.input) == 3 for node in products) == 3

    assert result.verification is not None
    kinds = {check.kind for check in result.verification.checks if check.status is Status.PASSED}
    assert {CheckKind.WEIGHTS, CheckKind.ALGEBRA, CheckKind.END_TO_END, CheckKind.KERAS} <= kinds

    expected = np.asarray(load(keras, name)(images))
    given = run_folded(proto, images)
    # Softmax of float32 logits whose rounding errors are some units of 1e-6.
    np.testing.assert_allclose(given, expected, atol=2e-5)
    assert (given.argmax(1) == labels).mean() == (expected.argmax(1) == labels).mean() > 0.95


def test_every_form_of_one_net_folds_to_the_same(
    keras: ModuleType, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, _ = digits
    unfolded = bnfold.convert(SAMPLE_MODELS / "post_activation.h5")
    onnx.save(ir.to_proto(unfolded), tmp_path / "unfolded.onnx")
    sources = {
        "h5": SAMPLE_MODELS / "post_activation.h5",
        "keras": str(SAMPLE_MODELS / "post_activation.keras"),
        "onnx": tmp_path / "unfolded.onnx",
        "proto": ir.to_proto(unfolded),
        "ir": unfolded,
        "live": load(keras, "post_activation.keras"),
        "live Keras 2": load(keras, "post_activation_keras2.h5"),
    }
    protos = {form: bnfold.fold(source).to_proto() for form, source in sources.items()}
    outputs = {form: run_folded(proto, images) for form, proto in protos.items()}
    for form, output in outputs.items():
        assert {node.op_type for node in protos[form].graph.node} <= CLASSIC, form
        np.testing.assert_allclose(output, outputs["h5"], atol=1e-6, err_msg=form)


def test_a_live_model_is_not_changed(keras: ModuleType) -> None:
    model = load(keras, "pre_activation.keras")
    config, weights = model.to_json(), [value.copy() for value in model.get_weights()]
    bnfold.fold(model, verify=False)
    assert json.loads(model.to_json()) == json.loads(config)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_two_conversions_of_one_file_write_the_same_bytes(tmp_path: Path) -> None:
    source = SAMPLE_MODELS / "pre_activation.h5"
    for name in ("one.onnx", "two.onnx"):
        bnfold.fold(source, verify=False).save(tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    again = bnfold.fold(tmp_path / "one.onnx")
    assert (again.folds, again.kept) == ((), ())
    again.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "one.onnx").read_bytes()


def test_the_convolution_net_keeps_only_the_shift_that_cannot_move(
    keras: ModuleType, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits
    result = bnfold.fold(SAMPLE_MODELS / "conv.keras")
    assert {fold.source for fold in result.folds} == {"bn_1", "bn_3"}
    (kept,) = result.kept
    assert kept.source == "bn_2"
    assert kept.left_as == ("BatchNormalization",)
    assert {refusal.reason.code for refusal in kept.refusals} == {"BNF203", "BNF206"}
    expected = np.asarray(load(keras, "conv.keras")(images[..., None]))
    given = run_folded(result.to_proto(), images[..., None])
    np.testing.assert_allclose(given, expected, atol=2e-5)
    assert (given.argmax(1) == labels).mean() == (expected.argmax(1) == labels).mean() > 0.95


@pytest.mark.parametrize("opset", [11, 13, 18, 19, 21])
def test_keras_at_other_opsets(opset: int) -> None:
    result = bnfold.fold(SAMPLE_MODELS / "post_activation.h5", opset=opset)
    proto = result.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset
    assert (len(result.folds), result.kept) == (3, ())
