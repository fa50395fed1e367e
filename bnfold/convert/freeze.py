"""From a traced function to a TensorFlow graph whose weights are constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnfold.convert.trace import Trace
from bnfold.formats.keras import runtime

# Ops that Grappler's constant folding would merge with a neighbour: it multiplies the scale of a
# BatchNormalization into a convolution, in float32, and calls the result by the scale's name.
# That is bnfold's business: in float64, checked, and reported by layer.
_ARITHMETIC = frozenset(
    (
        "Add",
        "AddV2",
        "BatchMatMul",
        "BatchMatMulV2",
        "BatchMatMulV3",
        "BiasAdd",
        "Conv2D",
        "Conv2DBackpropInput",
        "Conv3D",
        "Conv3DBackpropInputV2",
        "DepthwiseConv2dNative",
        "Div",
        "Einsum",
        "FusedBatchNorm",
        "FusedBatchNormV2",
        "FusedBatchNormV3",
        "MatMul",
        "Mul",
        "Neg",
        "RealDiv",
        "Sub",
        "Transpose",
    )
)
# What reads only the shape of a value depends on no data.
_SHAPE_READERS = frozenset(("Shape", "ShapeN", "Size", "Rank"))
_FLOAT_TYPES = frozenset((1, 2, 14, 19))  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF


def freeze(trace: Trace) -> tuple[Any, Mapping[Any, Any]]:
    """Replace variables by constants and fold what depends on no input.

    Returns:
        The GraphDef, and the contents of lookup tables by name, as tf2onnx takes them.
    """
    runtime.import_tf2onnx()
    tf = runtime.start_tensorflow()
    from tf2onnx import tf_loader

    inputs, outputs = list(trace.inputs), list(trace.outputs)
    if _captures_tables(trace.function):
        graph_def, tables = tf_loader.from_trackable(
            trace.keeps[0], trace.function, inputs, outputs, False
        )
        return graph_def, tables
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(
        trace.function, lower_control_flow=False, aggressive_inlining=True
    )
    graph_def = tf_loader.fix_freezing_errors_part2(frozen.graph.as_graph_def(add_shapes=True))
    del frozen
    kept = [f"{name}:0" for name in _arithmetic_on_inputs(graph_def)]
    with tf.Graph().as_default():  # TensorFlow exports no graph in eager mode
        return tf_loader.tf_optimize_grappler(inputs, outputs + kept, graph_def), {}


def _captures_tables(function: Any) -> bool:
    tf = runtime.start_tensorflow()
    handles = {id(variable.handle) for variable in function.graph.variables}
    return any(
        tensor.dtype == tf.resource and id(tensor) not in handles
        for tensor in function.captured_inputs
    )


def _arithmetic_on_inputs(graph_def: Any) -> list[str]:
    """Names of the floating-point arithmetic nodes that depend on the data of an input."""
    dependent: set[str] = set()
    kept = []
    for node in _in_order(graph_def):
        reads = {name.split(":")[0].lstrip("^") for name in node.input}
        is_source = node.op.startswith("Placeholder")
        if is_source or (reads & dependent and node.op not in _SHAPE_READERS):
            dependent.add(node.name)
            if node.op in _ARITHMETIC and node.attr["T"].type in _FLOAT_TYPES:
                kept.append(node.name)
    return kept


def _in_order(graph_def: Any) -> list[Any]:
    """The nodes in an order in which inputs come before readers (cycles are cut)."""
    nodes = {node.name: node for node in graph_def.node}
    order: list[Any] = []
    done: set[str] = set()
    for root in nodes:
        stack = [(root, False)]
        while stack:
            name, expanded = stack.pop()
            if expanded:
                order.append(nodes[name])
            elif name not in done and name in nodes:
                done.add(name)
                stack.append((name, True))
                reads = (text.split(":")[0].lstrip("^") for text in nodes[name].input)
                stack.extend((read, False) for read in reads if read not in done)
    return order
