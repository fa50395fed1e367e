"""LSTM, GRU and SimpleRNN as ONNX's recurrent ops, Bidirectional as one op of both directions.

ONNX has time first and Keras the batch; a chain of recurrent layers stays time first throughout.
What ONNX has no op for runs step by step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.activations import activation_name
from bnfold.convert.direct.conv_lstm import CONVOLUTIONAL, conv_lstm
from bnfold.convert.direct.layout import squeeze, unsqueeze, value
from bnfold.convert.direct.ops import concat, elementwise, reduce, scalar, slices
from bnfold.convert.direct.scan import Order
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.stepwise import stepwise
from bnfold.convert.direct.tensor import Form, Tensor, permuted, plain
from bnfold.formats.keras.cells import STATES, stages_of
from bnfold.formats.keras.graph import AnyArray, Layer

_TIME_FIRST = Form((1, 0, 2))


@dataclass(frozen=True)
class _Kind:
    """A recurrent cell.

    Attributes:
        op: ONNX's name.
        gates: how many kernels stand side by side in Keras's arrays.
        order: Keras's number of each of ONNX's gates.
        states: how many states it carries.
        activations: the configs' keys of ONNX's activations, in ONNX's order.
    """

    op: str
    gates: int
    order: tuple[int, ...]
    states: int
    activations: tuple[str, ...]


_RECURRENT, _PLAIN = "recurrent_activation", "activation"

# Keras: LSTM i f c o, GRU z r h. ONNX: LSTM i o f c, GRU z r h.
_KINDS = {
    "LSTM": _Kind("LSTM", 4, (0, 3, 1, 2), 2, (_RECURRENT, _PLAIN, _PLAIN)),
    "GRU": _Kind("GRU", 3, (0, 1, 2), 1, (_RECURRENT, _PLAIN)),
    "SimpleRNN": _Kind("RNN", 1, (0,), 1, (_PLAIN,)),
}
_KINDS |= {"LSTMV1": _KINDS["LSTM"], "GRUV1": _KINDS["GRU"]}

# ONNX's name, alpha, beta.
_ACTIVATIONS: Mapping[str, tuple[str, float | None, float | None]] = {
    "elu": ("Elu", 1.0, None),
    "hard_sigmoid": ("HardSigmoid", 1.0 / 6.0, 0.5),
    "leaky_relu": ("LeakyRelu", 0.2, None),
    "linear": ("Affine", 1.0, 0.0),
    "relu": ("Relu", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "softplus": ("Softplus", None, None),
    "softsign": ("Softsign", None, None),
    "tanh": ("Tanh", None, None),
}


@dataclass(frozen=True)
class _Direction:
    """The operands of one direction: W, R, B of ONNX without their first axis, and its site."""

    site: Site
    kind: _Kind
    w: AnyArray
    r: AnyArray
    b: AnyArray | None
    units: int


def recurrent(site: Site) -> Tensor | list[Tensor]:
    """LSTM, GRU, SimpleRNN, ConvLSTM, RNN; with states where the config asks for them."""
    x, states = _arguments(site)
    order = Order(bool(site.config.get("go_backwards")), in_time=False)
    y, finals = _directed(site, x, _mask(site, x, states), states, order)
    y.mask = site.mask(x, 2) if site.config.get("return_sequences") else None
    return [y, *finals] if site.config.get("return_state") else y


def _mask(site: Site, x: Tensor, states: Sequence[Tensor]) -> Tensor | None:
    """Which steps count. What a value carries is lost on a Keras 3 layer that is given states."""
    mask = site.mask(x, 2)
    if states and site.generation == 3:
        mask = site.argument_mask("mask", None)
    if mask is not None and mask.rank != 2:
        raise site.unsupported("is masked along other axes than time")
    return mask


def _directed(
    site: Site, x: Tensor, mask: Tensor | None, states: Sequence[Tensor], order: Order
) -> tuple[Tensor, list[Tensor]]:
    """One direction of a recurrent layer: its cells one after the other.

    Returns:
        All results or the last one, as the config asks, and the final states.
    """
    stages = _stages(site)
    count = sum(STATES[stage.class_name] for stage in stages)
    if states and len(states) != count:
        raise site.unsupported(f"is given {len(states)} states where it has {count}")
    rest, finals, last = list(states), list[Tensor](), stages[-1]
    for stage in stages:
        path = site.path if len(stages) == 1 else f"{site.path}/{stage.name}"
        inner = dataclasses.replace(site, layer=stage, path=path)
        given, rest = rest[: STATES[stage.class_name]], rest[STATES[stage.class_name] :]
        # All but the last go on in the order of time.
        here = order if stage is last else Order(order.backwards)
        x, ends = _run(inner, x, mask, given, here)
        finals += ends
    return x, finals


def _stages(site: Site) -> list[Layer]:
    stages = stages_of(site.layer)
    if stages is None:
        raise site.unsupported("has a cell that is not one of Keras's own")
    if site.config.get("stateful"):
        raise site.unsupported("keeps its state between calls")
    if site.config.get("time_major"):
        raise site.unsupported("has time first")
    return [stage.layer for stage in stages]


def _run(
    site: Site, x: Tensor, mask: Tensor | None, states: Sequence[Tensor], order: Order
) -> tuple[Tensor, list[Tensor]]:
    """One recurrent layer in one direction."""
    config = site.config
    zeros = config.get("zero_output_for_mask") and config.get("return_sequences")
    if mask is not None and zeros and order.backwards and config.get("unroll"):
        # Keras takes the mask from the wrong end here.
        raise site.unsupported("is masked, unrolled, runs backwards and gives zeros")
    if site.layer.class_name in CONVOLUTIONAL:
        return conv_lstm(site, x, mask, states, order)
    if mask is not None or not _has_op(site):
        return stepwise(site, x, mask, states, order)
    direction = "reverse" if order.backwards else "forward"
    sequence, finals = _emit(site, x, [_direction(site, x)], direction, states)
    ends = [squeeze(site, one, [1]) for one in finals]
    if not site.config.get("return_sequences"):
        return ends[0], ends
    y = squeeze(site, sequence, [1])
    if order.backwards and not order.in_time:
        # Keras gives the steps in the order in which they were computed.
        y = slices(site, y, {1: (None, None, -1)})
    return y, ends


def bidirectional(site: Site) -> Tensor | list[Tensor]:
    """Bidirectional: both directions in one op where there is one, then merged."""
    x, states = _arguments(site)
    parts = site.layer.parts
    inner = [
        Site(site.emitter, parts[name], site.path, (), {}, site.generation)
        for name in ("forward_layer", "backward_layer")
    ]
    if [bool(one.config.get("go_backwards")) for one in inner] != [False, True]:
        raise site.unsupported("has directions that do not run against each other")
    mask = _mask(site, x, states)
    forward, backward = (_single(one) for one in inner)
    if mask is not None or states or not forward or not backward or _differ(forward, backward):
        return _apart(site, x, mask, states, inner)
    directions = [_direction(one, x) for one in (forward, backward)]
    sequence, finals = _emit(site, x, directions, "bidirectional", [])
    source = sequence if forward.config.get("return_sequences") else finals[0]
    merged = _merge(site, source)
    if not forward.config.get("return_state"):
        return merged
    ends = [
        squeeze(site, slices(site, final, {1: cut}), [1]) for cut in _HALVES for final in finals
    ]
    return [*(merged if isinstance(merged, list) else [merged]), *ends]


def _single(site: Site) -> Site | None:
    """The site of the one layer that ONNX has an op for; None where it is not one."""
    stages = _stages(site)
    one = dataclasses.replace(site, layer=stages[0])
    return one if len(stages) == 1 and stages[0].class_name in _KINDS and _has_op(one) else None


def _differ(one: Site, other: Site) -> bool:
    """Whether two directions cannot be one op."""
    keys = {"units", "use_bias", "return_sequences", "return_state", "reset_after"}
    keys |= {_PLAIN, _RECURRENT}
    same = _KINDS[one.layer.class_name] == _KINDS[other.layer.class_name]
    return not same or any(str(one.config.get(k)) != str(other.config.get(k)) for k in keys)


def _apart(
    site: Site, x: Tensor, mask: Tensor | None, states: Sequence[Tensor], inner: Sequence[Site]
) -> Tensor | list[Tensor]:
    """Each direction for itself."""
    whole = bool(inner[0].config.get("return_sequences"))
    half = len(states) // 2
    results, finals = list[Tensor](), list[Tensor]()
    for one, given in zip(inner, (states[:half], states[half:]), strict=True):
        # A Bidirectional has its layers give zeros for masked steps of sequences.
        layer = dataclasses.replace(one.layer, config={**one.config, "zero_output_for_mask": whole})
        backwards = bool(one.config.get("go_backwards"))
        part = dataclasses.replace(one, layer=layer, path=f"{site.path}/{layer.name}")
        y, ends = _directed(part, x, mask, given, Order(backwards))
        results.append(y)
        finals += ends
    merged = _merge_two(site, results)
    for y in merged:
        y.mask = site.mask(x, 2) if whole else None
    if inner[0].config.get("return_state"):
        return [*merged, *finals]
    return merged if len(merged) > 1 else merged[0]


_TOGETHER = {"sum": "Add", "ave": "Add", "mul": "Mul"}


def _merge_two(site: Site, results: list[Tensor]) -> list[Tensor]:
    mode = site.config.get("merge_mode", "concat")
    if mode is None:
        return results
    if mode == "concat":
        return [concat(site, results, -1)]
    if mode not in _TOGETHER:
        raise site.unsupported(f"merges its directions by {mode!r}")
    y = elementwise(site, _TOGETHER[mode], *results)
    return [elementwise(site, "Mul", y, scalar(site, 0.5, y)) if mode == "ave" else y]


_HALVES = ((0, 1, 1), (1, 2, 1))


def _merge(site: Site, source: Tensor) -> Tensor | list[Tensor]:
    """Both directions of [batch, directions, (time,) units] as the config wants them."""
    mode = site.config.get("merge_mode", "concat")
    if mode == "concat":
        return _side_by_side(site, source)
    if mode == "sum":
        return reduce(site, "ReduceSum", source, [1], False)
    if mode == "ave":
        return reduce(site, "ReduceMean", source, [1], False)
    if mode == "mul":
        return reduce(site, "ReduceProd", source, [1], False)
    if mode is None:
        return [squeeze(site, slices(site, source, {1: cut}), [1]) for cut in _HALVES]
    raise site.unsupported(f"merges its directions by {mode!r}")


def _side_by_side(site: Site, source: Tensor) -> Tensor:
    """Directions and units as one axis, the last; time stays first."""
    lead = [axis for axis in source.form.perm if axis not in (1, source.rank - 1)]
    beside = Form((*lead, 1, source.rank - 1))
    units = source.shape[-1]
    shape = (source.shape[0], *source.shape[2:-1], 2 * units if isinstance(units, int) else None)
    after = Form((1, 0, 2)) if source.rank == 4 else plain(2)
    operand = site.integers([*(0 for _ in lead), -1], "shape")
    made = site.node(
        "Reshape", [value(site, source, beside), operand], (source.dtype, permuted(shape, after))
    )
    return Tensor(shape, source.dtype, {after: made})


def _arguments(site: Site) -> tuple[Tensor, list[Tensor]]:
    """The sequence and the initial states, which Keras nests where cells are stacked."""
    first = site.args[0] if site.args else site.argument(0, "sequences")
    states: Any = site.argument(1, "initial_state")
    if isinstance(first, (list, tuple)):
        first, states = first[0], list(first[1:])
    if not isinstance(first, Tensor) or first.rank < 3:
        raise site.unsupported("is called with something else than one sequence")
    return first, list(_flat(states))


def _flat(structure: Any) -> Iterator[Tensor]:
    if isinstance(structure, Tensor):
        yield structure
    elif isinstance(structure, (list, tuple)):
        for one in structure:
            yield from _flat(one)


def _has_op(site: Site) -> bool:
    """Whether ONNX's op knows the activations of the cell."""
    kind = _KINDS[site.layer.class_name]
    return all(_name_in(site, key) in _ACTIVATIONS for key in kind.activations)


