"""RNN layers of Keras's own cells, as the recurrent layers that they stand for.

``RNN(LSTMCell(n))`` is an LSTM, and an RNN of stacked cells is one recurrent layer after the
other: what is known of LSTM, GRU and SimpleRNN holds for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from bnfold.formats.keras.graph import Layer
from bnfold.formats.keras.keys import key_of

_LAYER_OF: Mapping[str, str] = {"GRUCell": "GRU", "LSTMCell": "LSTM", "SimpleRNNCell": "SimpleRNN"}
# How many states a recurrent layer carries from step to step.
STATES: Mapping[str, int] = {
    "ConvLSTM1D": 2,
    "ConvLSTM2D": 2,
    "ConvLSTM3D": 2,
    "GRU": 1,
    "GRUV1": 1,
    "LSTM": 2,
    "LSTMV1": 2,
    "SimpleRNN": 1,
}
# Settings of an RNN that say how its cells are run.
_RUN = frozenset({"go_backwards", "return_sequences", "return_state", "stateful", "time_major"})
_RUN |= {"unroll", "zero_output_for_mask"}


@dataclass(frozen=True)
class Stage:
    """A recurrent layer among those that run one after the other.

    Attributes:
        layer: LSTM, GRU, SimpleRNN or ConvLSTM, with its arrays.
        attributes: where the outer layer keeps it: () where it is that layer itself.
        shared: ids of the layers on the way there.
    """

    layer: Layer
    attributes: tuple[str, ...] = ()
    shared: tuple[int | None, ...] = ()

    def key(self, outer: str) -> str:
        """The key of the layer that keeps the arrays."""
        key = outer
        for attribute, shared in zip(self.attributes, self.shared, strict=True):
            key = key_of(shared, f"{key}/.{attribute}")
        return key


def stages_of(layer: Layer) -> list[Stage] | None:
    """The recurrent layers that a layer stands for, in order; None where that is not known.

    All but the last give whole sequences.
    """
    if not layer.is_own:
        return None
    if layer.class_name in STATES:
        return [Stage(layer)]
    cell = layer.parts.get("cell")
    if layer.class_name != "RNN" or cell is None or layer.config.get("num_constants"):
        return None
    found = _cells(Stage(cell, ("cell",), (cell.shared,)))
    if found is None or any(_differs(layer, one.layer) for one in found):
        return None
    run = {name: layer.config[name] for name in _RUN if name in layer.config}
    last = len(found) - 1
    return [
        dataclasses.replace(one, layer=_as_layer(one.layer, run, whole=place < last))
        for place, one in enumerate(found)
    ]


def _cells(stage: Stage) -> list[Stage] | None:
    """The cells of a cell: itself, or those stacked in it."""
    if not stage.layer.is_own:
        return None
    if stage.layer.class_name in _LAYER_OF:
        return [stage]
    if stage.layer.class_name != "StackedRNNCells" or not stage.layer.parts:
        return None
    found: list[Stage] = []
    for name, part in stage.layer.parts.items():
        place = (*stage.attributes, name), (*stage.shared, part.shared)
        inner = _cells(Stage(part, *place))
        if inner is None:
            return None
        found += inner
    return found


def _differs(layer: Layer, cell: Layer) -> bool:
    """Whether the cell computes otherwise than the layer around it expects."""
    return cell.policy.compute != layer.policy.compute or bool(cell.policy.quantized)


def _as_layer(cell: Layer, run: Mapping[str, object], *, whole: bool) -> Layer:
    config = {**cell.config, **run}
    if whole:
        config["return_sequences"] = True
    return dataclasses.replace(cell, class_name=_LAYER_OF[cell.class_name], config=config)
