"""Rows of the table: ops whose data or attributes say which elements they take."""

from __future__ import annotations

import numpy as np

from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Chain, Keep, Regroup, Segment, Take
from bnfold.core.transfer import Commute, Opaque, Sign, Transfer
from bnfold.formats.onnx.rules import NodeView, rule

_UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "too little of the shape is known")


@rule("ArrayFeatureExtractor", domain="ai.onnx.ml")
def features(view: NodeView) -> Transfer:
    """Entries of the last axis."""
    shape, index = view.shape(0), view.integers(1)
    size = None if shape is None or len(shape) < 2 else shape[-1]
    if shape is None or index is None or not isinstance(size, int) or not index:
        return _UNKNOWN
    if max(index) >= size:
        return Opaque(detail=f"feature {max(index)} of {size}")
    return Commute(Take(len(shape) - 1, size, np.asarray(index, dtype=np.int64)))


@rule("Compress", "GatherElements", "ReverseSequence")
def picked(view: NodeView) -> Transfer:
    """Along one axis elements are chosen by data; the others stay where they are."""
    shape, after = view.shape(0), view.out_shape
    if shape is None:
        return _UNKNOWN
    if view.op_type == "ReverseSequence":
        return Commute(Keep((view.attr_int("time_axis", 0) % len(shape),)))
    if view.op_type == "Compress" and not view.has("axis"):
        return Commute(Regroup((Segment(shape, (None,)),)))
    axis = view.attr_int("axis", 0) % len(shape)
    fixed = {axis}
    if view.op_type == "GatherElements":  # a shorter index leaves the rest out
        if after is None:
            return _UNKNOWN
        fixed |= {i for i, dim in enumerate(shape) if dim is None or dim != after[i]}
    return Commute(Keep(tuple(sorted(fixed))))


@rule("GatherND")
def gather_points(view: NodeView) -> Transfer:
    """Leading axes are replaced by those of the index; what is behind them stays."""
    shape, index, after = view.shape(0), view.shape(1), view.out_shape
    if shape is None or index is None or after is None or not isinstance(index[-1], int):
        return _UNKNOWN
    looked_up = view.attr_int("batch_dims", 0) + index[-1]
    kept = [Segment((dim,), (dim,)) for dim in shape[looked_up:]]
    places = len(after) - len(kept)
    lead = Segment(shape[:looked_up], (None,) * places)
    alike = Keep(tuple(range(looked_up))), Keep(tuple(range(places)))
    return Commute(Chain((alike[0], Regroup((lead, *kept)), alike[1])))


@rule("CumSum", "Trilu")
def partly(view: NodeView) -> Transfer:
    """Sums of elements before, or zeros in their place: a scale passes."""
    rank = view.rank(0)
    if rank is None:
        return _UNKNOWN
    if view.op_type == "CumSum":
        given = view.integers(1)
        axes = tuple(range(rank)) if given is None else (given[0] % rank,)
        detail = "a shift adds up along the sum"
        return Commute(Keep(axes), shift_blocked=Reason.PADDING_SHIFT, detail=detail)
    return Commute(shift_blocked=Reason.PADDING_SHIFT, detail="a triangle becomes zero")


@rule("CenterCropPad")
def center(view: NodeView) -> Transfer:
    """The middle of some axes, or zeros around them."""
    before, after = view.shape(0), view.out_shape
    if before is None:
        return _UNKNOWN
    axes = tuple(axis % len(before) for axis in view.attr_ints("axes") or range(len(before)))
    cut = after is not None and all(
        isinstance(b, int) and isinstance(a, int) and a <= b
        for b, a in ((before[axis], after[axis]) for axis in axes)
    )
    if cut:
        return Commute(Keep(axes))
    detail = "zeros are put around the data"
    return Commute(Keep(axes), shift_blocked=Reason.PADDING_SHIFT, detail=detail)


@rule("RoiAlign", "MaxRoiPool")
def regions(view: NodeView) -> Transfer:
    """Means or largest elements of computed regions, each with all channels; zero outside."""
    largest = view.op_type == "MaxRoiPool" or view.attr_string("mode", "avg") == "max"
    return Commute(
        Keep((0, 2, 3)),
        sign=Sign.NOT_NEGATIVE if largest else Sign.ANY,
        shift_blocked=Reason.PADDING_SHIFT,
        detail="what lies outside of the data is zero",
    )
