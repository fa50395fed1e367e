"""Kernels in files that Keras 2 wrote on Theano: mirrored, as its convolutions are true ones.

Keras on TensorFlow mirrors them when it loads such a file; the file says which backend wrote it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnfold.core.errors import InputError
from bnfold.formats.keras.graph import AnyArray, KerasGraph, Layer
from bnfold.formats.keras.keys import map_layers
from bnfold.formats.text import clip

_MIRRORED = frozenset({"Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D"})


def is_by_theano(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of an .h5 file say so."""
    found = attributes.get("backend")  # in a damaged file anything
    return isinstance(found, (str, bytes)) and found in ("theano", b"theano")


def from_theano(graph: KerasGraph) -> KerasGraph:
    """The graph with its kernels as all other backends have them."""
    return map_layers(graph, lambda layer, _: _mirrored(layer))


def _mirrored(layer: Layer) -> Layer:
    _check_padding(layer)
    kernel = layer.weights.get("kernel")
    if layer.class_name not in _MIRRORED or kernel is None:
        return layer
    turned = dataclasses.replace(kernel, read=lambda: mirror(layer, "kernel", kernel.read()))
    return dataclasses.replace(layer, weights={**layer.weights, "kernel": turned})


def _check_padding(layer: Layer) -> None:
    """Refuse what pads on other sides than everywhere else: in halves, the larger one first."""
    config = layer.config
    if config.get("padding") != "same":
        return
    steps = _sizes(config.get("strides"))
    kernel = _sizes(config.get("kernel_size")) + _sizes(config.get("pool_size"))
    if any(step != 1 for step in steps) or any(size % 2 == 0 for size in kernel):
        raise InputError(
            f"Layer {clip(layer.name)!r} ({layer.class_name}) pads as only Theano does ('same' "
            "with strides or a kernel of even size)."
        )


def _sizes(stated: Any) -> list[int]:
    if isinstance(stated, int):
        return [stated]
    return [one for one in stated or () if isinstance(one, int)]


def mirror(layer: Layer, role: str, array: AnyArray) -> AnyArray:
    """An array of the layer from one form to the other."""
    if layer.class_name not in _MIRRORED or role != "kernel":
        return array
    return np.flip(array, tuple(range(array.ndim - 2)))
