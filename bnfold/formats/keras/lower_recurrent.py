"""Lowering rules: recurrent layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Axes, Labels
from bnfold.core.transfer import Bias, Contraction, Opaque
from bnfold.formats.keras.lower_linear import UNKNOWN, bias_slot, sizes_of
from bnfold.formats.keras.lower_view import Value, View

_GATES: Mapping[str, int] = {"LSTM": 4, "LSTMV1": 4, "GRU": 3, "GRUV1": 3, "SimpleRNN": 1}
_FEEDS_BACK = "the result feeds back into the next step"


def recurrent(view: View) -> Value | list[Value]:
    """LSTM, GRU, SimpleRNN: the input's kernel takes an affine of the data."""
    x = view.input
    y = _recurrent(view, x, view.inputs[1:])
    if not view.config.get("return_state"):
        return y
    units = int(view.config["units"])
    batch = None if x.shape is None else x.shape[0]
    count = 2 if view.layer.class_name.startswith("LSTM") else 1
    states = [
        view.op(Opaque(Reason.CROSSES_TIME, _FEEDS_BACK), [y], (batch, units), suffix="state")
        for _ in range(count)
    ]
    return [y, *states]


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


def bidirectional(view: View) -> Value | list[Value]:
    """Bidirectional: two recurrent layers read the same data."""
    x = view.input
    halves = []
    for attribute, title in (("forward_layer", "forward"), ("backward_layer", "backward")):
        part = view.layer.parts.get(attribute)
        if part is None or part.class_name not in _GATES:
            return view.op(Opaque(), view.inputs, None)
        inner = dataclasses.replace(view, layer=part, key=f"{view.key}/.{attribute}")
        halves.append(_recurrent(inner, x, (), title))
    shape = halves[0].shape
    forward = view.layer.parts["forward_layer"].config
    mode = view.config.get("merge_mode", "concat")
    why = Opaque(Reason.CROSSES_TIME, _FEEDS_BACK)
    if mode is None or forward.get("return_state") or len(view.inputs) > 1:
        # How many results there are depends on the layer; nothing passes any of them.
        states = 2 if str(view.layer.parts["forward_layer"].class_name).startswith("LSTM") else 1
        count = (2 if mode is None else 1) + 2 * states * bool(forward.get("return_state"))
        return view.ops(why, halves, [None] * count, suffix="merge")
    if shape is not None and mode == "concat":
        shape = (*shape[:-1], 2 * int(forward["units"]))
    return view.op(why, halves, shape, suffix="merge")
