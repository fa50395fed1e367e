"""Giving the layers of a `KerasGraph` their arrays, from whatever keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from bnfold.core.errors import InputError
from bnfold.formats.keras.assets import Assets
from bnfold.formats.keras.graph import KerasGraph, Layer, LazyArray
from bnfold.formats.keras.h5 import H5File, reading
from bnfold.formats.keras.naming import numbered, part_place
from bnfold.formats.keras.roles import Role, roles
from bnfold.formats.text import clip

Learned = Callable[[], tuple[str | float, ...]]


class Holder(Protocol):
    """Something that keeps the arrays of one layer or model, and those of the layers in it."""

    def arrays(self) -> tuple[LazyArray, ...]:
        """The layer's own arrays: trainable ones first."""
        ...

    def child(self, attribute: str) -> Holder | None:
        """What keeps the arrays of a layer in it; None if there is none."""
        ...

    def layers(self, graph: KerasGraph) -> dict[str, Holder]:
        """Of a model: what keeps the arrays of each of its layers, by name."""
        ...

    def learned(self) -> Learned | None:
        """Reads what a layer of `LEARNING` has learned; None if that is not kept."""
        ...


def attach(graph: KerasGraph, holder: Holder) -> KerasGraph:
    """The graph with arrays.

    Raises:
        InputError: a layer has fewer arrays than its class needs. (A layer without any keeps
            none: what needs them complains.)
    """
    attached = _attach_graph(graph, holder)
    known = {
        layer.shared: layer
        for layer in _all_layers(attached)
        if layer.shared is not None and (layer.weights or layer.loose)
    }
    return _share(attached, known) if known else attached


def _attach_graph(graph: KerasGraph, holder: Holder) -> KerasGraph:
    holders = holder.layers(graph)
    layers = {
        name: _attach_layer(layer, holders[name]) if name in holders else layer
        for name, layer in graph.layers.items()
    }
    return dataclasses.replace(graph, layers=layers)


def _attach_layer(layer: Layer, holder: Holder) -> Layer:
    parts = {}
    for attribute, part in layer.parts.items():
        child = holder.child(part_place(layer, attribute))
        parts[attribute] = part if child is None else _attach_layer(part, child)
    graph = None if layer.graph is None else _attach_graph(layer.graph, holder)
    wanted = roles(layer)
    if wanted is None:
        return dataclasses.replace(layer, parts=parts, graph=graph, loose=holder.arrays())
    weights: dict[str, LazyArray] = {}
    for holders in dict.fromkeys(role.holders for role in wanted):
        group = [role for role in wanted if role.holders == holders]
        weights |= _assign(layer, group, _arrays_of(holder, holders))
    learned = holder.learned() if layer.class_name in LEARNING else None
    return dataclasses.replace(layer, parts=parts, graph=graph, weights=weights, learned=learned)


def _arrays_of(holder: Holder, attributes: tuple[str, ...]) -> tuple[LazyArray, ...]:
    if not attributes:
        return holder.arrays()
    for attribute in attributes:
        child = holder.child(attribute)
        if child is not None and child.arrays():
            return child.arrays()
    return ()


def _assign(
    layer: Layer, wanted: list[Role], arrays: tuple[LazyArray, ...]
) -> dict[str, LazyArray]:
    if not arrays:
        return {}
    if len(arrays) < len(wanted):
        raise InputError(
            f"Layer {clip(layer.name)!r} ({layer.class_name}) has {len(arrays)} arrays where "
            f"{len(wanted)} are needed: {', '.join(role.name for role in wanted)}."
        )
    return {role.name: array for role, array in zip(wanted, arrays, strict=False)}


def _all_layers(graph: KerasGraph) -> Iterator[Layer]:
    pending = list(graph.layers.values())
    while pending:
        layer = pending.pop()
        yield layer
        pending.extend(layer.parts.values())
        if layer.graph is not None:
            pending.extend(layer.graph.layers.values())


def _share(graph: KerasGraph, known: Mapping[int, Layer]) -> KerasGraph:
    """Layers that are one object and were written once get the arrays of the one written."""

    def shared(layer: Layer) -> Layer:
        parts = {attribute: shared(part) for attribute, part in layer.parts.items()}
        inner = None if layer.graph is None else _share(layer.graph, known)
        source = known.get(layer.shared) if layer.shared is not None else None
        if source is not None and not layer.weights and not layer.loose:
            layer = dataclasses.replace(layer, weights=source.weights, loose=source.loose)
        return dataclasses.replace(layer, parts=parts, graph=inner)

    layers = {name: shared(layer) for name, layer in graph.layers.items()}
    return dataclasses.replace(graph, layers=layers)


# Layers that learn what is no array.
LEARNING = frozenset({"Discretization", "IntegerLookup", "StringLookup"})
ROOTS = ("layers", "_layer_checkpoint_dependencies")


class ArchiveHolder:
    """The weights of a .keras archive: groups named after classes, arrays named by number."""

    def __init__(self, file: H5File, assets: Assets, path: str = "") -> None:
        self._file = file
        self._assets = assets
        self._path = path

    def _at(self, path: str) -> ArchiveHolder:
        return ArchiveHolder(self._file, self._assets, path)

    def arrays(self) -> tuple[LazyArray, ...]:
        path = _join(self._path, "vars")
        group = self._file.group(path)
        if group is None:
            return ()
        with reading(path):
            keys = sorted(group, key=lambda key: (0, int(key)) if key.isdecimal() else (1, key))
        return tuple(self._file.array(f"{path}/{key}") for key in keys)

    def child(self, attribute: str) -> ArchiveHolder | None:
        path = _join(self._path, attribute)
        return self._at(path) if self._file.group(path) is not None else None

    def layers(self, graph: KerasGraph) -> dict[str, Holder]:
        # Keras 2.12 called the group otherwise.
        root = next((r for r in ROOTS if self.child(r) is not None), ROOTS[0])
        return {
            layer: self._at(_join(self._path, f"{root}/{name}"))
            for layer, name in archive_names(graph).items()
        }

    def learned(self) -> Learned | None:
        return self._assets.lines(f"{self._path}/vocabulary.txt")


# Classes whose configs have another name than their objects.
_WRITTEN_AS = {"GroupQueryAttention": "GroupedQueryAttention"}


def archive_names(graph: KerasGraph) -> dict[str, str]:
    """The group of each layer in the archive: its class, numbered in the order of the model."""
    kept = [
        layer
        for layer in graph.layers.values()
        if not layer.is_operator and not (graph.sequential and layer.class_name == "InputLayer")
    ]
    names = numbered(_WRITTEN_AS.get(layer.class_name, layer.class_name) for layer in kept)
    return {layer.name: name for layer, name in zip(kept, names, strict=True)}


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
