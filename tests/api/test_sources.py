"""Everything that can be given as a model, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.core.errors import InputError
from bnfold.sources import is_keras_model, open_source
from tests.cli.conftest import dense_bn


def fake_model(package: str, *, name: str = "Model") -> object:
    """An object whose class inherits from a class that says it is of `package`."""
    base = type(name, (), {"__module__": f"{package}.src.models.model"})
    return type("MyNet", (base,), {"__module__": "user_code"})()


@pytest.mark.parametrize("package", ["keras", "tf_keras", "tensorflow"])
def test_live_models_are_told_by_their_base_class(package: str) -> None:
    assert is_keras_model(fake_model(package))


@pytest.mark.parametrize(
    "other",
    [
        fake_model("keras", name="Layer"),
        fake_model("keraslike"),
        fake_model("sklearn"),
        3,
        "keras.Model",
        None,
    ],
)
def test_other_objects_are_no_keras_models(other: object) -> None:
    assert not is_keras_model(other)


def test_real_keras_models_are_recognised(keras: ModuleType) -> None:
    inputs = keras.Input((3,))
    assert is_keras_model(keras.Sequential([inputs, keras.layers.Dense(2)]))
    assert is_keras_model(keras.Model(inputs, inputs))
    assert not is_keras_model(keras.layers.Dense(2))


@pytest.mark.parametrize("source", [3, None, b"bytes", ["model.onnx"], fake_model("sklearn")])
def test_anything_else_is_refused_with_what_to_give(source: object) -> None:
    with pytest.raises(InputError, match=r"cannot use a .* as a model: give a path"):
        open_source(source)


def test_an_onnx_object_of_another_kind_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError):
        open_source(dense_bn(rng).graph)


@pytest.mark.parametrize("kind", ["str", "path", "proto", "ir"])
def test_onnx_sources(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    proto = dense_bn(rng)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    source = {"str": str(path), "path": path, "proto": proto, "ir": ir.from_proto(proto)}[kind]
    opened = open_source(source)
    assert [node.name for node in opened.model.graph] == ["dense", "act", "bn", "softmax"]
    assert opened.reference is None
    assert (opened.converter, dict(opened.labels)) == ("", {})
    assert opened.name == ("m.onnx" if kind in ("str", "path") else "net")


def test_a_misleading_suffix_is_noted(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.h5"
    onnx.save(dense_bn(rng), path)
    opened = open_source(path)
    assert opened.format == "ONNX"
    assert any(".h5" in note for note in opened.notes)


def test_what_the_converter_says_comes_through(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from bnfold.convert import tf2onnx_road
    from bnfold.convert.types import ConvertedModel

    seen: dict[str, object] = {}

    def convert(source: object, **options: object) -> ConvertedModel:
        seen.update(options)
        model = ir.from_proto(dense_bn(rng))
        return ConvertedModel(model, {"bn": "layer"}, list, "tf2onnx", ("mind the gap",))

    monkeypatch.setattr(tf2onnx_road, "convert_keras", convert)
    objects = {"Mine": int}
    opened = open_source(
        fake_model("keras"), custom_objects=objects, unsafe_load=True, converter="tf2onnx"
    )
    assert seen == {"opset": 17, "custom_objects": objects, "unsafe_load": True}
    assert (opened.name, opened.format) == ("MyNet", "Keras, in memory")
    assert (dict(opened.labels), opened.converter) == ({"bn": "layer"}, "tf2onnx")
    assert opened.reference is list
    assert opened.notes == ("mind the gap",)
    opened = open_source(fake_model("tf_keras"), opset=13)
    assert seen["opset"] == 13
    assert opened.notes == (
        "mind the gap",
        "converted by tf2onnx, not directly: Model 'model' (MyNet) is a class of its own, with "
        "code of its own",
    )
