"""Recurrent layers over masked sequences, step by step in an ONNX Scan.

At a step that does not count the states stay as they are, and the result is that of the step
before, or zero where the layer is told so. The product with the input's kernel stays outside, for
all steps at once, where an affine in front of it can be folded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.dense import last_axis_product
from bnfold.convert.direct.emitter import Emitter, onnx_type
from bnfold.convert.direct.layout import constant, unsqueeze, value
from bnfold.convert.direct.ops import elementwise, matmul, scalar, slices
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Form, Shape, Tensor, plain
from bnfold.formats.keras.graph import AnyArray

_TIME_FIRST = Form((1, 0, 2))
_STATES = {"LSTM": 2, "LSTMV1": 2, "GRU": 1, "GRUV1": 1, "SimpleRNN": 1}
_GATES = {"LSTM": 4, "LSTMV1": 4, "GRU": 3, "GRUV1": 3, "SimpleRNN": 1}


@dataclass(frozen=True)
class Weights:
    """Keras's arrays of a cell: input kernel, its bias, recurrent kernel, its bias."""

    kernel: AnyArray
    bias: AnyArray | None
    recurrent: AnyArray
    recurrent_bias: AnyArray | None


def scanned(
    site: Site, x: Tensor, mask: Tensor, *, backwards: bool, in_time_order: bool
) -> tuple[Tensor, list[Tensor]]:
    """The results of all steps [batch, time, units] and the final states.

    Args:
        site: of the recurrent layer itself (in a Bidirectional: of one direction).
        x, mask: the sequence, and which of its steps count.
        backwards: the last step is taken first.
        in_time_order: results stand at their steps; else in the order in which they were made.
    """
    units, name = int(site.config["units"]), site.layer.class_name
    weights = _weights(site, x, units)
    projected = last_axis_product(site, x, weights.kernel, weights.bias, "kernel")
    count = _STATES[name]
    body, state_shape = _body(site, projected, weights, units, count)
    batch, time = x.shape[0], x.shape[1]
    start = _zeros(site, x, units)
    flags = unsqueeze(site, mask, [2])
    outputs = [(x.dtype, state_shape)] * count + [(x.dtype, (time, batch, units))]
    made = site.nodes(
        "Scan",
        [start] * count + [value(site, projected, _TIME_FIRST), value(site, flags, _TIME_FIRST)],
        outputs,
        body=body,
        num_scan_inputs=2,
        scan_input_directions=[1, 1] if backwards else None,
        scan_output_directions=[1] if backwards and in_time_order else None,
    )
    steps = Tensor((batch, time, units), x.dtype, {_TIME_FIRST: made[-1]})
    finals = [Tensor(state_shape, x.dtype, {plain(2): one}) for one in made[:-1]]
    return steps, finals


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


def _zeros(site: Site, x: Tensor, units: int) -> ir.Value:
    """Initial states: zeros for every sample."""
    batch = x.shape[0]
    zero = site.number(0.0, x.dtype).reshape(1)
    if isinstance(batch, int):
        return site.constant(np.zeros((batch, units), dtype=zero.dtype), "initial_state")
    form = x.form if not x.form.flat else plain(x.rank)
    whole = site.node("Shape", [value(site, x, form)], ("int64", (x.rank,)))
    index = site.integers([form.axis(0)], "batch_axis")
    size = site.node("Gather", [whole, index], ("int64", (1,)), axis=0)
    shape = site.node("Concat", [size, site.integers([units], "units")], ("int64", (2,)), axis=0)
    filler = ir.Tensor(zero, dtype=onnx_type(x.dtype), name="zero")
    return site.node("ConstantOfShape", [shape], (x.dtype, (batch, units)), value=filler)


