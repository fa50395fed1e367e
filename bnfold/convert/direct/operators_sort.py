"""Operators that order elements or look for places among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.expressions import Expr, Options, Rule
from bnfold.convert.direct.layout import constant, reshape, transpose, unsqueeze, value
from bnfold.convert.direct.operators_math import limits_of
from bnfold.convert.direct.operators_reduce import axes_option, flat
from bnfold.convert.direct.ops import cast, elementwise, gather, reduce
from bnfold.convert.direct.promotion import alone, in_floats, is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.graph import AnyArray

_ORDERED = ("float16", "float32", "float64", "int32", "int64")


def top_k(
    site: Site, x: Tensor, count: int | None, axis: int, *, largest: bool
) -> tuple[Tensor, Tensor]:
    """The ``count`` first elements (all by default) in order, and their places as int64.

    Of equal elements the one that stands first comes first, as in TensorFlow.
    """
    axis %= x.rank
    dim: Dim = x.shape[axis] if count is None else count
    number = dim if isinstance(dim, int) else None
    form = plain(x.rank)
    start = value(site, x, form)
    if number is not None:
        length = site.integers([number], "count")
    else:
        whole = site.node("Shape", [start], ("int64", (x.rank,)))
        length = site.node("Gather", [whole, site.integers([axis], "axis")], ("int64", (1,)))
    shape = (*x.shape[:axis], dim, *x.shape[axis + 1 :])
    made = site.nodes(
        "TopK",
        [start, length],
        [(x.dtype, shape), ("int64", shape)],
        axis=axis,
        largest=int(largest),
    )
    values, places = (
        Tensor(shape, dtype, {form: one})
        for dtype, one in zip((x.dtype, "int64"), made, strict=True)
    )
    return values, places


def _sortable(site: Site, x: Tensor) -> Tensor:
    """Small numbers in a dtype that runtimes order."""
    if x.dtype in _ORDERED:
        return x
    return cast(site, x, "float32" if is_float(x.dtype) else "int32")


def _along(site: Site, args: list[Any], options: Options) -> tuple[Tensor, int]:
    x, axis = alone(site, args[0]), options.get("axis", -1)
    return (flat(site, x), 0) if axis is None else (x, int(axis))


def _descends(options: Options) -> bool:
    return str(options.get("direction") or "ASCENDING") == "DESCENDING"


def _sort(site: Site, args: list[Any], options: Options) -> Tensor:
    x, axis = _along(site, args, options)
    ready = _sortable(site, x)
    return cast(site, top_k(site, ready, None, axis, largest=_descends(options))[0], x.dtype)


def _argsort(site: Site, args: list[Any], options: Options) -> Tensor:
    x, axis = _along(site, args, options)
    ready = _sortable(site, x)
    return cast(site, top_k(site, ready, None, axis, largest=_descends(options))[1], "int32")


def _top_k(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    x, count = alone(site, args[0]), options.get("k", 1)
    if not isinstance(count, int):
        raise site.unsupported("takes a computed number of elements")
    values, places = top_k(site, _sortable(site, x), count, -1, largest=True)
    return [cast(site, values, x.dtype), cast(site, places, "int32")]


def _in_top_k(site: Site, args: list[Any], options: Options) -> Tensor:
    """Whether fewer than ``k`` classes are more probable than the one that is asked for."""
    targets, scores = alone(site, args[0]), Expr(site, alone(site, args[1]))
    made = site.node(
        "GatherElements",
        [
            value(site, scores.tensor, plain(2)),
            value(site, unsqueeze(site, targets, [1]), plain(2)),
        ],
        (scores.dtype, (scores.tensor.shape[0], 1)),
        axis=1,
    )
    own = Expr(site, Tensor((scores.tensor.shape[0], 1), scores.dtype, {plain(2): made}))
    ahead = (scores > own).to("int32").over("ReduceSum", [1])
    finite = (abs(scores) < math.inf).to("int32").over("ReduceMin", [1]).to("bool")
    return ((ahead < int(options["k"])) & finite).tensor


# -- places among sorted numbers -----------------------------------------------------------


def reached(site: Site, x: Tensor, edges: Tensor, *, own: bool) -> Tensor:
    """How many of the edges each element exceeds, or with ``own`` exceeds or equals; int64."""
    op = "GreaterOrEqual" if own else "Greater"
    above = elementwise(site, op, unsqueeze(site, x, [x.rank]), edges, dtype="bool")
    return reduce(site, "ReduceSum", cast(site, above, "int64"), [-1], False)


def _digitize(site: Site, args: list[Any], options: Options) -> Tensor:
    if isinstance(args[1], Tensor):
        raise site.unsupported("has bins that are computed")
    x = alone(site, args[0])
    # The bins are floats; whole numbers are compared with them as such.
    wide = x if x.dtype in ("float32", "float64") else cast(site, x, "float32")
    bins = constant(np.asarray(args[1], dtype=np.float32).astype(wide.dtype))
    return cast(site, reached(site, wide, bins, own=True), "int32")


def _search_sorted(site: Site, args: list[Any], options: Options) -> Tensor:
    edges, x = operands(site, args[:2])
    if edges.rank != 1:
        raise site.unsupported("searches several sequences")
    own = str(options.get("side") or "left") == "right"
    return cast(site, reached(site, x, edges, own=own), "int32")


def _is_in(site: Site, args: list[Any], options: Options) -> Tensor:
    x, others = operands(site, args[:2])
    others = flat(site, others)
    equal = elementwise(site, "Equal", unsqueeze(site, x, [x.rank]), others, dtype="bool")
    found = Expr(site, equal).to("float32").over("ReduceMax", [x.rank]).to("bool")
    return (~found if options.get("invert") else found).tensor


# -- quantiles -----------------------------------------------------------------------------


def _quantile(percent: float = 1.0, only: float | None = None) -> Rule:
    """Elements at stated parts of the sorted ones, or between two of them."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        x = in_floats(site, alone(site, args[0]))
        q = only if only is not None else args[1]
        if isinstance(q, Tensor):
            raise site.unsupported("takes quantiles that are computed")
        parts = np.asarray(q)
        # Keras divides percents in float32, and counts places in float64.
        if percent != 1.0:
            parts = parts.astype(np.float32) / np.float32(percent)
        elif parts.dtype.kind == "f" and not isinstance(q, (np.ndarray, np.generic)):
            parts = parts.astype(np.float32)
        if parts.ndim > 1:
            raise site.unsupported("takes quantiles along more than one axis")
        axes, keep = axes_option(site, x, options), bool(options.get("keepdims"))
        if options.get("method") not in (None, "linear"):
            raise site.unsupported("takes quantiles by a method that Keras's versions heed or not")
        return _quantiles(site, x, parts.astype(np.float64), axes, keep)

    return rule


