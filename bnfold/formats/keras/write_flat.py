"""The weights of an .h5 file: one group per layer, with a flat list of named arrays."""

from __future__ import annotations

import h5py
import numpy as np

from bnfold.formats.keras.attach_flat import (
    Slot,
    arrays_by_slot,
    attribute,
    layer_of,
    slots_in_order,
)
from bnfold.formats.keras.graph import KerasGraph, Layer, LazyArray
from bnfold.formats.keras.theano import is_by_theano, mirror
from bnfold.formats.keras.write_archive import filters_of, put

# What an attribute of an HDF5 object may hold.
_LARGEST_ATTRIBUTE = 64512


def write_flat_weights(
    old: h5py.File, new: h5py.File, original: KerasGraph, folded: KerasGraph
) -> None:
    """Copy the layers' groups, those of edited layers with their new arrays."""
    base = "model_weights" if "model_weights" in old else ""
    source = old[base] if base else old
    target = new.create_group(base) if base else new
    for name in source.attrs:
        if not name.startswith("layer_names") and name not in target.attrs:
            copy_attribute(source, target, name)
    names = {_text(name) for name in attribute(source.attrs, "layer_names")}
    kept = [name for name in folded.layers if name in names]
    _set_names(target, "layer_names", kept)
    for name in source:
        if name == "optimizer_weights" or (name in original.layers and name not in kept):
            continue
        layer, before = folded.layers.get(name), original.layers.get(name)
        if layer is None or before is None or not _differs(before, layer):
            source.copy(name, target)
        else:
            _write_layer(source[name], target.create_group(name), before, layer)


def copy_attribute(
    source: h5py.Group, target: h5py.Group, name: str, value: object | None = None
) -> None:
    """Copy an attribute, or write another value of it, in the type that it has.

    Text that was written as bytes must stay so: Keras before 2.4 decodes it, which h5py 2 then
    allows of nothing else.
    """
    kind = source.attrs.get_id(name).dtype
    content = source.attrs[name] if value is None else value
    text = h5py.check_string_dtype(kind)
    if text is not None and text.length is not None and isinstance(content, str):
        kind = h5py.string_dtype(text.encoding, len(content.encode()))
    target.attrs.create(name, content, dtype=kind)


def _differs(before: Layer, layer: Layer) -> bool:
    """Whether an array of the layer, or of one in it, was edited, is gone or stands elsewhere."""
    return list(_all_arrays(before).items()) != list(_all_arrays(layer).items())


def _all_arrays(layer: Layer) -> dict[tuple[tuple[str, ...], str], int]:
    return {(slot.path, slot.role): id(array.read) for slot, array in arrays_by_slot(layer).items()}


def _write_layer(source: h5py.Group, target: h5py.Group, before: Layer, layer: Layer) -> None:
    stored = {(slot.path, slot.role): one for slot, one in arrays_by_slot(before).items()}
    arrays = arrays_by_slot(layer)
    names: list[str] = []
    for slot in slots_in_order(layer) or []:
        array = arrays[slot]
        known = stored.get((slot.path, slot.role))
        name = _own_name(known, source) if known is not None else _new_name(slot, stored, source)
        names.append(name)
        content = array.read()
        if is_by_theano(source.file.attrs):
            content = mirror(layer_of(slot, layer), slot.role, content)
        put(target, name, content, filters_of(source[name]) if name in source else None)
    _set_names(target, "weight_names", names)


def _own_name(array: LazyArray, group: h5py.Group) -> str:
    return array.key.removeprefix(f"{group.name.lstrip('/')}/")


def _new_name(
    slot: Slot, stored: dict[tuple[tuple[str, ...], str], LazyArray], group: h5py.Group
) -> str:
    """The name of an array that was not there, after those that were: "dense/bias:0"."""
    beside = next((one for (path, _), one in stored.items() if path == slot.path), None)
    if beside is None:
        # A layer that had no arrays at all. Keras goes by the order of names, not by what they say.
        return "/".join([(group.name or "").rpartition("/")[2], *slot.path, f"{slot.role}:0"])
    name = _own_name(beside, group)
    head, _, tail = name.rpartition("/")
    colon = ":" + tail.partition(":")[2] if ":" in tail else ""
    new = slot.role.rpartition("/")[2] + colon
    return f"{head}/{new}" if head else new


def _set_names(group: h5py.Group, name: str, values: list[str]) -> None:
    """A list of names, cut where HDF5's limit on attributes asks for it."""
    data = np.asarray([value.encode() for value in values])
    if not values:
        group.attrs[name] = np.asarray([], dtype=np.float64)
        return
    parts = 1
    while any(part.nbytes > _LARGEST_ATTRIBUTE for part in np.array_split(data, parts)):
        parts += 1
    if parts == 1:
        group.attrs[name] = data
        return
    for index, part in enumerate(np.array_split(data, parts)):
        group.attrs[f"{name}{index}"] = part


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
