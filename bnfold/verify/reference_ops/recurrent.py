"""RNN, GRU and LSTM with everything the ONNX schema says: lengths, clip, activations, layouts.

onnx.reference ignores sequence_lens, clip, activations and input_forget without a word.
Gate orders: LSTM i, o, f, c; GRU z, r, h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call

Activation = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


# name -> (default alpha, default beta, function)
_ACTIVATIONS: dict[str, tuple[float, float, Callable[[Array, float, float], Array]]] = {
    "relu": (0.0, 0.0, lambda x, a, b: np.maximum(x, 0)),
    "tanh": (0.0, 0.0, lambda x, a, b: np.tanh(x)),
    "sigmoid": (0.0, 0.0, lambda x, a, b: _sigmoid(x)),
    "affine": (1.0, 0.0, lambda x, a, b: a * x + b),
    "leakyrelu": (0.01, 0.0, lambda x, a, b: np.where(x >= 0, x, a * x)),
    "thresholdedrelu": (1.0, 0.0, lambda x, a, b: np.where(x > a, x, 0.0)),
    "scaledtanh": (1.0, 1.0, lambda x, a, b: a * np.tanh(b * x)),
    "hardsigmoid": (0.2, 0.5, lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "elu": (1.0, 0.0, lambda x, a, b: np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0)))),
    "softsign": (0.0, 0.0, lambda x, a, b: x / (1 + np.abs(x))),
    "softplus": (0.0, 0.0, lambda x, a, b: np.logaddexp(0.0, x)),
}
_TAKES_ALPHA = {
    "affine",
    "leakyrelu",
    "thresholdedrelu",
    "scaledtanh",
    "hardsigmoid",
    "elu",
}
_TAKES_BETA = {"affine", "scaledtanh", "hardsigmoid"}


@dataclass(frozen=True)
class _Direction:
    """The arrays of one direction: x [T, N, I], w [G*H, I], r [G*H, H], b [2*G*H], h, c [N, H]."""

    x: Array
    w: Array
    r: Array
    b: Array
    p: Array
    h: Array
    c: Array
    functions: tuple[Activation, ...]


def _functions(call: Call, defaults: tuple[str, ...], directions: int) -> list[Activation]:
    """The activation functions of all directions; alpha and beta are taken in order of need.

    The clip applies to the gates but not to an LSTM's third function, as onnxruntime has it.
    """
    names = [n.lower() for n in (call.get("activations") or list(defaults) * directions)]
    alphas = iter([float(v) for v in (call.get("activation_alpha") or [])])
    betas = iter([float(v) for v in (call.get("activation_beta") or [])])
    clip, each = call.get("clip"), len(defaults)
    found: list[Activation] = []
    for name in names:
        if name not in _ACTIVATIONS:
            raise NotImplementedError(f"activation {name}")
        alpha, beta, function = _ACTIVATIONS[name]
        alpha = next(alphas, alpha) if name in _TAKES_ALPHA else alpha
        beta = next(betas, beta) if name in _TAKES_BETA else beta
        clipped = clip is not None and len(found) % each < 2
        found.append(_bound(function, alpha, beta, float(clip) if clipped else None))
    return found


def _bound(
    function: Callable[[Array, float, float], Array],
    alpha: float,
    beta: float,
    clip: float | None,
) -> Activation:
    def apply(x: Array) -> Array:
        return function(x if clip is None else np.clip(x, -clip, clip), alpha, beta)

    return apply


def _directions(call: Call, gates: int, defaults: tuple[str, ...]) -> Iterator[_Direction]:
    w, r = call.array(1), call.array(2)
    many, hidden = w.shape[0], r.shape[-1]
    x = _time_first(call, call.array(0))
    zeros = np.zeros((many, x.shape[1], hidden))
    b, p = call.optional(3), call.optional(7)
    h, c = call.optional(5), call.optional(6)
    b = np.zeros((many, 2 * gates * hidden)) if b is None else b
    p = np.zeros((many, 3 * hidden)) if p is None else p
    h = zeros if h is None else _time_first(call, h)
    c = zeros if c is None else _time_first(call, c)
    functions = _functions(call, defaults, many)
    each = len(functions) // many
    for d in range(many):
        yield _Direction(
            x, w[d], r[d], b[d], p[d], h[d], c[d], tuple(functions[d * each : (d + 1) * each])
        )


def _time_first(call: Call, x: Array) -> Array:
    return np.swapaxes(x, 0, 1) if call.get("layout", 0) else x


Step = Callable[[_Direction, Array, Array, Array], tuple[Array, Array]]


def _run(call: Call, gates: int, defaults: tuple[str, ...], step: Step) -> list[Array]:
    """Y [T, D, N, H], Y_h and Y_c [D, N, H]; rows beyond a sequence's length are zero."""
    ys, hs, cs = [], [], []
    way = call.get("direction", "forward")
    for index, d in enumerate(_directions(call, gates, defaults)):
        lengths = call.optional(4)
        steps, batch = d.x.shape[:2]
        lengths = np.full(batch, steps) if lengths is None else lengths
        backward = way == "reverse" or index == 1
        y = np.zeros((steps, *d.h.shape))
        h, c = d.h, d.c
        rows = np.arange(batch)
        for t in range(steps):
            alive = (t < lengths)[:, None]
            at = np.where(t < lengths, lengths - 1 - t if backward else t, 0)
            new_h, new_c = step(d, d.x[at, rows], h, c)
            h, c = np.where(alive, new_h, h), np.where(alive, new_c, c)
            y[at, rows] = np.where(alive, new_h, y[at, rows])
        ys.append(y)
        hs.append(h)
        cs.append(c)
    results = [np.stack(ys, axis=1), np.stack(hs), np.stack(cs)]
    if call.get("layout", 0):
        results = [results[0].transpose(2, 0, 1, 3)] + [part.swapaxes(0, 1) for part in results[1:]]
    return results


