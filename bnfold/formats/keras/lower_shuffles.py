"""Lowering rules: operators that move, join, cut and repeat elements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.core.diagnostics import Reason
from bnfold.core.moves import (
    Chain,
    Keep,
    Move,
    Permute,
    Reduce,
    Regroup,
    Repeat,
    Segment,
    Shape,
    Take,
)
from bnfold.core.transfer import Commute, Concat, Sign, Split
from bnfold.formats.keras.geometry import reshape_result
from bnfold.formats.keras.lower_moves import MEANS
from bnfold.formats.keras.lower_view import Value, View
from bnfold.formats.keras.operator_calls import OperatorCall

Places = NDArray[np.int64]
Pick = Callable[[Places], Places]
Rule = Callable[[View, OperatorCall], "Value | list[Value]"]
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def _shape(x: Value) -> Shape:
    assert x.shape is not None
    return x.shape


def axes_of_call(call: OperatorCall, rank: int) -> list[int]:
    """The option "axis" as a list; all axes where it is not given."""
    axis = call.options.get("axis")
    if axis is None:
        return list(range(rank))
    stated = axis if isinstance(axis, (list, tuple)) else [axis]
    return [int(one) % rank for one in stated]


def _of_one(function: Callable[[View, Value, OperatorCall], Value | list[Value]]) -> Rule:
    """A rule of one operand whose shape is known."""

    def rule(view: View, call: OperatorCall) -> Value | list[Value]:
        x = call.args[0] if call.args else None
        if not isinstance(x, Value) or x.shape is None or len(view.inputs) != 1:
            return view.opaque(None)
        return function(view, x, call)

    return rule


# -- along axes ----------------------------------------------------------------------------


def _taken(view: View, x: Value, picks: Mapping[int, Pick], *, same: bool = False) -> Value:
    """Along each of these axes, elements at places that are picked from all its places.

    Along a size that is free the parameters must be constant; with ``same`` it stays the same.
    """
    shape, moves = list(_shape(x)), list[Move]()
    for axis, pick in picks.items():
        dim = shape[axis]
        if isinstance(dim, int):
            index = pick(np.arange(dim, dtype=np.int64))
            moves.append(Take(axis, dim, index))
            shape[axis] = int(index.size)
        else:
            moves.append(Keep((axis,)))
            shape[axis] = dim if same else view.builder.fresh_dim()
    return view.op(Commute(Chain(tuple(moves))), [x], tuple(shape))


def _flip(axes: Sequence[int] | None = None) -> Rule:
    def rule(view: View, x: Value, call: OperatorCall) -> Value:
        chosen = axes_of_call(call, len(_shape(x))) if axes is None else axes
        return _taken(view, x, dict.fromkeys(chosen, lambda all: all[::-1]), same=True)

    return _of_one(rule)


def _roll(view: View, x: Value, call: OperatorCall) -> Value:
    shift, axis = call.options.get("shift"), call.options.get("axis")
    if axis is None or shift is None:
        return view.opaque(x.shape)
    axes = axes_of_call(call, len(_shape(x)))
    shifts = [int(one) for one in (shift if isinstance(shift, (list, tuple)) else [shift])]
    picks: dict[int, Pick] = {}
    for place, amount in zip(axes, shifts, strict=True):
        picks[place] = lambda all, amount=amount: np.roll(all, amount)  # type: ignore[misc]
    return _taken(view, x, picks, same=True)


def _repeat(view: View, x: Value, call: OperatorCall) -> Value:
    times, axis = call.options.get("repeats"), call.options.get("axis")
    if axis is None or times is None:
        return view.opaque(None)
    counts = int(times) if isinstance(times, int) else [int(one) for one in times]
    return _taken(view, x, {int(axis) % len(_shape(x)): lambda all: np.repeat(all, counts)})


def _tile(view: View, x: Value, call: OperatorCall) -> Value:
    stated: Any = call.options.get("repeats")
    repeats = [int(one) for one in (stated if isinstance(stated, (list, tuple)) else [stated])]
    rank = len(_shape(x))
    if len(repeats) > rank:
        return view.opaque(None)
    picks: dict[int, Pick] = {}
    for axis, times in enumerate(repeats, rank - len(repeats)):
        if times != 1:
            picks[axis] = lambda all, times=times: np.tile(all, times)  # type: ignore[misc]
    return _taken(view, x, picks)


def _slice(view: View, call: OperatorCall) -> Value:
    x, starts, sizes = call.args[0], call.args[1], call.options.get("shape")
    known = isinstance(x, Value) and x.shape is not None and len(view.inputs) == 1
    if not known or sizes is None or len(sizes) != len(_shape(x)):
        return view.opaque(None)
    picks: dict[int, Pick] = {}
    for axis, (start, count) in enumerate(zip(np.asarray(starts), sizes, strict=True)):
        end = None if count in (-1, None) else int(start) + int(count)
        if int(start) or end is not None:
            cut = slice(int(start), end)
            picks[axis] = lambda all, cut=cut: all[cut]  # type: ignore[misc]
    return _taken(view, x, picks)


def _get_item(view: View, call: OperatorCall) -> Value:
    x, key = call.args[0], call.args[1] if len(call.args) > 1 else call.options.get("key")
    if not isinstance(x, Value) or x.shape is None or len(view.inputs) != 1:
        return view.opaque(None)
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    used = sum(isinstance(one, (slice, int)) for one in items)
    if any(one is Ellipsis for one in items):
        place = next(place for place, one in enumerate(items) if one is Ellipsis)
        items[place : place + 1] = [slice(None)] * (len(x.shape) - used)
    picks: dict[int, Pick] = {}
    axis = 0
    for item in items:
        if item is None:
            continue
        if isinstance(item, bool) or not isinstance(item, (slice, int)):
            return view.opaque(None)
        if item != slice(None):
            cut = item if isinstance(item, slice) else slice(item, item + 1 or None)
            picks[axis] = lambda all, cut=cut: all[cut]  # type: ignore[misc]
        axis += 1
    y = _taken(view, x, picks)
    shape = _shape(y)
    kept = [1 if item is None else shape[place] for place, item in _placed(items)]
    kept += shape[axis:]
    if len(kept) == len(shape) and tuple(kept) == shape:
        return y
    return view.op(Commute(Regroup.between(shape, tuple(kept))), [y], tuple(kept), suffix="axes")


def _placed(items: Sequence[Any]) -> list[tuple[int, Any]]:
    """The items that leave an axis in the result, with the axis that they speak of."""
    placed, axis = [], 0
    for item in items:
        if not isinstance(item, int):
            placed.append((axis, item))
        axis += item is not None
    return placed


def _take(view: View, call: OperatorCall) -> Value:
    x, indices, axis = call.args[0], call.args[1], call.options.get("axis")
    axis = 0 if axis is None and view.generation == 2 else axis
    if not isinstance(x, Value) or x.shape is None or isinstance(indices, Value) or axis is None:
        return view.opaque(None)
    index = np.asarray(indices)
    if index.ndim != 1 or index.dtype.kind not in "iu" or call.options.get("batch_dims"):
        return view.opaque(None)
    return _taken(view, x, {int(axis) % len(x.shape): lambda all: all[index]})


def _pad(view: View, x: Value, call: OperatorCall) -> Value:
    widths, mode = call.options.get("pad_width"), str(call.options.get("mode", "constant")).lower()
    fill = call.args[1] if len(call.args) > 1 else call.options.get("constant_values")
    if not isinstance(widths, (list, tuple)) or len(widths) != len(_shape(x)):
        return view.opaque(None)
    pairs = {axis: (int(one[0]), int(one[1])) for axis, one in enumerate(widths) if any(one)}
    if mode in ("reflect", "symmetric"):
        picks: dict[int, Pick] = {}
        for axis, pair in pairs.items():
            picks[axis] = lambda all, pair=pair: np.pad(all, pair, mode)  # type: ignore
        return _taken(view, x, picks)
    if mode != "constant" or fill not in (None, 0, 0.0):
        return view.opaque(None)
    shape = tuple(
        (dim + sum(pairs[axis]) if isinstance(dim, int) else view.builder.fresh_dim())
        if axis in pairs
        else dim
        for axis, dim in enumerate(_shape(x))
    )
    detail = "zeros are added around the data"
    move = Keep(tuple(pairs))
    return view.op(Commute(move, shift_blocked=Reason.PADDING_SHIFT, detail=detail), [x], shape)


def _broadcast(view: View, x: Value, call: OperatorCall) -> Value:
    shape = call.options.get("shape")
    if not isinstance(shape, (list, tuple)) or len(shape) != len(_shape(x)):
        return view.opaque(None)
    picks: dict[int, Pick] = {}
    for axis, (dim, want) in enumerate(zip(_shape(x), shape, strict=True)):
        if dim != want:
            picks[axis] = lambda all, want=want: np.repeat(all, want)  # type: ignore[misc]
    return _taken(view, x, picks)


# -- order and shape -----------------------------------------------------------------------


def _regrouped(view: View, x: Value, shape: Shape, suffix: str = "") -> Value:
    return view.op(Commute(Regroup.between(_shape(x), shape)), [x], shape, suffix=suffix)


def _reshape(view: View, x: Value, call: OperatorCall) -> Value:
    target = call.options.get("newshape", call.options.get("shape"))
    target = [target] if isinstance(target, int) else target
    plain = isinstance(target, (list, tuple)) and all(
        one is None or isinstance(one, (int, str)) for one in target
    )
    if not plain:
        return view.opaque(None)
    return _regrouped(view, x, reshape_result(_shape(x), target, view.builder.fresh_dim))


def _expand_dims(view: View, x: Value, call: OperatorCall) -> Value:
    axis = call.options.get("axis", -1)
    stated = axis if isinstance(axis, (list, tuple)) else [axis]
    rank = len(_shape(x)) + len(stated)
    places = {int(one) % rank for one in stated}
    old = iter(_shape(x))
    return _regrouped(view, x, tuple(1 if one in places else next(old) for one in range(rank)))


def _squeeze(view: View, x: Value, call: OperatorCall) -> Value:
    shape, axis = _shape(x), call.options.get("axis")
    everywhere = axis is None or axis == []
    if everywhere and any(not isinstance(dim, int) for dim in shape):
        # A free size may happen to be 1.
        return view.opaque(None)
    axes = range(len(shape)) if everywhere else axes_of_call(call, len(shape))
    gone = [place for place in axes if shape[place] == 1]
    return _regrouped(view, x, tuple(dim for place, dim in enumerate(shape) if place not in gone))


def _permuted(view: View, x: Value, order: Sequence[int], suffix: str = "") -> Value:
    shape = tuple(_shape(x)[axis] for axis in order)
    return view.op(Commute(Permute(tuple(order))), [x], shape, suffix=suffix)


def _transpose(view: View, x: Value, call: OperatorCall) -> Value:
    rank, axes = len(_shape(x)), call.options.get("axes")
    order = range(rank)[::-1] if axes is None else [int(axis) % rank for axis in axes]
    return _permuted(view, x, order)


def _swapaxes(view: View, x: Value, call: OperatorCall) -> Value:
    order = list(range(len(_shape(x))))
    first, second = (int(call.options[key]) % len(order) for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return _permuted(view, x, order)


def _moveaxis(view: View, x: Value, call: OperatorCall) -> Value:
    rank = len(_shape(x))
    stated = [call.options[key] for key in ("source", "destination")]
    source, target = (
        [int(one) % rank for one in (part if isinstance(part, (list, tuple)) else [part])]
        for part in stated
    )
    order = [axis for axis in range(rank) if axis not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return _permuted(view, x, order)


# -- joining and cutting -------------------------------------------------------------------


def _joined(view: View, values: Sequence[Value], axis: int) -> Value:
    first = _shape(values[0])
    dims = [_shape(one)[axis] for one in values]
    sizes = tuple(dim if isinstance(dim, int) else None for dim in dims)
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else view.builder.fresh_dim()
    shape = (*first[:axis], total, *first[axis + 1 :])
    return view.op(Concat(axis, sizes), values, shape)


def _join(axis: int | None = None, *, lifts: bool = False) -> Rule:
    """Side by side along an axis, which with ``lifts`` is a new one."""

    def rule(view: View, call: OperatorCall) -> Value:
        parts = call.args[0] if call.args and isinstance(call.args[0], (list, tuple)) else []
        values = [one for one in parts if isinstance(one, Value)]
        ranks = {one.rank for one in values}
        mixed = {one.dtype for one in values}
        if not values or len(values) < len(parts) or None in ranks or len(ranks) > 1:
            return view.opaque(None)
        if len(mixed) > 1 or not mixed <= set(_FLOATS):
            return view.opaque(None)
        rank = len(_shape(values[0])) + lifts
        place = int(call.options.get("axis") or 0) if axis is None else axis
        if axis is not None and axis >= rank:
            return view.opaque(None)
        place %= rank
        if lifts:
            values = [
                _regrouped(view, one, (*_shape(one)[:place], 1, *_shape(one)[place:]), "lift")
                for one in values
            ]
        return _joined(view, values, place)

    return rule


def _split(axis: int | None = None, *, uneven: bool = False) -> Rule:
    def rule(view: View, x: Value, call: OperatorCall) -> list[Value] | Value:
        shape, parts = _shape(x), call.options.get("indices_or_sections")
        place = int(call.options.get("axis") or 0) if axis is None else min(axis, len(shape) - 1)
        place %= len(shape)
        dim = shape[place]
        if not isinstance(dim, int):
            return view.opaque(None)
        if isinstance(parts, int):
            if dim % parts and not uneven:
                return view.opaque(None)
            sizes = [dim // parts + (one < dim % parts) for one in range(parts)]
        else:
            edges = [0, *(int(edge) for edge in parts or ()), dim]
            sizes = [after - before for before, after in itertools.pairwise(edges)]
        return _cut(view, x, place, sizes)

    return _of_one(rule)


def _cut(view: View, x: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    shape = _shape(x)
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return view.ops(Split(axis, tuple(sizes)), [x], shapes)


def _unstack(view: View, x: Value, call: OperatorCall) -> list[Value] | Value:
    shape = _shape(x)
    axis = int(call.options.get("axis") or 0) % len(shape)
    dim = shape[axis]
    if not isinstance(dim, int):
        return view.opaque(None)
    rest = (*shape[:axis], *shape[axis + 1 :])
    return [_regrouped(view, one, rest, "part") for one in _cut(view, x, axis, [1] * dim)]


# -- blocks of space, reductions -----------------------------------------------------------


def _blocks(deep: bool) -> Rule:
    """SpaceToDepth (``deep``) and DepthToSpace: a block's rows, its columns, the channels."""

    def rule(view: View, x: Value, call: OperatorCall) -> Value:
        shape, block = _shape(x), int(call.options["block_size"])
        first = call.options.get("data_format") == "channels_first"
        known = [dim for dim in shape[1:] if isinstance(dim, int)]
        if len(shape) != 4 or len(known) < 3 or first:
            return view.opaque(None)
        (batch, *_), (height, width, channels) = shape, known
        lead = Segment((batch,), (batch,))
        if deep:
            high, wide, depth = height // block, width // block, channels * block**2
            parts = (Segment((height,), (high, block)), Segment((width,), (wide, block)))
            apart = Regroup((lead, *parts, Segment((channels,), (channels,))))
            ends = [Segment((one,), (one,)) for one in (high, wide)]
            together = Regroup((lead, *ends, Segment((block, block, channels), (depth,))))
            order = (0, 1, 3, 2, 4, 5)
        else:
            high, wide, depth = height * block, width * block, channels // block**2
            ends = [Segment((one,), (one,)) for one in (height, width)]
            apart = Regroup((lead, *ends, Segment((channels,), (block, block, depth))))
            parts = (Segment((height, block), (high,)), Segment((width, block), (wide,)))
            together = Regroup((lead, *parts, Segment((depth,), (depth,))))
            order = (0, 1, 3, 2, 4, 5)
        move = Chain((apart, Permute(order), together))
        return view.op(Commute(move), [x], (batch, high, wide, depth))

    return _of_one(rule)


