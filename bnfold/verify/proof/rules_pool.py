"""Laws of pooling and reductions: averages pass what is constant over the window."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, Shape, UnfitError
from bnfold.verify.proof.normal_forms import passing, reducible
from bnfold.verify.proof.padding import padding
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


def _window(op: Op) -> tuple[tuple[object, ...], bool]:
    """A key that is equal for equal windows, and whether anything beyond the operand is seen."""
    sizes = op.integers("kernel_shape")
    x = op.input(0)
    dims = (x.shape or ())[2:] if isinstance(x, Form) else ()
    auto, ceil = op.text("auto_pad", "NOTSET"), op.integer("ceil_mode", 0)
    pads: tuple[int, ...] | None = None
    # Whether VALID heeds ceil_mode is not defined.
    if len(dims) == len(sizes) and not (auto == "VALID" and ceil):
        was, (auto, pads) = auto, padding(op, sizes, dims)
        ceil = ceil if was == "NOTSET" else 0
    once = (1,) * len(sizes)
    rest = dict(op.attributes)
    for name in ("storage_order", "pads"):  # the one orders the indices, which are not used
        rest.pop(name, None)
    rest |= {"auto_pad": auto, "ceil_mode": ceil}
    rest |= {name: op.integers(name) or once for name in ("strides", "dilations")}
    outside = bool(ceil) or (any(pads) if pads is not None else auto != "VALID")
    return (op.op_type, op.since, tuple(sorted(rest.items())), pads), outside


def max_pool(space: Space, op: Op) -> list[Form]:
    """MaxPool and GlobalMaxPool: a rising affine passes."""
    if any(is_read(value) for value in op.node.outputs[1:]):
        raise UnfitError("the indices are used")
    form = _operand(space, op, None, "fixed", signed=False)
    return [_pooled(space, op, form, _window(op)[0])]


def average_pool(space: Space, op: Op) -> list[Form]:
    """AveragePool and GlobalAveragePool; zeros that are averaged in stop a shift."""
    key, outside = _window(op)
    zeros = outside and bool(op.integer("count_include_pad", 0))
    form = _operand(space, op, None, "none" if zeros else "fixed")
    return [_pooled(space, op, form, key)]


def lp_pool(space: Space, op: Op) -> list[Form]:
    """LpPool and GlobalLpPool: the size of a scale passes, zeros around or not."""
    given = computed(op.input(0))
    form = _normed(space, given, tuple(range(2, len(given.shape or ()))))
    return [_pooled(space, op, form, _window(op)[0])]


def _normed(space: Space, given: Form, axes: tuple[int, ...]) -> Form:
    """The operand of a norm over axes, which does not see a sign."""
    form = space.snap(given)
    if not np.any(form.const):
        form = replace(form, coef=np.abs(form.coef))
    return passing(space, form, axes, shift="none", signed=False)


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
    """ReduceMean, ReduceSum, ReduceMax, ReduceMin, and the norms ReduceL1 and ReduceL2."""
    given = computed(op.input(0))
    if given.shape is None:
        raise UnfitError("unknown rank")
    before = given.shape
    axes, keep = _reduced(op, len(before))
    if op.op_type in ("ReduceL1", "ReduceL2"):
        form = _normed(space, given, axes)
    elif op.op_type in ("ReduceMean", "ReduceSum"):
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
