"""Laws of the ops that only move elements: parameters move as the elements do."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.base_table import moved_traces
from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Dim, Form, Shape, UnfitError, merged, varies
from bnfold.verify.proof.normal_forms import passing
from bnfold.verify.proof.regroup import regrouped
from bnfold.verify.proof.rounding import GRAINS
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
