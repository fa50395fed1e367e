"""Folding Keras models as data and writing them back in the form they came in."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx_ir as ir
import pytest

from bnfold.convert.direct import convert, read
from bnfold.core.diagnostics import Reason
from bnfold.core.errors import OutputError
from bnfold.formats.keras.fold import KerasFold, fold_graph
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
from bnfold.formats.onnx.fold import fold_model
from tests.convert import zoo
from tests.convert.direct import kinds
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.direct.test_kinds import RELATIVE, inputs_of

_KINDS = {**zoo.KINDS, **kinds.KINDS}
# Keras 3 itself cannot load an operator with a constant from an .h5.
_NO_H5 = frozenset({"nested_only_output", "operators"})


def _norms(model: Any) -> int:
    """How many normalization layers a live model has."""
    count = 0
    for layer in model.layers:
        count += type(layer).__name__ == "BatchNormalization"
        if hasattr(layer, "layers"):
            count += _norms(layer)
    return count


@pytest.mark.parametrize("kind", _KINDS)
def test_kind(keras3: Any, kind: str, tmp_path: Path) -> None:
    _check_kind(keras3, kind, tmp_path)


# Of Keras 2 the kinds that its files write in another way; the others are slow to trace.
_OF_KERAS_2 = ("dense_post", "nested", "frozen", "operators", "deferred", "dict_ports", "separable")


@pytest.mark.parametrize(
    "kind",
    [k if k in _OF_KERAS_2 else pytest.param(k, marks=pytest.mark.slow) for k in _KINDS],
)
def test_kind_of_keras2(keras2: Any, kind: str, tmp_path: Path) -> None:
    _check_kind(keras2, kind, tmp_path)


def _check_kind(keras: Any, kind: str, tmp_path: Path) -> None:
    """Files of both kinds and live models, loaded again by the Keras that made them."""
    model = zoo.randomize(_KINDS[kind](keras))
    arrays = inputs_of(model)
    want = run_keras(model, arrays)
    before = [np.array(one) for one in model.get_weights()]
    for suffix in (".keras", ".h5", "live"):
        if suffix == "live":
            result: Any = fold_live(model)
            folded = result.model
        else:
            if suffix == ".h5" and kind in _NO_H5 and keras.__name__ == "keras":
                continue
            result, folded = _through_file(keras, model, tmp_path, suffix)
        assert_equal(run_keras(folded, arrays), want, RELATIVE.get(kind, 2e-5))
        assert type(folded) is type(model)
        gone = {item.source for item in result.folds if item.op_type == "BatchNormalization"}
        assert _norms(folded) == _norms(model) - len(gone)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def _through_file(keras: Any, model: Any, folder: Path, suffix: str) -> tuple[KerasFold, Any]:
    source, target = folder / f"model{suffix}", folder / f"folded{suffix}"
    model.save(source)
    graph = read_keras(source)
    result = fold_graph(graph)
    write_keras(source, graph, result.graph, target)
    return result, keras.models.load_model(target, compile=False)


# Called several times, these layers would have to become different ones.
_SHARED = frozenset({"nested_twice", "nested_only_output"})


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind not in _SHARED])
def test_planners_agree(keras3: Any, kind: str) -> None:
    """The same net as Keras and as ONNX: the same layers go, the same stay."""
    ours, theirs = _by_both(zoo.randomize(_KINDS[kind](keras3)))
    assert ours == theirs


def _by_both(model: Any, opset: int = 17) -> list[list[set[str]]]:
    """Layers that go and layers that stay, as Keras and as ONNX.

    What belongs to one layer of Keras, such as the factor in an attention's scores, is none.
    """
    graph = read(model)
    ours = fold_graph(graph)
    converted = convert(graph, opset=opset)
    steps = converted.steps
    theirs = fold_model(converted.model, labels=converted.labels, steps=steps)
    folds = {item.source for item in theirs.folds if not steps.issuperset(item.ops)}
    return [
        [{item.source for item in ours.folds}, {item.source for item in ours.kept}],
        [folds, {item.source for item in theirs.kept}],
    ]


@pytest.mark.parametrize("opset", [17, 20])
def test_the_factor_of_a_gelu_takes_a_scale(keras3: Any, opset: int) -> None:
    """Below opset 20 a GELU is several ops, and its 0.5 can take the scale of a residual's norm."""
    L = keras3.layers
    x = start = L.Input((6, 6, 4), name="x")
    y = L.DepthwiseConv2D(3, padding="same", activation="gelu", name="depthwise")(x)
    y = L.Add(name="add")([L.BatchNormalization(name="bn")(y), x])
    model = zoo.randomize(keras3.Model(start, L.Conv2D(3, 1, name="conv")(y)))
    ours, theirs = _by_both(model, opset)
    assert ours == [set(), {"bn"}]
    assert theirs == ([{"bn"}, set()] if opset == 17 else ours)
    graph = convert(model, opset=opset)
    folded = fold_model(graph.model, labels=graph.labels, steps=graph.steps)
    arrays = inputs_of(model)
    assert_equal(run_onnx(folded.model, arrays), run_keras(model, arrays), 1e-5)