def _body(
    site: Site, projected: Tensor, weights: Weights, units: int, count: int
) -> tuple[ir.Graph, Shape]:
    """One step: states, projected input and flag in; states and result out."""
    emitter = site.emitter.inner()
    inner = replace(site, emitter=emitter)
    batch, dtype = projected.shape[0], projected.dtype
    shape: Shape = (batch, units)
    states = [_port(emitter, f"{site.path}/state_{i}", dtype, shape) for i in range(count)]
    step = _port(emitter, f"{site.path}/step", dtype, (batch, projected.shape[2]))
    flag = _port(emitter, f"{site.path}/counts", "bool", (batch, 1))
    new = _CELLS[site.layer.class_name](inner, step, states, weights, units)
    kept = [
        elementwise(inner, "Where", flag, now, before, dtype=dtype)
        for now, before in zip(new, states, strict=True)
    ]
    result = kept[0]
    if site.config.get("zero_output_for_mask"):
        nothing = scalar(inner, 0.0, result)
        result = elementwise(inner, "Where", flag, new[0], nothing, dtype=dtype)
    ends = [_end(inner, one) for one in (*kept, result)]
    ports = [*states, step, flag]
    graph = ir.Graph(
        [next(iter(one.forms.values())) for one in ports],
        ends,
        nodes=emitter.nodes,
        name=site.emitter.unique(f"{site.path}/body"),
    )
    return graph, shape


def _port(emitter: Emitter, name: str, dtype: str, shape: Shape) -> Tensor:
    made = ir.Value(
        name=emitter.unique(name), type=ir.TensorType(onnx_type(dtype)), shape=ir.Shape(shape)
    )
    return Tensor(shape, dtype, {plain(len(shape)): made})


def _end(site: Site, tensor: Tensor) -> ir.Value:
    """An output of the body; each must be a value of its own."""
    return site.node("Identity", [value(site, tensor)], (tensor.dtype, tensor.shape))


def _recurrent(site: Site, state: Tensor, kernel: AnyArray, bias: AnyArray | None) -> Tensor:
    y = matmul(site, state, constant(kernel), "Recurrent")
    return y if bias is None else elementwise(site, "Add", y, constant(bias))


def _gate(x: Tensor, site: Site, index: int, units: int) -> Tensor:
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
    i, f, c, o = (_gate(total, site, index, units) for index in range(4))
    kept = elementwise(site, "Mul", _inner(site, f), states[1])
    cell = elementwise(
        site, "Add", kept, elementwise(site, "Mul", _inner(site, i), _outer(site, c))
    )
    return [elementwise(site, "Mul", _inner(site, o), _outer(site, cell)), cell]


def _gru(site: Site, x: Tensor, states: list[Tensor], w: Weights, units: int) -> list[Tensor]:
    state = states[0]
    if site.config.get("reset_after", site.generation == 3):
        inner = _recurrent(site, state, w.recurrent, w.recurrent_bias)
        z, r = (_inner(site, _both(site, x, inner, index, units)) for index in range(2))
        reset = elementwise(site, "Mul", r, _gate(inner, site, 2, units))
    else:
        inner = _recurrent(site, state, w.recurrent[:, : 2 * units], None)
        z, r = (_inner(site, _both(site, x, inner, index, units)) for index in range(2))
        gated = elementwise(site, "Mul", r, state)
        reset = _recurrent(site, gated, w.recurrent[:, 2 * units :], None)
    new = _outer(site, elementwise(site, "Add", _gate(x, site, 2, units), reset))
    one = scalar(site, 1.0, z)
    fresh = elementwise(site, "Mul", elementwise(site, "Sub", one, z), new)
    return [elementwise(site, "Add", elementwise(site, "Mul", z, state), fresh)]


def _both(site: Site, x: Tensor, inner: Tensor, index: int, units: int) -> Tensor:
    return elementwise(site, "Add", _gate(x, site, index, units), _gate(inner, site, index, units))


_CELLS: dict[str, Any] = {
    "GRU": _gru,
    "GRUV1": _gru,
    "LSTM": _lstm,
    "LSTMV1": _lstm,
    "SimpleRNN": _simple,
}
