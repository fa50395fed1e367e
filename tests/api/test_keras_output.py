"""Keras in, Keras out: files in their own format and live models, each verified."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold
from bnfold.core.errors import InputError, OutputError, VerificationError
from bnfold.formats.keras.read import read_keras
from bnfold.verify.types import CheckKind, Status
from tests.conftest import SAMPLE_MODELS
from tests.convert import zoo

pytestmark = [pytest.mark.keras, pytest.mark.usefixtures("keras")]

FILES = {
    "post_activation.h5": "keras",
    "pre_activation.keras": "keras",
    "post_activation_keras2.h5": "tf_keras",
}


def proved(result: bnfold.FoldResult) -> bool:
    assert result.verification is not None
    return any(
        check.kind is CheckKind.ALGEBRA and "proved equal" in check.detail
        for check in result.verification.checks
        if check.status is Status.PASSED
    )


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_back_folded_in_its_own_format(name: str, tmp_path: Path) -> None:
    home = pytest.importorskip(FILES[name])
    before = (SAMPLE_MODELS / name).read_bytes()
    result = bnfold.fold(SAMPLE_MODELS / name, to="keras")
    assert {fold.source for fold in result.folds} == {"bn_input", "bn_1", "bn_2"}
    assert result.kept == ()
    assert proved(result)
    target = tmp_path / f"folded{Path(name).suffix}"
    result.save(target)
    original = home.models.load_model(SAMPLE_MODELS / name, compile=False)
    folded = home.models.load_model(target, compile=False)
    assert not any("BatchNorm" in type(layer).__name__ for layer in folded.layers)
    images = np.random.default_rng(0).uniform(size=(16, 28, 28)).astype(np.float32)
    wanted = original.predict(images, verbose=0)
    np.testing.assert_allclose(folded.predict(images, verbose=0), wanted, rtol=0, atol=1e-5)
    assert (SAMPLE_MODELS / name).read_bytes() == before


def test_two_runs_write_the_same_and_folding_again_changes_nothing(tmp_path: Path) -> None:
    source = SAMPLE_MODELS / "pre_activation.keras"
    one, two, three = (tmp_path / f"{name}.keras" for name in ("one", "two", "three"))
    for source_file, target in ((source, one), (source, two), (one, three)):
        bnfold.fold(source_file, to="keras", verify=False).save(target)
    assert one.read_bytes() == two.read_bytes()
    again = bnfold.fold(one, to="keras", verify=False)
    assert (again.folds, again.kept) == ((), ())
    # HDF5 lays out what was edited and what was copied differently: the contents are the same.
    first, second = read_keras(one), read_keras(three)
    assert first.serialized == second.serialized
    assert first.layers.keys() == second.layers.keys()
    for name, layer in first.layers.items():
        assert layer.weights.keys() == second.layers[name].weights.keys()
        for role, array in layer.weights.items():
            np.testing.assert_array_equal(array.read(), second.layers[name].weights[role].read())


def test_what_is_packed_stays_packed(tmp_path: Path) -> None:
    source = SAMPLE_MODELS / "conv.keras"
    bnfold.fold(source, to="keras", verify=False).save(tmp_path / "folded.keras")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "folded.keras") as new:
        for info in old.infolist():
            assert new.getinfo(info.filename).compress_type == info.compress_type


def test_the_report_counts_layers_and_warns_once_of_training() -> None:
    result = bnfold.fold(SAMPLE_MODELS / "conv.keras", to="keras", verify=False)
    report = result.report
    assert report.original is not None
    assert report.folded is not None
    assert (report.original.unit, report.original.nodes, report.folded.nodes) == ("layers", 10, 8)
    assert [row.name for row in report.affines] == ["bn_1", "bn_2", "bn_3"]
    assert sum("inference" in note for note in report.notes) == 1
    with pytest.raises(InputError, match="no ONNX form"):
        _ = result.onnx


def live(keras: Any) -> Any:
    L = keras.layers
    return zoo.randomize(
        keras.Sequential(
            [
                L.Input((6,), name="x"),
                L.BatchNormalization(name="bn_input"),
                L.Dense(6, activation="relu", name="dense"),
                L.BatchNormalization(name="bn"),
                L.Dense(2, name="out"),
            ],
            name="net",
        )
    )


@pytest.mark.parametrize("home", ["keras", "tf_keras"])
def test_a_live_model_gives_a_new_one(home: str, tmp_path: Path) -> None:
    keras = pytest.importorskip(home)
    model = live(keras)
    x = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
    wanted, weights = np.array(model(x)), [np.array(one) for one in model.get_weights()]
    result = bnfold.fold(model)
    folded = result.model
    assert type(folded) is type(model)
    assert folded is result.model
    assert [layer.name for layer in folded.layers] == ["dense", "out"]
    assert folded.name == "net"
    np.testing.assert_allclose(np.array(folded(x)), wanted, rtol=1e-4, atol=1e-5)
    assert len(model.layers) == 4
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # The same result as ONNX and as files.
    assert [node.op_type for node in result.onnx.graph] == ["Gemm", "Relu", "Gemm"]
    result.save(tmp_path / "folded.onnx")
    result.save(tmp_path / "folded.keras")
    again = keras.models.load_model(tmp_path / "folded.keras", compile=False)
    np.testing.assert_array_equal(np.array(again(x)), np.array(folded(x)))


def test_a_subclassed_model_has_no_folded_twin_but_onnx(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.bn = keras.layers.Dense(3), keras.layers.BatchNormalization()

        def call(self, x: Any) -> Any:
            return self.bn(self.dense(x))

    model = Own()
    model(np.ones((2, 4), np.float32))
    result = bnfold.fold(zoo.randomize(model), verify=False)
    assert len(result.folds) == 1
    with pytest.raises(InputError, match="Own"):
        _ = result.model


def custom_model(keras: Any) -> Any:
    @keras.saving.register_keras_serializable(package="mine")
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + x

    L = keras.layers
    layers = [L.Input((4,)), L.Dense(3, name="d"), L.BatchNormalization(name="bn"), Twice(name="t")]
    return zoo.randomize(keras.Sequential(layers)), Twice


def test_custom_layers_are_copied_and_checked_by_their_own_code(keras: Any, tmp_path: Path) -> None:
    model, cls = custom_model(keras)
    path, target = tmp_path / "own.keras", tmp_path / "folded.keras"
    model.save(path)
    with pytest.raises(InputError, match=r"--no-verify --no-bench"):
        keras.saving.get_custom_objects().clear()
        bnfold.fold(path, to="keras")
    unchecked = bnfold.fold(path, to="keras", verify=False)
    assert [fold.source for fold in unchecked.folds] == ["bn"]
    result = bnfold.fold(path, to="keras", custom_objects={"mine>Twice": cls})
    assert result.source.converter == "tf2onnx"
    assert result.verification is not None
    assert result.verification.passed
    result.save(target)
    folded = keras.models.load_model(target, custom_objects={"mine>Twice": cls})
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    np.testing.assert_allclose(np.array(folded(x)), np.array(model(x)), rtol=1e-4, atol=1e-5)


def test_a_wrong_fold_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel column off by 1e-4 in the file that was written is seen."""
    from bnfold.formats.keras import write_archive

    real = write_archive.put

    def off(group: Any, name: str, array: Any, filters: Any = None) -> None:
        array = np.array(array)
        if array.ndim == 2:
            array[:, 0] *= 1 + 1e-4
        real(group, name, array, filters)

    monkeypatch.setattr(write_archive, "put", off)
    with pytest.raises(VerificationError):
        bnfold.fold(SAMPLE_MODELS / "pre_activation.keras", to="keras")


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("post_activation.h5", "out.keras", "ends in .h5 or .hdf5"),
        ("pre_activation.keras", "out.h5", "ends in .keras"),
        ("pre_activation.keras", "out.txt", "ends in .keras"),
    ],
)
def test_another_format_than_the_source_is_refused(
    name: str, target: str, words: str, tmp_path: Path
) -> None:
    result = bnfold.fold(SAMPLE_MODELS / name, to="keras", verify=False)
    assert result.keras is not None
    with pytest.raises(OutputError, match=words):
        result.keras.save(tmp_path / target)
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_model_cannot_become_keras(tmp_path: Path) -> None:
    source = SAMPLE_MODELS / "autoencoder.onnx"
    with pytest.raises(InputError, match="folded to ONNX only"):
        bnfold.fold(source, to="keras")
    with pytest.raises(OutputError, match="cannot be written as Keras"):
        bnfold.fold(source, verify=False).save(tmp_path / "out.keras")
    with pytest.raises(InputError, match="choose onnx or keras"):
        bnfold.fold(source, to="tflite")
