"""Ops on constants alone, computed ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.constants import Const, of_array, of_tensor
from bnfold.verify.proof.rounding import EXACT, GRAINS, Grain, coarser
from bnfold.verify.proof.vocabulary import RANDOM

#: Largest constant (elements) that is computed from others here; larger ones are opaque.
MAX_ELEMENTS = 50_000_000
#: Largest constant handed to the reference evaluator, which is slow.
MAX_REFERENCE_ELEMENTS = 2_000_000

Inputs = Sequence[Const | None]
ConstLaw = Callable[[ir.Node, Inputs], Const]


class _UnknownError(Exception):
    """The simple laws here do not cover this use of the op."""


def evaluate(node: ir.Node, version: int, inputs: Inputs) -> list[Const] | None:
    """The outputs of an op whose inputs are all constant; None if that is not known here."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Constant":
        return _constant_node(node)
    known = [c for c in inputs if c is not None]
    law = _LAWS.get(node.op_type)
    if law is not None:
        try:
            with np.errstate(all="ignore"):
                return [law(node, inputs)]
        except (_UnknownError, ValueError, IndexError, TypeError, KeyError):
            pass
    if (
        node.op_type in RANDOM
        or sum(c.value.size for c in known) > MAX_REFERENCE_ELEMENTS
        or any(isinstance(attr.value, ir.Graph) for attr in node.attributes.values())
    ):
        return None
    return _by_reference(node, version, inputs)


def _constant_node(node: ir.Node) -> list[Const] | None:
    for name, attr in node.attributes.items():
        if name == "value":
            return [of_tensor(attr.as_tensor())]
        if name in ("value_float", "value_floats"):
            return [of_array(np.array(attr.value, np.float32), ir.DataType.FLOAT)]
        if name in ("value_int", "value_ints"):
            return [of_array(np.array(attr.value, np.int64), ir.DataType.INT64)]
        if name in ("value_string", "value_strings"):
            return [of_array(np.array(attr.value, object), ir.DataType.STRING)]
    return None


def _operand(inputs: Inputs, index: int = 0) -> Const:
    const = inputs[index] if index < len(inputs) else None
    if const is None or const.value.size > MAX_ELEMENTS:
        raise _UnknownError
    return const


def _like(source: Const, value: NDArray[Any]) -> Const:
    return Const(np.asarray(value, source.value.dtype), source.dtype, source.grain)


def _coarsest(consts: Sequence[Const]) -> Grain:
    grain = EXACT
    for const in consts:
        grain = coarser(grain, const.grain)
    return grain


def _int_attr(node: ir.Node, name: str, default: int) -> int:
    attr = node.attributes.get(name)
    return default if attr is None else int(attr.as_int())


def _axes(node: ir.Node, inputs: Inputs) -> tuple[int, ...] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return inputs[1].ints()
    attr = node.attributes.get("axes")
    return tuple(attr.as_ints()) if attr is not None else None


def _affordable(shape: Sequence[int]) -> tuple[int, ...]:
    if int(np.prod(shape, dtype=np.float64)) > MAX_ELEMENTS:
        raise _UnknownError
    return tuple(shape)


def _identity(node: ir.Node, inputs: Inputs) -> Const:
    return _operand(inputs)


