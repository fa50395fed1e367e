"""Which road a Keras model takes, what is said of it, and what is refused on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert import roads
from bnfold.convert.roads import convert_by
from bnfold.core.errors import InputError, MissingExtraError
from bnfold.formats.keras import runtime
from tests.conftest import SAMPLE_MODELS
from tests.convert import zoo

pytestmark = pytest.mark.keras

FILE = SAMPLE_MODELS / "conv.keras"


@pytest.mark.parametrize(("converter", "road"), [("auto", "direct"), ("tf2onnx", "tf2onnx")])
@pytest.mark.usefixtures("keras3")
def test_both_roads_compute_what_keras_computes(converter: str, road: str) -> None:
    converted = convert_by(FILE, converter=converter, opset=17)
    assert converted.converter == road
    assert converted.notes == ()
    assert converted.reference is not None
    shape = [d if isinstance(d, int) else 3 for d in converted.model.graph.inputs[0].shape or ()]
    (result,) = converted.reference([np.ones(shape, np.float32)])
    assert result.shape == (3, 10)


def test_a_file_with_known_layers_needs_no_tensorflow() -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf_keras', 'tf2onnx'): sys.modules[name] = None\n"
        "import bnfold\n"
        f"result = bnfold.fold({str(FILE)!r}, verify_options={{'samples': 4}})\n"
        "last = result.verification.checks[-1]\n"
        "print(result.source.converter, len(result.folds), result.verification.passed)\n"
        "print(last.kind.value, last.status.value, last.detail)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    verdict, keras = done.stdout.splitlines()
    assert verdict == "direct 2 True"
    assert keras == (
        "keras skipped Keras is not installed: compared with the unfolded conversion alone"
    )


@pytest.mark.parametrize(
    ("installed", "asked", "backend"),
    [
        ({"tensorflow", "jax", "torch"}, "jax", "tensorflow"),
        ({"jax", "torch"}, "torch", "torch"),
        ({"jax", "torch"}, "", "jax"),
        ({"torch"}, "jax", "torch"),
        ({"keras"}, "keras", ""),
        (set(), "tensorflow", ""),
    ],
)
def test_what_keras_computes_on(
    installed: set[str], asked: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow where it is, as tf2onnx needs it; else whatever Keras can be asked for."""
    monkeypatch.setattr(runtime, "is_installed", lambda name: name in installed)
    monkeypatch.setenv("KERAS_BACKEND", asked)
    assert runtime.backend_at_hand() == backend


@pytest.mark.skipif(
    not any(runtime.is_installed(name) for name in ("jax", "torch")),
    reason="needs another backend of Keras: jax or torch",
)
def test_keras_without_tensorflow_is_the_reference_all_the_same() -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'tf_keras', 'tf2onnx'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np, onnxruntime\n"
        "from onnx_ir import to_proto\n"
        "from bnfold.convert.direct import convert\n"
        "from bnfold.convert.roads import load_reference\n"
        f"file = Path({str(FILE)!r})\n"
        "model = convert(file).model\n"
        "shape = [d if isinstance(d, int) else 3 for d in model.graph.inputs[0].shape]\n"
        "x = np.random.default_rng(0).normal(size=shape).astype(np.float32)\n"
        "(want,) = load_reference(file)([x])\n"
        "session = onnxruntime.InferenceSession(to_proto(model).SerializeToString())\n"
        "(got,) = session.run(None, {session.get_inputs()[0].name: x})\n"
        "print(want.shape == got.shape and bool(np.abs(want - got).max() < 1e-5))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["True"]


def subclassed(keras: Any) -> Any:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3, name="dense")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Own()
    model(np.ones((2, 4), np.float32))
    return zoo.randomize(model)


def test_code_of_ones_own_goes_to_tf2onnx_with_a_note(keras3: Any) -> None:
    model = subclassed(keras3)
    converted = convert_by(model, opset=17)
    assert converted.converter == "tf2onnx"
    (note,) = converted.notes
    assert note.startswith("converted by tf2onnx, not directly: ")
    assert "(Own)" in note
    with pytest.raises(InputError, match=r"direct converter cannot do this: .*\(Own\)"):
        convert_by(model, converter="direct", opset=17)


@pytest.mark.usefixtures("keras3")
def test_an_opset_that_the_direct_road_does_not_write() -> None:
    converted = convert_by(FILE, opset=11)
    assert converted.converter == "tf2onnx"
    assert "opset 13 and newer" in converted.notes[0]


def test_there_are_three_converters() -> None:
    with pytest.raises(InputError, match="no converter 'fast': choose auto, direct, tf2onnx"):
        convert_by(FILE, converter="fast", opset=17)


@pytest.fixture
def with_lambda(keras3: Any, tmp_path: Path) -> Path:
    """A file whose Lambda leaves a trace if it ever runs."""
    trace = tmp_path / "ran"
    L = keras3.layers
    model = keras3.Sequential([L.Input((3,)), L.Lambda(lambda x: x, name="evil"), L.Dense(2)])
    path = tmp_path / "lambda.keras"
    model.save(path)
    assert not trace.exists()
    return path


@pytest.mark.parametrize("converter", ["auto", "direct", "tf2onnx"])
def test_a_lambda_is_refused_before_anything_loads_the_file(
    with_lambda: Path, converter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a loader saw the file")

    monkeypatch.setattr("bnfold.formats.keras.open._load", loaded)
    with pytest.raises(InputError, match="evil"):
        convert_by(with_lambda, converter=converter, opset=17)


def test_a_lambda_runs_where_it_was_allowed(with_lambda: Path) -> None:
    converted = convert_by(with_lambda, opset=17, unsafe_load=True)
    assert converted.converter == "tf2onnx"


def test_without_tensorflow_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, keras3: Any
) -> None:
    def missing(*_: object) -> None:
        raise MissingExtraError('TensorFlow is not installed: pip install "bnfold[keras]".')

    monkeypatch.setattr(roads, "_by_tf2onnx", missing)
    with pytest.raises(MissingExtraError, match=r"Without TensorFlow .*\(Own\).*bnfold\[keras\]"):
        convert_by(subclassed(keras3), opset=17)
