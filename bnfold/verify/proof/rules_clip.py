"""Laws of Clip and HardSigmoid: any affine passes, where the bounds go with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, UnfitError
from bnfold.verify.proof.rounding import FLOAT32, GRAINS, NOISE, Array, Grain
from bnfold.verify.proof.rules_affine import computed
from bnfold.verify.proof.source import Op
from bnfold.verify.proof.space import Part, Space

#: From the largest number of a type on a bound does not bound: converters write it for "none".
_LARGEST = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
}

_Bound = tuple[float, Grain]


def clip(space: Space, op: Op) -> list[Form]:
    """Clip with constant bounds."""
    form = computed(op.input(0))
    grain = GRAINS[form.dtype] if form.dtype is not None else FLOAT32
    low = _bound(op, 1, "min", -np.inf, grain)
    high = _bound(op, 2, "max", np.inf, grain)
    return [_between(space, op, form, low, high)]


def hard_sigmoid(space: Space, op: Op) -> list[Form]:
    """HardSigmoid: alpha x + beta between 0 and 1."""
    form = computed(op.input(0))
    if form.shape is None:
        raise UnfitError("rank unknown")
    slope, shift = (
        np.full((1,) * len(form.shape), op.real(name, default))
        for name, default in (("alpha", 0.2), ("beta", 0.5))
    )
    form = form.times(slope, FLOAT32)
    form = form.plus(shift, np.abs(shift), FLOAT32.spacing(shift), FLOAT32)
    return [_between(space, op, form, (0.0, FLOAT32), (1.0, FLOAT32))]


def _bound(op: Op, place: int, name: str, default: float, grain: Grain) -> _Bound:
    """A bound and the type that it is stored in; infinite where there is none."""
    known = op.input(place)
    if isinstance(known, Const) and known.floating and known.value.size == 1:
        value, grain = float(known.real.reshape(-1)[0]), known.grain
    elif known is None:
        stored = op.node.attributes.get(name)
        value = default if stored is None else op.real(name, default)
        grain = FLOAT32
    else:
        raise UnfitError("a bound is computed")
    if np.isnan(value):
        raise UnfitError("a bound is no number")
    largest = _LARGEST.get(grain.name, np.inf)
    return (default if value * np.sign(default) >= largest else value), grain


def _between(space: Space, op: Op, form: Form, low: _Bound, high: _Bound) -> Form:
    """clip(s u + t, low, high) = s clip(u, (low - t) / s, (high - t) / s) + t.

    For s < 0 the bounds on u change places. Where s = 0 the result is constant, and the bounds
    on u are undefined.
    """
    if low[0] > high[0]:
        raise UnfitError("the bounds are crossed")
    form = space.snap(form)
    if form.base is None or form.shape is None:
        raise UnfitError("constant or of unknown rank")
    dead = form.coef == 0
    falling = form.coef < 0
    lower, upper = (_on_base(form, bound) for bound in (low, high))
    parts = [_chosen(falling, upper, lower), _chosen(falling, lower, upper)]
    # A fault is told by the bounds on what both models share, not by the operands as they are.
    space.inner = [
        ("operand 0 against its bounds", _distance(form, part)) for part in (lower, upper)
    ]
    space.covered = set(range(len(op.inputs)))
    base = space.normalized(
        ("Clip", form.base.id),
        parts,
        op.shape_as(form.shape),
        form.dtype,
        form.base.traces,
        form.via,
    )
    const = np.where(dead, np.clip(form.const, low[0], high[0]), form.const)
    return replace(form, base=base, const=const, dtype=op.dtype() or form.dtype)


def _on_base(form: Form, bound: _Bound) -> Part:
    """A bound as the number that the base is held against."""
    number, grain = bound
    scale = np.where(form.coef == 0, np.nan, form.coef)
    values = np.asarray((number - form.const) / scale)
    if np.isinf(number):
        nothing = np.zeros_like(values)
        return Part(values, nothing, nothing, form.grain.limit)
    spacing = grain.spacing(np.asarray(number)) if number else 0.0
    ulp = (spacing + form.unit) / np.abs(scale) + form.doubt * np.abs(values)
    noise = NOISE * (abs(number) + form.mag) / np.abs(scale)
    return Part(values, ulp, noise, min(grain.limit, form.grain.limit))


def _chosen(condition: NDArray[np.bool_], first: Part, second: Part) -> Part:
    """The one part where the condition holds, the other elsewhere."""

    def pick(one: Array | float, two: Array | float) -> Array:
        return np.asarray(np.where(condition, one, two), np.float64)

    return Part(
        pick(first.values, second.values),
        pick(first.ulp, second.ulp),
        pick(first.noise, second.noise),
        first.limit,
    )


def _distance(form: Form, bound: Part) -> Form:
    """The base plus its bound; 0 where there is none."""
    one = np.ones((1,) * form.coef.ndim)
    const = np.nan_to_num(bound.values, nan=0.0, posinf=0.0, neginf=0.0)
    return replace(
        form,
        coef=one,
        scale_unit=0 * one,
        const=const,
        mag=np.abs(const),
        unit=np.nan_to_num(np.asarray(bound.ulp, np.float64)),
    )
