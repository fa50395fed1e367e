"""Rows of the table: ops that move elements, or average or choose among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bnfold.core.diagnostics import Reason
from bnfold.core.moves import (
    Chain,
    Dim,
    Keep,
    Move,
    Permute,
    Reduce,
    Regroup,
    Repeat,
    Segment,
    Shape,
    Take,
)
from bnfold.core.transfer import (
    Border,
    Commute,
    Concat,
    Opaque,
    Passage,
    ShapeOnly,
    Sign,
    Split,
    Transfer,
)
from bnfold.formats.onnx.computed_shapes import completed
from bnfold.formats.onnx.constants import is_float
from bnfold.formats.onnx.rules import NodeView, rule

# Of longer axes no index is held: nobody normalizes per element of such a one.
_LONGEST_AXIS = 1 << 22
_UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "too little of the shape is known")


@rule("Reshape", "Flatten")
def reshape(view: NodeView) -> Transfer:
    """Elements keep their order."""
    before, after = view.shape(0), view.out_shape
    if before is None:
        return _UNKNOWN
    if view.op_type == "Flatten":
        axis = view.attr_int("axis", 1)
        axis = axis + len(before) if axis < 0 else axis
        flat = (size_of(before[:axis]), size_of(before[axis:]))
        return Commute(
            Regroup((Segment(before[:axis], flat[:1]), Segment(before[axis:], flat[1:])))
        )
    target = view.integers(1)
    if after is None:
        if target is None:
            return _UNKNOWN
        after = (None,) * len(target)
    if target is not None and len(target) == len(after):
        after = tuple(
            _target(dim, known, before, axis, bool(view.attr_int("allowzero", 0)))
            for axis, (dim, known) in enumerate(zip(target, after, strict=True))
        )
    return Commute(Regroup.between(before, completed(before, after)))


def _target(wanted: int, known: Dim, before: Shape, axis: int, zero: bool) -> Dim:
    if wanted > 0:
        return wanted
    if wanted == 0 and not zero and axis < len(before):
        return before[axis]
    return known


def size_of(dims: Sequence[Dim]) -> Dim:
    if len(dims) == 1:
        return dims[0]
    total = 1
    for dim in dims:
        if not isinstance(dim, int):
            return None
        total *= dim
    return total


@rule("Squeeze", "Unsqueeze")
def squeeze(view: NodeView) -> Transfer:
    """Axes of size 1 disappear or appear."""
    shape = view.shape(0)
    axes = view.ints_or_input("axes", 1)
    if shape is None:
        return _UNKNOWN
    if view.op_type == "Squeeze":
        if axes is None:
            if view.operand(1) is not None or not all(isinstance(dim, int) for dim in shape):
                return _UNKNOWN
            axes = tuple(i for i, dim in enumerate(shape) if dim == 1)
        gone = {axis % len(shape) for axis in axes} if shape else set()
        segments = [Segment((d,), () if i in gone else (d,)) for i, d in enumerate(shape)]
        return Commute(Regroup(tuple(segments)))
    if axes is None:
        return _UNKNOWN
    rank = len(shape) + len(axes)
    new = {axis % rank for axis in axes}
    dims = iter(shape)
    pairs = []
    for axis in range(rank):
        dim = None if axis in new else next(dims)
        pairs.append(Segment((), (1,)) if axis in new else Segment((dim,), (dim,)))
    return Commute(Regroup(tuple(pairs)))


@rule("Transpose")
def transpose(view: NodeView) -> Transfer:
    """Axes change places."""
    order, rank = view.attr_ints("perm"), view.rank(0)
    if order is None:
        if rank is None:
            return _UNKNOWN
        order = tuple(reversed(range(rank)))
    return Commute(Permute(order))


@rule("Identity")
def keep(view: NodeView) -> Transfer:
    """Nothing moves."""
    return Commute()


# Significant bits of the floating types, and those of small range.
_DIGITS = {
    ir.DataType.BFLOAT16: 8,
    ir.DataType.FLOAT16: 11,
    ir.DataType.FLOAT: 24,
    ir.DataType.DOUBLE: 53,
}
_SMALL_RANGE = frozenset({ir.DataType.FLOAT16})


@rule("Cast", "CastLike")
def cast(view: NodeView) -> Transfer:
    """Between floating types; to the smaller one an affine moves only where no digits are lost."""
    value, out = view.operand(0), view.node.outputs[0]
    before, after = value.dtype if value is not None else None, out.dtype
    if before is None or after is None or not (is_float(before) and is_float(after)):
        return Opaque(detail="a cast to or from integers")
    to_input = _passage(after, before)
    if to_input is not Passage.ALL and _ends_in(out, before):
        to_input = Passage.ALL
    return Commute(to_input=to_input, to_output=_passage(before, after))


def _passage(origin: ir.DataType, target: ir.DataType) -> Passage:
    """What may move from a value of one type to one of another.

    A small range may overflow whatever the affine is; with fewer digits a scale costs no more than
    one rounding, but a shift may cancel: (x - mean) has none left once x was rounded.
    """
    if target in _SMALL_RANGE and origin not in _SMALL_RANGE:
        return Passage.NOTHING
    return Passage.ALL if _DIGITS[target] >= _DIGITS[origin] else Passage.SCALE


def _ends_in(value: ir.Value, dtype: ir.DataType) -> bool:
    """Whether the value, after affines and moves alone, is cast to a type no larger.

    Then nothing is lost by computing in that type before: mixed precision brackets a
    normalization with two Casts.
    """
    for _ in range(_MAX_HOPS):
        users = list(value.uses())
        if len(users) != 1 or value.is_graph_output():
            return False
        node = users[0].node
        out = node.outputs[0]
        if node.op_type == "Cast":
            end = out.dtype
            return end is not None and is_float(end) and _passage(end, dtype) is Passage.ALL
        if node.op_type not in _BRACKETED:
            return False
        value = out
    return False


_MAX_HOPS = 12
_BRACKETED = frozenset(
    {
        "Add",
        "BatchNormalization",
        "Div",
        "Dropout",
        "Flatten",
        "Identity",
        "Mul",
        "Relu",
        "Reshape",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)


@rule("Shape", "Size")
def shape(view: NodeView) -> Transfer:
    """Only the shape is read."""
    return ShapeOnly()


@rule("Dropout")
def dropout(view: NodeView) -> Transfer:
    """The identity at inference."""
    training = view.array(2)
    live = view.operand(2) is not None and (training is None or bool(np.any(training)))
    if live or view.is_used(1):
        return Opaque(Reason.TRAINING_MODE, "dropout at work")
    return Commute()


def _homogeneous(view: NodeView, move: Move) -> Commute:
    """f(s * x) = s * f(x) for s >= 0, and nothing of the kind for a shift."""
    detail = f"{view.op_type} passes a scale, not a shift"
    return Commute(
        move, sign=Sign.NOT_NEGATIVE, shift_blocked=Reason.ACTIVATION_SHIFT, detail=detail
    )


@rule("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool")
def pool(view: NodeView) -> Transfer:
    """The largest element, the mean or a norm of a window; parameters are constant over space."""
    rank = view.rank(0)
    if rank is None:
        return _UNKNOWN
    move = Keep(tuple(range(2, rank)))
    if "Lp" in view.op_type:
        return _homogeneous(view, move)
    if "Max" in view.op_type:
        if view.is_used(1):
            return Opaque(Reason.EXTRA_OUTPUTS, "the indices of the largest elements are used")
        return Commute(move, sign=Sign.NOT_NEGATIVE)
    counts = view.attr_int("count_include_pad", 0) and view.op_type == "AveragePool"
    padded = (
        any(view.attr_ints("pads") or ())
        or view.attr_string("auto_pad", "NOTSET").startswith("SAME")
        or view.attr_int("ceil_mode", 0)
    )
    if counts and padded:
        detail = "zeros of the border are averaged in"
        return Commute(move, shift_blocked=Reason.PADDING_SHIFT, detail=detail)
    return Commute(move)


@rule("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2")
def reduce(view: NodeView) -> Transfer:
    """Axes are averaged, summed, measured, or searched for their largest or smallest element."""
    rank = view.rank(0)
    if rank is None or not view.is_float(0):
        return _UNKNOWN if rank is None else Opaque(detail="integers")
    axes = view.ints_or_input("axes", 1)
    if axes is None:
        if view.operand(1) is not None:
            return _UNKNOWN
        axes = ()
    if not axes:
        if view.attr_int("noop_with_empty_axes", 0):
            return Commute() if view.op_type in _NEUTRAL_ON_ONE else _UNKNOWN
        axes = tuple(range(rank))
    keepdims = bool(view.attr_int("keepdims", 1))
    move = Reduce(tuple(sorted(axis % rank for axis in axes)), rank, keepdims)
    if view.op_type in ("ReduceL1", "ReduceL2"):
        return _homogeneous(view, move)
    if view.op_type == "ReduceSum":
        times = size_of([(view.shape(0) or ())[axis] for axis in move.axes])
        if isinstance(times, int) and times > 0:
            return Commute(Chain((move, Repeat(times))))
        detail = "how many elements are summed is not known"
        return Commute(move, shift_blocked=Reason.UNKNOWN_SHAPE, detail=detail)
    sign = Sign.ANY if view.op_type == "ReduceMean" else Sign.NOT_NEGATIVE
    return Commute(move, sign=sign)


# Reductions that leave a single element as it is.
_NEUTRAL_ON_ONE = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"})


@rule("Slice")
def cut(view: NodeView) -> Transfer:
    """A part of each of some axes."""
    shape = view.shape(0)
    if shape is None:
        return _UNKNOWN
    old = view.has("starts")
    starts = view.attr_ints("starts") if old else view.integers(1)
    ends = view.attr_ints("ends") if old else view.integers(2)
    axes = view.attr_ints("axes") if old else view.integers(3)
    steps = None if old else view.integers(4)
    unknown = (view.operand(3) is not None and axes is None and not old) or (
        view.operand(4) is not None and steps is None
    )
    if unknown or starts is None or ends is None:
        return Commute(Keep(tuple(range(len(shape)))))
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    moves: list[Move] = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis %= len(shape)
        size = shape[axis]
        taken = _range(size, start, end, step) if isinstance(size, int) else range(0)
        if isinstance(size, int) and max(size, len(taken)) <= _LONGEST_AXIS:
            moves.append(Take(axis, size, np.asarray(taken, dtype=np.int64)))
        else:
            moves.append(Keep((axis,)))
    return Commute(Chain(tuple(moves)))


def _range(size: int, start: int, end: int, step: int) -> range:
    """Indices of ONNX's Slice: bounds clamped, negative ones counted from the end."""
    start = start + size if start < 0 else start
    end = end + size if end < 0 else end
    if step > 0:
        start, end = min(max(start, 0), size), min(max(end, 0), size)
    else:
        start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
    return range(start, end, step)


