"""The table: which operators the float64 evaluation computes itself, and with what.

Everything else is onnx.reference's own. A row stands here because onnx.reference is wrong for some
opset or attribute, or visits elements in a Python loop; tests compare each with onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnfold.verify.reference_ops import conv, fused, other, pool, recurrent, resize
from bnfold.verify.reference_ops.call import Array, Call, Implementation

# Rows without an implementation: onnx.reference computes these in float32 whatever it is given, or
# otherwise than onnxruntime does, so the runtime itself is asked.
RUNTIME_ONLY = frozenset({("", "GridSample"), ("", "AffineGrid")})


def _binary(function: Callable[[Array, Array], Array]) -> Implementation:
    def run(call: Call) -> tuple[Array, ...]:
        return (np.asarray(function(call.array(0), other.legacy_broadcast(call))),)

    return run


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind in "iu":  # integer division truncates
        quotient = np.abs(a) // np.abs(b)
        return np.asarray(np.where((a < 0) ^ (b < 0), -quotient, quotient).astype(a.dtype))
    return np.asarray(a / b)


def _gather_elements(call: Call) -> tuple[Array, ...]:
    x, index = call.array(0), call.array(1)
    axis = int(call.get("axis", 0)) % x.ndim
    crop = tuple(slice(None) if a == axis else slice(0, n) for a, n in enumerate(index.shape))
    return (np.take_along_axis(x[crop], index, axis=axis),)


TABLE: dict[tuple[str, str], Implementation] = {
    ("", "Conv"): conv.conv,
    ("", "ConvTranspose"): conv.conv_transpose,
    ("", "MaxPool"): pool.max_pool,
    ("", "AveragePool"): pool.average_pool,
    ("", "GlobalLpPool"): pool.global_lp_pool,
    ("", "LpPool"): pool.lp_pool,
    ("", "GlobalMaxPool"): pool.global_max_pool,
    ("", "LSTM"): recurrent.lstm,
    ("", "GRU"): recurrent.gru,
    ("", "RNN"): recurrent.rnn,
    ("", "Resize"): resize.resize,
    ("", "Upsample"): resize.upsample,
    ("", "BatchNormalization"): other.batch_normalization,
    ("", "Softmax"): other.softmax,
    ("", "LogSoftmax"): other.log_softmax,
    ("", "Hardmax"): other.hardmax,
    ("", "LRN"): other.lrn,
    ("", "GroupNormalization"): other.group_normalization,
    ("", "MeanVarianceNormalization"): other.mean_variance_normalization,
    ("", "DequantizeLinear"): other.dequantize_linear,
    ("", "Pad"): other.pad,
    ("", "Dropout"): other.dropout,
    ("", "Add"): _binary(np.add),
    ("", "Sub"): _binary(np.subtract),
    ("", "Mul"): _binary(np.multiply),
    ("", "Div"): _binary(_divide),
    ("", "Erf"): lambda call: (fused.erf(call.array(0)),),
    ("", "GatherElements"): _gather_elements,
    ("", "Gelu"): fused.gelu,
    ("com.microsoft", "Gelu"): fused.gelu,
    ("com.microsoft", "BiasGelu"): fused.bias_gelu,
    ("com.microsoft", "FastGelu"): fused.fast_gelu,
    ("com.microsoft", "QuickGelu"): fused.quick_gelu,
    ("com.microsoft", "FusedMatMul"): fused.fused_matmul,
    ("com.microsoft", "FusedGemm"): fused.fused_gemm,
    ("com.microsoft", "FusedConv"): fused.fused_conv,
}


def attributes_given(node: Any) -> frozenset[str]:
    """Names of the attributes that a NodeProto itself carries."""
    return frozenset(attribute.name for attribute in node.attribute)
