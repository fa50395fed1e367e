"""A working folder with the files that the pages speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bnfold
from tests.docs.pages import ROOT

SAMPLES = ROOT / "sample_models"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every file that a page may name as an input, by that name."""
    folder = tmp_path_factory.mktemp("store")
    original = SAMPLES / "autoencoder.onnx"
    folded = folder / "folded.onnx"
    certificate = folder / "fold.json"
    few = {"samples": 4, "budget_seconds": 10.0}
    bnfold.fold(original, verify_options=few).save(folded, certificate=certificate)
    broken = folder / "broken.onnx"
    model = onnx.load(folded)
    kernel = model.graph.initializer[0]
    array = numpy_helper.to_array(kernel).copy()
    array[..., 0] *= 1.01
    kernel.CopyFrom(numpy_helper.from_array(array, kernel.name))
    onnx.save(model, broken)
    models = folder / "models"
    models.mkdir()
    for name in ("one.onnx", "two.onnx"):
        (models / name).symlink_to(original)
    data = folder / "data.npz"
    shape = (4, 196)
    np.savez(data, **{input_name(original): np.random.default_rng(0).random(shape, np.float32)})
    return {
        "model.onnx": original,
        "original.onnx": original,
        "candidate.onnx": folded,
        "shipped.onnx": folded,
        "broken.onnx": broken,
        "data.npz": data,
        "fold.json": certificate,
        "models": models,
        "model.h5": SAMPLES / "post_activation.h5",
        "model.keras": SAMPLES / "conv.keras",
    }


def input_name(path: Path) -> str:
    return onnx.load(path).graph.input[0].name


@pytest.fixture
def home(tmp_path: Path, store: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a clone's root, with those files beside; the working folder of the test."""
    for name in ("sample_models", "examples", "scripts", "benchmarks", "bnfold"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, path in store.items():
        (tmp_path / name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
