"""Laws of pooling and reductions: averages pass what is constant over the window."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, Shape, UnfitError
from bnfold.verify.proof.normal_forms import passing, reducible
from bnfold.verify.proof.rounding import Array
from bnfold.verify.proof.rules_affine import computed
from bnfold.verify.proof.rules_move import rearranged
from bnfold.verify.proof.source import Op, is_read
from bnfold.verify.proof.space import Space

Shift = Literal["all", "fixed", "none"]


def _operand(
    space: Space, op: Op, axes: tuple[int, ...] | None, shift: Shift, signed: bool = True
) -> Form:
    """The operand with an affine that is constant over the axes, and the rest in its base."""
    form = space.snap(computed(op.input(0)))
    if form.shape is None:
        raise UnfitError("unknown rank")
    over = tuple(range(2, len(form.shape))) if axes is None else axes
    return passing(space, form, over, shift=shift, signed=signed)


def _key(op: Op) -> tuple[object, ...]:
    return (op.op_type, op.since, op.attribute_key)


def max_pool(space: Space, op: Op) -> list[Form]:
    """MaxPool and GlobalMaxPool: a rising affine passes."""
    if any(is_read(value) for value in op.node.outputs[1:]):
        raise UnfitError("the indices are used")
    form = _operand(space, op, None, "fixed", signed=False)
    return [
        rearranged(space, op, form, _key(op), op.shape_of_rank(len(form.coef.shape)), lambda a: a)
    ]


def average_pool(space: Space, op: Op) -> list[Form]:
    """AveragePool and GlobalAveragePool; zeros that are averaged in stop a shift."""
    padded = any(op.integers("pads")) or op.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    partial = padded or bool(op.integer("ceil_mode", 0))
    zeros = partial and bool(op.integer("count_include_pad", 0))
    form = _operand(space, op, None, "none" if zeros else "fixed")
    return [
        rearranged(space, op, form, _key(op), op.shape_of_rank(len(form.coef.shape)), lambda a: a)
    ]


def _pooled(space: Space, op: Op, form: Form, key: tuple[object, ...]) -> Form:
    """The result, on which parameters stand as on the operand."""
    shape = op.shape_of_rank(len(form.coef.shape))
    return rearranged(space, op, form, key, shape, lambda array: array)


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
    given = computed(op.input(0))
    if given.shape is None:
        raise UnfitError("unknown rank")
    before = given.shape
    axes, keep = _reduced(op, len(before))
    if op.op_type in ("ReduceMean", "ReduceSum"):
        form = reducible(space, space.snap(given), axes, mean=op.op_type == "ReduceMean")
    else:
        form = _operand(space, op, axes, "fixed", signed=False)
    shape: Shape = tuple(
        1 if i in axes else dim for i, dim in enumerate(before) if keep or i not in axes
    )

    def move(array: Array) -> Array:
        return array if keep else np.squeeze(array, axes)

    return [rearranged(space, op, form, (op.op_type, axes, keep), shape, move)]


def cum_sum(space: Space, op: Op) -> list[Form]:
    """CumSum: a scale passes that is constant along the axis."""
    axis, given = op.input(1), computed(op.input(0))
    if not isinstance(axis, Const) or given.shape is None:
        raise UnfitError("axis is computed")
    along = axis.ints()[0] % len(given.shape)
    form = _operand(space, op, (along,), "none")
    return [
        rearranged(
            space, op, form, (*_key(op), along), op.shape_of_rank(len(form.coef.shape)), lambda a: a
        )
    ]
