"""Layers that hold lists of layers: what stays is found again when others are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert, read
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.folded import fold_keras
from bnfold.formats.keras.live_fold import fold_live
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize


def _pipeline(K: Any) -> Any:
    """Of four normalizations two go and two stay; the rectifiers keep them apart."""
    L = K.layers
    layers = [
        L.BatchNormalization(name="a"),
        L.Rescaling(2.0, name="twice"),
        L.Conv2D(4, 2),
        L.BatchNormalization(name="b"),
        L.ReLU(),
        L.BatchNormalization(name="c"),
        L.ReLU(),
        L.BatchNormalization(name="d"),
        L.Conv2D(3, 2, padding="same"),
        L.Conv2D(2, 2),
    ]
    start = L.Input((6, 7, 3), name="start")
    return randomize(K.Model(start, L.Pipeline(layers, name="all")(start)))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_pipeline(keras3: Any, suffix: str, tmp_path: Path) -> None:
    model = _pipeline(keras3)
    images = [np.random.default_rng(0).normal(size=(3, 6, 7, 3)).astype(np.float32)]
    want = run_keras(model, images)
    if suffix:
        path = tmp_path / f"model{suffix}"
        model.save(path)
        folded = fold_keras(path)
        again = keras3.models.load_model(str(folded.model), compile=False)
        folds = folded.folds
    else:
        live = fold_live(model)
        again, folds = live.model, live.folds
    assert [item.source for item in folds] == ["all/a", "all/twice", "all/b"]
    assert_equal(run_keras(again, images), want, 2e-5)
    assert_equal(run_onnx(convert(again).model, images), want, 2e-5)


def test_states_in_reverse_are_refused(keras2: Any) -> None:
    """The config does not say it, and a file of such a model is another one."""
    L = keras2.layers
    cells = L.StackedRNNCells([L.GRUCell(4), L.GRUCell(4)], reverse_state_order=True)
    start = L.Input((5, 3))
    model = keras2.Model(start, L.RNN(cells, return_state=True)(start))
    with pytest.raises(UnsupportedModelError, match="in reverse"):
        read(model)


def test_custom_cell_is_made_again(keras: Any) -> None:
    """A cell of the user's own is left alone, and its class found in the live model."""
    L = keras.layers

    class Own(L.SimpleRNNCell):  # type: ignore[misc]
        pass

    x = start = L.Input((5, 3))
    x = L.Dense(4)(L.BatchNormalization(name="norm")(x))
    model = randomize(keras.Model(start, L.RNN([Own(4), L.GRUCell(2)])(x)))
    values = [np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)]
    folded = fold_live(model)
    assert [item.source for item in folded.folds] == ["norm"]
    assert_equal(run_keras(folded.model, values), run_keras(model, values), 2e-5)
    assert not fold_graph(folded.folded).folds
