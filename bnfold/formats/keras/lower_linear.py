"""Lowering rules: layers with a kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bnfold.core.diagnostics import Reason
from bnfold.core.errors import InputError
from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Chain, Keep, Regroup, Segment, Shape
from bnfold.core.transfer import Bias, Commute, Contraction, Opaque
from bnfold.formats.keras.geometry import (
    Dim,
    Window,
    axes_of,
    spatial_count,
    transposed_axis,
    transposed_result,
    tuple_of,
    window_of,
)
from bnfold.formats.keras.lower_elementwise import activate
from bnfold.formats.keras.lower_view import Slot, Value, View, stored_array
from bnfold.formats.text import clip

UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "the shape of its input is not known")


def sizes_of(*pairs: tuple[Axes, Sequence[Dim] | None]) -> dict[str, int]:
    """Sizes of labels that stand alone on an axis of known size."""
    return {
        names[0]: dim
        for axes, shape in pairs
        for names, dim in zip(axes, shape or (), strict=False)
        if len(names) == 1 and isinstance(dim, int)
    }


def bias_slot(view: View, size: Dim, part: int | None = None) -> Slot:
    """The layer's bias, made by ``use_bias`` where there is none."""
    slot = view.slot("bias", part, use_bias=True)
    return dataclasses.replace(slot, shape=(size,) if isinstance(size, int) else ())


def product(
    view: View,
    x: Value,
    labels: Labels,
    shape: Shape,
    *,
    role: str = "kernel",
    bias: Slot | None = None,
    bias_axis: int | None = None,
    suffix: str = "",
    shift_blocked: Reason | None = None,
    detail: str = "",
    op_type: str = "",
) -> Value:
    """A contraction of ``x`` with one of the layer's arrays, and its bias."""
    slot = view.slot(role)
    kernel = view.operand(slot)
    if kernel is None:
        return view.op(Opaque(Reason.UNREADABLE_CONSTANT, role), [x], shape, suffix=suffix)
    added = None if bias is None else view.operand(bias)
    _refuse_other_shapes(view, labels, slot, bias)
    transfer = Contraction(
        labels,
        bias=None if bias is None else Bias(2, added is not None, axis=bias_axis),
        shift_blocked=shift_blocked,
        blocked_detail=detail,
    )
    return view.op(
        transfer,
        [x, kernel, added],
        shape,
        slots=[None, slot, bias],
        suffix=suffix,
        op_type=op_type,
    )


def _refuse_other_shapes(view: View, labels: Labels, slot: Slot, bias: Slot | None) -> None:
    """Arrays must be as large as the config says.

    Raises:
        InputError: naming the layer and the array.
    """
    pairs = [
        (slot, [labels.sizes.get(names[0]) if len(names) == 1 else None for names in labels.w])
    ]
    if bias is not None and bias.part is None and bias.shape:
        pairs.append((bias, list(bias.shape)))
    for one, wanted in pairs:
        array = stored_array(view.layer, one)
        have = () if array is None else array.shape
        fits = len(have) == len(wanted) and all(
            want is None or want == size for want, size in zip(wanted, have, strict=True)
        )
        if array is not None and have and not fits:
            raise InputError(
                f"Layer {clip(view.path, 80)!r} ({view.layer.class_name}): its {one.role} has the "
                f"shape {have}, which does not go with its config."
            )


def dense(view: View) -> Value:
    """Dense: along the last axis."""
    x = view.input
    if x.shape is None:
        return view.op(UNKNOWN, [x], None)
    units = int(view.config["units"])
    lead: Axes = tuple((f"a{axis}",) for axis in range(len(x.shape) - 1))
    w: Axes = (("k",), ("n",))
    y: Axes = (*lead, ("n",))
    shape = (*x.shape[:-1], units)
    labels = Labels((*lead, ("k",)), w, y, sizes_of(((*lead, ("k",)), x.shape), (y, shape)))
    out = product(view, x, labels, shape, bias=bias_slot(view, units), bias_axis=len(shape) - 1)
    return activate(view, out)