def _lstm_step(forget: bool) -> Step:
    def step(d: _Direction, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g, last = d.functions
        wb, rb = np.split(d.b, 2)
        i_in, o_in, f_in, c_in = np.split(x @ d.w.T + h @ d.r.T + wb + rb, 4, axis=-1)
        p_i, p_o, p_f = np.split(d.p, 3)
        i_gate = f(i_in + p_i * c)
        f_gate = 1.0 - i_gate if forget else f(f_in + p_f * c)
        new_c = f_gate * c + i_gate * g(c_in)
        return f(o_in + p_o * new_c) * last(new_c), new_c

    return step


def _gru_step(linear: bool) -> Step:
    def step(d: _Direction, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        f, g = d.functions
        wb, rb = np.split(d.b, 2)
        w_z, w_r, w_h = np.split(x @ d.w.T + wb, 3, axis=-1)
        size = h.shape[-1]
        r_zr = h @ d.r[: 2 * size].T + rb[: 2 * size]
        z, r = f(w_z + r_zr[:, :size]), f(w_r + r_zr[:, size:])
        r_h, rb_h = d.r[2 * size :], rb[2 * size :]
        inner = r * (h @ r_h.T + rb_h) if linear else (r * h) @ r_h.T + rb_h
        return (1.0 - z) * g(w_h + inner) + z * h, c

    return step


def _rnn_step(d: _Direction, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    wb, rb = np.split(d.b, 2)
    return d.functions[0](x @ d.w.T + h @ d.r.T + wb + rb), c


def lstm(call: Call) -> tuple[Array, ...]:
    """LSTM: Y, Y_h, Y_c."""
    step = _lstm_step(bool(call.get("input_forget", 0)))
    return tuple(_run(call, 4, ("Sigmoid", "Tanh", "Tanh"), step)[: call.outputs])


def gru(call: Call) -> tuple[Array, ...]:
    """GRU: Y, Y_h."""
    step = _gru_step(bool(call.get("linear_before_reset", 0)))
    return tuple(_run(call, 3, ("Sigmoid", "Tanh"), step)[: call.outputs])


def rnn(call: Call) -> tuple[Array, ...]:
    """RNN: Y, Y_h."""
    return tuple(_run(call, 1, ("Tanh",), _rnn_step)[: call.outputs])
