"""Laws of ops that pass one affine common to several operands, and of ops that end in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, UnfitError, align, of_base
from bnfold.verify.proof.normal_forms import relative
from bnfold.verify.proof.rounding import GRAINS
from bnfold.verify.proof.rules_affine import as_form, computed, constant
from bnfold.verify.proof.rules_nonlinear import operand_key
from bnfold.verify.proof.source import Known, Op, is_read
from bnfold.verify.proof.space import Space


def where(space: Space, op: Op) -> list[Form]:
    """Where: an affine common to both branches passes."""
    condition = operand_key(space, op.input(0))
    return [_common(space, op, [op.input(1), op.input(2)], ("Where", condition), rising=False)]


def extreme(space: Space, op: Op) -> list[Form]:
    """Max and Min: a rising affine common to all operands passes."""
    return [_common(space, op, list(op.inputs), (op.op_type,), rising=True)]


def _common(
    space: Space, op: Op, known: list[Known | None], key: tuple[object, ...], *, rising: bool
) -> Form:
    """f(s a + t, s b + u, ...) = s f(a, b + (u - t) / s, ...) + t."""
    if op.dtype() not in GRAINS:
        raise UnfitError("no floats")
    given = [as_form(one) for one in known]
    ranks = [len(form.shape) for form in given if form.shape is not None]
    if len(ranks) < len(given):
        raise UnfitError("rank unknown")
    shape = op.shape_of_rank(max(ranks))
    forms = [space.anchored(form.aligned(len(shape))) for form in given]
    lead = next((i for i, form in enumerate(forms) if form.base is not None), None)
    if lead is None:
        raise UnfitError("constants alone")
    first = space.snap(forms[lead])
    others = [space.snap(form) for i, form in enumerate(forms) if i != lead]
    if first.base is None or (rising and np.any(first.coef < 0)):
        raise UnfitError("no common affine")
    live = (first.coef != 0).astype(np.float64)
    first = _with_measure(first, others, rising=rising)
    assert first.base is not None
    ids = tuple(o.base.id if o.base is not None else -1 for o in others)
    base = relative(space, (*key, lead, first.base.id, ids), first, others, shape, live)
    via = first.via.union(*(o.via for o in others))
    return replace(first, shape=shape, dtype=op.dtype(), base=base, via=via)


def _with_measure(lead: Form, others: Sequence[Form], *, rising: bool) -> Form:
    """The lead with a scale where it is constant, too: how far off the first of the others is.

    There the op is one of 0 and the others, and the scale is what both models measure them by.
    """
    dead = lead.coef == 0
    if not np.any(dead):
        return lead
    measure, doubt = np.ones_like(lead.coef), np.zeros_like(lead.coef)
    for other in reversed(others):
        apart = other.const - lead.const
        measure = np.where(apart == 0, measure, np.abs(apart) if rising else apart)
        doubt = np.where(apart == 0, doubt, other.unit + lead.unit)
    return replace(
        lead,
        coef=np.where(dead, measure, lead.coef),
        scale_unit=np.where(dead, doubt, lead.scale_unit),
    )


def normalization(space: Space, op: Op) -> list[Form]:
    """LayerNormalization and its kin: scale and bias act on what has been normalized."""
    x = computed(op.input(0))
    shape = op.shape_as(x.shape)
    if shape is None or any(is_read(value) for value in op.node.outputs[1:]):
        raise UnfitError("rank unknown, or statistics used")
    rank = len(shape)
    scale = _per_element(op, op.input(1), rank)
    key = (op.op_type, op.since, op.attribute_key, space.full(x).id)
    dtype = op.dtype() or x.dtype
    form = of_base(space.intern(key, shape, dtype), dtype)
    form = form.times(align(scale.real, rank), scale.grain)
    bias = op.input(2)
    if bias is not None:
        shift = _per_element(op, bias, rank)
        values = align(shift.real, rank)
        form = form.plus(values, np.abs(values), shift.grain.spacing(values), shift.grain)
    space.note(form)
    return [form]


def _per_element(op: Op, known: Known | None, rank: int) -> Const:
    """Scale or bias as it broadcasts to the value: along its last axes, or per channel."""
    const = constant(known)
    if op.op_type == "LayerNormalization":
        return const
    if op.op_type == "GroupNormalization" and op.version < 21:
        raise UnfitError("per group")
    return Const(const.value.reshape(1, -1, *(1,) * (rank - 2)), const.dtype, const.grain)


def dequantized(space: Space, op: Op) -> list[Form]:
    """DequantizeLinear of a computed value: (x - zero) * scale."""
    x, scale = op.input(0), constant(op.input(1))
    if not isinstance(x, Form) or x.shape is None or op.integer("block_size", 0):
        raise UnfitError("no computed operand, or blocks")
    rank = len(x.shape)
    factor = scale.real
    if factor.size > 1:
        target = [1] * rank
        target[op.integer("axis", 1)] = factor.size
        factor = factor.reshape(target)
    else:
        factor = factor.reshape((1,) * rank)
    key = (op.op_type, op.integer("axis", 1), space.full(x).id, operand_key(space, op.input(2)))
    shape = op.shape_as(x.shape)
    form = of_base(space.intern(key, shape, op.dtype()), op.dtype())
    form = replace(form.times(factor, scale.grain), grain=scale.grain)
    space.note(form)
    return [form]