def einsum_dense(view: View) -> Value:
    """EinsumDense: a label per letter."""
    x, kernel = view.input, view.layer.weights.get("kernel")
    equation = str(view.config.get("equation", "")).replace(" ", "")
    left, _, right = equation.partition("->")
    a, _, b = left.partition(",")
    if x.shape is None or kernel is None:
        return view.op(UNKNOWN, [x], None)
    dots = len(x.shape) - len(a.replace("...", ""))
    spread = [f"d{i}" for i in range(dots)]

    def letters(term: str) -> list[str]:
        head, found, tail = term.partition("...")
        return [*head, *(spread if found else []), *tail]

    names = [letters(term) for term in (a, b, right)]
    if any(len(set(term)) < len(term) for term in names):
        return view.op(Opaque(detail=f"Einsum {equation}"), [x], None)
    one, two, out = (tuple((letter,) for letter in term) for term in names)
    sizes = sizes_of((one, x.shape), (two, kernel.shape))
    dims: dict[str, Dim] = dict(zip(names[0], x.shape, strict=True))
    dims |= dict(zip(names[1], kernel.shape, strict=True))
    shape = tuple(dims[letter] for letter in names[2])
    bias = view.layer.weights.get("bias")
    slot = None
    if bias is not None:
        slot = dataclasses.replace(view.slot("bias"), shape=bias.shape)
    return activate(view, product(view, x, Labels(one, two, out, sizes), shape, bias=slot))


def embedding(view: View) -> Value:
    """Embedding: rows of a table, in the places of the ids."""
    ids, slot = view.input, view.slot("embeddings")
    table = view.operand(slot)
    if ids.shape is None or table is None:
        return view.op(UNKNOWN, [ids], None)
    rank = len(ids.shape)
    width = int(view.config["output_dim"])
    rows = int(view.config["input_dim"])
    spread = Regroup((Segment((1,), (None,) * rank), Segment((width,), (width,))))
    move = Chain((Keep((0,)), spread))
    view.builder.shapes[table] = (rows, width)
    shape = (*ids.shape, width)
    return view.op(Commute(move), [table, ids], shape, slots=[slot, None], dtype="float32")


def reversible_embedding(view: View) -> Value:
    """ReversibleEmbedding: an Embedding, or a product with its table, transposed."""
    reverse = view.args[1] if len(view.args) > 1 else view.kwargs.get("reverse", False)
    if not reverse:
        return embedding(view)
    x, config = view.input, view.config
    if x.shape is None:
        return view.op(UNKNOWN, [x], None)
    tied = config.get("tie_weights", True)
    lead: Axes = tuple((f"a{axis}",) for axis in range(len(x.shape) - 1))
    w: Axes = (("n",), ("k",)) if tied else (("k",), ("n",))
    shape = (*x.shape[:-1], int(config["input_dim"]))
    x_axes, y_axes = (*lead, ("k",)), (*lead, ("n",))
    labels = Labels(x_axes, w, y_axes, sizes_of((x_axes, x.shape), (y_axes, shape)))
    y = product(view, x, labels, shape, role="embeddings" if tied else "reverse_embeddings")
    if config.get("logit_soft_cap") is None:
        return y
    return view.op(Opaque(Reason.ACTIVATION, "logits are capped"), [y], shape, suffix="cap")


def image_axes(view: View, space: Axes, channels: tuple[str, ...]) -> Axes:
    """Labels of an image in the layer's data format; no label for the batch."""
    return ((), channels, *space) if view.channels_first else ((), *space, channels)


def image_shape(view: View, batch: Dim, space: Sequence[Dim], channels: Dim) -> Shape:
    """A shape in the layer's data format."""
    if view.channels_first:
        return (batch, channels, *space)
    return (batch, *space, channels)