def _dense_norm(K: Any, **options: Any) -> Any:
    L = K.layers
    return zoo.randomize(
        K.Sequential(
            [
                L.Input((4,), name="x"),
                L.Dense(3, name="dense", **options),
                L.BatchNormalization(name="bn"),
                L.Dense(2, name="out"),
            ]
        )
    )


def test_new_bias(keras: Any, tmp_path: Path) -> None:
    """A kernel that had no bias is given one, in config and weights."""
    model = _dense_norm(keras, use_bias=False)
    for suffix in (".keras", ".h5"):
        _, folded = _through_file(keras, model, tmp_path, suffix)
        assert folded.get_layer("dense").use_bias
        assert [layer.name for layer in folded.layers] == ["dense", "out"]


def test_name_of_an_output_stays(keras: Any) -> None:
    """A folded layer that gives an output its name leaves a linear activation behind."""
    L = keras.layers
    start = L.Input((4,), name="x")
    model = zoo.randomize(
        keras.Model(start, L.BatchNormalization(name="result")(L.Dense(3, name="dense")(start)))
    )
    folded = fold_live(model).model
    assert [type(layer).__name__ for layer in folded.layers[-2:]] == ["Dense", "Activation"]
    assert folded.layers[-1].name == "result"


@pytest.mark.parametrize("kind", ["rescaling", "normalization"])
def test_part_of_a_scaler_stays(keras: Any, kind: str, tmp_path: Path) -> None:
    """Zero padding lets the scale into the convolution, and the shift stays where it is."""
    L = keras.layers
    scaler = {
        "rescaling": lambda: L.Rescaling([0.5, 2.0, -3.0], offset=[1.0, 0.0, 2.0], name="scaler"),
        "normalization": lambda: L.Normalization(
            mean=[1.0, 2.0, 3.0], variance=[4.0, 9.0, 0.5], name="scaler"
        ),
    }[kind]
    layers = [L.Input((6, 7, 3), name="x"), scaler(), L.Conv2D(4, 3, padding="same")]
    model = zoo.randomize(keras.Sequential(layers))
    arrays = inputs_of(model)
    for suffix in (".keras", ".h5"):
        result, folded = _through_file(keras, model, tmp_path, suffix)
        (item,) = result.kept
        assert (item.source, item.left_as) == ("scaler", ("Rescaling",))
        assert [taken.part for taken in item.into] == ["scale"]
        assert_equal(run_keras(folded, arrays), run_keras(model, arrays), 1e-5)


