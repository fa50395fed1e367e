"""Arrays from the older HDF5 layout: one flat list for each layer of the model.

The list of a nested model or wrapper holds the arrays of everything in it: the trainable ones of
all its layers first, then the others. To tell whose is whose, that order is made again here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnfold.core.errors import InputError
from bnfold.formats.keras.graph import KerasGraph, Layer, LazyArray, Policy, walk_layers
from bnfold.formats.keras.h5 import H5File, reading
from bnfold.formats.keras.keys import map_layers
from bnfold.formats.keras.roles import Role, roles
from bnfold.formats.keras.theano import from_theano, is_by_theano
from bnfold.formats.text import clip

# Random generators keep their state among the weights; inference needs none of it.
_STATE = ("StateVar", "seed_generator_state")
_SESSION_DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Slot:
    """A place in the flat list: whose it is, what for, and whether it counts as trainable."""

    path: tuple[str, ...]
    role: str
    trainable: bool


def attach_flat(graph: KerasGraph, file: H5File) -> KerasGraph:
    """The graph with arrays of an .h5 file's group "model_weights".

    Raises:
        InputError: a layer has more or fewer arrays than its class needs.
    """
    top = file.group("model_weights")
    base = "model_weights" if top is not None else ""
    layers = {}
    for name, layer in graph.layers.items():
        found = _arrays(file, f"{base}/{name}" if base else name)
        layers[name] = _attach(layer, found)
    graph = _in_session_dtype(dataclasses.replace(graph, layers=layers))
    return from_theano(graph) if is_by_theano(file.root.attrs) else graph


def _in_session_dtype(graph: KerasGraph) -> KerasGraph:
    """The graph with the dtype of layers that state none.

    Keras before 2.3 states only what its inputs are: its layers compute in the floats of the
    session, which the file's arrays tell.
    """
    silent = [layer for _, layer in walk_layers(graph) if layer.config.get("dtype") is None]
    arrays = [array for layer in silent for array in (*layer.weights.values(), *layer.loose)]
    found = {array.dtype for array in arrays if array.dtype in _SESSION_DTYPES}
    if len(found) != 1 or found == {"float32"}:
        return graph
    dtype = found.pop()

    def stated(layer: Layer, _: str) -> Layer:
        if layer.config.get("dtype") is not None or layer.is_operator:
            return layer
        return dataclasses.replace(layer, policy=Policy(dtype, dtype))

    return map_layers(graph, stated)


def _arrays(file: H5File, path: str) -> list[tuple[str, LazyArray]]:
    group = file.group(path)
    if group is None:
        return []
    names = [_text(name) for name in attribute(group.attrs, "weight_names")]
    if len(set(names)) < len(names):
        # Keras 3.0 names arrays so within models and wrappers, and loses all but one of a name.
        raise InputError(
            f"Layer {clip(path.rpartition('/')[2])!r} keeps several arrays under one name, so that "
            "the file has only one of them: save the model again as .keras."
        )
    return [
        (name, file.array(f"{path}/{name}"))
        for name in names
        if not any(state in name for state in _STATE)
    ]


def attribute(attributes: Any, name: str) -> list[Any]:
    """A list that may be cut into "name0", "name1", ... because HDF5 limits attributes."""
    parts: list[Any] = []
    with reading(name):
        if name in attributes:
            return _items(attributes[name], name)
        while f"{name}{len(parts)}" in attributes:
            parts.append(_items(attributes[f"{name}{len(parts)}"], name))
    return [item for part in parts for item in part]


def _items(value: Any, name: str) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise InputError(f"The weights are damaged: {name} is no list.") from None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _attach(layer: Layer, arrays: list[tuple[str, LazyArray]]) -> Layer:
    slots = slots_in_order(layer)
    if not arrays:
        return layer
    if slots is None:
        return dataclasses.replace(layer, loose=tuple(array for _, array in arrays))
    if len(slots) != len(arrays):
        raise InputError(
            f"Layer {clip(layer.name)!r} ({layer.class_name}) has {len(arrays)} arrays where "
            f"{len(slots)} are needed."
        )
    given: dict[tuple[str, ...], dict[str, LazyArray]] = {}
    for slot, (name, array) in zip(slots, arrays, strict=True):
        _check_name(layer, slot, name)
        given.setdefault(slot.path, {})[slot.role] = array
    return _distribute(layer, (), given)


def slots_in_order(layer: Layer) -> list[Slot] | None:
    """The places in a layer's flat list; None if it holds a layer of which nothing is known."""
    slots = _slots(layer, ())
    if slots is not None and _flag(layer):
        slots = sorted(slots, key=lambda slot: not slot.trainable)
    return slots


def arrays_by_slot(layer: Layer) -> dict[Slot, LazyArray]:
    """The arrays of a layer and of those in it, by their places."""
    found: dict[Slot, LazyArray] = {}
    for slot in slots_in_order(layer) or []:
        weights = layer_of(slot, layer).weights
        if slot.role in weights:
            found[slot] = weights[slot.role]
    return found


def layer_of(slot: Slot, layer: Layer) -> Layer:
    """The layer in ``layer`` that a slot belongs to."""
    for name in slot.path:
        if name.startswith("."):
            layer = layer.parts[name[1:]]
        elif layer.graph is not None:
            layer = layer.graph.layers[name]
    return layer


# Names of arrays that Keras's layers use for one purpose only.
_TELLING = frozenset(("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"))


def _check_name(layer: Layer, slot: Slot, name: str) -> None:
    stated = name.rpartition("/")[2].partition(":")[0]
    wanted = slot.role.rpartition("/")[2]
    if stated in _TELLING and wanted in _TELLING and stated != wanted:
        raise InputError(
            f"Layer {clip(layer.name)!r} ({layer.class_name}) has its arrays in an unknown order: "
            f"{clip(name)!r} stands where {slot.role!r} of {'/'.join(slot.path) or 'it'} is due."
        )


def _slots(layer: Layer, path: tuple[str, ...], trainable: bool = True) -> list[Slot] | None:
    """The order of the arrays; None if it holds a layer of which nothing is known."""
    trainable = trainable and _flag(layer)
    own: tuple[Role, ...] | None = roles(layer)
    if own is None:
        return None
    slots = [Slot(path, role.name, role.trainable and trainable) for role in own]
    inner: list[tuple[str, Layer]] = [(f".{name}", part) for name, part in layer.parts.items()]
    if layer.graph is not None:
        inner += list(layer.graph.layers.items())
    for name, child in inner:
        below = _slots(child, (*path, name), trainable)
        if below is None:
            return None
        slots += below
    return slots


def _flag(layer: Layer) -> bool:
    return bool(layer.config.get("trainable", True))


def _distribute(
    layer: Layer,
    path: tuple[str, ...],
    given: Mapping[tuple[str, ...], Mapping[str, LazyArray]],
) -> Layer:
    parts = {
        name: _distribute(part, (*path, f".{name}"), given) for name, part in layer.parts.items()
    }
    graph = layer.graph
    if graph is not None:
        inner = {
            name: _distribute(child, (*path, name), given) for name, child in graph.layers.items()
        }
        graph = dataclasses.replace(graph, layers=inner)
    return dataclasses.replace(layer, parts=parts, graph=graph, weights=given.get(path, {}))
