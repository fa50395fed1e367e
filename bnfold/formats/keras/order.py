"""The order in which Keras lists the layers of a Functional model that it makes of a config.

All versions find arrays by it: an .h5 is read layer after layer, an archive numbers its groups. It
follows from the graph alone, so that a model from which a layer was taken may have another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bnfold.formats.keras.graph import KerasGraph, Layer

_Node = tuple[str, int]


def reorder(data: Mapping[str, Any], graph: KerasGraph) -> bool:
    """Put the layers of a serialized model, and of those in it, in Keras's order, in place.

    Args:
        data: the serialized model.
        graph: the same, parsed.

    Returns:
        Whether anything moved.
    """
    config = data["config"]
    entries = config if isinstance(config, list) else config["layers"]
    moved = False
    for entry in entries:
        layer = graph.layers[_name(entry)]
        for inner, part in ((entry, layer), *_parts(entry, layer)):
            if part.graph is not None:
                moved |= reorder(inner, part.graph)
    if graph.sequential:
        return moved
    order = {name: place for place, name in enumerate(order_of(graph))}
    before = list(entries)
    entries.sort(key=lambda entry: order[_name(entry)])
    return moved or before != entries


def _name(entry: Mapping[str, Any]) -> str:
    config = entry["config"]
    stated = entry.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return str(stated or str(entry["class_name"]).lower())


def _parts(entry: Mapping[str, Any], layer: Layer) -> Iterator[tuple[Mapping[str, Any], Layer]]:
    for attribute, part in layer.parts.items():
        inner = entry["config"].get(attribute)
        if isinstance(inner, dict):
            yield inner, part


def order_of(graph: KerasGraph) -> list[str]:
    """The names of the layers: farthest from the outputs first, else as the outputs lead there."""
    reads = {
        (call.layer, call.number): [(r.layer, r.call) for r in call.refs()] for call in graph.calls
    }
    met, finished = _walk([(ref.layer, ref.call) for ref in graph.outputs], reads)
    depths: dict[_Node, int] = {}
    depth_of: dict[str, int] = {}
    for node in reversed(finished):
        depth = max(depths.get(node, 0), depth_of.get(node[0], 0))
        depth_of[node[0]] = depths[node] = depth
        for before in reads[node]:
            depths[before] = max(depth + 1, depths.get(before, 0))
    for ref in graph.inputs:
        if ref.layer not in depth_of:  # an input that no output needs
            depth_of[ref.layer], met[ref.layer] = 0, -1
    names = sorted(depth_of, key=lambda name: (-depth_of[name], met[name]))
    return names + [name for name in graph.layers if name not in depth_of]


def _walk(
    outputs: list[_Node], reads: Mapping[_Node, list[_Node]]
) -> tuple[dict[str, int], list[_Node]]:
    """Depth first from the outputs: when each layer is met first; the nodes as they are done."""
    met: dict[str, int] = {}
    seen: set[_Node] = set()
    finished: list[_Node] = []
    stack: list[tuple[_Node | None, Iterator[_Node]]] = [(None, iter(outputs))]
    while stack:
        owner, waiting = stack[-1]
        node = next((one for one in waiting if one not in seen), None)
        if node is not None:
            seen.add(node)
            met.setdefault(node[0], len(met))
            stack.append((node, iter(reads[node])))
            continue
        stack.pop()
        if owner is not None:
            finished.append(owner)
    return met, finished
