"""LSTM, GRU and SimpleRNN as ONNX's recurrent ops, Bidirectional as one op of both directions.

ONNX has time first and Keras the batch; a chain of recurrent layers stays time first throughout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.activations import activation_name
from bnfold.convert.direct.layout import squeeze, unsqueeze, value
from bnfold.convert.direct.masked_rnn import scanned
from bnfold.convert.direct.ops import concat, reduce, slices
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Form, Tensor, permuted, plain
from bnfold.formats.keras.graph import AnyArray

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
    """LSTM, GRU, SimpleRNN; with states where the config asks for them."""
    x, states = _arguments(site)
    backwards = bool(site.config.get("go_backwards"))
    mask = site.mask(x, 2)
    if mask is not None:
        return _masked(site, x, mask, states, backwards)
    one = _direction(site, x)
    outputs = _emit(site, x, [one], "reverse" if backwards else "forward", states)
    sequence, finals = outputs
    if site.config.get("return_sequences"):
        y = squeeze(site, sequence, [1])
        if backwards:
            # Keras gives the steps in the order in which they were computed.
            y = slices(site, y, {1: (None, None, -1)})
    else:
        y = squeeze(site, finals[0], [1])
    if not site.config.get("return_state"):
        return y
    return [y, *(squeeze(site, final, [1]) for final in finals)]


def _masked(
    site: Site, x: Tensor, mask: Tensor, states: Sequence[Tensor], backwards: bool
) -> Tensor | list[Tensor]:
    if states:
        raise site.unsupported("is masked and given an initial state")
    steps, finals = scanned(site, x, mask, backwards=backwards, in_time_order=False)
    if site.config.get("return_sequences"):
        y = steps
        y.mask = mask
    elif site.config.get("zero_output_for_mask"):
        y = squeeze(site, slices(site, steps, {1: (-1, None, 1)}), [1])
    else:
        y = finals[0]
    return [y, *finals] if site.config.get("return_state") else y


def _masked_pair(site: Site, x: Tensor, mask: Tensor, inner: Sequence[Site]) -> Tensor:
    """Both directions over a masked sequence; only the commonest way of merging them."""
    forward = inner[0].config
    if site.config.get("merge_mode", "concat") != "concat" or forward.get("return_state"):
        raise site.unsupported("is masked and merges its directions in an unusual way")
    whole = bool(forward.get("return_sequences"))
    halves = []
    for one, backwards in zip(inner, (False, True), strict=True):
        # A Bidirectional has its layers give zeros for masked steps of sequences.
        layer = dataclasses.replace(one.layer, config={**one.config, "zero_output_for_mask": whole})
        part = dataclasses.replace(one, layer=layer)
        steps, finals = scanned(part, x, mask, backwards=backwards, in_time_order=True)
        halves.append(steps if whole else finals[0])
    y = concat(site, halves, -1)
    y.mask = mask if whole else None
    return y


def bidirectional(site: Site) -> Tensor | list[Tensor]:
    """Bidirectional: both directions in one op, then merged."""
    x, states = _arguments(site)
    parts = site.layer.parts
    inner = [
        Site(site.emitter, parts[name], site.path, (), {}, site.generation)
        for name in ("forward_layer", "backward_layer")
    ]
    mask = site.mask(x, 2)
    if mask is not None and not states:
        return _masked_pair(site, x, mask, inner)
    forward, backward = (_direction(one, x) for one in inner)
    same = forward.kind == backward.kind and forward.units == backward.units
    settings = [_settings(one.site) for one in (forward, backward)]
    if not same or settings[0] != settings[1] or (forward.b is None) != (backward.b is None):
        raise site.unsupported("has two directions of different kinds")
    flags = [bool(one.site.config.get("go_backwards")) for one in (forward, backward)]
    if flags != [False, True]:
        raise site.unsupported("has directions that do not run against each other")
    if states:
        raise site.unsupported("is given an initial state")
    sequence, finals = _emit(site, x, [forward, backward], "bidirectional", [])
    source = sequence if forward.site.config.get("return_sequences") else finals[0]
    merged = _merge(site, source)
    if not forward.site.config.get("return_state"):
        return merged
    ends = [
        squeeze(site, slices(site, final, {1: cut}), [1]) for cut in _HALVES for final in finals
    ]
    return [*(merged if isinstance(merged, list) else [merged]), *ends]


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
    first = site.args[0] if site.args else site.argument(0, "sequences")
    states = site.argument(1, "initial_state")
    if isinstance(first, (list, tuple)):
        first, states = first[0], list(first[1:])
    if isinstance(states, Tensor):
        states = [states]
    if not isinstance(first, Tensor) or first.rank != 3:
        raise site.unsupported("is called with something else than one sequence")
    if site.config.get("stateful"):
        raise site.unsupported("keeps its state between calls")
    if site.config.get("time_major"):
        raise site.unsupported("has time first")
    return first, [state for state in (states or []) if isinstance(state, Tensor)]


def _settings(site: Site) -> tuple[Any, ...]:
    config = site.config
    keys = ("return_sequences", "return_state", "reset_after", _PLAIN, _RECURRENT)
    return tuple(str(config.get(key)) for key in keys)


def _direction(site: Site, x: Tensor) -> _Direction:
    kind = _KINDS.get(site.layer.class_name)
    if kind is None:
        raise site.unsupported("is no recurrent layer with a rule")
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
    if states and len(states) != kind.states:
        raise site.unsupported(f"is given {len(states)} states where it has {kind.states}")
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
    defaults = {_RECURRENT: "sigmoid", _PLAIN: "tanh"}
    for key in kind.activations:
        name = activation_name(site.config.get(key, defaults[key])) or "?"
        row = _ACTIVATIONS.get(name)
        if row is None:
            raise site.unsupported(f"has the activation {name!r} in its cell")
        title, alpha, beta = row
        if name == "hard_sigmoid" and site.generation == 2:
            alpha = 0.2
        names.append(title)
        if alpha is not None:
            alphas.append(alpha)
        if beta is not None:
            betas.append(beta)
    usual = ["Sigmoid", "Tanh", "Tanh"][: len(names)] if len(names) > 1 else ["Tanh"]
    return (None if names == usual else names), alphas, betas
