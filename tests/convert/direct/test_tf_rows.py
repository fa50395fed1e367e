"""Every row of TensorFlow's functions against Keras 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.formats.keras.operator_calls import bare_name
from bnfold.formats.keras.tf_functions import FUNCTIONS
from tests.convert.direct import test_operators, tf_rows
from tests.convert.direct.test_operator_rows import check

SINCE = {"bits": 18, "scatter": 18}


@pytest.mark.parametrize("name", tf_rows.VALUES)
def test_row(keras2: Any, name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    start = keras2.layers.Input((4, 6), name="x")
    model = keras2.Model(start, tf_rows.VALUES[name](tf, start))
    check(model, tmp_path, SINCE.get(name, 13))


@pytest.mark.parametrize("name", tf_rows.IMAGES)
def test_row_of_images(keras2: Any, name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    start = keras2.layers.Input((7, 9, 4), name="x")
    check(keras2.Model(start, tf_rows.IMAGES[name](tf, start)), tmp_path, 13)


def test_backend(keras2: Any, tmp_path: Path) -> None:
    """Functions of `keras.backend` come to a file as what they call."""
    K = keras2.backend
    x = keras2.layers.Input((4, 6), name="x")
    made = [
        K.mean(x, axis=1, keepdims=True),
        K.l2_normalize(x, axis=1),
        K.batch_flatten(x),
        K.dot(x, K.constant(np.arange(12).reshape(6, 2))),
        K.batch_dot(x, x, axes=2),
        K.repeat_elements(x, 2, 1),
        K.hard_sigmoid(x),
        K.relu(x, alpha=0.1, max_value=2.0),
        K.permute_dimensions(x, (0, 2, 1)),
        K.one_hot(K.cast(K.abs(x), "int32"), 3),
        K.resize_images(K.expand_dims(x, -1), 2, 3, "channels_last"),
        K.spatial_2d_padding(K.expand_dims(x, -1)),
        K.pool2d(K.expand_dims(x, -1), (2, 2), padding="same", pool_mode="avg"),
        K.conv2d(K.expand_dims(x, -1), K.constant(np.arange(18).reshape(3, 3, 1, 2))),
    ]
    check(keras2.Model(x, made), tmp_path, 13)


# Names that other versions write, operators whose second operand Keras 2 loses, and what only
# `keras.backend` calls.
_ELSEWHERE = ["__operators__.eq", "__operators__.ne", "abs", "convert_to_tensor", "einsum"]
_ELSEWHERE += ["keras.backend.batch_flatten", "math.divide", "math.floordiv", "nn.avg_pool"]
_ELSEWHERE += ["nn.max_pool", "nn.softplus", "nn.swish", "sigmoid", "tanh"]


def test_every_function_has_a_row(keras2: Any) -> None:
    import tensorflow as tf

    seen: set[str] = set()
    tables = (
        (tf_rows.VALUES, (4, 6)),
        (tf_rows.IMAGES, (7, 9, 4)),
        (test_operators.KERAS2, (4, 6)),
    )
    for rows, shape in tables:
        for row in rows.values():
            start = keras2.layers.Input(shape)
            model = keras2.Model(start, row(tf, start))
            seen |= {
                bare_name(layer["config"]["function"])
                for layer in model.get_config()["layers"]
                if "function" in layer["config"]
            }
    assert sorted(set(FUNCTIONS) - seen) == _ELSEWHERE
