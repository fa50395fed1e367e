"""Operators over whole axes: sums, extremes, statistics, norms, running sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.expressions import Expr, One, Options, Rule
from bnfold.convert.direct.layout import reshape, transpose, value
from bnfold.convert.direct.operators_math import dtype_option, nan_to_num
from bnfold.convert.direct.ops import cast, slices
from bnfold.convert.direct.promotion import alone, in_floats, is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain, size

Statistic = Callable[[Expr, Sequence[int], bool], Expr]
_HALVES = ("float16", "bfloat16")


def axes_option(site: Site, x: Tensor, options: Options) -> list[int]:
    """The option "axis" as a list; all axes where it is not given."""
    axis = options.get("axis", options.get("axes"))
    if axis is None:
        return list(range(x.rank))
    return [int(one) % x.rank for one in (axis if isinstance(axis, (list, tuple)) else [axis])]


def flat(site: Site, x: Tensor) -> Tensor:
    """All elements along one axis, in Keras's order."""
    if x.rank == 1:
        return x
    count = size(x.shape)
    return reshape(site, x, (count if count is not None else site.emitter.fresh_dim(),))


def over(function: Statistic) -> One:
    """A rule for a function of a value, axes and whether the axes stay with size 1."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = alone(site, args[0])
        axes = axes_option(site, x, options)
        return function(Expr(site, x), axes, bool(options.get("keepdims"))).tensor

    return rule


_COUNTED_IN = {"bool": "int32", "int8": "int32", "int16": "int32"}
_COUNTED_IN |= {"uint8": "uint32", "uint16": "uint32"}


def countable(x: Expr) -> Expr:
    """Small whole numbers in the dtype in which Keras adds and multiplies them."""
    return x.to(_COUNTED_IN.get(x.dtype, x.dtype)) if x.site.generation == 3 else x


def _floating(x: Expr) -> Expr:
    return Expr(x.site, in_floats(x.site, x.tensor))


def _plain_over(op: str, prepare: Callable[[Expr], Expr] = lambda x: x) -> Statistic:
    return lambda x, axes, keep: prepare(x).over(op, axes, keep)


def _mean(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    if x.site.generation == 2 and not is_float(x.dtype):
        raise x.site.unsupported("averages whole numbers")
    return _floating(x).over("ReduceMean", axes, keep)


def _extreme(op: str) -> One:
    """The largest or smallest element; of flags whether any or all are true."""

    def statistic(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
        if x.dtype == "bool":
            return x.to("float32").over(op, axes, keep).to("bool")
        return x.over(op, axes, keep)

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        y = over(statistic)(site, args, options)
        initial = options.get("initial")
        if initial is None:
            return y
        return Expr(site, y).apply(op.removeprefix("Reduce"), initial).tensor

    return rule


def _quantifier(op: str) -> Statistic:
    """Any or All of flags: the largest or smallest of them as numbers."""
    return lambda x, axes, keep: x.to("bool").to("float32").over(op, axes, keep).to("bool")


def variance(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    """The mean square of the distance from the mean, in float32 at least."""
    wide = x.to("float32") if x.dtype in _HALVES else _floating(x)
    centred = wide - wide.over("ReduceMean", axes, True)
    y = (centred * centred).over("ReduceMean", axes, keep)
    return y.to(x.dtype) if is_float(x.dtype) else y


def _deviation(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    return variance(x, axes, keep).apply("Sqrt")


def _nonzero(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    counted = "int64" if x.site.generation == 2 else "int32"
    return x.to("bool").to(counted).over("ReduceSum", axes, keep)


def _prod(site: Site, args: list[Any], options: Options) -> Tensor:
    if options.get("dtype") is not None:
        raise site.unsupported("multiplies in another dtype")
    return over(_plain_over("ReduceProd", countable))(site, args, options)


def _moments(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    """Mean and variance; of half floats clipped to what they hold."""
    x = alone(site, args[0])
    if not is_float(x.dtype):
        raise site.unsupported("takes the moments of whole numbers")
    axes, keep = axes_option(site, x, options), bool(options.get("keepdims"))
    wide = Expr(site, cast(site, x, "float32") if x.dtype in _HALVES else x)
    pair = [wide.over("ReduceMean", axes, keep), variance(wide, axes, keep)]
    if x.dtype in _HALVES:
        largest = float(np.finfo(np.float16).max)
        pair = [one.apply("Max", -largest).apply("Min", largest).to(x.dtype) for one in pair]
    return [one.tensor for one in pair]


def _average(site: Site, args: list[Any], options: Options) -> Tensor:
    """A mean, weighted where weights are given."""
    weights = args[1] if len(args) > 1 else options.get("weights")
    if weights is None:
        return over(_plain_over("ReduceMean", _floating))(site, args, options)
    x, w = operands(site, [args[0], weights], to_float=True)
    axes = axes_option(site, x, options)
    if w.rank != x.rank:
        if w.rank != 1 or len(axes) != 1:
            raise site.unsupported("is given weights with other axes than the value")
        w = reshape(site, w, [x.shape[axes[0]] if axis in axes else 1 for axis in range(x.rank)])
    total = (Expr(site, x) * Expr(site, w)).over("ReduceSum", axes)
    return (total / Expr(site, w).over("ReduceSum", axes)).tensor


# -- leaving out what is no number ---------------------------------------------------------


def _without_nan(fill: float) -> Callable[[Expr], Expr]:
    return lambda x: x.is_nan.choose(fill, x) if is_float(x.dtype) else x


def _nan_extreme(op: str, fill: float) -> One:
    def statistic(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
        y = _without_nan(fill)(x).over(op, axes, keep)
        return _all_nan(x, axes, keep).choose(math.nan, y)

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        plainly = not is_float(alone(site, args[0]).dtype)
        return (_extreme(op) if plainly else over(statistic))(site, args, options)

    return rule


def _all_nan(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    return _quantifier("ReduceMin")(x.is_nan, axes, keep)


def _nan_sum(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    return countable(_without_nan(0.0)(x)).over("ReduceSum", axes, keep)


def _nan_count(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    return (~x.is_nan).to(x.dtype).over("ReduceSum", axes, keep)


def _nan_mean(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    x = _floating(x)
    return _nan_sum(x, axes, keep) / _nan_count(x, axes, keep)


def _nan_variance(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    x = _floating(x)
    centred = x.is_nan.choose(0.0, x - _nan_mean(x, axes, True))
    return (centred * centred).over("ReduceSum", axes, keep) / _nan_count(x, axes, keep)


def _nan_deviation(x: Expr, axes: Sequence[int], keep: bool) -> Expr:
    return _nan_variance(x, axes, keep).apply("Sqrt")


# -- places, running sums, differences -----------------------------------------------------


def _arg(op: str) -> One:
    """The place of the largest or smallest element along an axis, or among all elements."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x, axis = alone(site, args[0]), options.get("axis")
        keep, rank = bool(options.get("keepdims")), alone(site, args[0]).rank
        if axis is None:
            x, axis = flat(site, x), 0
        x = cast(site, x, "int32") if x.dtype == "bool" else x
        axis = int(axis) % x.rank
        shape = tuple(
            1 if one == axis else dim for one, dim in enumerate(x.shape) if keep or one != axis
        )
        made = site.node(
            op, [value(site, x, plain(x.rank))], ("int64", shape), axis=axis, keepdims=int(keep)
        )
        # Keras 3 counts in int32, TensorFlow's functions in int64 unless told.
        usual = "int64" if site.generation == 2 else "int32"
        wanted = dtype_option(site, options.get("dtype") or usual)
        y = cast(site, Tensor(shape, "int64", {plain(len(shape)): made}), wanted)
        return reshape(site, y, (1,) * rank) if keep and rank > x.rank else y

    return rule


