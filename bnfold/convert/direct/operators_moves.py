"""Operators that move, join, cut and repeat elements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.expressions import Options, Rule
from bnfold.convert.direct.layout import (
    constant,
    dynamic_shape,
    flatten,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
    value,
)
from bnfold.convert.direct.operators_math import dtype_option
from bnfold.convert.direct.operators_reduce import axes_option, flat
from bnfold.convert.direct.ops import cast, concat, gather, pad, slices, split
from bnfold.convert.direct.promotion import alone, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Shape, Tensor, permuted, plain
from bnfold.formats.keras.geometry import reshape_result
from bnfold.formats.keras.graph import AnyArray


def _identity(site: Site, args: list[Any], options: Options) -> Tensor:
    return alone(site, args[0])


def _convert(site: Site, args: list[Any], options: Options) -> Tensor:
    x, dtype = alone(site, args[0]), options.get("dtype")
    return x if dtype is None else cast(site, x, dtype_option(site, dtype))


# -- order and shape -----------------------------------------------------------------------


def _reshape(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    target = options.get("newshape", options.get("shape"))
    target = args[1] if target is None and len(args) > 1 else target
    if isinstance(target, int):
        target = [target]
    if not isinstance(target, (list, tuple)) or any(isinstance(one, Tensor) for one in target):
        raise site.unsupported("reshapes to a shape that is computed")
    return reshape(site, x, reshape_result(x.shape, target, site.emitter.fresh_dim))


def _ravel(site: Site, args: list[Any], options: Options) -> Tensor:
    return flat(site, alone(site, args[0]))


def _transpose(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    axes = options.get("axes", args[1] if len(args) > 1 else None)
    order = range(x.rank - 1, -1, -1) if axes is None else axes
    return transpose(site, x, [int(axis) % x.rank for axis in order])


def _swapaxes(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    order = list(range(x.rank))
    first, second = (int(options[key]) % x.rank for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return transpose(site, x, order)


def moved(site: Site, x: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """With the axes ``source`` at the places ``target``, the others in their order."""
    moving = [one % x.rank for one in source]
    order = [axis for axis in range(x.rank) if axis not in moving]
    for place, axis in sorted(zip((one % x.rank for one in target), moving, strict=True)):
        order.insert(place, axis)
    return transpose(site, x, order)


def _moveaxis(site: Site, args: list[Any], options: Options) -> Tensor:
    pairs = [options[key] for key in ("source", "destination")]
    source, target = ([one] if isinstance(one, int) else [int(i) for i in one] for one in pairs)
    return moved(site, alone(site, args[0]), source, target)


def _expand_dims(site: Site, args: list[Any], options: Options) -> Tensor:
    axis = options.get("axis", args[1] if len(args) > 1 else -1)
    axes = [int(one) for one in axis] if isinstance(axis, (list, tuple)) else [int(axis)]
    return unsqueeze(site, alone(site, args[0]), axes)


def _squeeze(site: Site, args: list[Any], options: Options) -> Tensor:
    x, axis = alone(site, args[0]), options.get("axis")
    if axis is None or axis == []:
        if any(not isinstance(dim, int) for dim in x.shape):
            raise site.unsupported("drops every axis that happens to have size 1")
        axes = [place for place, dim in enumerate(x.shape) if dim == 1]
    else:
        axes = list(axis) if isinstance(axis, (list, tuple)) else [int(axis)]
    if any(x.shape[place] != 1 for place in axes):
        raise site.unsupported("drops an axis that is not of size 1")
    return squeeze(site, x, axes) if axes else x


def _flatten(site: Site, args: list[Any], options: Options) -> Tensor:
    return flatten(site, args[0])


# -- joining and cutting -------------------------------------------------------------------


def _concatenate(site: Site, args: list[Any], options: Options) -> Tensor:
    return concat(site, operands(site, args[0]), int(options.get("axis", 0) or 0))


def _append(site: Site, args: list[Any], options: Options) -> Tensor:
    pair, axis = operands(site, args[:2]), options.get("axis")
    if axis is None:
        return concat(site, [flat(site, one) for one in pair], 0)
    return concat(site, pair, int(axis))


def _stack(site: Site, args: list[Any], options: Options) -> Tensor:
    tensors = operands(site, args[0])
    axis = int(options.get("axis") or 0) % (tensors[0].rank + 1)
    return concat(site, [unsqueeze(site, one, [axis]) for one in tensors], axis)


def _stacked_along(axis: int, rank: int) -> Rule:
    """Side by side along an axis, once each operand has ``rank`` axes at least.

    A vector's axis is the last but one of three (dstack), or the only one.
    """

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        tensors = []
        for one in operands(site, args[0]):
            if one.rank < rank:
                places = {0: [0, 1, 2], 1: [0, 2], 2: [2]}[one.rank]
                one = unsqueeze(site, one, places)
            tensors.append(one)
        return concat(site, tensors, min(axis, tensors[0].rank - 1))

    return rule


def _cut(site: Site, x: Tensor, axis: int, parts: Any, *, uneven: bool = False) -> list[Tensor]:
    """Parts of equal size, or, where places are given, the parts between them."""
    dim = x.shape[axis]
    if not isinstance(dim, int):
        edges = [0, *(int(edge) for edge in parts)] if not isinstance(parts, int) else []
        if edges != sorted(edges) or len(edges) < 2 or min(edges) < 0:
            raise site.unsupported("splits a size that is free")
        ends = [*edges[1:], None]
        return [
            slices(site, x, {axis: (start or None, end, 1)})
            for start, end in zip(edges, ends, strict=True)
        ]
    if isinstance(parts, int):
        if dim % parts and not uneven:
            raise site.unsupported(f"splits {dim} into {parts} equal parts")
        sizes = [dim // parts + (place < dim % parts) for place in range(parts)]
    else:
        edges = [0, *(int(edge) for edge in parts or ()), dim]
        sizes = [after - before for before, after in itertools.pairwise(edges)]
    if min(sizes) < 0:
        raise site.unsupported("splits at places that are out of order")
    return split(site, x, sizes, axis)


def _split(axis: int | None = None, *, uneven: bool = False) -> Rule:
    def rule(site: Site, args: list[Any], options: Options) -> list[Tensor]:
        x = alone(site, args[0])
        place = int(options.get("axis") or 0) if axis is None else min(axis, x.rank - 1)
        return _cut(site, x, place, options.get("indices_or_sections"), uneven=uneven)

    return rule


def _unstack(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    x, axis = alone(site, args[0]), int(options.get("axis") or 0)
    dim = x.shape[axis]
    if not isinstance(dim, int):
        raise site.unsupported("takes a size that is free apart")
    return [squeeze(site, one, [axis]) for one in split(site, x, [1] * dim, axis)]


# -- repeating, rolling, turning -----------------------------------------------------------


def _pad(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    widths = options.get("pad_width")
    mode = str(options.get("mode", "constant")).lower()
    fill = options.get("constant_values")
    fill = args[1] if len(args) > 1 and args[1] is not None else fill
    if isinstance(widths, int):
        widths = [[widths, widths]] * x.rank
    if not isinstance(widths, (list, tuple, np.ndarray)) or isinstance(fill, Tensor):
        raise site.unsupported("pads by amounts that are computed")
    pairs = [(int(one[0]), int(one[1])) for one in widths]
    if len(pairs) == 1:
        pairs *= x.rank
    if mode == "symmetric":
        return _mirrored(site, x, pairs)
    if mode not in ("constant", "reflect", "edge"):
        raise site.unsupported(f"pads in the mode {mode!r}")
    return pad(site, x, pairs, mode, float(fill or 0))


def _mirrored(site: Site, x: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Padded by what lies inside, the outermost elements among it."""
    for axis, (before, after) in enumerate(pairs):
        dim, parts = x.shape[axis], [x]
        if isinstance(dim, int):
            if max(before, after) > dim:
                raise site.unsupported("pads by more than there is")
            if before or after:
                index = np.pad(np.arange(dim), (before, after), "symmetric")
                x = _picked(site, x, index, axis)
            continue
        if before:
            parts.insert(0, slices(site, x, {axis: (before - 1, None, -1)}))
        if after:
            parts.append(slices(site, x, {axis: (None, -after - 1, -1)}))
        x = concat(site, parts, axis)
    return x


