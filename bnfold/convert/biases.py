"""Putting a convolution's own bias back into the convolution.

TensorFlow computes a Conv1D as a Conv2D with a size of 1 squeezed away behind it, and adds the
bias last. The Add is no layer and no affine of the model: it is the bias that Conv has an
operand for. Nothing is computed here, so nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def attach_biases(model: ir.Model, labels: Mapping[str, str]) -> list[str]:
    """Turn Conv -> [Squeeze] -> Add, all of one layer, into Conv -> [Squeeze], in place.

    Args:
        model: the model.
        labels: name of a node to its layer.

    Returns:
        The names of the Add nodes that are gone.
    """
    graph = model.graph
    gone = []
    for add in [node for node in graph if node.op_type == "Add" and node.domain == ""]:
        convolution = _convolution_of(add, labels)
        bias = add.inputs[1]
        if convolution is None or bias is None or bias.const_value is None:
            continue
        vector = _as_vector(bias.const_value.numpy(), convolution, add)
        if vector is None:
            continue
        name = f"{convolution.name}.B"
        if name in graph.initializers:
            continue
        value = ir.Value(
            name=name,
            shape=ir.Shape(vector.shape),
            type=ir.TensorType(ir.DataType.from_numpy(vector.dtype)),
            const_value=ir.Tensor(vector, name=name),
        )
        graph.register_initializer(value)
        convolution.resize_inputs(3)
        convolution.replace_input_with(2, value)
        _take_out(graph, add)
        if not bias.uses() and bias.name is not None:
            graph.initializers.pop(bias.name, None)
        gone.append(str(add.name))
    return gone


def _convolution_of(add: ir.Node, labels: Mapping[str, str]) -> ir.Node | None:
    """The convolution without bias behind which, through Squeezes, the Add alone stands."""
    layer = labels.get(add.name or "")
    value = add.inputs[0]
    while layer is not None and value is not None and len(value.uses()) == 1:
        node = value.producer()
        if node is None or labels.get(node.name or "") != layer or value.is_graph_output():
            return None
        if node.op_type in _CONVOLUTIONS:
            without_bias = len(node.inputs) == 2 or node.inputs[2] is None
            return node if without_bias else None
        if node.op_type != "Squeeze":
            return None
        value = node.inputs[0]
    return None


def _as_vector(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], convolution: ir.Node, add: ir.Node
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    """The bias per output channel; None where the constant varies along another axis."""
    kernel = convolution.inputs[1]
    result = add.inputs[0]
    if kernel is None or kernel.shape is None or result is None or result.producer() is None:
        return None
    groups = convolution.attributes.get("group")
    first, second = kernel.shape[0], kernel.shape[1]
    if not isinstance(first, int) or not isinstance(second, int):
        return None
    transposed = convolution.op_type == "ConvTranspose"
    channels = second * (groups.as_int() if groups is not None else 1) if transposed else first
    spatial = len(kernel.shape) - 2
    squeezed = 0
    node = result.producer()
    while node is not None and node.op_type == "Squeeze":
        axes = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] else None
        if axes is None or np.any(axes.numpy() < 2):  # the channels have to stay on axis 1
            return None
        squeezed += int(axes.numpy().size)
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    wanted = (channels, *([1] * (spatial - squeezed)))
    shape = (
        array.shape[1:] if array.ndim == len(wanted) + 1 and array.shape[0] == 1 else array.shape
    )
    return array.reshape(channels) if shape == wanted else None


def _take_out(graph: ir.Graph, add: ir.Node) -> None:
    before, after = add.inputs[0], add.outputs[0]
    assert before is not None
    if after.is_graph_output():
        # The output's name stays with the output: the producer takes it over.
        place = list(graph.outputs).index(after)
        before.name, before.shape, before.type = after.name, after.shape, after.type
        graph.outputs[place] = before
    after.replace_all_uses_with(before)
    graph.remove(add, safe=True)