def _reduction(name: str) -> Rule:
    def rule(view: View, x: Value, call: OperatorCall) -> Value:
        shape, keep = _shape(x), bool(call.options.get("keepdims"))
        if x.dtype not in _FLOATS or call.options.get("initial") is not None:
            return view.opaque(None)
        rank = len(shape)
        axes = tuple(sorted(set(axes_of_call(call, rank))))
        result = tuple(
            1 if place in axes else dim
            for place, dim in enumerate(shape)
            if keep or place not in axes
        )
        move = Reduce(axes, rank, keep)
        if name != "Sum":
            sign = Sign.ANY if name == "Mean" else Sign.NOT_NEGATIVE
            return view.op(Commute(move, sign=sign), [x], result)
        sizes = [dim for place, dim in enumerate(shape) if place in axes and isinstance(dim, int)]
        if len(sizes) == len(axes):
            return view.op(Commute(Chain((move, Repeat(int(np.prod(sizes)))))), [x], result)
        detail = "a sum over a free number of elements"
        blocked = Commute(move, shift_blocked=Reason.UNKNOWN_SHAPE, detail=detail)
        return view.op(blocked, [x], result)

    return _of_one(rule)


def _pool(sign: Sign) -> Rule:
    """Windows over space: nothing may vary along it."""

    return _of_one(lambda view, x, call: _windows(view, x, call, sign))


