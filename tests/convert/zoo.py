"""Small models of every kind, for Keras 3 and for Keras 2 alike, with weights that hide nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def randomize(model: Any, seed: int = 0) -> Any:
    """Set every weight at random: gammas of both signs with a zero, variances in [0.1, 3]."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if not hasattr(variable, "shape"):
            continue  # the vocabulary of a lookup of Keras 2
        name = getattr(variable, "path", variable.name).split("/")[-1].split(":")[0]
        shape = tuple(variable.shape)
        dtype = np.dtype(str(getattr(variable.dtype, "name", variable.dtype)))
        if not np.issubdtype(dtype, np.floating):
            continue
        if "variance" in name:
            value = rng.uniform(0.1, 3, shape)
        elif name == "gamma" and len(shape) == 1:
            value = rng.uniform(0.3, 1.7, shape) * rng.choice([-1, 1], shape)
            value[rng.integers(shape[0])] = 0
        elif len(shape) > 1:
            value = rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
        else:
            value = rng.normal(0, 1, shape)
        variable.assign(value)
    return model


def dense_post(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((5, 4), name="image"),
            L.Flatten(name="flatten"),
            L.BatchNormalization(name="bn_input"),
            L.Dense(7, activation="elu", name="dense_1"),
            L.BatchNormalization(name="bn_1"),
            L.Dense(3, activation="softmax", name="digit"),
        ]
    )


def unnamed_input(K: Any) -> Any:
    L = K.layers
    return K.Sequential([L.Input((6,)), L.Dense(5, use_bias=False, name="dense"), L.ReLU()])


def conv_mixed(K: Any) -> Any:
    """Strides, dilation, both paddings, biases; odd sizes; a second reader of a BN."""
    L = K.layers
    x = start = L.Input((9, 11, 3), name="image")
    x = L.Conv2D(6, 3, padding="same", strides=2, use_bias=False, name="conv_1")(x)
    x = L.BatchNormalization(name="bn_1")(x)
    x = L.ReLU(name="relu_1")(x)
    y = L.Conv2D(6, 3, padding="same", dilation_rate=2, name="conv_2")(x)
    y = L.BatchNormalization(name="bn_2", scale=False)(y)
    x = L.Add(name="add")([x, y])
    x = L.BatchNormalization(name="bn_3", center=False)(x)
    x = L.Conv2D(4, (1, 3), activation="relu", name="conv_3")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    return K.Model(start, L.Dense(2, name="out")(x), name="conv_mixed")


def conv1d(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((13, 3), name="signal"),
            L.Conv1D(5, 3, padding="same", activation="relu", name="conv_1"),
            L.BatchNormalization(name="bn_1"),
            L.Conv1D(4, 3, padding="causal", dilation_rate=2, name="conv_2"),
            L.BatchNormalization(name="bn_2"),
            L.MaxPooling1D(2, name="pool"),
            L.Flatten(name="flatten"),
            L.Dense(2, name="out"),
        ]
    )


def conv3d(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((5, 6, 7, 2), name="volume"),
            L.Conv3D(3, 2, name="conv"),
            L.BatchNormalization(name="bn"),
        ]
    )


def separable(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((8, 7, 3), name="image"),
            L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, name="separable"),
            L.BatchNormalization(name="bn_1"),
            L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            L.BatchNormalization(name="bn_2"),
        ]
    )


def grouped(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((8, 7, 4), name="image"),
            L.BatchNormalization(name="bn_1"),
            L.Conv2D(6, 3, groups=2, padding="same", name="conv"),
            L.BatchNormalization(name="bn_2"),
        ]
    )


def transposed(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((5, 4, 3), name="image"),
            L.Conv2DTranspose(4, 3, strides=2, padding="same", name="up"),
            L.BatchNormalization(name="bn"),
        ]
    )


def two_in_three_out(K: Any) -> Any:
    """Outputs in another order than the layers, one of them twice, and an input as an output."""
    L = K.layers
    first = L.Input((4,), name="first")
    second = L.Input((3,), name="second")
    a = L.BatchNormalization(name="bn_a")(L.Dense(5, name="a")(first))
    b = L.Dense(5, name="b")(second)
    both = L.BatchNormalization(name="bn_both")(L.Concatenate(name="join")([a, b]))
    c = L.Dense(2, name="c")(both)
    return K.Model([second, first], [c, a, c, second], name="many")


