"""Layers that compute in float64: only what Keras rounds to float32 is rounded on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.convert.direct import convert
from bnfold.verify.evaluate import Float64Model
from tests.convert.direct.side_by_side import run_keras
from tests.convert.zoo import randomize

SERIES = (5, 6)
# ONNX keeps an epsilon as float32.
EPSILON = 2.0**-10
THIRDS = [1 / 3, 2 / 3, 1.1, 1.2, 1.3, 1.4]

ROWS: dict[str, Callable[[Any], Any]] = {
    "batch_norm": lambda L: L.BatchNormalization(epsilon=EPSILON),
    "batch_norm_axis_1": lambda L: L.BatchNormalization(axis=1, epsilon=EPSILON),
    "layer_norm": lambda L: L.LayerNormalization(epsilon=EPSILON),
    "layer_norm_axis_1": lambda L: L.LayerNormalization(axis=1, epsilon=EPSILON),
    "group_norm": lambda L: L.GroupNormalization(groups=3, epsilon=EPSILON),
    "group_norm_axis_1": lambda L: L.GroupNormalization(groups=-1, axis=1, epsilon=EPSILON),
    "rescaling": lambda L: L.Rescaling(1 / 255, offset=-1 / 3),
    "rescaling_list": lambda L: L.Rescaling(THIRDS, offset=THIRDS),
    "normalization": lambda L: L.Normalization(mean=THIRDS, variance=THIRDS),
    "normalization_inverse": lambda L: L.Normalization(mean=0.1, variance=0.3, axis=None),
    "dense": lambda L: L.Dense(3, activation="tanh"),
    "conv": lambda L: L.Conv1D(3, 2, padding="same"),
    "lstm": lambda L: L.LSTM(3),
    "gru": lambda L: L.GRU(3, return_sequences=True),
}
ROWS_3 = {"rms_norm": lambda L: L.RMSNormalization(epsilon=EPSILON)}


@pytest.mark.parametrize("row", ROWS)
def test_float64(keras: Any, row: str) -> None:
    _check(keras, ROWS[row])


@pytest.mark.parametrize("row", ROWS_3)
def test_float64_of_keras3(keras3: Any, row: str) -> None:
    _check(keras3, ROWS_3[row])


def _check(keras: Any, make: Callable[[Any], Any]) -> None:
    policy = keras.mixed_precision if keras.__name__ == "tf_keras" else keras.config
    put = getattr(policy, "set_global_policy", None) or policy.set_dtype_policy
    put("float64")
    try:
        x = keras.layers.Input(SERIES, name="x", dtype="float64")
        model = randomize(keras.Model(x, make(keras.layers)(x)))
        array = np.random.default_rng(3).normal(size=(4, *SERIES))
        (want,) = run_keras(model, [array])
    finally:
        put("float32")
    assert want.dtype == np.float64
    converted = convert(model).model
    onnx.checker.check_model(ir.to_proto(converted), full_check=True)
    (got,) = Float64Model(converted).run({"x": array}).values()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * np.abs(want).max())
