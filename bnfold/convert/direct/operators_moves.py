"""Operators that move, join or multiply whole values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import (
    constant,
    flatten,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
    value,
)
from bnfold.convert.direct.operators_math import Options, Rule, axes_option, operands
from bnfold.convert.direct.ops import (
    concat,
    einsum,
    gather,
    matmul,
    pad,
    slices,
    split,
)
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.geometry import fill_reshape


def _identity(site: Site, args: list[Any], options: Options) -> Tensor:
    result: Tensor = args[0]
    return result


def _reshape(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    target = options.get("newshape", options.get("shape"))
    target = args[1] if target is None and len(args) > 1 else target
    if not isinstance(target, (list, tuple)) or not all(
        isinstance(one, int) or one is None for one in target
    ):
        raise site.unsupported("reshapes to a shape that is computed")
    sizes = [-1 if one is None else int(one) for one in target]
    if not sizes:
        raise site.unsupported("reshapes to a scalar")
    batch = x.shape[0]
    rest = sizes[1:]
    if sizes[0] == -1 and -1 not in rest and not isinstance(batch, int):
        inner = [one for one in x.shape[1:] if isinstance(one, int)]
        same = len(inner) == x.rank - 1 and int(np.prod(inner)) == int(np.prod(rest))
        return reshape(site, x, (batch if same else site.emitter.fresh_dim(), *rest))
    if sizes[0] == batch:
        return reshape(site, x, (batch, *fill_reshape(x.shape[1:], rest, site.emitter.fresh_dim)))
    return reshape(site, x, fill_reshape(x.shape, sizes, site.emitter.fresh_dim))


def _transpose(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axes = options.get("axes", args[1] if len(args) > 1 else None)
    order = range(x.rank - 1, -1, -1) if axes is None else axes
    return transpose(site, x, [int(axis) % x.rank for axis in order])


def _swapaxes(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    order = list(range(x.rank))
    first, second = (int(options[key]) % x.rank for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return transpose(site, x, order)


def _moveaxis(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    pairs = [options[key] for key in ("source", "destination")]
    source, target = ([one] if isinstance(one, int) else list(one) for one in pairs)
    moving = [int(one) % x.rank for one in source]
    order = [axis for axis in range(x.rank) if axis not in moving]
    for place, axis in sorted(zip((int(one) % x.rank for one in target), moving, strict=True)):
        order.insert(place, axis)
    return transpose(site, x, order)


def _expand_dims(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axis = options.get("axis", args[1] if len(args) > 1 else -1)
    return unsqueeze(site, x, list(axis) if isinstance(axis, (list, tuple)) else [int(axis)])


def _squeeze(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    axis = options.get("axis")
    if axis is None:
        axes = [place for place, dim in enumerate(x.shape) if dim == 1]
    else:
        axes = list(axis) if isinstance(axis, (list, tuple)) else [int(axis)]
    if any(x.shape[place] != 1 for place in axes):
        raise site.unsupported("drops an axis that is not of size 1")
    return squeeze(site, x, axes)


def _concatenate(site: Site, args: list[Any], options: Options) -> Tensor:
    return concat(site, operands(site, args[0]), int(options.get("axis", 0) or 0))


def _stack(site: Site, args: list[Any], options: Options) -> Tensor:
    tensors = operands(site, args[0])
    axis = int(options.get("axis") or 0) % (tensors[0].rank + 1)
    return concat(site, [unsqueeze(site, one, [axis]) for one in tensors], axis)


def _split(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    x = args[0]
    axis = int(options.get("axis") or 0)
    parts = options.get("indices_or_sections")
    dim = x.shape[axis]
    if not isinstance(dim, int):
        raise site.unsupported("splits a size that is free")
    if isinstance(parts, int):
        sizes = [dim // parts] * parts
    else:
        edges = [0, *(int(edge) for edge in parts or ()), dim]
        sizes = [after - before for before, after in itertools.pairwise(edges)]
    return split(site, x, sizes, axis)


def _get_item(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    key = args[1] if len(args) > 1 else options.get("key")
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    return indexed(site, x, items)


def indexed(site: Site, x: Tensor, items: Sequence[Any]) -> Tensor:
    """``x[items]`` with slices, numbers, None and one Ellipsis."""
    used = sum(isinstance(item, (slice, int)) for item in items)
    if Ellipsis in items:
        place = list(items).index(Ellipsis)
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


def _pad(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    widths = options.get("pad_width", args[1] if len(args) > 1 else None)
    mode = str(options.get("mode", "constant")).lower()
    if mode not in ("constant", "reflect", "edge"):
        raise site.unsupported(f"pads in the mode {mode!r}")
    fill = options.get("constant_values") or 0
    if isinstance(widths, int):
        widths = [[widths, widths]] * x.rank
    pairs = [(int(one[0]), int(one[1])) for one in widths]
    if len(pairs) == 1:
        pairs *= x.rank
    return pad(site, x, pairs, mode, float(fill))


def _tile(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    repeats = [int(one) for one in options.get("repeats", args[1] if len(args) > 1 else ())]
    if len(repeats) != x.rank:
        raise site.unsupported("repeats along other axes than it has")
    shape: list[Dim] = [
        dim if times == 1 else dim * times if isinstance(dim, int) else site.emitter.fresh_dim()
        for dim, times in zip(x.shape, repeats, strict=True)
    ]
    made = site.node(
        "Tile",
        [value(site, x, plain(x.rank)), site.integers(repeats, "repeats")],
        (x.dtype, shape),
    )
    return Tensor(tuple(shape), x.dtype, {plain(x.rank): made})


def _matmul(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    if min(left.rank, right.rank) < 2:
        raise site.unsupported("multiplies a vector")
    if options.get("transpose_a"):
        left = _turned(site, left)
    if options.get("transpose_b"):
        right = _turned(site, right)
    return matmul(site, left, right)


def _turned(site: Site, x: Tensor) -> Tensor:
    return transpose(site, x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _einsum(site: Site, args: list[Any], options: Options) -> Tensor:
    equation = str(options.get("subscripts") or options.get("equation") or "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    tensors = operands(site, args)
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) != len(tensors):
        raise site.unsupported(f"has the equation {equation!r}")
    sizes: dict[str, Dim] = {}
    for term, tensor in zip(terms, tensors, strict=True):
        sizes |= dict(zip(term, tensor.shape, strict=True))
    return einsum(site, equation, tensors, tuple(sizes[letter] for letter in out))


def _take(site: Site, args: list[Any], options: Options) -> Tensor:
    x, indices = args[0], args[1]
    axis = options.get("axis")
    if axis is None or not isinstance(x, Tensor):
        raise site.unsupported("takes elements of a flattened value")
    if not isinstance(indices, Tensor):
        indices = constant(np.asarray(indices, dtype=np.int64))
    return gather(site, x, indices, int(axis))


def _flip(site: Site, args: list[Any], options: Options) -> Tensor:
    x = args[0]
    return slices(site, x, dict.fromkeys(axes_option(site, x, options), (None, None, -1)))


def _flatten(site: Site, args: list[Any], options: Options) -> Tensor:
    return flatten(site, args[0])


MOVES: Mapping[str, Rule] = {
    "Concatenate": _concatenate,
    "ConvertToTensor": _identity,
    "Copy": _identity,
    "Einsum": _einsum,
    "ExpandDims": _expand_dims,
    "Flatten": _flatten,
    "Flip": _flip,
    "GetItem": _get_item,
    "Identity": _identity,
    "Matmul": _matmul,
    "Moveaxis": _moveaxis,
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "StopGradient": _identity,
    "Swapaxes": _swapaxes,
    "Take": _take,
    "Tile": _tile,
    "Transpose": _transpose,
}
