"""Calls of operators, of both generations of Keras: a name, operands in order, options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnfold.formats.keras.graph import Layer
from bnfold.formats.keras.tf_functions import ALIASES, FUNCTIONS, SYNONYMS

# Layers of Keras 2 that are functions of TensorFlow.
KERAS2_CALLS = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"})
# Call arguments of Keras 3's operators that have others than operands in order.
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "BatchNorm": ("x", "mean", "variance", "offset", "scale"),
    "DotProductAttention": ("query", "key", "value", "bias", "mask", "scale"),
    "LayerNorm": ("x", "gamma", "beta"),
    "RMSNorm": ("x", "scale"),
    "Select": ("condlist", "choicelist", "default"),
    "Where": ("condition", "x1", "x2"),
}
_OPERANDS = ("x1", "x2", "x")


@dataclass(frozen=True)
class OperatorCall:
    """What an operator node computes, in the terms of `keras.ops`.

    Attributes:
        name: class of the operator, "Concatenate".
        args: operands in order: values, lists of them, arrays, numbers.
        options: what else it is told.
        unknown: why the call has no such form, as the end of a sentence; "" where it has.
    """

    name: str
    args: list[Any]
    options: Mapping[str, Any]
    unknown: str = ""


def keras3_call(
    layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any], is_value: Callable[[Any], bool]
) -> OperatorCall:
    """A node of Keras 3: options stand in its config or in the call."""
    name, rest = layer.class_name, dict(kwargs)
    options = {key: one for key, one in layer.config.items() if key != "name"}
    given = list(args)
    if name in _ARGUMENTS:
        given += [rest.pop(key, None) for key in _ARGUMENTS[name][len(given) :]]
    for key, one in rest.items():
        if is_value(one) or key in _OPERANDS:
            given.append(one)
        elif one is not None:
            options[key] = one
    return OperatorCall(name, given, options)


def bare_name(function: str) -> str:
    """A TensorFlow function's name without that of an older interface."""
    name = function.removeprefix("compat.v1.").removeprefix("compat.v2.")
    return ALIASES.get(name, name)


def is_known(function: str) -> bool:
    """Whether a TensorFlow function is one that `keras2_call` knows."""
    name = bare_name(function)
    return name in FUNCTIONS or name == GET_ITEM


GET_ITEM = "__operators__.getitem"


def keras2_call(
    layer: Layer,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    settle: Callable[[Any], Any] = lambda option: option,
) -> OperatorCall:
    """A node of Keras 2: a TensorFlow function; ``settle`` is applied to each option."""
    name = bare_name(str(layer.config.get("function", GET_ITEM)))
    rest = {SYNONYMS.get(key, key): one for key, one in kwargs.items() if key != "name"}
    given = list(args)
    if name == GET_ITEM:
        spec = rest.get("slice_spec", given[1] if len(given) > 1 else None)
        items = list(spec) if isinstance(spec, (list, tuple)) else [spec]
        return OperatorCall("GetItem", [*given[:1], [_item(settle(one)) for one in items]], {})
    row = FUNCTIONS.get(name)
    if row is None:
        return OperatorCall(name, given, {}, f"calls tf.{name}, for which there is no rule")
    given += [rest.pop(key) for key in row.operands[len(given) :] if key in rest]
    options: dict[str, Any] = {}
    for key, one in rest.items():
        if one is None or one is False or key in row.ignored:
            continue
        if key not in row.renamed:
            why = f"calls tf.{name} with {key}, for which there is no rule"
            return OperatorCall(row.operator, given, {}, why)
        options[row.renamed[key]] = settle(one)
    return OperatorCall(row.operator, given, row.prepare({**row.fixed, **options}))


def _item(item: Any) -> Any:
    if isinstance(item, dict) and {"start", "stop"} <= set(item):
        return slice(item["start"], item["stop"], item.get("step"))
    return Ellipsis if item == "..." else item
