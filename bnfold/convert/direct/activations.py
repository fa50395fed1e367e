"""Keras's activations as ONNX ops; formulas as in `keras.activations` of the same name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant, transpose, value
from bnfold.convert.direct.ops import cast, elementwise, reduce, scalar, softmax, split, unary
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain
from bnfold.formats.keras.read_config import parse_layer

Activation = Callable[[Site, Tensor], Tensor]


def _op(op: str, **attributes: float) -> Activation:
    """One ONNX op."""
    return lambda site, x: unary(site, op, x, attributes=attributes)


def linear(site: Site, x: Tensor) -> Tensor:
    """Nothing."""
    return x


def clip(site: Site, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """``min(max(x, low), high)``; None for no limit."""
    limits = [None if limit is None else site.number(limit, x.dtype) for limit in (low, high)]
    return unary(site, "Clip", x, *limits, name="Clip")


def relu6(site: Site, x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return clip(site, x, 0.0, 6.0)


def relu(
    site: Site, x: Tensor, slope: float = 0.0, high: float | None = None, threshold: float = 0.0
) -> Tensor:
    """Keras's relu: ``x`` from ``threshold`` to ``high``, ``slope * (x - threshold)`` below."""
    if threshold:
        return _thresholded_relu(site, x, slope, high, threshold)
    if slope:
        y = leaky_relu(site, x, slope)
        return y if high is None else clip(site, y, None, high)
    return unary(site, "Relu", x) if high is None else clip(site, x, 0.0, high)


def _thresholded_relu(
    site: Site, x: Tensor, slope: float, high: float | None, threshold: float
) -> Tensor:
    limit = scalar(site, threshold, x)
    above = elementwise(site, "GreaterOrEqual", x, limit, dtype="bool")
    below: Tensor = scalar(site, 0.0, x)
    if slope:
        shifted = elementwise(site, "Sub", x, limit)
        below = elementwise(site, "Mul", shifted, scalar(site, slope, x))
    y = elementwise(site, "Where", above, x, below, dtype=x.dtype)
    return y if high is None else elementwise(site, "Min", y, scalar(site, high, x))


def leaky_relu(site: Site, x: Tensor, slope: float = 0.2) -> Tensor:
    """``x`` above zero, ``slope * x`` below."""
    return unary(site, "LeakyRelu", x, attributes={"alpha": float(slope)})


def elu(site: Site, x: Tensor, alpha: float = 1.0) -> Tensor:
    """``x`` above zero, ``alpha * (exp(x) - 1)`` below."""
    return unary(site, "Elu", x, attributes={"alpha": float(alpha)})


def silu(site: Site, x: Tensor) -> Tensor:
    """``x * sigmoid(x)``, also called swish."""
    return elementwise(site, "Mul", x, unary(site, "Sigmoid", x))


def hard_sigmoid(site: Site, x: Tensor) -> Tensor:
    """Keras 3: ``relu6(x + 3) / 6``; Keras 2: ``0.2 * x + 0.5`` between 0 and 1."""
    alpha = 0.2 if site.generation == 2 else 1.0 / 6.0
    return unary(site, "HardSigmoid", x, attributes={"alpha": alpha, "beta": 0.5})


def hard_silu(site: Site, x: Tensor) -> Tensor:
    """``x * relu6(x + 3) / 6``."""
    gate = unary(site, "HardSigmoid", x, attributes={"alpha": 1.0 / 6.0, "beta": 0.5})
    return elementwise(site, "Mul", x, gate)


def gelu(site: Site, x: Tensor, approximate: bool = False) -> Tensor:
    """``x * Phi(x)`` with the normal distribution's Phi, or its approximation by tanh."""
    if site.opset >= 20:
        return unary(site, "Gelu", x, attributes={"approximate": "tanh" if approximate else "none"})
    if approximate:
        cube = elementwise(site, "Mul", elementwise(site, "Mul", x, x), x)
        inner = elementwise(site, "Mul", cube, scalar(site, 0.044715, x))
        inner = elementwise(site, "Add", x, inner)
        inner = elementwise(site, "Mul", inner, scalar(site, math.sqrt(2.0 / math.pi), x))
        gate = unary(site, "Tanh", inner)
    else:
        # In this order runtimes know the pattern.
        gate = unary(site, "Erf", elementwise(site, "Div", x, scalar(site, math.sqrt(2.0), x)))
    product = elementwise(site, "Mul", x, elementwise(site, "Add", gate, scalar(site, 1.0, x)))
    return elementwise(site, "Mul", product, scalar(site, 0.5, x))


