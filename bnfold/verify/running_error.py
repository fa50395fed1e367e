"""A rounding bound for every value of a small graph, computed beside the values.

Running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, section 3.3) with
the probabilistic gamma of `bounds` for contractions. Each op has one row that says how the error
of its input reaches its output and what its own rounding adds; an op without a row has no bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.bounds import gamma
from bnfold.verify.evaluate import Float64Model, NodeCall

Array = NDArray[Any]


class NoBoundError(Exception):
    """An op has no row; the text names it."""


@dataclass(frozen=True)
class _Step:
    """One op with what is known of it.

    Attributes:
        call: the node, its inputs and outputs in float64.
        errors: bound of each computed input's error, None where it is exact.
        u: unit roundoff of the run.
        rounded: whether the constants were rounded once themselves.
        constants: names of the constants.
    """

    call: NodeCall
    errors: tuple[Array | None, ...]
    u: float
    rounded: bool = False
    constants: frozenset[str] = frozenset()

    def error(self, index: int = 0) -> Array:
        """Bound of an input's error; zeros where it is exact."""
        found = self.errors[index] if index < len(self.errors) else None
        if found is not None:
            return found
        value = self.value(index)
        constant = self.rounded and self.call.input_names[index] in self.constants
        return self.u * np.abs(value) if constant else np.zeros_like(value)

    def value(self, index: int = 0) -> Array:
        """An input in float64."""
        return np.asarray(self.call.inputs[index])

    @property
    def out(self) -> Array:
        """The first output."""
        return np.asarray(self.call.outputs[0])

    def attribute(self, name: str, default: float) -> float:
        """A scalar attribute."""
        return float(self.call.attributes.get(name, default))


Row = Callable[[_Step], Array]

# Operations that an elementwise op of a runtime may round: polynomials, exponentials.
_TRANSCENDENTAL = 8.0


def _lipschitz(constant: float | Callable[[_Step], float], *, rounds: float = 1.0) -> Row:
    """|f(x + e) - f(x)| <= L |e|, plus the roundings of the function itself."""

    def row(step: _Step) -> Array:
        limit = constant(step) if callable(constant) else constant
        own = rounds * step.u * np.abs(step.out)
        if rounds > 1:
            own = own + rounds * step.u  # absolute: approximations near zero
        return np.asarray(limit * step.error() + own)

    return row


def _moves(step: _Step) -> Array:
    """The op rounds nothing: its errors move as its elements do."""
    moved = [
        value if error is None and (i > 0 or value.dtype.kind != "f") else step.error(i)
        for i, (value, error) in enumerate(zip(step.call.inputs, step.errors, strict=True))
        if value is not None
    ]
    sizes: Array = np.abs(np.asarray(step.call.evaluate(*moved)[0]))
    return sizes


def _concat(step: _Step) -> Array:
    errors = [step.error(i) for i in range(len(step.call.inputs))]
    return np.asarray(step.call.evaluate(*errors)[0])


def _pad(step: _Step) -> Array:
    """Padding adds exact values: a constant one has no error."""
    rest = list(step.call.inputs[1:])
    if len(rest) > 1 and rest[1] is not None:
        rest[1] = np.zeros_like(rest[1])
    return np.asarray(step.call.evaluate(step.error(), *rest)[0])


def _contraction(length: Callable[[_Step], int]) -> Row:
    """A product: |a| |b|' + |a|' |b| for errors ', and gamma(n + 2) (|a| |b| + |bias|)."""

    def row(step: _Step) -> Array:
        call = step.call
        a, b = (np.abs(step.value(i)) for i in range(2))
        a_error, b_error = (step.error(i) if step.errors[i] is not None else None for i in range(2))
        bias = [None if v is None else np.abs(v) for v in call.inputs[2:]]
        no_bias = [None if v is None else np.zeros_like(v) for v in bias]

        def product(left: Array, right: Array) -> Array:
            sizes: Array = np.abs(np.asarray(call.evaluate(left, right, *no_bias)[0]))
            return sizes

        size = product(a, b)
        if any(v is not None for v in bias):
            size = size + np.abs(call.evaluate(np.zeros_like(a), b, *bias)[0])
        reach = np.zeros_like(size)
        if a_error is not None:
            reach = reach + product(a_error, b)
        if b_error is not None:
            reach = reach + product(a if a_error is None else a + a_error, b_error)
        return np.asarray(reach + gamma(length(step) + 2, step.u) * size)

    return row


def _matmul_length(step: _Step) -> int:
    if step.attribute("transA", 0):
        return int(step.value().shape[0])
    return int(step.value().shape[-1])


def _conv_length(step: _Step) -> int:
    return int(step.value(1)[0].size)


def _transpose_length(step: _Step) -> int:
    kernel = step.value(1)
    return int(kernel[:, 0].size / max(1.0, step.attribute("group", 1)))


def _add(step: _Step) -> Array:
    return np.asarray(step.error(0) + step.error(1) + step.u * np.abs(step.out))


def _sum(step: _Step) -> Array:
    count = len(step.call.inputs)
    size = sum(np.abs(step.value(i)) for i in range(count))
    return np.asarray(sum(step.error(i) for i in range(count)) + count * step.u * np.asarray(size))


def _mul(step: _Step) -> Array:
    a, b, ea, eb = step.value(0), step.value(1), step.error(0), step.error(1)
    return np.asarray(np.abs(a) * eb + np.abs(b) * ea + ea * eb + step.u * np.abs(step.out))


def _div(step: _Step) -> Array:
    if step.errors[1] is not None:
        raise NoBoundError("Div by a computed value")
    divisor = np.abs(step.value(1))
    return np.asarray(step.error(0) / divisor + step.u * np.abs(step.out))


