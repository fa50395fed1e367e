"""Recurrent layers step by step, in an ONNX Scan.

At a step that does not count the states stay as they are, and the result is that of the step
before, or zero where the layer is told so. What can be computed for all steps at once stays
outside, where an affine in front of it can be folded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.emitter import Emitter, onnx_type
from bnfold.convert.direct.layout import unsqueeze, value
from bnfold.convert.direct.ops import elementwise, scalar
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Form, Shape, Tensor, permuted, plain
from bnfold.formats.keras.cells import STATES

# The site of the body, what has been computed of the step, and the states; gives the new states,
# of which the first is the step's result.
Advance = Callable[[Site, Tensor, list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Order:
    """How a sequence is gone through.

    Attributes:
        backwards: the last step is taken first.
        in_time: results stand at their steps; else in the order in which they were made.
    """

    backwards: bool = False
    in_time: bool = True


def time_first(form: Form) -> Form:
    """The form of a sequence whose steps [batch, ...] have ``form``: with time in front."""
    return Form((1, 0, *(axis + 1 for axis in form.perm[1:])))


def scan(
    site: Site,
    steps: Tensor,
    state: tuple[Shape, Form],
    advance: Advance,
    order: Order,
    *,
    given: Sequence[Tensor] = (),
    mask: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Run ``advance`` over all steps.

    Args:
        site: of the recurrent layer itself (in a Bidirectional: of one direction).
        steps: [batch, time, ...].
        state: shape [batch, ...] and form of a state; a step has the same form.
        order: which way to go.
        given: the initial states; zeros where there are none.
        mask: which steps count [batch, time].

    Returns:
        All results [batch, time, ...] or the last one [batch, ...], as the config asks, and the
        final states.
    """
    shape, form = state
    zeros = site.config.get("zero_output_for_mask")
    # What stands at a step that does not count is in no state: zero, or, before the first step
    # that counts, zero although a state was given.
    apart = mask is not None and bool(zeros or given)
    wants_all = bool(site.config.get("return_sequences"))
    count = STATES[site.layer.class_name]
    start = [value(site, one, form) for one in given]
    if not given or apart:
        zero = _zeros(site, steps, shape, form)
        start = (start or [zero] * count) + [zero] * apart
    scanned = [value(site, steps, time_first(form))]
    if mask is not None:
        wide = unsqueeze(site, mask, list(range(2, steps.rank)))
        scanned.append(value(site, wide, time_first(form)))
    whole: Shape = (shape[0], steps.shape[1], *shape[1:])
    outputs = [(steps.dtype, permuted(shape, form))] * len(start)
    outputs += [(steps.dtype, permuted(whole, time_first(form)))] * wants_all
    made = site.nodes(
        "Scan",
        [*start, *scanned],
        outputs,
        body=_body(site, steps, state, advance, mask is not None, apart),
        num_scan_inputs=len(scanned),
        scan_input_directions=[1] * len(scanned) if order.backwards else None,
        scan_output_directions=[1] if wants_all and order.backwards and order.in_time else None,
    )
    finals = [Tensor(shape, steps.dtype, {form: one}) for one in made[: len(start)]]
    if wants_all:
        return Tensor(whole, steps.dtype, {time_first(form): made[-1]}), finals[:count]
    return finals[-1 if apart else 0], finals[:count]


def _zeros(site: Site, steps: Tensor, shape: Shape, form: Form) -> ir.Value:
    """An initial state: zeros for every sample."""
    batch, rest = shape[0], permuted(shape, form)[1:]
    zero = site.number(0.0, steps.dtype).reshape(1)
    sizes = [dim for dim in rest if isinstance(dim, int)]
    if len(sizes) < len(rest):
        raise site.unsupported("has states whose size is free")
    if isinstance(batch, int):
        return site.constant(np.zeros((batch, *sizes), dtype=zero.dtype), "initial_state")
    layout = steps.form if not steps.form.flat else plain(steps.rank)
    whole = site.node("Shape", [value(site, steps, layout)], ("int64", (steps.rank,)))
    index = site.integers([layout.axis(0)], "batch_axis")
    size = site.node("Gather", [whole, index], ("int64", (1,)), axis=0)
    operand = site.node(
        "Concat", [size, site.integers(sizes, "sizes")], ("int64", (len(shape),)), axis=0
    )
    filler = ir.Tensor(zero, dtype=onnx_type(steps.dtype), name="zero")
    made = (steps.dtype, permuted(shape, form))
    return site.node("ConstantOfShape", [operand], made, value=filler)


def _body(
    site: Site,
    steps: Tensor,
    state: tuple[Shape, Form],
    advance: Advance,
    masked: bool,
    apart: bool,
) -> ir.Graph:
    """One step: states, what has been computed of it and the flag in; states and result out."""
    emitter = site.emitter.inner()
    inner = replace(site, emitter=emitter)
    (shape, form), dtype = state, steps.dtype
    count = STATES[site.layer.class_name] + apart
    carried = [_port(emitter, f"{site.path}/state_{i}", dtype, shape, form) for i in range(count)]
    step_shape = (steps.shape[0], *steps.shape[2:])
    ports = [*carried, _port(emitter, f"{site.path}/step", dtype, step_shape, form)]
    new = advance(inner, ports[-1], carried[: count - apart])
    if not masked:
        result = new[0]
    else:
        flag_shape = (shape[0], *(1 for _ in shape[1:]))
        flag = _port(emitter, f"{site.path}/counts", "bool", flag_shape, form)
        ports.append(flag)
        before = carried[-1]
        if site.config.get("zero_output_for_mask"):
            before = scalar(inner, 0.0, before)
        kept = [_where(inner, flag, *pair) for pair in zip(new, carried, strict=False)]
        result = _where(inner, flag, new[0], before) if apart else kept[0]
        new = [*kept, result] if apart else kept
    wants_all = site.config.get("return_sequences")
    ends = [_end(inner, one, form) for one in ([*new, result] if wants_all else new)]
    return ir.Graph(
        [next(iter(one.forms.values())) for one in ports],
        ends,
        nodes=emitter.nodes,
        name=site.emitter.unique(f"{site.path}/body"),
    )


def _where(site: Site, flag: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return elementwise(site, "Where", flag, one, other, dtype=one.dtype)


def _port(emitter: Emitter, name: str, dtype: str, shape: Shape, form: Form) -> Tensor:
    made = ir.Value(
        name=emitter.unique(name),
        type=ir.TensorType(onnx_type(dtype)),
        shape=ir.Shape(permuted(shape, form)),
    )
    return Tensor(shape, dtype, {form: made})


def _end(site: Site, tensor: Tensor, form: Form) -> ir.Value:
    """An output of the body; each must be a value of its own."""
    made = (tensor.dtype, permuted(tensor.shape, form))
    return site.node("Identity", [value(site, tensor, form)], made)