def _windows(view: View, x: Value, call: OperatorCall, sign: Sign) -> Value:
    rank = len(_shape(x))
    first = call.options.get("data_format") == "channels_first"
    axes = tuple(range(2, rank)) if first else tuple(range(1, rank - 1))
    return view.op(Commute(Keep(axes), sign=sign), [x], None)


def _resize(view: View, x: Value, call: OperatorCall) -> Value:
    """Each pixel is one of the image, or a mean of some with weights that sum to 1."""
    kind = str(call.options.get("interpolation") or "bilinear")
    others = ("crop_to_aspect_ratio", "pad_to_aspect_ratio")
    odd = kind not in MEANS or any(call.options.get(key) for key in others)
    if odd or len(_shape(x)) != 4 or x.dtype not in _FLOATS:
        return view.opaque(None)
    return _windows(view, x, call, Sign.ANY)


SHUFFLES: Mapping[str, Rule] = {
    "Amax": _reduction("Max"),
    "Amin": _reduction("Min"),
    "ArraySplit": _split(uneven=True),
    "AveragePool": _pool(Sign.ANY),
    "BroadcastTo": _of_one(_broadcast),
    "Concatenate": _join(),
    "DepthToSpace": _blocks(False),
    "Dsplit": _split(2),
    "ExpandDims": _of_one(_expand_dims),
    "Flip": _flip(),
    "Fliplr": _flip([1]),
    "Flipud": _flip([0]),
    "GetItem": _get_item,
    "Hsplit": _split(1),
    "Hstack": _join(1),
    "Max": _reduction("Max"),
    "MaxPool": _pool(Sign.NOT_NEGATIVE),
    "Mean": _reduction("Mean"),
    "Min": _reduction("Min"),
    "Moveaxis": _of_one(_moveaxis),
    "Pad": _of_one(_pad),
    "Repeat": _of_one(_repeat),
    "Resize": _of_one(_resize),
    "Reshape": _of_one(_reshape),
    "Roll": _of_one(_roll),
    "Slice": _slice,
    "SpaceToDepth": _blocks(True),
    "Split": _split(),
    "Squeeze": _of_one(_squeeze),
    "Stack": _join(lifts=True),
    "Sum": _reduction("Sum"),
    "Swapaxes": _of_one(_swapaxes),
    "Take": _take,
    "Tile": _of_one(_tile),
    "Transpose": _of_one(_transpose),
    "Unstack": _of_one(_unstack),
    "Vstack": _join(0),
}
