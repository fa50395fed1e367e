"""Shapes and types within local functions, from all the places where they are called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from bnfold.core.moves import Shape

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)
Identifier = tuple[str, str, str]


@dataclass(frozen=True)
class Known:
    """What is known of an argument: its type, and its shape where all calls agree on the rank."""

    dtype: ir.DataType | None
    shape: Shape | None

    def meet(self, other: Known) -> Known:
        """What holds of both."""
        a, b = self.shape, other.shape
        shape: Shape | None = None
        if a is not None and b is not None and len(a) == len(b):
            shape = tuple(d if d == e else None for d, e in zip(a, b, strict=True))
        return Known(self.dtype if self.dtype == other.dtype else None, shape)


def infer_functions(model: ir.Model, fill: Callable[[ir.Function, onnx.GraphProto], None]) -> None:
    """Give every value within the functions of ``model`` the shape that all calls agree on.

    Args:
        model: shapes of its main graph are known already. It is changed in place.
        fill: takes inferred shapes over into a function.
    """
    waiting = dict(model.functions)
    while waiting:
        called = {key for f in waiting.values() for key in _calls(f.all_nodes(), waiting)}
        ready = [key for key in waiting if key not in called]
        if not ready:
            return  # functions that call each other: invalid, and left alone
        for key in ready:
            function = waiting.pop(key)
            if _set_inputs(model, key, function):
                _infer(model, function, fill)


def _calls(
    nodes: Iterable[ir.Node], functions: dict[Identifier, ir.Function]
) -> Iterable[Identifier]:
    return (node.op_identifier() for node in nodes if node.op_identifier() in functions)


def _set_inputs(model: ir.Model, key: Identifier, function: ir.Function) -> bool:
    """Give the inputs what is known of the arguments; whether anything is."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    calls = [n for g in graphs for n in g.all_nodes() if n.op_identifier() == key]
    known = False
    for index, value in enumerate(function.inputs):
        found = [_argument(call, index) for call in calls]
        if not found:
            continue
        common = found[0]
        for other in found[1:]:
            common = common.meet(other)
        if common.dtype is not None:
            value.type = ir.TensorType(common.dtype)
            value.shape = None if common.shape is None else ir.Shape(common.shape)
            known = True
    return known


def _argument(call: ir.Node, index: int) -> Known:
    value = call.inputs[index] if index < len(call.inputs) else None
    if value is None:
        return Known(None, None)
    shape = value.shape
    tensor = value.const_value
    if shape is None and tensor is not None:
        return Known(tensor.dtype, tuple(int(dim) for dim in tensor.shape.numpy()))
    dims = None if shape is None else tuple(d if isinstance(d, int) else d.value for d in shape)
    return Known(value.dtype, dims)


def _infer(
    model: ir.Model, function: ir.Function, fill: Callable[[ir.Function, onnx.GraphProto], None]
) -> None:
    import onnx

    proto = ir.to_proto(function)
    for node in proto.node:
        if any(attribute.ref_attr_name for attribute in node.attribute):
            node.op_type, node.domain = "Unknown", "bnfold"  # it depends on the caller
    graph = onnx.helper.make_graph(
        proto.node,
        "function",
        [ir.to_proto(value) for value in function.inputs if value.type is not None],
        [onnx.ValueInfoProto(name=name) for name in proto.output],
    )
    imports = [
        *(
            onnx.helper.make_opsetid(name, number)
            for name, number in function.opset_imports.items()
        ),
        onnx.helper.make_opsetid("bnfold", 1),
    ]
    others = [ir.to_proto(other) for other in model.functions.values() if other is not function]
    body = onnx.helper.make_model(
        graph, opset_imports=imports, functions=others, ir_version=model.ir_version or 8
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(body, data_prop=True)
    except Exception as error:  # the inference library raises whatever it likes on odd models
        logger.info("shape inference of function %s failed: %s", function.name, error)
        return
    fill(function, inferred.graph)
