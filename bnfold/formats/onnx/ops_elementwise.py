"""Rows of the table: arithmetic, normalizations that are affines, and activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Shape
from bnfold.core.transfer import (
    Border,
    Commute,
    Contraction,
    Form,
    Join,
    Opaque,
    Sign,
    Source,
    Sum,
    Transfer,
)
from bnfold.formats.onnx.ops_linear import sizes_of
from bnfold.formats.onnx.rules import NodeView, rule

# The default of an attribute is a float32, as the attribute is.
EPSILON = float(np.float32(1e-5))


@rule("BatchNormalization")
def batch_normalization(view: NodeView) -> Transfer:
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, by channel (axis 1)."""
    if _trains(view):
        return Opaque(Reason.TRAINING_MODE, "training_mode is set", candidate=True)
    if any(view.is_used(i) for i in range(1, len(view.node.outputs))):
        return Opaque(Reason.EXTRA_OUTPUTS, "its statistics are read", candidate=True)
    parameters = [view.float64(i) for i in range(1, 5)]
    if any(array is None for array in parameters):
        return Opaque(_why_not_constant(view, range(1, 5)), candidate=True)
    gamma, beta, mean, variance = (p for p in parameters if p is not None)
    rank = view.rank(0)
    if rank is None or rank < 2:
        return Opaque(Reason.UNKNOWN_SHAPE, "the rank of its input is not known", candidate=True)
    unfit = _unfit(view, parameters)
    if unfit:
        return Opaque(Reason.AXIS_MISMATCH, unfit, candidate=True)
    spread = variance + view.attr_float("epsilon", EPSILON)
    bad = np.flatnonzero(~(spread.reshape(-1) > 0))
    if bad.size:
        detail = f"channel {bad[0]}: variance {variance.reshape(-1)[bad[0]]:g}"
        reason = Reason.NONPOSITIVE_VARIANCE
        if np.isnan(spread).any():
            reason = Reason.NOT_FINITE
        return Opaque(reason, detail, candidate=True)
    scale = gamma / np.sqrt(spread)
    shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return Opaque(Reason.NOT_FINITE, candidate=True)
    spatial = view.opset >= 9 or bool(view.attr_int("spatial", 1))
    trailing = (1,) * (rank - 2) if spatial else ()
    affine = Affine.of(
        scale.reshape(*scale.shape, *trailing), shift.reshape(*shift.shape, *trailing), rank
    )
    sized = isinstance((view.shape(0) or ())[1], int)
    return Source(affine, Form.NORM if spatial else Form.FIXED, sized=sized)


def _unfit(view: NodeView, parameters: list[Array | None]) -> str:
    """What is wrong with the number of parameters, if something is: no runtime would run it."""
    shapes = {array.shape for array in parameters if array is not None}
    if len(shapes) > 1:
        return "its parameters differ in size"
    (shape,), channels = shapes, (view.shape(0) or ())[1]
    spatial = view.opset >= 9 or bool(view.attr_int("spatial", 1))
    if spatial and isinstance(channels, int) and shape not in ((channels,), (1,)):
        return f"parameters of shape {list(shape)} for {channels} channels"
    return ""


def _trains(view: NodeView) -> bool:
    return view.opset >= 14 and bool(view.attr_int("training_mode", 0))


def _why_not_constant(view: NodeView, operands: range) -> Reason:
    for index in operands:
        value = view.operand(index)
        if value is not None:
            reason = view.constants.why_not(value.name or "")
            if reason is not None and not view.is_known(index):
                return reason
            if view.is_known(index) and view.float64(index) is None:
                return Reason.UNREADABLE_CONSTANT
    return Reason.PARAMETERS_NOT_CONSTANT


