"""Reading Keras files as data: older shapes of configs, weights by every layout, bad files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.graph import KerasGraph, TensorRef, walk_layers
from bnfold.formats.keras.h5 import H5File
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.read_config import parse_model

_KERNEL = np.arange(12, dtype=np.float32).reshape(4, 3)


def _dense(name: str = "dense", **more: Any) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "dtype": "float32", "units": 3, "use_bias": True}
    return {"class_name": "Dense", "config": {**config, "activation": "linear", **more}}


def _norm(class_name: str = "BatchNormalization", **more: Any) -> dict[str, Any]:
    config = {"name": "bn", "trainable": True, "dtype": "float32", "axis": [1], "epsilon": 0.001}
    return {"class_name": class_name, "config": {**config, "scale": True, "center": True, **more}}


def _write_h5(
    path: Path, config: Any, weights: dict[str, dict[str, np.ndarray]], **attrs: Any
) -> Path:
    """An .h5 file as Keras 2 writes it."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        for key, value in attrs.items():
            file.attrs[key] = value
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                inner[name] = array
    return path


_DENSE_WEIGHTS = {"dense/kernel:0": _KERNEL, "dense/bias:0": np.ones(3, np.float32)}
_NORM_WEIGHTS = {
    f"bn/{name}:0": np.full(3, index, np.float32)
    for index, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))
}
_WEIGHTS = {"dense": _DENSE_WEIGHTS, "bn": _NORM_WEIGHTS}


def _sequential(layers: Any, **more: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers, **more}}


_WITH_SHAPE = _dense(batch_input_shape=[None, 4])
_INPUT = {
    "class_name": "InputLayer",
    "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "x"},
    "name": "x",
    "inbound_nodes": [],
}
_FUNCTIONAL_LAYERS = [
    _INPUT,
    {**_dense(), "name": "dense", "inbound_nodes": [[["x", 0, 0, {}]]]},
    {**_norm(), "name": "bn", "inbound_nodes": [[["dense", 0, 0, {}]]]},
]
_FUNCTIONAL = {
    "name": "m",
    "layers": _FUNCTIONAL_LAYERS,
    "input_layers": [["x", 0, 0]],
    "output_layers": [["bn", 0, 0]],
}

_OLD_CONFIGS: dict[str, Any] = {
    "bare_list": {"class_name": "Sequential", "config": [_WITH_SHAPE, _norm()]},
    "no_input_layer": _sequential([_WITH_SHAPE, _norm()]),
    "build_input_shape": _sequential([_dense(), _norm()], build_input_shape=[None, 4]),
    "input_layer": _sequential([_INPUT, _dense(), _norm()]),
    "input_shape": _sequential(
        [
            {
                "class_name": "InputLayer",
                "config": {"shape": [4], "batch_size": None, "name": "x", "dtype": "float32"},
            },
            _dense(),
            _norm(),
        ]
    ),
    "v1": _sequential([_WITH_SHAPE, _norm("BatchNormalizationV1")]),
    "v2": _sequential([_WITH_SHAPE, _norm("BatchNormalizationV2", axis=1)]),
    "model": {"class_name": "Model", "config": _FUNCTIONAL},
    "functional": {"class_name": "Functional", "config": _FUNCTIONAL},
}


@pytest.mark.parametrize("kind", _OLD_CONFIGS)
def test_older_configs(tmp_path: Path, kind: str) -> None:
    path = _write_h5(tmp_path / "m.h5", _OLD_CONFIGS[kind], _WEIGHTS, keras_version=b"2.3.1")
    graph = read_keras(path)
    assert graph.generation == 2
    assert [call.layer for call in graph.calls][1:] == ["dense", "bn"]
    assert graph.outputs == (TensorRef("bn"),)
    np.testing.assert_array_equal(graph.layers["dense"].weights["kernel"].read(), _KERNEL)
    np.testing.assert_array_equal(graph.layers["bn"].weights["moving_mean"].read(), [2, 2, 2])


