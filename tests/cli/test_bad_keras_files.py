"""Keras files that cannot be used: one line that says why, exit code 2, nothing written."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.cli.conftest import Bnfold
from tests.cli.test_usage import one_line
from tests.conftest import SAMPLE_MODELS

Members = dict[str, bytes]


def _archive(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _members() -> Members:
    with zipfile.ZipFile(SAMPLE_MODELS / "conv.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _config(change: Callable[[Any], None]) -> Callable[[], bytes]:
    """The sample model with its config changed in place."""

    def make() -> bytes:
        members = _members()
        config = json.loads(members["config.json"])
        change(config)
        return _archive({**members, "config.json": json.dumps(config).encode()})

    return make


def _text(text: bytes) -> Callable[[], bytes]:
    return lambda: _archive({**_members(), "config.json": text})


def _layer(config: Any, class_name: str) -> Any:
    return next(one for one in config["config"]["layers"] if one["class_name"] == class_name)


def _set(class_name: str, **settings: Any) -> Callable[[], bytes]:
    return _config(lambda config: _layer(config, class_name)["config"].update(settings))


def _weights(change: Callable[[h5py.File], None]) -> Callable[[], bytes]:
    """The sample model with its arrays changed in place."""

    def make() -> bytes:
        members = _members()
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            change(file)
        return _archive({**members, "model.weights.h5": buffer.getvalue()})

    return make


def _dense_arrays(file: h5py.File) -> h5py.Group:
    return file["layers/dense/vars"]


def _replace(array: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        group = _dense_arrays(file)
        del group["0"]
        group["0"] = array

    return change


def _drop(file: h5py.File) -> None:
    del _dense_arrays(file)["0"]


def _functional(nodes: dict[str, list[str]], output: str) -> Callable[[], bytes]:
    """A Functional model of Adds that read each other like this."""

    def tensor(name: str) -> dict[str, Any]:
        history = {"shape": [None, 4], "dtype": "float32", "keras_history": [name, 0, 0]}
        return {"class_name": "__keras_tensor__", "config": history}

    def make() -> bytes:
        start = {"name": "x", "batch_shape": [None, 4], "dtype": "float32"}
        layers: list[dict[str, Any]] = [
            {"class_name": "InputLayer", "config": start, "name": "x", "inbound_nodes": []}
        ]
        layers += [
            {
                "class_name": "Add",
                "module": "keras.layers",
                "config": {"name": name, "dtype": "float32"},
                "name": name,
                "inbound_nodes": [{"args": [[tensor(one) for one in given]], "kwargs": {}}],
            }
            for name, given in nodes.items()
        ]
        inner = {
            "name": "graph",
            "layers": layers,
            "input_layers": [["x", 0, 0]],
            "output_layers": [[output, 0, 0]],
        }
        config = {"class_name": "Functional", "module": "keras", "config": inner}
        return _archive({**_members(), "config.json": json.dumps(config).encode()})

    return make


def _without(name: str) -> Callable[[], bytes]:
    return lambda: _archive({key: one for key, one in _members().items() if key != name})


def _unknown(config: Any) -> None:
    layer = _layer(config, "Dense")
    layer.update(class_name="Bent", module="shop.layers", registered_name="shop>Bent")


def _huge(config: Any) -> None:
    _layer(config, "Dense")["config"]["units"] = 10**12


SAMPLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated archive": (lambda: (SAMPLE_MODELS / "conv.keras").read_bytes()[:9000], "bad.keras"),
    "truncated HDF5": (lambda: (SAMPLE_MODELS / "post_activation.h5").read_bytes()[:9000], "bad"),
    "no config": (_without("config.json"), "config"),
    "config is no JSON": (_text(b"{'a': 1"), "config"),
    "config is a number": (_text(b"7"), "config"),
    "config is an empty list": (_text(b"[]"), "config"),
    "config of a bottomless list": (_text(b"[" * 100_000), "config"),
    "no weights": (_without("model.weights.h5"), "weights"),
    "weights are no HDF5": (
        lambda: _archive({**_members(), "model.weights.h5": b"none"}),
        "weights",
    ),
    "an array is missing": (_weights(_drop), "kernel"),
    "an array is too small": (_weights(_replace(np.zeros((3, 2), np.float32))), "shape"),
    "an array has too many axes": (_weights(_replace(np.zeros((1, 2, 3), np.float32))), "shape"),
    "an array of words": (_weights(_replace(np.asarray([b"one", b"two"]))), "bad"),
    "a group for an array": (_weights(lambda file: _replace_by_group(file)), "bad"),
    "a cycle": (_functional({"a": ["x", "b"], "b": ["a", "x"]}, "b"), "bad"),
    "a layer that reads itself": (_functional({"a": ["x", "a"]}, "a"), "bad"),
    "a reader of nothing": (_functional({"a": ["x", "gone"]}, "a"), "gone"),
    "an output that is not there": (_functional({"a": ["x", "x"]}, "gone"), "gone"),
    "a class that nobody knows": (_config(_unknown), "Bent"),
    "a dtype that does not exist": (_set("Dense", dtype="float99"), "float99"),
    "a dtype that is a number": (_set("Dense", dtype=7), "bad"),
    "units in words": (_set("Dense", units="many"), "digit"),
    "no units": (_set("Dense", units=None), "digit"),
    "negative units": (_set("Dense", units=-4), "digit"),
    "more units than memory": (_config(_huge), "digit"),
    "strides of zero": (_set("Conv2D", strides=[0, 0]), "conv"),
    "a padding that does not exist": (_set("Conv2D", padding="wide"), "conv"),
    "groups that do not divide": (_set("Conv2D", groups=5), "conv"),
    "an axis that is not there": (_set("BatchNormalization", axis=9), "bn"),
    "an epsilon in words": (_set("BatchNormalization", epsilon="small"), "bn"),
    "layers that are no list": (
        _config(lambda config: config["config"].update(layers="none")),
        "bad",
    ),
    "a layer that is a number": (_config(lambda config: config["config"]["layers"].append(3)), ""),
    "a layer without a class": (
        _config(lambda config: config["config"]["layers"][1].pop("class_name")),
        "bad",
    ),
}


def _replace_by_group(file: h5py.File) -> None:
    group = _dense_arrays(file)
    del group["0"]
    group.create_group("0")


@pytest.mark.keras
@pytest.mark.parametrize("target", ["onnx", "keras"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_unusable(bnfold: Bnfold, tmp_path: Path, sample: str, target: str) -> None:
    make, words = SAMPLES[sample]
    path, out = tmp_path / "bad.keras", tmp_path / f"out.{target}"
    path.write_bytes(make())
    done = bnfold(path, "-o", out, "--no-bench")
    assert done.code == 2, done.out + done.err
    assert one_line(done)
    assert words in done.err
    assert not out.exists()
