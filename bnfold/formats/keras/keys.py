"""Keys of layers: the same for everything that is one layer, whatever calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bnfold.formats.keras.graph import KerasGraph, Layer


def key_of(shared: int | None, path: str) -> str:
    """The key of a layer: its path, or the id that several entries of one object have."""
    return path if shared is None else f"@{shared}"


def layers_by_key(graph: KerasGraph) -> dict[str, Layer]:
    """Every layer, also inside nested models and wrappers, by key."""
    found: dict[str, Layer] = {}

    def note(layer: Layer, key: str) -> Layer:
        found.setdefault(key, layer)
        return layer

    map_layers(graph, note)
    return found


def map_layers(
    graph: KerasGraph, change: Callable[[Layer, str], Layer], prefix: str = ""
) -> KerasGraph:
    """The graph with every layer, innermost ones first, replaced by what ``change`` makes of it."""
    layers = {
        name: _map_layer(layer, change, f"{prefix}/{name}" if prefix else name)
        for name, layer in graph.layers.items()
    }
    return replace(graph, layers=layers)


def _map_layer(layer: Layer, change: Callable[[Layer, str], Layer], path: str) -> Layer:
    key = key_of(layer.shared, path)
    parts = {
        attribute: _map_layer(part, change, f"{key}/.{attribute}")
        for attribute, part in layer.parts.items()
    }
    inner = None if layer.graph is None else map_layers(layer.graph, change, key)
    return change(replace(layer, parts=parts, graph=inner), key)