def space_of(view: View, shape: Shape) -> Shape:
    """The spatial sizes."""
    return shape[2:] if view.channels_first else shape[1:-1]


def channels_of(view: View, shape: Shape) -> Dim:
    """The number of channels."""
    return shape[1] if view.channels_first else shape[-1]


def channel_axis(view: View, rank: int) -> int:
    """The axis of the channels."""
    return 1 if view.channels_first else rank - 1


PADS = "the convolution pads with zeros"
_BORDER = "a transposed convolution reaches its borders with fewer taps"


def convolution(view: View) -> Value:
    """Conv1D/2D/3D: kernel [*space, in / groups, filters]."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(UNKNOWN, [x], None)
    groups, filters = int(view.config.get("groups") or 1), int(view.config["filters"])
    return activate(view, _convolved(view, x, window_of(view.config, count), groups, filters))


def _convolved(
    view: View,
    x: Value,
    window: Window,
    groups: int,
    filters: int,
    *,
    role: str = "kernel",
    suffix: str = "",
    biased: bool = True,
    op_type: str = "",
) -> Value:
    assert x.shape is not None
    if window.padding not in ("valid", "same", "causal"):
        return view.op(Opaque(detail=f"the padding {window.padding!r}"), [x], None)
    count = len(window.kernel)
    taps: Axes = tuple((f"k{i}",) for i in range(count))
    free: Axes = ((),) * count
    channels = channels_of(view, x.shape)
    sizes = {"g": groups, "o": filters // groups}
    sizes |= {f"k{i}": size for i, size in enumerate(window.kernel)}
    if isinstance(channels, int):
        sizes["c"] = channels // groups
    labels = Labels(
        image_axes(view, free, ("g", "c")),
        (*taps, ("c",), ("g", "o")),
        image_axes(view, free, ("g", "o")),
        sizes,
    )
    space = space_of(view, x.shape)
    shape = image_shape(view, x.shape[0], window.result(space, view.builder.fresh_dim), filters)
    padded = is_padded(window, space)
    return product(
        view,
        x,
        labels,
        shape,
        role=role,
        bias=bias_slot(view, filters) if biased else None,
        bias_axis=channel_axis(view, len(shape)),
        shift_blocked=Reason.PADDING_SHIFT if padded else None,
        detail=PADS if padded else "",
        suffix=suffix,
        op_type=op_type,
    )


def is_padded(window: Window, space: Shape) -> bool:
    """Whether the window reaches beyond the data, or may do so."""
    pads = window.pads(space)
    return pads is None or any(pad != (0, 0) for pad in pads)


def depthwise(view: View) -> Value:
    """DepthwiseConv1D/2D: kernel [*space, in, multiplier]."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(UNKNOWN, [x], None)
    return activate(view, _depthwise(view, x, window_of(view.config, count), biased=True))


def _depthwise(view: View, x: Value, window: Window, *, biased: bool) -> Value:
    assert x.shape is not None
    count, multiplier = len(window.kernel), int(view.config.get("depth_multiplier", 1))
    channels = channels_of(view, x.shape)
    taps: Axes = tuple((f"k{i}",) for i in range(count))
    free: Axes = ((),) * count
    sizes = {"o": multiplier} | {f"k{i}": size for i, size in enumerate(window.kernel)}
    if isinstance(channels, int):
        sizes["g"] = channels
    labels = Labels(
        image_axes(view, free, ("g",)),
        (*taps, ("g",), ("o",)),
        image_axes(view, free, ("g", "o")),
        sizes,
    )
    wide = channels * multiplier if isinstance(channels, int) else None
    space = space_of(view, x.shape)
    shape = image_shape(view, x.shape[0], window.result(space, view.builder.fresh_dim), wide)
    padded = is_padded(window, space)
    return product(
        view,
        x,
        labels,
        shape,
        role="kernel" if biased else "depthwise_kernel",
        bias=bias_slot(view, wide) if biased else None,
        bias_axis=channel_axis(view, len(shape)),
        shift_blocked=Reason.PADDING_SHIFT if padded else None,
        detail=PADS if padded else "",
        suffix="" if biased else "depthwise",
    )


