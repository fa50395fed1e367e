"""Models of the kinds that people have, small; for Keras 3 and Keras 2 alike."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def channels_first(K: Any, order: str = "channels_first") -> Any:
    """Convolutions, pooling, padding and Flatten in this data format."""
    L = K.layers
    shape, axis = ((3, 9, 8), 1) if order == "channels_first" else ((9, 8, 3), -1)
    f = {"data_format": order}
    return K.Sequential(
        [
            L.Input(shape, name="image"),
            L.Conv2D(4, 3, padding="same", name="conv_1", **f),
            L.BatchNormalization(axis=axis, name="bn_1"),
            L.ReLU(name="relu"),
            L.MaxPooling2D(2, name="pool", **f),
            L.DepthwiseConv2D(3, name="depthwise", **f),
            L.BatchNormalization(axis=axis, name="bn_2"),
            L.Flatten(name="flatten", **f),
            L.Dense(3, name="out"),
        ],
        name="first",
    )


def masked(K: Any) -> Any:
    """Padded tokens through attention, a sum, a normalization and an LSTM."""
    L = K.layers
    start = L.Input((7,), dtype="int32", name="tokens")
    x = L.Embedding(9, 4, mask_zero=True, name="embedding")(start)
    x = L.Add(name="add")([x, L.MultiHeadAttention(2, 3, name="attention")(x, x)])
    x = L.LayerNormalization(name="norm")(x)
    x = L.BatchNormalization(name="bn")(x)
    return K.Model(start, L.Dense(2, name="out")(L.LSTM(5, name="lstm")(x)), name="masked")


def tabular(K: Any) -> Any:
    """Numbers that are normalized and categories that are embedded or encoded."""
    L = K.layers
    numbers = L.Input((3,), name="numbers")
    shop = L.Input((1,), dtype="int32", name="shop")
    day = L.Input((1,), dtype="int32", name="day")
    scaled = L.Normalization(mean=[1.0, -2, 3], variance=[4.0, 1, 9], name="normalization")(numbers)
    parts = [
        scaled,
        L.Flatten(name="flat")(L.Embedding(7, 3, name="embedding")(shop)),
        L.CategoryEncoding(7, output_mode="one_hot", name="encoding")(day),
    ]
    x = L.Concatenate(name="join")(parts)
    x = L.BatchNormalization(name="bn_1")(L.Dense(6, activation="relu", name="dense")(x))
    return K.Model([numbers, shop, day], L.Dense(1, name="out")(x), name="tabular")


def learned(K: Any) -> Any:
    """A category whose lookup has learned its vocabulary, beside numbers."""
    L = K.layers
    lookup = L.IntegerLookup(name="lookup")
    lookup.adapt(np.array([[2], [2], [5], [3], [6]]))
    numbers = L.Input((3,), name="numbers")
    shop = L.Input((1,), dtype="int64", name="shop")
    x = L.Flatten(name="flat")(L.Embedding(5, 3, name="embedding")(lookup(shop)))
    x = L.Concatenate(name="join")([x, numbers])
    x = L.BatchNormalization(name="bn")(L.Dense(6, activation="relu", name="dense")(x))
    return K.Model([numbers, shop], L.Dense(1, name="out")(x), name="learned")


def image_pipeline(K: Any) -> Any:
    """Augmentation, resizing and rescaling in front of a net."""
    L = K.layers
    x = start = L.Input((11, 9, 3), name="image")
    x = L.RandomFlip(name="flip")(x)
    x = L.Resizing(8, 8, name="resizing")(x)
    x = L.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(x)
    x = L.Conv2D(4, 3, name="conv")(x)
    x = L.BatchNormalization(name="bn")(x)
    return K.Model(start, L.GlobalAveragePooling2D(name="pool")(x), name="pipeline")


def bytes_pipeline(K: Any) -> Any:
    """Images of bytes, of any size."""
    L = K.layers
    x = start = L.Input((None, None, 3), dtype="uint8", name="image")
    x = L.Resizing(8, 8, interpolation="nearest", name="resizing")(x)
    x = L.Rescaling(1 / 255.0, name="rescaling")(x)
    x = L.Conv2D(4, 3, name="conv")(x)
    x = L.BatchNormalization(name="bn")(x)
    return K.Model(start, L.GlobalAveragePooling2D(name="pool")(x), name="bytes")


def autoencoder(K: Any) -> Any:
    """Strided convolutions and their transposes, as two nested models."""
    L = K.layers
    encoder = K.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Conv2D(4, 3, strides=2, padding="same", name="down"),
            L.BatchNormalization(name="bn"),
            L.LeakyReLU(name="leaky"),
            L.Flatten(name="flat"),
            L.Dense(5, name="code"),
        ],
        name="encoder",
    )
    decoder = K.Sequential(
        [
            L.Input((5,)),
            L.Dense(64, name="dense"),
            L.BatchNormalization(name="bn"),
            L.Reshape((4, 4, 4), name="shape"),
            L.Conv2DTranspose(1, 3, strides=2, padding="same", name="up"),
        ],
        name="decoder",
    )
    start = L.Input((8, 8, 1), name="image")
    return K.Model(start, decoder(encoder(start)), name="autoencoder")


def unet(K: Any) -> Any:
    """Two branches that meet again by Concatenate, one size free."""
    L = K.layers

    def block(x: Any, filters: int, name: str) -> Any:
        x = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{name}")(x)
        x = L.BatchNormalization(name=f"bn_{name}")(x)
        return L.Activation("relu", name=f"relu_{name}")(x)

    start = L.Input((8, None, 2), name="image")
    fine = block(start, 3, "fine")
    coarse = block(L.MaxPooling2D(name="pool")(fine), 4, "coarse")
    raised = L.Conv2DTranspose(3, 2, strides=2, padding="same", name="raise")(coarse)
    joined = L.Concatenate(name="join")([raised, fine])
    return K.Model(start, L.Conv2D(1, 1, name="out")(block(joined, 3, "last")), name="unet")


def crnn(K: Any) -> Any:
    """Convolutions, then both directions of an LSTM over the width: text recognition."""
    L = K.layers
    x = start = L.Input((8, 12, 1), name="image")
    x = L.Conv2D(3, 3, padding="same", activation="relu", name="conv")(x)
    x = L.BatchNormalization(name="bn_1")(x)
    x = L.MaxPooling2D(2, name="pool")(x)
    x = L.Permute((2, 1, 3), name="turn")(x)
    x = L.Reshape((6, 12), name="columns")(x)
    x = L.Bidirectional(L.LSTM(4, return_sequences=True, name="lstm"), name="both")(x)
    x = L.BatchNormalization(name="bn_2")(x)
    return K.Model(start, L.Dense(5, activation="softmax", name="out")(x), name="crnn")


def wavenet(K: Any) -> Any:
    """Gated causal convolutions, dilated, with residual and skip connections."""
    L = K.layers
    x = start = L.Input((16, 2), name="signal")
    skips = []
    for dilation in (1, 2):
        options = {"dilation_rate": dilation, "padding": "causal"}
        y = L.BatchNormalization(name=f"bn_{dilation}")(x)
        value = L.Conv1D(2, 2, activation="tanh", name=f"value_{dilation}", **options)(y)
        gate = L.Conv1D(2, 2, activation="sigmoid", name=f"gate_{dilation}", **options)(y)
        z = L.Conv1D(2, 1, name=f"mix_{dilation}")(L.Multiply(name=f"by_{dilation}")([value, gate]))
        skips.append(z)
        x = L.Add(name=f"add_{dilation}")([x, z])
    return K.Model(start, L.Conv1D(1, 1, name="out")(L.Add(name="skips")(skips)), name="wavenet")


def policy(K: Any) -> Any:
    """Observations normalized, then an MLP with several heads."""
    L = K.layers
    start = L.Input((4,), name="observation")
    x = L.Normalization(mean=[0.5, -1, 2, 0], variance=[1.0, 4, 9, 2], name="normalization")(start)
    x = L.Dense(6, activation="tanh", name="hidden")(x)
    mean, value = L.Dense(2, name="mean")(x), L.Dense(1, name="value")(x)
    return K.Model(start, {"mean": mean, "value": value}, name="policy")


def training_calls(K: Any) -> Any:
    """A normalization that is called as in training."""
    L = K.layers
    start = L.Input((4,), name="x")
    x = L.BatchNormalization(name="bn")(L.Dense(3, name="dense")(start), training=True)
    return K.Model(start, L.Dense(2, name="out")(x), name="training")


def custom_layer(K: Any) -> Any:
    """A layer of the user's between two that bnfold knows."""
    L = K.layers
    return K.Sequential(
        [
            L.Input((4,), name="x"),
            L.Dense(3, name="dense"),
            L.BatchNormalization(name="bn"),
            twist_of(K)(name="twist"),
            L.Dense(2, name="out"),
        ]
    )


