"""Float attributes as the file format holds them.

A model in memory may carry `epsilon=0.001` as a Python float, but ONNX stores attributes in
float32, and that number is what a runtime computes with.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def attribute_of(node: ir.Node, name: str, kind: ir.AttributeType) -> ir.Attr | None:
    """The attribute; None where it is absent, or a stranger of that name but another type.

    Those that the op's definition knows have its types, see `bnfold.formats.onnx.signature`.
    """
    found = node.attributes.get(name)
    return found if found is not None and found.type is kind else None


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, rounded to float32; ``default`` as it is where it is absent."""
    given = attribute_of(node, name, ir.AttributeType.FLOAT)
    return default if given is None else float(np.float32(given.as_float()))


def floats_attribute(node: ir.Node, name: str) -> tuple[float, ...] | None:
    """A list of floats, each rounded to float32; None where it is absent."""
    given = attribute_of(node, name, ir.AttributeType.FLOATS)
    return None if given is None else tuple(float(np.float32(one)) for one in given.as_floats())


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs among a node's attributes."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.ref_attr_name:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS and not attribute.ref_attr_name:
            found.extend(attribute.as_graphs())
    return found
