"""Damage to ONNX models that parses: wrong types, cycles, absurd sizes, hostile locations."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from fuzzing.bytewise import damaged
from fuzzing.case import SECRET, Case
from fuzzing.onnx_seeds import SEEDS

HUGE = (-(2**63), -(2**31), -7, -2, -1, 0, 1, 2, 3, 255, 2**20, 2**31, 2**40, 2**62, 2**63 - 1)
LOCATIONS = (
    "../outside/secret",
    "sub/../../outside/secret",
    "..\\outside\\secret",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "//server/share",
    "link",
    "linked/secret",
    "hard",
    "missing.bin",
    "m.onnx",
    "",
    ".",
    "a\0b",
    "*/_ORT_MEM_ADDR_/*",
    "x" * 4000,
    "weights.bin",
)
OPS = (
    "Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "Add", "Mul", "Div", "Sub",
    "Relu", "Reshape", "Transpose", "Flatten", "Concat", "Split", "Slice", "Gather", "Squeeze",
    "Unsqueeze", "Expand", "Tile", "Pad", "Resize", "Softmax", "MaxPool", "AveragePool",
    "GlobalAveragePool", "ReduceMean", "LSTM", "GRU", "RNN", "Einsum", "If", "Loop", "Scan",
    "Constant", "Shape", "ConstantOfShape", "Range", "OneHot", "Cast", "Identity", "Dropout",
    "DequantizeLinear", "QuantizeLinear", "Clip", "PRelu", "InstanceNormalization",
    "LayerNormalization", "GridSample", "TopK", "NonZero", "Where", "SpaceToDepth",
)  # fmt: skip
ATTRIBUTES = (
    "axis", "axes", "group", "pads", "strides", "dilations", "auto_pad", "perm", "to", "epsilon",
    "training_mode", "spatial", "transA", "equation", "keepdims", "mode", "layout",
)  # fmt: skip


def _graphs(model: ModelProto) -> list[onnx.GraphProto]:
    found = [model.graph]
    for graph in found:
        for node in graph.node:
            found.extend(a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return found


def _graph(model: ModelProto, rng: random.Random) -> onnx.GraphProto:
    return rng.choice(_graphs(model))


def _tensor(model: ModelProto, rng: random.Random) -> TensorProto | None:
    tensors = [tensor for graph in _graphs(model) for tensor in graph.initializer]
    for graph in _graphs(model):
        tensors += [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    return rng.choice(tensors) if tensors else None


def _names(graph: onnx.GraphProto) -> list[str]:
    made = [name for node in graph.node for name in node.output]
    return [*made, *(i.name for i in graph.input), *(t.name for t in graph.initializer), "", "?"]


def absurd_dims(model: ModelProto, rng: random.Random) -> None:
    """A weight declares another size than it has."""
    tensor = _tensor(model, rng)
    if tensor is not None and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(HUGE)


def absurd_shape(model: ModelProto, rng: random.Random) -> None:
    """An input or output declares an absurd size or rank."""
    graph = _graph(model, rng)
    values = [*graph.input, *graph.output]
    if values:
        shape = rng.choice(values).type.tensor_type.shape
        if shape.dim and rng.random() < 0.7:
            rng.choice(shape.dim).dim_value = rng.choice(HUGE)
        else:
            for _ in range(rng.choice((1, 5, 200))):
                shape.dim.add(dim_value=rng.choice(HUGE))


def huge_constant(model: ModelProto, rng: random.Random) -> None:
    """A shape, a repeat count, a range... asks for more than any memory has."""
    whole = [t for g in _graphs(model) for t in g.initializer if t.data_type == TensorProto.INT64]
    if whole:
        tensor = rng.choice(whole)
        array = np.array(nh.to_array(tensor))
        array.reshape(-1)[rng.randrange(max(array.size, 1)) :] = rng.choice(HUGE)
        tensor.CopyFrom(nh.from_array(array, tensor.name))


def odd_floats(model: ModelProto, rng: random.Random) -> None:
    """NaN, infinities and extremes among the weights."""
    tensor = _tensor(model, rng)
    if tensor is not None and tensor.data_type == TensorProto.FLOAT and tensor.raw_data:
        array = np.array(nh.to_array(tensor)).reshape(-1)
        number = rng.choice((np.nan, np.inf, -np.inf, 3e38, -1e30, 1e-45, 0.0))
        array[rng.randrange(array.size)] = number
        tensor.raw_data = array.tobytes()


def other_type(model: ModelProto, rng: random.Random) -> None:
    """A tensor or an input is of another element type."""
    tensor = _tensor(model, rng)
    kind = rng.choice((0, 1, 6, 7, 8, 9, 10, 11, 14, 16, 17, 22, 23, 24, 77, -1))
    if tensor is not None and rng.random() < 0.6:
        tensor.data_type = kind
    elif model.graph.input:
        rng.choice(model.graph.input).type.tensor_type.elem_type = kind


def other_data(model: ModelProto, rng: random.Random) -> None:
    """A weight holds less or more than it declares, or in another field."""
    tensor = _tensor(model, rng)
    if tensor is None:
        return
    what = rng.randrange(4)
    if what == 0:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif what == 1:
        tensor.raw_data = tensor.raw_data * 3
    elif what == 2:
        tensor.ClearField("raw_data")
        tensor.int32_data.extend([rng.choice((0, 2**31 - 1)) for _ in range(rng.randrange(40))])
    else:
        tensor.float_data.extend([1.0] * rng.randrange(1, 9))


def rewire(model: ModelProto, rng: random.Random) -> None:
    """A node reads another value: cycles, type errors, undefined names."""
    graph = _graph(model, rng)
    for _ in range(rng.choice((1, 2, 5))):
        if graph.node:
            node = rng.choice(graph.node)
            if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(_names(graph))


def rename(model: ModelProto, rng: random.Random) -> None:
    """Something takes the name of something else."""
    graph = _graph(model, rng)
    things = [*graph.initializer, *graph.input, *graph.output]
    name = rng.choice([*_names(graph), "a\nb", "\x1b[31m", "../../x", "x" * 5000, "\u202e"])
    if things and rng.random() < 0.5:
        rng.choice(things).name = name
    elif graph.node:
        node = rng.choice(graph.node)
        if rng.random() < 0.5 or not node.output:
            node.name = name
        else:
            node.output[rng.randrange(len(node.output))] = name


def other_inputs(model: ModelProto, rng: random.Random) -> None:
    """A node has too few, too many or empty inputs."""
    graph = _graph(model, rng)
    if graph.node:
        node = rng.choice(graph.node)
        if node.input and rng.random() < 0.5:
            del node.input[rng.randrange(len(node.input))]
        else:
            extra = rng.choice(("", rng.choice(_names(graph))))
            node.input.extend([extra] * rng.choice((1, 30)))


def other_op(model: ModelProto, rng: random.Random) -> None:
    """A node is of another op, with the attributes of the old."""
    graph = _graph(model, rng)
    if graph.node:
        node = rng.choice(graph.node)
        node.op_type = rng.choice([*OPS, "", "NoSuchOp", "Own\n"])
        if rng.random() < 0.1:
            node.domain = rng.choice(("own", "ai.onnx.ml", "com.microsoft"))


def other_attribute(model: ModelProto, rng: random.Random) -> None:
    """An attribute is absurd, of another type, doubled or gone."""
    graph = _graph(model, rng)
    nodes = [node for node in graph.node if node.attribute]
    if not nodes:
        return
    node = rng.choice(nodes)
    attribute = rng.choice(node.attribute)
    absurd = rng.choice(HUGE)
    what = rng.randrange(6)
    if what == 0:
        attribute.i = absurd
    elif what == 1 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = absurd
    elif what == 2:
        attribute.ints.extend([absurd] * rng.choice((1, 50)))
    elif what == 3:
        attribute.type = rng.randrange(16)
    elif what == 4:
        node.attribute.append(attribute)
    else:
        node.attribute.remove(attribute)


def new_attribute(model: ModelProto, rng: random.Random) -> None:
    """An attribute that ops of the table look at."""
    graph = _graph(model, rng)
    if graph.node:
        name = rng.choice(ATTRIBUTES)
        content = rng.choice(
            (
                rng.choice(HUGE),
                [rng.choice(HUGE) for _ in range(rng.choice((1, 2, 4, 100)))],
                float("nan"),
                "SAME_UPPER",
                "...ij,jk->" + "z" * rng.choice((1, 60)),
            )
        )
        rng.choice(graph.node).attribute.append(oh.make_attribute(name, content))


def other_version(model: ModelProto, rng: random.Random) -> None:
    """Another opset or IR version, or none."""
    if rng.random() < 0.3:
        model.ir_version = rng.choice((0, 1, 3, 4, 9, 14, 15, 2**40))
    elif rng.random() < 0.8 and model.opset_import:
        model.opset_import[0].version = rng.choice((-1, 0, *range(1, 30), 2**40))
    else:
        del model.opset_import[:]


def duplicate(model: ModelProto, rng: random.Random) -> None:
    """A node, weight, output or function occurs twice or a thousand times."""
    graph = _graph(model, rng)
    kind = rng.choice((graph.node, graph.initializer, graph.output, graph.input, model.functions))
    if kind:
        part = rng.choice(kind)
        kind.extend([part] * rng.choice((1, 1, 1000)))


def remove(model: ModelProto, rng: random.Random) -> None:
    """A node, weight, input or output is gone."""
    graph = _graph(model, rng)
    kind = rng.choice((graph.node, graph.initializer, graph.output, graph.input, model.functions))
    if kind:
        del kind[rng.randrange(len(kind))]


def reorder(model: ModelProto, rng: random.Random) -> None:
    """The nodes stand in another order."""
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def nest(model: ModelProto, rng: random.Random) -> None:
    """Ifs in Ifs in Ifs, up to and beyond what protobuf takes."""
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    for level in range(rng.choice((1, 4, 20, 29, 33))):
        outer = onnx.GraphProto(name=f"level{level}")
        outer.output.extend(inner.output)
        node = outer.node.add(op_type="If", input=["c"], output=[o.name for o in inner.output])
        attribute = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        attribute.g.CopyFrom(inner)
        inner = outer
    inner.input.extend(model.graph.input)
    inner.initializer.append(nh.from_array(np.array(True), "c"))
    model.graph.CopyFrom(inner)


def recursive_function(model: ModelProto, rng: random.Random) -> None:
    """A function that calls itself, or doubles with each call of the next."""
    model.opset_import.append(oh.make_opsetid("loop", 1))
    imports = [oh.make_opsetid("", 17), oh.make_opsetid("loop", 1)]
    depth = rng.choice((1, 2, 30))
    closing = rng.random() < 0.5
    for index in range(depth):
        callee = f"F{(index + 1) % depth}" if closing or index + 1 < depth else "Own"
        body = [
            oh.make_node(callee, ["a"], ["h"], domain="loop"),
            oh.make_node(callee, ["h"], ["b"], domain="loop"),
        ]
        model.functions.append(oh.make_function("loop", f"F{index}", ["a"], ["b"], body, imports))
    if model.graph.node:
        node = rng.choice(model.graph.node)
        if len(node.output) == 1:
            node.op_type, node.domain = "F0", "loop"
            del node.input[1:]
            del node.attribute[:]


def control_loop(model: ModelProto, rng: random.Random) -> None:
    """A Loop of constants that would run for ages were it evaluated."""
    body = oh.make_graph(
        [oh.make_node("Identity", ["go"], ["on"]), oh.make_node("Identity", ["s"], ["t"])],
        "body",
        [
            oh.make_tensor_value_info("i", TensorProto.INT64, []),
            oh.make_tensor_value_info("go", TensorProto.BOOL, []),
            oh.make_tensor_value_info("s", TensorProto.FLOAT, []),
        ],
        [
            oh.make_tensor_value_info("on", TensorProto.BOOL, []),
            oh.make_tensor_value_info("t", TensorProto.FLOAT, []),
        ],
    )
    model.graph.initializer.extend(
        [
            nh.from_array(np.array(rng.choice(HUGE), np.int64), "trips"),
            nh.from_array(np.array(True), "forever"),
            nh.from_array(np.array(1, np.float32), "start"),
        ]
    )
    loop = oh.make_node("Loop", ["trips", "forever", "start"], ["spun"], body=body)
    model.graph.node.insert(0, loop)
    multiply = [
        node for node in model.graph.node if node.op_type in ("Mul", "Add") and len(node.input) > 1
    ]
    if multiply:
        multiply[0].input[1] = "spun"


DAMAGES: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    absurd_dims,
    absurd_shape,
    huge_constant,
    odd_floats,
    other_type,
    other_data,
    rewire,
    rename,
    other_inputs,
    other_op,
    other_attribute,
    new_attribute,
    other_version,
    duplicate,
    remove,
    reorder,
    nest,
    recursive_function,
    control_loop,
)


def structural(rng: random.Random) -> Case:
    """A model with one to three structural damages."""
    seed = rng.choice(SEEDS)
    model = seed()
    names = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        damage = rng.choice(DAMAGES)
        names.append(damage.__name__)
        try:
            damage(model, rng)
        except (TypeError, ValueError, DecodeError):
            names.append("(undone)")  # protobuf itself does not take it
    return Case(f"onnx {seed.__name__}: {'+'.join(names)}", "m.onnx", _serialized(model))


def _serialized(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString())


def broken_bytes(rng: random.Random) -> Case:
    """A model whose bytes are damaged."""
    seed = rng.choice(SEEDS)
    label, data = damaged(_serialized(seed()), rng)
    return Case(f"onnx {seed.__name__}: {label}", "m.onnx", data)


def external(rng: random.Random) -> Case:
    """A model with external data in hostile places, or with hostile ranges."""
    seed = rng.choice(SEEDS)
    model = seed()
    data = b""
    location = rng.choice(LOCATIONS)
    for tensor in model.graph.initializer:
        if not tensor.raw_data:
            continue
        offset, length = str(len(data)), str(len(tensor.raw_data))
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        absurd = str(rng.choice(HUGE)) if rng.random() < 0.1 else ""
        tensor.external_data.add(key="offset", value=absurd or offset)
        if rng.random() < 0.8:
            tensor.external_data.add(key="length", value=length)
    if rng.random() < 0.2:
        data = data[: rng.randrange(len(data))]
    return Case(
        f"onnx {seed.__name__}: external data in {location[:40]!r}",
        "m.onnx",
        _serialized(model),
        beside={"weights.bin": data + bytes(max(0, len(SECRET) - len(data))), "sub/x": b""},
        links={"link": "{outside}/secret", "linked": "{outside}"},
        hard_links={"hard": "{outside}/secret"},
    )
