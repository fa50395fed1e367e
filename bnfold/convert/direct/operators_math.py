"""Operators that compute: arithmetic, comparisons, activations, reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct import activations
from bnfold.convert.direct.emitter import onnx_type
from bnfold.convert.direct.layout import constant, value
from bnfold.convert.direct.ops import (
    cast,
    elementwise,
    reduce,
    scalar,
    softmax,
    unary,
)
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, permuted, plain
from bnfold.formats.keras.graph import float_dtype

Options = Mapping[str, Any]
Rule = Callable[[Site, list[Any], Options], "Tensor | list[Tensor]"]
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def operands(site: Site, values: Sequence[Any], *, to_float: bool = False) -> list[Tensor]:
    """Tensors and plain numbers as tensors of one dtype, as Keras promotes them."""
    tensors = [one for one in values if isinstance(one, Tensor)]
    dtypes = {one.dtype for one in tensors}
    floats = [dtype for dtype in _FLOATS if dtype in dtypes]
    numbers = [np.asarray(one) for one in values if not isinstance(one, Tensor)]
    if floats:
        dtype = floats[0]
    elif to_float or any(one.dtype.kind == "f" for one in numbers):
        dtype = "float32"
    elif len(dtypes) == 1:
        dtype = next(iter(dtypes))
    else:
        raise site.unsupported(f"combines {sorted(dtypes)}")
    with np.errstate(over="ignore"):
        return [
            cast(site, one, dtype)
            if isinstance(one, Tensor)
            else constant(np.asarray(one).astype(float_dtype(dtype)))
            for one in values
        ]


def _binary(op: str, *, result: str = "", to_float: bool = False) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        pair = operands(site, args[:2], to_float=to_float)
        return elementwise(site, op, *pair, dtype=result)

    return rule


def _unary(op: str) -> Rule:
    return lambda site, args, options: unary(site, op, args[0])


def _flag(op: str) -> Rule:
    return lambda site, args, options: unary(site, op, args[0], dtype="bool")


def _activation(name: str, *options_used: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        function: Callable[..., Tensor] = activations.ACTIVATIONS[name]
        given = {key: options[key] for key in options_used if options.get(key) is not None}
        if given:
            function = _PARAMETRIC[name]
            return function(site, args[0], *given.values())
        return function(site, args[0])

    return rule


_PARAMETRIC: Mapping[str, Callable[..., Tensor]] = {
    "celu": activations.celu,
    "elu": activations.elu,
    "gelu": activations.gelu,
    "glu": activations.glu,
    "leaky_relu": activations.leaky_relu,
}


def _softmax(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        axis = options.get("axis", -1)
        if not isinstance(axis, int):
            raise site.unsupported("takes the softmax over several axes at once")
        return softmax(site, args[0], axis, op)

    return rule


def _relu(site: Site, args: list[Any], options: Options) -> Tensor:
    high = options.get("max_value")
    return activations.relu(
        site,
        args[0],
        float(options.get("alpha") or 0.0),
        None if high is None else float(high),
        float(options.get("threshold") or 0.0),
    )


def axes_option(site: Site, x: Tensor, options: Options) -> list[int]:
    """The option "axis" as a list; all axes where it is not given."""
    axis = options.get("axis")
    if axis is None:
        return list(range(x.rank))
    return [int(one) for one in (axis if isinstance(axis, (list, tuple)) else [axis])]


def _reduction(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        return reduce(site, op, x, axes_option(site, x, options), bool(options.get("keepdims")))

    return rule


def _variance(root: bool) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        axes, keep = axes_option(site, x, options), bool(options.get("keepdims"))
        centred = elementwise(site, "Sub", x, reduce(site, "ReduceMean", x, axes, True))
        y = reduce(site, "ReduceMean", elementwise(site, "Mul", centred, centred), axes, keep)
        return unary(site, "Sqrt", y) if root else y

    return rule


def _rsqrt(site: Site, args: list[Any], options: Options) -> Tensor:
    return unary(site, "Reciprocal", unary(site, "Sqrt", args[0]))


def _square(site: Site, args: list[Any], options: Options) -> Tensor:
    return elementwise(site, "Mul", args[0], args[0])


def _quantifier(op: str) -> Rule:
    """Any or All of flags: the largest or smallest of them as numbers."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        numbers = cast(site, x, "float32")
        axes = axes_option(site, x, options)
        return cast(site, reduce(site, op, numbers, axes, bool(options.get("keepdims"))), "bool")

    return rule


