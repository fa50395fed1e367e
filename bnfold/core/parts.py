"""Pure steps of a walk: laws, slices of a concatenation, what a bias becomes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bnfold.core.affine import Affine, Array
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Shape
from bnfold.core.transfer import Bias, Border, Commute, Contraction, Passage, Sign, Transfer


def composed(outer: Affine, inner: Affine) -> Affine:
    """``outer(inner(x))`` of two affines on one value, whatever rank each is written at."""
    rank = max(outer.rank, inner.rank)
    outer, inner = outer.at_rank(rank), inner.at_rank(rank)
    if any(1 not in (a, b) and a != b for a, b in zip(outer.shape, inner.shape, strict=True)):
        raise Blocked(Reason.AXIS_MISMATCH, f"{outer.shape} after {inner.shape}")
    return outer.after(inner)


def check_law(transfer: Commute, affine: Affine, passage: Passage) -> None:
    """Raise `Blocked` unless the op lets ``affine`` pass to the side of ``passage``."""
    if passage is Passage.NOTHING or (passage is Passage.SCALE and not affine.is_scale):
        raise Blocked(
            Reason.NARROWER_TYPE, f"{passage.value} may pass the Cast to the smaller type"
        )
    if transfer.shift_blocked is not None and not affine.is_scale:
        raise Blocked(transfer.shift_blocked, transfer.detail)
    check_sign(transfer.sign, affine)


def check_sign(sign: Sign, affine: Affine) -> None:
    """Raise `Blocked` unless all scales are of the given sign."""
    if sign is Sign.NOT_NEGATIVE:
        _refuse_scales(affine.scale < 0, "negative")
    elif sign is Sign.POSITIVE:
        _refuse_scales(affine.scale <= 0, "zero or negative")
    elif sign is Sign.NOT_ZERO and (affine.scale == 0.0).any():
        raise Blocked(Reason.ZERO_SCALE, f"{int((affine.scale == 0.0).sum())} scales are zero")


def border_behind(border: Border, value: float, affine: Affine) -> float:
    """What ``affine`` makes of a border that is ``value`` now.

    Raises:
        Blocked: if that differs from channel to channel.
    """
    with np.errstate(invalid="ignore"):
        return _one_number(border, affine.scale * value + affine.shift, affine, value)


def border_before(border: Border, value: float, affine: Affine) -> float:
    """The border of which ``affine`` makes ``value``, which it is now.

    Raises:
        Blocked: if it would have to differ from channel to channel, or there is none.
    """
    if affine.is_scale and value == 0.0:
        return value
    with np.errstate(invalid="ignore", divide="ignore"):
        return _one_number(border, (value - affine.shift) / affine.scale, affine, value)


def _one_number(border: Border, numbers: Array, affine: Affine, value: float) -> float:
    first = float(numbers.reshape(-1)[0])
    size = float(np.abs(affine.shift).max()) + (abs(value) if np.isfinite(value) else 0.0)
    rounding = 4 * np.finfo(np.float64).eps * (size + abs(first) if np.isfinite(first) else 0.0)
    with np.errstate(invalid="ignore"):
        alike = (numbers == first) | (np.abs(numbers - first) <= rounding)
    if not alike.all():
        detail = f"its constant {value:g} would have to differ by channel"
        raise Blocked(border.reason, detail)
    if first == value or abs(first - value) <= rounding:
        return value
    if border.operand is None or not np.isfinite(first):
        raise Blocked(border.reason, f"its constant {value:g} cannot become {first:g}")
    return first


def _refuse_scales(mask: NDArray[np.bool_], kind: str) -> None:
    if mask.any():
        raise Blocked(Reason.NEGATIVE_SCALE, f"{int(mask.sum())} of {mask.size} scales are {kind}")


def fit_shape(affine: Affine, shape: Shape, name: str) -> Affine:
    """``affine`` of a result, on an operand of ``shape`` that is broadcast to it.

    Raises:
        Blocked: if it varies along an axis where the operand has not that very size.
    """
    offset = affine.rank - len(shape)
    for axis, size in enumerate(affine.shape):
        if size == 1:
            continue
        dim = shape[axis - offset] if axis >= offset else 1
        if dim != size:
            known = isinstance(dim, int)
            raise Blocked(
                Reason.NOT_PER_CHANNEL if known else Reason.UNKNOWN_SHAPE,
                f"{name} has size {dim} where the affine has {size} parameters",
            )
    return affine.at_rank(len(shape))


def spares(transfer: Transfer, operand: int, affine: Affine) -> bool:
    """Whether the op takes only elements of its operand that ``affine`` leaves alone."""
    if not isinstance(transfer, Commute) or transfer.data != operand or transfer.borders:
        return False
    try:
        return transfer.move.forward(affine).is_identity
    except Blocked:
        return False


def slices(affine: Affine, axis: int, sizes: Sequence[int | None]) -> list[Affine]:
    """The parts of ``affine`` that belong to consecutive pieces along ``axis``."""
    if affine.rank == 0 or not affine.varies_along(axis):
        return [affine] * len(sizes)
    known = _known(sizes)
    if sum(known) != affine.shape[axis]:
        raise Blocked(Reason.AXIS_MISMATCH, f"{affine.shape[axis]} parameters for {sum(known)}")
    bounds = np.cumsum([0, *known])

    def part(array: Array, start: int, stop: int) -> Array:
        return array if array.shape[axis] == 1 else np.take(array, range(start, stop), axis)

    return [
        Affine.of(part(affine.scale, a, b), part(affine.shift, a, b), affine.rank)
        for a, b in pairwise(bounds)
    ]


def assembled(affine: Affine, axis: int, sizes: Sequence[int | None], place: int) -> Affine:
    """An affine on the whole that is ``affine`` on piece ``place`` and the identity elsewhere."""
    if affine.rank == 0:
        raise Blocked(Reason.UNKNOWN_SHAPE, "the rank is not known")
    if len(sizes) == 1:
        return affine
    known = _known(sizes)

    def whole(array: Array, fill: float) -> Array:
        shape = list(array.shape)
        shape[axis] = sum(known)
        full = np.full(shape, fill)
        start = sum(known[:place])
        np.moveaxis(full, axis, 0)[start : start + known[place]] = np.moveaxis(array, axis, 0)
        return full

    return Affine.of(whole(affine.scale, 1.0), whole(affine.shift, 0.0), affine.rank)


def _known(sizes: Sequence[int | None]) -> list[int]:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise Blocked(Reason.UNKNOWN_SHAPE, "the size of a piece is not known")
    return known


def bias_change(bias: Bias, product: Contraction, wanted: Affine) -> Affine:
    """What ``wanted`` on the result makes of the bias operand.

    ``s * (p + g*b) + t = s*p + g*(s*b + t/g)``; parameters are brought to the operand's own
    axes, those beyond the bias proper (``pad``) left as they are.

    Raises:
        Blocked: if they vary along an axis that the bias does not have.
    """
    gain = bias.gain if bias.present else 1.0
    if gain == 0.0:
        raise Blocked(Reason.NO_BIAS_SLOT, "the bias has factor zero")
    change = Affine.of(wanted.scale, wanted.shift / gain, wanted.rank)
    if bias.pad:
        sizes = [_channels(product, axis) for axis in range(change.rank)]
        return _padded(change.expanded(sizes), bias.pad)
    if bias.axis is None:
        return change
    for axis in range(change.rank):
        if axis != bias.axis and change.varies_along(axis):
            raise Blocked(Reason.NOT_PER_CHANNEL, f"it varies along axis {axis} of the result")
    rank = change.rank
    others = tuple(axis for axis in range(rank) if axis != bias.axis)
    size = _channels(product, bias.axis)

    def vector(array: Array) -> Array:
        full: Array = np.array(np.broadcast_to(array.squeeze(axis=others), (size,)))
        return full

    # A bias of a convolution always has its full length: it may be created from this.
    return Affine(vector(change.scale), vector(change.shift))


def _channels(product: Contraction, axis: int) -> int:
    labels = product.labels
    sizes = [labels.sizes.get(label) for label in labels.y[axis]]
    return int(np.prod(_known(sizes), dtype=np.int64))


def _padded(affine: Affine, pad: int) -> Affine:
    last = affine.rank - 1

    def wide(array: Array, fill: float) -> Array:
        size = list(affine.shape)
        full = np.broadcast_to(array, size)
        size[last] = pad
        return np.asarray(np.concatenate([full, np.full(size, fill)], axis=last))

    return Affine(wide(affine.scale, 1.0), wide(affine.shift, 0.0))
