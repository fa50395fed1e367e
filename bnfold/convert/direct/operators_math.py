"""Operators that work element by element: arithmetic, comparisons, activations, formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnfold.convert.direct import activations
from bnfold.convert.direct.expressions import Expr, Number, Options, Rule, formula
from bnfold.convert.direct.layout import constant
from bnfold.convert.direct.ops import cast, elementwise, softmax, unary
from bnfold.convert.direct.promotion import alone, in_floats, is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.graph import float_dtype


def _binary(op: str, *, result: str = "", to_float: bool = False) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        pair = operands(site, args[:2], to_float=to_float)
        if len(pair) < 2:
            raise site.unsupported("is called without an operand that it needs")
        if not result and pair[0].dtype == "bool":
            raise site.unsupported("computes with flags")
        return elementwise(site, op, *pair, dtype=result)

    return rule


def _logical(op: str) -> Rule:
    """An op of flags; numbers count as true where they are not zero."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        flags = [cast(site, alone(site, one), "bool") for one in args]
        if len(flags) == 1:
            return unary(site, op, flags[0], dtype="bool")
        return elementwise(site, op, *flags, dtype="bool")

    return rule


def _unary(op: str, *, floats: bool = False) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = alone(site, args[0])
        return unary(site, op, in_floats(site, x) if floats else x)

    return rule


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
    "sparsemax": activations.sparsemax,
    "squareplus": activations.squareplus,
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


def _shrink(soft: bool) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        limit = float(options.get("threshold", 0.5))
        given = {"lambd": limit, "bias": limit if soft else 0.0}
        return unary(site, "Shrink", args[0], attributes=given)

    return rule


def _round(site: Site, args: list[Any], options: Options) -> Tensor:
    x, decimals = alone(site, args[0]), int(options.get("decimals") or 0)
    if not is_float(x.dtype) and decimals >= 0:
        return x
    if not decimals:
        return unary(site, "Round", x)
    factor = 10.0**decimals
    scaled = Expr(site, in_floats(site, x)) * factor
    return cast(site, (scaled.apply("Round") / factor).tensor, x.dtype)


