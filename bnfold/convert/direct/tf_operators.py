"""Operator nodes of Keras 2: TensorFlow functions by name, mapped on Keras 3's operators."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnfold.convert.direct.convolutions import channels_of, spatial_form
from bnfold.convert.direct.expressions import Expr, Options, Rule, formula
from bnfold.convert.direct.layout import constant, value
from bnfold.convert.direct.operators import OPERATORS
from bnfold.convert.direct.operators_make import matrix_of
from bnfold.convert.direct.operators_math import dtype_option
from bnfold.convert.direct.operators_nn import configured, known
from bnfold.convert.direct.operators_reduce import axes_option, over
from bnfold.convert.direct.ops import cast, concat, elementwise
from bnfold.convert.direct.promotion import alone, is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, permuted, plain
from bnfold.formats.keras.operator_calls import OperatorCall, keras2_call

# -- what Keras 3 has no operator for ------------------------------------------------------


def _add_n(site: Site, args: list[Any], options: Options) -> Tensor:
    total, *rest = (Expr(site, one) for one in operands(site, args[0]))
    return functools.reduce(lambda one, other: one + other, rest, total).tensor


def _bias_add(site: Site, args: list[Any], options: Options) -> Tensor:
    if str(options.get("data_format") or "N").startswith("NC"):
        raise site.unsupported("adds a bias to channels-first values")
    x, bias = operands(site, args)
    return elementwise(site, "Add", x, bias)


def _clip_by_norm(site: Site, args: list[Any], options: Options) -> Tensor:
    x, limit = Expr(site, alone(site, args[0])), options.get("clip_norm")
    if not isinstance(limit, (int, float)):
        raise site.unsupported("clips by a computed norm")
    length = x.over("ReduceL2", axes_option(site, x.tensor, options), True)
    return (x * float(limit) / length.apply("Max", float(limit))).tensor


def _unit(site: Site, args: list[Any], options: Options) -> Tensor:
    x = Expr(site, alone(site, args[0]))
    axes, tiny = axes_option(site, x.tensor, options), float(options.get("epsilon") or 1e-12)
    square = (x * x).over("ReduceSum", axes, True).apply("Max", tiny)
    return (x / square.apply("Sqrt")).tensor


def _crelu(site: Site, args: list[Any], options: Options) -> Tensor:
    x = Expr(site, alone(site, args[0]))
    both = [x.apply("Relu").tensor, (-x).apply("Relu").tensor]
    return concat(site, both, int(options.get("axis", -1)))


def _local_response(site: Site, args: list[Any], options: Options) -> Tensor:
    """Each channel over the squares of its neighbours; ONNX takes their mean, not their sum."""
    x = alone(site, args[0])
    site = configured(site, options)
    if x.rank != 4:
        raise site.unsupported(f"is given a value with {x.rank} axes")
    known(site, [channels_of(site, x.shape)])
    stated = {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}
    radius, bias, alpha, beta = (float(options.get(key, usual)) for key, usual in stated.items())
    count = 2 * int(radius) + 1
    form = spatial_form(site, 4)
    made = site.node(
        "LRN",
        [value(site, x, form)],
        (x.dtype, permuted(x.shape, form)),
        size=count,
        alpha=alpha * count,
        beta=beta,
        bias=bias,
    )
    return Tensor(x.shape, x.dtype, {form: made})


def _standardize(site: Site, args: list[Any], options: Options) -> Tensor:
    """Images less their mean, over their deviation or what it is at least for their size."""
    x = Expr(site, alone(site, args[0]))
    if not is_float(x.dtype):
        raise site.unsupported("standardizes images of whole numbers")
    axes = [-3, -2, -1]
    count = math.prod(known(site, x.tensor.shape[-3:]))
    centred = x - x.over("ReduceMean", axes, True)
    spread = (centred * centred).over("ReduceMean", axes, True).apply("Sqrt")
    return (centred / spread.apply("Max", 1.0 / math.sqrt(count))).tensor


def _sequence_mask(site: Site, args: list[Any], options: Options) -> Tensor:
    lengths, count = alone(site, args[0]), options.get("maxlen")
    if not isinstance(count, int):
        raise site.unsupported("makes a mask of computed length")
    places = Expr(site, alone(site, np.arange(count, dtype=np.int64)))
    made = places < Expr(site, cast(site, lengths, "int64")).spread(lengths.rank)
    return cast(site, made.tensor, dtype_option(site, options.get("dtype") or "bool"))


def _shape_of(site: Site, args: list[Any], options: Options) -> Tensor:
    """A value's shape as a value, which says what is known of it."""
    x = alone(site, args[0])
    dtype = dtype_option(site, options.get("out_type") or "int32")
    sizes = [dim for dim in x.shape if isinstance(dim, int)]
    if len(sizes) == x.rank:
        y = constant(np.asarray(sizes, dtype=dtype))
    else:
        start = value(site, x, plain(x.rank))
        made = site.node("Shape", [start], ("int64", (x.rank,)))
        y = cast(site, Tensor((x.rank,), "int64", {plain(1): made}), dtype)
    return dataclasses.replace(y, sizes=x.shape)


