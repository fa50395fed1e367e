"""A live Keras model as data, by its own `get_config` and weights; Keras is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnfold.core.errors import InputError
from bnfold.formats.keras.attach import Holder, Learned, attach
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.graph import AnyArray, KerasGraph, LazyArray
from bnfold.formats.keras.naming import numbered
from bnfold.formats.keras.read_config import parse_model
from bnfold.formats.text import clip


def is_keras_model(candidate: object) -> bool:
    """Whether this is a model of Keras 3 or of tf_keras."""
    return generation_of(candidate) is not None


def generation_of(candidate: object) -> int | None:
    """3 for a model of Keras 3, 2 for one of tf_keras, None for anything else."""
    for cls in type(candidate).__mro__:
        root = cls.__module__.partition(".")[0]
        if cls.__name__ == "Model" and root in ("keras", "tf_keras"):
            return 3 if root == "keras" else 2
    return None


def read_live(model: Any) -> KerasGraph:
    """The graph of a live Sequential or Functional model; arrays are copied when asked for.

    Raises:
        UnsupportedModelError: the model is subclassed, so its computation is Python code.
        InputError: it is no Keras model, or was never built.
    """
    generation = generation_of(model)
    if generation is None:
        raise InputError(f"{type(model).__name__} is no Keras model.")
    name = clip(str(getattr(model, "name", "model")))
    class_name = type(model).__name__
    root = type(model).__module__.partition(".")[0]
    if root not in ("keras", "tf_keras"):
        raise UnsupportedModelError(name, class_name, "is a class of its own, with code of its own")
    if not getattr(model, "built", True) or not getattr(model, "inputs", None):
        raise InputError(
            f"Model {name!r} was never built: call it once, model(x), or give it an input layer."
        )
    try:
        config = model.get_config()
    except NotImplementedError as error:
        raise UnsupportedModelError(name, class_name, "cannot tell its layers") from error
    wrapped = {"class_name": class_name, "module": "keras", "config": _as_json(config)}
    return attach(parse_model(wrapped, generation), _LiveHolder(model))


class _LiveHolder:
    """The arrays of a live layer or model."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def arrays(self) -> tuple[LazyArray, ...]:
        weights = getattr(self._held, "weights", None) or ()
        return tuple(_lazy(weight, str(index)) for index, weight in enumerate(weights))

    def child(self, attribute: str) -> Holder | None:
        child = part_of(self._held, attribute)
        if getattr(child, "reverse_state_order", False):
            why = "gives the states of its cells in reverse, which its config does not say"
            raise UnsupportedModelError(clip(str(child.name)), type(child).__name__, why)
        return None if child is None else _LiveHolder(child)

    def layers(self, graph: KerasGraph) -> dict[str, Holder]:
        return {layer.name: _LiveHolder(layer) for layer in self._held.layers}

    def learned(self) -> Learned | None:
        if hasattr(self._held, "get_vocabulary"):
            return lambda: tuple(str(word) for word in self._held.get_vocabulary())
        boundaries = getattr(self._held, "bin_boundaries", None)
        return None if boundaries is None else lambda: tuple(float(one) for one in boundaries)


def part_of(held: Any, attribute: str) -> Any:
    """The layer that a live layer keeps in an attribute, or in a list: "cells/lstm_cell"."""
    attribute, _, name = attribute.partition("/")
    found = getattr(held, attribute, None)
    if not name or found is None:
        return found
    members = list(found)
    names = numbered(type(one).__name__ for one in members)
    return dict(zip(names, members, strict=True)).get(name)


def _lazy(weight: Any, key: str) -> LazyArray:
    dtype = getattr(weight.dtype, "name", weight.dtype)
    return LazyArray(tuple(weight.shape), str(dtype), lambda: _value(weight), key)


def _value(weight: Any) -> AnyArray:
    # Both Keras give their variables a method `numpy`, whatever the backend.
    return np.array(weight.numpy())


def _as_json(config: Any) -> Any:
    """A config as a file would hold it: lists for tuples, plain numbers for NumPy's."""
    if isinstance(config, dict):
        return {str(key): _as_json(one) for key, one in config.items()}
    if isinstance(config, (list, tuple)):
        return [_as_json(one) for one in config]
    if isinstance(config, np.ndarray):
        return config.tolist()
    if isinstance(config, np.generic):
        return config.item()
    if type(config).__name__ == "DType":
        return str(config.name)
    return config
