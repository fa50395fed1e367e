"""TensorFlow ops that Keras's layers use and tf2onnx has no rule for, written in ONNX.

One row per op: a rule replaces the node in tf2onnx's graph, as its `custom_op_handlers` want it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

Rule = Callable[[Any, Any, str, Any], None]


def _erfc(graph: Any, node: Any, name: str, args: Any) -> None:
    """Complementary error function: 1 - erf(x) (gelu)."""
    result, x = _taken_out(graph, node)
    erf = graph.make_node("Erf", [x], name=f"{name}__1")
    one = _constant(graph, f"{name}__2", 1, graph.get_dtype(x))
    result("Sub", [one, erf.output[0]])


def _expm1(graph: Any, node: Any, name: str, args: Any) -> None:
    """exp(x) - 1 (celu)."""
    result, x = _taken_out(graph, node)
    exp = graph.make_node("Exp", [x], name=f"{name}__1")
    one = _constant(graph, f"{name}__2", 1, graph.get_dtype(x))
    result("Sub", [exp.output[0], one])


def _bucketize(graph: Any, node: Any, name: str, args: Any) -> None:
    """How many of the sorted boundaries are not above x (Discretization)."""
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)
    if graph.opset < 13:
        raise ValueError("Bucketize needs opset 13")
    result, x = _taken_out(graph, node)
    as_float = graph.make_node("Cast", [x], attr={"to": onnx.TensorProto.FLOAT}, name=f"{name}__1")
    last = graph.make_const(f"{name}__2", np.array([-1], np.int64)).output[0]
    column = graph.make_node("Unsqueeze", [as_float.output[0], last], name=f"{name}__3")
    limits = graph.make_const(f"{name}__4", boundaries).output[0]
    above = graph.make_node("GreaterOrEqual", [column.output[0], limits], name=f"{name}__5")
    counted = graph.make_node(
        "Cast", [above.output[0]], attr={"to": onnx.TensorProto.INT32}, name=f"{name}__6"
    )
    result("ReduceSum", [counted.output[0], last], keepdims=0)


def _taken_out(graph: Any, node: Any) -> tuple[Callable[..., None], str]:
    """Remove the node; what makes its replacement under the same name, and its first input."""
    x, outputs, name = node.input[0], list(node.output), node.name
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(name)

    def result(op_type: str, inputs: list[str], **attr: Any) -> None:
        graph.make_node(
            op_type, inputs, attr=attr, name=name, outputs=outputs, shapes=shapes, dtypes=dtypes
        )

    return result, x


def _constant(graph: Any, name: str, value: float, onnx_dtype: int) -> str:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx_dtype)
    output: str = graph.make_const(name, np.array(value, dtype)).output[0]
    return output


EXTRA_OPS: dict[str, tuple[Rule, list[Any]]] = {
    "Bucketize": (_bucketize, []),
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
}