def _nan_arg(op: str, fill: float) -> One:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = Expr(site, alone(site, args[0]))
        if not is_float(x.dtype):
            return _arg(op)(site, args, options)
        best = Expr(site, _arg(op)(site, [_without_nan(fill)(x).tensor], options))
        axes, keep = axes_option(site, x.tensor, options), bool(options.get("keepdims"))
        return _all_nan(x, axes, keep).choose(-1, best).tensor

    return rule


def running(op: str, *, nan: float | None = None) -> One:
    """CumSum along an axis, or along the flattened value; a product as steps of factors."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = Expr(site, alone(site, args[0]))
        if nan is not None:
            x = nan_to_num(x, nan, None, None)
        if options.get("dtype") is not None:
            x = x.to(dtype_option(site, options["dtype"]))
        x = x.to("int32") if x.dtype == "bool" else x
        axis = options.get("axis")
        tensor = flat(site, x.tensor) if axis is None else x.tensor
        function = _running_sum if op == "sum" else _running_product
        return function(site, tensor, int(axis or 0) % tensor.rank, options)

    return rule


def _running_sum(site: Site, x: Tensor, axis: int, options: Options) -> Tensor:
    form = x.form if not x.form.flat else plain(x.rank)
    start = value(site, x, form)
    made = site.node(
        "CumSum",
        [start, site.constant(np.asarray(form.axis(axis), dtype=np.int64), "axis")],
        (x.dtype, [x.shape[one] for one in form.perm]),
        exclusive=1 if options.get("exclusive") else None,
        reverse=1 if options.get("reverse") else None,
    )
    return Tensor(x.shape, x.dtype, {form: made})


def _running_product(site: Site, x: Tensor, axis: int, options: Options) -> Tensor:
    """A masked product per element: ONNX has no running product."""
    dim = x.shape[axis]
    if not isinstance(dim, int):
        raise site.unsupported("multiplies along a size that is free")
    if options.get("exclusive") or options.get("reverse"):
        raise site.unsupported("multiplies backwards, or without the element itself")
    order = [one for one in range(x.rank) if one != axis] + [axis]
    last = Expr(site, transpose(site, x, order))
    seen = Expr(site, alone(site, np.tril(np.ones((dim, dim), dtype=bool))))
    y = seen.choose(last.spread(-2), last.like(1)).over("ReduceProd", [x.rank])
    return transpose(site, y.tensor, [order.index(one) for one in range(x.rank)])


def _diff(site: Site, args: list[Any], options: Options) -> Tensor:
    """What each element is more than the one before, ``n`` times over."""
    x, axis = alone(site, args[0]), int(options.get("axis", -1))
    for _ in range(int(options.get("n", 1))):
        later = Expr(site, slices(site, x, {axis: (1, None, 1)}))
        sooner = Expr(site, slices(site, x, {axis: (None, -1, 1)}))
        if x.dtype == "bool":
            x = later.apply("Xor", sooner, dtype="bool").tensor
        else:
            x = (later - sooner).tensor
    return x


def _trapezoid(site: Site, args: list[Any], options: Options) -> Tensor:
    y, axis = in_floats(site, alone(site, args[0])), int(options.get("axis", -1))
    if options.get("x") is not None:
        raise site.unsupported("integrates over places of its own")
    later = Expr(site, slices(site, y, {axis: (1, None, 1)}))
    sooner = Expr(site, slices(site, y, {axis: (None, -1, 1)}))
    heights = (later + sooner) * 0.5 * float(options.get("dx", 1.0))
    return heights.over("ReduceSum", [axis % y.rank]).tensor


# -- norms ---------------------------------------------------------------------------------


def norm(site: Site, args: list[Any], options: Options) -> Tensor:
    """Norms of vectors, and those of matrices that need no singular values."""
    x = Expr(site, in_floats(site, alone(site, args[0])))
    order, keep = options.get("ord"), bool(options.get("keepdims"))
    axes = axes_option(site, x.tensor, options)
    order = float(order) if order in ("inf", "-inf") else order
    if len(axes) == 1:
        return vector_norm(x, 2 if order is None else order, axes, keep).tensor
    if site.generation == 2 and options.get("axis") is None:
        return vector_norm(x, 2 if order is None else order, axes, keep).tensor
    if len(axes) != 2:
        raise site.unsupported("takes the norm over more than two axes")
    if order in (None, "fro"):
        return x.over("ReduceL2", axes, keep).tensor
    if order not in (1, -1, math.inf, -math.inf):
        raise site.unsupported(f"takes the norm {order!r} of a matrix")
    rows, columns = axes if abs(order) == 1 else axes[::-1]
    best = "ReduceMax" if order > 0 else "ReduceMin"
    y = abs(x).over("ReduceSum", [rows], True).over(best, [columns], True)
    return (y if keep else y.over("ReduceSum", axes)).tensor


def vector_norm(x: Expr, order: Any, axes: Sequence[int], keep: bool) -> Expr:
    """The norm of this order over some axes."""
    if order == 2:
        return x.over("ReduceL2", axes, keep)
    if order == 1:
        return x.over("ReduceL1", axes, keep)
    if order in (math.inf, -math.inf):
        return abs(x).over("ReduceMax" if order > 0 else "ReduceMin", axes, keep)
    if order == 0:
        return (~x.equals(0)).to(x.dtype).over("ReduceSum", axes, keep)
    if isinstance(order, str):
        raise x.site.unsupported(f"takes the norm {order!r} of a vector")
    return (abs(x) ** float(order)).over("ReduceSum", axes, keep) ** (1.0 / float(order))


def _normalize(site: Site, args: list[Any], options: Options) -> Tensor:
    """A value divided by its norm, which counts as epsilon at least."""
    x = Expr(site, alone(site, args[0]))
    order, epsilon = options.get("order", 2), options.get("epsilon")
    tiny = 1e-7 if epsilon is None else float(epsilon)
    axes = axes_option(site, x.tensor, options)
    if order == 2:
        inverse = (x * x).over("ReduceSum", axes, True).apply("Sqrt").apply("Reciprocal")
        return (x * inverse.apply("Min", 1.0 / tiny)).tensor
    return (x / vector_norm(x, order, axes, True).apply("Max", tiny)).tensor


REDUCTIONS: Mapping[str, Rule] = {
    "All": over(_quantifier("ReduceMin")),
    "Amax": _extreme("ReduceMax"),
    "Amin": _extreme("ReduceMin"),
    "Any": over(_quantifier("ReduceMax")),
    "Argmax": _arg("ArgMax"),
    "Argmin": _arg("ArgMin"),
    "Average": _average,
    "CountNonzero": over(_nonzero),
    "Cumprod": running("product"),
    "Cumsum": running("sum"),
    "Diff": _diff,
    "Logsumexp": over(_plain_over("ReduceLogSumExp", _floating)),
    "Max": _extreme("ReduceMax"),
    "Mean": over(_mean),
    "Min": _extreme("ReduceMin"),
    "Moments": _moments,
    "Nanargmax": _nan_arg("ArgMax", -math.inf),
    "Nanargmin": _nan_arg("ArgMin", math.inf),
    "Nancumprod": running("product", nan=1.0),
    "Nancumsum": running("sum", nan=0.0),
    "Nanmax": _nan_extreme("ReduceMax", -math.inf),
    "Nanmean": over(_nan_mean),
    "Nanmin": _nan_extreme("ReduceMin", math.inf),
    "Nanprod": over(
        lambda x, axes, keep: countable(_without_nan(1.0)(x)).over("ReduceProd", axes, keep)
    ),
    "Nanstd": over(_nan_deviation),
    "Nansum": over(_nan_sum),
    "Nanvar": over(_nan_variance),
    "Norm": norm,
    "Normalize": _normalize,
    "Prod": _prod,
    "Ptp": over(
        lambda x, axes, keep: x.over("ReduceMax", axes, keep) - x.over("ReduceMin", axes, keep)
    ),
    "Std": over(_deviation),
    "Sum": over(_plain_over("ReduceSum", countable)),
    "Trapezoid": _trapezoid,
    "Var": over(variance),
}
