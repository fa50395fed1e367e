"""Operators that make values of a shape, of numbers in order, or of places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.emitter import onnx_type
from bnfold.convert.direct.expressions import Expr, Options, Rule
from bnfold.convert.direct.layout import constant, reshape, unsqueeze, value
from bnfold.convert.direct.operators_math import dtype_option
from bnfold.convert.direct.operators_moves import broadcast_to, moved
from bnfold.convert.direct.operators_reduce import countable
from bnfold.convert.direct.ops import cast, elementwise, gather, pad, positions
from bnfold.convert.direct.promotion import (
    alone,
    common_dtype,
    in_floats,
    is_float,
    kind_of,
    result_type,
    tensor_of,
)
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, permuted, plain, size
from bnfold.formats.keras.graph import float_dtype

# -- filled with one number ----------------------------------------------------------------


def filled(site: Site, x: Tensor, number: Any, dtype: str) -> Tensor:
    """A number everywhere, in the shape of ``x``."""
    fill = np.asarray(number).astype(float_dtype(dtype))
    known = [dim for dim in x.shape if isinstance(dim, int)]
    if len(known) == x.rank:
        return constant(np.full(known, fill))
    form = x.form if not x.form.flat else plain(x.rank)
    whole = site.node("Shape", [value(site, x, form)], ("int64", (x.rank,)))
    filler = ir.Tensor(fill.reshape(1), dtype=onnx_type(dtype), name="fill")
    made = site.node("ConstantOfShape", [whole], (dtype, permuted(x.shape, form)), value=filler)
    return Tensor(x.shape, dtype, {form: made})


def _filled(number: float) -> Rule:
    """ZerosLike, OnesLike, EmptyLike."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x, stated = alone(site, args[0]), options.get("dtype")
        return filled(site, x, number, dtype_option(site, stated) if stated else x.dtype)

    return rule


def _full_like(site: Site, args: list[Any], options: Options) -> Tensor:
    x, fill, stated = alone(site, args[0]), args[1], options.get("dtype")
    dtype = dtype_option(site, stated) if stated else x.dtype
    if not isinstance(fill, Tensor) and np.ndim(fill) == 0:
        return filled(site, x, fill, dtype)
    whole = site.node("Shape", [value(site, x, plain(x.rank))], ("int64", (x.rank,)))
    given = tensor_of(site, fill, dtype)
    made = site.node("Expand", [value(site, given, plain(given.rank)), whole], (dtype, x.shape))
    return Tensor(x.shape, dtype, {plain(x.rank): made})


def _full(site: Site, args: list[Any], options: Options) -> Tensor:
    shape = options.get("shape")
    shape = [shape] if isinstance(shape, int) else shape
    stated = options.get("dtype")
    fill = tensor_of(site, args[0], dtype_option(site, stated) if stated else "float32")
    return broadcast_to(site, fill, [int(one) for one in shape or ()])


# -- numbers in order ----------------------------------------------------------------------


def _linspace(site: Site, args: list[Any], options: Options) -> Tensor:
    """Numbers at equal distances along a new axis."""
    count, end = int(options.get("num", 50)), options.get("endpoint", True)
    if options.get("retstep") or options.get("dtype") is not None:
        raise site.unsupported("makes numbers in a dtype of their own, or returns the step")
    dtype = common_dtype(site, args[:2], to_float=True)
    start, stop = (Expr(site, tensor_of(site, one, dtype)) for one in args[:2])
    parts = np.arange(count, dtype=np.float64) / max(count - bool(end), 1)
    rank = max(start.tensor.rank, stop.tensor.rank)
    axis = int(options.get("axis") or 0) % (rank + 1)
    shape = [count if place == axis else 1 for place in range(rank + 1)]
    step = Expr(site, constant(parts.reshape(shape).astype(float_dtype(dtype))))
    first, length = (_spread_at(one, axis, rank) for one in (start, stop - start))
    return (first + length * step).tensor


