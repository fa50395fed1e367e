"""Recurrent layers that ONNX's own ops cannot run: masked ones, those of other activations.

The product with the input's kernel stays outside the loop, for all steps at once, where an affine
in front of it can be folded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.dense import last_axis_product
from bnfold.convert.direct.layout import constant
from bnfold.convert.direct.ops import elementwise, matmul, scalar, slices
from bnfold.convert.direct.scan import Order, scan
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain
from bnfold.formats.keras.graph import AnyArray

_GATES = {"LSTM": 4, "LSTMV1": 4, "GRU": 3, "GRUV1": 3, "SimpleRNN": 1}


@dataclass(frozen=True)
class Weights:
    """Keras's arrays of a cell: input kernel, its bias, recurrent kernel, its bias."""

    kernel: AnyArray
    bias: AnyArray | None
    recurrent: AnyArray
    recurrent_bias: AnyArray | None


def stepwise(
    site: Site, x: Tensor, mask: Tensor | None, states: Sequence[Tensor], order: Order
) -> tuple[Tensor, list[Tensor]]:
    """What the config asks for, all results or the last one, and the final states.

    Args:
        site: of the recurrent layer itself (in a Bidirectional: of one direction).
        x, mask: the sequence, and which of its steps count; None for all.
        states: the initial ones; none for zeros.
        order: which way to go.
    """
    units, cell = int(site.config["units"]), _CELLS[site.layer.class_name]
    weights = _weights(site, x, units)
    projected = last_axis_product(site, x, weights.kernel, weights.bias, "kernel")

    def advance(inner: Site, step: Tensor, before: list[Tensor]) -> list[Tensor]:
        return cell(inner, step, before, weights, units)

    state = (x.shape[0], units), plain(2)
    return scan(site, projected, state, advance, order, given=states, mask=mask)


def _weights(site: Site, x: Tensor, units: int) -> Weights:
    name, width = site.layer.class_name, _GATES[site.layer.class_name] * units
    features = x.shape[2] if isinstance(x.shape[2], int) else None
    kernel = site.weight("kernel", (features, width))
    recurrent = site.weight("recurrent_kernel", (units, width))
    if not site.config.get("use_bias", True):
        return Weights(kernel, None, recurrent, None)
    if name.startswith("GRU") and site.config.get("reset_after", site.generation == 3):
        both = site.weight("bias", (2, width))
        return Weights(kernel, both[0], recurrent, both[1])
    return Weights(kernel, site.weight("bias", (width,)), recurrent, None)


def _recurrent(site: Site, state: Tensor, kernel: AnyArray, bias: AnyArray | None) -> Tensor:
    y = matmul(site, state, constant(kernel), "Recurrent")
    return y if bias is None else elementwise(site, "Add", y, constant(bias))


def _gate(site: Site, x: Tensor, index: int, units: int) -> Tensor:
    return slices(site, x, {1: (index * units, (index + 1) * units, 1)})


def _inner(site: Site, x: Tensor) -> Tensor:
    return activate(site, x, site.config.get("recurrent_activation", "sigmoid"))


def _outer(site: Site, x: Tensor) -> Tensor:
    return activate(site, x, site.config.get("activation", "tanh"))


def _simple(site: Site, x: Tensor, states: list[Tensor], w: Weights, units: int) -> list[Tensor]:
    total = elementwise(site, "Add", x, _recurrent(site, states[0], w.recurrent, None))
    return [_outer(site, total)]


def _lstm(site: Site, x: Tensor, states: list[Tensor], w: Weights, units: int) -> list[Tensor]:
    total = elementwise(site, "Add", x, _recurrent(site, states[0], w.recurrent, None))
    gates = [_gate(site, total, index, units) for index in range(4)]
    return lstm_states(site, gates, states[1])


def lstm_states(site: Site, gates: Sequence[Tensor], before: Tensor) -> list[Tensor]:
    """An LSTM's new result and memory, from the sums of its gates i, f, c, o."""
    i, f, c, o = gates
    kept = elementwise(site, "Mul", _inner(site, f), before)
    cell = elementwise(
        site, "Add", kept, elementwise(site, "Mul", _inner(site, i), _outer(site, c))
    )
    return [elementwise(site, "Mul", _inner(site, o), _outer(site, cell)), cell]


def _gru(site: Site, x: Tensor, states: list[Tensor], w: Weights, units: int) -> list[Tensor]:
    state = states[0]
    if site.config.get("reset_after", site.generation == 3):
        inner = _recurrent(site, state, w.recurrent, w.recurrent_bias)
        z, r = (_inner(site, _both(site, x, inner, index, units)) for index in range(2))
        reset = elementwise(site, "Mul", r, _gate(site, inner, 2, units))
    else:
        inner = _recurrent(site, state, w.recurrent[:, : 2 * units], None)
        z, r = (_inner(site, _both(site, x, inner, index, units)) for index in range(2))
        gated = elementwise(site, "Mul", r, state)
        reset = _recurrent(site, gated, w.recurrent[:, 2 * units :], None)
    new = _outer(site, elementwise(site, "Add", _gate(site, x, 2, units), reset))
    one = scalar(site, 1.0, z)
    fresh = elementwise(site, "Mul", elementwise(site, "Sub", one, z), new)
    return [elementwise(site, "Add", elementwise(site, "Mul", z, state), fresh)]


def _both(site: Site, x: Tensor, inner: Tensor, index: int, units: int) -> Tensor:
    return elementwise(site, "Add", _gate(site, x, index, units), _gate(site, inner, index, units))


_Cell = Callable[[Site, Tensor, list[Tensor], Weights, int], list[Tensor]]
_CELLS: dict[str, _Cell] = {
    "GRU": _gru,
    "GRUV1": _gru,
    "LSTM": _lstm,
    "LSTMV1": _lstm,
    "SimpleRNN": _simple,
}