def test_shared_layer_whose_calls_differ_stays(keras3: Any) -> None:
    """One Dense before two different norms: neither may change it."""
    L = keras3.layers
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    dense = L.Dense(3, name="dense")
    x, y = L.BatchNormalization(name="p")(dense(a)), L.BatchNormalization(name="q")(dense(b))
    result = fold_graph(read(zoo.randomize(keras3.Model([a, b], [x, y]))))
    assert not result.folds
    for item in result.kept:
        assert [refusal.reason for refusal in item.refusals][:1] == [Reason.OTHER_READER]
        assert item.left_as == ("BatchNormalization",)


def test_training_call_stays(keras3: Any) -> None:
    """A normalization called with training=True uses the batch's statistics."""
    L = keras3.layers
    start = L.Input((4,), name="x")
    y = L.BatchNormalization(name="bn")(L.Dense(3)(start), training=True)
    result = fold_graph(read(zoo.randomize(keras3.Model(start, y))))
    (item,) = result.kept
    assert item.refusals[0].reason is Reason.TRAINING_MODE


@pytest.mark.parametrize("value, reason", [(-5.0, 401), (np.nan, 402)])
def test_damaged_statistics_stay(keras3: Any, value: float, reason: int) -> None:
    model = _dense_norm(keras3)
    norm = model.get_layer("bn")
    variance = np.array(norm.moving_variance)
    variance[1] = value
    norm.moving_variance.assign(variance)
    (item,) = fold_graph(read(model)).kept
    assert item.refusals[0].reason.number == reason


def test_overflow_of_float16_stays(keras3: Any) -> None:
    """The kernel is float32, but the layer computes in float16."""
    L = keras3.layers
    small = {"dtype": "mixed_float16"}
    model = keras3.Sequential(
        [L.Input((4,)), L.Dense(3, **small), L.BatchNormalization(name="bn", **small)]
    )
    zoo.randomize(model).get_layer("bn").gamma.assign([1e6, 1, 1])
    result = fold_graph(read(model))
    reasons = {refusal.reason for item in result.kept for refusal in item.refusals}
    assert Reason.OVERFLOW in reasons


def test_custom_layers_are_left_untouched(keras3: Any, tmp_path: Path) -> None:
    """What is not known stays as it is, weights and all; what is around it is folded."""

    @keras3.saving.register_keras_serializable("bnfold_tests")
    class Twist(keras3.layers.Layer):
        def build(self, shape: Any) -> None:
            self.angle = self.add_weight(shape=(shape[-1],), name="angle")

        def call(self, x: Any) -> Any:
            return keras3.ops.sin(x * self.angle)

    L = keras3.layers
    model = zoo.randomize(
        keras3.Sequential(
            [
                L.Input((4,), name="x"),
                L.Dense(3, name="dense"),
                L.BatchNormalization(name="bn_1"),
                Twist(name="twist"),
                L.BatchNormalization(name="bn_2"),
                L.Dense(2, name="out"),
            ]
        )
    )
    arrays = inputs_of(model)
    for suffix in (".keras", ".h5"):
        result, folded = _through_file(keras3, model, tmp_path, suffix)
        # An .h5 says nothing of the shape behind the custom layer.
        known = {"bn_1", "bn_2"} if suffix == ".keras" else {"bn_1"}
        assert {item.source for item in result.folds} == known
        assert_equal(run_keras(folded, arrays), run_keras(model, arrays), 1e-5)
    live = fold_live(model).model
    assert_equal(run_keras(live, arrays), run_keras(model, arrays), 1e-5)


def test_lambda_is_never_executed(keras: Any, tmp_path: Path) -> None:
    """Reading, folding and writing a file with a Lambda in it runs nothing of it."""
    marker = tmp_path / "ran"
    L = keras.layers
    body = f"lambda t: (__import__('pathlib').Path({str(marker)!r}).touch(), t)[1]"
    model = keras.Sequential(
        [
            L.Input((4,), name="x"),
            L.Dense(3, name="dense"),
            L.BatchNormalization(name="bn"),
            L.Lambda(eval(body), output_shape=(3,), name="code"),
        ]
    )
    source = tmp_path / "m.keras"
    model.save(source)
    marker.unlink(missing_ok=True)
    graph = read_keras(source)
    result = fold_graph(graph)
    write_keras(source, graph, result.graph, tmp_path / "f.keras")
    assert [item.source for item in result.folds] == ["bn"]
    assert not marker.exists()


