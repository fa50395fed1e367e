"""The sample models are what their README says: small, trained, and alike across formats."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

FOLDER = Path(__file__).parents[2] / "sample_models"
NETS = ["post_activation", "pre_activation"]


def test_all_together_are_small() -> None:
    sizes = [file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(sizes) < 5_000_000


def test_every_file_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    for file in FOLDER.iterdir():
        if file.suffix in (".h5", ".keras", ".onnx", ".npz"):
            assert f"`{file.name}`" in readme


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Layer name to weights, from either format, by h5py alone."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            data = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(data, "r") as file:
            return _collect(file)
    with h5py.File(path, "r") as file:
        return _collect(file["model_weights"])


def _collect(group: h5py.Group) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.size > 1:
            found[name] = item[()]

    group.visititems(visit)
    return found


@pytest.mark.parametrize("net", NETS)
def test_both_formats_hold_the_same_weights(net: str) -> None:
    first = sorted(arrays(FOLDER / f"{net}.h5").values(), key=lambda a: a.tobytes())
    second = sorted(arrays(FOLDER / f"{net}.keras").values(), key=lambda a: a.tobytes())
    assert len(first) == len(second) > 10
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def test_the_keras2_file_holds_them_too() -> None:
    first = sorted(arrays(FOLDER / "post_activation.h5").values(), key=lambda a: a.tobytes())
    old = sorted(arrays(FOLDER / "post_activation_keras2.h5").values(), key=lambda a: a.tobytes())
    assert all(np.array_equal(a, b) for a, b in zip(first, old, strict=True))
    with h5py.File(FOLDER / "post_activation_keras2.h5", "r") as file:
        assert str(file.attrs["keras_version"]).startswith("2.")


@pytest.mark.parametrize("net", NETS)
def test_statistics_are_those_of_data(net: str) -> None:
    """A fresh BatchNormalization (gamma 1, beta 0, mean 0, variance 1) would hide every bug."""
    weights = arrays(FOLDER / f"{net}.h5")
    for bn in ("bn_input", "bn_1", "bn_2"):
        own = {
            name.rpartition("/")[2].partition(":")[0]: value
            for name, value in weights.items()
            if f"{bn}/" in name
        }
        assert set(own) == {"gamma", "beta", "moving_mean", "moving_variance"}
        scale = own["gamma"] / np.sqrt(own["moving_variance"] + 1e-3)
        shift = own["beta"] - own["moving_mean"] * scale
        assert np.ptp(own["gamma"]) > 0.02
        assert np.ptp(scale) > 0.1
        assert np.abs(shift).max() > 0.01


def test_the_autoencoder_reconstructs_digits() -> None:
    model = onnx.load(FOLDER / "autoencoder.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node] == ["Gemm", "BatchNormalization", "Relu"] * 5 + [
        "Gemm"
    ]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert np.ptp(weights["bn_1.gamma"]) > 0.02
    with np.load(FOLDER / "digits_test.npz") as data:
        images = (data["images"] / np.float32(255)).reshape(-1, 14, 2, 14, 2)
    pixels = images.mean(axis=(2, 4)).reshape(-1, 196).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString())
    (result,) = session.run(None, {"pixels": pixels})
    error = float(np.mean((result - pixels) ** 2))
    assert error < 0.02 < float(np.mean((pixels - pixels.mean(axis=0)) ** 2))


def test_the_test_set() -> None:
    with np.load(FOLDER / "digits_test.npz") as data:
        assert data["images"].shape == (360, 28, 28)
        assert data["images"].dtype == np.uint8
        assert sorted(set(data["labels"].tolist())) == list(range(10))
