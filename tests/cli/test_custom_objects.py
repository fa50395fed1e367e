"""Custom Keras layers by `--custom-objects`, through the real command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bnfold
from tests.convert.zoo import randomize

_LAYERS = """
import {module} as keras

@keras.{register}("shop")
class Twist(keras.layers.Layer):
    def call(self, x):
        return x * x

@keras.{register}("shop")
def bend(x):
    return x * x
"""
_REGISTER = {
    "keras": "saving.register_keras_serializable",
    "tf_keras": "utils.register_keras_serializable",
}


@pytest.fixture(params=["keras", "tf_keras"])
def custom(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> tuple[str, Path]:
    """The module of custom layers, and a model file that uses them."""
    pytest.importorskip("tf2onnx")
    module = request.param
    keras: Any = pytest.importorskip(module)
    home = f"shop_layers_of_{module}"
    file = tmp_path / f"{home}.py"
    file.write_text(_LAYERS.format(module=module, register=_REGISTER[module]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    layers = importlib.import_module(home)
    L = keras.layers
    model = keras.Sequential(
        [
            L.Input((4,), name="x"),
            L.Dense(3, activation=layers.bend, name="dense"),
            layers.Twist(name="twist"),
            L.BatchNormalization(name="bn"),
            L.Dense(2, name="out"),
        ]
    )
    # tf_keras cannot read what it writes of custom functions into an .h5.
    path = tmp_path / ("m.h5" if module == "keras" else "m.keras")
    randomize(model).save(path)
    # As in a process of its own, where nobody has imported them.
    registry = importlib.import_module(f"{module}.saving").get_custom_objects()
    for name in ("shop>Twist", "shop>bend"):
        registry.pop(name, None)
    sys.modules.pop(home)
    return home, path


@pytest.mark.keras
@pytest.mark.parametrize(
    "specs",
    [("{home}:Twist", "{home}:bend"), ("{home}:Twist,bend",), ("{home}.py",)],
    ids=["one by one", "both at once", "a whole file"],
)
def test_custom_layers(bnfold: Bnfold, custom: tuple[str, Path], specs: tuple[str, ...]) -> None:
    home, path = custom
    given = [part for spec in specs for part in ("--custom-objects", spec.format(home=home))]
    done = bnfold(path, *given, "-o", path.with_suffix(".onnx"), "--no-bench")
    assert done.code == 0, done.err
    assert "1 of 1 affine folded" in done.out
    assert "ok      keras" in done.out


@pytest.mark.keras
def test_without_them_the_message_says_how(bnfold: Bnfold, custom: tuple[str, Path]) -> None:
    _, path = custom
    done = bnfold(path, "-o", path.with_suffix(".onnx"))
    assert done.code == 2
    assert "pass --custom-objects " in done.err
    assert done.err.count("\n") == 1
