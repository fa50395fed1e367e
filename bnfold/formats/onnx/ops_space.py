"""Rows of the table: ops that trade channels for space, or sample space anew."""

from __future__ import annotations

from bnfold.core.diagnostics import Reason
from bnfold.core.moves import (
    Chain,
    Dim,
    Keep,
    Permute,
    Regroup,
    Segment,
    Shape,
)
from bnfold.core.transfer import Commute, Opaque, Transfer
from bnfold.formats.onnx.ops_move import size_of
from bnfold.formats.onnx.rules import NodeView, rule

_UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "too little of the shape is known")


@rule("DepthToSpace", "SpaceToDepth")
def depth(view: NodeView) -> Transfer:
    """Channels become space, or space channels, as a reshape, a transpose and a reshape."""
    shape = view.shape(0)
    block = view.attr_int("blocksize", 1)
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int):
        return _UNKNOWN
    n, c, h, w = shape[0], shape[1], shape[2], shape[3]
    square = (block, block)
    if view.op_type == "SpaceToDepth":
        rows, columns = (d // block if isinstance(d, int) else None for d in (h, w))
        split = Regroup(
            (_same(n), _same(c), Segment((h,), (rows, block)), Segment((w,), (columns, block)))
        )
        order = Permute((0, 3, 5, 1, 2, 4))
        merged: tuple[Dim, ...] = (*square, c)
        total = c * block * block
    else:
        inner = c // (block * block)
        column_row = view.attr_string("mode", "DCR") == "CRD"
        merged = (inner, *square) if column_row else (*square, inner)
        split = Regroup((Segment((n,), (n,)), Segment((c,), merged), _same(h), _same(w)))
        order = Permute((0, 1, 4, 2, 5, 3) if column_row else (0, 3, 4, 1, 5, 2))
        join = Regroup(
            (
                _same(n),
                _same(inner),
                Segment((h, block), (size_of((h, block)),)),
                Segment((w, block), (size_of((w, block)),)),
            )
        )
        return Commute(Chain((split, order, join)))
    join = Regroup((_same(n), Segment(merged, (total,)), _same(rows), _same(columns)))
    return Commute(Chain((split, order, join)))


def _same(dim: Dim) -> Segment:
    return Segment((dim,), (dim,))


@rule("Resize", "Upsample")
def resize(view: NodeView) -> Transfer:
    """Interpolation: weights of each result add up to one, so an affine passes."""
    before, after = view.shape(0), view.out_shape
    if before is None:
        return _UNKNOWN
    crop = view.attr_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if crop:
        return Opaque(Reason.PADDING_SHIFT, "crop and resize writes a value outside the crop")
    return Commute(Keep(_resized(view, before, after)))


def _resized(view: NodeView, before: Shape, after: Shape | None) -> tuple[int, ...]:
    """Axes along which elements are interpolated.

    Scales decide, not sizes: 4 elements scaled by 1.2 are still 4, and yet others.
    """
    rank = len(before)
    axes = view.attr_ints("axes") or tuple(range(rank))
    by_size = view.opset >= 11 and view.operand(3) is not None
    if by_size and view.attr_string("keep_aspect_ratio_policy", "stretch") == "stretch":
        if after is None:
            return tuple(axis % rank for axis in axes)
        return tuple(i for i, dim in enumerate(before) if dim is None or after[i] != dim)
    scales = None if by_size else _resize_scales(view)
    if scales is None or len(scales) != len(axes):
        return tuple(axis % rank for axis in axes)
    return tuple(axis % rank for axis, scale in zip(axes, scales, strict=True) if scale != 1.0)


def _resize_scales(view: NodeView) -> tuple[float, ...] | None:
    given = view.attr_floats("scales")
    if given is not None:
        return given
    array = view.float64(2 if view.op_type == "Resize" and view.opset >= 11 else 1)
    return None if array is None else tuple(float(scale) for scale in array.reshape(-1))


@rule("GridSample")
def grid_sample(view: NodeView) -> Transfer:
    """Interpolation at computed points; outside there are zeros, or the data's own border."""
    rank = view.rank(0)
    if rank is None:
        return _UNKNOWN
    move = Keep(tuple(range(2, rank)))
    if view.attr_string("padding_mode", "zeros") == "zeros":
        detail = "points outside give zero"
        return Commute(move, shift_blocked=Reason.PADDING_SHIFT, detail=detail)
    return Commute(move)
