"""Whether constants of a model grow far beyond the bytes that it holds.

`Range(0, 2**62)` takes a few bytes in a file, and whoever evaluates it takes all memory: onnx's
own shape inference does when a Cast reads the result. So the lengths that follow from constants and
from declared dimensions are computed first, without making anything of that length.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

import onnx_ir as ir

from bnfold.core.errors import InputError
from bnfold.formats.text import clip

# Shape inference keeps some 60 bytes per element of an integer constant: this many are 1 GB.
MOST_INDICES = 1 << 24
# Of a constant that is declared by its shape.
MOST_ELEMENTS = 1 << 31
# What has more elements than this is no shape and no bound of one.
_MOST_FOLLOWED = 256

_Numbers = tuple["int | float | None", ...]

_SAME = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Neg", "Abs"})
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}
# Ops whose output is as large as one of their inputs says: which one.
_SIZED = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "OneHot": 1}
_WHOLE = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT16})
_REAL = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})
_FOLLOWED = frozenset({"Shape", "Concat", "Range", "Gather", *_SAME, *_ARITHMETIC, *_SIZED})


def refuse_expansion(graphs: Iterable[ir.Graph | ir.Function]) -> None:
    """Follow the integers of every graph, in topological order.

    Args:
        graphs: outer ones before their bodies.

    Raises:
        InputError: an op makes more elements than any model needs.
    """
    known: dict[ir.Value, _Numbers] = {}
    lengths: dict[ir.Value, int] = {}
    for graph in graphs:
        for node in graph:
            if node.op_type in _FOLLOWED and node.domain == "" and node.outputs:
                _follow(node, known, lengths)


def _follow(node: ir.Node, known: dict[ir.Value, _Numbers], lengths: dict[ir.Value, int]) -> None:
    op, output = node.op_type, node.outputs[0]
    inputs = [_numbers(value, known) for value in node.inputs]
    if op == "Shape" and node.inputs and node.inputs[0] is not None:
        shape = node.inputs[0].shape
        if shape is not None and len(shape) <= _MOST_FOLLOWED:
            known[output] = tuple(dim if isinstance(dim, int) else None for dim in shape)
    elif op == "Concat":
        _concat(node, inputs, known, lengths)
    elif op == "Range":
        _range(node, inputs, lengths)
    elif op in _SIZED and len(inputs) > _SIZED[op]:
        _demand(node, math.prod(abs(n or 1) for n in inputs[_SIZED[op]] or ()), MOST_ELEMENTS)
    elif op == "Gather" and len(inputs) == 2 and inputs[0] and inputs[1]:
        known[output] = tuple(_picked(inputs[0], index) for index in inputs[1])
    elif op in _SAME and inputs and inputs[0]:
        known[output] = tuple(None if n is None else abs(n) for n in inputs[0])
        if op not in ("Abs", "Neg"):
            known[output] = inputs[0]
    elif op in _ARITHMETIC and len(inputs) == 2 and inputs[0] and inputs[1]:
        known[output] = _computed(_ARITHMETIC[op], inputs[0], inputs[1])


def _numbers(value: ir.Value | None, known: dict[ir.Value, _Numbers]) -> _Numbers | None:
    """The elements of a short constant, None where there is none."""
    if value is None:
        return None
    if value in known:
        return known[value]
    tensor = value.const_value
    node = value.producer()
    if tensor is None and node is not None and node.op_type == "Constant":
        attribute = node.attributes.get("value")
        tensor = None if attribute is None else attribute.value
    if tensor is None or tensor.size > _MOST_FOLLOWED:
        return None
    if tensor.dtype not in _WHOLE and (tensor.dtype not in _REAL or tensor.size > 1):
        return None  # no shape: a weight, which stays unread
    known[value] = tuple(tensor.numpy().reshape(-1).tolist())
    return known[value]


def _concat(
    node: ir.Node,
    inputs: list[_Numbers | None],
    known: dict[ir.Value, _Numbers],
    lengths: dict[ir.Value, int],
) -> None:
    output = node.outputs[0]
    total = 0
    for value, numbers in zip(node.inputs, inputs, strict=True):
        if numbers is not None:
            total += len(numbers)
        elif value is not None:
            total += lengths.get(value, 0)
    _demand(node, total, MOST_INDICES)
    lengths[output] = total
    if total <= _MOST_FOLLOWED and all(inputs):
        known[output] = tuple(number for part in inputs if part for number in part)


def _range(node: ir.Node, inputs: list[_Numbers | None], lengths: dict[ir.Value, int]) -> None:
    bounds = [part[0] if part else None for part in inputs]
    if len(bounds) != 3 or any(bound is None for bound in bounds):
        return
    start, end, step = (float(bound) for bound in bounds if bound is not None)
    if step and math.isfinite(start) and math.isfinite(end) and math.isfinite(step):
        count = max(0.0, (end - start) / step)  # infinite where it leaves the range of float64
        _demand(node, count, MOST_INDICES)
        lengths[node.outputs[0]] = math.ceil(count)


def _picked(numbers: _Numbers, index: int | float | None) -> int | float | None:
    if index is None or not -len(numbers) <= index < len(numbers):
        return None
    return numbers[int(index)]


def _computed(
    function: Callable[[float, float], float], left: _Numbers, right: _Numbers
) -> _Numbers:
    length = max(len(left), len(right))
    if len(left) not in (1, length) or len(right) not in (1, length):
        return (None,) * length
    pairs = zip(left * (length // len(left)), right * (length // len(right)), strict=True)
    return tuple(_one(function, a, b) for a, b in pairs)


def _one(
    function: Callable[[float, float], float], a: int | float | None, b: int | float | None
) -> int | float | None:
    if a is None or b is None:
        return None
    try:
        result = function(a, b)
    except (ArithmeticError, TypeError):
        return None
    return result if abs(result) < 2**63 else None


def _demand(node: ir.Node, count: float, most: int) -> None:
    if count > most:
        raise InputError(
            f"{node.op_type} node '{clip(node.name or node.outputs[0].name or '', 80)}' makes "
            f"{count:.3g} elements of a constant, more than {most}"
        )
