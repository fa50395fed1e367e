"""Lowering rules: layers that move elements, or average or choose among them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from bnfold.core.diagnostics import Reason
from bnfold.core.moves import Chain, Keep, Move, Permute, Reduce, Regroup, Segment, Shape, Take
from bnfold.core.transfer import Commute, Opaque, Sign
from bnfold.formats.keras.geometry import (
    Dim,
    fill_reshape,
    pairs_of,
    pool_window_of,
    spatial_count,
    tuple_of,
)
from bnfold.formats.keras.lower_linear import channels_of, image_shape, space_of
from bnfold.formats.keras.lower_view import Value, View

_UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "the shape of its input is not known")


def flatten(view: View) -> Value:
    """Flatten; of channels-first values Keras moves the channels last before."""
    x = view.input
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    shape, moves = x.shape, list[Move]()
    if view.channels_first and len(shape) > 2:
        order = (0, *range(2, len(shape)), 1)
        moves.append(Permute(order))
        shape = tuple(shape[axis] for axis in order)
    if len(shape) == 1:
        return view.op(_UNKNOWN, [x], None)
    flat = _product(shape[1:])
    moves.append(Regroup((Segment(shape[:1], shape[:1]), Segment(shape[1:], (flat,)))))
    return view.op(Commute(Chain(tuple(moves))), [x], (shape[0], flat))


def _product(dims: Shape) -> Dim:
    if len(dims) == 1:
        return dims[0]
    known = [dim for dim in dims if isinstance(dim, int)]
    return prod(known) if len(known) == len(dims) else None


def reshape(view: View) -> Value:
    """Reshape: the batch axis stays."""
    x = view.input
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    target = [-1 if one is None else int(one) for one in view.config["target_shape"]]
    filled = fill_reshape(x.shape[1:], target, view.builder.fresh_dim)
    shape = (x.shape[0], *filled)
    batch = Segment(x.shape[:1], x.shape[:1])
    rest = Regroup.between(x.shape[1:], filled)
    return view.op(Commute(Regroup((batch, *rest.segments))), [x], shape)


def permute(view: View) -> Value:
    """Permute: axes counted from 1."""
    x = view.input
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    order = (0, *(int(one) for one in view.config["dims"]))
    return view.op(Commute(Permute(order)), [x], tuple(x.shape[axis] for axis in order))


def repeat_vector(view: View) -> Value:
    """RepeatVector."""
    x, times = view.input, int(view.config["n"])
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    batch, width = x.shape
    lift = Regroup((Segment((batch,), (batch,)), Segment((), (1,)), Segment((width,), (width,))))
    repeat = Take(1, 1, np.zeros(times, dtype=np.int64))
    return view.op(Commute(Chain((lift, repeat))), [x], (batch, times, width))


def _spatial_axes(view: View, rank: int) -> tuple[int, ...]:
    return tuple(range(2, rank)) if view.channels_first else tuple(range(1, rank - 1))


def pooling(view: View) -> Value:
    """MaxPooling, AveragePooling: Keras leaves padding out of its averages."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(_UNKNOWN, [x], None)
    window = pool_window_of(view.config, count)
    space = window.result(space_of(view, x.shape), view.builder.fresh_dim)
    shape = image_shape(view, x.shape[0], space, channels_of(view, x.shape))
    sign = Sign.NOT_NEGATIVE if "Max" in view.layer.class_name else Sign.ANY
    move = Keep(_spatial_axes(view, len(x.shape)))
    return view.op(Commute(move, sign=sign), [x], shape)


def global_pooling(view: View) -> Value:
    """GlobalMaxPooling, GlobalAveragePooling."""
    x = view.input
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    rank, keep = len(x.shape), bool(view.config.get("keepdims"))
    axes = _spatial_axes(view, rank)
    sign = Sign.NOT_NEGATIVE if "Max" in view.layer.class_name else Sign.ANY
    shape = tuple(
        1 if axis in axes else dim for axis, dim in enumerate(x.shape) if keep or axis not in axes
    )
    others = [one for one in view.inputs if one is not x]
    return view.op(Commute(Reduce(axes, rank, keep), sign=sign), [x, *others], shape)


