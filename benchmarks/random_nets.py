"""Random small ONNX nets that hold affines of every kind, for the rates of the verifier's verdicts.

Statistics are never those of a fresh layer: gammas of both signs with a zero among them, nonzero
biases, variances in [0.1, 3].
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]

_OPSET = 17
_ACTIVATIONS = ("Relu", "Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Clip", "PRelu")


@dataclass
class Builder:
    """A graph under construction.

    Attributes:
        rng: draws sizes, structure and weights.
        dtype: of every weight.
        nodes, weights: so far.
    """

    rng: np.random.Generator
    dtype: np.dtype[Any]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def size(self, low: int, high: int) -> int:
        """A random size in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def weight(self, array: Array | float) -> str:
        """Store a weight and give its name."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array, dtype=self.dtype)
        return name

    def integers(self, *values: int) -> str:
        """Store an int64 vector."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, dtype=np.int64)
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and give that output's name."""
        number = len(self.nodes)
        name = f"v{number}"
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [name], name=f"op{number}", **attributes)
        )
        return name

    # ------------------------------------------------------------------ affines

    def batch_norm(self, x: str, channels: int) -> str:
        """BatchNormalization over axis 1."""
        gamma = self.rng.normal(size=channels)
        if channels > 2:
            gamma[self.rng.integers(channels)] = 0.0
        stats = (gamma, self.rng.normal(size=channels), self.rng.normal(size=channels))
        names = [self.weight(s) for s in stats]
        names.append(self.weight(self.rng.uniform(0.1, 3.0, channels)))
        epsilon = float(self.rng.choice([1e-5, 1e-3]))
        return self.op("BatchNormalization", x, *names, epsilon=epsilon)

    def mul_add(self, x: str, channels: int, rank: int, axis: int) -> str:
        """Mul and Add by constants along one axis."""
        shape = [1] * rank
        shape[axis] = channels
        if axis == rank - 1 and self.chance(0.5):
            shape = [channels]
        scale = self.rng.normal(size=channels).reshape(shape)
        y = self.op("Mul", x, self.weight(scale))
        return self.op("Add", y, self.weight(self.rng.normal(size=channels).reshape(shape)))

    def normalizer(self, x: str, channels: int) -> str:
        """Sub and Div by constants along the last axis."""
        y = self.op("Sub", x, self.weight(self.rng.normal(size=channels)))
        return self.op("Div", y, self.weight(self.rng.uniform(0.3, 3.0, channels)))

    def affine(self, x: str, channels: int, rank: int, axis: int = 1) -> str:
        """One of the above."""
        if axis == 1 and self.chance(0.7):
            return self.batch_norm(x, channels)
        return self.mul_add(x, channels, rank, axis)

    # ------------------------------------------------------------------ layers

    def activation(self, x: str, channels: int, rank: int) -> str:
        """A random activation, or none."""
        kind = str(self.rng.choice(_ACTIVATIONS))
        if kind == "PRelu":
            form = (channels, *([1] * (rank - 2)))
            return self.op("PRelu", x, self.weight(self.rng.uniform(0, 0.5, form)))
        if kind == "Clip":
            return self.op("Clip", x, self.weight(np.array(0.0)), self.weight(np.array(6.0)))
        return self.op(kind, x)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """Gemm or MatMul, with or without bias."""
        kernel = self.rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        bias = self.rng.normal(size=outputs)
        if self.chance(0.4):
            y = self.op("MatMul", x, self.weight(kernel))
            return self.op("Add", y, self.weight(bias)) if self.chance(0.7) else y
        transposed = self.chance(0.5)
        names = [self.weight(kernel.T if transposed else kernel)]
        if self.chance(0.8):
            names.append(self.weight(bias))
        return self.op("Gemm", x, *names, transB=int(transposed))

    def conv(self, x: str, inputs: int, outputs: int, rank: int, *, pad: bool = True) -> str:
        """Conv of a random kernel size, padding and grouping."""
        spatial = rank - 2
        group = inputs if outputs % inputs == 0 and self.chance(0.2) else 1
        size = int(self.rng.choice([1, 3]))
        fan_in = inputs // group * size**spatial
        kernel = self.rng.normal(size=(outputs, inputs // group, *([size] * spatial)))
        names = [self.weight(kernel / np.sqrt(fan_in))]
        if self.chance(0.7):
            names.append(self.weight(self.rng.normal(size=outputs)))
        settings: dict[str, Any] = {"group": group}
        if pad and size > 1:
            if self.chance(0.3):
                settings["auto_pad"] = "SAME_UPPER"
            else:
                settings["pads"] = [1] * (2 * spatial)
        return self.op("Conv", x, *names, **settings)

    def model(self, output: str, shape: list[int | str]) -> ir.Model:
        """The finished model with the input ``x`` and the output ``y``."""
        self.nodes.append(helper.make_node("Identity", [output], ["y"], name="out"))
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, None)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(proto)
        return ir.from_proto(inferred)


def _mlp(b: Builder) -> ir.Model:
    widths = [b.size(3, 64) for _ in range(b.size(2, 7))]
    x = "x"
    if b.chance(0.3):
        x = b.normalizer(x, widths[0]) if b.chance(0.5) else b.batch_norm(x, widths[0])
    post = b.chance(0.5)
    for inputs, outputs in itertools.pairwise(widths):
        x = b.dense(x, inputs, outputs)
        if post:
            x = b.affine(b.activation(x, outputs, 2), outputs, 2)
        else:
            x = b.activation(b.affine(x, outputs, 2), outputs, 2)
    x = b.dense(x, widths[-1], 10)
    return b.model(b.op("Softmax", x) if b.chance(0.5) else x, ["N", widths[0]])


def _cnn(b: Builder) -> ir.Model:
    rank = 3 if b.chance(0.25) else 4
    channels = b.size(1, 6)
    first = channels
    x = "x"
    for _ in range(b.size(1, 4)):
        outputs = channels * 2 if b.chance(0.3) else b.size(2, 16)
        if b.chance(0.25):
            x = b.affine(x, channels, rank)
        x = b.conv(x, channels, outputs, rank)
        channels = outputs
        steps = ["affine", "activation", "pool"] if b.chance(0.6) else ["activation", "affine"]
        for step in steps:
            if step == "affine":
                x = b.affine(x, channels, rank)
            elif step == "activation" and b.chance(0.8):
                x = b.activation(x, channels, rank)
            elif step == "pool" and b.chance(0.4):
                kind = str(b.rng.choice(["MaxPool", "AveragePool"]))
                x = b.op(kind, x, kernel_shape=[2] * (rank - 2), strides=[1] * (rank - 2))
    if b.chance(0.6):
        if b.chance(0.5):
            x = b.affine(x, channels, rank)
        x = b.op("Flatten", b.op("GlobalAveragePool", x))
        x = b.dense(x, channels, 10)
    return b.model(x, ["N", first, *([12] * (rank - 2))])


def _branches(b: Builder) -> ir.Model:
    """Two convolutions or products, added or concatenated, then an affine."""
    if b.chance(0.5):
        width, outputs = b.size(3, 32), b.size(2, 32)
        left, right = (b.dense("x", width, outputs) for _ in range(2))
        shape: list[int | str] = ["N", width]
        rank = 2
    else:
        width, outputs, rank = b.size(1, 6), b.size(2, 12), 4
        left, right = (b.conv("x", width, outputs, rank) for _ in range(2))
        shape = ["N", width, 9, 9]
    if b.chance(0.5):
        x = b.op("Add", left, right)
    else:
        x, outputs = b.op("Concat", left, right, axis=1), 2 * outputs
    x = b.activation(b.affine(x, outputs, rank), outputs, rank)
    if rank == 2:
        x = b.dense(x, outputs, 5)
    return b.model(x, shape)


def _upsampling(b: Builder) -> ir.Model:
    inputs, outputs = b.size(1, 6), b.size(2, 8)
    kernel = b.rng.normal(size=(inputs, outputs, 3, 3)) / np.sqrt(9 * inputs)
    names = [b.weight(kernel), b.weight(b.rng.normal(size=outputs))]
    x = b.op("ConvTranspose", "x", *names, strides=[2, 2], pads=[1, 1, 1, 1])
    x = b.activation(b.affine(x, outputs, 4), outputs, 4)
    return b.model(b.conv(x, outputs, 3, 4), ["N", inputs, 6, 6])


def _sequence(b: Builder) -> ir.Model:
    """[N, T, C]: products on the last axis, affines on it, sometimes through a Transpose."""
    width, outputs = b.size(3, 24), b.size(3, 24)
    x = b.mul_add("x", width, 3, 2) if b.chance(0.4) else "x"
    x = b.op("MatMul", x, b.weight(b.rng.normal(size=(width, outputs)) / np.sqrt(width)))
    x = b.op("Add", x, b.weight(b.rng.normal(size=outputs)))
    if b.chance(0.5):
        x = b.op("Transpose", x, perm=[0, 2, 1])
        x = b.batch_norm(x, outputs)
        x = b.op("Transpose", x, perm=[0, 2, 1])
    else:
        x = b.mul_add(x, outputs, 3, 2)
    x = b.op("Relu", x)
    kernel = b.rng.normal(size=(outputs, 7)) / np.sqrt(outputs)
    return b.model(b.op("MatMul", x, b.weight(kernel)), ["N", 5, width])


def _flattened(b: Builder) -> ir.Model:
    """Conv, activation, affine, Flatten, Gemm: the affine goes forward through the Flatten."""
    inputs, outputs = b.size(1, 4), b.size(2, 8)
    x = b.conv("x", inputs, outputs, 4)
    x = b.affine(b.activation(x, outputs, 4), outputs, 4)
    x = b.dense(b.op("Flatten", x), outputs * 36, b.size(2, 12))
    return b.model(x, ["N", inputs, 6, 6])


def _deep(b: Builder) -> ir.Model:
    """Up to twenty layers, with an affine or two in each, and shortcuts."""
    width, rank = b.size(3, 16), int(b.rng.choice([2, 4]))
    x = "x"
    for _ in range(b.size(6, 20)):
        y = b.dense(x, width, width) if rank == 2 else b.conv(x, width, width, rank)
        y = b.activation(b.affine(y, width, rank), width, rank)
        x = b.op("Add", x, y) if b.chance(0.5) else b.batch_norm(y, width)
        x = b.op("Tanh", x) if b.chance(0.3) else x
    return b.model(x, ["N", width, *([5] * (rank - 2))])


FAMILIES: tuple[Callable[[Builder], ir.Model], ...] = (
    _mlp,
    _mlp,
    _cnn,
    _cnn,
    _branches,
    _upsampling,
    _sequence,
    _flattened,
    _deep,
)


def random_net(seed: int, dtype: str | None = None) -> ir.Model:
    """A net that depends on nothing but its arguments.

    Args:
        seed: any number.
        dtype: "float16", "float32" or "float64"; drawn from the seed if None (mostly float32).
    """
    rng = np.random.default_rng([seed, 11])
    drawn = str(rng.choice(["float32", "float16", "float64"], p=[0.7, 0.2, 0.1]))
    builder = Builder(rng, np.dtype(dtype or drawn))
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    return family(builder)
