"""Lowering rules: operator nodes of both generations of Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Shape
from bnfold.core.transfer import Commute, Form, Join, Opaque, Sign, Source, Sum, Transfer
from bnfold.formats.keras.lower_elementwise import broadcast, homogeneous, product_of
from bnfold.formats.keras.lower_shuffles import SHUFFLES, Rule
from bnfold.formats.keras.lower_view import Value, View
from bnfold.formats.keras.operator_calls import (
    KERAS2_CALLS,
    OperatorCall,
    keras2_call,
    keras3_call,
)

_FLOATS = ("float16", "bfloat16", "float32", "float64")

_ACTIVATIONS = frozenset(
    {"Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu", "Log", "Power", "Relu6", "Selu", "Sigmoid"}
    | {"Silu", "Softmax", "Softplus", "Softsign", "Sqrt", "Square", "Tanh", "Clip", "Rsqrt"}
)


def operator(view: View) -> Value | list[Value]:
    """An operator node: ``x + y``, ``keras.ops.mean(x)``, ``tf.nn.relu(x)``."""
    if view.layer.class_name in KERAS2_CALLS:
        call = keras2_call(view.layer, view.args, view.kwargs)
    else:
        is_value: Callable[[Any], bool] = lambda one: isinstance(one, Value)  # noqa: E731
        call = keras3_call(view.layer, view.args, view.kwargs, is_value)
    rule = None if call.unknown else _RULES.get(call.name)
    if rule is not None:
        return rule(view, call)
    if call.name in _ACTIVATIONS and view.inputs:
        why = Opaque(Reason.ACTIVATION, f"{call.name} is not linear")
        return view.op(why, view.inputs, view.input.shape)
    return view.opaque(None)


def _arithmetic(view: View, call: OperatorCall) -> Value:
    name, given = call.name, call.args[:2]
    values = [one for one in given if isinstance(one, Value)]
    shape = broadcast(values)
    if len(given) != 2 or any(one.dtype not in _FLOATS for one in values):
        return view.opaque(shape)
    dtypes = {one.dtype for one in values}
    dtypes |= {one.dtype.name for one in given if isinstance(one, np.ndarray)} & set(_FLOATS)
    if len(dtypes) > 1:
        # Keras promotes: without the operator the result would have another dtype.
        return view.opaque(shape)
    if len(values) == 2:
        return view.op(_of_two(name, values, shape), values, shape)
    side = 0 if isinstance(given[1], Value) else 1
    x = values[0]
    try:
        constant = np.asarray(given[side], dtype=np.float64)
    except (TypeError, ValueError):
        return view.opaque(shape)
    if x.shape is None or not _fits(constant.shape, x.shape):
        return view.opaque(None if x.shape is None else x.shape)
    found = _affine(name, side, constant)
    if found is None:
        return view.opaque(x.shape, Reason.ACTIVATION, "a constant divided by the value")
    affine = Affine.of(*found, len(x.shape))
    if not affine.is_finite:
        return view.op(Opaque(Reason.NOT_FINITE, candidate=True), [x], x.shape)
    return view.op(Source(affine, Form.FIXED), [x], x.shape)


def _fits(constant: tuple[int, ...], shape: Shape) -> bool:
    """Whether the result keeps the shape of the value."""
    if len(constant) > len(shape):
        return False
    pairs = zip(reversed(constant), reversed(shape), strict=False)
    return all(size in (1, dim) for size, dim in pairs)


def _affine(name: str, side: int, constant: Array) -> tuple[Array, Array] | None:
    one, zero = np.ones(()), np.zeros(())
    if name == "Add":
        return one, constant
    if name == "Subtract":
        return (one, -constant) if side else (-one, constant)
    if name == "Multiply":
        return constant, zero
    with np.errstate(divide="ignore"):
        return (np.asarray(1.0 / constant), zero) if side else None


def _of_two(name: str, values: list[Value], shape: Shape | None) -> Transfer:
    if name in ("Add", "Subtract"):
        return Sum((0, 1), (1.0, 1.0 if name == "Add" else -1.0))
    if shape is None:
        return Opaque(Reason.UNKNOWN_SHAPE)
    if name == "Multiply":
        return product_of(values, shape)
    if values[0].shape == shape:
        detail = "a quotient passes a scale of the dividend, not a shift"
        return Commute(shift_blocked=Reason.ACTIVATION_SHIFT, detail=detail)
    return Opaque(Reason.ACTIVATION, "division by a computed value")


def _negative(view: View, call: OperatorCall) -> Value:
    x = view.input
    return view.op(Source(Affine.of(-1.0, 0.0, x.rank or 0), Form.FIXED), [x], x.shape)


def _homogeneous(view: View, call: OperatorCall) -> Value:
    if any(call.options.get(key) for key in ("max_value", "threshold")):
        return view.opaque(view.input.shape, Reason.ACTIVATION, "a bounded ReLU is not linear")
    return view.op(homogeneous(call.name), [view.input], view.input.shape)


def _extremum(view: View, call: OperatorCall) -> Value:
    values = view.inputs
    shape = broadcast(values)
    if len(values) != 2:
        return view.opaque(values[0].shape, Reason.ACTIVATION, f"{call.name} by a constant")
    return view.op(Join((0, 1), Sign.NOT_NEGATIVE), values, shape)


def _identity(view: View, call: OperatorCall) -> Value:
    if call.options.get("dtype") not in (None, view.input.dtype):
        return view.opaque(view.input.shape)
    return view.op(Commute(), [view.input], view.input.shape)


_RULES: Mapping[str, Rule] = {
    **SHUFFLES,
    "Abs": _homogeneous,
    "Absolute": _homogeneous,
    "Add": _arithmetic,
    "ConvertToTensor": _identity,
    "Copy": _identity,
    "Divide": _arithmetic,
    "Identity": _identity,
    "LeakyRelu": _homogeneous,
    "Maximum": _extremum,
    "Minimum": _extremum,
    "Multiply": _arithmetic,
    "Negative": _negative,
    "Relu": _homogeneous,
    "StopGradient": _identity,
    "Subtract": _arithmetic,
    "TrueDivide": _arithmetic,
}
