"""Opening Keras files: the right Keras, nothing executed, one line for everything else."""

from __future__ import annotations

import builtins
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bnfold.core.errors import InputError, MissingExtraError
from bnfold.formats.keras import runtime
from bnfold.formats.keras.open import open_keras

pytestmark = pytest.mark.keras

SAMPLES = Path(__file__).parents[3] / "sample_models"


@pytest.fixture(scope="session")
def keras3() -> Any:
    pytest.importorskip("tensorflow")
    return runtime.import_keras()


@pytest.fixture(scope="session")
def keras2() -> Any:
    pytest.importorskip("tf_keras")
    return runtime.import_tf_keras()


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("post_activation.h5", 3),
        ("post_activation.keras", 3),
        ("post_activation_keras2.h5", 2),
    ],
)
def test_the_keras_that_wrote_it_loads_it(
    keras3: Any, keras2: Any, name: str, generation: int
) -> None:
    opened = open_keras(SAMPLES / name)
    assert opened.generation == generation
    assert type(opened.model).__module__.startswith("keras." if generation == 3 else "tf_keras.")
    assert [layer.name for layer in opened.model.layers][-1] == "digit"
    assert opened.notes == ()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("post_activation.h5", "model.keras"),
        ("post_activation.keras", "model.h5"),
        ("post_activation_keras2.h5", "model.keras"),
        ("post_activation.keras", "no_suffix"),
    ],
)
def test_the_suffix_does_not_matter(
    keras3: Any, keras2: Any, tmp_path: Path, source: str, name: str
) -> None:
    shutil.copyfile(SAMPLES / source, tmp_path / name)
    opened = open_keras(tmp_path / name)
    assert opened.model.count_params() == open_keras(SAMPLES / source).model.count_params()
    assert bool(opened.notes) == ("." in name)


def test_keras2_archives_go_to_tf_keras(keras2: Any, tmp_path: Path) -> None:
    model = keras2.Sequential([keras2.Input((3,)), keras2.layers.Dense(2)])
    model.save(tmp_path / "old.keras")
    assert open_keras(tmp_path / "old.keras").generation == 2


def test_compiled_models_load(keras2: Any, tmp_path: Path) -> None:
    """Keras 3 fails on every compiled Keras 2 file unless told not to compile it."""
    model = keras2.Sequential([keras2.Input((3,)), keras2.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "old.h5")
    assert open_keras(tmp_path / "old.h5").model.optimizer is None


def test_without_tf_keras_keras3_tries(
    keras3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    opened = open_keras(SAMPLES / "post_activation_keras2.h5")
    assert opened.generation == 3

    path = tmp_path / "old.h5"
    shutil.copyfile(SAMPLES / "post_activation_keras2.h5", path)
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"].replace("BatchNormalization", "BatchNormalizationV9")
        file.attrs["model_config"] = text
    with pytest.raises(MissingExtraError, match=r"pip install 'bnfold\[legacy\]'"):
        open_keras(path)


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_missing_keras_is_one_line(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bnfold\[keras\]'"):
        open_keras(SAMPLES / "post_activation.h5")


def test_another_backend_is_one_line(keras3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras3.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match=r"Keras runs on torch .* KERAS_BACKEND=tensorflow"):
        runtime.import_keras()


class Tripwire:
    """Notices when the code in a model file runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tripped = False
        monkeypatch.setattr(builtins, "bnfold_tripwire", self._trip, raising=False)

    def _trip(self, x: Any) -> Any:
        self.tripped = True
        return x


def lambda_model(keras: Any) -> Any:
    code = "lambda x: __builtins__['bnfold_tripwire'](x) if isinstance(__builtins__, dict) else x"
    function = eval(code, {"__builtins__": builtins.__dict__})
    return keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Lambda(function, name="sneaky")]
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("generation", ["keras3", "keras2"])
def test_a_lambda_is_refused_before_any_loader(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    generation: str,
    suffix: str,
) -> None:
    keras = request.getfixturevalue(generation)
    wire = Tripwire(monkeypatch)
    path = tmp_path / f"model{suffix}"
    with runtime.quiet():
        lambda_model(keras).save(path)
    wire.tripped = False
    seen = []
    monkeypatch.setattr(keras.models, "load_model", lambda *a, **k: seen.append(a))
    with pytest.raises(InputError, match=r"Layer 'sneaky' is a Lambda.*--unsafe-load"):
        open_keras(path)
    assert not seen
    assert not wire.tripped


@pytest.mark.parametrize("generation", ["keras3", "keras2"])
def test_a_trusted_lambda_loads(
    request: pytest.FixtureRequest, tmp_path: Path, generation: str
) -> None:
    keras = request.getfixturevalue(generation)
    layers = keras.layers
    model = keras.Sequential([layers.Input((3,)), layers.Lambda(lambda x: x * 2 + 1, name="twice")])
    path = tmp_path / "model.keras"
    model.save(path)
    opened = open_keras(path, unsafe_load=True)
    assert np.array_equal(opened.model.predict(np.ones((1, 3)), verbose=0), np.full((1, 3), 3.0))


def test_no_module_named_by_a_file_is_imported(
    keras2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named_by_the_file.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    good, bad = tmp_path / "good.keras", tmp_path / "bad.keras"
    keras2.Sequential([keras2.Input((3,)), keras2.layers.Dense(2, name="dense")]).save(good)
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][-1]["module"] = "named_by_the_file"
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(InputError, match=r"Layer 'dense' is of the custom class named_by_the_file"):
        open_keras(bad)
    assert "named_by_the_file" not in sys.modules


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("generation", ["keras3", "keras2"])
def test_custom_classes(
    request: pytest.FixtureRequest, tmp_path: Path, generation: str, suffix: str
) -> None:
    keras = request.getfixturevalue(generation)

    class Mine(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 3

    path = tmp_path / f"model{suffix}"
    with runtime.quiet():
        keras.Sequential([keras.layers.Input((3,)), Mine(name="mine")]).save(path)
    with pytest.raises(InputError, match="--custom-objects") as caught:
        open_keras(path)
    assert "Mine" in str(caught.value)
    assert "\n" not in str(caught.value)
    opened = open_keras(path, custom_objects={"Mine": Mine})
    assert np.array_equal(opened.model.predict(np.ones((1, 3)), verbose=0), np.full((1, 3), 3.0))


def test_unusable_files_are_one_line(keras3: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copyfile(SAMPLES / "post_activation.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential", "config": '
    with pytest.raises(InputError, match="damaged model config"):
        open_keras(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential", "config": {"layers": 5}}'
    with pytest.raises(InputError, match="cannot be loaded by Keras") as caught:
        open_keras(path)
    assert str(caught.value).isprintable()
    with pytest.raises(InputError, match="not a Keras file"):
        open_keras(SAMPLES / "autoencoder.onnx")


def test_weights_that_do_not_fit_are_one_line(keras3: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copyfile(SAMPLES / "post_activation.h5", path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense_1"]
        names: list[str] = []
        group.visit(names.append)
        kernel = next(n for n in names if n.endswith(("kernel", "kernel:0")))
        del group[kernel]
        group[kernel] = np.zeros((2, 2), np.float32)
    with pytest.raises(InputError, match="cannot be loaded by Keras") as caught:
        open_keras(path)
    assert str(caught.value).isprintable()
