"""Operators that take or replace elements at stated or computed places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.expressions import Expr, Options, Rule
from bnfold.convert.direct.layout import constant, squeeze, unsqueeze, value
from bnfold.convert.direct.operators_moves import broadcast_to
from bnfold.convert.direct.operators_reduce import flat
from bnfold.convert.direct.ops import broadcast, cast, concat, gather, slices
from bnfold.convert.direct.promotion import alone, is_float
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain

_PLACES = ("int32", "int64")


def _get_item(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    key = args[1] if len(args) > 1 else options.get("key")
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    return indexed(site, x, items)


def indexed(site: Site, x: Tensor, items: Sequence[Any]) -> Tensor:
    """``x[items]`` with slices, numbers, None and one Ellipsis."""
    used = sum(isinstance(item, (slice, int)) for item in items)
    if any(item is Ellipsis for item in items):
        place = next(place for place, item in enumerate(items) if item is Ellipsis)
        fill = [slice(None)] * (x.rank - used)
        items = [*items[:place], *fill, *items[place + 1 :]]
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    dropped: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            continue
        if isinstance(item, bool) or not isinstance(item, (slice, int)):
            raise site.unsupported("takes elements by something else than slices and numbers")
        if isinstance(item, int):
            cuts[axis] = (item, item + 1 if item != -1 else None, 1)
            dropped.append(axis)
        else:
            limits = (item.start, item.stop, item.step)
            if any(isinstance(one, Tensor) for one in limits):
                raise site.unsupported("takes a slice whose limits are computed")
            cuts[axis] = (item.start, item.stop, 1 if item.step is None else int(item.step))
        axis += 1
    y = slices(site, x, cuts)
    if dropped:
        y = squeeze(site, y, dropped)
    places = _places(items)
    return unsqueeze(site, y, places) if places else y


def _places(items: Sequence[Any]) -> list[int]:
    """Where the new axes of an index are in its result."""
    places: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            places.append(axis)
        if not isinstance(item, int):
            axis += 1
    return places


def _indices(site: Site, stated: Any) -> Tensor:
    """Places as whole numbers that ONNX takes."""
    found = alone(site, np.asarray(stated) if isinstance(stated, (list, tuple, int)) else stated)
    if is_float(found.dtype):
        raise site.unsupported("takes elements at places that are no whole numbers")
    return found if found.dtype in _PLACES else cast(site, found, "int64")


def _take(site: Site, args: list[Any], options: Options) -> Tensor:
    """Elements along an axis; of the flattened value where none is given."""
    x, indices, axis = alone(site, args[0]), _indices(site, args[1]), options.get("axis")
    shared = int(options.get("batch_dims") or 0)
    if site.generation == 2:
        axis = shared if axis is None else int(axis)
        shared = shared % indices.rank if shared < 0 else shared
    if axis is None:
        return gather(site, flat(site, x), indices, 0)
    return _gathered(site, x, indices, int(axis) % x.rank, shared)


def _gathered(site: Site, x: Tensor, indices: Tensor, axis: int, shared: int) -> Tensor:
    """A Gather, or, where leading axes are shared, GatherND of the axis behind them."""
    if not shared:
        return gather(site, x, indices, axis)
    if axis != shared:
        raise site.unsupported("takes elements along another axis than the first that differs")
    shape = (*x.shape[:shared], *indices.shape[shared:], *x.shape[axis + 1 :])
    places = unsqueeze(site, indices, [indices.rank])
    return _gather_nd(site, x, places, shared, shape)


def _gather_nd(site: Site, x: Tensor, places: Tensor, shared: int, shape: Sequence[Dim]) -> Tensor:
    made = site.node(
        "GatherND",
        [
            value(site, x, plain(x.rank)),
            value(site, cast(site, places, "int64"), plain(places.rank)),
        ],
        (x.dtype, shape),
        batch_dims=shared or None,
    )
    return Tensor(tuple(shape), x.dtype, {plain(len(shape)): made})


def _take_nd(site: Site, args: list[Any], options: Options) -> Tensor:
    """TensorFlow's gather_nd: the last axis of the indices holds places along several axes."""
    x, indices = alone(site, args[0]), _indices(site, args[1])
    depth, shared = indices.shape[-1], int(options.get("batch_dims") or 0)
    if not isinstance(depth, int):
        raise site.unsupported("takes elements along a free number of axes")
    shape = (*indices.shape[:-1], *x.shape[shared + depth :])
    return _gather_nd(site, x, indices, shared, shape)