@rule("Mul", "Add", "Sub", "Div")
def arithmetic(view: NodeView) -> Transfer:
    """By a constant it is an affine; of two computed values, a sum or a product."""
    if not (view.is_float(0) and view.is_float(1)):
        return Opaque(detail="not floating point")
    if view.has("axis"):
        return Opaque(detail="legacy broadcasting")
    sides = [side for side in (0, 1) if view.is_known(side)]
    if len(sides) == 1:
        found = _by_constant(view, sides[0])
        if found is not None:
            return found
    for side in (0, 1):
        value = view.operand(side)
        if value is not None and view.constants.why_not(value.name or "") is (
            Reason.OVERRIDABLE_INITIALIZER
        ):
            return Opaque(Reason.OVERRIDABLE_INITIALIZER, value.name or "", candidate=True)
    if view.op_type in ("Add", "Sub"):
        return Sum((0, 1), (1.0, 1.0 if view.op_type == "Add" else -1.0))
    if view.op_type == "Mul":
        return _product(view)
    same_shape = view.out_shape is not None and view.shape(0) == view.out_shape
    detail = "a quotient passes a scale of the dividend, not a shift"
    if same_shape and not view.is_known(0):
        return Commute(shift_blocked=Reason.ACTIVATION_SHIFT, detail=detail)
    return _quotient(view)


def _by_constant(view: NodeView, side: int) -> Transfer | None:
    """The affine of the other operand, None where the constant widens it."""
    constant = view.float64(side)
    if constant is None:
        return Opaque(Reason.UNREADABLE_CONSTANT, candidate=True)
    shape = view.shape(1 - side)
    if shape is None and constant.ndim:
        return Opaque(Reason.UNKNOWN_SHAPE, "the other operand's rank is unknown", candidate=True)
    fits = True if shape is None else _fits(constant.shape, shape)
    if fits is None:
        detail = "the other operand may be broadcast"
        return Opaque(Reason.UNKNOWN_SHAPE, detail, candidate=True)
    if not fits:
        return None
    scale, shift, form = _affine_of(view.op_type, side, constant)
    if scale is None or not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        if view.op_type == "Div" and side == 0:
            return _quotient(view)
        return Opaque(Reason.NOT_FINITE, candidate=True)
    return Source(Affine.of(scale, shift, len(shape or ())), form, data=1 - side)


def _affine_of(op_type: str, side: int, constant: Array) -> tuple[Array | None, Array, Form]:
    one, zero = np.ones(()), np.zeros(())
    with np.errstate(divide="ignore", invalid="ignore"):
        if op_type == "Add":
            return one, constant, Form.ADD
        if op_type == "Mul":
            return constant, zero, Form.MUL
        if op_type == "Sub":
            return (one, -constant, Form.ADD) if side else (-one, constant, Form.FIXED)
        return (1.0 / constant if side else None), zero, Form.MUL


def _fits(constant: tuple[int, ...], shape: Shape) -> bool | None:
    """Whether the result has the shape of the other operand; None if nobody can tell."""
    if len(constant) > len(shape):
        return False
    unknown = False
    for size, dim in zip(reversed(constant), reversed(shape), strict=False):
        if size == 1 or size == dim:
            continue
        if isinstance(dim, int):
            return False
        unknown = True
    return None if unknown else True


def _product(view: NodeView) -> Transfer:
    """Element by element: each axis of the result has one label."""
    a, b, out = view.shape(0), view.shape(1), view.out_shape
    if a is None or b is None or out is None or max(len(a), len(b)) != len(out):
        return Opaque(Reason.UNKNOWN_SHAPE, "a product of two computed values")
    y: Axes = tuple((f"a{i}",) if dim != 1 else () for i, dim in enumerate(out))
    x, w = (_aligned(shape, out, y) for shape in (a, b))
    return Contraction(Labels(x, w, y, sizes_of((y, out))))


def _quotient(view: NodeView) -> Transfer:
    """The dividend takes a scale of the quotient; nothing passes the divisor."""
    product = _product(view)
    if not isinstance(product, Contraction):
        return product
    return replace(
        product,
        x=1,
        w=0,
        labels=product.labels.swapped(),
        input_blocked=Reason.ACTIVATION,
        blocked_detail="division by a computed value",
    )


def _aligned(shape: Shape, out: Shape, y: Axes) -> Axes:
    offset = len(out) - len(shape)
    return tuple(
        y[offset + i] if dim is not None and dim == out[offset + i] else ()
        for i, dim in enumerate(shape)
    )


@rule("Neg")
def negation(view: NodeView) -> Transfer:
    """y = -x."""
    rank = view.rank(0)
    if not view.is_float(0):
        return Opaque(detail="not floating point")
    return Source(Affine.of(-1.0, 0.0, rank or 0), Form.FIXED)