_OWN: Mapping[str, Rule] = {
    "AddN": _add_n,
    "BiasAdd": _bias_add,
    "ClipByNorm": _clip_by_norm,
    "Crelu": _crelu,
    "EuclideanNorm": over(lambda x, axes, keep: x.over("ReduceL2", axes, keep)),
    "InTopKOf": lambda site, args, options: OPERATORS["InTopK"](site, args[::-1], options),
    "LocalResponse": _local_response,
    "MatrixDiag": lambda site, args, options: matrix_of(
        site, alone(site, args[0]), int(options.get("k") or 0)
    ),
    "MultiplyNoNan": formula(lambda x, y: y.equals(0).choose(0.0, x * y)),
    "ReciprocalNoNan": formula(lambda x: x.equals(0).choose(0.0, 1.0 / x)),
    "SequenceMask": _sequence_mask,
    "ShapeOf": _shape_of,
    "SquaredDifference": formula(lambda x, y: (x - y) * (x - y)),
    "Standardize": _standardize,
    "UnitL2": _unit,
}

# -- from a call to a rule -----------------------------------------------------------------


def tf_operator(site: Site) -> Tensor | list[Tensor]:
    """TFOpLambda, SlicingOpLambda and TensorFlowOpLayer of Keras 2."""
    call = keras2_call(site.layer, site.args, site.kwargs or {}, _settled)
    if call.unknown:
        raise site.unsupported(call.unknown)
    if call.name == "Where" and len(call.args) != 3:
        raise site.unsupported("calls tf.where with one argument")
    if call.name == "Einsum":
        raise site.unsupported("calls tf.einsum")
    rule = _OWN.get(call.name) or OPERATORS[call.name]
    return _with_sizes(call, rule(site, call.args, call.options))


def _settled(option: Any) -> Any:
    """An option with sizes of values in place of the tensors that hold them."""
    if isinstance(option, Tensor):
        if option.sizes is not None:
            return list(option.sizes) if option.rank else option.sizes[0]
        return option if option.const is None else option.const.tolist()
    if isinstance(option, (list, tuple)):
        return [_settled(one) for one in option]
    return option


_OF_SIZES = frozenset(
    {"Cast", "Concatenate", "GetItem", "Identity", "Stack", "StopGradient", "Unstack"}
)


def _with_sizes(call: OperatorCall, result: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """Sizes that are taken apart or put together stay known."""
    first = call.args[0] if call.args else None
    parts = first if isinstance(first, (list, tuple)) else [first]
    if call.name not in _OF_SIZES or not any(isinstance(p, Tensor) and p.sizes for p in parts):
        return result
    sizes = [_sizes(one) for one in parts]
    if any(one is None for one in sizes):
        return result
    found = [dim for one in sizes if one for dim in one]
    if isinstance(result, list):
        pairs = zip(result, found, strict=True)
        return [dataclasses.replace(one, sizes=(dim,)) for one, dim in pairs]
    if call.name == "GetItem":
        item = call.args[1][0] if len(call.args[1]) == 1 else None
        if not isinstance(item, (int, slice)):
            return result
        found = found[item] if isinstance(item, slice) else [found[item]]
    return result if result.rank > 1 else dataclasses.replace(result, sizes=tuple(found))


def _sizes(part: Any) -> tuple[Dim, ...] | None:
    if isinstance(part, Tensor):
        return part.sizes
    flat = np.asarray(part).reshape(-1)
    return tuple(int(one) for one in flat) if flat.dtype.kind in "iu" else None