def _spread_at(x: Expr, axis: int, rank: int) -> Expr:
    tensor = x.tensor
    if tensor.rank < rank:
        tensor = unsqueeze(x.site, tensor, range(rank - tensor.rank))
    return Expr(x.site, tensor).spread(axis)


def _vander(site: Site, args: list[Any], options: Options) -> Tensor:
    """Powers of the elements side by side."""
    x, count = alone(site, args[0]), options.get("N")
    count = x.shape[0] if count is None else int(count)
    if not isinstance(count, int):
        raise site.unsupported("raises a free number of elements to as many powers")
    powers = np.arange(count) if options.get("increasing") else np.arange(count)[::-1]
    wide = Expr(site, in_floats(site, x)).spread(x.rank)
    exponents = Expr(site, constant(powers.astype(float_dtype(wide.dtype))))
    return (wide**exponents).to(x.dtype).tensor


# -- classes as vectors --------------------------------------------------------------------


def one_hot(site: Site, x: Tensor, count: int, axis: int, dtype: str) -> Tensor:
    """A new axis that is 1 at the place that ``x`` names; nowhere, if there is no such place.

    ONNX's own OneHot counts negative places from the end.
    """
    axis = axis % (x.rank + 1)
    classes = np.arange(count, dtype=np.int64).reshape(-1, *[1] * (x.rank - axis))
    wide = unsqueeze(site, cast(site, x, "int64"), [axis])
    return cast(site, elementwise(site, "Equal", wide, constant(classes), dtype="bool"), dtype)


def _one_hot(site: Site, args: list[Any], options: Options) -> Tensor:
    if options.get("sparse"):
        raise site.unsupported("gives sparse values")
    stated, axis = options.get("dtype"), options.get("axis")
    on, off = options.get("on_value"), options.get("off_value")
    flags = on is not None or off is not None
    usual = result_type([kind_of(one) for one in (on, off) if one is not None] or ["float"])
    dtype = dtype_option(site, stated) if stated else usual
    y = one_hot(
        site,
        alone(site, args[0]),
        int(options["num_classes"]),
        -1 if axis is None else int(axis),
        "bool" if flags else dtype,
    )
    if not flags:
        return y
    pair = [constant(np.asarray(one).astype(float_dtype(dtype))) for one in (on or 0, off or 0)]
    return elementwise(site, "Where", y, *pair, dtype=dtype)


def _multi_hot(site: Site, args: list[Any], options: Options) -> Tensor:
    """One vector per sample, with a 1 at each place that it names."""
    x = alone(site, args[0])
    dtype = dtype_option(site, options.get("dtype") or "float32")
    count = options.get("num_classes") or options.get("num_tokens")
    if options.get("sparse") or not isinstance(count, int):
        raise site.unsupported("gives sparse values, or of an unknown number of classes")
    axis = int(options.get("axis", -1))
    inner = dtype if is_float(dtype) else "float32"
    y = Expr(site, one_hot(site, x, count, axis, inner))
    return y.over("ReduceMax", [1 if x.rank > 1 else 0]).to(dtype).tensor


# -- triangles and diagonals ---------------------------------------------------------------


def banded(site: Site, x: Tensor, low: int | None, high: int | None) -> Tensor:
    """Zeros outside of a band of diagonals, counted to the right; None: no limit on that side."""
    rows, columns = (Expr(site, positions(site, x, axis)) for axis in (-2, -1))
    rows = rows.spread(1)
    y = Expr(site, x)
    if low is not None:
        y = (columns >= _moved_on(rows, low)).choose(y, y.like(0))
    if high is not None:
        y = (columns <= _moved_on(rows, high)).choose(y, y.like(0))
    return y.tensor


def _moved_on(places: Expr, count: int) -> Expr:
    known = places.tensor.const
    return places + count if known is None else Expr(places.site, constant(known + count))


