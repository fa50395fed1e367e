"""Every row of TensorFlow's functions against Keras 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.convert.direct import tf_rows
from tests.convert.direct.test_operator_rows import check

SINCE = {"scatter": 18}


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
