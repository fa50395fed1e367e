"""The weights of a .keras archive: groups named after classes, counted anew in the folded model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from bnfold.formats.keras.attach import ROOTS, archive_names
from bnfold.formats.keras.graph import AnyArray, KerasGraph, Layer
from bnfold.formats.keras.naming import part_place
from bnfold.formats.keras.roles import Role, roles


def write_archive_weights(
    old: h5py.File, new: h5py.File, original: KerasGraph, folded: KerasGraph
) -> None:
    """Copy every layer's group to where the folded model looks for it, with the edited arrays."""
    _write_graph(old, new, original, folded, "", "")


def _write_graph(
    old: h5py.File,
    new: h5py.File,
    original: KerasGraph,
    folded: KerasGraph,
    before: str,
    after: str,
) -> None:
    _copy_vars(old, new, before, after)
    root = next((name for name in ROOTS if _join(before, name) in old), ROOTS[0])
    places = archive_names(original)
    for name, place in archive_names(folded).items():
        layer, known = folded.layers[name], original.layers.get(name)
        source = _join(before, f"{root}/{places[name]}") if name in places else ""
        target = _join(after, f"{root}/{place}")
        _write_layer(old, new, known, layer, source, target)


def _write_layer(
    old: h5py.File, new: h5py.File, before: Layer | None, layer: Layer, source: str, target: str
) -> None:
    if before is None or (before.class_name != layer.class_name and not layer.weights):
        # Something without arrays took the layer's place.
        new.require_group(f"{target}/vars").attrs["name"] = layer.name
        return
    if layer.graph is not None and before.graph is not None:
        _write_graph(old, new, before.graph, layer.graph, source, target)
        return
    if source not in old:
        if layer.weights:
            # It had no arrays at all before it took up an affine.
            _rewrite(new, before, layer, source, target)
        return
    if layer.parts:
        _copy_vars(old, new, source, target)
        for attribute, part in layer.parts.items():
            child = before.parts.get(attribute)
            place = part_place(before, attribute) if child is not None else attribute
            here, there = f"{source}/{place}", f"{target}/{part_place(layer, attribute)}"
            _write_layer(old, new, child, part, here, there)
        for name in old[source]:
            if name != "vars" and name not in layer.parts and f"{target}/{name}" not in new:
                old.copy(f"{source}/{name}", new, name=f"{target}/{name}")
        return
    old.copy(source, new, name=target)
    if layer.weights != before.weights:
        _rewrite(new, before, layer, source, target)


def _rewrite(new: h5py.File, before: Layer, layer: Layer, source: str, target: str) -> None:
    """All arrays of the layer anew, numbered in the order of their roles."""
    wanted: tuple[Role, ...] = roles(layer) or ()
    for holders in dict.fromkeys(role.holders for role in wanted):
        group = [role for role in wanted if role.holders == holders]
        stored = [before.weights[r.name].key for r in group if r.name in before.weights]
        inner = stored[0].rpartition("/")[0].removeprefix(source) if stored else "/vars"
        vars_group = new.require_group(f"{target}{inner}")
        filters = {name: filters_of(dataset) for name, dataset in vars_group.items()}
        surplus = [
            np.array(vars_group[name]) for name in sorted(vars_group, key=int)[len(stored) :]
        ]
        for name in list(vars_group):
            del vars_group[name]
        arrays = [layer.weights[role.name].read() for role in group] + surplus
        for index, array in enumerate(arrays):
            put(vars_group, str(index), array, filters.get(str(index)))


def filters_of(dataset: h5py.Dataset) -> dict[str, Any]:
    """How an array is packed in its file, to write its successor alike."""
    names = ("compression", "compression_opts", "shuffle", "fletcher32")
    return {name: getattr(dataset, name) for name in names} if dataset.chunks else {}


def put(group: Any, name: str, array: AnyArray, filters: Mapping[str, Any] | None = None) -> None:
    """Write an array; bfloat16 as Keras writes it."""
    packed = filters if filters and array.size and array.ndim else {}
    dataset = group.create_dataset(name, data=array, **packed)
    if array.dtype.name == "bfloat16":
        dataset.attrs["dtype"] = "bfloat16"


def _copy_vars(old: h5py.File, new: h5py.File, source: str, target: str) -> None:
    path = _join(source, "vars")
    if path in old:
        old.copy(path, new, name=_join(target, "vars"))


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
