"""Contractions by labelled axes: how a scale or shift on one operand acts on the others.

Each axis of an operand carries labels, like the letters of an einsum, with two additions: an
axis may be a product of labels (the channels of a grouped convolution are "g c"), and an axis
without labels is one along which an affine must be constant (batch, space). So one small piece
of algebra serves Gemm, MatMul, Einsum, convolutions with groups, their transposes and the input
weights of recurrent layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnfold.core.affine import Array, simplify
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Reason

Axes = tuple[tuple[str, ...], ...]

# Elements of a large kernel that are multiplied at a time: no second copy of it in float64.
_CHUNK = 1 << 20


def parse_axes(text: str) -> Axes:
    """Axes from text: "n (g c) *" is three axes: label n, labels g and c, no label."""
    axes: list[tuple[str, ...]] = []
    group: list[str] | None = None
    for token in text.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            group = []
        elif token == ")":
            axes.append(tuple(group or ()))
            group = None
        elif group is not None:
            group.append(token)
        else:
            axes.append(() if token == "*" else (token,))
    return tuple(axes)


@dataclass(frozen=True)
class Labels:
    """The labelled axes of a product ``y = sum(x * w)``.

    Attributes:
        x, w, y: labels of the axes of data, kernel and result.
        sizes: size of each label, where known.
    """

    x: Axes
    w: Axes
    y: Axes
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, ...]:
        """All labels in one fixed order."""
        seen: dict[str, None] = {}
        for axes in (self.w, self.y, self.x):
            for axis in axes:
                seen.update(dict.fromkeys(axis))
        return tuple(seen)

    @property
    def summed(self) -> frozenset[str]:
        """Labels of the kernel that the result has not: what the product is summed over."""
        kept = {label for axis in self.y for label in axis}
        return frozenset(label for axis in self.w for label in axis) - kept

    def swapped(self) -> Labels:
        """The same product with data and kernel exchanged."""
        return Labels(self.w, self.x, self.y, self.sizes)

    def y_to_w(self, scale: Array) -> Array:
        """The factor on the kernel that multiplies the result by ``scale``.

        Raises:
            Blocked: if ``scale`` varies along an axis that the kernel does not have.
        """
        return self._carry(scale, self.y, self.w)

    def x_to_w(self, scale: Array) -> Array:
        """The factor on the kernel that stands for ``scale`` on the data.

        Raises:
            Blocked: if ``scale`` varies along an axis that the kernel does not have.
        """
        return self._carry(scale, self.x, self.w)

    def x_to_y(self, scale: Array) -> Array:
        """The factor on the result that stands for ``scale`` on the data.

        Raises:
            Blocked: if ``scale`` varies along an axis that the result does not have.
        """
        return self._carry(scale, self.x, self.y)

    def response(self, kernel: Array, shift: Array) -> Array:
        """What a constant ``shift`` on the data adds to the result: ``sum(shift * kernel)``.

        Returns an array broadcastable to the result.
        """
        order = self.order
        wide = self._spread(kernel, self.w, order, simple=False)
        moved = self._spread(shift, self.x, order)
        kept = {label for axis in self.y for label in axis}
        shape = np.broadcast_shapes(wide.shape, moved.shape)
        axis = _longest(shape, [label in kept for label in order])
        parts = [
            self._summed(_cut(wide, part), _cut(moved, part), order, kept)
            for part in _parts(shape, axis)
        ]
        product = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis or 0)
        return self._gather(product, self.y, order)

    def _summed(self, kernel: Array, shift: Array, order: tuple[str, ...], kept: set[str]) -> Array:
        product = kernel * shift
        for position, label in enumerate(order):
            if label not in kept:
                size = product.shape[position]
                product = product.sum(axis=position, keepdims=True)
                if size == 1:
                    product = product * self._size(label)
        return product

    def _carry(self, array: Array, source: Axes, target: Axes) -> Array:
        order = self.order
        if array.size == 1:
            return array.reshape((1,) * len(target))
        return self._gather(self._spread(array, source, order), target, order)

    def _size(self, label: str) -> int:
        size = self.sizes.get(label)
        if size is None:
            raise Blocked(Reason.UNKNOWN_SHAPE, f"the size of axis '{label}' is not known")
        return size

    def _spread(
        self, array: Array, axes: Axes, order: tuple[str, ...], *, simple: bool = True
    ) -> Array:
        """``array`` with one axis per label of ``order``, size 1 where it is constant.

        With ``simple`` off also where it is constant it keeps its size: finding out takes time.
        """
        shape: list[int] = []
        labels: list[str] = []
        for axis, names in enumerate(axes):
            size = array.shape[axis]
            if not names and size != 1:
                raise Blocked(
                    Reason.NOT_PER_CHANNEL,
                    f"it varies along axis {axis}, which the kernel does not tell apart",
                )
            sizes = [1] * len(names) if size == 1 else [self._size(name) for name in names]
            if int(np.prod(sizes, dtype=np.int64)) != size:
                raise Blocked(
                    Reason.AXIS_MISMATCH,
                    f"axis {axis} has {size} parameters for {'x'.join(map(str, sizes))} channels",
                )
            shape += sizes
            labels += names
        split = simplify(array.reshape(shape)) if simple else array.reshape(shape)
        positions = [labels.index(name) for name in order if name in labels]
        inserted = [i for i, name in enumerate(order) if name not in labels]
        return np.expand_dims(split.transpose(positions), tuple(inserted))

    def _gather(self, array: Array, axes: Axes, order: tuple[str, ...]) -> Array:
        """The inverse of `_spread`; blocked if ``array`` varies along a label not in ``axes``."""
        wanted = [name for names in axes for name in names]
        for position, name in enumerate(order):
            if name not in wanted and array.shape[position] != 1:
                raise Blocked(
                    Reason.AXIS_MISMATCH,
                    f"its {array.shape[position]} parameters belong to another axis "
                    "than the kernel's",
                )
        positions = [order.index(name) for name in wanted]
        rest = [i for i in range(len(order)) if i not in positions]
        picked = array.transpose(positions + rest).reshape(
            [array.shape[position] for position in positions]
        )
        shape: list[int] = []
        start = 0
        for names in axes:
            sizes = picked.shape[start : start + len(names)]
            if all(size == 1 for size in sizes):
                shape.append(1)
            else:
                full = [self._size(name) for name in names]
                target = picked.shape[:start] + tuple(full) + picked.shape[start + len(names) :]
                picked = np.broadcast_to(picked, target)
                shape.append(int(np.prod(full, dtype=np.int64)))
            start += len(names)
        return np.ascontiguousarray(picked).reshape(shape)


Part = tuple[slice, ...]


def _longest(shape: Sequence[int], allowed: Sequence[bool]) -> int | None:
    """The longest of the allowed axes; None where there is none."""
    axes = [axis for axis, is_allowed in enumerate(allowed) if is_allowed]
    return max(axes, key=lambda axis: shape[axis], default=None)


def _parts(shape: Sequence[int], axis: int | None) -> list[Part]:
    """Slices along ``axis``, none much larger than `_CHUNK` elements; all in one without it."""
    whole: Part = (slice(None),) * len(shape)
    if axis is None or not shape[axis]:
        return [whole]
    step = max(1, _CHUNK * shape[axis] // max(1, math.prod(shape)))
    return [
        (*whole[:axis], slice(start, start + step), *whole[axis + 1 :])
        for start in range(0, shape[axis], step)
    ]


def _cut(array: Array, part: Part) -> Array:
    """The part of an array that may be constant, with size 1, along the axis that is cut."""
    sizes = array.shape
    return array[tuple(slice(None) if n == 1 else cut for n, cut in zip(sizes, part, strict=True))]