def _batch_normalization(step: _Step) -> Array:
    """s (x - mean) + bias with s = scale / sqrt(var + epsilon): six roundings."""
    x, (scale, bias, mean, var) = step.value(), (step.value(i) for i in range(1, 5))
    form = (-1, *([1] * (x.ndim - 2))) if mean.ndim == 1 else mean.shape
    factor = np.abs(scale) / np.sqrt(var + step.attribute("epsilon", 1e-5))
    factor, bias, mean = (np.abs(p).reshape(form) for p in (factor, bias, mean))
    size = factor * (np.abs(x) + mean) + bias
    return np.asarray(factor * step.error() + 6.0 * step.u * size)


def _average(length: Callable[[_Step], float]) -> Row:
    def row(step: _Step) -> Array:
        rest = step.call.inputs[1:]
        reach = np.abs(step.call.evaluate(step.error(), *rest)[0])
        size = np.abs(step.call.evaluate(np.abs(step.value()), *rest)[0])
        return np.asarray(reach + gamma(int(length(step)) + 2, step.u) * size)

    return row


def _reduced(step: _Step) -> float:
    return step.value().size / max(1, step.out.size)


def _window(step: _Step) -> float:
    return float(math.prod(step.call.attributes.get("kernel_shape", (1,))))


def _largest(step: _Step) -> Array:
    """A maximum moves by at most the largest error among its candidates."""
    return np.asarray(step.call.evaluate(step.error(), *step.call.inputs[1:])[0])


def _softmax(step: _Step) -> Array:
    """Relative change at most exp(2 max|e|) - 1, and its own roundings."""
    axis = int(step.attribute("axis", -1))
    top = step.error().max(axis=axis, keepdims=True)
    return np.asarray(
        np.abs(step.out) * (np.expm1(np.minimum(2 * top, 50.0)) + 16 * step.u) + 2 * step.u
    )


_KINKED: dict[str, Row] = {
    "Relu": _lipschitz(1.0),
    "LeakyRelu": _lipschitz(lambda s: max(1.0, abs(s.attribute("alpha", 0.01)))),
    "PRelu": _lipschitz(lambda s: max(1.0, float(np.abs(s.value(1)).max()))),
    "Clip": _lipschitz(1.0),
    "Abs": _lipschitz(1.0),
    "Neg": _lipschitz(1.0),
    "HardSigmoid": _lipschitz(lambda s: abs(s.attribute("alpha", 0.2)), rounds=3.0),
    "HardSwish": _lipschitz(1.5, rounds=4.0),
}
_SMOOTH: dict[str, Row] = {
    name: _lipschitz(limit, rounds=_TRANSCENDENTAL)
    for name, limit in {
        "Tanh": 1.0,
        "Sigmoid": 0.25,
        "Softplus": 1.0,
        "Softsign": 1.0,
        "Selu": 1.7581,
        "Mish": 1.0885,
        "Gelu": 1.13,
        "Erf": 1.1284,
        "Sin": 1.0,
        "Cos": 1.0,
        "Atan": 1.0,
    }.items()
}
_SMOOTH["Elu"] = _lipschitz(
    lambda s: max(1.0, abs(s.attribute("alpha", 1.0))), rounds=_TRANSCENDENTAL
)
_SMOOTH["Celu"] = _lipschitz(1.0, rounds=_TRANSCENDENTAL)

# fmt: off
_MOVES = (
    "Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "Slice", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth",
)
# fmt: on

ROWS: Mapping[str, Row] = {
    **_KINKED,
    **_SMOOTH,
    **dict.fromkeys(_MOVES, _moves),
    "Concat": _concat,
    "Pad": _pad,
    "Gemm": _contraction(_matmul_length),
    "MatMul": _contraction(_matmul_length),
    "Conv": _contraction(_conv_length),
    "ConvTranspose": _contraction(_transpose_length),
    "Add": _add,
    "Sub": _add,
    "Sum": _sum,
    "Mul": _mul,
    "Div": _div,
    "BatchNormalization": _batch_normalization,
    "AveragePool": _average(_window),
    "GlobalAveragePool": _average(_reduced),
    "ReduceMean": _average(_reduced),
    "ReduceSum": _average(_reduced),
    "MaxPool": _largest,
    "GlobalMaxPool": _largest,
    "ReduceMax": _largest,
    "Softmax": _softmax,
}


def error_bounds(
    model: Float64Model, feeds: Mapping[str, Array], u: float, *, rounded: bool = False
) -> dict[str, Array]:
    """Bound of |computed - exact| for each output of a small model run with unit roundoff `u`.

    With `rounded`, the exact model is the one before its constants were rounded once.

    The inputs are exact; each bound holds with the probability that `bounds.gamma` states.

    Raises:
        NoBoundError: if an op has no row, or nothing that it computes depends on the inputs.
        EvaluationError: if the model cannot be evaluated.
    """
    errors: dict[str, Array] = {}
    data = set(model.inputs)
    constants = frozenset(model.constant_names)

    def visit(call: NodeCall) -> None:
        if not any(name in data for name in call.input_names):
            return
        data.update(name for name in call.output_names if name)
        row = ROWS.get(call.op_type) if call.domain in ("", "ai.onnx") else None
        if row is None or len(call.outputs) > 1:
            raise NoBoundError(f"no rounding bound is known for {call.op_type}")
        given = tuple(errors.get(name) for name in call.input_names)
        errors[call.output_names[0]] = row(_Step(call, given, u, rounded, constants))

    model.run(feeds, visit=visit)
    fixed = [name for name in model.outputs if name not in errors]
    if fixed:
        raise NoBoundError(f"'{fixed[0]}' is the same for every input")
    return {name: errors[name] for name in model.outputs}
