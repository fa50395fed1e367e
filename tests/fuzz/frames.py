"""The same graph elsewhere: in a branch, a loop or a function, or with constants of the caller."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper

from .builder import Chooser

Frame = Callable[[ModelProto], ModelProto]


def framed(model: ModelProto, chooser: Chooser) -> ModelProto:
    """``model``, as it is or in a random frame."""
    kind = chooser.integer(0, 7)
    frame = FRAMES[kind] if kind < len(FRAMES) else None
    if frame is None or (frame is in_loop and model.opset_import[0].version < 11):
        return model  # before, a Loop had to carry a value
    return frame(model)


def _renamed(graph: GraphProto, suffix: str, kept: set[str]) -> list[onnx.NodeProto]:
    """The nodes, with a suffix on every name that is not kept."""
    nodes = []
    for node in graph.node:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        for names in (new.input, new.output):
            names[:] = [n if not n or n in kept else n + suffix for n in names]
        new.name = node.name + suffix if node.name else ""
        nodes.append(new)
    return nodes


def _outer(model: ModelProto) -> set[str]:
    return {"x", *(t.name for t in model.graph.initializer)}


def _body_outputs(model: ModelProto, suffix: str) -> list[onnx.ValueInfoProto]:
    found = []
    for value in model.graph.output:
        new = onnx.ValueInfoProto()
        new.CopyFrom(value)
        new.name += suffix
        found.append(new)
    return found


def _with_nodes(model: ModelProto, nodes: list[onnx.NodeProto]) -> ModelProto:
    new = ModelProto()
    new.CopyFrom(model)
    del new.graph.node[:]
    new.graph.node.extend(nodes)
    return new


def _always(name: str) -> onnx.NodeProto:
    """A truth that is computed from the data, so that no one takes the branch for constant."""
    return helper.make_node("Not", ["never"], [name])


def _truth() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", ["x"], ["x_shape"]),
        helper.make_node("ReduceSum", ["x_shape"], ["x_total"], keepdims=0),
        helper.make_node("Cast", ["x_total"], ["never_not"], to=TensorProto.BOOL),
        helper.make_node("Not", ["never_not"], ["never"]),
        _always("always"),
    ]


def in_branch(model: ModelProto) -> ModelProto:
    """Both branches of an If compute it, with the weights outside."""
    kept = _outer(model)
    bodies = [
        helper.make_graph(
            _renamed(model.graph, suffix, kept), f"body{suffix}", [], _body_outputs(model, suffix)
        )
        for suffix in ("_then", "_else")
    ]
    names = [value.name for value in model.graph.output]
    node = helper.make_node(
        "If", ["always"], names, then_branch=bodies[0], else_branch=bodies[1], name="branch"
    )
    return _with_nodes(model, [*_truth(), node])


def in_loop(model: ModelProto) -> ModelProto:
    """The body of a Loop that runs once; its results are stacked."""
    kept = _outer(model)
    body = helper.make_graph(
        [
            *_renamed(model.graph, "_body", kept),
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            *_body_outputs(model, "_body"),
        ],
    )
    once = helper.make_tensor("turns", TensorProto.INT64, [], [1])
    names = [value.name for value in model.graph.output]
    node = helper.make_node("Loop", ["turns", ""], names, body=body, name="loop")
    new = _with_nodes(model, [node])
    new.graph.initializer.append(once)
    for value in new.graph.output:
        dims = list(value.type.tensor_type.shape.dim)
        del value.type.tensor_type.shape.dim[:]
        value.type.tensor_type.shape.dim.add().dim_value = 1
        value.type.tensor_type.shape.dim.extend(dims)
    return new


def in_function(model: ModelProto) -> ModelProto:
    """A local function with its weights as Constant nodes."""
    constants = [
        helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer
    ]
    names = [value.name for value in model.graph.output]
    function = helper.make_function(
        "local", "block", ["x"], names, [*constants, *model.graph.node], list(model.opset_import)
    )
    new = _with_nodes(model, [helper.make_node("block", ["x"], names, domain="local", name="call")])
    del new.graph.initializer[:]
    new.functions.append(function)
    new.opset_import.append(helper.make_opsetid("local", 1))
    return new


def overridable(model: ModelProto) -> ModelProto:
    """Every other initializer is an input too: a caller may give another value."""
    return _listed(model, 2)


def old_file(model: ModelProto) -> ModelProto:
    """IR 3: all initializers are listed among the inputs, and constant all the same."""
    new = _listed(model, 1)
    new.ir_version = 3
    return new


def _listed(model: ModelProto, step: int) -> ModelProto:
    new = ModelProto()
    new.CopyFrom(model)
    for tensor in model.graph.initializer[::step]:
        new.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return new


FRAMES: tuple[Frame, ...] = (in_branch, in_loop, in_function, overridable, old_file)