def nested(K: Any) -> Any:
    L = K.layers
    inner_in = L.Input((6,), name="inner_in")
    inner = K.Model(
        inner_in,
        L.BatchNormalization(name="bn")(L.Dense(5, name="dense")(inner_in)),
        name="encoder",
    )
    block = K.Sequential(
        [L.Input((5,)), L.Dense(4, name="dense"), L.BatchNormalization(name="bn")], name="head"
    )
    start = L.Input((6,), name="x")
    return K.Model(start, L.Dense(2, name="out")(block(inner(start))), name="outer")


def shared(K: Any) -> Any:
    """A layer called twice, beside layers whose names are those that TensorFlow gives to calls."""
    L = K.layers
    first, second = L.Input((4,), name="first"), L.Input((4,), name="second")
    dense, bn = L.Dense(3, name="dense"), L.BatchNormalization(name="bn")
    x, y = bn(dense(first)), bn(dense(second))
    z = L.BatchNormalization(name="bn_1")(L.Dense(3, name="dense_1")(second))
    return K.Model([first, second], [x, y, z], name="shared")


def time_distributed(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((6, 5), name="sequence"),
            L.TimeDistributed(L.Dense(4, name="dense"), name="each"),
            L.BatchNormalization(name="bn"),
        ]
    )


def recurrent(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((6, 5), name="sequence"),
            L.BatchNormalization(name="bn_1"),
            L.LSTM(4, return_sequences=True, name="lstm"),
            L.BatchNormalization(name="bn_2"),
            L.Bidirectional(L.GRU(3, name="gru"), name="both"),
            L.BatchNormalization(name="bn_3"),
            L.Dense(2, name="out"),
        ]
    )


def attention(K: Any) -> Any:
    L = K.layers
    start = L.Input((7,), dtype="int32", name="tokens")
    x = L.Embedding(11, 6, name="embedding")(start)
    x = L.BatchNormalization(name="bn_1")(x)
    x = L.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = L.LayerNormalization(name="norm")(x)
    x = L.Dense(5, activation="gelu", name="dense")(x)
    x = L.BatchNormalization(name="bn_2")(x)
    return K.Model(start, L.GlobalMaxPooling1D(name="pool")(x), name="attention")


def preprocessing(K: Any) -> Any:
    L = K.layers
    mean, variance = [0.5, -1.0, 2.0], [0.3, 4.0, 1.5]
    return K.Sequential(
        [
            L.Input((6, 5, 3), name="image"),
            L.Rescaling(1 / 127.5, offset=-1.0, name="rescaling"),
            L.Normalization(mean=mean, variance=variance, name="normalization"),
            L.Conv2D(4, 3, name="conv"),
            L.BatchNormalization(name="bn"),
        ]
    )


def dynamic_sizes(K: Any) -> Any:
    L = K.layers
    return K.Sequential(
        [
            L.Input((None, None, 3), name="image"),
            L.Conv2D(4, 3, padding="same", name="conv"),
            L.BatchNormalization(name="bn"),
            L.GlobalMaxPooling2D(name="pool"),
        ]
    )


def dict_ports(K: Any) -> Any:
    L = K.layers
    right, left = L.Input((3,), name="right"), L.Input((4,), name="left")
    x = L.Dense(2, name="dense_x")(left)
    y = L.BatchNormalization(name="bn")(L.Dense(2, name="dense_y")(right))
    return K.Model({"left": left, "right": right}, {"second": x, "first": y}, name="dicts")


def operators(K: Any) -> Any:
    L = K.layers
    start = L.Input((4,), name="x")
    x = L.Dense(5, name="dense")(start * 2.0 + 0.5)
    return K.Model(start, L.BatchNormalization(name="bn")(x - 1.5) / 3.0, name="operators")


KINDS: dict[str, Callable[[Any], Any]] = {
    build.__name__: build
    for build in (
        dense_post,
        unnamed_input,
        conv_mixed,
        conv1d,
        conv3d,
        separable,
        grouped,
        transposed,
        two_in_three_out,
        nested,
        shared,
        time_distributed,
        recurrent,
        attention,
        preprocessing,
        dynamic_sizes,
        dict_ports,
        operators,
    )
}


def random_inputs(model: Any, seed: int = 1, batch: int = 5) -> list[np.ndarray]:
    """One array per input of an `onnx_ir.Model`; free sizes get numbers that differ."""
    rng = np.random.default_rng(seed)
    arrays = []
    for value in model.graph.inputs:
        sizes = [d if isinstance(d, int) else 9 + axis for axis, d in enumerate(value.shape)]
        if not isinstance(value.shape[0], int):
            sizes[0] = batch
        dtype = value.dtype.numpy()
        if np.issubdtype(dtype, np.integer):
            arrays.append(rng.integers(0, 7, sizes).astype(dtype))
        else:
            arrays.append((rng.normal(0.3, 1, sizes)).astype(dtype))
    return arrays