@rule("Gather")
def gather(view: NodeView) -> Transfer:
    """Entries of one axis, in the places of the index: also an embedding table."""
    shape, rank = view.shape(0), view.rank(1)
    if shape is None or rank is None:
        return _UNKNOWN
    axis = view.attr_int("axis", 0) % len(shape)
    index, size = view.integers(1), shape[axis]
    if index is not None and isinstance(size, int) and rank <= 1:
        taken = np.asarray(index, dtype=np.int64) % size
        take: Move = Take(axis, size, taken)
        if rank == 1:
            return Commute(take)
        drop = Segment((1,), ())
        return Commute(Chain((take, _around(shape, axis, drop))))
    spread = Segment((1,), (None,) * rank)
    return Commute(Chain((Keep((axis,)), _around(shape, axis, spread))))


def _around(shape: Shape, axis: int, segment: Segment) -> Regroup:
    kept = [Segment((dim,), (dim,)) for dim in shape]
    kept[axis] = segment
    return Regroup(tuple(kept))


@rule("Expand", "Tile")
def repeat(view: NodeView) -> Transfer:
    """Elements appear several times."""
    before, after = view.shape(0), view.out_shape
    if before is None or after is None:
        return _UNKNOWN
    fresh = len(after) - len(before)
    lead = Regroup(
        (
            *(Segment((), (1,)) for _ in range(fresh)),
            *(Segment((dim,), (dim,)) for dim in before),
        )
    )
    moves: list[Move] = [lead]
    for axis, dim in enumerate((*(1,) * fresh, *before)):
        new = after[axis]
        if dim == new and dim is not None:
            continue
        if not isinstance(dim, int) or not isinstance(new, int):
            moves.append(Keep((axis,)))
        elif 0 < dim <= new <= _LONGEST_AXIS and new % dim == 0:
            moves.append(Take(axis, dim, np.tile(np.arange(dim, dtype=np.int64), new // dim)))
        else:
            moves.append(Keep((axis,)))
    return Commute(Chain(tuple(moves)))


@rule("Pad")
def pad(view: NodeView) -> Transfer:
    """A border of a constant, or of the value's own elements."""
    shape = view.shape(0)
    pads = view.attr_ints("pads") if view.has("pads") else view.integers(1)
    if shape is None:
        return _UNKNOWN
    rank = len(shape)
    axes = view.integers(3)
    if pads is None or (view.operand(3) is not None and axes is None):
        axes, pads = tuple(range(rank)), (1,) * (2 * rank)
    axes = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    if len(pads) != 2 * len(axes):
        return _UNKNOWN
    ends = zip(axes, pads, pads[len(axes) :], strict=False)
    padded = tuple(axis for axis, before, after in ends if before or after)
    if view.attr_string("mode", "constant") != "constant":
        return Commute(Keep(padded))
    if not padded:
        return Commute()
    if view.opset < 11:
        return Commute(Keep(padded), borders=(Border(view.attr_float("value", 0.0)),))
    given = view.operand(2)
    if given is None:
        return Commute(Keep(padded), borders=(Border(0.0, 2),))
    border = view.float64(2)
    if border is None or border.size != 1:
        return Opaque(Reason.PADDING_SHIFT, "the border's value is computed")
    operand = 2 if view.constants.is_constant(given.name or "") else None
    return Commute(Keep(padded), borders=(Border(float(border.reshape(-1)[0]), operand),))


@rule("Concat")
def concat(view: NodeView) -> Transfer:
    """Values one after the other."""
    shapes = [view.shape(i) for i in range(len(view.node.inputs))]
    ranks = {len(shape) for shape in shapes if shape is not None}
    if len(ranks) != 1 or not view.is_float(0):
        return _UNKNOWN
    axis = view.attr_int("axis", 1) % ranks.pop()
    sizes = [shape[axis] if shape is not None else None for shape in shapes]
    return Concat(axis, tuple(size if isinstance(size, int) else None for size in sizes))


@rule("Split")
def split(view: NodeView) -> Transfer:
    """A value cut into pieces."""
    shape = view.shape(0)
    if shape is None:
        return _UNKNOWN
    axis = view.attr_int("axis", 0) % len(shape)
    sizes = view.ints_or_input("split", 1)
    if sizes is None:
        outs = [value.shape for value in view.node.outputs]
        dims = [None if out is None else out[axis] for out in outs]
        if not all(isinstance(dim, int) for dim in dims):
            return _UNKNOWN
        sizes = tuple(int(dim) for dim in dims if isinstance(dim, int))
    return Split(axis, sizes)
