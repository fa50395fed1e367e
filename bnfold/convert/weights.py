"""Giving the model the weights that were kept out of the conversion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


def bind_weights(
    model: ir.Model, count: int, weights: Mapping[str, npt.NDArray[np.generic]]
) -> None:
    """Turn the inputs behind the first `count` into constants, in place.

    Args:
        model: its inputs beyond `count` are the weights, in the order of the mapping.
        count: how many inputs the model has in truth.
        weights: the values; not copied.
    """
    graph = model.graph
    extra = list(graph.inputs[count:])
    for value, array in zip(extra, weights.values(), strict=True):
        graph.inputs.remove(value)
        value.const_value = ir.Tensor(array, name=value.name)
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        graph.register_initializer(value)
    for value in extra:
        _fold_moves(graph, value)


def _fold_moves(graph: ir.Graph, value: ir.Value) -> None:
    """Apply to a weight what tf2onnx could not, for want of its values: Transpose, Identity."""
    for node, _ in list(value.uses()):
        if node.op_type not in ("Transpose", "Identity") or node.graph is not graph:
            continue
        array = value.const_value.numpy() if value.const_value is not None else None
        result = node.outputs[0]
        if array is None or result.is_graph_output():
            continue
        if node.op_type == "Transpose":
            permutation = node.attributes["perm"].as_ints() if "perm" in node.attributes else None
            array = np.ascontiguousarray(array.transpose(permutation))
        moved = ir.Value(
            name=f"{result.name}__moved",
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.Tensor(array, name=result.name),
        )
        graph.register_initializer(moved)
        result.replace_all_uses_with(moved)
        graph.remove(node, safe=True)
        _fold_moves(graph, moved)
