"""Laws of the ops that are affine in one operand, and of sums and products of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnfold.verify.proof import normal_forms
from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import (
    Form,
    UnfitError,
    align,
    broadcast,
    multiple,
    of_base,
    of_constant,
    shrunk,
)
from bnfold.verify.proof.rounding import EXACT, GRAINS, Array, coarser
from bnfold.verify.proof.source import Known, Op, is_read
from bnfold.verify.proof.space import Space


def computed(known: Known | None) -> Form:
    """A computed operand of floats."""
    if not isinstance(known, Form) or known.dtype not in GRAINS:
        raise UnfitError("no computed operand of floats")
    return known


def constant(known: Known | None) -> Const:
    """A constant operand of finite floats."""
    if not isinstance(known, Const) or not known.floating or not known.finite:
        raise UnfitError("no constant of finite floats")
    return known


def as_form(known: Known | None) -> Form:
    """An operand, constant or not, as a form."""
    if isinstance(known, Const):
        const = constant(known)
        return of_constant(const.shape, const.dtype, const.real, const.grain)
    return computed(known)


def _against(form: Form, const: Const) -> tuple[Form, Array]:
    """A value and a constant that it is combined with, brought to one rank."""
    if form.shape is None:
        if const.value.size != 1 or const.value.ndim > 1:
            raise UnfitError("rank unknown")
        return form, const.real.reshape(())
    rank = max(len(form.shape), const.value.ndim)
    return form.aligned(rank), shrunk(align(const.real, rank))


def _named(form: Form, op: Op) -> Form:
    return replace(form, via=form.via | {op.name}, dtype=op.dtype() or form.dtype)


def scaled(space: Space, op: Op, form: Form, const: Const, inverse: bool = False) -> Form:
    """A value times (or divided by) a constant."""
    form, factor = _against(form, const)
    if inverse:
        if np.any(factor == 0):
            raise UnfitError("division by zero")
        factor = 1.0 / factor
    result = _named(form.times(factor, const.grain), op)
    space.note(result)
    return result


def shifted(op: Op, form: Form, const: Const) -> Form:
    """A value plus a constant."""
    form, shift = _against(form, const)
    size = np.abs(shift)
    return _named(form.plus(shift, size, const.grain.spacing(size), const.grain), op)


def negated(form: Form) -> Form:
    """Minus a value."""
    return replace(form, coef=-form.coef, const=-form.const)


def add(space: Space, op: Op) -> list[Form]:
    """Add, and Sum of any number of operands."""
    total: Form | None = None
    for known in op.inputs:
        if isinstance(known, Const) and total is not None:
            total = shifted(op, total, constant(known))
        elif total is None:
            total = as_form(known)
        elif total.base is None and not isinstance(known, Const):
            total = _named(normal_forms.add(space, computed(known), total), op)
        else:
            other = computed(known)
            summed = normal_forms.add(space, total, other)
            total = replace(summed, dtype=op.dtype() or summed.dtype)
    if total is None or all(isinstance(known, Const) for known in op.inputs):
        raise UnfitError("no computed operand")
    return [total]


def sub(space: Space, op: Op) -> list[Form]:
    """Sub with at most one constant operand."""
    left, right = op.input(0), op.input(1)
    if isinstance(right, Const):
        const = constant(right)
        flipped = Const(-const.real, const.dtype, const.grain)
        return [shifted(op, computed(left), flipped)]
    flipped_form = negated(computed(right))
    if isinstance(left, Const):
        return [shifted(op, flipped_form, constant(left))]
    return [replace(normal_forms.add(space, computed(left), flipped_form), dtype=op.dtype())]


def mul(space: Space, op: Op) -> list[Form]:
    """Mul by a constant, or of two computed values, each up to a factor."""
    left, right = op.input(0), op.input(1)
    if isinstance(right, Const):
        return [scaled(space, op, computed(left), constant(right))]
    if isinstance(left, Const):
        return [scaled(space, op, computed(right), constant(left))]
    return [_bilinear(space, op, computed(left), computed(right), commutes=True)]


def div(space: Space, op: Op) -> list[Form]:
    """Div by a constant, of a constant, or of two computed values, each up to a factor."""
    left, right = op.input(0), op.input(1)
    if isinstance(right, Const):
        return [scaled(space, op, computed(left), constant(right), inverse=True)]
    if isinstance(left, Const):
        divided = _one_over(space, op, computed(right))
        return [scaled(space, op, divided, constant(left))]
    return [_bilinear(space, op, computed(left), computed(right), commutes=False)]


def _one_over(space: Space, op: Op, form: Form) -> Form:
    """The reciprocal of a value, up to a factor."""
    form = homogeneous(space, form)
    if np.any(form.coef == 0):
        form = of_base(space.full(form), form.dtype)
    assert form.base is not None
    base = space.intern(("Reciprocal", form.base.id), form.shape, op.dtype())
    coef = 1.0 / form.coef
    units = np.abs(coef) * form.doubt
    return multiple(base, form.shape, op.dtype(), coef, units, form.grain, form.via)


def reciprocal(space: Space, op: Op) -> list[Form]:
    """Reciprocal: the inverse of a factor passes."""
    return [_one_over(space, op, computed(op.input(0)))]


def mean(space: Space, op: Op) -> list[Form]:
    """Mean of any number of operands."""
    (total,) = add(space, op)
    if total.shape is None:
        raise UnfitError("rank unknown")
    return [total.times(np.full((1,) * len(total.shape), 1.0 / len(op.inputs)), EXACT)]


def neg(space: Space, op: Op) -> list[Form]:
    """Neg."""
    return [_named(negated(computed(op.input(0))), op)]


def homogeneous(space: Space, known: Form) -> Form:
    """A value as a multiple of a base: its const has gone into the base."""
    form = space.snap(known)
    if form.base is None or form.shape is None:
        raise UnfitError("constant or of unknown rank")
    try:
        frame = normal_forms.framed(space, form)
    except UnfitError:
        return of_base(space.full(form), form.dtype)
    units = np.abs(frame.factor) * frame.doubt
    return multiple(frame.base, form.shape, form.dtype, frame.factor, units, form.grain, form.via)


def _bilinear(space: Space, op: Op, left: Form, right: Form, commutes: bool) -> Form:
    left, right = homogeneous(space, left), homogeneous(space, right)
    if not commutes and np.any(right.coef == 0):
        right = of_base(space.full(right), right.dtype)
    assert left.shape is not None and right.shape is not None
    rank = max(len(left.shape), len(right.shape))
    one, two = space.anchored(left.aligned(rank)), space.anchored(right.aligned(rank))
    assert one.base is not None and two.base is not None
    coef = one.coef * two.coef if commutes else one.coef / two.coef
    ids = (one.base.id, two.base.id)
    key = (op.op_type, tuple(sorted(ids)) if commutes else ids)
    shape = op.shape_as(broadcast(one.shape, two.shape))
    base = space.intern(key, shape, op.dtype())
    doubt = one.doubt + two.doubt
    return multiple(
        base,
        shape,
        op.dtype(),
        coef,
        np.abs(coef) * doubt,
        coarser(one.grain, two.grain),
        left.via | right.via,
    )


def identity(space: Space, op: Op) -> list[Known]:
    """Identity, and casts between float types: the real number stays the same."""
    known = op.input(0)
    if known is None:
        raise UnfitError("no operand")
    return [known]


def cast(space: Space, op: Op) -> list[Form]:
    """Cast from one float type to another."""
    form = computed(op.input(0))
    if op.dtype() not in GRAINS:
        raise UnfitError("not to floats")
    return [replace(form, dtype=op.dtype())]


def dropout(space: Space, op: Op) -> list[Form]:
    """Dropout at inference."""
    training = op.input(2)
    if training is not None and (not isinstance(training, Const) or bool(np.any(training.value))):
        raise UnfitError("training mode")
    if len(op.node.outputs) > 1 and is_read(op.node.outputs[1]):
        raise UnfitError("the mask is used")
    if op.since and op.since < 7 and not op.integer("is_test", 0):
        raise UnfitError("training mode")
    return [computed(op.input(0))]


def batch_normalization(space: Space, op: Op) -> list[Form]:
    """BatchNormalization with constant statistics: y = (x - mean) / sqrt(var + eps) * s + b."""
    x = computed(op.input(0))
    if op.integer("training_mode", 0) or any(is_read(v) for v in op.node.outputs[1:]):
        raise UnfitError("training mode")
    if op.since and op.since < 7 and not op.integer("is_test", 0):
        raise UnfitError("training mode")
    if x.shape is None or len(x.shape) < 2:
        raise UnfitError("no channel axis")
    gamma, beta, mean, variance = (constant(op.input(i)) for i in range(1, 5))
    grain = gamma.grain
    for part in (beta, mean, variance):
        grain = coarser(grain, part.grain)
    spread = variance.real + op.epsilon
    if not np.all(spread > 0):
        raise UnfitError("variance + epsilon is not positive")
    scale = gamma.real / np.sqrt(spread)
    moved = mean.real * scale
    unit = (
        beta.grain.spacing(beta.real)
        + np.abs(scale) * mean.grain.spacing(mean.real)
        + np.abs(moved) * grain.eps
    )
    rank = len(x.shape)
    if op.integer("spatial", 1) or scale.ndim == 1:
        target = (1, scale.size, *(1,) * (rank - 2))
    else:
        target = (1, *scale.shape)

    def spread_out(array: Array) -> Array:
        return shrunk(np.broadcast_to(array, scale.shape).reshape(target))

    result = x.times(spread_out(scale), grain).plus(
        spread_out(beta.real - moved),
        spread_out(np.abs(beta.real) + np.abs(moved)),
        spread_out(unit),
        grain,
    )
    result = _named(result, op)
    space.note(result)
    return [result]


def scaler(space: Space, op: Op) -> list[Form]:
    """ai.onnx.ml Scaler: (x - offset) * scale along the last axis."""
    x = computed(op.input(0))
    if x.rank is None:
        raise UnfitError("rank unknown")
    grain = GRAINS[next(iter(k for k in GRAINS if GRAINS[k].name == "float32"))]
    parts: dict[str, Array] = {}
    for name, default in (("offset", 0.0), ("scale", 1.0)):
        attr = op.node.attributes.get(name)
        values = [default] if attr is None else list(attr.as_floats())
        parts[name] = align(np.asarray(values, np.float32).astype(np.float64), x.rank)
    size = np.abs(parts["offset"])
    result = x.plus(-parts["offset"], size, grain.spacing(size), EXACT)
    result = _named(result.times(parts["scale"], grain), op)
    space.note(result)
    return [result]
