"""Folding as Keras, where random nets once found it inexact, unfinished or untrue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import read
from bnfold.core.diagnostics import Reason
from bnfold.formats.keras.fold import KerasFold, fold_graph
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
from tests.convert.direct.side_by_side import assert_equal, run_keras
from tests.convert.direct.test_kinds import inputs_of
from tests.convert.zoo import randomize


def _folded(keras: Any, layers: list[Any]) -> tuple[Any, KerasFold]:
    """A chain and its fold; the live folded model computes what the original does."""
    model = randomize(keras.Sequential(layers))
    arrays = inputs_of(model)
    live = fold_live(model).model
    assert_equal(run_keras(live, arrays), run_keras(model, arrays), 1e-5)
    return model, fold_graph(read(model))


def _assert_finished(result: KerasFold) -> None:
    again = fold_graph(result.graph)
    assert not again.folds
    assert not again.edits.arrays
    assert not again.edits.removed


def test_what_stays_of_a_normalization_is_not_folded_again(keras: Any) -> None:
    """The scale goes back through the padding, and rounding leaves none behind."""
    L = keras.layers
    layers = [
        L.Input((4, 5, 4)),
        L.GroupNormalization(groups=1),
        L.ZeroPadding2D(((2, 0), (0, 1))),
        L.BatchNormalization(name="bn"),
    ]
    _, result = _folded(keras, layers)
    (item,) = result.kept
    assert [into.part for into in item.into] == ["scale"]
    norm = result.graph.layers["bn"]
    np.testing.assert_array_equal(norm.weights["gamma"].read(), 1.0)
    _assert_finished(result)


def test_a_shift_that_stays_is_a_layer_that_stays(keras: Any) -> None:
    """No bias of a product holds it: there is none in Keras."""
    L = keras.layers
    a, b = L.Input((3, 4)), L.Input((5, 4))
    y = L.BatchNormalization(name="behind")(L.Dot(axes=2)([L.BatchNormalization()(a), b]))
    model = randomize(keras.Model([a, b], y))
    result = fold_graph(read(model))
    assert not result.folds
    assert {item.left_as for item in result.kept} == {("BatchNormalization",)}
    assert "behind" in {layer.name for layer in fold_live(model).model.layers}


@pytest.mark.parametrize(
    ("equation", "shape", "bias", "taken"),
    [
        ("abcd,bde->abce", (4, 5, 3), "e", True),
        ("abcd,bde->abce", (4, 5, 3), "b", False),
        ("abcd,bde->abce", (4, 5, 3), "c", False),
        ("abcd,bde->abce", (4, 5, 3), "be", True),
    ],
)
def test_bias_of_einsum_dense_keeps_its_axes(
    keras: Any, equation: str, shape: tuple[int, ...], bias: str, taken: bool
) -> None:
    """What a bias along other axes cannot hold stays; the config says which axes it has."""
    L = keras.layers
    layers = [
        L.Input((4, 5, 2)),
        L.EinsumDense(equation, output_shape=shape, bias_axes=bias),
        L.BatchNormalization(name="bn"),
        L.Activation("tanh"),
    ]
    _, result = _folded(keras, layers)
    assert bool(result.folds) == taken
    if not taken:
        reasons = {refusal.reason for refusal in result.kept[0].refusals}
        assert Reason.NOT_PER_CHANNEL in reasons
    _assert_finished(result)


def test_bias_of_einsum_dense_in_front(keras: Any) -> None:
    """A shift in front of a kernel that varies along time needs a bias that does, too."""
    L = keras.layers
    layers = [
        L.Input((3, 4)),
        L.BatchNormalization(name="bn"),
        L.EinsumDense("abc,bcd->abd", output_shape=(3, 5), bias_axes="d"),
    ]
    _, result = _folded(keras, layers)
    assert not result.folds
    _assert_finished(result)


def test_adapted_normalization_of_a_live_model(keras: Any, tmp_path: Path) -> None:
    """It computes with copies of its statistics, which a new layer must be told to make."""
    L = keras.layers
    scaler = L.Normalization(name="scaler")
    scaler.adapt(np.random.default_rng(5).normal(3.0, 2.0, size=(50, 4)))
    model = keras.Sequential(
        [L.Input((4,)), scaler, L.Activation("tanh"), L.Dense(3), L.BatchNormalization(name="bn")]
    )
    for layer in model.layers[2:]:
        randomize(layer)
    arrays = [np.random.default_rng(6).normal(3.0, 2.0, size=(5, 4)).astype(np.float32)]
    want = run_keras(model, arrays)
    live = fold_live(model)
    assert [item.source for item in live.folds] == ["bn"]
    assert_equal(run_keras(live.model, arrays), want, 1e-5)
    source, target = tmp_path / "m.keras", tmp_path / "f.keras"
    model.save(source)
    graph = read_keras(source)
    write_keras(source, graph, fold_graph(graph).graph, target)
    loaded = keras.models.load_model(target, compile=False)
    assert_equal(run_keras(loaded, arrays), want, 1e-5)


def test_rms_normalization_takes_a_scale(keras3: Any) -> None:
    L = keras3.layers
    layers = [L.Input((3, 4)), L.RMSNormalization(name="rms"), L.Dense(5), L.Activation("tanh")]
    layers[2:2] = [L.BatchNormalization(name="bn"), L.ReLU()]
    _, result = _folded(keras3, layers)
    (item,) = result.kept
    assert [(into.op, into.part) for into in item.into] == [("rms", "scale")]
    _assert_finished(result)


def test_a_rescaling_holds_numbers_of_float32(keras3: Any) -> None:
    """Keras rounds its numbers, so in float64 it cannot stand for others."""
    L = keras3.layers
    a, b = L.Input((4,), dtype="float64"), L.Input((4,), dtype="float64")
    scaler = L.Normalization(mean=1.0, variance=0.3, axis=None, dtype="float64")
    y = L.Dense(3, dtype="float64")(L.Add(dtype="float64")([scaler(a), b]))
    model = keras3.Model([a, b], y)
    randomize(model)
    arrays = list(np.random.default_rng(7).normal(size=(2, 5, 4)))
    live = fold_live(model)
    assert [item.left_as for item in live.kept] == [("Normalization",)]
    assert_equal(run_keras(live.model, arrays), run_keras(model, arrays), 1e-14)


def test_spectral_normalization_is_the_layer_inside(keras3: Any, tmp_path: Path) -> None:
    """A kernel without a bias takes what stands behind it, in files and live."""
    L = keras3.layers
    layers = [
        L.Input((4,)),
        L.SpectralNormalization(L.Dense(3, use_bias=False, name="dense"), name="spectral"),
        L.BatchNormalization(name="bn"),
        L.Activation("tanh"),
    ]
    model, result = _folded(keras3, layers)
    assert [item.source for item in result.folds] == ["bn"]
    arrays = inputs_of(model)
    for suffix in (".keras", ".h5"):
        source, target = tmp_path / f"m{suffix}", tmp_path / f"f{suffix}"
        model.save(source)
        graph = read_keras(source)
        write_keras(source, graph, fold_graph(graph).graph, target)
        loaded = keras3.models.load_model(target, compile=False)
        assert_equal(run_keras(loaded, arrays), run_keras(model, arrays), 1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layer_without_arrays_is_given_some(keras: Any, suffix: str, tmp_path: Path) -> None:
    """A LayerNormalization that had neither gamma nor beta has both in the folded file."""
    L = keras.layers
    layers = [
        L.Input((3, 4)),
        L.LayerNormalization(scale=False, center=False, name="norm"),
        L.BatchNormalization(name="bn"),
        L.Activation("tanh"),
    ]
    model, result = _folded(keras, layers)
    assert [item.source for item in result.folds] == ["bn"]
    source, target = tmp_path / f"m{suffix}", tmp_path / f"f{suffix}"
    model.save(source)
    graph = read_keras(source)
    write_keras(source, graph, fold_graph(graph).graph, target)
    loaded = keras.models.load_model(target, compile=False)
    arrays = inputs_of(model)
    assert_equal(run_keras(loaded, arrays), run_keras(model, arrays), 1e-5)


def test_shared_layer_without_a_bias_is_given_none(keras: Any) -> None:
    """Its calls would need different biases: planning ends, and both affines stay."""
    L = keras.layers
    a, b = L.Input((4,)), L.Input((4,))
    dense = L.Dense(3, use_bias=False)
    first = L.Activation("tanh")(L.BatchNormalization()(dense(a)))
    model = randomize(keras.Model([a, b], [first, L.BatchNormalization()(dense(b))]))
    result = fold_graph(read(model))
    assert not result.folds
    assert len(result.kept) == 2
    arrays = inputs_of(model)
    got = run_keras(fold_live(model).model, arrays)
    for one, want in zip(got, run_keras(model, arrays), strict=True):
        assert_equal([one], [want], 1e-5)


def test_shift_in_front_of_a_shared_layer_without_a_bias(keras: Any) -> None:
    """One call would make a bias, the other none."""
    L = keras.layers
    start = L.Input((4,))
    dense = L.Dense(4, use_bias=False)
    shifted = L.Normalization(axis=None, mean=2.0, variance=3.0)(dense(start))
    ends = [L.Activation("tanh")(shifted), L.BatchNormalization()(dense(start))]
    model = randomize(keras.Model(start, ends))
    assert not fold_graph(read(model)).folds
