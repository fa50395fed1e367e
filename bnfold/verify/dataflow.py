"""What depends on the inputs' data in a model, and how coarsely each value is rounded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

# Unit roundoff: half the distance from 1 to the next number.
UNIT_ROUNDOFF: dict[ir.DataType, float] = {
    ir.DataType.BFLOAT16: 2.0**-8,
    ir.DataType.FLOAT16: 2.0**-11,
    ir.DataType.FLOAT: 2.0**-24,
    ir.DataType.DOUBLE: 2.0**-53,
}

# Ops whose outputs are elements of their inputs: they round nothing. Cast is among them, because
# integers that pass through floating point must come out as they were.
# fmt: off
EXACT_OPS = frozenset(
    {
        "Abs", "ArgMax", "ArgMin", "BatchToSpaceND", "Cast", "CastLike", "Ceil",
        "CenterCropPad", "Clip", "Col2Im", "Compress", "Concat", "ConcatFromSequence",
        "Constant", "ConstantOfShape", "DepthToSpace", "Dropout", "Expand", "EyeLike",
        "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "GlobalMaxPool",
        "Hardmax", "Identity", "Max", "MaxPool", "MaxRoiPool", "MaxUnpool", "Min", "Neg",
        "NonMaxSuppression", "NonZero", "OneHot", "Optional", "OptionalGetElement", "Pad",
        "QuantizeLinear", "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape",
        "ReverseSequence", "Round", "SequenceAt",
        "SequenceConstruct", "Shape", "Sign", "Size", "Slice", "SpaceToDepth", "Split",
        "SplitToSequence", "Squeeze", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu",
        "Unique", "Unsqueeze", "Where",
    }
)

# Ops that look at an input's shape and not at its data.
_SHAPE_OPS = frozenset({"Shape", "Size"})

# Inputs that steer an op: sizes, positions, thresholds. They are given exactly.
_STEERING: dict[str, int] = {
    "Resize": 1,
    "Upsample": 1,
    "Range": 0,
    "NonMaxSuppression": 2,
    "TopK": 1,
    "OneHot": 1,
    "Dropout": 1,
    "Pow": 1,
}


@dataclass(frozen=True)
class Rounding:
    """Where a run of the model in its own types rounds, and how coarsely.

    Attributes:
        constants: constant or precomputed operand -> unit roundoff of its type.
        values: computed value that the op rounds -> unit roundoff of its type.
        coarsest: the largest unit roundoff in the model.
    """

    constants: dict[str, float]
    values: dict[str, float]
    coarsest: float

    def no_coarser_than(self, coarsest: float) -> Rounding:
        """The same with every roundoff cut to `coarsest`.

        A model in coarser types than its reference is not excused by their rounding.
        """
        return Rounding(
            {name: min(u, coarsest) for name, u in self.constants.items()},
            {name: min(u, coarsest) for name, u in self.values.items()},
            min(self.coarsest, coarsest),
        )


def data_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes whose outputs depend on the data, not only the shapes, of the graph's inputs."""
    fed = {id(value) for value in graph.inputs if value.name not in graph.initializers}
    for node in graph:
        if node.op_type in _SHAPE_OPS:
            continue
        if any(id(value) in fed for value in _reads(node)):
            fed.update(id(value) for value in node.outputs)
            yield node


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of a node that are given, and those of everything in its bodies."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        graphs = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            for inner in graph.all_nodes():
                yield from (value for value in inner.inputs if value is not None)
            yield from graph.outputs


def rounding_of(model: ir.Model) -> Rounding:
    """Where and how coarsely `model` rounds, by its declared types.

    A value without a declared type gets the roundoff that most constants have.
    """
    default = _default_roundoff(model)
    nodes = list(data_nodes(model.graph))
    computed = {id(value) for node in nodes for value in node.outputs}
    computed |= {id(v) for v in model.graph.inputs if v.name not in model.graph.initializers}
    constants: dict[str, float] = {}
    values: dict[str, float] = {}
    steering = {
        id(value)
        for node in nodes
        for value in node.inputs[_STEERING.get(node.op_type, sys.maxsize) :]
    }
    for node in nodes:
        for value in _reads(node):
            if id(value) in computed or id(value) in steering or value.graph is not model.graph:
                continue
            if _floating(value):
                constants[value.name or ""] = _roundoff(value, default)
        if node.op_type not in EXACT_OPS or _narrows(node):
            for value in node.outputs:
                if _floating(value):
                    values[value.name or ""] = _result_roundoff(node, value, default)
    coarsest = max([*constants.values(), *values.values()], default=default)
    return Rounding(constants, values, coarsest)


def _narrows(node: ir.Node) -> bool:
    """True for a Cast to a coarser floating-point type."""
    if node.op_type not in ("Cast", "CastLike") or node.inputs[0] is None:
        return False
    before, after = node.inputs[0].dtype, node.outputs[0].dtype
    if after is None and "to" in node.attributes and not node.attributes["to"].is_ref():
        after = ir.DataType(node.attributes["to"].as_int())
    known = before in UNIT_ROUNDOFF and after in UNIT_ROUNDOFF
    return known and UNIT_ROUNDOFF[after] > UNIT_ROUNDOFF[before]  # type: ignore[index]


def _floating(value: ir.Value) -> bool:
    dtype = value.const_value.dtype if value.const_value is not None else value.dtype
    return dtype is None or dtype in UNIT_ROUNDOFF


def _roundoff(value: ir.Value, default: float) -> float:
    dtype = value.const_value.dtype if value.const_value is not None else value.dtype
    return default if dtype is None else UNIT_ROUNDOFF[dtype]


def _result_roundoff(node: ir.Node, value: ir.Value, default: float) -> float:
    """A Cast says its type itself."""
    if node.op_type == "Cast" and "to" in node.attributes and not node.attributes["to"].is_ref():
        return UNIT_ROUNDOFF.get(ir.DataType(node.attributes["to"].as_int()), default)
    return _roundoff(value, default)


def _default_roundoff(model: ir.Model) -> float:
    sizes: dict[float, int] = {}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in UNIT_ROUNDOFF:
            key = UNIT_ROUNDOFF[tensor.dtype]
            sizes[key] = sizes.get(key, 0) + tensor.size
    for value in model.graph.inputs:
        if value.dtype in UNIT_ROUNDOFF:
            sizes.setdefault(UNIT_ROUNDOFF[value.dtype], 0)
    return max(sizes, key=lambda key: sizes[key], default=UNIT_ROUNDOFF[ir.DataType.FLOAT])
