"""The values that both models share, numbered: equal values get the same number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.proof.forms import Base, Form, Shape, Trace, UnfitError, merged, same_extent

#: Kernels that a base remembers to come from.
MAX_TRACES = 8


@dataclass(frozen=True)
class Gap:
    """How far a form is from the one it is taken for.

    Attributes:
        scale_ulps: of coef, relative, in units of the constants' type.
        shift_ulps: of const, in units of the last place of the constants that it came from.
        shift_relative: of const, over the sum of its absolute terms.
    """

    scale_ulps: float = 0.0
    shift_ulps: float = 0.0
    shift_relative: float = 0.0

    @property
    def size(self) -> float:
        """The larger of the two."""
        return max(self.scale_ulps, self.shift_ulps)


@dataclass(frozen=True)
class Landing:
    """A value of the folded model was found to be one of the original's.

    Attributes:
        op: the folded model's op that reads it.
        base: the shared value that it is a function of.
        removed: the original's affine ops on the way from there, which the folded model lacks.
        gap: the difference that was taken for rounding.
    """

    op: str
    base: Base | None
    removed: frozenset[str]
    gap: Gap


class BaseTable:
    """Bases by the op and operands that make them.

    Attributes:
        folded: whether the folded model is being read.
        lenient: whether a kernel that fits none of the original's is taken for the likeliest
            one all the same. For naming faults, never for a proof.
        op: name of the op being read.
        made: name of the value being made.
        fresh: bases that the folded model made and the original does not have.
        landings: values that were found to be the original's, for the figures.
        inner: what an op's law has found its result to depend on beside its operands, each with
            a word for it; those of one word cannot make up for each other.
        covered: operands that went into ``inner`` or into a kernel.
    """

    def __init__(self) -> None:
        self.folded = False
        self.lenient = False
        self.op = ""
        self.made = ""
        self.fresh: list[Base] = []
        self.landings: list[Landing] = []
        self.inner: list[tuple[str, Form]] = []
        self.covered: set[int] = set()
        self._bases = 0
        self._interned: dict[Hashable, tuple[Base, ...]] = {}

    def make(
        self, shape: Shape | None, dtype: ir.DataType | None, traces: Sequence[Trace] = ()
    ) -> Base:
        """A new base."""
        fitting = [trace for trace in traces if _fits(trace.rows.shape, shape)]
        base = Base(self._bases, shape, dtype, tuple(fitting[:MAX_TRACES]), self.made)
        self._bases += 1
        if self.folded:
            self.fresh.append(base)
        return base

    def intern(
        self,
        key: Hashable,
        shape: Shape | None,
        dtype: ir.DataType | None,
        traces: Sequence[Trace] = (),
    ) -> Base:
        """The base known by a key; made if there is none yet."""
        return self.intern_all(key, [(shape, dtype)], traces)[0]

    def intern_all(
        self,
        key: Hashable,
        kinds: Sequence[tuple[Shape | None, ir.DataType | None]],
        traces: Sequence[Trace] = (),
    ) -> tuple[Base, ...]:
        """The bases of an op with several outputs."""
        found = self._interned.get(key)
        if found is None or len(found) < len(kinds):
            found = tuple(self.make(shape, dtype, traces) for shape, dtype in kinds)
            self._interned[key] = found
        else:
            for base, (shape, _) in zip(found, kinds, strict=False):
                if same_extent(base.shape, shape):
                    base.shape = merged(base.shape, shape)
        return found

    def anchored(self, form: Form) -> Form:
        """The same value on a base of its own shape, where broadcasting has enlarged it."""
        base = form.base
        if base is None or base.shape is None or form.shape is None:
            return form
        rank = len(form.shape)
        grown = any(
            size > 1 and dim == 1
            for array in (form.coef, form.const)
            for size, dim in zip(
                array.shape, (1,) * (rank - len(base.shape)) + base.shape, strict=True
            )
        )
        if not grown and len(base.shape) == rank:
            return form
        wider = self.intern(
            ("grown", form.shape, base.id),
            form.shape,
            base.dtype,
            moved_traces(base.traces, lambda a: a.reshape((1,) * (rank - a.ndim) + a.shape)),
        )
        return replace(form, base=wider)

    def landed(self, base: Base | None, removed: frozenset[str], gap: Gap) -> None:
        """Write down that a value of the folded model was found."""
        if self.folded and (removed or gap.size > 0):
            self.landings.append(Landing(self.op, base, removed, gap))


def _fits(size: tuple[int, ...], shape: Shape | None) -> bool:
    """Whether an array of this size can belong to a value of the shape."""
    return (
        shape is not None
        and len(size) == len(shape)
        and all(
            length == 1 or not isinstance(dim, int) or length == dim
            for length, dim in zip(size, shape, strict=True)
        )
    )


def moved_traces(
    traces: Sequence[Trace], move: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> list[Trace]:
    """The traces of a value whose elements are rearranged; none where that cannot be told."""
    found = []
    for trace in traces:
        try:
            found.append(
                Trace(
                    np.asarray(move(trace.rows), np.int64),
                    np.asarray(move(trace.ratio), np.float64),
                    trace.kernels,
                )
            )
        except (UnfitError, ValueError, IndexError):
            continue
    return found