def _not_equal(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    equal = elementwise(site, "Equal", left, right, dtype="bool")
    return unary(site, "Not", equal, dtype="bool")


def _log1p(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    return unary(site, "Log", elementwise(site, "Add", x, scalar(site, 1.0, x)))


def _floor_divide(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    if left.dtype not in _FLOATS:
        raise site.unsupported("divides integers")
    return unary(site, "Floor", elementwise(site, "Div", left, right))


def _clip(site: Site, args: list[Any], options: Options) -> Tensor:
    low, high = (
        args[place] if len(args) > place else options.get(name)
        for place, name in ((1, "x_min"), (2, "x_max"))
    )
    if any(isinstance(limit, (Tensor, list, np.ndarray)) for limit in (low, high)):
        raise site.unsupported("has limits that are no numbers")
    return activations.clip(site, args[0], low, high)


def _where(site: Site, args: list[Any], options: Options) -> Tensor:
    if len(args) != 3 or not isinstance(args[0], Tensor) or args[0].dtype != "bool":
        raise site.unsupported("chooses in a way that has no rule")
    left, right = operands(site, args[1:])
    return elementwise(site, "Where", args[0], left, right, dtype=left.dtype)


def _cast(site: Site, args: list[Any], options: Options) -> Tensor:
    dtype = args[1] if len(args) > 1 else options.get("dtype")
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name")
    if not isinstance(dtype, str):
        raise site.unsupported("casts to an unknown dtype")
    return cast(site, args[0], dtype)


def _not(site: Site, args: list[Any], options: Options) -> Tensor:
    return unary(site, "Not", args[0], dtype="bool")


def _expm1(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    return elementwise(site, "Sub", unary(site, "Exp", x), scalar(site, 1.0, x))


def _filled(number: float) -> Rule:
    """ZerosLike, OnesLike: a constant of the shape of a value."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = args[0]
        dtype = str(options.get("dtype") or x.dtype)
        fill = np.asarray(number).astype(float_dtype(dtype))
        if all(isinstance(dim, int) for dim in x.shape):
            return constant(np.full(x.shape, fill))
        form = x.form if not x.form.flat else plain(x.rank)
        whole = site.node("Shape", [value(site, x, form)], ("int64", (x.rank,)))
        filler = ir.Tensor(fill.reshape(1), dtype=onnx_type(dtype), name="fill")
        made = site.node("ConstantOfShape", [whole], (dtype, permuted(x.shape, form)), value=filler)
        return Tensor(x.shape, dtype, {form: made})

    return rule


def _arg(op: str) -> Rule:
    """The place of the largest or smallest element along an axis."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x, axis = args[0], options.get("axis")
        if not isinstance(axis, int):
            raise site.unsupported("looks for the largest element of several axes at once")
        axis %= x.rank
        keep = bool(options.get("keepdims"))
        shape = tuple(
            1 if one == axis else dim for one, dim in enumerate(x.shape) if keep or one != axis
        )
        made = site.node(
            op, [value(site, x, plain(x.rank))], ("int64", shape), axis=axis, keepdims=int(keep)
        )
        # Keras 3 counts in int32, TensorFlow's functions in int64.
        wanted = "int64" if site.generation == 2 else "int32"
        return cast(site, Tensor(shape, "int64", {plain(len(shape)): made}), wanted)

    return rule


MATH: Mapping[str, Rule] = {
    "Abs": _unary("Abs"),
    "Absolute": _unary("Abs"),
    "Add": _binary("Add"),
    "All": _quantifier("ReduceMin"),
    "Amax": _reduction("ReduceMax"),
    "Amin": _reduction("ReduceMin"),
    "Any": _quantifier("ReduceMax"),
    "Arccos": _unary("Acos"),
    "Arcsin": _unary("Asin"),
    "Arctan": _unary("Atan"),
    "Argmax": _arg("ArgMax"),
    "Argmin": _arg("ArgMin"),
    "Cast": _cast,
    "Ceil": _unary("Ceil"),
    "Celu": _activation("celu", "alpha"),
    "Clip": _clip,
    "Cos": _unary("Cos"),
    "Cosh": _unary("Cosh"),
    "Divide": _binary("Div", to_float=True),
    "Elu": _activation("elu", "alpha"),
    "Equal": _binary("Equal", result="bool"),
    "Erf": _unary("Erf"),
    "Exp": _unary("Exp"),
    "Expm1": _expm1,
    "Floor": _unary("Floor"),
    "FloorDivide": _floor_divide,
    "Gelu": _activation("gelu", "approximate"),
    "Glu": _activation("glu", "axis"),
    "Greater": _binary("Greater", result="bool"),
    "GreaterEqual": _binary("GreaterOrEqual", result="bool"),
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "HardTanh": _activation("hard_tanh"),
    "Isnan": _flag("IsNaN"),
    "LeakyRelu": _activation("leaky_relu", "negative_slope"),
    "Less": _binary("Less", result="bool"),
    "LessEqual": _binary("LessOrEqual", result="bool"),
    "Log": _unary("Log"),
    "Log1p": _log1p,
    "LogSigmoid": _activation("log_sigmoid"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "LogicalAnd": _binary("And", result="bool"),
    "LogicalNot": _not,
    "LogicalOr": _binary("Or", result="bool"),
    "Logsumexp": _reduction("ReduceLogSumExp"),
    "Max": _reduction("ReduceMax"),
    "Maximum": _binary("Max"),
    "Mean": _reduction("ReduceMean"),
    "Min": _reduction("ReduceMin"),
    "Minimum": _binary("Min"),
    "Mish": _activation("mish"),
    "Multiply": _binary("Mul"),
    "Negative": _unary("Neg"),
    "NotEqual": _not_equal,
    "OnesLike": _filled(1.0),
    "Power": _binary("Pow"),
    "Prod": _reduction("ReduceProd"),
    "Reciprocal": _unary("Reciprocal"),
    "Relu": _relu,
    "Relu6": _activation("relu6"),
    "Round": _unary("Round"),
    "Rsqrt": _rsqrt,
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Sign": _unary("Sign"),
    "Silu": _activation("silu"),
    "Sin": _unary("Sin"),
    "Sinh": _unary("Sinh"),
    "Softmax": _softmax("Softmax"),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "SparsePlus": _activation("sparse_plus"),
    "SparseSigmoid": _activation("sparse_sigmoid"),
    "Sqrt": _unary("Sqrt"),
    "Square": _square,
    "Squareplus": _activation("squareplus"),
    "Std": _variance(True),
    "Subtract": _binary("Sub"),
    "Sum": _reduction("ReduceSum"),
    "Tan": _unary("Tan"),
    "Tanh": _activation("tanh"),
    "TanhShrink": _activation("tanh_shrink"),
    "TrueDivide": _binary("Div", to_float=True),
    "Var": _variance(False),
    "Where": _where,
    "ZerosLike": _filled(0.0),
}
