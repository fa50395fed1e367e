"""Equal values found by comparing numbers, within the rounding of stored constants.

The original is read first and fills the tables; the folded model then finds its values in them.
A value is found when it is the same function of shared values, up to the rounding of stored
constants; how far that rounding reaches is measured each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from bnfold.verify.proof.base_table import Gap
from bnfold.verify.proof.forms import Base, Form, Shape, Trace, of_base, same_extent
from bnfold.verify.proof.kernel_table import KernelTable
from bnfold.verify.proof.rounding import EXACT, NOISE, Array

T = TypeVar("T")


@dataclass(eq=False)
class _Variant:
    form: Form
    full: Base | None = None


@dataclass(frozen=True)
class Part:
    """Numbers that define a base together with others; NaN where any number would do.

    Attributes:
        values: the numbers.
        ulp: what one unit in the last place of the constants behind them amounts to.
        noise: what the prover's own arithmetic amounts to.
        limit: most ulps that count as rounding.
    """

    values: Array
    ulp: Array | float
    noise: Array | float
    limit: float


@dataclass(eq=False)
class _Normal:
    parts: list[Array]
    noise: list[Array | float]
    base: Base
    via: frozenset[str]


class Space(KernelTable):
    """All tables of shared values."""

    def __init__(self) -> None:
        super().__init__()
        self._variants: dict[Hashable, list[_Variant]] = defaultdict(list)
        self._normals: dict[Hashable, list[_Normal]] = defaultdict(list)

    def snap(self, form: Form) -> Form:
        """The form under which an equal value is known; itself where none is known."""
        form = self.anchored(form).lean()
        if form.pure:
            return form
        variant, gap = self._variant(form)
        if not self.folded:
            self.note(form)
        elif variant.form is not form:
            # What the folded model lacks has been written down: from here on both are alike.
            self.landed(form.base, variant.form.via - form.via, gap)
            return replace(variant.form, dtype=form.dtype)
        return replace(variant.form, via=form.via, dtype=form.dtype)

    def _variant(self, form: Form) -> tuple[_Variant, Gap]:
        bucket = self._variants[self._bucket(form)]
        if not bucket and form.base is not None and form.base.shape is not None:
            bucket.append(_Variant(of_base(form.base), form.base))
        best: tuple[_Variant, Gap] | None = None
        for variant in self._in_order(bucket):
            gap = self.gap(form, variant.form)
            if gap is not None and (best is None or gap.size < best[1].size):
                best = variant, gap
                if gap.size == 0:
                    break
        if best is None:
            # What the original holds is exact by definition.
            best = _Variant(form if self.folded else form.settled()), Gap()
            bucket.append(best[0])
        return best

    def _in_order(self, bucket: list[T]) -> Iterable[T]:
        """Where a fault has left a shift open, the original's special cases come first."""
        return reversed(bucket) if self.lenient and self.folded else bucket

    @staticmethod
    def _bucket(form: Form) -> Hashable:
        return ("constant", form.rank) if form.base is None else form.base.id

    def gap(self, form: Form, target: Form, widen: float = 1.0) -> Gap | None:
        """The difference of two forms on one base, None where it is more than rounding.

        Args:
            form: of the model being read.
            target: the one that it is compared with, taken as exact.
            widen: how many times as much as rounding explains is let pass.
        """
        if form.base is not target.base or not _same_size(form, target):
            return None
        grain = form.grain if self.folded else EXACT
        limit = grain.limit
        # What the original holds is exact by definition.
        eps, coarse, unit = (
            (grain.eps, form.scale_unit, form.unit) if self.folded else (0.0, 0.0, 0.0)
        )
        with np.errstate(all="ignore"):
            whole, mag = np.abs(target.coef), np.maximum(form.mag, target.mag)
            scale = np.maximum(np.abs(form.coef - target.coef) - NOISE * whole, 0.0)
            shift = np.maximum(np.abs(form.const - target.const) - NOISE * mag, 0.0)
            if self.lenient:  # a shift that a fault has made unknown agrees with any
                shift = np.where(np.isnan(form.const), 0.0, shift)
            # Other tools' arithmetic may be off by the terms that cancel: no fault for certain.
            rounding = unit if widen == 1 else widen * unit + eps * mag / 2
            if not np.all(scale <= widen * limit * coarse) or not np.all(
                (shift == 0) | (shift <= limit * rounding)
            ):
                return None
            return Gap(_peak(scale / coarse), _peak(shift / unit), _peak(shift / mag))

    def full(self, form: Form) -> Base:
        """The base that is the value itself."""
        form = self.anchored(form).lean()
        if form.base is not None and form.pure:
            return form.base
        variant, gap = self._variant(form)
        if self.folded and variant.form is not form:
            self.landed(form.base, variant.form.via - form.via, gap)
        if variant.full is None:
            variant.full = self.make(form.shape, form.dtype)
        return variant.full

    def normalized(
        self,
        key: Hashable,
        parts: Sequence[Part],
        shape: Shape | None,
        dtype: ir.DataType | None,
        traces: Sequence[Trace],
        via: frozenset[str],
        itself: tuple[Base, tuple[float, ...]] | None = None,
    ) -> Base:
        """The base that numbers in a normal form define; made if none of them fits.

        Args:
            key: what the numbers act on.
            parts: the numbers.
            shape, dtype, traces: of the base, should it be made.
            via: names of the affine ops behind the numbers.
            itself: a base that there is already, and the numbers that define it.

        Where the numbers of either side are undefined, any agree, and the defined ones are kept.
        """
        bucket = self._normals[key]
        if not bucket and itself is not None:
            arrays = [np.full((1,) * parts[0].values.ndim, value) for value in itself[1]]
            bucket.append(_Normal(arrays, [0.0] * len(arrays), itself[0], frozenset()))
        for normal in self._in_order(bucket):
            if not same_extent(normal.base.shape, shape):
                continue
            gap = _joint_gap(parts, normal, self.folded)
            if gap is None:
                continue
            self.landed(normal.base, normal.via - via, gap)
            normal.parts = [
                _filled(known, part.values) for known, part in zip(normal.parts, parts, strict=True)
            ]
            return normal.base
        base = self.make(shape, dtype, traces)
        values, noise = [part.values for part in parts], [part.noise for part in parts]
        bucket.append(_Normal(values, noise, base, via))
        return base


