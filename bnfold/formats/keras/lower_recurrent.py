"""Lowering rules: recurrent layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Shape
from bnfold.core.transfer import Bias, Contraction, Opaque
from bnfold.formats.keras.cells import STATES, stages_of
from bnfold.formats.keras.geometry import spatial_count, window_of
from bnfold.formats.keras.keys import key_of
from bnfold.formats.keras.lower_linear import (
    PADS,
    UNKNOWN,
    bias_slot,
    channels_of,
    image_axes,
    image_shape,
    is_padded,
    sizes_of,
    space_of,
)
from bnfold.formats.keras.lower_view import Value, View

_GATES: Mapping[str, int] = {"LSTM": 4, "LSTMV1": 4, "GRU": 3, "GRUV1": 3, "SimpleRNN": 1}
_FEEDS_BACK = "the result feeds back into the next step"


def recurrent(view: View) -> Value | list[Value]:
    """LSTM, GRU, SimpleRNN, ConvLSTM, RNN: the input's kernel takes an affine of the data."""
    results = _chain(view, view.inputs[1:])
    if results is None:
        return view.opaque(None)
    y, states = results
    return [y, *states] if view.config.get("return_state") else y


def _chain(
    view: View, states: Sequence[Value], suffix: str = ""
) -> tuple[Value, list[Value]] | None:
    """The result and the final states of the recurrent layers that a layer stands for.

    None where it is not known what it does.
    """
    stages = stages_of(view.layer)
    if stages is None:
        return None
    x, finals = view.input, list[Value]()
    for stage in stages:
        inner = dataclasses.replace(view, layer=stage.layer, key=stage.key(view.key))
        run = _convolutional if stage.layer.class_name in _CONVOLUTIONAL else _recurrent
        x = run(inner, x, states, suffix)
        if view.config.get("return_state"):
            finals += _finals(inner, x, suffix)
    return x, finals


def _finals(view: View, y: Value, suffix: str) -> list[Value]:
    shape = y.shape
    if shape is not None and view.config.get("return_sequences"):
        shape = (shape[0], *shape[2:])
    name = f"{suffix}_state" if suffix else "state"
    why = Opaque(Reason.CROSSES_TIME, _FEEDS_BACK)
    count = STATES[view.layer.class_name]
    return [view.op(why, [y], shape, suffix=name) for _ in range(count)]


def _recurrent(view: View, x: Value, states: Sequence[Value], suffix: str = "") -> Value:
    config = view.config
    units, gates = int(config["units"]), _GATES[view.layer.class_name]
    width = gates * units
    slot = view.slot("kernel")
    kernel = view.operand(slot)
    if x.shape is None or len(x.shape) != 3 or kernel is None:
        return view.op(UNKNOWN, [x, *states], None, suffix=suffix)
    split = gates == 3 and config.get("reset_after", view.generation == 3)
    bias = bias_slot(view, width, 0 if split else None)
    if split:
        bias = dataclasses.replace(bias, shape=(2, width))
    added = view.operand(bias)
    w: Axes = (("i",), ("h",))
    labels = Labels(((), (), ("i",)), w, (("h",),), sizes_of((w, (x.shape[2], width))))
    transfer = Contraction(
        labels,
        bias=Bias(2, added is not None),
        output_blocked=Reason.CROSSES_TIME,
        blocked_detail=_FEEDS_BACK,
    )
    whole = config.get("return_sequences")
    shape = (x.shape[0], x.shape[1], units) if whole else (x.shape[0], units)
    return view.op(
        transfer, [x, kernel, added, *states], shape, slots=[None, slot, bias], suffix=suffix
    )


_CONVOLUTIONAL = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})


def _convolutional(view: View, x: Value, states: Sequence[Value], suffix: str = "") -> Value:
    """ConvLSTM: the input's convolution takes an affine of the channels."""
    config, count = view.config, spatial_count(view.layer.class_name)
    slot = view.slot("kernel")
    kernel = view.operand(slot)
    if x.shape is None or len(x.shape) != count + 3 or kernel is None:
        return view.op(UNKNOWN, [x, *states], None, suffix=suffix)
    batch, time, *rest = x.shape
    image: Shape = (batch, *rest)
    filters, window = int(config["filters"]), window_of(config, count)
    bias = bias_slot(view, 4 * filters)
    added = view.operand(bias)
    taps: Axes = tuple((f"k{i}",) for i in range(count))
    channels: Axes = image_axes(view, ((),) * count, ("c",))
    w: Axes = (*taps, ("c",), ("h",))
    sizes = sizes_of((w, (*window.kernel, channels_of(view, image), 4 * filters)))
    padded = is_padded(window, space_of(view, image))
    transfer = Contraction(
        Labels(((), *channels), w, (("h",),), sizes),
        bias=Bias(2, added is not None),
        shift_blocked=Reason.PADDING_SHIFT if padded else None,
        output_blocked=Reason.CROSSES_TIME,
        blocked_detail=f"{PADS}, and {_FEEDS_BACK}" if padded else _FEEDS_BACK,
    )
    space = window.result(space_of(view, image), view.builder.fresh_dim)
    shape = image_shape(view, batch, space, filters)
    if config.get("return_sequences"):
        shape = (batch, time, *shape[1:])
    slots = [None, slot, bias]
    return view.op(transfer, [x, kernel, added, *states], shape, slots=slots, suffix=suffix)


def bidirectional(view: View) -> Value | list[Value]:
    """Bidirectional: two recurrent layers read the same data."""
    halves, finals = list[Value](), list[Value]()
    given = view.inputs[1:]
    half = len(given) // 2
    for attribute, title, states in (
        ("forward_layer", "forward", given[:half]),
        ("backward_layer", "backward", given[half:]),
    ):
        part = view.layer.parts.get(attribute)
        key = "" if part is None else key_of(part.shared, f"{view.key}/.{attribute}")
        inner = None if part is None else dataclasses.replace(view, layer=part, key=key)
        results = None if inner is None else _chain(inner, states, title)
        if results is None:
            return view.op(Opaque(), view.inputs, None)
        halves.append(results[0])
        finals += results[1]
    return [*_merged(view, halves), *finals]


def _merged(view: View, halves: Sequence[Value]) -> list[Value]:
    """The results of both directions, as the layer merges them."""
    shape, mode = halves[0].shape, view.config.get("merge_mode", "concat")
    if mode is None:
        return list(halves)
    last = None if shape is None else shape[-1]
    if shape is not None and mode == "concat":
        shape = (*shape[:-1], 2 * last if isinstance(last, int) else None)
    return [view.op(Opaque(Reason.CROSSES_TIME, _FEEDS_BACK), halves, shape, suffix="merge")]