_DEFAULTS = {_RECURRENT: "sigmoid", _PLAIN: "tanh"}


def _name_in(site: Site, key: str) -> str:
    return activation_name(site.config.get(key, _DEFAULTS[key])) or ""


def _direction(site: Site, x: Tensor) -> _Direction:
    kind = _KINDS[site.layer.class_name]
    features, units = x.shape[2], int(site.config["units"])
    if not isinstance(features, int):
        raise site.unsupported("is given a sequence whose number of features is free")
    width = kind.gates * units
    kernel = site.weight("kernel", (features, width))
    inner = site.weight("recurrent_kernel", (units, width))
    bias = None
    if site.config.get("use_bias", True):
        bias = _bias(site, kind, units)
    return _Direction(
        site, kind, _gates(kernel.T, kind, units), _gates(inner.T, kind, units), bias, units
    )


def _gates(array: AnyArray, kind: _Kind, units: int) -> AnyArray:
    """Blocks of rows in ONNX's order of gates."""
    blocks = array.reshape(kind.gates, units, *array.shape[1:])
    return blocks[list(kind.order)].reshape(array.shape)


def _bias(site: Site, kind: _Kind, units: int) -> AnyArray:
    """ONNX's [Wb, Rb]: Keras has the second only in a GRU that resets after the product."""
    width = kind.gates * units
    if kind.op == "GRU" and site.config.get("reset_after", site.generation == 3):
        stored = site.weight("bias", (2, width))
        parts = [_gates(row, kind, units) for row in stored]
    else:
        stored = site.weight("bias", (width,))
        parts = [_gates(stored, kind, units), np.zeros_like(stored)]
    return np.concatenate(parts)


