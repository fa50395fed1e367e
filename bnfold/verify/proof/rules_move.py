"""Laws of the ops that only move elements: parameters move as the elements do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.base_table import moved_traces
from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Dim, Form, Shape, Trace, UnfitError, merged, shrunk, varies
from bnfold.verify.proof.normal_forms import passing
from bnfold.verify.proof.regroup import regrouped
from bnfold.verify.proof.rounding import EXACT, GRAINS
from bnfold.verify.proof.rules_affine import as_form, computed, homogeneous
from bnfold.verify.proof.source import Known, Op
from bnfold.verify.proof.space import Space

Move = Callable[[NDArray[Any]], NDArray[Any]]


def ranked(known: Known | None) -> Form:
    """A computed operand (of any element type) of known rank."""
    if not isinstance(known, Form) or known.shape is None:
        raise UnfitError("no computed operand of known rank")
    return known


def rearranged(
    space: Space, op: Op, form: Form, key: tuple[Hashable, ...], shape: Shape | None, move: Move
) -> Form:
    """The value after a move; `move` brings parameters along or raises `UnfitError`."""
    if shape is None:
        raise UnfitError("rank unknown")
    form, moved = _moved(space, form, shape, move)
    if form.base is None:
        return moved
    traces = moved_traces(form.base.traces, move)
    base = space.intern((*key, form.base.id), shape, op.dtype() or form.dtype, traces)
    return replace(moved, base=base, dtype=op.dtype() or form.dtype)


def _moved(space: Space, form: Form, shape: Shape, move: Move) -> tuple[Form, Form]:
    """The operand, and what it becomes, without its base.

    Parameters that cannot be followed stay with the base, up to one affine for all elements.
    """
    form = space.anchored(form)
    try:
        return form, form.moved(None, shape, move)
    except UnfitError:
        if form.base is None or form.dtype not in GRAINS:
            raise
    form = passing(space, form, tuple(range(form.coef.ndim)))
    return form, form.moved(None, shape, move)


def _reshaped(
    space: Space, op: Op, form: Form, shape: Shape, otherwise: tuple[Hashable, ...], move: Move
) -> Form:
    """A reshape: known by its target alone, so that chains of reshapes are one."""
    open_dims = sum(not isinstance(dim, int) for dim in shape)
    form, moved = _moved(space, form, shape, move)
    base = form.base
    if base is None:
        return moved
    traces = moved_traces(base.traces, move)
    if open_dims > 1:
        made = space.intern((*otherwise, base.id), shape, form.dtype, traces)
        return replace(moved, base=made)
    root = base.reshaped or base
    if root.shape is not None and _equal(root.shape, shape):
        return replace(moved, base=root)
    target = tuple(dim if isinstance(dim, int) else -1 for dim in shape)
    made = space.intern(("reshape", target, root.id), shape, form.dtype, traces)
    made.reshaped = root
    return replace(moved, base=made)


def _target(before: Shape, target: tuple[int, ...], keep_zero: bool) -> Shape:
    """The dims that a constant target gives, as far as they are known."""
    dims: list[Dim] = [
        before[i] if dim == 0 and not keep_zero and i < len(before) else dim
        for i, dim in enumerate(target)
    ]
    if -1 in target:
        rest = [dim for dim in dims if dim != -1]
        known, total = _elements(rest), _elements(before)
        dims[target.index(-1)] = total // known if known and total is not None else None
    return tuple(dims)


def _elements(dims: Sequence[Dim]) -> int | None:
    """How many elements there are, None if that is unknown."""
    known = [dim for dim in dims if isinstance(dim, int)]
    return prod(known) if len(known) == len(dims) else None


def _equal(first: Shape, second: Shape) -> bool:
    """Whether two shapes of one value's elements are the same: at most one dim open."""
    if len(first) != len(second):
        return False
    differing = [(a, b) for a, b in zip(first, second, strict=True) if a != b or a is None]
    return not differing or (
        len(differing) == 1 and not any(isinstance(dim, int) for dim in differing[0])
    )


