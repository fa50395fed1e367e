"""The nets that come from Keras, converted by bnfold and not folded, with or without their BNs.

Everything that imports TensorFlow does so inside a function, so the ONNX part of the suite runs
without it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx

SEED = 21


def _norm(x: Any, norms: bool) -> Any:
    import keras

    return keras.layers.BatchNormalization()(x) if norms else x


def _convert(inputs: Any, outputs: Any) -> onnx.ModelProto:
    """Give BNs and biases trained-looking values and convert; nothing is folded.

    A bias of zeros would be dropped on the way, which would make the twin better than it can be.
    """
    import keras
    import onnx_ir as ir

    import bnfold

    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            ranges = ((0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 2.0))
            layer.set_weights([rng.uniform(low, high, size) for low, high in ranges])
        for weight in layer.weights:
            if weight.name == "bias":
                weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
    return ir.to_proto(bnfold.convert(model))


def _start(shape: tuple[int | None, ...], **options: Any) -> Any:
    # TensorFlow reads these once, when it is imported.
    for name, value in (("TF_CPP_MIN_LOG_LEVEL", "3"), ("CUDA_VISIBLE_DEVICES", "-1")):
        os.environ.setdefault(name, value)
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    keras.mixed_precision.set_global_policy("float32")
    return keras.Input(shape, name="x", **options)


def classic_post_activation(norms: bool) -> onnx.ModelProto:
    """Flatten - BN - Dense(300, elu) - BN - Dense(100, elu) - BN - Dense(10, softmax)."""
    from keras import layers as L

    x = _start((28, 28))
    y = L.Flatten()(x)
    for width in (300, 100):
        y = L.Dense(width, activation="elu")(_norm(y, norms))
    return _convert(x, L.Dense(10, activation="softmax")(_norm(y, norms)))


def classic_pre_activation(norms: bool) -> onnx.ModelProto:
    """Flatten - BN - Dense(300) - BN - elu - Dense(100) - BN - elu - Dense(10, softmax)."""
    from keras import layers as L

    x = _start((28, 28))
    y = _norm(L.Flatten()(x), norms)
    for width in (300, 100):
        y = L.Activation("elu")(_norm(L.Dense(width, use_bias=not norms)(y), norms))
    return _convert(x, L.Dense(10, activation="softmax")(y))


def conv1d(norms: bool) -> onnx.ModelProto:
    """Conv1D(relu) - BN three times, pooling, Dense."""
    from keras import layers as L

    x = _start((64, 12))
    y = x
    for filters in (32, 32, 64):
        y = _norm(L.Conv1D(filters, 5, activation="relu")(y), norms)
    return _convert(x, L.Dense(6, activation="softmax")(L.GlobalAveragePooling1D()(y)))


def separable(norms: bool) -> onnx.ModelProto:
    """Rescaling, then SeparableConv2D - BN - relu in strides, Dense: MobileNet as Keras has it."""
    from keras import layers as L

    x = _start((32, 32, 3))
    y = L.Rescaling(1 / 127.5, offset=-1)(x) if norms else x
    y = L.ReLU(6)(_norm(L.Conv2D(16, 3, 2, "same", use_bias=not norms)(y), norms))
    for filters, strides in ((24, 1), (32, 2), (32, 1), (48, 2)):
        y = L.SeparableConv2D(filters, 3, strides, "same", use_bias=not norms)(y)
        y = L.ReLU(6)(_norm(y, norms))
    return _convert(x, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(y)))


def lstm(norms: bool) -> onnx.ModelProto:
    """BN - LSTM - BN - Dense on sequences of 20 steps."""
    from keras import layers as L

    x = _start((20, 16))
    y = _norm(L.LSTM(32)(_norm(x, norms)), norms)
    return _convert(x, L.Dense(4, activation="softmax")(y))


def tabular(norms: bool) -> onnx.ModelProto:
    """Embeddings beside numbers, BN, then Dense(relu) - BN twice, Dense."""
    from keras import layers as L

    x = _start((8,), dtype="int32")
    y = _norm(L.Flatten()(L.Embedding(100, 16)(x)), norms)
    for width in (128, 64):
        y = _norm(L.Dense(width, activation="relu")(y), norms)
    return _convert(x, L.Dense(1, activation="sigmoid")(y))


def mixed_precision(norms: bool) -> onnx.ModelProto:
    """Dense(relu) - BN three times under the policy mixed_float16."""
    import keras
    from keras import layers as L

    x = _start((128,))
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        y = x
        for _ in range(3):
            y = _norm(L.Dense(128, activation="relu")(y), norms)
        return _convert(x, L.Dense(10, dtype="float32")(y))
    finally:
        keras.mixed_precision.set_global_policy("float32")