def _emit(
    site: Site,
    x: Tensor,
    directions: Sequence[_Direction],
    direction: str,
    states: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The ONNX op: its sequence [batch, directions, time, units] and final states."""
    first = directions[0]
    kind, units, count = first.kind, first.units, len(directions)
    names, alphas, betas = _activations(first.site, kind)
    operands: list[ir.Value | None] = [
        value(site, x, _TIME_FIRST),
        site.constant(np.stack([one.w for one in directions]), "W"),
        site.constant(np.stack([one.r for one in directions]), "R"),
    ]
    biases = [one.b for one in directions if one.b is not None]
    operands.append(site.constant(np.stack(biases), "B") if biases else None)
    operands.append(None)
    operands += [value(site, unsqueeze(site, state, [0]), plain(3)) for state in states]
    batch, time = x.shape[0], x.shape[1]
    shape = (batch, count, time, units)
    form = Form((2, 1, 0, 3))
    final_shape, final_form = (batch, count, units), Form((1, 0, 2))
    wants_sequence = bool(first.site.config.get("return_sequences"))
    outputs = [(x.dtype, permuted(shape, form)) if wants_sequence else None]
    outputs += [(x.dtype, permuted(final_shape, final_form))] * kind.states
    if wants_sequence and not first.site.config.get("return_state"):
        outputs = outputs[:1]
    extra: dict[str, Any] = {}
    if kind.op == "GRU":
        reset_after = first.site.config.get("reset_after", site.generation == 3)
        extra["linear_before_reset"] = int(bool(reset_after))
    made = site.nodes(
        kind.op,
        operands,
        outputs,
        hidden_size=units,
        direction=direction if direction != "forward" else None,
        activations=names * count if names is not None else None,
        activation_alpha=alphas * count if alphas else None,
        activation_beta=betas * count if betas else None,
        **extra,
    )
    sequence = Tensor(shape, x.dtype, {form: made[0]} if wants_sequence else {})
    finals = [Tensor(final_shape, x.dtype, {final_form: one}) for one in made[1:]]
    return sequence, finals


def _activations(site: Site, kind: _Kind) -> tuple[list[str] | None, list[float], list[float]]:
    """ONNX's names and parameters; None for its defaults."""
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for key in kind.activations:
        name = _name_in(site, key)
        title, alpha, beta = _ACTIVATIONS[name]
        if name == "hard_sigmoid" and site.generation == 2:
            alpha = 0.2
        names.append(title)
        if alpha is not None:
            alphas.append(alpha)
        if beta is not None:
            betas.append(beta)
    usual = ["Sigmoid", "Tanh", "Tanh"][: len(names)] if len(names) > 1 else ["Tanh"]
    return (None if names == usual else names), alphas, betas
