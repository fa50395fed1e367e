"""What the readers of Keras models as data say when a model is not plain data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from bnfold.core.errors import BnfoldError, InputError
from bnfold.formats.text import clip


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


logger = logging.getLogger(__name__)
# What a rule raises on settings that no Keras writes: missing, of another type, out of range.
_NO_SENSE = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


@contextmanager
def making_sense(layer: str, class_name: str) -> Iterator[None]:
    """What a rule meets that reads a config which no such layer has, as an error with its name.

    A config is what its file says, numbers and words of any kind; a rule reads it as Keras does,
    and need not ask of each setting whether it is what it should be.
    """
    try:
        yield
    except BnfoldError:
        raise
    except _NO_SENSE as error:
        logger.debug("the rule of %s failed", class_name, exc_info=True)
        said = clip(f"{type(error).__name__}: {error}", 120)
        raise UnsupportedLayerError(
            clip(layer, 80), clip(class_name, 80), f"has settings that no rule can read ({said})"
        ) from error
