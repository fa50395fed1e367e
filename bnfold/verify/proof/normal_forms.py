"""Values written in a normal form, so that what an op passes does not hide that they are equal.

An op that passes an affine gives the same for ``v`` and, up to that affine, for ``s v + t``. The
normal form takes the affine out in one fixed way; what is left defines the base.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bnfold.verify.proof.base_table import moved_traces
from bnfold.verify.proof.forms import (
    Base,
    Form,
    Shape,
    Trace,
    UnfitError,
    align,
    broadcast,
    of_base,
    peak_over,
    varies,
)
from bnfold.verify.proof.rounding import NOISE, Array, coarser
from bnfold.verify.proof.space import Part, Space


@dataclass(frozen=True)
class Frame:
    """``value = product(factors) * base + offset``.

    Attributes:
        factors: one per group of axes, of size 1 along that group's axes.
        offset, mag, unit: as const, mag and unit of a `Form`.
        doubt: as that of a `Form`, for the product of the factors.
        base: what is left.
    """

    factors: tuple[Array, ...]
    offset: Array
    mag: Array
    unit: Array
    doubt: Array
    base: Base

    @property
    def factor(self) -> Array:
        """The product of the factors."""
        whole = self.factors[0]
        for factor in self.factors[1:]:
            whole = whole * factor
        return whole


def framed(
    space: Space,
    form: Form,
    groups: Sequence[tuple[int, ...]] = ((),),
    *,
    shift: Literal["all", "fixed", "none"] = "none",
    signed: bool = True,
) -> Frame:
    """Take the affine out of a value that an op passes.

    Args:
        space: the shared values.
        form: an anchored form on a base.
        groups: the scale that passes is a product of one factor per group; each is constant
            along the group's axes.
        shift: which shift passes: any, one that is constant along the first group's axes, none.
        signed: whether a negative scale passes.

    Raises:
        UnfitError: the value is constant in part, in a way that cannot be taken out.
    """
    if form.base is None:
        raise UnfitError("constant")
    easy = _passes_whole(form, groups, shift, signed)
    if easy is not None:
        return easy
    factors: list[Array] = []
    rest = form.coef
    for axes in groups:
        factor = _reference(rest, axes)
        factors.append(factor if signed else np.abs(factor))
        rest = rest / np.where(factors[-1] == 0, np.nan, factors[-1])
    whole = factors[0]
    for factor in factors[1:]:
        whole = whole * factor
    zero = np.zeros((1,) * form.coef.ndim)
    offset, mag, unit = zero, zero, zero
    if shift == "all":
        offset, mag, unit = form.const, form.mag, form.unit
    elif shift == "fixed":
        offset = _first(form.const, groups[0])
        mag, unit = _first(form.mag, groups[0]), _first(form.unit, groups[0])
    left = form.const - offset
    dead = whole == 0
    own_doubt = form.doubt
    if np.any(dead & (left != 0)):
        if len(groups) > 1:
            raise UnfitError("constant in part")
        # A constant that varies is known by its ratios.
        size = np.where(left == 0, np.inf, np.abs(left))
        rough = (form.unit + unit) / size
        own_doubt = np.where(dead, rough, own_doubt)
        factors[0] = np.where(dead, _reference(left * dead, groups[0]), factors[0])
        whole = factors[0] = factors[0] if signed else np.abs(factors[0])
        rest = np.where(np.isnan(rest) & (whole != 0), 0.0, rest)
        dead = whole == 0
    safe = np.where(dead, np.nan, whole)
    left = left / safe
    grain = form.grain
    doubt = peak_over(own_doubt, whole)
    error = (form.unit + unit) / np.abs(safe) + doubt * np.abs(left)
    scale = Part(rest, (own_doubt + doubt) * np.abs(rest), NOISE * np.abs(rest), grain.limit)
    moved = Part(left, error, NOISE * (form.mag + mag) / np.abs(safe), grain.limit)
    base = space.normalized(
        ("frame", form.base.id),
        [scale, moved],
        form.shape,
        form.dtype,
        _scaled_traces(form.base.traces, rest),
        form.via,
        itself=(form.base, (1.0, 0.0)),
    )
    return Frame(tuple(factors), offset, mag, unit, doubt, base)


def _passes_whole(
    form: Form, groups: Sequence[tuple[int, ...]], shift: str, signed: bool
) -> Frame | None:
    """The frame of a value whose affine passes as it is, which most do."""
    if form.base is None or (not signed and np.any(form.coef < 0)):
        return None
    still = [axes for axes in groups if not varies(form.coef, axes)]
    if not still:
        return None
    if np.any(form.const) and (
        shift == "none" or (shift == "fixed" and varies(form.const, groups[0]))
    ):
        return None
    one = np.ones((1,) * form.coef.ndim)
    factors = tuple(form.coef if axes is still[0] else one for axes in groups)
    mag, unit = form.mag, form.unit
    if shift != "all":
        mag, unit = _first(mag, groups[0]), _first(unit, groups[0])
    offset = form.const if np.any(form.const) else _first(form.const, groups[0])
    return Frame(factors, offset, mag, unit, form.doubt, form.base)


def passing(
    space: Space,
    form: Form,
    axes: tuple[int, ...],
    *,
    shift: Literal["all", "fixed", "none"] = "fixed",
    signed: bool = True,
) -> Form:
    """The value with an affine that is constant along the axes, the rest being in its base.

    Raises:
        UnfitError: a constant that varies along the axes, or on which a shift does not pass.
    """
    if form.base is None:
        blocked = shift == "none" or (shift == "fixed" and varies(form.const, axes))
        if np.any(form.const) and blocked:
            raise UnfitError("a constant that varies")
        return form
    try:
        frame = framed(space, form, [axes], shift=shift, signed=signed)
    except UnfitError:
        return of_base(space.full(form), form.dtype)
    return replace(
        form,
        base=frame.base,
        coef=frame.factor,
        const=frame.offset,
        mag=frame.mag,
        unit=frame.unit,
        scale_unit=np.abs(frame.factor) * frame.doubt,
    )


def reducible(space: Space, form: Form, axes: tuple[int, ...], *, mean: bool) -> Form:
    """The operand of a sum or mean over axes, with the const that the result has.

    A sum multiplies the shift by the number of elements, which must be known.
    """
    shape = form.shape or ()
    known = all(isinstance(shape[axis], int) for axis in axes)
    form = passing(space, form, axes, shift="all" if mean or known else "none")

    def over(array: Array) -> Array:
        for axis in axes:
            size, dim = array.shape[axis], shape[axis]
            weight = 1.0 if mean or not isinstance(dim, int) else float(dim)
            array = array.sum(axis=axis, keepdims=True) * (weight / size)
        return array

    return replace(form, const=over(form.const), mag=over(form.mag), unit=over(form.unit))


def _first(array: Array, axes: tuple[int, ...]) -> Array:
    """The first element along the axes."""
    return array[tuple(slice(0, 1) if i in axes else slice(None) for i in range(array.ndim))]


def _reference(array: Array, axes: tuple[int, ...]) -> Array:
    """The first element along the axes that is neither 0 nor undefined; 0 where there is none."""
    if not varies(array, axes):
        return np.nan_to_num(array)
    moved = np.moveaxis(array, axes, range(len(axes)))
    flat = moved.reshape(-1, *moved.shape[len(axes) :])
    flat = np.nan_to_num(flat)
    picked = np.take_along_axis(flat, (flat != 0).argmax(axis=0)[np.newaxis], axis=0)
    kept = picked.reshape((1,) * len(axes) + moved.shape[len(axes) :])
    return np.moveaxis(kept, range(len(axes)), axes)


def _scaled_traces(traces: Sequence[Trace], scale: Array) -> list[Trace]:
    factor = np.nan_to_num(scale, nan=1.0)
    found = []
    for trace in traces:
        with contextlib.suppress(ValueError):  # a trace that lost its axes on the way
            found.append(Trace(trace.rows, trace.ratio * factor, trace.kernels))
    return found


def add(space: Space, first: Form, second: Form) -> Form:
    """The sum of two values; up to a factor, it is known by the ratio of its terms."""
    if first.shape is None or second.shape is None:
        raise UnfitError("rank unknown")
    rank = max(len(first.shape), len(second.shape))
    first, second = space.anchored(first.aligned(rank)), space.anchored(second.aligned(rank))
    shape = broadcast(first.shape, second.shape)
    rest = replace(
        first,
        shape=shape,
        const=first.const + second.const,
        mag=first.mag + second.mag,
        unit=first.unit + second.unit,
        grain=coarser(first.grain, second.grain),
        via=first.via | second.via,
    )
    if first.base is None or second.base is None or first.base is second.base:
        units = first.scale_unit + second.scale_unit
        coef = first.coef + second.coef
        return replace(rest, base=first.base or second.base, coef=coef, scale_unit=units)
    if first.base.id > second.base.id:
        first, second = second, first
    one, two = np.broadcast_arrays(first.coef, second.coef)
    factor = np.where(one != 0, one, two)
    safe = np.where(factor == 0, np.nan, factor)
    shares = (one / safe, two / safe)
    doubt = first.doubt + second.doubt
    parts = [
        Part(share, doubt * np.abs(share), NOISE * np.abs(share), rest.grain.limit)
        for share in shares
    ]
    traces = [
        Trace(trace.rows, trace.ratio * np.nan_to_num(share), trace.kernels)
        for side, share in zip((first, second), shares, strict=True)
        for trace in moved_traces(
            side.base.traces if side.base else (), lambda array: align(array, rank)
        )
    ]
    key = ("sum", first.base and first.base.id, second.base and second.base.id)
    base = space.normalized(key, parts, shape, first.dtype, traces, rest.via)
    units = np.abs(factor) * np.where(one != 0, first.doubt, second.doubt)
    return replace(rest, base=base, coef=factor, scale_unit=units)


def relative(
    space: Space,
    key: Hashable,
    lead: Form,
    others: Sequence[Form],
    shape: Shape | None,
    live: Array,
) -> Base:
    """The base of an op that passes an affine common to its operands.

    The others are held as functions of their bases after the lead's affine has been undone.
    ``live`` is 1 where the lead is a function of its base, and 0 where it is constant.
    """
    inverse = 1.0 / np.where(lead.coef == 0, np.nan, lead.coef)
    size = np.abs(inverse)
    parts = [Part(live, 0.0, 0.0, 0.0)]
    via = lead.via
    for form in others:
        grain = coarser(lead.grain, form.grain)
        ratio = form.coef * inverse
        doubt = (form.doubt + lead.doubt) * np.abs(ratio)
        parts.append(Part(ratio, doubt, NOISE * np.abs(ratio), grain.limit))
        mag = form.mag + lead.mag
        error = (form.unit + lead.unit) * size
        parts.append(
            Part((form.const - lead.const) * inverse, error, NOISE * mag * size, grain.limit)
        )
        via = via | form.via
    traces = lead.base.traces if lead.base is not None else ()
    return space.normalized(key, parts, shape, lead.dtype, traces, via)
