"""Names for values that have none; all other names stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import onnx_ir as ir


def name_values(model: ir.Model) -> None:
    """Name, in place, each node's result that has no name yet.

    A result called "" is one that the node does not give, and stays so. Names that occur in two
    branches of an If, or nodes without a name, are valid and stay too.
    """
    values = [value for node in _nodes(model) for value in node.outputs]
    unnamed = [value for value in values if value.name is None]
    if not unnamed:
        return
    taken = {value.name for value in values} | {
        value.name for node in _nodes(model) for value in node.inputs if value is not None
    }
    taken |= {value.name for value in (*model.graph.inputs, *model.graph.initializers.values())}
    fresh = (name for number in count() if (name := f"value_{number}") not in taken)
    for value, name in zip(unnamed, fresh, strict=False):
        value.name = name


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()
