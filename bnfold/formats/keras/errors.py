"""What the readers of Keras models as data say when a model is not plain data."""

from __future__ import annotations

from bnfold.core.errors import InputError


class UnsupportedLayerError(InputError):
    """A layer or model that cannot be read or emitted as data; Keras itself may still run it.

    Attributes:
        layer: name of the layer.
        class_name: its class.
    """

    noun = "Layer"

    def __init__(self, layer: str, class_name: str, why: str) -> None:
        super().__init__(f"{self.noun} {layer!r} ({class_name}) {why}.")
        self.layer = layer
        self.class_name = class_name


class UnsupportedModelError(UnsupportedLayerError):
    """A model whose computation is Python code, not a graph of layers."""

    noun = "Model"