def test_optimizer_is_left_out(keras: Any, tmp_path: Path) -> None:
    """Its state belongs to layers that are gone; the rest of the file stays."""
    model = _dense_norm(keras)
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 2)), verbose=0)
    for suffix in (".keras", ".h5"):
        _, folded = _through_file(keras, model, tmp_path, suffix)
        assert folded.predict(np.ones((1, 4)), verbose=0).shape == (1, 2)
    with h5py.File(tmp_path / "folded.h5") as file:
        assert "training_config" not in file.attrs
        assert "optimizer_weights" not in file
    with zipfile.ZipFile(tmp_path / "folded.keras") as archive:
        assert not json.loads(archive.read("config.json")).get("compile_config")


def test_nothing_to_fold_is_a_copy(keras3: Any, tmp_path: Path) -> None:
    model = keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(3)])
    result, folded = _through_file(keras3, model, tmp_path, ".keras")
    assert result.edits.is_empty
    assert_equal(folded.get_weights(), model.get_weights(), 0.0)


def test_target_is_not_overwritten(keras3: Any, tmp_path: Path) -> None:
    source = tmp_path / "m.keras"
    _dense_norm(keras3).save(source)
    before = source.read_bytes()
    graph = read_keras(source)
    with pytest.raises(OutputError, match="exists"):
        write_keras(source, graph, fold_graph(graph).graph, source)
    assert source.read_bytes() == before
    write_keras(source, graph, fold_graph(graph).graph, source, force=True)
    assert fold_graph(read_keras(source)).edits.is_empty


def test_same_input_gives_the_same_bytes(keras: Any, tmp_path: Path) -> None:
    model = _dense_norm(keras)
    for suffix in (".keras", ".h5"):
        source = tmp_path / f"m{suffix}"
        model.save(source)
        written = []
        for name in ("a", "b"):
            graph = read_keras(source)
            target = tmp_path / f"{name}{suffix}"
            write_keras(source, graph, fold_graph(graph).graph, target)
            written.append(target.read_bytes())
        assert written[0] == written[1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_operator_that_gives_an_output_its_name_keeps_its_dtype(
    keras: Any, dtype: str, tmp_path: Path
) -> None:
    """The linear Activation in its place computes in the dtype of the operands, not in float32."""
    L = keras.layers
    x = L.Input((4,), dtype=dtype, name="x")
    y = L.Dense(3, dtype=dtype, name="dense")(x)
    model = zoo.randomize(keras.Model(x, y / 4.0))
    result, folded = _through_file(keras, model, tmp_path, ".keras")
    assert len(result.folds) == 1 and not result.kept
    arrays = [np.random.default_rng(0).normal(size=(5, 4)).astype(dtype)]
    (got,), (want,) = run_keras(folded, arrays), run_keras(model, arrays)
    assert got.dtype == want.dtype == np.dtype(dtype)
    assert_equal([got], [want], {"float16": 2e-3, "float32": 1e-6, "float64": 1e-15}[dtype])


def test_the_folded_graph_says_the_dtype_of_what_took_an_operators_place(keras: Any) -> None:
    L = keras.layers
    x = L.Input((4,), dtype="float64", name="x")
    y = L.Dense(3, dtype="float64", name="dense")(x)
    result = fold_graph(read(zoo.randomize(keras.Model(x, y / 4.0))))
    (port,) = convert(result.graph).model.graph.outputs
    assert port.dtype == ir.DataType.DOUBLE