def _take_along_axis(site: Site, args: list[Any], options: Options) -> Tensor:
    """An element per index; the other axes of both are widened to each other."""
    x, indices, axis = alone(site, args[0]), _indices(site, args[1]), options.get("axis")
    if axis is None:
        x, axis = flat(site, x), 0
    if indices.rank != x.rank:
        raise site.unsupported("takes elements at places with other axes")
    axis = int(axis) % x.rank
    rest = [(*one.shape[:axis], 1, *one.shape[axis + 1 :]) for one in (x, indices)]
    wide = list(broadcast(site, *rest))
    x, indices = (
        broadcast_to(site, one, [*wide[:axis], one.shape[axis], *wide[axis + 1 :]], other)
        for one, other in ((x, indices), (indices, x))
    )
    made = site.node(
        "GatherElements",
        [value(site, x, plain(x.rank)), value(site, indices, plain(x.rank))],
        (x.dtype, indices.shape),
        axis=axis,
    )
    return Tensor(indices.shape, x.dtype, {plain(x.rank): made})


# -- parts that start somewhere ------------------------------------------------------------


def _starts(site: Site, stated: Any, rank: int) -> list[int]:
    if isinstance(stated, Tensor) or any(isinstance(one, Tensor) for one in stated):
        raise site.unsupported("starts at a computed place")
    starts = [int(one) for one in np.asarray(stated).reshape(-1)]
    if len(starts) != rank:
        raise site.unsupported("states other starts than one per axis")
    return starts


def _slice(site: Site, args: list[Any], options: Options) -> Tensor:
    """A part of stated size (-1: all that is left) from a stated place on."""
    x = alone(site, args[0])
    starts, sizes = _starts(site, args[1], x.rank), options.get("shape")
    sizes = args[2] if sizes is None and len(args) > 2 else sizes
    if sizes is None or isinstance(sizes, Tensor):
        raise site.unsupported("takes a part of computed size")
    cuts = {
        axis: (start or None, None if count in (-1, None) else start + int(count), 1)
        for axis, (start, count) in enumerate(zip(starts, sizes, strict=True))
        if start or count not in (-1, None, x.shape[axis])
    }
    return slices(site, x, cuts)


def _slice_update(site: Site, args: list[Any], options: Options) -> Tensor:
    """A part replaced; it is moved inside where it would stick out."""
    x, part = alone(site, args[0]), alone(site, args[2])
    starts = _starts(site, args[1], x.rank)
    return _replaced(site, x, cast(site, part, x.dtype), starts, 0)


def _replaced(site: Site, x: Tensor, part: Tensor, starts: Sequence[int], axis: int) -> Tensor:
    """``x`` with ``part`` in it, which has the whole extent of the axes before ``axis``."""
    while axis < x.rank and x.shape[axis] == part.shape[axis]:
        axis += 1
    if axis == x.rank:
        return part
    dim, count = x.shape[axis], part.shape[axis]
    if not isinstance(dim, int) or not isinstance(count, int):
        raise site.unsupported("replaces a part of a size that is free")
    start = min(max(starts[axis], 0), dim - count)
    middle = slices(site, x, {axis: (start, start + count, 1)})
    pieces = [_replaced(site, middle, part, starts, axis + 1)]
    if start:
        pieces.insert(0, slices(site, x, {axis: (None, start, 1)}))
    if start + count < dim:
        pieces.append(slices(site, x, {axis: (start + count, None, 1)}))
    return concat(site, pieces, axis)


# -- scattering ----------------------------------------------------------------------------

_SCATTER_SINCE = {"none": 13, "add": 16, "mul": 16, "max": 18, "min": 18}


def _scattered(site: Site, x: Tensor, indices: Any, updates: Any, reduction: str) -> Tensor:
    since = _SCATTER_SINCE.get(reduction)
    if since is None or site.opset < since:
        raise site.unsupported(f"scatters by {reduction!r}, which ONNX does from opset {since} on")
    places = cast(site, _indices(site, indices), "int64")
    values = cast(site, alone(site, updates), x.dtype)
    made = site.node(
        "ScatterND",
        [value(site, one, plain(one.rank)) for one in (x, places, values)],
        (x.dtype, x.shape),
        reduction=None if reduction == "none" else reduction,
    )
    return Tensor(x.shape, x.dtype, {plain(x.rank): made})


def _scatter_update(site: Site, args: list[Any], options: Options) -> Tensor:
    reduction = str(options.get("reduction") or "none")
    return _scattered(site, alone(site, args[0]), args[1], args[2], reduction)


def _scatter(site: Site, args: list[Any], options: Options) -> Tensor:
    """Values added up in a tensor of zeros."""
    shape = options.get("shape", args[2] if len(args) > 2 else None)
    if not isinstance(shape, (list, tuple)) or not all(isinstance(one, int) for one in shape):
        raise site.unsupported("scatters into a computed shape")
    values = alone(site, args[1])
    zeros = Expr(site, values).like(0).tensor.const
    return _scattered(site, constant(np.full(shape, zeros)), args[0], args[1], "add")


INDEXED: Mapping[str, Rule] = {
    "GatherNd": _take_nd,
    "GetItem": _get_item,
    "Scatter": _scatter,
    "ScatterUpdate": _scatter_update,
    "Slice": _slice,
    "SliceUpdate": _slice_update,
    "Take": _take,
    "TakeAlongAxis": _take_along_axis,
}
