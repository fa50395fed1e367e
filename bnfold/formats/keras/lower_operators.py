"""Lowering rules: operator nodes of both generations of Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Permute, Reduce, Shape
from bnfold.core.transfer import Commute, Form, Join, Opaque, Sign, Source, Sum, Transfer
from bnfold.formats.keras.lower_elementwise import broadcast, homogeneous, product_of
from bnfold.formats.keras.lower_view import Value, View

_FLOATS = ("float16", "bfloat16", "float32", "float64")

# TensorFlow's names of what Keras 3 calls by class.
_TENSORFLOW: Mapping[str, str] = {
    "__operators__.add": "Add",
    "math.abs": "Abs",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.negative": "Negative",
    "math.reduce_max": "Max",
    "math.reduce_mean": "Mean",
    "math.reduce_min": "Min",
    "math.subtract": "Subtract",
    "math.truediv": "Divide",
    "nn.leaky_relu": "LeakyRelu",
    "nn.relu": "Relu",
    "transpose": "Transpose",
}
_ACTIVATIONS = frozenset(
    {"Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu", "Log", "Power", "Relu6", "Selu", "Sigmoid"}
    | {"Silu", "Softmax", "Softplus", "Softsign", "Sqrt", "Square", "Tanh", "Clip", "Rsqrt"}
)


def operator(view: View) -> Value:
    """An operator node: ``x + y``, ``keras.ops.mean(x)``, ``tf.nn.relu(x)``."""
    name = view.layer.class_name
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        function = str(view.config.get("function", ""))
        name = _TENSORFLOW.get(function, function)
    rule = _RULES.get(name)
    if rule is not None:
        return rule(view, name)
    if name in _ACTIVATIONS:
        return view.op(
            Opaque(Reason.ACTIVATION, f"{name} is not linear"), view.inputs, view.input.shape
        )
    return view.opaque(None)


def _arguments(view: View) -> list[Any]:
    """Operands of an elementwise operator: values and plain numbers, in order."""
    given = [*view.args, *(view.kwargs.get(key) for key in ("y", "x1", "x2") if key in view.kwargs)]
    return given[:2]


def _arithmetic(view: View, name: str) -> Value:
    given = _arguments(view)
    values = [one for one in given if isinstance(one, Value)]
    shape = broadcast(values)
    if len(given) != 2 or any(one.dtype not in _FLOATS for one in values):
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


def _negative(view: View, name: str) -> Value:
    x = view.input
    return view.op(Source(Affine.of(-1.0, 0.0, x.rank or 0), Form.FIXED), [x], x.shape)


def _homogeneous(view: View, name: str) -> Value:
    if any(view.config.get(key) or view.kwargs.get(key) for key in ("max_value", "threshold")):
        return view.opaque(view.input.shape, Reason.ACTIVATION, "a bounded ReLU is not linear")
    return view.op(homogeneous(name), [view.input], view.input.shape)


def _extremum(view: View, name: str) -> Value:
    values = view.inputs
    shape = broadcast(values)
    if len(values) != 2:
        return view.opaque(values[0].shape, Reason.ACTIVATION, f"{name} by a constant")
    return view.op(Join((0, 1), Sign.NOT_NEGATIVE), values, shape)


def _reduction(view: View, name: str) -> Value:
    x = view.input
    axis = view.config.get("axis", view.kwargs.get("axis"))
    keep = bool(view.config.get("keepdims", view.kwargs.get("keepdims", False)))
    if x.shape is None or x.dtype not in _FLOATS:
        return view.opaque(None)
    rank = len(x.shape)
    stated = axis if isinstance(axis, (list, tuple)) else [axis]
    axes = range(rank) if axis is None else sorted({int(one) % rank for one in stated})
    shape = tuple(
        1 if place in axes else dim
        for place, dim in enumerate(x.shape)
        if keep or place not in axes
    )
    sign = Sign.ANY if name == "Mean" else Sign.NOT_NEGATIVE
    return view.op(Commute(Reduce(tuple(axes), rank, keep), sign=sign), [x], shape)


def _transpose(view: View, name: str) -> Value:
    x = view.input
    axes = view.config.get("axes", view.kwargs.get("perm"))
    if x.shape is None:
        return view.opaque(None)
    rank = len(x.shape)
    order = tuple(reversed(range(rank))) if axes is None else tuple(int(a) % rank for a in axes)
    return view.op(Commute(Permute(order)), [x], tuple(x.shape[axis] for axis in order))


def _identity(view: View, name: str) -> Value:
    return view.op(Commute(), [view.input], view.input.shape)


_RULES: Mapping[str, Callable[[View, str], Value]] = {
    "Abs": _homogeneous,
    "Absolute": _homogeneous,
    "Add": _arithmetic,
    "Amax": _reduction,
    "Copy": _identity,
    "Divide": _arithmetic,
    "Identity": _identity,
    "LeakyRelu": _homogeneous,
    "Max": _reduction,
    "Maximum": _extremum,
    "Mean": _reduction,
    "Min": _reduction,
    "Minimum": _extremum,
    "Multiply": _arithmetic,
    "Negative": _negative,
    "Relu": _homogeneous,
    "Subtract": _arithmetic,
    "Transpose": _transpose,
    "TrueDivide": _arithmetic,
}
