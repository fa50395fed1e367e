"""The arguments of layer calls, as Keras 2 (lists) and Keras 3 (call arguments) write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnfold.formats.keras.graph import Shape, TensorRef, float_dtype

_CONSTANT = "_CONSTANT_VALUE"


def stated_shapes(node: Any) -> dict[TensorRef, Shape]:
    """The shapes that a Keras 3 node states for the tensors it reads."""
    found: dict[TensorRef, Shape] = {}
    pending = [node]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            shape = None
            if value.get("class_name") == "__keras_tensor__":
                shape = value["config"].get("shape")
            if isinstance(shape, list) and all(one is None or type(one) is int for one in shape):
                found[decode(value)] = tuple(shape)
            pending.extend(value.values())
    return found


def parse_node(node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one call.

    Args:
        node: Keras 3: {"args": [...], "kwargs": {...}}; Keras 2: a nested list of
            [layer, node, tensor, kwargs].

    Returns:
        args, kwargs with a `TensorRef` for each tensor of another layer.
    """
    if isinstance(node, dict) and "args" in node:
        args = decode(node["args"])
        return tuple(args), dict(decode(node.get("kwargs") or {}))
    kwargs: dict[str, Any] = {}
    return (_keras2(node, kwargs, outermost=True),), kwargs


def decode(value: Any) -> Any:
    """A serialized Keras 3 value: tensors, slices, arrays, tuples and plain JSON."""
    if isinstance(value, list):
        return [decode(part) for part in value]
    if not isinstance(value, dict):
        return value
    class_name = value.get("class_name")
    if not isinstance(class_name, str) or "config" not in value:
        if class_name == "__tuple__":
            return tuple(decode(part) for part in value.get("items", ()))
        if class_name == "__ellipsis__":
            return Ellipsis
        return {key: decode(part) for key, part in value.items()}
    config = value["config"]
    if class_name == "__keras_tensor__":
        layer, call, index = config["keras_history"]
        return TensorRef(str(layer), int(call), int(index))
    if class_name == "__slice__":
        return slice(*(decode(config[key]) for key in ("start", "stop", "step")))
    if class_name == "__ellipsis__":
        return Ellipsis
    if class_name in ("__numpy__", "__tensor__"):
        return np.asarray(config["value"], dtype=float_dtype(config["dtype"]))
    if class_name == "__bytes__":
        return config["value"]
    if class_name == "DTypePolicy":
        return config.get("name")
    return value


def _keras2(node: Any, kwargs: dict[str, Any], *, outermost: bool = False) -> Any:
    """The tensors of a Keras 2 node; what they carry as keyword arguments goes to ``kwargs``."""
    if is_keras2_tensor(node):
        if len(node) > 3:
            kwargs.update({key: _keras2_value(value) for key, value in node[3].items()})
        if node[0] == _CONSTANT:
            return _keras2_value(node[2])
        return TensorRef(str(node[0]), int(node[1]), int(node[2]))
    if isinstance(node, dict):
        return {key: _keras2(part, kwargs) for key, part in node.items()}
    parts = [_keras2(part, kwargs) for part in node]
    # A tensor in a list of its own is that tensor; a number in one is a list of one number.
    alone = len(parts) == 1 and (outermost or isinstance(parts[0], TensorRef))
    return parts[0] if alone else parts


def is_keras2_tensor(node: Any) -> bool:
    """Whether this is Keras 2's [layer, node, tensor] or [layer, node, tensor, kwargs]."""
    if not isinstance(node, list) or len(node) not in (3, 4) or not isinstance(node[0], str):
        return False
    named = len(node) == 3 or isinstance(node[3], dict)
    return named and isinstance(node[1], int) and (node[0] == _CONSTANT or isinstance(node[2], int))


def _keras2_value(value: Any) -> Any:
    """A keyword argument of a Keras 2 call."""
    if is_keras2_tensor(value) and len(value) == 3:
        return TensorRef(str(value[0]), int(value[1]), int(value[2]))
    if isinstance(value, list):
        return [_keras2_value(part) for part in value]
    if isinstance(value, Mapping):
        if set(value) == {"start", "stop", "step"}:
            return slice(*(_keras2_value(value[key]) for key in ("start", "stop", "step")))
        decoded = decode(value)
        if isinstance(decoded, dict) and "class_name" not in decoded:
            return {key: _keras2_value(part) for key, part in value.items()}
        return decoded
    return value
