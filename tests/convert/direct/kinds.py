"""Kinds of whole models beyond those of the common zoo, for both generations of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def deferred(K: Any) -> Any:
    """A Sequential without an input layer, built by a call."""
    L = K.layers
    model = K.Sequential(
        [L.Dense(5, activation="relu"), L.BatchNormalization(), L.Dense(2)], name="deferred"
    )
    model(np.zeros((2, 4), np.float32))
    return model


def pass_through(K: Any) -> Any:
    """Inputs that are outputs, an output twice, a layer shared by two branches."""
    L = K.layers
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    dense = L.Dense(3, name="dense")
    x, y = dense(a), dense(b)
    total = L.Add(name="sum")([x, y])
    return K.Model([a, b], [a, total, x, total, y], name="pass_through")


def nested_twice(K: Any) -> Any:
    """A model called twice within a model, which is called within a Sequential."""
    L = K.layers
    inner_in = L.Input((4,), name="inner_in")
    dense = L.Dense(4, name="dense")
    inner = K.Model(inner_in, dense(L.BatchNormalization(name="bn")(dense(inner_in))), name="inner")
    middle_in = L.Input((4,), name="middle_in")
    middle = K.Model(middle_in, L.Add()([inner(middle_in), inner(inner(middle_in))]), name="middle")
    return K.Sequential(
        [L.Input((4,), name="x"), L.BatchNormalization(), middle, L.Dense(2, name="out")]
    )


def nested_outputs(K: Any) -> Any:
    """A nested model with two inputs and two outputs."""
    L = K.layers
    a, b = L.Input((4,), name="a"), L.Input((3,), name="b")
    both = K.Model([a, b], [L.Dense(2, name="p")(a), L.Dense(2, name="q")(b)], name="both")
    c, d = L.Input((3,), name="c"), L.Input((4,), name="d")
    first, second = both([d, c])
    return K.Model([c, d], [second, L.Subtract(name="minus")([first, second])], name="outer")


def nested_only_output(K: Any) -> Any:
    """Calls of a nested model are the outputs themselves."""
    L = K.layers
    inner = K.Sequential([L.Input((4,)), L.Dense(3, name="dense")], name="inner")
    inner_in = L.Input((4,))
    other = K.Model(inner_in, L.Dense(3, name="dense")(inner_in), name="other")
    a = L.Input((4,), name="a")
    return K.Model(a, [other(a), inner(a), other(a * 2.0)], name="outer")


def frozen(K: Any) -> Any:
    """Layers that are not trainable, one of them in a nested model, change the file's order."""
    L = K.layers
    base = K.Sequential(
        [
            L.Input((4,)),
            L.Dense(4, name="first"),
            L.BatchNormalization(name="bn"),
            L.Dense(4, name="second"),
            L.BatchNormalization(name="bn_2"),
        ],
        name="base",
    )
    base.layers[-3].trainable = False
    base.layers[-2].trainable = False
    frozen_base = K.Sequential(
        [L.Input((4,)), L.Dense(4, name="d"), L.BatchNormalization(name="n")], name="frozen_base"
    )
    frozen_base.trainable = False
    a = L.Input((4,), name="a")
    return K.Model(a, L.Dense(2, name="head")(frozen_base(base(a))), name="frozen")


def mixed_float16(K: Any) -> Any:
    """Weights in float32, arithmetic in float16, a float32 head."""
    L = K.layers
    policy = "mixed_float16"
    x = start = L.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, dtype=policy, name="conv")(x)
    x = L.BatchNormalization(dtype=policy, name="bn")(x)
    x = L.ReLU(dtype=policy)(x)
    x = L.Flatten(dtype=policy)(x)
    x = L.Dense(5, dtype=policy, name="dense")(x)
    x = L.LayerNormalization(dtype=policy, name="norm")(x)
    return K.Model(start, L.Dense(2, dtype="float32", name="head")(x), name="mixed")


def float64(K: Any) -> Any:
    """Everything in float64."""
    L = K.layers
    return K.Sequential(
        [
            L.Input((4,), dtype="float64", name="x"),
            L.Dense(5, dtype="float64"),
            L.BatchNormalization(dtype="float64"),
            L.Activation("tanh", dtype="float64"),
            L.Dense(2, dtype="float64"),
        ]
    )


def free_image(K: Any) -> Any:
    """Height and width free, strides that need them, two branches."""
    L = K.layers
    x = start = L.Input((None, None, 3), name="image")
    x = L.Conv2D(4, 3, strides=2, padding="same", name="conv_1")(x)
    x = L.BatchNormalization(name="bn_1")(x)
    y = L.Conv2D(4, 3, padding="same", activation="relu", name="conv_2")(x)
    x = L.Add(name="add")([x, y])
    x = L.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    x = L.Conv2DTranspose(3, 3, strides=2, padding="same", name="up")(x)
    x = L.UpSampling2D(2, name="double")(x)
    return K.Model(start, x, name="free_image")


def free_time(K: Any) -> Any:
    """Sequences of any length."""
    L = K.layers
    x = start = L.Input((None, 4), name="series")
    x = L.Conv1D(5, 3, padding="causal", name="conv")(x)
    x = L.BatchNormalization(name="bn")(x)
    x = L.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = L.Dense(4, name="dense")(x)
    x = L.Bidirectional(L.GRU(3, return_sequences=True), name="both")(x)
    return K.Model(start, L.GlobalAveragePooling1D(name="mean")(x), name="free_time")


def fixed_batch(K: Any) -> Any:
    """A batch size that is fixed."""
    L = K.layers
    x = start = L.Input((6, 6, 2), batch_size=5, name="image")
    x = L.Conv2D(3, 3, name="conv")(x)
    return K.Model(start, L.Dense(2, name="out")(L.Flatten()(x)), name="fixed_batch")


def residual(K: Any) -> Any:
    """A small residual net with squeeze and excitation; every layer fused with what it can be."""
    L = K.layers
    x = start = L.Input((16, 16, 3), name="image")
    x = L.Rescaling(1 / 255.0)(x)
    x = L.ZeroPadding2D(1)(x)
    x = L.Conv2D(8, 3, use_bias=False)(x)
    x = L.BatchNormalization()(x)
    x = L.Activation("silu")(x)
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = L.BatchNormalization()(y)
    s = L.GlobalAveragePooling2D()(y)
    s = L.Reshape((1, 1, 8))(s)
    s = L.Conv2D(2, 1, activation="relu")(s)
    s = L.Conv2D(8, 1, activation="hard_sigmoid")(s)
    y = L.Multiply()([y, s])
    y = L.Conv2D(8, 1, use_bias=False)(y)
    y = L.BatchNormalization()(y)
    x = L.Add()([x, y])
    x = L.GlobalAveragePooling2D()(x)
    x = L.Dropout(0.2)(x)
    return K.Model(start, L.Dense(4, activation="softmax")(x), name="residual")


KINDS: dict[str, Callable[[Any], Any]] = {
    build.__name__: build
    for build in (
        deferred,
        pass_through,
        nested_twice,
        nested_outputs,
        nested_only_output,
        frozen,
        mixed_float16,
        float64,
        free_image,
        free_time,
        fixed_batch,
        residual,
    )
}