def _reshape(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    target = list(_operand(inputs, 1).ints())
    if _int_attr(node, "allowzero", 0) == 0:
        target = [data.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return _like(data, data.value.reshape(target))


def _transpose(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    attr = node.attributes.get("perm")
    return _like(data, data.value.transpose(attr.as_ints() if attr is not None else None))


def _squeeze(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    return _like(data, np.squeeze(data.value, _axes(node, inputs)))


def _unsqueeze(node: ir.Node, inputs: Inputs) -> Const:
    data, axes = _operand(inputs), _axes(node, inputs)
    if axes is None:
        raise _UnknownError
    return _like(data, np.expand_dims(data.value, axes))


def _concat(node: ir.Node, inputs: Inputs) -> Const:
    pieces = [_operand([piece]) for piece in inputs]
    value = np.concatenate([p.value for p in pieces], _int_attr(node, "axis", 0))
    return Const(value, pieces[0].dtype, _coarsest(pieces))


def _gather(node: ir.Node, inputs: Inputs) -> Const:
    data, indices = _operand(inputs), _operand(inputs, 1)
    return _like(data, np.take(data.value, indices.value, _int_attr(node, "axis", 0)))


def _slice(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    starts, ends = _operand(inputs, 1).ints(), _operand(inputs, 2).ints()
    given = inputs[3] if len(inputs) > 3 else None
    axes = given.ints() if given is not None else tuple(range(len(starts)))
    strides = inputs[4] if len(inputs) > 4 else None
    steps = strides.ints() if strides is not None else (1,) * len(starts)
    if min(steps, default=1) < 1:
        raise _UnknownError
    cut = [slice(None)] * data.value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return _like(data, data.value[tuple(cut)])


def _expand(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    shape = _affordable(np.broadcast_shapes(data.shape, _operand(inputs, 1).ints()))
    return _like(data, np.broadcast_to(data.value, shape))


def _constant_of_shape(node: ir.Node, inputs: Inputs) -> Const:
    shape = _affordable(_operand(inputs).ints())
    attr = node.attributes.get("value")
    if attr is None:
        return of_array(np.zeros(shape, np.float32), ir.DataType.FLOAT)
    filler = of_tensor(attr.as_tensor())
    return _like(filler, np.broadcast_to(filler.value.reshape(-1)[0], shape))


_INTEGERS = frozenset(
    ir.DataType[name]
    for name in (
        *("BOOL", "INT8", "INT16", "INT32", "INT64"),
        *("UINT8", "UINT16", "UINT32", "UINT64"),
    )
)


def _cast(node: ir.Node, inputs: Inputs) -> Const:
    data = _operand(inputs)
    target = ir.DataType(node.attributes["to"].as_int())
    if not {target, data.dtype} <= {*GRAINS, *_INTEGERS}:
        raise _UnknownError
    grain = coarser(GRAINS.get(target, EXACT), data.grain)
    if target in GRAINS and data.exact:
        return Const(data.value, target, grain)
    return Const(data.value.astype(target.numpy()), target, grain)


def _dequantize(node: ir.Node, inputs: Inputs) -> Const:
    """The real number that it stands for: the run-time product is not rounded here."""
    data, scale = _operand(inputs), _operand(inputs, 1)
    if _int_attr(node, "block_size", 0) or scale.value.ndim > 1:
        raise _UnknownError
    given = inputs[2] if len(inputs) > 2 else None
    zero = given.real if given is not None else np.zeros(1)
    shape = [1] * data.value.ndim
    if scale.value.size > 1:
        shape[_int_attr(node, "axis", 1)] = scale.value.size
    zero = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
    factor = scale.real.reshape(shape) if scale.value.size > 1 else scale.real.reshape(())
    return Const((data.real - zero) * factor, scale.dtype, scale.grain)


def _shape(node: ir.Node, inputs: Inputs) -> Const:
    dims = _operand(inputs).shape
    cut = slice(_int_attr(node, "start", 0), _int_attr(node, "end", len(dims)))
    return of_array(np.array(dims[cut], np.int64), ir.DataType.INT64)


def _elementwise(compute: Callable[..., NDArray[Any]]) -> ConstLaw:
    """Floats as the real numbers that they stand for, not rounded at every op."""

    def law(node: ir.Node, inputs: Inputs) -> Const:
        operands = [_operand([operand]) for operand in inputs]
        _affordable(np.broadcast_shapes(*(operand.shape for operand in operands)))
        if all(operand.floating for operand in operands):
            value = np.asarray(compute(*(operand.real for operand in operands)))
        else:
            kind = operands[0].value.dtype
            value = np.asarray(compute(*(operand.value for operand in operands)), kind)
        return Const(value, operands[0].dtype, _coarsest(operands))

    return law


def _divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    if np.issubdtype(a.dtype, np.integer):
        return np.asarray(np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b))
    return np.asarray(a / b)


def _reciprocal(a: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(a.dtype.type(1) / a)


_LAWS: dict[str, ConstLaw] = {
    "Identity": _identity,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Cast": _cast,
    "DequantizeLinear": _dequantize,
    "Shape": _shape,
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Neg": _elementwise(np.negative),
    "Sqrt": _elementwise(np.sqrt),
    "Abs": _elementwise(np.abs),
    "Reciprocal": _elementwise(_reciprocal),
}


def _by_reference(node: ir.Node, version: int, inputs: Inputs) -> list[Const] | None:
    """The reference evaluator's answer, for small constants."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    outputs = [value.name or "" for value in node.outputs]
    names = [f"i{i}" if c is not None else "" for i, c in enumerate(inputs)]
    feeds = {n: c.typed for n, c in zip(names, inputs, strict=True) if c is not None}
    if not any(outputs):
        return None
    helper = onnx.helper
    try:
        proto = ir.to_proto(node)
        del proto.input[:]
        proto.input.extend(names)
        graph = helper.make_graph(
            [proto],
            "constant",
            [
                helper.make_tensor_value_info(name, int(c.dtype or 0), None)
                for name, c in zip(names, inputs, strict=True)
                if c is not None
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs if name],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        results = dict(
            zip(filter(None, outputs), ReferenceEvaluator(model).run(None, feeds), strict=True)
        )
    except Exception:  # the evaluator raises anything on ops that it cannot run
        return None
    grain = _coarsest([c for c in inputs if c is not None])
    return [
        _found(np.asarray(results.get(name, np.zeros(0))), value, grain)
        for name, value in zip(outputs, node.outputs, strict=True)
    ]


def _found(array: NDArray[Any], value: ir.Value, grain: Grain) -> Const:
    dtype: ir.DataType | None
    try:
        dtype = ir.DataType.from_numpy(array.dtype)
    except (TypeError, ValueError):
        dtype = value.dtype
    own = GRAINS.get(dtype, EXACT) if dtype is not None else EXACT
    return Const(array, dtype, coarser(grain, own))