def celu(site: Site, x: Tensor, alpha: float = 1.0) -> Tensor:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""
    if alpha == 1.0:
        return elu(site, x)
    low = elementwise(site, "Div", x, scalar(site, alpha, x))
    return elementwise(site, "Mul", elu(site, low), scalar(site, alpha, x))


def glu(site: Site, x: Tensor, axis: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    dim = x.shape[axis]
    if not isinstance(dim, int) or dim % 2:
        raise site.unsupported("splits an odd or unknown size into halves")
    left, right = split(site, x, [dim // 2, dim // 2], axis)
    return elementwise(site, "Mul", left, unary(site, "Sigmoid", right))


def log_sigmoid(site: Site, x: Tensor) -> Tensor:
    """``-softplus(-x)``."""
    return unary(site, "Neg", unary(site, "Softplus", unary(site, "Neg", x)))


def mish(site: Site, x: Tensor) -> Tensor:
    """``x * tanh(softplus(x))``."""
    return elementwise(site, "Mul", x, unary(site, "Tanh", unary(site, "Softplus", x)))


def squareplus(site: Site, x: Tensor, b: float = 4.0) -> Tensor:
    """``(x + sqrt(x^2 + b)) / 2``."""
    square = elementwise(site, "Add", elementwise(site, "Mul", x, x), scalar(site, b, x))
    total = elementwise(site, "Add", x, unary(site, "Sqrt", square))
    return elementwise(site, "Mul", total, scalar(site, 0.5, x))


def sparse_plus(site: Site, x: Tensor) -> Tensor:
    """0 up to -1, ``(x + 1)^2 / 4`` up to 1, ``x`` above."""
    raised = clip(site, elementwise(site, "Add", x, scalar(site, 1.0, x)), 0.0, None)
    middle = elementwise(
        site, "Mul", elementwise(site, "Mul", raised, raised), scalar(site, 0.25, x)
    )
    inside = elementwise(site, "Less", x, scalar(site, 1.0, x), dtype="bool")
    return elementwise(site, "Where", inside, middle, x, dtype=x.dtype)


def sparsemax(site: Site, x: Tensor, axis: int = -1) -> Tensor:
    """``max(x - tau, 0)``, with the threshold as Keras computes it.

    Keras adds all cumulative sums of the support where sparsemax takes the last one, so its
    results need not sum to 1.
    """
    dim = x.shape[axis]
    if not isinstance(dim, int):
        raise site.unsupported("takes the sparsemax over a size that is free")
    axis %= x.rank
    if axis != x.rank - 1:
        order = [one for one in range(x.rank) if one != axis] + [axis]
        y = sparsemax(site, transpose(site, x, order))
        return transpose(site, y, [order.index(one) for one in range(x.rank)])
    form = plain(x.rank)
    count = site.integers([dim], "count")
    outputs = [(x.dtype, x.shape), ("int64", x.shape)]
    made = site.nodes("TopK", [value(site, x, form), count], outputs, axis=axis)[0]
    last = site.constant(np.asarray(axis, dtype=np.int64), "axis")
    total = Tensor(x.shape, x.dtype, {form: site.node("CumSum", [made, last], (x.dtype, x.shape))})
    excess = elementwise(site, "Sub", total, scalar(site, 1.0, x))
    ranks = constant(np.arange(1, dim + 1).astype(site.number(0, x.dtype).dtype))
    # How many of the largest elements are above the threshold that they themselves give.
    limit = elementwise(site, "Div", excess, ranks)
    ordered = Tensor(x.shape, x.dtype, {form: made})
    supports = elementwise(site, "Greater", ordered, limit, dtype="bool")
    number = reduce(site, "ReduceSum", cast(site, supports, x.dtype), [axis], True)
    kept = elementwise(site, "Where", supports, total, scalar(site, 0.0, x), dtype=x.dtype)
    sums = reduce(site, "ReduceSum", kept, [axis], True)
    tau = elementwise(site, "Div", elementwise(site, "Sub", sums, scalar(site, 1.0, x)), number)
    return unary(site, "Relu", elementwise(site, "Sub", x, tau))


def tanh_shrink(site: Site, x: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    return elementwise(site, "Sub", x, unary(site, "Tanh", x))


ACTIVATIONS: Mapping[str, Activation] = {
    "celu": celu,
    "elu": elu,
    "exponential": _op("Exp"),
    "gelu": gelu,
    "glu": glu,
    "hard_shrink": _op("Shrink", lambd=0.5, bias=0.0),
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": lambda site, x: clip(site, x, -1.0, 1.0),
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": lambda site, x: softmax(site, x, -1, "LogSoftmax"),
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": _op("Selu"),
    "sigmoid": _op("Sigmoid"),
    "silu": silu,
    "soft_shrink": _op("Shrink", lambd=0.5, bias=0.5),
    "softmax": lambda site, x: softmax(site, x, -1),
    "softplus": _op("Softplus"),
    "softsign": _op("Softsign"),
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": _op("HardSigmoid", alpha=0.5, beta=0.5),
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "swish": silu,
    "tanh": _op("Tanh"),
    "tanh_shrink": tanh_shrink,
}


def activation_name(spec: Any) -> str | None:
    """The name that a config gives for an activation; None where it is a layer or custom."""
    if spec is None:
        return "linear"
    if isinstance(spec, dict) and spec.get("class_name") == "function":
        spec = spec.get("config")
    return spec if isinstance(spec, str) else None


def is_known_activation(spec: Any) -> bool:
    """Whether `activate` has a rule for it."""
    name = activation_name(spec)
    if name is None:
        return isinstance(spec, dict) and spec.get("class_name") in ACTIVATION_LAYERS
    return name in ACTIVATIONS


def activate(site: Site, x: Tensor, spec: Any) -> Tensor:
    """Apply what a config's "activation" says.

    Raises:
        UnsupportedLayerError: it is custom, or has no rule.
    """
    name = activation_name(spec)
    if name is None:
        if not is_known_activation(spec):
            raise site.unsupported("has an activation that is neither a name nor a known layer")
        layer = parse_layer(spec, site.generation)
        inner = Site(site.emitter, layer, site.path, (x,), {}, site.generation)
        return ACTIVATION_LAYERS[layer.class_name](inner)
    if name not in ACTIVATIONS:
        raise site.unsupported(f"has the activation {name!r}, for which there is no rule")
    return ACTIVATIONS[name](site, x)


def activation_layer(site: Site) -> Tensor:
    """Activation."""
    return activate(site, site.input, site.config.get("activation"))


def relu_layer(site: Site) -> Tensor:
    """ReLU."""
    config = site.config
    high = config.get("max_value")
    slope = _number(config.get("negative_slope")) or 0.0
    threshold = _number(config.get("threshold")) or 0.0
    return relu(site, site.input, slope, None if high is None else _number(high), threshold)


def _number(value: Any) -> float:
    """A number of a config; Keras 2 writes NumPy ones as {"type": "ndarray", "value": ...}."""
    if isinstance(value, dict):
        value = value.get("value", value.get("config"))
    if value is None:
        return 0.0
    return float(np.asarray(value).reshape(()))


def leaky_relu_layer(site: Site) -> Tensor:
    """LeakyReLU: Keras 2 calls the slope alpha."""
    slope = site.config.get("negative_slope", site.config.get("alpha", 0.3))
    return leaky_relu(site, site.input, _number(slope))


def elu_layer(site: Site) -> Tensor:
    """ELU."""
    return elu(site, site.input, _number(site.config.get("alpha", 1.0)))


def thresholded_relu_layer(site: Site) -> Tensor:
    """ThresholdedReLU of Keras 2: ``x`` above theta, else 0."""
    theta = _number(site.config.get("theta", 1.0))
    return unary(site, "ThresholdedRelu", site.input, attributes={"alpha": theta})


def prelu_layer(site: Site) -> Tensor:
    """PReLU: a slope per element, shared along some axes."""
    x = site.input
    shared = site.config.get("shared_axes") or ()
    shape = [dim if isinstance(dim, int) else None for dim in x.shape[1:]]
    for axis in shared:
        shape[int(axis) - 1] = 1
    return elementwise(site, "PRelu", x, constant(site.weight("alpha", shape)[None]))


def softmax_layer(site: Site) -> Tensor:
    """Softmax over one axis or several."""
    x = site.input
    axis = site.config.get("axis", -1)
    if isinstance(axis, (list, tuple)):
        if len(axis) != 1:
            raise site.unsupported("takes the softmax over several axes at once")
        axis = axis[0]
    if site.mask(x) is not None:
        raise site.unsupported("is masked")
    return softmax(site, x, int(axis))


ACTIVATION_LAYERS: Mapping[str, Callable[[Site], Tensor]] = {
    "Activation": activation_layer,
    "ELU": elu_layer,
    "LeakyReLU": leaky_relu_layer,
    "PReLU": prelu_layer,
    "ReLU": relu_layer,
    "Softmax": softmax_layer,
    "ThresholdedReLU": thresholded_relu_layer,
}
