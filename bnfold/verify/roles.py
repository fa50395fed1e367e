"""What a model's inputs stand for, read off the ops that use them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]


class Kind(enum.Enum):
    """How the elements of an input are drawn."""

    NORMAL = "normal"
    INTEGER = "integer"
    MASK = "mask"
    BOOLEAN = "boolean"
    LENGTH = "length"
    TEXT = "text"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Role:
    """What to draw for one input.

    Attributes:
        name: the input.
        dtype: its numpy type, None if it is no tensor that numpy holds.
        shape: sizes, symbol names, or None, per axis; None if the rank is unknown.
        kind: how its elements are drawn.
        limit: integers are drawn from [0, limit).
        mean, std: of floating-point elements; they broadcast to the input.
        reason: why it is unsupported.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None
    kind: Kind
    limit: int = 10
    mean: Array | float = 0.0
    std: Array | float = 1.0
    reason: str = ""


# Ops behind which the elements are still those of the input.
_PASSES = frozenset(
    {
        "Cast",
        "Identity",
        "Dropout",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Slice",
        "Pad",
    }
)
# Of these, the ones that keep the axes where they are.
_KEEPS_AXES = frozenset({"Cast", "Identity", "Dropout"})


def roles_of(model: ir.Model) -> tuple[Role, ...]:
    """The role of each input that must be fed, in the model's order."""
    return tuple(
        _role(value) for value in model.graph.inputs if value.name not in model.graph.initializers
    )


def _role(value: ir.Value) -> Role:
    name = value.name or ""
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else d.value for d in value.shape.dims)
    if not isinstance(value.type, ir.TensorType):
        kind_text = "no declared type" if value.type is None else str(value.type)
        return Role(name, None, shape, Kind.UNSUPPORTED, reason=f"it is {kind_text}")
    if value.type.dtype == ir.DataType.STRING:
        return Role(name, np.dtype(object), shape, Kind.TEXT)
    dtype = value.type.dtype.numpy()
    if shape is None:
        return Role(name, dtype, None, Kind.UNSUPPORTED, reason="its rank is not declared")
    if value.type.dtype == ir.DataType.BOOL:
        return Role(name, dtype, shape, Kind.BOOLEAN)
    if dtype.kind in "iu":
        return _integer_role(value, dtype, shape)
    if dtype.kind == "c" or not value.type.dtype.is_floating_point():
        return Role(name, dtype, shape, Kind.UNSUPPORTED, reason=f"it is {value.type.dtype}")
    indices = _index_limit(value)
    if indices is not None:
        return Role(name, dtype, shape, Kind.INTEGER, limit=indices)
    if "mask" in name.lower():
        return Role(name, dtype, shape, Kind.MASK)
    mean, std = _statistics(value, shape)
    return Role(name, dtype, shape, Kind.NORMAL, mean=mean, std=std)


def _integer_role(
    value: ir.Value, dtype: np.dtype[Any], shape: tuple[int | str | None, ...]
) -> Role:
    name = value.name or ""
    if _is_length(value):
        return Role(name, dtype, shape, Kind.LENGTH)
    limit = _index_limit(value)
    if limit is None and "mask" in name.lower():
        return Role(name, dtype, shape, Kind.MASK)
    if limit is None:
        limit = 256 if dtype == np.uint8 else 10
    return Role(name, dtype, shape, Kind.INTEGER, limit=limit)


def _uses(value: ir.Value, passes: frozenset[str]) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """The uses of a value and of what `passes` make of it: node, input index, value."""
    waiting, seen = [value], {id(value)}
    while waiting:
        current = waiting.pop()
        for node, index in current.uses():
            yield node, index, current
            if index == 0 and node.op_type in passes:
                for output in node.outputs:
                    if id(output) not in seen:
                        seen.add(id(output))
                        waiting.append(output)


def _index_limit(value: ir.Value) -> int | None:
    """The smallest size that the input's elements index, None where they index nothing."""
    limits = []
    for node, index, _ in _uses(value, _PASSES):
        if node.op_type in ("Gather", "GatherElements") and index == 1:
            data = node.inputs[0]
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            if data is not None and data.shape is not None and axis < len(data.shape):
                size = data.shape[axis]
                if isinstance(size, int):
                    limits.append(size)
        elif node.op_type == "OneHot" and index == 0:
            depth = _constant(node.inputs[1])
            if depth is not None:
                limits.append(int(depth.ravel()[0]))
    return max(1, min(limits)) if limits else None


def _is_length(value: ir.Value) -> bool:
    return any(
        node.op_type in ("LSTM", "GRU", "RNN") and index == 4
        for node, index, _ in _uses(value, _PASSES)
    )


def _constant(value: ir.Value | None) -> Array | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _statistics(
    value: ir.Value, shape: tuple[int | str | None, ...]
) -> tuple[Array | float, Array | float]:
    """Mean and deviation that a normalization right behind the input expects of its data."""
    for node, index, at in _uses(value, _PASSES):
        if index != 0 or not node.outputs:
            continue
        found = _normalizer(node)
        if found is None:
            continue
        mean, std = found
        if at is value or _same_axes(value, at):
            try:
                np.broadcast_shapes(mean.shape, tuple(_size(d) for d in shape))
                np.broadcast_shapes(std.shape, tuple(_size(d) for d in shape))
            except ValueError:
                pass
            else:
                return mean, std
        spread = float(np.sqrt(np.mean(std**2) + np.var(mean)))
        return float(np.mean(mean)), spread
    return 0.0, 1.0


def _size(dim: int | str | None) -> int:
    return dim if isinstance(dim, int) else 1


def _same_axes(value: ir.Value, other: ir.Value) -> bool:
    """True if only ops that keep the axes stand between the two values."""
    while other is not value:
        node = other.producer()
        if node is None or node.op_type not in _KEEPS_AXES or node.inputs[0] is None:
            return False
        other = node.inputs[0]
    return True


def _normalizer(node: ir.Node) -> tuple[Array, Array] | None:
    """What a BatchNormalization, or a Sub or Mul/Div by constants, makes zero mean, unit scale."""
    if node.op_type == "BatchNormalization" and len(node.inputs) >= 5:
        mean, variance = _constant(node.inputs[3]), _constant(node.inputs[4])
        if mean is None or variance is None or node.inputs[0] is None:
            return None
        shape = node.inputs[0].shape
        rank = len(shape) if shape is not None else 2
        form = (1, -1, *([1] * (rank - 2)))
        std = np.sqrt(np.maximum(variance.astype(np.float64), 1e-12))
        return mean.astype(np.float64).reshape(form), std.reshape(form)
    if node.op_type == "Sub":
        mean = _constant(node.inputs[1])
        scale = _scale_behind(node)
        if mean is None or mean.dtype.kind != "f":
            return None
        return mean.astype(np.float64), np.array(1.0) if scale is None else scale
    scale = _scale(node)
    return None if scale is None else (np.zeros(()), scale)


def _scale_behind(node: ir.Node) -> Array | None:
    uses = list(node.outputs[0].uses())
    return _scale(uses[0][0]) if len(uses) == 1 and uses[0][1] == 0 else None


def _scale(node: ir.Node) -> Array | None:
    """The size of data that a Div or Mul by a constant brings to one."""
    if node.op_type not in ("Div", "Mul") or len(node.inputs) < 2:
        return None
    factor = _constant(node.inputs[1])
    if factor is None or factor.dtype.kind != "f":
        return None
    size = np.abs(factor.astype(np.float64))
    if not np.all(np.isfinite(size)) or np.any(size == 0):
        return None
    return size if node.op_type == "Div" else 1.0 / size