@rule("Scaler", domain="ai.onnx.ml")
def scaler(view: NodeView) -> Transfer:
    """y = (x - offset) * scale along the last axis."""
    rank, value = view.rank(0), view.operand(0)
    if rank is None:
        return Opaque(Reason.UNKNOWN_SHAPE, candidate=True)
    if value is None or value.dtype is not ir.DataType.FLOAT:
        return Opaque(Reason.NARROWER_TYPE, "it casts its input to float32", candidate=True)
    if not (view.has("scale") and view.has("offset")):
        return Opaque(detail="a Scaler without scale or offset", candidate=True)
    scale, offset = (
        np.asarray(view.attr_floats(name), dtype=np.float64) for name in ("scale", "offset")
    )
    return Source(Affine.of(scale, -offset * scale, rank), Form.FIXED)


@rule("Sum", "Mean")
def total(view: NodeView) -> Transfer:
    """Any number of values added up, or averaged; of one and constants, an affine."""
    count = len(view.node.inputs)
    weight = 1.0 if view.op_type == "Sum" else 1.0 / count
    computed = [index for index in range(count) if not view.is_known(index)]
    if len(computed) == 1:
        found = _plus_constants(view, computed[0], weight)
        if found is not None:
            return found
    return Sum(tuple(range(count)), (weight,) * count)


def _plus_constants(view: NodeView, data: int, weight: float) -> Source | None:
    """The affine of one operand; None where a constant widens it or cannot be used."""
    shape = view.shape(data)
    constants = [view.float64(i) for i in range(len(view.node.inputs)) if i != data]
    if shape is None or not view.is_float(data):
        return None
    shift = np.zeros(())
    for constant in constants:
        if constant is None or not _fits(constant.shape, shape) or not np.isfinite(constant).all():
            return None
        shift = shift + constant
    return Source(Affine.of(weight, weight * shift, len(shape)), Form.FIXED, data=data)


@rule("Max", "Min")
def extremum(view: NodeView) -> Transfer:
    """The largest or smallest of several values."""
    return Join(tuple(range(len(view.node.inputs))), Sign.NOT_NEGATIVE)


@rule("Where")
def choice(view: NodeView) -> Transfer:
    """One value or the other."""
    return Join((1, 2))


@rule("Relu", "LeakyRelu", "PRelu", "Abs")
def positively_homogeneous(view: NodeView) -> Transfer:
    """f(s * x) = s * f(x) for s >= 0."""
    return Commute(
        sign=Sign.NOT_NEGATIVE,
        shift_blocked=Reason.ACTIVATION_SHIFT,
        detail=f"{view.op_type} passes a scale, not a shift",
    )


@rule("Clip")
def clip(view: NodeView) -> Transfer:
    """A positive scale passes, and a shift, if the bounds can follow: they are one number each."""
    low, high = _bound(view, 1, "min", -np.inf), _bound(view, 2, "max", np.inf)
    if low is None or high is None:
        return Opaque(Reason.ACTIVATION, "the bounds of the Clip are computed")
    bounds = [bound for bound in (low, high) if abs(bound.value) < _UNBOUNDED]
    return Commute(sign=Sign.NOT_NEGATIVE, borders=tuple(bounds))


# The largest float32: converters write it for "no bound".
_UNBOUNDED = 3.4e38


def _bound(view: NodeView, index: int, name: str, default: float) -> Border | None:
    """A bound of a Clip; None if it is computed."""
    value = view.operand(index) if view.opset >= 11 else None
    operand, number = None, default
    if view.opset < 11:
        number = view.attr_float(name, default)
    elif value is not None:
        array = view.float64(index)
        if array is None or array.size != 1:
            return None
        number = float(array.reshape(-1)[0])
        operand = index if view.constants.is_constant(value.name or "") else None
    reason = Reason.ACTIVATION_SHIFT if number == 0.0 else Reason.ACTIVATION
    return Border(number, operand, reason)


@rule(
    "Celu",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Log",
    "LogSoftmax",
    "Mish",
    "Pow",
    "Reciprocal",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
)
def activation(view: NodeView) -> Transfer:
    """Nothing passes."""
    return Opaque(Reason.ACTIVATION, f"{view.op_type} is not linear")
