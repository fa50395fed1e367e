"""The families of `keras.applications` at the smallest size that each builds, without weights.

Their normalizations get gammas of both signs and the statistics of what they are given, so that
signals neither die nor explode on the way to the last layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Name of the function to the smallest input size (height = width).
SIZES = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}


def build(keras: Any, name: str, seed: int = 0) -> Any:
    """One of them, with 10 classes and no activation at the end."""
    keras.utils.set_random_seed(seed)
    size = SIZES[name]
    make = getattr(keras.applications, name)
    options: dict[str, Any] = {"weights": None, "input_shape": (size, size, 3)}
    if name == "VGG16":
        # Its own head has more weights than all others together.
        model = make(**options, include_top=False, pooling="avg")
    else:
        model = make(**options, classes=10, classifier_activation=None)
    _settle(model, np.random.default_rng(seed), image(name, batch=16))
    return model


def image(name: str, seed: int = 1, batch: int = 2) -> np.ndarray:
    """Images with values from 0 to 255; the first ones are the same whatever the batch."""
    size = SIZES[name]
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)


def _settle(model: Any, rng: np.random.Generator, images: np.ndarray) -> None:
    norms = []
    pending = list(model.layers)
    while pending:
        layer = pending.pop()
        pending.extend(getattr(layer, "layers", ()))
        if type(layer).__name__ == "BatchNormalization":
            norms.append(layer)
        for variable in layer.weights if not hasattr(layer, "layers") else ():
            name = getattr(variable, "path", variable.name).split("/")[-1].split(":")[0]
            shape = tuple(variable.shape)
            if name == "gamma" and type(layer).__name__ == "BatchNormalization":
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
                value[rng.integers(shape[0])] = 0
                variable.assign(value)
            elif name in ("beta", "bias"):
                variable.assign(rng.normal(0, 0.5, shape))
    quiet = [(norm, "momentum") for norm in norms]
    quiet += [(layer, "rate") for layer in model.layers if type(layer).__name__ == "Dropout"]
    before = [getattr(layer, name) for layer, name in quiet]
    for layer, name in quiet:
        setattr(layer, name, 0.0)
    model(images, training=True)
    for (layer, name), value in zip(quiet, before, strict=True):
        setattr(layer, name, value)