_TWISTS: dict[str, Any] = {}


def twist_of(K: Any) -> Any:
    """The custom layer's class, one for each Keras."""
    name = K.__name__
    if name not in _TWISTS:

        class Twist(K.layers.Layer):  # type: ignore[misc]
            """Squares what it is given."""

            def call(self, x: Any) -> Any:
                return x * x

        # Loaders look classes up where they say that they are from.
        Twist.__qualname__ = "Twist"
        Twist.__module__ = f"twist_of_{name}"
        module = type(sys)(Twist.__module__)
        module.Twist = Twist  # type: ignore[attr-defined]
        sys.modules[Twist.__module__] = module
        _TWISTS[name] = Twist
    return _TWISTS[name]


def lambda_layer(K: Any) -> Any:
    """A Lambda, whose code the file carries."""
    L = K.layers
    return K.Sequential(
        [
            L.Input((4,), name="x"),
            L.Dense(3, name="dense"),
            L.BatchNormalization(name="bn"),
            L.Lambda(lambda t: t * t, output_shape=(3,), name="code"),
            L.Dense(2, name="out"),
        ]
    )


def subclassed(K: Any) -> Any:
    """A model whose computation is Python code."""

    class Net(K.Model):  # type: ignore[misc]
        """Dense, BatchNormalization, Dense."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = K.layers.Dense(3)
            self.bn = K.layers.BatchNormalization()
            self.out = K.layers.Dense(2)

        def call(self, x: Any, training: Any = None) -> Any:
            return self.out(self.bn(self.dense(x), training=training))

    model = Net(name="net")
    model(_zeros((2, 4)))
    return model


def _zeros(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.zeros(shape, np.float32)