def reshape(space: Space, op: Op) -> list[Form]:
    """Reshape, by a constant or a computed target."""
    form, target = ranked(op.input(0)), op.input(1)
    before, shape = form.shape, op.shape()
    if isinstance(target, Const) and before is not None:
        wanted = _target(before, target.ints(), bool(op.integer("allowzero", 0)))
        shape = merged(shape, wanted) if shape is not None else wanted
    if shape is None or before is None:
        raise UnfitError("rank unknown")
    if isinstance(target, Const):
        tag: tuple[Hashable, ...] = ("reshape to", target.ints(), op.integer("allowzero", 0))
    elif isinstance(target, Form):
        tag = ("reshape by", space.full(target).id)
    else:
        tag = ("reshape as", op.integers("shape"))
    return [_reshaped(space, op, form, shape, tag, lambda a: regrouped(a, before, shape))]


def flatten(space: Space, op: Op) -> list[Form]:
    """Flatten."""
    form = ranked(op.input(0))
    before = form.shape or ()
    axis = op.integer("axis", 1)
    axis += len(before) if axis < 0 else 0
    known: Shape = (_elements(before[:axis]), _elements(before[axis:]))
    if axis == 1:
        known = (before[0], known[1])
    shape = op.shape_as(known) or known
    tag = ("flatten", axis)
    return [_reshaped(space, op, form, shape, tag, lambda a: regrouped(a, before, shape))]


def axes_of(op: Op, index: int = 1) -> tuple[int, ...] | None:
    """Axes given as a constant input or as an attribute."""
    known = op.input(index)
    if isinstance(known, Const):
        return known.ints()
    if known is not None:
        raise UnfitError("axes are computed")
    axes = op.integers("axes")
    return axes or None


def squeeze(space: Space, op: Op) -> list[Form]:
    """Squeeze."""
    form = ranked(op.input(0))
    before = form.shape or ()
    axes = axes_of(op)
    if axes is None:
        if any(not isinstance(dim, int) for dim in before):
            raise UnfitError("which axes go is unknown")
        axes = tuple(i for i, dim in enumerate(before) if dim == 1)
    gone = tuple(sorted(axis % len(before) for axis in axes))
    shape = tuple(dim for i, dim in enumerate(before) if i not in gone)
    if varies(form.coef, gone) or varies(form.const, gone):
        raise UnfitError("parameters along a squeezed axis")
    return [_reshaped(space, op, form, shape, ("squeeze", gone), lambda a: np.squeeze(a, gone))]


def unsqueeze(space: Space, op: Op) -> list[Form]:
    """Unsqueeze."""
    form = ranked(op.input(0))
    before, axes = form.shape or (), axes_of(op)
    if axes is None:
        raise UnfitError("no axes")
    rank = len(before) + len(axes)
    new = tuple(sorted(axis % rank for axis in axes))
    rest = iter(before)
    shape: Shape = tuple(1 if i in new else next(rest) for i in range(rank))
    return [_reshaped(space, op, form, shape, ("unsqueeze", new), lambda a: np.expand_dims(a, new))]


def transpose(space: Space, op: Op) -> list[Form]:
    """Transpose; chains of them are one."""
    form = space.anchored(ranked(op.input(0)))
    before = form.shape or ()
    perm = op.integers("perm") or tuple(reversed(range(len(before))))
    shape = tuple(before[i] for i in perm)
    moved = form.moved(None, shape, lambda a: a.transpose(perm))
    base = form.base
    if base is None:
        return [moved]
    root, first = base.permuted or (base, tuple(range(len(before))))
    whole = tuple(first[i] for i in perm)
    if whole == tuple(range(len(before))):
        return [replace(moved, base=root)]
    traces = moved_traces(base.traces, lambda a: a.transpose(perm))
    made = space.intern(("transpose", whole, root.id), shape, form.dtype, traces)
    made.permuted = (root, whole)
    return [replace(moved, base=made)]


def _along(axis: int, cut: Move) -> Move:
    """A move along one axis; what is constant along it stays as it is."""
    return lambda array: array if array.shape[axis] == 1 else cut(array)


