"""A model with every floating-point tensor, constant and type made float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from bnfold.core.errors import InputError

LIFTED = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

_RANDOM = frozenset(
    {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    }
)

# Attributes that name an element type: op -> (attribute, the type where it is left out).
# None: left out, the type follows an input and needs no change.
_TYPE_ATTRIBUTES: dict[str, tuple[str, ir.DataType | None]] = {
    "Cast": ("to", None),
    "EyeLike": ("dtype", None),
    "SequenceEmpty": ("dtype", ir.DataType.FLOAT),
    "HannWindow": ("output_datatype", ir.DataType.FLOAT),
    "HammingWindow": ("output_datatype", ir.DataType.FLOAT),
    "BlackmanWindow": ("output_datatype", ir.DataType.FLOAT),
    "MelWeightMatrix": ("output_datatype", ir.DataType.FLOAT),
    "DequantizeLinear": ("output_dtype", None),
    "QuantizeLinear": ("precision", None),
    "GroupNormalization": ("stash_type", ir.DataType.FLOAT),
    "RMSNormalization": ("stash_type", ir.DataType.FLOAT),
    "Attention": ("softmax_precision", None),
}


class NotLiftableError(InputError):
    """The model has no float64 counterpart; the text names the op and the reason."""


def lift_to_float64(model: ir.Model) -> ir.Model:
    """A deep copy of `model` in float64, names unchanged, subgraphs and functions included.

    float16, bfloat16 and float32 become float64: initializers (converted when they are read, so
    the copy costs no memory), Constant nodes, Cast targets and other type attributes, and the
    declared types of values. Integers, booleans, strings and float8/float4 stay.

    Raises:
        NotLiftableError: if an op draws random numbers.
    """
    random = random_op(model)
    if random:
        raise NotLiftableError(f"{random}, so no two runs can be compared.")
    lifted = model.clone()
    graphs: list[ir.Graph | ir.Function] = [lifted.graph, *lifted.functions.values()]
    for graph in graphs:
        for value in (*graph.inputs, *graph.outputs):
            _lift_value(value)
        for node in graph.all_nodes():
            _lift_node(node)
        nested = [graph] if isinstance(graph, ir.Graph) else []
        for inner in (*nested, *graph.subgraphs()):
            for value in (*inner.inputs, *inner.outputs, *inner.initializers.values()):
                _lift_value(value)
    return lifted


def random_op(model: ir.Model) -> str:
    """Why two runs of the model differ: the op that draws random numbers; "" if none does."""
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            if node.domain in ("", "ai.onnx") and node.op_type in _RANDOM:
                label = node.name or node.outputs[0].name
                return f"{node.op_type} '{label}' draws random numbers"
    return ""


def _lift_value(value: ir.Value) -> None:
    value.type = _lift_type(value.type)
    if value.const_value is not None:
        value.const_value = _lift_tensor(value.const_value)


def _lift_type(type_: ir.TypeProtocol | None) -> ir.TypeProtocol | None:
    if isinstance(type_, ir.TensorType | ir.SparseTensorType):
        if type_.dtype not in LIFTED:
            return type_
        return type(type_)(ir.DataType.DOUBLE, denotation=type_.denotation)
    if isinstance(type_, ir.SequenceType | ir.OptionalType):
        inner = _lift_type(type_.elem_type)
        if inner is None or inner is type_.elem_type:
            return type_
        return type(type_)(inner, denotation=type_.denotation)
    return type_


def _lift_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if tensor.dtype not in LIFTED:
        return tensor
    return ir.LazyTensor(
        _converter(tensor),
        dtype=ir.DataType.DOUBLE,
        shape=ir.Shape([int(d) for d in tensor.shape.numpy()]),
        name=tensor.name,
        doc_string=tensor.doc_string,
    )


def _converter(tensor: ir.TensorProtocol) -> Callable[[], ir.TensorProtocol]:
    def convert() -> ir.TensorProtocol:
        return ir.Tensor(tensor.numpy().astype(np.float64), name=tensor.name)

    return convert


def _lift_node(node: ir.Node) -> None:
    for output in node.outputs:
        _lift_value(output)
    for attribute in list(_lifted_attributes(node)):
        node.attributes[attribute.name] = attribute
    if node.op_type == "Constant":
        _lift_constant(node)


def _lifted_attributes(node: ir.Node) -> Iterator[ir.Attr]:
    name, default = _TYPE_ATTRIBUTES.get(node.op_type, ("", None))
    double = int(ir.DataType.DOUBLE)
    for key, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if key == name and ir.DataType(attribute.as_int()) in LIFTED:
            yield ir.AttrInt64(key, double)
        elif attribute.type == ir.AttributeType.TENSOR:
            yield ir.AttrTensor(key, _lift_tensor(attribute.as_tensor()))
        elif attribute.type == ir.AttributeType.TENSORS:
            yield ir.AttrTensors(key, [_lift_tensor(t) for t in attribute.as_tensors()])
    if default is not None and name not in node.attributes:
        yield ir.AttrInt64(name, double)
    if node.op_type == "ConstantOfShape" and "value" not in node.attributes:
        yield ir.AttrTensor("value", ir.Tensor(np.zeros(1)))


def _lift_constant(node: ir.Node) -> None:
    """value_float and value_floats are float32 by definition; a tensor can say float64."""
    for key in ("value_float", "value_floats"):
        attribute = node.attributes.get(key)
        if attribute is None or attribute.is_ref():
            continue
        data = attribute.as_float() if key == "value_float" else attribute.as_floats()
        del node.attributes[key]
        exact = np.array(np.array(data, dtype=np.float32), dtype=np.float64)
        node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(exact))