def _floor_divide(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = (Expr(site, one) for one in operands(site, args[:2]))
    if is_float(left.dtype):
        return (left / right).apply("Floor").tensor
    # ONNX cuts quotients of whole numbers off; its Mod has the sign of the divisor.
    return ((left - left.apply("Mod", right)) / right).tensor


def _modulo(x: Expr, y: Expr) -> Expr:
    """The remainder with the sign of the divisor."""
    if not is_float(x.dtype):
        return x.apply("Mod", y)
    rest = _remainder(x, y)
    other = ~(rest.equals(0)) & (rest < 0).apply("Xor", y < 0, dtype="bool")
    return other.choose(rest + y, rest)


def _remainder(x: Expr, y: Expr) -> Expr:
    """The remainder with the sign of the dividend."""
    made = elementwise(x.site, "Mod", x.tensor, y.tensor, attributes={"fmod": 1})
    return Expr(x.site, made)


def _clip(site: Site, args: list[Any], options: Options) -> Tensor:
    low, high = (
        args[place] if len(args) > place else options.get(name)
        for place, name in ((1, "x_min"), (2, "x_max"))
    )
    x = alone(site, args[0])
    if x.dtype == "bool":
        x = cast(site, x, "int32")
    if all(one is None or isinstance(one, (int, float, np.generic)) for one in (low, high)):
        return activations.clip(site, x, low, high)
    y = Expr(site, x)
    for op, limit in (("Max", low), ("Min", high)):
        if limit is not None:
            y = y.apply(op, Expr(site, _limit(site, limit, y.dtype)))
    return y.tensor


def _limit(site: Site, limit: Any, dtype: str) -> Tensor:
    if isinstance(limit, Tensor):
        return cast(site, limit, dtype)
    return constant(np.asarray(limit).astype(float_dtype(dtype)))


def _where(site: Site, args: list[Any], options: Options) -> Tensor:
    if len(args) != 3 or any(one is None for one in args):
        raise site.unsupported("lists the places where something is true")
    flags = cast(site, alone(site, args[0]), "bool")
    left, right = operands(site, args[1:])
    return elementwise(site, "Where", flags, left, right, dtype=left.dtype)


def _select(site: Site, args: list[Any], options: Options) -> Tensor:
    conditions, choices = args[0], args[1]
    default = args[2] if len(args) > 2 else 0
    if len(conditions) != len(choices):
        raise site.unsupported("has another number of choices than of conditions")
    *values, rest = operands(site, [*choices, default])
    result = Expr(site, rest)
    for flags, one in reversed(list(zip(conditions, values, strict=True))):
        chosen = Expr(site, cast(site, alone(site, flags), "bool"))
        result = chosen.choose(Expr(site, one), result)
    return result.tensor


def dtype_option(site: Site, stated: Any) -> str:
    """The name of a dtype as configs have it."""
    if isinstance(stated, dict):
        stated = stated.get("config", {}).get("name")
    if not isinstance(stated, str):
        raise site.unsupported("states a dtype that is not known")
    return stated


def _cast(site: Site, args: list[Any], options: Options) -> Tensor:
    dtype = dtype_option(site, args[1] if len(args) > 1 else options.get("dtype"))
    return cast(site, alone(site, args[0]), dtype)


def _saturate_cast(site: Site, args: list[Any], options: Options) -> Tensor:
    return saturated(site, alone(site, args[0]), dtype_option(site, options.get("dtype")))


def saturated(site: Site, x: Tensor, dtype: str) -> Tensor:
    """Clipped to what the dtype holds, then cast."""
    inner, outer = limits_of(x.dtype), limits_of(dtype)
    kind = float_dtype(x.dtype)
    low, high = (
        np.asarray(function(one, other)).astype(kind)
        for function, one, other in zip((max, min), inner, outer, strict=True)
    )
    # Limits that the smaller dtype rounds beyond the larger one's are drawn in by a step.
    low = np.nextafter(low, kind.type(0)) if low < outer[0] else low
    high = np.nextafter(high, kind.type(0)) if high > outer[1] else high
    return cast(site, unary(site, "Clip", x, low, high), dtype)


def limits_of(dtype: str) -> tuple[Any, Any]:
    """The smallest and the largest number that a dtype holds."""
    import ml_dtypes

    if dtype == "bool":
        return 0, 1
    if is_float(dtype):
        real: Any = ml_dtypes.finfo(float_dtype(dtype))  # type: ignore[no-untyped-call]
        return float(real.min), float(real.max)
    whole = np.iinfo(dtype)
    return int(whole.min), int(whole.max)


def _bitwise(op: str) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        if site.opset < 18:
            raise site.unsupported("works on bits, which ONNX does from opset 18 on only")
        given = operands(site, args)
        return elementwise(site, op, *given)

    return rule


def _shift(left: bool) -> Rule:
    """Bits moved by a constant number of places: a product or a rounded quotient."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        if isinstance(args[1], Tensor):
            raise site.unsupported("moves bits by a computed number of places")
        x, places = (Expr(site, one) for one in operands(site, args[:2]))
        assert places.tensor.const is not None
        counts = places.tensor.const
        if (counts < 0).any() or (counts > 8 * counts.dtype.itemsize - 2).any():
            raise site.unsupported("moves bits by more places than there are")
        factor = Expr(site, constant(np.left_shift(np.ones_like(counts), counts)))
        if left:
            return (x * factor).tensor
        return ((x - x.apply("Mod", factor)) / factor).tensor

    return rule


# -- formulas ------------------------------------------------------------------------------


def _negative(x: Expr) -> Expr:
    """Where the sign is negative, that of zero too."""
    return (x < 0) | (x.apply("Reciprocal") < 0)


def _signbit(x: Expr) -> Expr:
    return _negative(x) if is_float(x.dtype) else x.to("int32") < 0


def _arctan2(y: Expr, x: Expr) -> Expr:
    right = (y / x).apply("Atan")
    left = right + _negative(y).choose(right.like(-math.pi), right.like(math.pi))
    turned = _negative(x).choose(left, right)
    nowhere = x.equals(0) & y.equals(0)
    edge = _negative(x).choose(y.like(math.pi), y.like(0.0))
    edge = _negative(y).choose(-edge, edge)
    return nowhere.choose(edge, turned)


def _hypot(x: Expr, y: Expr) -> Expr:
    x, y = abs(x), abs(y)
    large, small = x.apply("Max", y), x.apply("Min", y)
    ratio = large.equals(0).choose(0.0, small / large)
    return large * (1.0 + ratio * ratio).apply("Sqrt")


def _logaddexp(x: Expr, y: Expr, base: float = math.e) -> Expr:
    delta, unit = x - y, math.log(base)
    inner = (1.0 + (-abs(delta) * unit).apply("Exp")).apply("Log")
    return delta.is_nan.choose(x + y, x.apply("Max", y) + inner / unit)


def _extremum(op: str) -> Callable[[Expr, Expr], Expr]:
    """The larger or smaller one, or the one that is a number."""

    def function(x: Expr, y: Expr) -> Expr:
        best = x.apply(op, y)
        if not is_float(x.dtype):
            return best
        return x.is_nan.choose(y, y.is_nan.choose(x, best))

    return function


def nan_to_num(x: Expr, nan: float, posinf: Number | None, neginf: Number | None) -> Expr:
    """Numbers in place of NaN and of the infinities."""
    if not is_float(x.dtype):
        return x
    low, high = limits_of(x.dtype)
    y = x.is_nan.choose(nan, x)
    y = x.equals(math.inf).choose(high if posinf is None else posinf, y)
    return x.equals(-math.inf).choose(low if neginf is None else neginf, y)


def _nan_to_num(site: Site, args: list[Any], options: Options) -> Tensor:
    x = Expr(site, alone(site, args[0]))
    limits = options.get("posinf"), options.get("neginf")
    return nan_to_num(x, float(options.get("nan") or 0.0), *limits).tensor


def _isclose(site: Site, args: list[Any], options: Options) -> Tensor:
    x, y = (Expr(site, one) for one in operands(site, args[:2]))
    relative, absolute = (
        args[place] if len(args) > place and args[place] is not None else options.get(name, usual)
        for place, name, usual in ((2, "rtol", 1e-5), (3, "atol", 1e-8))
    )
    if not is_float(x.dtype):
        return x.equals(y).tensor
    close: Expr = abs(x - y) <= abs(y) * relative + absolute
    if options.get("equal_nan"):
        close = close | (x.is_nan & y.is_nan)
    return close.tensor


def _sinc(x: Expr) -> Expr:
    angle = x * math.pi
    return x.equals(0).choose(1.0, angle.apply("Sin") / angle)


def _ldexp(x: Expr, y: Expr) -> Expr:
    return (abs(x).equals(math.inf) | x.equals(0)).choose(x, x * 2.0**y)


def _isnan(site: Site, args: list[Any], options: Options) -> Tensor:
    return Expr(site, alone(site, args[0])).is_nan.tensor


def _log(base: float) -> Rule:
    # Keras divides by the logarithm of the base in the dtype at hand.
    return formula(lambda x: x.apply("Log") / x.like(math.log(base)), floats="yes")


def _flags(function: Callable[[Expr], Expr]) -> Rule:
    """A question about floats, of which whole numbers are a part."""
    return formula(function, floats="yes")


MATH: Mapping[str, Rule] = {
    "Abs": formula(abs),
    "Absolute": formula(abs),
    "Add": _binary("Add"),
    "Arccos": _unary("Acos", floats=True),
    "Arccosh": _unary("Acosh", floats=True),
    "Arcsin": _unary("Asin", floats=True),
    "Arcsinh": _unary("Asinh", floats=True),
    "Arctan": _unary("Atan", floats=True),
    "Arctan2": formula(_arctan2, floats="yes"),
    "Arctanh": _unary("Atanh", floats=True),
    "BitwiseAnd": _bitwise("BitwiseAnd"),
    "BitwiseInvert": _bitwise("BitwiseNot"),
    "BitwiseLeftShift": _shift(True),
    "BitwiseNot": _bitwise("BitwiseNot"),
    "BitwiseOr": _bitwise("BitwiseOr"),
    "BitwiseRightShift": _shift(False),
    "BitwiseXor": _bitwise("BitwiseXor"),
    "Cast": _cast,
    "Cbrt": formula(lambda x: x.apply("Sign") * abs(x) ** x.like(1.0 / 3.0), floats="wide"),
    "Ceil": _unary("Ceil", floats=True),
    "Celu": _activation("celu", "alpha"),
    "Clip": _clip,
    "Conj": _unary("Identity"),
    "Conjugate": _unary("Identity"),
    "Cos": _unary("Cos", floats=True),
    "Cosh": _unary("Cosh", floats=True),
    "Deg2rad": formula(lambda x: x * (math.pi / 180.0), floats="wide"),
    "Divide": _binary("Div", to_float=True),
    "DivideNoNan": formula(lambda x, y: y.equals(0).choose(0.0, x / y), floats="yes"),
    "Elu": _activation("elu", "alpha"),
    "Equal": _binary("Equal", result="bool"),
    "Erf": _unary("Erf"),
    "Erfc": formula(lambda x: 1.0 - x.apply("Erf")),
    "Exp": _unary("Exp", floats=True),
    "Exp2": formula(lambda x: 2.0**x, floats="yes"),
    "Expm1": formula(lambda x: x.apply("Exp") - 1.0, floats="yes"),
    "Fabs": formula(abs, floats="yes"),
    "Floor": _unary("Floor", floats=True),
    "FloorDivide": _floor_divide,
    "Fmax": formula(_extremum("Max")),
    "Fmin": formula(_extremum("Min")),
    "Fmod": formula(_remainder),
    "Gelu": _activation("gelu", "approximate"),
    "Glu": _activation("glu", "axis"),
    "Greater": _binary("Greater", result="bool"),
    "GreaterEqual": _binary("GreaterOrEqual", result="bool"),
    "HardShrink": _shrink(False),
    "HardSigmoid": _activation("hard_sigmoid"),
    "HardSilu": _activation("hard_silu"),
    "HardTanh": _activation("hard_tanh"),
    "Heaviside": formula(lambda x, y: (x < 0).choose(0.0, (x > 0).choose(1.0, y)), floats="wide"),
    "Hypot": formula(_hypot, floats="wide"),
    "Isclose": _isclose,
    "Isfinite": _flags(lambda x: abs(x) < math.inf),
    "Isinf": _flags(lambda x: abs(x).equals(math.inf)),
    "Isnan": _isnan,
    "Isneginf": _flags(lambda x: x.equals(-math.inf)),
    "Isposinf": _flags(lambda x: x.equals(math.inf)),
    "Ldexp": formula(_ldexp, floats="yes"),
    "LeakyRelu": _activation("leaky_relu", "negative_slope"),
    "LeftShift": _shift(True),
    "Less": _binary("Less", result="bool"),
    "LessEqual": _binary("LessOrEqual", result="bool"),
    "Log": _unary("Log", floats=True),
    "Log10": _log(10.0),
    "Log1p": formula(lambda x: (x + 1.0).apply("Log"), floats="yes"),
    "Log2": _log(2.0),
    "LogSigmoid": _activation("log_sigmoid"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "Logaddexp": formula(_logaddexp, floats="yes"),
    "Logaddexp2": formula(_logaddexp, floats="yes", base=2.0),
    "LogicalAnd": _logical("And"),
    "LogicalNot": _logical("Not"),
    "LogicalOr": _logical("Or"),
    "LogicalXor": _logical("Xor"),
    "Maximum": _binary("Max"),
    "Minimum": _binary("Min"),
    "Mish": _activation("mish"),
    "Mod": formula(_modulo),
    "Multiply": _binary("Mul"),
    "NanToNum": _nan_to_num,
    "Negative": _unary("Neg"),
    "NotEqual": formula(lambda x, y: ~x.equals(y)),
    "Power": _binary("Pow"),
    "Rad2deg": formula(lambda x: x * (180.0 / math.pi), floats="wide"),
    "Real": _unary("Identity"),
    "Reciprocal": _unary("Reciprocal"),
    "Relu": _relu,
    "Relu6": _activation("relu6"),
    "RightShift": _shift(False),
    "Round": _round,
    "Rsqrt": formula(lambda x: x.apply("Sqrt").apply("Reciprocal")),
    "SaturateCast": _saturate_cast,
    "Select": _select,
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Sign": _unary("Sign"),
    "Signbit": formula(_signbit),
    "Silu": _activation("silu"),
    "Sin": _unary("Sin", floats=True),
    "Sinc": formula(_sinc, floats="yes"),
    "Sinh": _unary("Sinh", floats=True),
    "SoftShrink": _shrink(True),
    "Softmax": _softmax("Softmax"),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "SparsePlus": _activation("sparse_plus"),
    "SparseSigmoid": _activation("sparse_sigmoid"),
    "Sparsemax": _activation("sparsemax", "axis"),
    "Sqrt": _unary("Sqrt", floats=True),
    "Square": formula(lambda x: x * x),
    "Squareplus": _activation("squareplus", "b"),
    "Subtract": _binary("Sub"),
    "Tan": _unary("Tan", floats=True),
    "Tanh": _activation("tanh"),
    "TanhShrink": _activation("tanh_shrink"),
    "Threshold": formula(
        lambda x, threshold, default_value: (x > threshold).choose(x, default_value),
        threshold=0.0,
        default_value=0.0,
    ),
    "TrueDivide": _binary("Div", to_float=True),
    "Trunc": formula(lambda x: (x < 0).choose(x.apply("Ceil"), x.apply("Floor")), whole="kept"),
    "Where": _where,
}