def _quantiles(site: Site, x: Tensor, parts: AnyArray, axes: Sequence[int], keep: bool) -> Tensor:
    others = [axis for axis in range(x.rank) if axis not in axes]
    lead = tuple(x.shape[axis] for axis in others)
    sizes = [x.shape[axis] for axis in axes]
    known = [one for one in sizes if isinstance(one, int)]
    if len(known) < len(sizes):
        raise site.unsupported("takes quantiles over a size that is free")
    count = int(np.prod(known))
    last = reshape(site, transpose(site, x, [*others, *axes]), (*lead, count))
    ordered = top_k(site, _sortable(site, last), None, -1, largest=False)[0]
    ordered = cast(site, ordered, x.dtype)

    def at(places: AnyArray) -> Expr:
        return Expr(site, gather(site, ordered, constant(np.asarray(places)), -1))

    exact = (count - 1) * parts
    above = np.clip(np.ceil(exact).astype(np.int64), 0, count - 1)
    below = np.maximum(above - 1, 0)
    above = np.minimum(below + 1, count - 1)
    share = (above - exact).astype(np.float64)
    upper, lower = at(above), at(below)
    y = upper * upper.like(1.0 - share) + lower * lower.like(share)
    strange = Expr(site, last).is_nan.to("float32").over("ReduceMax", [-1], bool(parts.ndim))
    made = strange.to("bool").choose(math.nan, y).tensor
    shape = [1 if axis in axes else x.shape[axis] for axis in range(x.rank)]
    if not parts.ndim:
        return reshape(site, made, shape) if keep else made
    made = transpose(site, made, [made.rank - 1, *range(made.rank - 1)])
    return reshape(site, made, (parts.size, *shape)) if keep else made


def _segment(op: str, fill: str) -> Rule:
    """Rows gathered by the number of their segment; rows of no segment are left out."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        count = options.get("num_segments")
        if not isinstance(count, int) or options.get("sorted"):
            raise site.unsupported("has a number of segments that is not stated")
        x, numbers = Expr(site, alone(site, args[0])), alone(site, args[1])
        if numbers.rank != 1:
            raise site.unsupported("numbers its segments along more than one axis")
        ids = cast(site, numbers, "int64")
        places = constant(np.arange(count, dtype=np.int64)[:, None])
        own = Expr(site, elementwise(site, "Equal", ids, places, dtype="bool"))
        own = own.spread(*range(2, x.tensor.rank + 1)) if x.tensor.rank > 1 else own
        return own.choose(x, x.like(_fill(x.dtype, fill))).over(op, [1]).tensor

    return rule


def _fill(dtype: str, what: str) -> Any:
    low, high = limits_of(dtype)
    return {"zero": 0, "one": 1, "low": low, "high": high}[what]


def _sequences(site: Site, args: list[Any], options: Options) -> Tensor:
    """Windows along the last axis, one behind the other."""
    x = alone(site, args[0])
    dim, length = x.shape[-1], int(options["sequence_length"])
    if not isinstance(dim, int):
        raise site.unsupported("cuts a size that is free into windows")
    starts = np.arange(0, dim - length + 1, int(options["sequence_stride"]))
    index = starts[:, None] + np.arange(length)
    return gather(site, x, constant(index.astype(np.int64)), -1)


SORTED: Mapping[str, Rule] = {
    "Argsort": _argsort,
    "Digitize": _digitize,
    "ExtractSequences": _sequences,
    "InTopK": _in_top_k,
    "IsIn": _is_in,
    "Median": _quantile(only=0.5),
    "Percentile": _quantile(percent=100.0),
    "Quantile": _quantile(),
    "SearchSorted": _search_sorted,
    "SegmentMax": _segment("ReduceMax", "low"),
    "SegmentMin": _segment("ReduceMin", "high"),
    "SegmentProd": _segment("ReduceProd", "one"),
    "SegmentSum": _segment("ReduceSum", "zero"),
    "Sort": _sort,
    "TopK": _top_k,
}
