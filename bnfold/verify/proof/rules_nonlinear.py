"""Laws of activations that a positive factor passes, and of ops taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np

from bnfold.verify.proof.base_table import moved_traces
from bnfold.verify.proof.constants import Const, of_array
from bnfold.verify.proof.forms import Form, UnfitError, align, multiple, of_base
from bnfold.verify.proof.normal_forms import Frame, framed
from bnfold.verify.proof.rounding import NOISE, Array, coarser
from bnfold.verify.proof.rules_affine import computed, homogeneous
from bnfold.verify.proof.source import Known, Op
from bnfold.verify.proof.space import Part, Space
from bnfold.verify.proof.vocabulary import RANDOM, TIMELESS


def positively_homogeneous(space: Space, op: Op) -> list[Form]:
    """Relu, LeakyRelu, PRelu, Abs: f(s x) = s f(x) for s > 0, elementwise."""
    form = space.snap(computed(op.input(0)))
    if form.base is None or form.shape is None:
        raise UnfitError("constant or of unknown rank")
    slope: Hashable = None
    law: Callable[[Array], Array] = _relu
    if op.op_type == "LeakyRelu":
        alpha = op.real("alpha", 0.01)
        slope, law = alpha, lambda c: np.where(c < 0, alpha * c, c)
    elif op.op_type == "PRelu":
        known = op.input(1)
        if not isinstance(known, Const) or not known.finite or not known.floating:
            raise UnfitError("slope is no finite constant")
        steep = align(known.real, len(form.shape))
        slope, law = (known.shape, known.key), lambda c: np.where(c < 0, steep * c, c)
    elif op.op_type == "Abs":
        law = np.abs
    dead = form.coef == 0
    # Where the value is constant, so is the result; the base is left undefined there.
    frame = framed(space, replace(form, const=np.where(dead, 0.0, form.const)), signed=False)
    factor, base = frame.factor, frame.base
    made = space.intern(
        (op.op_type, slope, base.id),
        op.shape_as(form.shape),
        form.dtype,
        moved_traces(base.traces, lambda a: a),
    )
    const = np.where(dead, law(form.const), 0.0)
    if not np.any(const):
        const = np.zeros((1,) * len(form.shape))
    return [
        replace(
            form,
            base=made,
            coef=factor,
            scale_unit=np.abs(factor) * frame.doubt,
            const=const,
            mag=np.abs(const),
            unit=np.where(dead, form.unit, 0.0),
            dtype=op.dtype() or form.dtype,
        )
    ]


def _relu(values: Array) -> Array:
    return np.maximum(values, 0.0)


def computed_matmul(space: Space, op: Op) -> list[Form]:
    """MatMul of two computed values: scales of rows and columns pass.

    Scales along the axis that is summed over stay, as the product of both sides' ones.
    """
    if any(isinstance(known, Const) for known in op.inputs):
        raise UnfitError("a constant operand")
    left, right = (_matrix(space, computed(known)) for known in op.inputs)
    assert left.base is not None and right.base is not None
    rank = max(left.coef.ndim, right.coef.ndim)
    one, two = _factored(space, left, -1, rank), _factored(space, right, -2, rank)
    along = one.factors[1].reshape(-1) * two.factors[1].reshape(-1)
    nonzero = along[along != 0]
    reference = float(nonzero[0]) if nonzero.size else 0.0
    doubt = float(one.doubt.max() + two.doubt.max())
    grain = coarser(left.grain, right.grain)
    share = along / (reference or 1.0)
    shape = op.shape_of_rank(rank)
    parts = [Part(share, doubt * np.abs(share), NOISE * np.abs(share), grain.limit)]
    key = ("matmul", one.base.id, two.base.id)
    via = left.via | right.via
    base = space.normalized(key, parts, shape, op.dtype(), (), via)
    coef = one.factors[0] * two.factors[0] * reference
    return [multiple(base, shape, op.dtype(), coef, np.abs(coef) * doubt, grain, via)]


def _matrix(space: Space, form: Form) -> Form:
    """A value as a stack of matrices, without a shift."""
    form = homogeneous(space, form)
    if form.base is None or len(form.shape or ()) < 2:
        raise UnfitError("no matrix")
    return form


def _factored(space: Space, form: Form, summed: int, rank: int) -> Frame:
    """The scale as a product of one along the summed axis and one along the others."""
    form = space.anchored(form.aligned(rank))
    axis = summed % rank
    others = tuple(i for i in range(rank) if i != axis)
    try:
        return framed(space, form, [(axis,), others])
    except UnfitError:
        return framed(space, of_base(space.full(form), form.dtype), [(axis,), others])


def shape_of_value(space: Space, op: Op) -> list[Known]:
    """Shape: a constant where all dims are known."""
    form = op.input(0)
    if not isinstance(form, Form) or form.shape is None:
        raise UnfitError("rank unknown")
    part = slice(op.integer("start", 0), op.integer("end", len(form.shape)))
    dims = form.shape[part]
    if all(isinstance(dim, int) for dim in dims):
        return [of_array(np.array(dims, np.int64), op.dtype())]
    indices = part.indices(len(form.shape))
    form = space.anchored(form)
    if form.base is None:
        raise UnfitError("constant")
    # Two values on one base have one shape, whatever their coefficients are.
    base = space.intern(("shape", indices, form.base.id), op.shape(), op.dtype())
    return [of_base(base, op.dtype())]


def opaque(space: Space, op: Op, bodies: Hashable = None) -> list[Form]:
    """Any op: equal attributes and equal operands give equal results."""
    operands = tuple(operand_key(space, known) for known in op.inputs)
    since = 0 if op.op_type in TIMELESS else (op.since or op.version)
    key: Hashable = (
        op.domain,
        op.op_type,
        op.node.overload,
        since,
        op.attribute_key,
        operands,
        bodies,
    )
    if op.op_type in RANDOM:
        key = (key, op.name)
    kinds = [(op.shape(i), op.dtype(i)) for i in range(len(op.node.outputs))]
    return [of_base(base) for base in space.intern_all(key, kinds)]


def operand_key(space: Space, known: Known | None) -> Hashable:
    """Equal for operands that are equal."""
    if known is None:
        return None
    return known.key if isinstance(known, Const) else space.full(known).id