def test_generation_without_version(tmp_path: Path) -> None:
    path = _write_h5(tmp_path / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    assert read_keras(path).generation == 2


def test_suffix_does_not_count(tmp_path: Path) -> None:
    path = _write_h5(tmp_path / "m.keras", _OLD_CONFIGS["functional"], _WEIGHTS)
    assert read_keras(path).layers["dense"].weights


def test_weight_names_in_several_attributes(tmp_path: Path) -> None:
    """HDF5 limits attributes, so Keras cuts long lists of names."""
    path = _write_h5(tmp_path / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/bn"]
        names = list(group.attrs["weight_names"])
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:3], names[3:]
    weights = read_keras(path).layers["bn"].weights
    np.testing.assert_array_equal(weights["moving_variance"].read(), [3, 3, 3])


def _nested(trainable: bool) -> tuple[Any, dict[str, dict[str, np.ndarray]]]:
    """An inner model whose arrays stand in one flat list, two layers with BNs."""
    inner_layers: list[Any] = [{**_INPUT, "config": {**_INPUT["config"]}}]
    before = "x"
    for index in (1, 2):
        for make, stem in ((_dense, "dense"), (_norm, "bn")):
            name = f"{stem}_{index}"
            layer = make(name=name) if make is _norm else make(name)
            layer["config"]["trainable"] = trainable or index == 2
            layer["config"]["units"] = 4
            inner_layers.append({**layer, "name": name, "inbound_nodes": [[[before, 0, 0, {}]]]})
            before = name
    inner = {
        "class_name": "Functional",
        "config": {
            "name": "inner",
            "layers": inner_layers,
            "input_layers": [["x", 0, 0]],
            "output_layers": [[before, 0, 0]],
        },
        "name": "inner",
        "inbound_nodes": [[["x", 0, 0, {}]]],
    }
    outer = {
        "class_name": "Functional",
        "config": {
            "name": "outer",
            "layers": [_INPUT, inner],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["inner", 1, 0]],
        },
    }
    kept = [f"{stem}_{i}/{n}:0" for i in (1, 2) for stem, n in _TRAINED]
    fixed = [f"bn_{i}/{n}:0" for i in (1, 2) for n in ("moving_mean", "moving_variance")]
    if not trainable:
        first = [f"{stem}_1/{n}:0" for stem, n in _TRAINED]
        kept = [name for name in kept if name not in first]
        fixed = first + fixed
    names = kept + fixed
    shape = {"kernel": (4, 4)}
    arrays = {
        name: np.full(shape.get(name.split("/")[1][:-2], (4,)), index, np.float32)
        for index, name in enumerate(names)
    }
    return outer, {"inner": arrays}


_TRAINED = (("dense", "kernel"), ("dense", "bias"), ("bn", "gamma"), ("bn", "beta"))


@pytest.mark.parametrize("trainable", [True, False])
def test_flat_list_of_a_nested_model(tmp_path: Path, trainable: bool) -> None:
    """All trainable arrays stand first; those of frozen layers among the others."""
    config, weights = _nested(trainable)
    graph = read_keras(_write_h5(tmp_path / "m.h5", config, weights))
    inner = graph.layers["inner"].graph
    assert inner is not None
    expected = {name: float(array.flat[0]) for name, array in weights["inner"].items()}
    for layer in inner.layers.values():
        for role, array in layer.weights.items():
            assert array.read().flat[0] == expected[f"{layer.name}/{role}:0"], (layer.name, role)
    assert sum(len(layer.weights) for layer in inner.layers.values()) == len(expected)
    assert graph.outputs == (TensorRef("inner", 0, 0),)


def _damage_config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        config = json.loads(json.dumps(_OLD_CONFIGS["functional"]))
        change(config["config"])
        return _write_h5(folder / "m.h5", config, _WEIGHTS)

    return make


def _cycle(config: dict[str, Any]) -> None:
    config["layers"][1]["inbound_nodes"] = [[["bn", 0, 0, {}]]]


def _unknown_layer(config: dict[str, Any]) -> None:
    config["layers"][1]["inbound_nodes"] = [[["nowhere", 0, 0, {}]]]


def _unknown_call(config: dict[str, Any]) -> None:
    config["output_layers"] = [["bn", 3, 0]]


def _twins(config: dict[str, Any]) -> None:
    config["layers"][2]["name"] = config["layers"][2]["config"]["name"] = "dense"
    config["output_layers"] = [["dense", 0, 0]]


def _no_class(config: dict[str, Any]) -> None:
    del config["layers"][1]["class_name"]


def _few_arrays(folder: Path) -> Path:
    weights = {**_WEIGHTS, "bn": dict(list(_NORM_WEIGHTS.items())[:3])}
    return _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], weights)


def _swapped_arrays(folder: Path) -> Path:
    names = list(_NORM_WEIGHTS)
    swapped = {name: _NORM_WEIGHTS[name] for name in (names[1], names[0], *names[2:])}
    return _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], {**_WEIGHTS, "bn": swapped})


def _external_link(folder: Path) -> Path:
    path = _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    with h5py.File(folder / "secret.h5", "w") as other:
        other["kernel:0"] = _KERNEL
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group["kernel:0"] = h5py.ExternalLink("secret.h5", "/kernel:0")
    return path


def _external_data(folder: Path) -> Path:
    path = _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    (folder / "secret.bin").write_bytes(bytes(48))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group.create_dataset(
            "kernel:0", (4, 3), "float32", external=[(str(folder / "secret.bin"), 0, 48)]
        )
    return path


