"""Laws of the ops that take elements out of a value, and of those that join values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Dim, Form, Shape, Trace, UnfitError
from bnfold.verify.proof.normal_forms import passing
from bnfold.verify.proof.rules_affine import as_form
from bnfold.verify.proof.rules_move import Move, ranked, rearranged
from bnfold.verify.proof.rules_nonlinear import operand_key
from bnfold.verify.proof.source import Op
from bnfold.verify.proof.space import Space


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
        form = passing(space, form, (axis,))
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
    form = passing(space, form, cut)
    limits = tuple(operand_key(space, known) for known in op.inputs[1:])
    return rearranged(space, op, form, ("cut by", limits), op.shape_of_rank(rank), lambda a: a)


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
        form = passing(space, form, (axis,))

        def move(array: NDArray[Any]) -> NDArray[Any]:
            return array.reshape(array.shape[:axis] + (1,) * count + array.shape[axis + 1 :])

    else:
        raise UnfitError("no index")
    target = shape[:axis] + dims + shape[axis + 1 :]
    key = ("gather", axis, operand_key(space, index))
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
