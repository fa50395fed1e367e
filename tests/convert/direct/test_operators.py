"""Operator nodes: functions of tensors in a Keras graph, of both generations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert
from bnfold.formats.keras.errors import UnsupportedLayerError
from tests.convert.direct import layer_rows
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize

_SHAPE = (4, 6)

KERAS3: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda ops, x: x + 2.5,
    "radd": lambda ops, x: 2.5 - x,
    "add_list": lambda ops, x: x + np.arange(6, dtype=np.float32),
    "multiply": lambda ops, x: x * x,
    "divide": lambda ops, x: x / 3.0,
    "rdivide": lambda ops, x: 1.0 / (x + 100.0),
    "floor_divide": lambda ops, x: x // 0.7,
    "power": lambda ops, x: ops.abs(x) ** 1.5,
    "negative": lambda ops, x: -x,
    "maximum": lambda ops, x: ops.maximum(x, 0.2),
    "minimum": lambda ops, x: ops.minimum(x, ops.square(x)),
    "exp": lambda ops, x: ops.exp(x),
    "log": lambda ops, x: ops.log(ops.exp(x) + 1.0),
    "log1p": lambda ops, x: ops.log1p(ops.abs(x)),
    "sqrt": lambda ops, x: ops.sqrt(ops.abs(x)),
    "rsqrt": lambda ops, x: ops.rsqrt(ops.abs(x) + 0.5),
    "sin": lambda ops, x: ops.sin(x) + ops.cos(x),
    "round": lambda ops, x: ops.floor(x) + ops.ceil(x) + ops.sign(x),
    "mean": lambda ops, x: ops.mean(x, axis=1),
    "mean_keep": lambda ops, x: ops.mean(x, axis=[1, 2], keepdims=True),
    "sum": lambda ops, x: ops.sum(x, axis=-1, keepdims=True),
    "max": lambda ops, x: ops.max(x, axis=1) + ops.min(x, axis=1),
    "prod": lambda ops, x: ops.prod(x, axis=2),
    "var": lambda ops, x: ops.var(x, axis=1),
    "std": lambda ops, x: ops.std(x, axis=-1, keepdims=True),
    "logsumexp": lambda ops, x: ops.logsumexp(x, axis=1),
    "reshape": lambda ops, x: ops.reshape(x, (-1, 24)),
    "reshape_3": lambda ops, x: ops.reshape(x, (-1, 2, 12)),
    "transpose": lambda ops, x: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda ops, x: ops.swapaxes(x, 1, 2),
    "moveaxis": lambda ops, x: ops.moveaxis(x, 1, -1),
    "expand_dims": lambda ops, x: ops.expand_dims(x, 1),
    "squeeze": lambda ops, x: ops.squeeze(ops.expand_dims(x, -1), -1),
    "concatenate": lambda ops, x: ops.concatenate([x, x * 2.0], axis=1),
    "stack": lambda ops, x: ops.stack([x, x * 2.0], axis=1),
    "split": lambda ops, x: ops.split(x, 3, axis=-1),
    "split_at": lambda ops, x: ops.split(x, [1, 4], axis=-1),
    "get_item": lambda ops, x: x[:, 1:, ::2],
    "get_item_number": lambda ops, x: x[:, -1],
    "get_item_new_axis": lambda ops, x: x[:, None, :, 2],
    "get_item_dots": lambda ops, x: x[..., 1:3],
    "pad": lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 1]]),
    "pad_reflect": lambda ops, x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], mode="reflect"),
    "tile": lambda ops, x: ops.tile(x, [1, 2, 3]),
    "flip": lambda ops, x: ops.flip(x + 1.0, axis=1),
    "take": lambda ops, x: ops.take(x, [2, 0, 0], axis=2),
    "clip": lambda ops, x: ops.clip(x, -0.3, 0.4),
    "where": lambda ops, x: ops.where(x > 0.1, x, x * 0.5),
    "where_and": lambda ops, x: ops.where(
        ops.logical_and(x > -0.5, ops.logical_not(x >= 0.5)), x, 0.0
    ),
    "where_not_equal": lambda ops, x: ops.where(ops.not_equal(x, 0.0), 1.0 / x, x),
    "cast": lambda ops, x: ops.cast(ops.cast(x * 3.0, "int32"), "float32"),
    "matmul": lambda ops, x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    "einsum": lambda ops, x: ops.einsum("abc,adc->abd", x, x),
    "relu": lambda ops, x: ops.relu(x) + ops.relu6(x * 4.0),
    "sigmoid": lambda ops, x: ops.sigmoid(x) * ops.tanh(x),
    "softmax": lambda ops, x: ops.softmax(x, axis=1),
    "log_softmax": lambda ops, x: ops.log_softmax(x),
    "leaky_relu": lambda ops, x: ops.leaky_relu(x, negative_slope=0.1),
    "gelu": lambda ops, x: ops.gelu(x, approximate=False) + ops.gelu(x, approximate=True),
    "elu": lambda ops, x: ops.elu(x, alpha=0.7),
    "silu": lambda ops, x: ops.silu(x) + ops.softplus(x) + ops.hard_sigmoid(x),
}

KERAS2: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda tf, x: x + 2.5,
    "radd": lambda tf, x: 2.5 - x,
    "constant_first": lambda tf, x: tf.multiply(np.float32(2.0), x),
    "multiply": lambda tf, x: x * x / 3.0,
    "rdivide": lambda tf, x: 1.0 / (x + 100.0),
    "power": lambda tf, x: tf.abs(x) ** 1.5,
    "negative": lambda tf, x: -x,
    "maximum": lambda tf, x: tf.maximum(x, 0.2) + tf.minimum(x, 0.1),
    "unary": lambda tf, x: tf.exp(x) + tf.sin(x) + tf.cos(x) + tf.floor(x) + tf.sign(x),
    "roots": lambda tf, x: tf.sqrt(tf.abs(x)) + tf.math.rsqrt(tf.abs(x) + 0.5) + tf.square(x),
    "reduce_mean": lambda tf, x: tf.reduce_mean(x, axis=1),
    "reduce_sum": lambda tf, x: tf.reduce_sum(x, axis=[1, 2], keepdims=True),
    "reduce_max": lambda tf, x: tf.reduce_max(x, axis=-1) + tf.reduce_min(x, -1),
    "reshape": lambda tf, x: tf.reshape(x, (-1, 2, 12)),
    "transpose": lambda tf, x: tf.transpose(x, [0, 2, 1]),
    "expand_dims": lambda tf, x: tf.squeeze(tf.expand_dims(x, 1), axis=[1]),
    "concat": lambda tf, x: tf.concat([x, x * 2.0], axis=1),
    "stack": lambda tf, x: tf.stack([x, x * 2.0], axis=1),
    "split": lambda tf, x: tf.split(x, 3, axis=-1),
    "split_sizes": lambda tf, x: tf.split(x, [1, 3, 2], axis=-1),
    "get_item": lambda tf, x: x[:, 1:, ::2],
    "get_item_number": lambda tf, x: x[:, -1],
    "clip": lambda tf, x: tf.clip_by_value(x, -0.3, 0.4),
    "where": lambda tf, x: tf.where(x > 0.1, x, x * 0.5),
    "cast": lambda tf, x: tf.cast(tf.cast(x * 3.0, tf.int32), tf.float32),
    "matmul": lambda tf, x: tf.matmul(x, x, transpose_b=True),
    "activations": lambda tf, x: tf.nn.relu(x) + tf.nn.silu(x) + tf.sigmoid(x) * tf.tanh(x),
    "relu6": lambda tf, x: tf.nn.relu6(x * 4.0) + tf.nn.softplus(x) + tf.nn.elu(x),
    "softmax": lambda tf, x: tf.nn.softmax(x, axis=1),
    "leaky_relu": lambda tf, x: tf.nn.leaky_relu(x, alpha=0.1) + tf.nn.gelu(x),
    "tile": lambda tf, x: tf.tile(x, [1, 2, 3]),
}


def _check(model: Any, folder: Path) -> None:
    randomize(model)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(5))
    want = run_keras(model, arrays)
    sources: list[Any] = [model]
    for suffix in (".keras", ".h5"):
        path = folder / f"model{suffix}"
        model.save(path)
        sources.append(path)
    for source in sources:
        assert_equal(run_onnx(convert(source).model, arrays), want, 5e-6)


@pytest.mark.parametrize("name", KERAS3)
def test_operator_of_keras3(keras3: Any, name: str, tmp_path: Path) -> None:
    _check(layer_rows.on(_SHAPE, lambda L: lambda x: KERAS3[name](keras3.ops, x))(keras3), tmp_path)


@pytest.mark.parametrize("name", KERAS2)
def test_operator_of_keras2(keras2: Any, name: str, tmp_path: Path) -> None:
    import tensorflow as tf

    _check(layer_rows.on(_SHAPE, lambda L: lambda x: KERAS2[name](tf, x))(keras2), tmp_path)


def test_operators_between_convolutions(keras3: Any, tmp_path: Path) -> None:
    """Axes are Keras's even where the value stands with channels first."""
    L, ops = keras3.layers, keras3.ops
    start = L.Input((7, 9, 4))
    x = L.Conv2D(6, 3, padding="same")(start)
    y = ops.concatenate([x[:, 1:, :, ::2], x[:, :-1, :, 1::2]], axis=-1)
    y = y * ops.mean(y, axis=[1, 2], keepdims=True) + np.arange(6, dtype=np.float32)
    y = ops.pad(y, [[0, 0], [1, 0], [0, 0], [0, 0]])
    y = L.Conv2D(3, 1)(ops.softmax(y, axis=1) + x)
    _check(keras3.Model(start, ops.squeeze(ops.max(y, axis=2, keepdims=True), 2)), tmp_path)


