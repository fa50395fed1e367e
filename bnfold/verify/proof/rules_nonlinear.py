"""Laws of activations that a positive factor passes, and of ops taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

import numpy as np

from bnfold.verify.proof.base_table import moved_traces
from bnfold.verify.proof.constants import Const, of_array
from bnfold.verify.proof.forms import Form, UnfitError, align, multiple, of_base
from bnfold.verify.proof.normal_forms import framed
from bnfold.verify.proof.rounding import Array
from bnfold.verify.proof.rules_affine import computed, homogeneous
from bnfold.verify.proof.source import Known, Op
from bnfold.verify.proof.space import Space
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
    """MatMul of two computed values: a factor that is the same everywhere passes."""
    if any(isinstance(known, Const) for known in op.inputs):
        raise UnfitError("a constant operand")
    sides = [homogeneous(space, computed(known)) for known in op.inputs]
    parts = [
        side if side.coef.size == 1 else of_base(space.full(computed(known)), side.dtype)
        for side, known in zip(sides, op.inputs, strict=True)
    ]
    shape = op.shape()
    if shape is None or any(part.base is None for part in parts):
        raise UnfitError("rank unknown")
    ids = tuple(part.base.id for part in parts if part.base is not None)
    base = space.intern(("matmul", ids), shape, op.dtype())
    factor = np.prod([float(part.coef.reshape(())) for part in parts])
    ones = (1,) * len(shape)
    coef = np.full(ones, factor)
    doubt = sum(float(part.doubt.max()) for part in parts)
    grain = min((part.grain for part in parts), key=lambda grain: grain.bits)
    via = parts[0].via | parts[1].via
    return [multiple(base, shape, op.dtype(), coef, np.abs(coef) * doubt, grain, via)]


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
