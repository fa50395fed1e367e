"""Operators between a Dense and a BatchNormalization, on either side: what passes them.

Each row is folded as Keras and as ONNX, and both fold as many normalizations as it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.formats.keras.test_fold_layers import check_model

Row = Callable[[Any, Any], Any]

# On values [batch, 4, 6]: a norm behind the operator goes into the Dense in front of it, one in
# front into the Dense behind it.
BOTH: dict[str, Row] = {
    "copy": lambda ops, x: ops.stop_gradient(ops.copy(x)),
    "expand_dims": lambda ops, x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "expand_dims_behind": lambda ops, x: ops.expand_dims(x, -2),
    "flip": lambda ops, x: ops.flip(x, axis=1),
    "fliplr": lambda ops, x: ops.fliplr(x),
    "get_item": lambda ops, x: x[:, 1:],
    "get_item_dots": lambda ops, x: x[:, None, ..., :],
    "get_item_one": lambda ops, x: x[:, -1],
    "get_item_steps": lambda ops, x: x[:, ::-2, :],
    "mean": lambda ops, x: ops.mean(x, axis=1, keepdims=True),
    "pad_reflect": lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 0]], mode="reflect"),
    "pad_symmetric": lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 0]], mode="symmetric"),
    "repeat": lambda ops, x: ops.repeat(x, 3, axis=1),
    "reshape": lambda ops, x: ops.reshape(x, (-1, 2, 2, 6)),
    "roll": lambda ops, x: ops.roll(x, 1, axis=1),
    "sum": lambda ops, x: ops.sum(x, axis=1),
    "swapaxes_twice": lambda ops, x: ops.moveaxis(ops.swapaxes(x, 1, 2), 1, 2),
    "take": lambda ops, x: ops.take(x, [2, 0, 0], axis=1),
    "tile": lambda ops, x: ops.tile(x, [1, 3, 1]),
    "average_pool": lambda ops, x: ops.average_pool(x, 2),
    "resize": lambda ops, x: ops.image.resize(ops.expand_dims(x, 1), (2, 7)),
}

# Channels move too, parts go apart or together, or nothing may pass: whatever is folded is folded
# of both.
CHANNELS: dict[str, Row] = {
    "concatenate_of_parts": lambda ops, x: ops.concatenate([x[:, 2:], x[:, :2]], axis=1),
    "split_of_parts": lambda ops, x: ops.split(x, 2, axis=1)[1],
    "stack_of_parts": lambda ops, x: ops.stack([x[:, 0], x[:, 3]], axis=1),
    "unstack_of_parts": lambda ops, x: ops.unstack(x, axis=1)[2],
    "flip": lambda ops, x: ops.flip(x),
    "repeat": lambda ops, x: ops.repeat(x, 2, axis=-1),
    "roll": lambda ops, x: ops.roll(x, 2, axis=-1),
    "tile": lambda ops, x: ops.tile(x, 2),
    "reshape": lambda ops, x: ops.reshape(x, (-1, 4, 3, 2)),
    "space_to_depth": lambda ops, x: ops.space_to_depth(ops.reshape(x, (-1, 2, 2, 6)), 2),
    "depth_to_space": lambda ops, x: ops.depth_to_space(ops.reshape(x, (-1, 2, 3, 4)), 2),
    "split": lambda ops, x: ops.concatenate(ops.split(x, [2], axis=-1)[::-1], axis=-1),
    "take": lambda ops, x: ops.take(x, [5, 0, 3], axis=-1),
    "take_twice": lambda ops, x: ops.take(x, [5, 5, 0, 3], axis=-1),
    "transpose": lambda ops, x: ops.transpose(x, (0, 2, 1)),
    "hstack": lambda ops, x: ops.hstack([x, x]),
    "sum": lambda ops, x: ops.sum(x, axis=-1, keepdims=True),
    "pad": lambda ops, x: ops.pad(x, [[0, 0], [1, 1], [0, 2]]),
    "max": lambda ops, x: ops.max(x, axis=1) + ops.min(x, axis=1),
    "sort": lambda ops, x: ops.sort(x, axis=1),
    "take_along_axis": lambda ops, x: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1),
    "cumsum": lambda ops, x: ops.cumsum(x, axis=1),
    "one_hot": lambda ops, x: ops.one_hot(ops.cast(x, "int32"), 3)[..., 0] + x,
    "top_k": lambda ops, x: ops.top_k(x, 3)[0],
}

# Keras 2 writes them by TensorFlow's names.
TENSORFLOW: dict[str, Row] = {
    "gather": lambda tf, x: tf.gather(x, [2, 0, 0], axis=1),
    "get_item": lambda tf, x: x[:, 1:, ::-1][:, :, ::-1],
    "identity": lambda tf, x: tf.stop_gradient(tf.identity(x)),
    "pad": lambda tf, x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], "REFLECT"),
    "pooling": lambda tf, x: tf.nn.avg_pool(x, 2, 2, "VALID"),
    "reduce_sum": lambda tf, x: tf.reduce_sum(x, axis=1),
    "repeat": lambda tf, x: tf.repeat(x, 2, axis=1),
    "reshape": lambda tf, x: tf.expand_dims(tf.reshape(x, [-1, 2, 2, 6]), 1),
    "reverse": lambda tf, x: tf.reverse(x, [1]),
    "roll": lambda tf, x: tf.roll(x, 1, axis=1),
    "slice": lambda tf, x: tf.slice(x, [0, 1, 0], [-1, 2, 6]),
    "tile": lambda tf, x: tf.tile(x, [1, 3, 1]),
    "transpose": lambda tf, x: tf.transpose(tf.transpose(x, [0, 2, 1]), [0, 2, 1]),
}


def _model(K: Any, row: Row, ops: Any) -> Any:
    """Dense, the operator, a norm, ReLU; and a norm behind ReLU, the operator, Dense."""
    L = K.layers
    first, second = L.Input((4, 6), name="first"), L.Input((4, 6), name="second")
    a = row(ops, L.Dense(6, name="dense_0")(first))
    a = L.ReLU(name="relu_0")(L.BatchNormalization(name="behind_0")(a))
    b = L.BatchNormalization(name="before_0")(L.ReLU(name="relu_1")(second))
    b = L.ReLU(name="relu_2")(L.Dense(5, name="dense_1")(row(ops, b)))
    return K.Model([first, second], [a, b], name="between")


@pytest.mark.parametrize("name", BOTH)
def test_both_pass(keras3: Any, name: str) -> None:
    check_model(_model(keras3, BOTH[name], keras3.ops), (2, 2))


@pytest.mark.parametrize("name", CHANNELS)
def test_same_as_onnx(keras3: Any, name: str) -> None:
    check_model(_model(keras3, CHANNELS[name], keras3.ops), (0, 0))


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_constant_that_changes_the_dtype_stays(keras3: Any, dtype: str) -> None:
    """Keras promotes; without the operator the result would have another dtype."""
    K = keras3
    start = K.layers.Input((4, 6), name="in_0")
    x = K.layers.BatchNormalization(name="before_0")(K.layers.Dense(6, activation="relu")(start))
    x = x * np.arange(1, 7).astype(dtype)
    check_model(K.Model(start, x), None)


@pytest.mark.parametrize("name", TENSORFLOW)
def test_both_pass_in_keras2(keras2: Any, name: str) -> None:
    import tensorflow as tf

    check_model(_model(keras2, TENSORFLOW[name], tf), (2, 2))