def _joint_gap(parts: Sequence[Part], known: _Normal, folded: bool) -> Gap | None:
    """The largest difference, None where it is more than rounding."""
    worst = 0.0
    for part, target, noise in zip(parts, known.parts, known.noise, strict=True):
        try:
            with np.errstate(all="ignore"):
                own = _known(part.noise) + _known(noise)
                apart = np.maximum(np.abs(part.values - target) - own, 0.0)
                apart = np.where(part.values == target, 0.0, apart)  # both infinite
        except ValueError:
            return None
        undefined = np.isnan(part.values) | np.isnan(target)
        apart = np.where(undefined, 0.0, apart)
        room = part.limit * _known(part.ulp) if folded else 0.0
        if not np.all(apart <= room):
            return None
        with np.errstate(all="ignore"):
            worst = max(worst, _peak(apart / part.ulp))
    return Gap(scale_ulps=worst)


def _known(values: Array | float) -> Array:
    """The values, 0 where they are undefined."""
    return np.where(np.isnan(values), 0.0, values)


def _peak(values: Array) -> float:
    """Largest finite value; 0/0, which stands for no difference at all, counts as 0."""
    return float(_known(values).max(initial=0.0))


def _filled(known: Array, new: Array) -> Array:
    """Undefined elements taken from another array that agrees with it."""
    return np.where(np.isnan(known), new, known)


def _same_size(form: Form, target: Form) -> bool:
    """Whether two forms on one base surely have the same shape."""
    if form.shape is None or target.shape is None:
        return form.shape is target.shape
    if not same_extent(form.shape, target.shape):
        return False
    for axis, (a, b) in enumerate(zip(form.shape, target.shape, strict=True)):
        mine = max(form.coef.shape[axis], form.const.shape[axis])
        its = max(target.coef.shape[axis], target.const.shape[axis])
        if mine > 1 and its > 1 and mine != its:
            return False
        if (mine > 1) != (its > 1) and not (isinstance(a, int) and isinstance(b, int)):
            return False
    return True
