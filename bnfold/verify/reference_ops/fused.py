"""onnxruntime's own ops that its optimizer writes into files: the plain ops, one after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bnfold.verify.reference_ops import conv
from bnfold.verify.reference_ops.call import Array, Call


def erf(x: Array) -> Array:
    """The error function in float64."""
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def gelu(call: Call) -> tuple[Array, ...]:
    """Gelu, exact or by tanh."""
    return (_gelu(call.array(0), call.get("approximate", "none") == "tanh"),)


def _gelu(x: Array, fast: bool) -> Array:
    if fast:
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2.0))))


def bias_gelu(call: Call) -> tuple[Array, ...]:
    """BiasGelu: exact Gelu of X + B."""
    return (_gelu(call.array(0) + call.array(1), fast=False),)


def fast_gelu(call: Call) -> tuple[Array, ...]:
    """FastGelu: Gelu by tanh of X, or of X + B."""
    bias = call.optional(1)
    return (_gelu(call.array(0) if bias is None else call.array(0) + bias, fast=True),)


def quick_gelu(call: Call) -> tuple[Array, ...]:
    """QuickGelu: x sigmoid(alpha x)."""
    x = call.array(0)
    return (x * sigmoid(float(call.get("alpha", 1.702)) * x),)


def fused_matmul(call: Call) -> tuple[Array, ...]:
    """FusedMatMul: alpha times the product of the transposed operands."""
    a, b = call.array(0), call.array(1)
    if call.get("transBatchA", 0) or call.get("transBatchB", 0):
        raise NotImplementedError("FusedMatMul with transposed batches")
    a = a.swapaxes(-1, -2) if call.get("transA", 0) else a
    b = b.swapaxes(-1, -2) if call.get("transB", 0) else b
    return (float(call.get("alpha", 1.0)) * np.matmul(a, b),)


def fused_gemm(call: Call) -> tuple[Array, ...]:
    """FusedGemm: Gemm and an activation."""
    a, b, c = call.array(0), call.array(1), call.optional(2)
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    y = float(call.get("alpha", 1.0)) * (a @ b)
    if c is not None:
        y = y + float(call.get("beta", 1.0)) * c
    settings = tuple(
        float(call.attributes[f"activation_{name}"])
        for name in ("alpha", "beta", "gamma")
        if call.get(f"activation_{name}") is not None
    )
    return (_activate(y, call.get("activation", ""), settings),)


def fused_conv(call: Call) -> tuple[Array, ...]:
    """FusedConv: Conv, the sum with a fourth input, and an activation."""
    (y,) = conv.conv(replace(call, inputs=call.inputs[:3]))
    added = call.optional(3)
    y = y if added is None else y + added
    settings = tuple(float(v) for v in call.get("activation_params", ()))
    return (_activate(y, call.get("activation", ""), settings),)


_Settings = tuple[float, ...]
_ACTIVATIONS: dict[str, Callable[[Array, _Settings], Array]] = {
    "": lambda x, s: x,
    "Relu": lambda x, s: np.maximum(x, 0),
    "Tanh": lambda x, s: np.tanh(x),
    "Sigmoid": lambda x, s: sigmoid(x),
    "LeakyRelu": lambda x, s: np.where(x >= 0, x, (s[0] if s else 0.01) * x),
    "Clip": lambda x, s: np.clip(x, s[0], s[1]),
    "HardSigmoid": lambda x, s: np.clip(s[0] * x + s[1], 0, 1),
    "Elu": lambda x, s: np.where(x >= 0, x, (s[0] if s else 1.0) * np.expm1(np.minimum(x, 0))),
}


def _activate(x: Array, name: str, settings: _Settings) -> Array:
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"activation {name}")
    return np.asarray(_ACTIVATIONS[name](x, settings))