def separable(view: View) -> Value:
    """SeparableConv1D/2D: two kernels."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(UNKNOWN, [x], None)
    deep = _depthwise(view, x, window_of(view.config, count), biased=False)
    ones = (1,) * count
    point = Window(ones, ones, ones, "valid")
    filters = int(view.config["filters"])
    return activate(
        view,
        _convolved(view, deep, point, 1, filters, role="pointwise_kernel", suffix="pointwise"),
    )


def transposed(view: View) -> Value:
    """Conv1D/2D/3DTranspose: kernel [*space, filters, in]."""
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(UNKNOWN, [x], None)
    window, filters = window_of(view.config, count), int(view.config["filters"])
    extra = view.config.get("output_padding")
    outs: Sequence[int | None] = (None,) * count if extra is None else tuple_of(extra, count)
    rows = [transposed_axis(window, axis, outs[axis]) for axis in range(count)]
    space = transposed_result(window, space_of(view, x.shape), rows, view.builder.fresh_dim)
    taps: Axes = tuple((f"k{i}",) for i in range(count))
    free: Axes = ((),) * count
    sizes = {"o": filters} | {f"k{i}": size for i, size in enumerate(window.kernel)}
    channels = channels_of(view, x.shape)
    if isinstance(channels, int):
        sizes["c"] = channels
    labels = Labels(
        image_axes(view, free, ("c",)),
        (*taps, ("o",), ("c",)),
        image_axes(view, free, ("o",)),
        sizes,
    )
    pointwise = {*window.kernel, *window.strides} == {1} and not any(any(row) for row in rows)
    shape = image_shape(view, x.shape[0], space, filters)
    out = product(
        view,
        x,
        labels,
        shape,
        bias=bias_slot(view, filters),
        bias_axis=channel_axis(view, len(shape)),
        shift_blocked=None if pointwise else Reason.PADDING_SHIFT,
        detail="" if pointwise else _BORDER,
    )
    return activate(view, out)


def multi_head(view: View) -> Value | list[Value]:
    """MultiHeadAttention: three projections, a weighted mean of the values, one projection."""
    config = view.config
    given = view.args[0:3] if len(view.args) > 1 else (view.args[0], view.kwargs.get("value"))
    query, content = given[0], given[1]
    key = view.kwargs.get("key") or (given[2] if len(given) > 2 else None) or content
    values = [one for one in (query, content, key) if isinstance(one, Value)]
    wants = view.kwargs.get("return_attention_scores")
    ranks = {one.rank for one in values}
    plain = len(values) == 3 and len(ranks) == 1 and (values[0].rank or 0) >= 3
    if not plain or config.get("use_gate") or wants:
        return view.ops(Opaque(), view.inputs, [None, None] if wants else [None])
    heads, size = int(config["num_heads"]), int(config["key_dim"])
    depth = int(config.get("value_dim") or size)
    q = _projection(view, "query", values[0], heads, size)
    k = _projection(view, "key", values[2], heads, size)
    v = _projection(view, "value", values[1], heads, depth)
    assert q.shape is not None
    steps = q.shape[1:-2]
    others = [one for one in view.inputs if one not in values]
    # Where nothing may be attended to, Keras 3 gives zeros instead of the mean of all.
    masked = bool(others) or any(one.masked for one in values)
    mixing = Commute(
        Keep(tuple(range(1, 1 + len(steps)))),
        shift_blocked=Reason.OPAQUE_OP if masked and view.generation == 3 else None,
        detail="where all is masked the attention is zero" if masked else "",
    )
    mixed = view.op(mixing, [v, q, k, *others], (*q.shape[:-2], heads, depth), suffix="mix")
    kernel = view.layer.weights.get("output/kernel")
    if kernel is None or len(kernel.shape) < 3:
        return view.op(Opaque(), [mixed], None)
    features = tuple((f"f{i}",) for i in range(len(kernel.shape) - 2))
    lead = _steps(steps)
    x: Axes = (*lead, ("h",), ("d",))
    w: Axes = (("h",), ("d",), *features)
    labels = Labels(x, w, (*lead, *features), sizes_of((w, kernel.shape)))
    bias = dataclasses.replace(view.slot("output/bias", use_bias=True), shape=kernel.shape[2:])
    used = bias if view.layer.weights.get("output/bias") is not None else None
    out = (*q.shape[:-2], *kernel.shape[2:])
    return product(view, mixed, labels, out, role="output/kernel", bias=used, suffix="output")


def _steps(steps: Sequence[Dim]) -> Axes:
    """Labels of the batch and of the axes between it and the features."""
    return ((), *((f"t{i}",) for i in range(len(steps))))


def _projection(view: View, part: str, x: Value, heads: int, size: int) -> Value:
    assert x.shape is not None
    lead = _steps(x.shape[1:-1])
    w: Axes = (("f",), ("h",), ("d",))
    sizes = sizes_of((w, (x.shape[-1], heads, size)))
    labels = Labels((*lead, ("f",)), w, (*lead, ("h",), ("d",)), sizes)
    slot = view.slot(f"{part}/bias")
    used = slot if view.layer.weights.get(slot.role) is not None else None
    shape = (*x.shape[:-1], heads, size)
    return product(view, x, labels, shape, role=f"{part}/kernel", bias=used, suffix=part)


def statistics_norm(view: View) -> Value:
    """LayerNormalization and GroupNormalization: gamma and beta take an affine behind them."""
    if view.config.get("rms_scaling"):
        return view.op(Opaque(Reason.ACTIVATION, _STATISTICS), [view.input], view.input.shape)
    return _standardized(view, "gamma", "beta")


def rms_norm(view: View) -> Value:
    """RMSNormalization: its scale takes a scale behind it."""
    return _standardized(view, "scale", "")


_STATISTICS = "it divides by statistics of its input"


def _standardized(view: View, gain: str, added: str) -> Value:
    """What is divided by its statistics, times an array, plus another if it has that role."""
    x = view.input
    if x.shape is None:
        return view.op(Opaque(Reason.ACTIVATION, _STATISTICS), [x], x.shape)
    rank = len(x.shape)
    axes = sorted(axes_of(view.config.get("axis", -1), rank))
    sizes = tuple(dim for axis in axes if isinstance(dim := x.shape[axis], int))
    if len(sizes) < len(axes):
        return view.op(Opaque(Reason.UNKNOWN_SHAPE, _STATISTICS), [x], x.shape)
    named: Axes = tuple((f"a{i}",) if i in axes else () for i in range(rank))
    w: Axes = tuple((f"a{i}",) for i in axes)
    slot = dataclasses.replace(view.slot(gain, scale=True), shape=sizes, fill=1.0)
    beta = dataclasses.replace(view.slot(added, center=True), shape=sizes) if added else None
    gamma, shift = view.operand(slot), view.operand(beta) if beta else None
    trailing = axes == list(range(rank - len(axes), rank))
    bias = Bias(2, shift is not None, axis=axes[0] if len(axes) == 1 else None)
    transfer = Contraction(
        Labels(((),) * rank, w, named, sizes_of((named, x.shape))),
        bias=bias if beta and (trailing or len(axes) == 1) else None,
        input_blocked=Reason.ACTIVATION,
        blocked_detail=_STATISTICS,
    )
    return view.op(transfer, [x, gamma, shift], x.shape, slots=[None, slot, beta])