def _bomb(folder: Path) -> Path:
    path = _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group.create_dataset(
            "kernel:0", (1 << 20, 1 << 20), "float32", chunks=(64, 64), compression="gzip"
        )
    return path


def _text_array(folder: Path) -> Path:
    path = _write_h5(folder / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group["kernel:0"] = [b"a", b"b"]
    return path


_BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cycle": (_damage_config(_cycle), "waits for its own result"),
    "unknown_layer": (_damage_config(_unknown_layer), "'nowhere', which it lacks"),
    "unknown_call": (_damage_config(_unknown_call), "reads call 3 of layer 'bn'"),
    "twins": (_damage_config(_twins), "two layers named 'dense'"),
    "no_class": (_damage_config(_no_class), "model config is damaged"),
    "no_outputs": (_damage_config(lambda c: c.update(output_layers=[])), "has no outputs"),
    "few_arrays": (_few_arrays, "'bn'.*3 arrays where 4 are needed"),
    "swapped_arrays": (_swapped_arrays, "unknown order"),
    "external_link": (_external_link, "link to another place"),
    "external_data": (_external_data, "points at another file"),
    "bomb": (_bomb, "claims 4398046511104 bytes"),
    "text_array": (_text_array, "holds no numbers"),
}


@pytest.mark.parametrize("kind", _BAD)
def test_bad_file_is_one_line(tmp_path: Path, kind: str) -> None:
    make, message = _BAD[kind]
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        for _, layer in walk_layers(read_keras(path)):
            for array in layer.weights.values():
                array.read()
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text


def test_deeply_nested_config() -> None:
    config: Any = _sequential([_WITH_SHAPE])
    for _ in range(200):
        config = _sequential([config])
    with pytest.raises(InputError, match="too deeply"):
        parse_model(config)


def test_subclassed_models_are_told_apart() -> None:
    with pytest.raises(UnsupportedModelError, match="has no graph"):
        parse_model({"class_name": "Model", "config": {"name": "m"}})
    own = {"class_name": "MyNet", "module": "my.nets", "config": _FUNCTIONAL}
    with pytest.raises(UnsupportedModelError, match=r"'m' \(MyNet\) is a class of its own"):
        parse_model(own)


def test_zip_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(_OLD_CONFIGS["functional"]))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
    with pytest.raises(InputError, match="without its weights"):
        read_keras(path)


def _archive(path: Path, compression: int) -> Path:
    inner = path.with_suffix(".inner")
    with h5py.File(inner, "w") as file:
        for index, array in enumerate(_DENSE_WEIGHTS.values()):
            file[f"layers/dense/vars/{index}"] = array
        for index, array in enumerate(_NORM_WEIGHTS.values()):
            file[f"layers/batch_normalization/vars/{index}"] = array
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(_OLD_CONFIGS["functional"]))
        archive.write(inner, "model.weights.h5")
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_stored_or_deflated(tmp_path: Path, compression: int) -> None:
    graph: KerasGraph = read_keras(_archive(tmp_path / "m.keras", compression))
    np.testing.assert_array_equal(graph.layers["dense"].weights["kernel"].read(), _KERNEL)
    np.testing.assert_array_equal(graph.layers["bn"].weights["beta"].read(), [1, 1, 1])


def test_arrays_stay_in_the_file_until_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the config and the table of contents are read at first."""
    read: list[str] = []
    before = H5File._read

    def watched(self: H5File, path: str, dtype: str) -> Any:
        read.append(path)
        return before(self, path, dtype)

    monkeypatch.setattr(H5File, "_read", watched)
    path = _write_h5(tmp_path / "m.h5", _OLD_CONFIGS["functional"], _WEIGHTS)
    array = read_keras(path).layers["dense"].weights["kernel"]
    assert (array.shape, read) == ((4, 3), [])
    np.testing.assert_array_equal(array.read(), _KERNEL)
    assert read == ["model_weights/dense/dense/kernel:0"]


def test_bfloat16_archive(tmp_path: Path) -> None:
    """Keras 3 writes bfloat16 as raw pairs of bytes with a note of what they are."""
    import ml_dtypes

    path = _archive(tmp_path / "m.keras", zipfile.ZIP_STORED)
    inner = path.with_suffix(".inner")
    values = np.asarray([[1.5, -2.25, 3]] * 4, dtype=ml_dtypes.bfloat16)
    with h5py.File(inner, "r+") as file:
        del file["layers/dense/vars/0"]
        dataset = file["layers/dense/vars"].create_dataset("0", data=values)
        dataset.attrs["dtype"] = "bfloat16"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", json.dumps(_OLD_CONFIGS["functional"]))
        archive.write(inner, "model.weights.h5")
    array = read_keras(path).layers["dense"].weights["kernel"]
    assert array.dtype == "bfloat16"
    np.testing.assert_array_equal(array.read().astype(np.float32), values.astype(np.float32))
