"""From a traced function to a TensorFlow graph whose weights are constants.

Large kernels stay outside the graph, as inputs that are bound to their arrays when the ONNX model
is there: TensorFlow and tf2onnx copy every constant a dozen times (290 MB of weights took 35 s and
6 GB inside, and take 1 s outside).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bnfold.convert.trace import Trace
from bnfold.core.errors import BnfoldError, InputError
from bnfold.formats.keras import runtime

# Ops that Grappler's constant folding would merge with a neighbour: it multiplies the scale of a
# BatchNormalization into a convolution, in float32, and calls the result by the scale's name.
# That is bnfold's business: in float64, checked, and reported by layer.
_ARITHMETIC = frozenset(
    (
        *("Add", "AddV2", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "BiasAdd", "Conv2D"),
        *("Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "DepthwiseConv2dNative"),
        *("Div", "Einsum", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "MatMul"),
        *("Mul", "Neg", "RealDiv", "Sub", "Transpose"),
    )
)
# What reads only the shape of a value depends on no data.
_SHAPE_READERS = frozenset(("Shape", "ShapeN", "Size", "Rank"))
_FLOAT_TYPES = frozenset((1, 2, 14, 19))  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
_READS_VARIABLE = frozenset(("ReadVariableOp", "ResourceGather"))
# Ops for which tf2onnx does not need to know the values of this operand.
_KERNEL_OPERAND = {"MatMul": 1, "Conv2D": 1, "Gather": 0, "GatherV2": 0}
_LARGE = 1 << 16  # elements

FloatArray = npt.NDArray[Any]


@dataclass(frozen=True)
class Frozen:
    """A graph without variables.

    Attributes:
        graph_def: the TensorFlow GraphDef.
        tables: contents of lookup tables by name, as tf2onnx takes them.
        weights: name of a tensor of the graph, left open there like an input, to its value.
    """

    graph_def: Any
    tables: Mapping[Any, Any] = field(default_factory=dict)
    weights: Mapping[str, FloatArray] = field(default_factory=dict)


def freeze(trace: Trace) -> Frozen:
    """Replace variables by constants and fold what depends on no input.

    Raises:
        InputError: TensorFlow cannot do that with this graph.
    """
    try:
        return _frozen(trace)
    except BnfoldError:
        raise
    except Exception as error:
        raise InputError(f"TensorFlow cannot freeze this model: {runtime.said(error)}") from error


def _frozen(trace: Trace) -> Frozen:
    runtime.import_tf2onnx()
    tf = runtime.start_tensorflow()
    from tf2onnx import tf_loader

    inputs, outputs = list(trace.inputs), list(trace.outputs)
    if _captures_tables(trace.function):
        graph_def, tables = tf_loader.from_trackable(
            trace.keeps[0], trace.function, inputs, outputs, False
        )
        return Frozen(graph_def, tables)
    graph_def = trace.function.graph.as_graph_def(add_shapes=True)
    weights: dict[str, FloatArray] = {}
    if _is_flat(graph_def):
        weights = _bind_captures(graph_def, trace.function)
    else:
        graph_def = _frozen_by_tensorflow(trace.function)
    kept = [f"{name}:0" for name in _arithmetic_on_inputs(graph_def)]
    with tf.Graph().as_default():  # TensorFlow exports no graph in eager mode
        graph_def = tf_loader.tf_optimize_grappler(
            [*inputs, *weights], [*outputs, *kept], graph_def
        )
    return Frozen(graph_def, {}, weights)


def _captures_tables(function: Any) -> bool:
    tf = runtime.start_tensorflow()
    handles = {id(variable.handle) for variable in function.graph.variables}
    return any(
        tensor.dtype == tf.resource and id(tensor) not in handles
        for tensor in function.captured_inputs
    )


def _frozen_by_tensorflow(function: Any) -> Any:
    """The way for graphs with functions in them (loops, branches): all weights inside."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tf2onnx import tf_loader

    frozen = convert_variables_to_constants_v2(
        function, lower_control_flow=False, aggressive_inlining=True
    )
    return tf_loader.fix_freezing_errors_part2(frozen.graph.as_graph_def(add_shapes=True))


def _is_flat(graph_def: Any) -> bool:
    """Whether variables are only read, and only in this graph itself."""
    resources = {
        node.name
        for node in graph_def.node
        if node.op == "Placeholder" and node.attr["dtype"].type == _DT_RESOURCE
    }
    for node in graph_def.node:
        reads = any(name.split(":")[0] in resources for name in node.input)
        if reads and node.op not in _READS_VARIABLE:
            return False
        if node.op == "ResourceGather" and node.attr["batch_dims"].i:
            return False
    return not graph_def.library.function


_DT_RESOURCE = 20


def _bind_captures(graph_def: Any, function: Any) -> dict[str, FloatArray]:
    """Turn captured variables and tensors into constants, in place.

    Returns:
        The large kernels that became inputs instead: tensor name to value.
    """
    tf = runtime.start_tensorflow()
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    captured = list(function.captured_inputs)
    placeholders = function.inputs[len(function.inputs) - len(captured) :]
    readers = _readers(graph_def)
    nodes = {node.name: node for node in graph_def.node}
    weights: dict[str, FloatArray] = {}
    for tensor, placeholder in zip(captured, placeholders, strict=True):
        node = nodes[placeholder.op.name]
        value = np.asarray(variables.get(id(tensor), tensor).numpy())
        for reader in readers.get(node.name, ()):
            _read_as_tensor(reader, value, tf)
        if value.size >= _LARGE and _only_kernels(node.name, readers):
            weights[f"{node.name}:0"] = value
            _set_attributes(node, tf, dtype=value.dtype, shape=value.shape)
        else:
            node.op = "Const"
            _set_attributes(node, tf, dtype=value.dtype)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return weights


def _readers(graph_def: Any) -> dict[str, list[Any]]:
    """The nodes that read each node's value; a control dependency ("^name") reads none."""
    readers: dict[str, list[Any]] = {}
    for node in graph_def.node:
        for name in node.input:
            if not name.startswith("^"):
                readers.setdefault(name.split(":")[0], []).append(node)
    return readers


def _read_as_tensor(reader: Any, value: FloatArray, tf: Any) -> None:
    """Make an op that reads a variable one that reads a tensor."""
    if reader.op == "ReadVariableOp":
        reader.op = "Identity"
        reader.attr["T"].type = tf.as_dtype(value.dtype).as_datatype_enum
        del reader.attr["dtype"]
    elif reader.op == "ResourceGather":
        reader.op = "Gather"
        reader.attr["Tparams"].type = tf.as_dtype(value.dtype).as_datatype_enum
        for key in ("dtype", "batch_dims"):
            if key in reader.attr:
                del reader.attr[key]


def _set_attributes(node: Any, tf: Any, dtype: Any, shape: tuple[int, ...] | None = None) -> None:
    for key in list(node.attr):
        del node.attr[key]
    node.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
    if shape is not None:
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        node.attr["_output_shapes"].list.shape.add().CopyFrom(tf.TensorShape(shape).as_proto())


def _only_kernels(name: str, readers: Mapping[str, list[Any]]) -> bool:
    """Whether a tensor is read by nothing but ops that take it for a kernel as it is."""
    for reader in readers.get(name, ()):
        if reader.op == "Identity":
            if not _only_kernels(reader.name, readers):
                return False
            continue
        operand = _KERNEL_OPERAND.get(reader.op)
        if operand is None or reader.attr["transpose_b"].b:
            return False
        places = [i for i, text in enumerate(reader.input) if text.split(":")[0] == name]
        if places != [operand]:
            return False
    return True


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
