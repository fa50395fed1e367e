"""Hostile files on the road of data: nothing in them runs, and nothing that they name is imported.

Each runs in a process of its own in which no framework can be imported, beside a module that the
file names and that would leave a trace.
"""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import SAMPLE_MODELS

_RUN = """
import os, sys
sys.path.insert(0, os.getcwd())
for name in ("tensorflow", "keras", "tf_keras", "tf2onnx"):
    sys.modules[name] = None
from bnfold.convert.direct import convert
from bnfold.core.errors import InputError
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
source, target = sys.argv[1:]
said = []
try:
    graph = read_keras(source)
    write_keras(source, graph, fold_graph(graph).graph, target)
except InputError as error:
    said.append(str(error))
try:
    convert(source)
except InputError as error:
    said.append(str(error))
assert not any(chr(10) in one for one in said), said
assert "leaves_a_trace" not in sys.modules
"""
_TRACE = "open('executed', 'w').close()"


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (_TRACE,)


def _custom(layer: dict[str, Any]) -> None:
    layer.update(module="leaves_a_trace", class_name="Bent", registered_name="Bent")


def _lambda(layer: dict[str, Any]) -> None:
    code = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None}}
    layer.update(class_name="Lambda", config={"name": "code", "function": code})


def _function(layer: dict[str, Any]) -> None:
    layer["config"]["activation"] = {
        "class_name": "function",
        "module": "leaves_a_trace",
        "config": "run",
        "registered_name": "function",
    }


def _builtin(layer: dict[str, Any]) -> None:
    layer["config"]["activation"] = {
        "class_name": "function",
        "module": "builtins",
        "config": "exec",
        "registered_name": "function",
    }


def _initializer(layer: dict[str, Any]) -> None:
    layer["config"]["kernel_initializer"] = {
        "class_name": "Run",
        "module": "leaves_a_trace",
        "config": {"code": _TRACE},
        "registered_name": "Run",
    }


def _dtype(layer: dict[str, Any]) -> None:
    layer["config"]["dtype"] = {
        "class_name": "Run",
        "module": "leaves_a_trace",
        "config": {"name": _TRACE},
    }


def _saved_model(layer: dict[str, Any]) -> None:
    layer.update(class_name="TFSMLayer", config={"name": "other", "filepath": "/etc/passwd"})


_CHANGES = (_custom, _lambda, _function, _builtin, _initializer, _dtype, _saved_model)


def _members() -> dict[str, bytes]:
    with zipfile.ZipFile(SAMPLE_MODELS / "conv.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _harmless(folder: Path, path: Path) -> None:
    (folder / "leaves_a_trace.py").write_text(_TRACE)
    command = [sys.executable, "-c", _RUN, str(path), str(folder / "out.keras")]
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("change", _CHANGES, ids=lambda one: one.__name__[1:])
def test_config(tmp_path: Path, change: Any) -> None:
    members = _members()
    config = json.loads(members["config.json"])
    layer = next(one for one in config["config"]["layers"] if one["class_name"] == "Dense")
    change(layer)
    path = tmp_path / "hostile.keras"
    _write(path, {**members, "config.json": json.dumps(config).encode()})
    _harmless(tmp_path, path)


def test_pickled_weights(tmp_path: Path) -> None:
    """Arrays of objects, and files of pickles where weights should be."""
    members = _members()
    payload = pickle.dumps(_Evil())
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        group["0"] = np.void(payload)
    stored = io.BytesIO()
    np.save(stored, np.asarray([_Evil()], dtype=object), allow_pickle=True)
    for name, content in (
        ("void", buffer.getvalue()),
        ("pickle", payload),
        ("npy", stored.getvalue()),
    ):
        path = tmp_path / f"{name}.keras"
        _write(path, {**members, "model.weights.h5": content})
        _harmless(tmp_path, path)
    npz = {key: one for key, one in members.items() if key != "model.weights.h5"}
    path = tmp_path / "npz.keras"
    _write(path, {**npz, "model.weights.npz": stored.getvalue()})
    _harmless(tmp_path, path)


def test_members_that_leave_the_archive(tmp_path: Path) -> None:
    """Names of members are looked up, never unpacked."""
    outside = tmp_path / "escaped"
    path = tmp_path / "hostile.keras"
    _write(path, {**_members(), "../escaped": b"x", str(outside): b"x"})
    _harmless(tmp_path, path)
    assert not outside.exists()
