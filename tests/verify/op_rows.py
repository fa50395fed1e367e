"""Calls of every operator that the float64 evaluation takes on itself, and of many it does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

Array = NDArray[Any]
_RNG = np.random.default_rng(7)


@dataclass(frozen=True)
class Row:
    """One call of one op.

    Attributes:
        op: its type.
        inputs: arrays, None where left out.
        opset: version of its domain.
        outputs: how many are asked for.
        domain: "" for ONNX's own.
        attributes: by name.
        smooth: whether the outputs follow small changes of floating-point inputs.
    """

    op: str
    inputs: tuple[Array | None, ...]
    opset: int = 17
    outputs: int = 1
    domain: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True

    def __str__(self) -> str:
        shapes = ",".join("-" if x is None else "x".join(map(str, x.shape)) for x in self.inputs)
        settings = ",".join(f"{k}={v}" for k, v in self.attributes.items()).replace(" ", "")
        return f"{self.op}-{self.opset}({shapes}){settings}"


def f(*shape: int) -> Array:
    return _RNG.normal(size=shape).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def s(value: float) -> Array:
    return np.array(value, dtype=np.float32)


def row(op: str, *inputs: Any, opset: int = 17, outputs: int = 1, **attributes: Any) -> Row:
    smooth = attributes.pop("smooth", True)
    domain = attributes.pop("domain", "")
    return Row(op, inputs, opset, outputs, domain, attributes, smooth)


_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def convolutions() -> Iterator[Row]:
    for auto_pad, stride, dilation in itertools.product(_PADS, (1, 2, 3), (1, 2)):
        settings = {
            "group": 2,
            "strides": [stride] * 2,
            "dilations": [dilation] * 2,
            "auto_pad": auto_pad,
        }
        if not (auto_pad.startswith("SAME") and dilation == 2):  # onnxruntime refuses these
            yield row("Conv", f(2, 4, 9, 8), f(6, 2, 3, 2), f(6), **settings)
        yield row("ConvTranspose", f(2, 4, 5, 6), f(4, 3, 3, 2), f(6), **settings)
    yield row("Conv", f(2, 4, 9), f(6, 4, 3), pads=[1, 2])
    yield row("Conv", f(1, 2, 5, 6, 7), f(3, 2, 2, 3, 2), f(3), strides=[2, 1, 2])
    yield row("Conv", f(1, 4, 8, 8), f(8, 1, 3, 3), group=4, pads=[0, 1, 2, 1])
    yield row("Conv", f(1, 4, 8, 8), f(1, 4, 3, 3), f(1))
    yield row("ConvTranspose", f(1, 2, 4), f(2, 3, 3), f(3), strides=[2], output_padding=[1])
    yield row("ConvTranspose", f(1, 2, 4, 4), f(2, 3, 3, 3), strides=[2, 2], output_shape=[9, 10])
    yield row(
        "ConvTranspose",
        f(1, 2, 4, 4),
        f(2, 3, 3, 3),
        strides=[3, 3],
        output_shape=[11, 12],
        auto_pad="SAME_UPPER",
    )
    yield row("ConvTranspose", f(1, 2, 3, 4, 4), f(2, 3, 3, 3, 2), pads=[1, 0, 1, 0, 1, 0])


def pools() -> Iterator[Row]:
    for op, auto_pad, stride, ceil in itertools.product(
        ("AveragePool", "MaxPool"), _PADS, (1, 2), (0, 1)
    ):
        settings: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [stride] * 2}
        settings |= {"auto_pad": auto_pad, "ceil_mode": ceil}
        if auto_pad == "NOTSET":
            settings["pads"] = [1, 0, 1, 1]
        for opset in (11, 19):
            yield row(op, f(2, 3, 8, 9), opset=opset, **settings)
            if op == "AveragePool":
                yield row(op, f(2, 3, 8, 9), opset=opset, count_include_pad=1, **settings)
        yield row(op, f(1, 2, 10, 11), opset=19, dilations=[2, 2], **settings)
    yield row("GlobalLpPool", f(2, 3, 5, 4), opset=11, p=3)
    for auto_pad in _PADS:
        yield row("LpPool", f(2, 3, 8, 9), opset=18, kernel_shape=[3, 2], auto_pad=auto_pad)
    # A stride beyond the kernel: SAME padding may be negative.
    for op in ("AveragePool", "LpPool"):
        for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            yield row(
                op,
                f(2, 3, 8, 9),
                opset=19 if op == "AveragePool" else 18,
                kernel_shape=[3, 2],
                strides=[3, 3],
                auto_pad=auto_pad,
            )
    for op in ("AveragePool", "MaxPool", "LpPool"):
        yield row(op, f(2, 3, 9), kernel_shape=[3], strides=[2])
        yield row(op, f(1, 2, 5, 6, 7), kernel_shape=[2, 3, 2], strides=[2, 2, 2])
    for order in (0, 1):
        yield row(
            "MaxPool",
            f(2, 3, 8, 9),
            outputs=2,
            kernel_shape=[3, 2],
            strides=[2, 2],
            pads=[1, 0, 1, 1],
            storage_order=order,
        )
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield row(op, f(2, 3, 4, 5))
        yield row(op, f(2, 3, 4))


def recurrent() -> Iterator[Row]:
    functions = {
        "LSTM": ["HardSigmoid", "Relu", "Softsign"],
        "GRU": ["HardSigmoid", "LeakyRelu"],
        "RNN": ["Relu"],
    }
    lengths = np.array([5, 2, 3], dtype=np.int32)
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        outputs = 3 if op == "LSTM" else 2
        for direction, many in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            base = (f(5, 3, 4), f(many, gates * 6, 4) * 0.5, f(many, gates * 6, 6) * 0.5)
            bias = f(many, 2 * gates * 6)
            common = {"outputs": outputs, "hidden_size": 6, "direction": direction}
            start = (f(many, 3, 6), f(many, 3, 6), f(many, 18)) if op == "LSTM" else ()
            yield row(op, *base, **common)
            yield row(op, *base, bias, lengths, **common)
            yield row(op, *base, bias, None, *(start or (f(many, 3, 6),)), **common)
            yield row(op, *base, bias, clip=0.3, **common)
            yield row(op, *base, bias, activations=functions[op] * many, **common)
            if op == "GRU":
                yield row(op, *base, bias, linear_before_reset=1, **common)
            if op == "LSTM":
                yield row(op, *base, bias, input_forget=1, **common)


def resizes() -> Iterator[Row]:
    positions = (
        "half_pixel",
        "align_corners",
        "asymmetric",
        "pytorch_half_pixel",
        "half_pixel_symmetric",
    )
    scales = ([1, 1, 2, 3], [1, 1, 0.6, 0.7], [1, 1, 1.5, 2.25])
    roundings = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")
    for position, scale in itertools.product(positions, scales):
        factors = np.array(scale, dtype=np.float32)
        for mode in ("nearest", "linear", "cubic"):
            settings = {"mode": mode, "coordinate_transformation_mode": position}
            for rounding in roundings if mode == "nearest" else ("",):
                extra = {"nearest_mode": rounding} if rounding else {}
                yield row("Resize", f(1, 2, 6, 10), None, factors, opset=19, **settings, **extra)
    for mode in ("nearest", "linear", "cubic"):
        yield row("Resize", f(1, 2, 6, 10), None, None, i(1, 2, 9, 7), opset=13, mode=mode)
        if mode != "cubic":
            yield row("Resize", f(1, 2, 6), None, None, i(9), opset=18, mode=mode, axes=[2])
    for mode in ("nearest", "linear"):
        for scale in ([1, 1, 2, 3], [1, 1, 1.5, 2.5]):
            factors = np.array(scale, dtype=np.float32)
            yield row("Upsample", f(1, 2, 4, 5), factors, opset=9, mode=mode)
        for scale in ([1, 1, 2, 3], [1, 1, 0.6, 0.7]):
            factors = np.array(scale, dtype=np.float32)
            yield row("Resize", f(1, 2, 6, 10), factors, opset=10, mode=mode)


def normalizations() -> Iterator[Row]:
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (11, 17):
            for settings in ({}, {"axis": -1}, {"axis": 0}, {"axis": 1}):
                yield row(op, f(2, 3, 4), opset=opset, smooth=op != "Hardmax", **settings)
    for opset in (7, 9, 14, 15):
        stats = (f(3), f(3), f(3), abs(f(3)))
        yield row("BatchNormalization", f(2, 3, 4, 5), *stats, opset=opset, epsilon=1e-3)
        yield row("BatchNormalization", f(2, 3), *stats, opset=opset)
    stats = (f(3, 4), f(3, 4), f(3, 4), abs(f(3, 4)))
    yield row("BatchNormalization", f(2, 3, 4), *stats, opset=7, spatial=0)
    yield row("LRN", f(2, 5, 3, 3), size=3)
    yield row("InstanceNormalization", f(2, 3, 4, 5), f(3), f(3))
    yield row("LayerNormalization", f(2, 3, 4), f(3, 4), f(3, 4), axis=1)
    yield row("GroupNormalization", f(2, 6, 4, 4), f(2), f(2), opset=18, num_groups=2)
    yield row("GroupNormalization", f(2, 6, 4, 4), f(6), f(6), opset=21, num_groups=2)
    yield row("MeanVarianceNormalization", f(2, 3, 4, 4))
    yield row("RMSNormalization", f(2, 3, 4), f(4), opset=23)
    yield row("LpNormalization", f(2, 3, 4), axis=1, p=2)


def elementwise() -> Iterator[Row]:
    plain = (
        "Relu Elu Selu Celu Sigmoid Tanh Softplus Softsign HardSigmoid HardSwish LeakyRelu Erf "
        "ThresholdedRelu Mish Gelu Exp Abs Neg Sin Cos Atan Reciprocal Shrink"
    )
    for op in plain.split():
        yield row(op, f(2, 3, 4), opset=20)
    yield row("Gelu", f(2, 3), opset=20, approximate="tanh")
    yield row("Gelu", f(2, 3), opset=1, domain="com.microsoft")
    fused = {"opset": 1, "domain": "com.microsoft"}
    yield row("BiasGelu", f(2, 3), f(3), **fused)
    yield row("FastGelu", f(2, 3), f(3), **fused)
    yield row("FastGelu", f(2, 3), **fused)
    yield row("QuickGelu", f(2, 3), alpha=1.5, **fused)
    for activation, settings in (("Relu", ()), ("LeakyRelu", (0.3,)), ("Tanh", ())):
        alpha = {"activation_alpha": settings[0]} if settings else {}
        gemm = {"activation": activation, "transB": 1, "alpha": 0.5, **alpha}
        yield row("FusedGemm", f(2, 3), f(4, 3), abs(f(4)) + s(2), **gemm, **fused)
        params = {"activation_params": list(settings)} if settings else {}
        conv = {"activation": activation, "pads": [1, 1, 1, 1], **params}
        yield row("FusedConv", f(1, 2, 5, 5), f(3, 2, 3, 3), f(3), **conv, **fused)
    clip = {"activation": "Clip", "activation_params": [-0.5, 1.0]}
    yield row("FusedConv", f(1, 2, 5, 5), f(3, 2, 3, 3), f(3), f(1, 3, 3, 3), **clip, **fused)
    yield row("FusedMatMul", f(2, 3), f(4, 3), opset=1, domain="com.microsoft", transB=1, alpha=0.5)
    yield row("PRelu", f(2, 3, 4), f(3, 1))
    yield row("Clip", f(2, 3), s(-0.5), s(0.5))
    yield row("Clip", f(2, 3), opset=6, min=-0.5, max=0.5)
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"):
        yield row(op, f(2, 3), f(3))
    yield row("Div", i(-3, 7, -7), i(2, -2, -2), smooth=False)
    yield row("Pow", abs(f(2, 3)), f(3))
    yield row("Dropout", f(2, 3), opset=10, ratio=0.3)
    yield row("Dropout", f(2, 3))
    yield row("Cast", f(5) * 3, to=TensorProto.INT32, smooth=False)
    yield row("Cast", f(5) * 3, to=TensorProto.FLOAT)
    yield row("CastLike", i(1, 2, 3), f(1), smooth=False)
    x = np.array([[3, 200, 17, 4]] * 3, dtype=np.uint8)
    zero = np.array([1, 2, 3], dtype=np.uint8)
    yield row("DequantizeLinear", x, abs(f(3)), zero, axis=0)
    yield row("DequantizeLinear", np.array([2**30 - 1, -5], np.int32), s(0.01))
    eights = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    yield row("DequantizeLinear", eights, abs(f(2, 4)), opset=21, axis=0, block_size=2)
    yield row("QuantizeLinear", f(3, 4), abs(f(3)) + s(0.1), zero, axis=0, smooth=False)


def moves() -> Iterator[Row]:
    for mode in ("constant", "reflect", "edge", "wrap"):
        yield row("Pad", f(2, 3, 4, 5), i(0, 0, 1, 2, 0, 0, 2, 1), opset=19, mode=mode)
    yield row("Pad", f(2, 3, 4, 5), i(0, 0, 1, -1, 0, 0, 2, 1), opset=19)
    yield row("Pad", f(2, 3, 4, 5), i(1, 2, 0, 1), s(2.5), i(2, 3), opset=19)
    yield row("Pad", f(2, 3), opset=2, pads=[1, 0, 0, 2], value=1.5)
    yield row("GatherElements", f(3, 3), np.array([[0, -1], [2, 1]]), axis=1)
    yield row("GatherElements", f(3, 3), np.array([[0, -1, 1]]), axis=0)
    yield row("Transpose", f(2, 3, 4), perm=[2, 0, 1])
    yield row("Flatten", f(2, 3, 4), axis=-1)
    yield row("Slice", f(5, 6), i(1, -1), i(4, -7), i(0, 1), i(2, -2))
    yield row("DepthToSpace", f(1, 8, 2, 3), blocksize=2, mode="CRD")
    yield row("Expand", f(3, 1), i(2, 1, 4))


def products() -> Iterator[Row]:
    for a, b in itertools.product((0, 1), (0, 1)):
        left, right = f(4, 3) if a else f(3, 4), f(5, 4) if b else f(4, 5)
        yield row("Gemm", left, right, f(5), transA=a, transB=b, alpha=0.5, beta=2.0)
    yield row("Gemm", f(3, 4), f(4, 5), f(3, 1))
    for left_shape, right_shape in (((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((2, 1, 3, 4), (5, 4, 6))):
        yield row("MatMul", f(*left_shape), f(*right_shape))
    for equation, shapes in (
        ("bij,bjk->bik", ((2, 2, 3), (2, 3, 4))),
        ("bhwc,hkc->bhwk", ((1, 2, 3, 4), (2, 5, 4))),
        ("...ij,jk->...ik", ((2, 2, 3), (3, 4))),
    ):
        yield row("Einsum", *(f(*shape) for shape in shapes), equation=equation)
    for op in ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2", "ReduceLogSumExp"):
        yield row(op, f(2, 3, 4), i(-1, 0), opset=18)
        yield row(op, f(2, 3, 4), opset=11, axes=[1], keepdims=0)


ROWS = [
    *convolutions(),
    *pools(),
    *recurrent(),
    *resizes(),
    *normalizations(),
    *elementwise(),
    *moves(),
    *products(),
]