def _piece(
    space: Space, op: Op, form: Form, axis: int, start: int, stop: int, step: int, dim: Dim
) -> Form:
    """Elements start, start + step, ... before stop along an axis of known size."""
    assert isinstance(dim, int)
    index = range(dim)[start:stop:step]
    shape = tuple(len(index) if i == axis else d for i, d in enumerate(form.shape or ()))
    key = ("slice", axis, index.start, index.stop, index.step)
    if len(index) == dim and step > 0:
        return form
    return rearranged(
        space, op, form, key, shape, _along(axis, lambda a: np.take(a, list(index), axis))
    )


def slice_(space: Space, op: Op) -> list[Form]:
    """Slice with constant limits."""
    form = space.anchored(ranked(op.input(0)))
    rank = len(form.shape or ())
    limits = [op.input(i) for i in range(1, 5)]
    if any(isinstance(known, Form) for known in limits):
        return [_computed_slice(space, op, form)]
    if limits[0] is None:
        starts, ends, axes = op.integers("starts"), op.integers("ends"), op.integers("axes")
        steps: tuple[int, ...] = (1,) * len(starts)
    else:
        starts, ends, axes, steps = (
            known.ints() if isinstance(known, Const) else () for known in limits
        )
        steps = steps or (1,) * len(starts)
    axes = axes or tuple(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= rank
        dim = (form.shape or ())[axis]
        if isinstance(dim, int):
            first, last = _clamped(start, end, step, dim)
            form = _piece(space, op, form, axis, first, last, step, dim)
            continue
        if varies(form.coef, (axis,)) or varies(form.const, (axis,)):
            raise UnfitError("size unknown along the sliced axis")
        shape = tuple(None if i == axis else d for i, d in enumerate(form.shape or ()))
        form = rearranged(space, op, form, ("cut", axis, start, end, step), shape, lambda a: a)
    return [form]


def _clamped(start: int, end: int, step: int, dim: int) -> tuple[int, int]:
    """ONNX limits as Python's slices take them, for ``range(dim)[start:stop:step]``."""
    start, end = (v + dim if v < 0 else v for v in (start, end))
    if step > 0:
        return min(max(start, 0), dim), min(max(end, 0), dim)
    if start < 0:
        return 0, 0
    start = min(start, dim - 1)
    end = min(max(end, -1), dim - 1)
    return start, end if end >= 0 else -dim - 1


def _computed_slice(space: Space, op: Op, form: Form) -> Form:
    """Limits only known at run time: parameters must be constant along the axes."""
    axes = op.input(3)
    if not isinstance(axes, Const):
        raise UnfitError("axes unknown")
    rank = len(form.shape or ())
    cut = tuple(axis % rank for axis in axes.ints())
    if varies(form.coef, cut) or varies(form.const, cut):
        raise UnfitError("parameters along a sliced axis")
    limits = tuple(_identity_key(space, known) for known in op.inputs[1:])
    return rearranged(space, op, form, ("cut by", limits), op.shape_of_rank(rank), lambda a: a)


def _identity_key(space: Space, known: Known | None) -> Hashable:
    if known is None:
        return None
    return known.key if isinstance(known, Const) else space.full(known).id


def split(space: Space, op: Op) -> list[Form]:
    """Split along an axis of known size."""
    form = space.anchored(ranked(op.input(0)))
    shape = form.shape or ()
    axis = op.integer("axis", 0) % len(shape)
    dim = shape[axis]
    if not isinstance(dim, int):
        raise UnfitError("size unknown along the split axis")
    known = op.input(1)
    sizes = known.ints() if isinstance(known, Const) else op.integers("split")
    if not sizes:
        if known is not None:
            raise UnfitError("sizes are computed")
        count = len(op.node.outputs)
        each = -(-dim // count)
        sizes = (*(each,) * (count - 1), dim - each * (count - 1))
    found, start = [], 0
    for size in sizes:
        found.append(_piece(space, op, form, axis, start, start + size, 1, dim))
        start += size
    return found


def gather(space: Space, op: Op) -> list[Form]:
    """Gather from a computed value."""
    form = space.anchored(ranked(op.input(0)))
    shape = form.shape or ()
    axis = op.integer("axis", 0) % len(shape)
    index = op.input(1)
    if isinstance(index, Const):
        dims: Shape = index.shape
        chosen = index.value

        def move(array: NDArray[Any]) -> NDArray[Any]:
            if array.shape[axis] > 1:
                return np.take(array, chosen, axis)
            return array.reshape(array.shape[:axis] + (1,) * chosen.ndim + array.shape[axis + 1 :])

    elif isinstance(index, Form) and index.shape is not None:
        dims = index.shape
        count = len(dims)
        if varies(form.coef, (axis,)) or varies(form.const, (axis,)):
            raise UnfitError("parameters along the gathered axis")

        def move(array: NDArray[Any]) -> NDArray[Any]:
            return array.reshape(array.shape[:axis] + (1,) * count + array.shape[axis + 1 :])

    else:
        raise UnfitError("no index")
    target = shape[:axis] + dims + shape[axis + 1 :]
    key = ("gather", axis, _identity_key(space, index))
    return [rearranged(space, op, form, key, target, move)]


def concat(space: Space, op: Op) -> list[Form]:
    """Concat of float values, constants among them."""
    forms = [space.anchored(as_form(known)) for known in op.inputs]
    ranks = {len(form.shape) if form.shape is not None else -1 for form in forms}
    if len(ranks) != 1 or -1 in ranks:
        raise UnfitError("rank unknown")
    axis = op.integer("axis", 0) % ranks.pop()
    sizes = [(form.shape or ())[axis] for form in forms]

    def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        if all(a.shape[axis] == 1 for a in arrays) and all(_same(arrays[0], a) for a in arrays[1:]):
            return arrays[0]
        known = [size for size in sizes if isinstance(size, int)]
        if len(known) < len(sizes):
            raise UnfitError("size unknown along the joined axis")
        outer = np.broadcast_shapes(*(_without(a.shape, axis) for a in arrays))
        spread = [
            np.broadcast_to(a, (*outer[:axis], size, *outer[axis + 1 :]))
            for a, size in zip(arrays, known, strict=True)
        ]
        return np.concatenate(spread, axis)

    total = sum(size for size in sizes if isinstance(size, int))
    open_size = any(not isinstance(size, int) for size in sizes)
    shape = tuple(
        (None if open_size else total) if i == axis else dim
        for i, dim in enumerate(op.shape_as(forms[0].shape) or ())
    )
    grains = [form.grain for form in forms]
    whole = Form(
        shape,
        op.dtype(),
        None,
        joined([form.coef for form in forms]),
        joined([form.const for form in forms]),
        joined([form.mag for form in forms]),
        joined([form.unit for form in forms]),
        joined([form.scale_unit for form in forms]),
        min(grains, key=lambda grain: grain.bits),
        frozenset().union(*(f.via for f in forms)),
    )
    if all(form.base is None for form in forms):
        return [whole]
    parts = tuple(
        form.base.id if form.base is not None else ("constant", size)
        for form, size in zip(forms, sizes, strict=True)
    )
    base = space.intern(("concat", axis, parts), shape, op.dtype(), _joined_traces(forms, joined))
    result = replace(whole, base=base)
    space.note(result)
    return [result]


def _joined_traces(
    forms: Sequence[Form], joined: Callable[[Sequence[NDArray[Any]]], NDArray[Any]]
) -> list[Trace]:
    found = []
    depth = max(len(form.base.traces) if form.base is not None else 0 for form in forms)
    for level in range(depth):
        rows: list[NDArray[Any]] = []
        ratios: list[NDArray[Any]] = []
        kernels: set[int] = set()
        for form in forms:
            traces = form.base.traces if form.base is not None else ()
            ones = (1,) * len(form.shape or ())
            if level < len(traces):
                rows.append(traces[level].rows)
                ratios.append(traces[level].ratio)
                kernels.update(traces[level].kernels)
            else:
                rows.append(np.full(ones, -1))
                ratios.append(np.ones(ones))
        try:
            found.append(Trace(joined(rows), joined(ratios), tuple(sorted(kernels))))
        except (UnfitError, ValueError):
            continue
    return found


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return first.shape == second.shape and bool(np.array_equal(first, second))


def expand(space: Space, op: Op) -> list[Form]:
    """Expand: parameters broadcast as before."""
    form, shape = ranked(op.input(0)), op.shape()
    if shape is None:
        raise UnfitError("rank unknown")
    known = op.input(1)
    dims = shape if all(isinstance(dim, int) for dim in shape) else None
    key = ("expand", dims if dims is not None else _identity_key(space, known))
    return [rearranged(space, op, form.aligned(len(shape)), key, shape, lambda a: a)]


def tile(space: Space, op: Op) -> list[Form]:
    """Tile."""
    form, repeats = ranked(op.input(0)), op.input(1)
    if not isinstance(repeats, Const):
        raise UnfitError("repeats are computed")
    counts = repeats.ints()

    def move(array: NDArray[Any]) -> NDArray[Any]:
        return np.tile(array, [c if s > 1 else 1 for c, s in zip(counts, array.shape, strict=True)])

    return [rearranged(space, op, form, ("tile", counts), op.shape_of_rank(len(counts)), move)]


#: Largest array of parameters (elements) that is spread out in space.
MAX_SPREAD = 4_000_000


def depth_to_space(space: Space, op: Op) -> list[Form]:
    """DepthToSpace; where the size of the image is open, of parameters equal in each block."""
    form = space.anchored(computed(op.input(0)))
    if form.shape is None or len(form.shape) != 4 or form.base is None:
        raise UnfitError("no image")
    cut = _Blocks(op.integer("blocksize", 1), op.text("mode", "DCR") == "DCR")
    sizes = [dim for dim in form.shape[1:] if isinstance(dim, int)]
    key = ("depth to space", cut.size, cut.depth_first)
    if len(sizes) == 3 and prod(sizes) <= MAX_SPREAD:
        return [
            rearranged(space, op, form, key, op.shape_of_rank(4), lambda a: cut.spread(a, sizes))
        ]
    channels = form.shape[1]
    if not isinstance(channels, int) or channels % cut.size**2:
        raise UnfitError("number of channels unknown")
    # A shift that differs within the blocks stays with the base, up to its first element.
    shared = cut.first(form.const, channels)
    spread = cut.back(shared)
    inner = homogeneous(space, form.plus(-spread, np.abs(spread), 0 * spread, EXACT))
    blocks = cut.blocks(inner.coef, channels)
    if inner.base is None or np.any(blocks != blocks[:1]):
        raise UnfitError("scale varies within a block")
    traces = [
        Trace(rows.reshape(1, -1, 1, 1), ratio.reshape(1, -1, 1, 1), trace.kernels)
        for trace in inner.base.traces
        if trace.rows.ndim == 4 and trace.rows.shape[1] == channels
        for rows, ratio in zip(
            cut.blocks(trace.rows, channels), cut.blocks(trace.ratio, channels), strict=True
        )
    ]
    base = space.intern((*key, inner.base.id), op.shape_of_rank(4), op.dtype(), traces)
    result = replace(
        inner.moved(base, op.shape_of_rank(4), lambda a: cut.first(a, channels)),
        const=shared,
        mag=cut.first(form.mag, channels),
        unit=cut.first(form.unit, channels),
        dtype=op.dtype() or form.dtype,
    )
    return [result]


@dataclass(frozen=True)
class _Blocks:
    """How DepthToSpace cuts channels into blocks."""

    size: int
    depth_first: bool

    def spread(self, array: NDArray[Any], sizes: list[int]) -> NDArray[Any]:
        """Parameters moved as the elements are, all sizes known."""
        if not varies(array, (1, 2, 3)):
            return array
        channels, height, width = sizes
        each = channels // self.size**2
        full = np.broadcast_to(array, (array.shape[0], *sizes))
        if self.depth_first:
            parts = full.reshape(-1, self.size, self.size, each, height, width)
            moved = parts.transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = full.reshape(-1, each, self.size, self.size, height, width)
            moved = parts.transpose(0, 1, 4, 2, 5, 3)
        return shrunk(moved.reshape(-1, each, height * self.size, width * self.size))

    def blocks(self, array: NDArray[Any], channels: int) -> NDArray[Any]:
        """Parameters as (place within the block, channel of the result)."""
        if array.ndim != 4 or varies(array, (0, 2, 3)):
            raise UnfitError("parameters vary in space")
        flat = np.broadcast_to(array.reshape(-1), channels)
        count = self.size**2
        return flat.reshape(count, -1) if self.depth_first else flat.reshape(-1, count).T

    def first(self, array: NDArray[Any], channels: int) -> NDArray[Any]:
        """Parameters of each block's first place, on the result."""
        return np.asarray(self.blocks(array, channels)[0].reshape(1, -1, 1, 1))

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """One parameter per channel of the result, on the operand."""
        spread = np.broadcast_to(array.reshape(1, -1), (self.size**2, array.size))
        return (spread if self.depth_first else spread.T).reshape(1, -1, 1, 1)


def space_to_depth(space: Space, op: Op) -> list[Form]:
    """SpaceToDepth of parameters that are constant in space."""
    form, block = ranked(op.input(0)), op.integer("blocksize", 1)

    def move(array: NDArray[Any]) -> NDArray[Any]:
        if varies(array, (0, 2, 3)):
            raise UnfitError("parameters vary in space")
        return np.tile(array, (1, block**2, 1, 1)) if array.shape[1] > 1 else array

    return [rearranged(space, op, form, ("space to depth", block), op.shape_of_rank(4), move)]


def resize(space: Space, op: Op) -> list[Form]:
    """Resize and Upsample: each result is an average whose weights sum to 1."""
    form = space.anchored(ranked(op.input(0)))
    before = form.shape or ()
    shape = op.shape_of_rank(len(before))
    if form.dtype not in GRAINS:
        raise UnfitError("no floats of known rank")
    if op.text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise UnfitError("elements from outside")
    moving = tuple(
        i for i, (a, b) in enumerate(zip(before, shape, strict=True)) if a != b or a is None
    )
    form = passing(space, form, moving)
    key = (
        op.op_type,
        op.since,
        op.attribute_key,
        tuple(_identity_key(space, known) for known in op.inputs[1:]),
    )
    return [rearranged(space, op, form, key, shape, lambda a: a)]


def pad(space: Space, op: Op) -> list[Form]:
    """Pad: by reflection or repetition all passes, by a constant a scale around it."""
    form = space.anchored(computed(op.input(0)))
    if form.shape is None:
        raise UnfitError("rank unknown")
    rank = len(form.shape)
    known = op.input(1)
    pads = (
        known.ints()
        if isinstance(known, Const)
        else (op.integers("pads") or op.integers("paddings"))
    )
    if not pads or op.input(3) is not None:
        raise UnfitError("pads are computed")
    padded = tuple(i for i in range(rank) if pads[i] or pads[i + rank])
    mode = op.text("mode", "constant")
    key = ("pad", mode, pads)
    if mode != "constant":
        inner = passing(space, form, padded)
        return [rearranged(space, op, inner, key, op.shape_of_rank(rank), lambda a: a)]
    value = op.input(2)
    filler = op.real("value", 0.0)
    if isinstance(value, Const):
        filler = float(value.real.reshape(-1)[0])
    if not np.isfinite(filler) or isinstance(value, Form):
        raise UnfitError("pad value is not a finite constant")
    if min(pads) < 0:
        raise UnfitError("negative pads")
    around = np.full((1,) * rank, filler)
    centred = form.plus(-around, np.abs(around), 0 * around, EXACT)
    inner = passing(space, centred.lean(), padded, shift="none")
    result = rearranged(space, op, inner, key, op.shape_of_rank(rank), lambda a: a)
    return [result.plus(around, np.abs(around), 0 * around, EXACT)]