def _tile(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    stated = options.get("repeats", args[1] if len(args) > 1 else ())
    if isinstance(stated, Tensor):
        raise site.unsupported("repeats a computed number of times")
    repeats = [int(one) for one in np.atleast_1d(np.asarray(stated))]
    repeats = [1] * (x.rank - len(repeats)) + repeats
    if len(repeats) > x.rank:
        x = unsqueeze(site, x, range(len(repeats) - x.rank))
    form = x.form if not x.form.flat else plain(x.rank)
    shape: list[Dim] = [
        dim if times == 1 else dim * times if isinstance(dim, int) else site.emitter.fresh_dim()
        for dim, times in zip(x.shape, repeats, strict=True)
    ]
    counts = site.integers([repeats[axis] for axis in form.perm], "repeats")
    made = site.node("Tile", [value(site, x, form), counts], (x.dtype, permuted(shape, form)))
    return Tensor(tuple(shape), x.dtype, {form: made})


def _repeat(site: Site, args: list[Any], options: Options) -> Tensor:
    """Each element several times, one beside the other."""
    x, axis, times = alone(site, args[0]), options.get("axis"), options.get("repeats")
    times = args[1] if times is None and len(args) > 1 else times
    if isinstance(times, Tensor) or times is None:
        raise site.unsupported("repeats a computed number of times")
    if axis is None:
        x, axis = flat(site, x), 0
    axis, dim, counts = int(axis) % x.rank, x.shape[int(axis)], np.atleast_1d(np.asarray(times))
    if isinstance(dim, int):
        index = np.repeat(np.arange(dim), counts if counts.size > 1 else int(counts[0]))
        return _picked(site, x, index, axis)
    if counts.size > 1:
        raise site.unsupported("repeats the elements of a size that is free")
    wide = unsqueeze(site, x, [axis + 1])
    repeats = [1] * wide.rank
    repeats[axis + 1] = int(counts[0])
    tiled = _tile(site, [wide], {"repeats": repeats})
    shape = [*x.shape]
    shape[axis] = site.emitter.fresh_dim()
    return reshape(site, tiled, shape)


def _roll(site: Site, args: list[Any], options: Options) -> Tensor:
    """Elements moved along axes; those that leave come in at the other end."""
    x, shift, axis = alone(site, args[0]), options.get("shift"), options.get("axis")
    if not isinstance(shift, (int, list, tuple)):
        raise site.unsupported("moves elements by a computed amount")
    if axis is None:
        return reshape(site, _rolled(site, flat(site, x), int(shift), 0), x.shape)  # type: ignore[arg-type]
    shifts = [shift] if isinstance(shift, int) else list(shift)
    axes = [axis] if isinstance(axis, int) else list(axis)
    for amount, place in zip(shifts, axes, strict=True):
        x = _rolled(site, x, int(amount), int(place) % x.rank)
    return x


def _rolled(site: Site, x: Tensor, shift: int, axis: int) -> Tensor:
    dim = x.shape[axis]
    if isinstance(dim, int):
        if not dim or not shift % dim:
            return x
        return _picked(site, x, np.roll(np.arange(dim), shift), axis)
    # For more than one step the free size might be too small.
    if abs(shift) > 1:
        raise site.unsupported("rolls along a size that is free")
    cuts = (-shift, None, 1), (None, -shift, 1)
    parts = [slices(site, x, {axis: cut}) for cut in cuts]
    return concat(site, parts, axis) if shift else x


def _picked(site: Site, x: Tensor, index: AnyArray, axis: int) -> Tensor:
    """Elements at constant places along an axis, by one op that lets an affine pass."""
    return gather(site, x, constant(index.astype(np.int64)), axis)


def _flip(site: Site, args: list[Any], options: Options) -> Tensor:
    x = alone(site, args[0])
    return flipped(site, x, axes_option(site, x, options))


def flipped(site: Site, x: Tensor, axes: Sequence[int]) -> Tensor:
    """In reverse order along some axes."""
    return slices(site, x, dict.fromkeys(axes, (None, None, -1)))


def _flip_along(axis: int) -> Rule:
    return lambda site, args, options: flipped(site, alone(site, args[0]), [axis])


def _rot90(site: Site, args: list[Any], options: Options) -> Tensor:
    """Turned in the plane of two axes, from the first towards the second."""
    x, times = alone(site, args[0]), int(options.get("k", 1)) % 4
    first, second = (int(axis) % x.rank for axis in options.get("axes", (0, 1)))
    if times == 2:
        if not isinstance(x.shape[first], int) or x.shape[first] != x.shape[second]:
            raise site.unsupported("is turned by half, for which Keras 3 mixes up unequal sizes")
        return flipped(site, x, [first, second])
    order = list(range(x.rank))
    order[first], order[second] = second, first
    if times == 1:
        return flipped(site, transpose(site, x, order), [first])
    return transpose(site, flipped(site, x, [first]), order) if times else x


def broadcast_to(site: Site, x: Tensor, shape: Sequence[Dim], like: Tensor | None = None) -> Tensor:
    """Axes of size 1 widened to ``shape``; a free size must be the value's own, or of ``like``."""
    wide = unsqueeze(site, x, range(len(shape) - x.rank)) if x.rank < len(shape) else x
    target: list[Dim] = []
    for dim, want in zip(wide.shape, shape, strict=True):
        if want in (1, dim):
            target.append(1)  # leaves the axis as it is
            continue
        grows = dim == 1 or not isinstance(dim, int)
        read = dim == 1 and like is not None and want in like.shape
        if not (grows and isinstance(want, int)) and not read:
            raise site.unsupported(f"widens {dim} to {want}")
        target.append(want)
    if all(one == 1 for one in target):
        return wide
    form = wide.form if not wide.form.flat else plain(wide.rank)
    result: Shape = tuple(
        want if count != 1 else dim
        for dim, want, count in zip(wide.shape, shape, target, strict=True)
    )
    ordered = permuted(target, form)
    fixed = [dim for dim in ordered if isinstance(dim, int)]
    if len(fixed) == len(ordered):
        operand = site.integers(fixed, "shape")
    else:
        assert like is not None
        start = value(site, like, plain(like.rank))
        operand = dynamic_shape(site, start, like.shape, ordered)
    made = site.node(
        "Expand", [value(site, wide, form), operand], (x.dtype, permuted(result, form))
    )
    return Tensor(result, x.dtype, {form: made})


def _broadcast_to(site: Site, args: list[Any], options: Options) -> Tensor:
    shape = options.get("shape", args[1] if len(args) > 1 else None)
    if not isinstance(shape, (list, tuple, np.ndarray)):
        raise site.unsupported("widens a value to a computed shape")
    return broadcast_to(site, alone(site, args[0]), [int(one) for one in shape])


def _meshgrid(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    """Each vector spread along an axis of its own, all to one shape."""
    vectors = [flat(site, alone(site, one)) for one in args]
    rank, swap = len(vectors), str(options.get("indexing") or "xy") == "xy" and len(vectors) > 1
    places = [1, 0, *range(2, rank)] if swap else list(range(rank))
    shape: list[Dim] = [1] * rank
    for vector, place in zip(vectors, places, strict=True):
        shape[place] = vector.shape[0]
    return [
        broadcast_to(
            site, unsqueeze(site, one, [axis for axis in range(rank) if axis != place]), shape
        )
        for one, place in zip(vectors, places, strict=True)
    ]


MOVES: Mapping[str, Rule] = {
    "Append": _append,
    "Array": _convert,
    "ArraySplit": _split(uneven=True),
    "BroadcastTo": _broadcast_to,
    "Concatenate": _concatenate,
    "ConvertToTensor": _convert,
    "Copy": _identity,
    "Dsplit": _split(2),
    "Dstack": _stacked_along(2, 3),
    "ExpandDims": _expand_dims,
    "Flatten": _flatten,
    "Flip": _flip,
    "Fliplr": _flip_along(1),
    "Flipud": _flip_along(0),
    "Hsplit": _split(1),
    "Hstack": _stacked_along(1, 0),
    "Identity": _identity,
    "Meshgrid": _meshgrid,
    "Moveaxis": _moveaxis,
    "Pad": _pad,
    "Ravel": _ravel,
    "Repeat": _repeat,
    "Reshape": _reshape,
    "Roll": _roll,
    "Rot90": _rot90,
    "Split": _split(),
    "Squeeze": _squeeze,
    "Stack": _stack,
    "StopGradient": _identity,
    "Swapaxes": _swapaxes,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unstack": _unstack,
    "Vsplit": _split(0),
    "Vstack": _stacked_along(0, 0),
}
