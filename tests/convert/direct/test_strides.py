"""Strides beyond the window, padding "same", sizes that are free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert
from bnfold.formats.keras.errors import UnsupportedLayerError
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize

LAYERS: dict[str, Callable[[Any, int, int], Any]] = {
    "conv": lambda L, size, stride: L.Conv1D(3, size, strides=stride, padding="same"),
    "max": lambda L, size, stride: L.MaxPooling1D(size, strides=stride, padding="same"),
    "average": lambda L, size, stride: L.AveragePooling1D(size, strides=stride, padding="same"),
}


def _model(keras: Any, kind: str, size: int, stride: int) -> Any:
    x = keras.layers.Input((None, 2), name="x")
    return randomize(keras.Model(x, LAYERS[kind](keras.layers, size, stride)(x)))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("size", "stride"), [(1, 2), (1, 3), (1, 5), (2, 2), (3, 2), (4, 3)])
def test_any_length(keras: Any, kind: str, size: int, stride: int) -> None:
    """A window of one element is padded by nothing, however long the steps are."""
    model = _model(keras, kind, size, stride)
    converted = convert(model).model
    for length in range(stride, 3 * stride + 1):
        array = np.random.default_rng(length).normal(size=(2, length, 2)).astype(np.float32)
        assert_equal(run_onnx(converted, [array]), run_keras(model, [array]))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("size", "stride"), [(2, 3), (2, 6), (3, 5)])
def test_steps_beyond_the_window(keras: Any, kind: str, size: int, stride: int) -> None:
    """What "same" comes to is below zero for some lengths, which runtimes do not take for zero."""
    with pytest.raises(UnsupportedLayerError, match="strides beyond its window"):
        convert(_model(keras, kind, size, stride))
