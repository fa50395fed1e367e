"""What a window that slides is padded with, whichever way that is written."""

from __future__ import annotations

from collections.abc import Sequence

from bnfold.verify.proof.forms import Dim
from bnfold.verify.proof.source import Op

#: How SAME_UPPER and SAME_LOWER share an odd number of pads: more at the end, more at the front.
_FRONT = {"SAME_UPPER": 0, "SAME_LOWER": 1}


def padding(
    op: Op, sizes: Sequence[int], dims: Sequence[Dim]
) -> tuple[str, tuple[int, ...] | None]:
    """How a Conv or a pool pads: ``NOTSET`` and its pads, or what ``auto_pad`` leaves open.

    Args:
        op: the op, with strides of its own.
        sizes: of the window.
        dims: spatial dims of the operand, as far as known.
    """
    count = len(sizes)
    auto = op.text("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID"):
        given = op.integers("pads") if auto == "NOTSET" else ()
        return "NOTSET", given or (0,) * (2 * count)
    strides = op.integers("strides") or (1,) * count
    totals = [
        _total(size, stride, dim) for size, stride, dim in zip(sizes, strides, dims, strict=True)
    ]
    known = [total for total in totals if total is not None]
    # Runtimes do not agree on what SAME means where the window is dilated.
    dilated = any(dilation != 1 for dilation in op.integers("dilations"))
    if auto not in _FRONT or dilated or len(known) < count:
        return auto, None
    fronts = [(total + _FRONT[auto]) // 2 for total in known]
    backs = [total - front for total, front in zip(known, fronts, strict=True)]
    return "NOTSET", (*fronts, *backs)


def _total(size: int, stride: int, dim: Dim) -> int | None:
    """The pads along an axis that make a result of ``dim / stride`` elements, rounded up."""
    if stride == 1 or size == 1:
        return size - 1
    if not isinstance(dim, int):
        return None
    return max((-(-dim // stride) - 1) * stride + size - dim, 0)