def zero_padding(view: View) -> Value:
    """ZeroPadding: the border is zero and stays so."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    amounts = dict(
        zip(
            _spatial_axes(view, len(x.shape)),
            pairs_of(view.config["padding"], count),
            strict=True,
        )
    )
    padded = tuple(axis for axis, amount in amounts.items() if any(amount))
    shape = tuple(
        dim + sum(amounts.get(axis, (0, 0)))
        if isinstance(dim, int)
        else view.builder.fresh_dim()
        if axis in padded
        else dim
        for axis, dim in enumerate(x.shape)
    )
    blocked = Reason.PADDING_SHIFT if padded else None
    detail = "zeros are added around the data" if padded else ""
    transfer = Commute(Keep(padded), shift_blocked=blocked, detail=detail)
    return view.op(transfer, [x], shape)


def cropping(view: View) -> Value:
    """Cropping: a part of each spatial axis."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    shape, moves = list(x.shape), list[Move]()
    stated = pairs_of(view.config["cropping"], count)
    for axis, (before, after) in zip(_spatial_axes(view, len(shape)), stated, strict=True):
        dim = shape[axis]
        if isinstance(dim, int):
            taken = np.arange(before, max(dim - after, before), dtype=np.int64)
            moves.append(Take(axis, dim, taken))
            shape[axis] = int(taken.size)
        else:
            moves.append(Keep((axis,)))
            shape[axis] = view.builder.fresh_dim()
    return view.op(Commute(Chain(tuple(moves))), [x], tuple(shape))


def upsampling(view: View) -> Value:
    """UpSampling: each result is an element, or a mean of elements with weights that sum to 1."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None:
        return view.op(_UNKNOWN, [x], None)
    factors = tuple_of(view.config["size"], count)
    space = [
        dim * factor if isinstance(dim, int) else view.builder.fresh_dim()
        for dim, factor in zip(space_of(view, x.shape), factors, strict=True)
    ]
    shape = image_shape(view, x.shape[0], space, channels_of(view, x.shape))
    kind = view.config.get("interpolation", "nearest")
    if kind not in ("nearest", "bilinear", "bicubic"):
        return view.op(Opaque(detail=f"interpolation by {kind}"), [x], shape)
    return view.op(Commute(Keep(_spatial_axes(view, len(x.shape)))), [x], shape)


def resizing(view: View) -> Value:
    """Resizing: as UpSampling, to a size that is stated."""
    x, config = view.input, view.config
    if x.shape is None or len(x.shape) != 4:
        return view.op(_UNKNOWN, [x], None)
    target = int(config["height"]), int(config["width"])
    shape = image_shape(view, x.shape[0], target, channels_of(view, x.shape))
    kind = config.get("interpolation", "bilinear")
    bordered = config.get("pad_to_aspect_ratio")
    if kind not in ("nearest", "bilinear") or bordered or not x.dtype.startswith("float"):
        return view.op(Opaque(detail=f"resizing by {kind}"), [x], shape)
    return view.op(Commute(Keep(_spatial_axes(view, 4))), [x], shape)


def center_crop(view: View) -> Value:
    """CenterCrop: a part of the image, or a resized one, which is made of means of pixels."""
    x = view.input
    if x.shape is None or len(x.shape) != 4 or not x.dtype.startswith("float"):
        return view.op(_UNKNOWN, [x], None)
    target = int(view.config["height"]), int(view.config["width"])
    shape = image_shape(view, x.shape[0], target, channels_of(view, x.shape))
    return view.op(Commute(Keep(_spatial_axes(view, 4))), [x], shape)


def encoding(view: View) -> Value:
    """CategoryEncoding, Discretization, lookups: whole numbers, of which only the shape is told."""
    x, config = view.input, view.config
    mode = str(config.get("output_mode", _MODES.get(view.layer.class_name, "int")))
    shape = x.shape
    if mode != "int":
        count = config.get("num_tokens")
        lead = None if shape is None or len(shape) > 2 else shape[:1]
        alone = lead is not None and (mode != "one_hot" or (shape or ())[1:] in ((), (1,)))
        shape = (*(lead or ()), count) if alone and isinstance(count, int) else None
    return view.op(Opaque(), view.inputs, shape, dtype=view.layer.policy.compute)


_MODES = {"CategoryEncoding": "multi_hot"}


Inner = Callable[[View, Value], "list[Value]"]


def time_distributed(view: View, emit: Inner) -> list[Value]:
    """TimeDistributed: time is part of the batch while the inner layer runs."""
    x = view.input
    if x.shape is None or len(x.shape) < 3:
        return [view.op(_UNKNOWN, [x], None)]
    batch, time = x.shape[:2]
    merged = view.builder.fresh_dim()
    rest = [Segment((dim,), (dim,)) for dim in x.shape[2:]]
    into = Regroup((Segment((batch, time), (merged,)), *rest))
    inner = view.op(Commute(into), [x], (merged, *x.shape[2:]), suffix="merge", op_type="Reshape")
    results = []
    for one in emit(view, inner):
        if one.shape is None:
            results.append(view.op(_UNKNOWN, [one], None, suffix="split"))
            continue
        tail = [Segment((dim,), (dim,)) for dim in one.shape[1:]]
        back = Regroup((Segment(one.shape[:1], (batch, time)), *tail))
        shape = (batch, time, *one.shape[1:])
        results.append(view.op(Commute(back), [one], shape, suffix="split", op_type="Reshape"))
    return results