def test_operators_behind_a_flattened_convolution(keras3: Any, tmp_path: Path) -> None:
    """Elements stand as channels first flatten them; what is made of them is Keras's order."""
    L, ops = keras3.layers, keras3.ops
    start = L.Input((4, 3, 2))
    x = L.Flatten()(L.Conv2D(3, 2)(start))
    made = [
        ops.argmax(x, axis=1),
        ops.concatenate([x, ops.sort(x)], axis=1),
        ops.cumsum(x, axis=1) + np.arange(18, dtype=np.float32),
        ops.diff(x),
        ops.flip(x, axis=1),
        ops.pad(x, [[0, 0], [1, 2]], mode="symmetric"),
        ops.repeat(x, 2, axis=1),
        ops.roll(x, 5, axis=1),
        ops.split(x, [3, 7], axis=1)[1],
        ops.take(x, [4, 0, 17], axis=-1),
        ops.tile(x, [1, 2]),
        ops.top_k(x, 4)[1],
        ops.tril(x),
        ops.where(x > 0, x, ops.mean(x, axis=1, keepdims=True)),
        ops.reshape(x, (-1, 6, 3)),
        ops.one_hot(ops.cast(x, "int32"), 2),
        ops.layer_normalization(x, np.arange(18, dtype=np.float32)),
        ops.batch_normalization(
            x, *(np.arange(1, 19, dtype=np.float32) for _ in range(2)), -1, x[0], x[1]
        ),
    ]
    _check(keras3.Model(start, made), tmp_path)


_REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "bits": (lambda ops, x: ops.bitwise_not(ops.cast(x, "int32")), "opset 18"),
    "half_turn": (lambda ops, x: ops.rot90(x, 2, axes=(1, 2)), "unequal sizes"),
    "quantile": (lambda ops, x: ops.quantile(x, 0.4, axis=1, method="lower"), "by a method"),
    "scatter": (lambda ops, x: ops.scatter([[1], [1]], x[0, :2], (4, 6)), "opset 16"),
    "segments": (lambda ops, x: ops.segment_sum(x[0], np.asarray([0, 1, 1, 0])), "not stated"),
    "squeeze": (lambda ops, x: ops.squeeze(ops.expand_dims(x, 1)), "happens to have size 1"),
    "small_numbers": (lambda ops, x: ops.cumsum(ops.cast(x, "uint8"), axis=1), "in uint8"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_has_no_rule_is_refused(keras3: Any, name: str) -> None:
    row, why = _REFUSED[name]
    model = layer_rows.on(_SHAPE, lambda L: lambda x: row(keras3.ops, x))(keras3)
    with pytest.raises(UnsupportedLayerError, match=why):
        convert(model, opset=13)


def test_unknown_function_is_named(keras2: Any) -> None:
    import tensorflow as tf

    model = layer_rows.on((4,), lambda L: lambda x: tf.math.lgamma(tf.abs(x)))(keras2)
    with pytest.raises(UnsupportedLayerError, match=r"calls tf\.math\.lgamma"):
        convert(model)


def test_unknown_operator_is_named(keras3: Any) -> None:
    model = layer_rows.on((4,), lambda L: lambda x: keras3.ops.erfinv(x))(keras3)
    with pytest.raises(UnsupportedLayerError, match="Erfinv"):
        convert(model)
