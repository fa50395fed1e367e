"""Laws of pooling and reductions: averages pass what is constant over the window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, Shape, UnfitError, of_base, varies
from bnfold.verify.proof.rounding import Array
from bnfold.verify.proof.rules_affine import computed, homogeneous
from bnfold.verify.proof.rules_move import rearranged
from bnfold.verify.proof.source import Op
from bnfold.verify.proof.space import Space


def _operand(space: Space, op: Op) -> Form:
    form = space.snap(computed(op.input(0)))
    if form.base is None or form.shape is None:
        raise UnfitError("constant or of unknown rank")
    return form


def _key(op: Op) -> tuple[object, ...]:
    return (op.op_type, op.since, op.attribute_key)


def _rising(form: Form, axes: tuple[int, ...]) -> bool:
    """Whether the value is a rising function of its base, the same one over the axes."""
    return (
        not np.any(form.coef < 0) and not varies(form.coef, axes) and not varies(form.const, axes)
    )


def max_pool(space: Space, op: Op) -> list[Form]:
    """MaxPool and GlobalMaxPool: a rising affine passes."""
    if any(value.uses() for value in op.node.outputs[1:]):
        raise UnfitError("the indices are used")
    form = _operand(space, op)
    if not _rising(form, tuple(range(2, len(form.shape or ())))):
        form = of_base(space.full(form), form.dtype)
    return [rearranged(space, op, form, _key(op), op.shape(), lambda a: a)]


def average_pool(space: Space, op: Op) -> list[Form]:
    """AveragePool and GlobalAveragePool; zeros that are averaged in stop a shift."""
    form = _operand(space, op)
    axes = tuple(range(2, len(form.shape or ())))
    padded = any(op.integers("pads")) or op.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    zeros = bool(op.integer("count_include_pad", 0)) and (
        padded or bool(op.integer("ceil_mode", 0))
    )
    if zeros or varies(form.const, axes):
        form = homogeneous(space, form)
    if varies(form.coef, axes) or varies(form.const, axes):
        form = of_base(space.full(form), form.dtype)
    return [rearranged(space, op, form, _key(op), op.shape(), lambda a: a)]


def _reduced(op: Op, rank: int) -> tuple[tuple[int, ...], bool]:
    """The axes that are reduced, and whether they stay with size 1."""
    known = op.input(1)
    if known is not None and not isinstance(known, Const):
        raise UnfitError("axes are computed")
    given = known.ints() if isinstance(known, Const) else op.integers("axes")
    if not given and op.integer("noop_with_empty_axes", 0):
        raise UnfitError("no axes")
    axes = tuple(sorted(axis % rank for axis in given)) or tuple(range(rank))
    return axes, bool(op.integer("keepdims", 1))


def reduce_(space: Space, op: Op) -> list[Form]:
    """ReduceMean, ReduceSum, ReduceMax, ReduceMin."""
    form = _operand(space, op)
    before = form.shape or ()
    axes, keep = _reduced(op, len(before))
    if op.op_type == "ReduceSum" or (op.op_type == "ReduceMean" and varies(form.const, axes)):
        form = homogeneous(space, form)
    fits = (
        _rising(form, axes)
        if op.op_type in ("ReduceMax", "ReduceMin")
        else (not varies(form.coef, axes) and not varies(form.const, axes))
    )
    if not fits:
        form = of_base(space.full(form), form.dtype)
    shape: Shape = tuple(
        1 if i in axes else dim for i, dim in enumerate(before) if keep or i not in axes
    )

    def move(array: Array) -> Array:
        return array if keep else np.squeeze(array, axes)

    key = (op.op_type, axes, keep)
    return [rearranged(space, op, form, key, shape, move)]


def cum_sum(space: Space, op: Op) -> list[Form]:
    """CumSum: a scale passes that is constant along the axis."""
    axis = op.input(1)
    form = homogeneous(space, _operand(space, op))
    if not isinstance(axis, Const):
        raise UnfitError("axis is computed")
    along = axis.ints()[0] % len(form.shape or ())
    if varies(form.coef, (along,)):
        form = of_base(space.full(form), form.dtype)
    key = (*_key(op), along)
    return [replace(rearranged(space, op, form, key, op.shape(), lambda a: a))]