def _triangle(lower: bool) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x, k = alone(site, args[0]), options.get("k") or 0
        if not isinstance(k, int):
            raise site.unsupported("has a diagonal that is computed")
        return banded(site, x, None if lower else k, k if lower else None)

    return rule


def _band_part(site: Site, args: list[Any], options: Options) -> Tensor:
    """TensorFlow's band_part: a negative number keeps the whole triangle."""
    low, high = int(options["num_lower"]), int(options["num_upper"])
    limits = None if low < 0 else -low, None if high < 0 else high
    return banded(site, alone(site, args[0]), *limits)


def diagonal(site: Site, x: Tensor, k: int) -> Tensor:
    """The elements of the last two axes that stand ``k`` to the right of the main diagonal."""
    rows, columns = x.shape[-2:]
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise site.unsupported("takes the diagonal of a size that is free")
    places = np.arange(max(min(rows, columns - k) - max(0, -k), 0)) + max(0, -k)
    lead = x.shape[:-2]
    last = reshape(site, x, (*lead, rows * columns))
    return gather(site, last, constant((places * (columns + 1) + k).astype(np.int64)), -1)


def _diagonal(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    axes = [int(options.get(key, usual)) for key, usual in (("axis1", 0), ("axis2", 1))]
    return diagonal(site, moved(site, x, axes, [-2, -1]), int(options.get("offset") or 0))


def _trace(site: Site, args: list[Any], options: Options) -> Tensor:
    y = Expr(site, _diagonal(site, args, options))
    return countable(y).over("ReduceSum", [-1]).tensor


def _diag(site: Site, args: list[Any], options: Options) -> Tensor:
    """The diagonal of a matrix, or the matrix that has a vector as its diagonal."""
    x, k = alone(site, args[0]), int(options.get("k") or 0)
    if x.rank == 2 and not options.get("flat"):
        return diagonal(site, x, k)
    x = reshape(site, x, (size(x.shape),)) if x.rank != 1 else x
    return matrix_of(site, x, k)


def matrix_of(site: Site, x: Tensor, k: int = 0) -> Tensor:
    """Square matrices with the last axis as their diagonal, ``k`` to the right."""
    dim = x.shape[-1]
    if not isinstance(dim, int):
        raise site.unsupported("makes a matrix of a size that is free")
    own = constant(np.eye(dim, dim + abs(k), max(k, 0), dtype=bool))
    y = Expr(site, x)
    rows = Expr(site, own).choose(y.spread(-1), y.like(0)).tensor
    return pad(site, rows, [(0, 0)] * (x.rank - 1) + [(max(-k, 0), max(k, 0)), (0, 0)])


# -- shapes as numbers ---------------------------------------------------------------------


def _size(site: Site, args: list[Any], options: Options) -> Tensor:
    x, dtype = alone(site, args[0]), dtype_option(site, options.get("dtype") or "int32")
    known = size(x.shape)
    if known is not None:
        return constant(np.asarray(known, dtype=dtype))
    made = site.node("Size", [value(site, x)], ("int64", ()))
    return cast(site, Tensor((), "int64", {plain(0): made}), dtype)


def _constant_of(function: Callable[[Tensor], Any]) -> Rule:
    return lambda site, args, options: constant(np.asarray(function(alone(site, args[0]))))


MADE: Mapping[str, Rule] = {
    "BandPart": _band_part,
    "Diag": _diag,
    "Diagflat": lambda site, args, options: _diag(site, args, {**options, "flat": True}),
    "Diagonal": _diagonal,
    "EmptyLike": _filled(0.0),
    "Full": _full,
    "FullLike": _full_like,
    "Linspace": _linspace,
    "MultiHot": _multi_hot,
    "Ndim": _constant_of(lambda x: np.int32(x.rank)),
    "OneHot": _one_hot,
    "OnesLike": _filled(1.0),
    "Size": _size,
    "Trace": _trace,
    "Tril": _triangle(True),
    "Triu": _triangle(False),
    "Vander": _vander,
    "ZerosLike": _filled(0.0),
}
