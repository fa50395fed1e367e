"""An autoencoder of Gemm - BatchNormalization - Relu blocks: trained in numpy, built with onnx."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

WIDTHS = (196, 64, 64, 8, 64, 64, 196)
EPSILON = 1e-3
MOMENTUM = 0.9
EPOCHS = 40
BATCH = 32

Array = npt.NDArray[np.float64]


@dataclass
class Block:
    """One Gemm, followed by a BatchNormalization and a Relu unless it is the last."""

    weight: Array  # (outputs, inputs), as Gemm with transB=1 wants it
    bias: Array
    gamma: Array | None
    beta: Array | None
    mean: Array
    variance: Array

    def parameters(self) -> list[Array]:
        """The arrays that training moves."""
        extra = [p for p in (self.gamma, self.beta) if p is not None]
        return [self.weight, self.bias, *extra]


@dataclass
class _Trace:
    """What one block's backward pass needs of its forward pass."""

    entered: Array
    normal: Array | None = None
    deviation: Array | None = None
    left: Array | None = None


def _init(rng: np.random.Generator) -> list[Block]:
    blocks = []
    for i, (fan_in, fan_out) in enumerate(pairwise(WIDTHS)):
        last = i == len(WIDTHS) - 2
        weight = rng.normal(0, np.sqrt(2 / fan_in), (fan_out, fan_in))
        gamma, beta = (None, None) if last else (np.ones(fan_out), np.zeros(fan_out))
        blocks.append(
            Block(weight, np.zeros(fan_out), gamma, beta, np.zeros(fan_out), np.ones(fan_out))
        )
    return blocks


def _forward(blocks: list[Block], x: Array) -> tuple[Array, list[_Trace]]:
    """Training pass: batch statistics, which also move the running ones."""
    traces = []
    for block in blocks:
        trace = _Trace(x)
        x = x @ block.weight.T + block.bias
        if block.gamma is not None and block.beta is not None:
            mean, variance = x.mean(axis=0), x.var(axis=0)
            block.mean = MOMENTUM * block.mean + (1 - MOMENTUM) * mean
            block.variance = MOMENTUM * block.variance + (1 - MOMENTUM) * variance
            trace.deviation = np.sqrt(variance + EPSILON)
            trace.normal = (x - mean) / trace.deviation
            x = np.maximum(trace.normal * block.gamma + block.beta, 0)
            trace.left = x
        traces.append(trace)
    return x, traces


def _backward(blocks: list[Block], traces: list[_Trace], slope: Array) -> list[Array]:
    """Gradients in the order of the blocks' `parameters()`."""
    gradients: list[Array] = []
    for block, trace in zip(reversed(blocks), reversed(traces), strict=True):
        extra: list[Array] = []
        if trace.normal is not None and trace.left is not None and block.gamma is not None:
            slope = slope * (trace.left > 0)
            extra = [(slope * trace.normal).sum(axis=0), slope.sum(axis=0)]
            slope = slope * block.gamma
            centred = slope - slope.mean(axis=0)
            slope = centred - trace.normal * (slope * trace.normal).mean(axis=0)
            slope = slope / trace.deviation
        gradients = [slope.T @ trace.entered, slope.sum(axis=0), *extra, *gradients]
        slope = slope @ block.weight
    return gradients


def _train(blocks: list[Block], x: Array, rng: np.random.Generator) -> None:
    """Adam (Kingma & Ba 2015) on the mean squared error."""
    parameters = [p for block in blocks for p in block.parameters()]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = x[order[start : start + BATCH]]
            out, traces = _forward(blocks, batch)
            gradients = _backward(blocks, traces, 2 * (out - batch) / len(batch))
            step += 1
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                size = np.sqrt(v / (1 - 0.999**step)) + 1e-8
                p -= 0.003 * (m / (1 - 0.9**step)) / size


def _infer(blocks: list[Block], x: Array) -> Array:
    for block in blocks:
        x = x @ block.weight.T + block.bias
        if block.gamma is not None and block.beta is not None:
            scale = block.gamma / np.sqrt(block.variance + EPSILON)
            x = np.maximum((x - block.mean) * scale + block.beta, 0)
    return x


def _to_onnx(blocks: list[Block]) -> onnx.ModelProto:
    nodes, weights = [], []
    value = "pixels"
    for i, block in enumerate(blocks, 1):
        last = block.gamma is None
        arrays = {f"gemm_{i}.weight": block.weight, f"gemm_{i}.bias": block.bias}
        gemm_out = "reconstruction" if last else f"gemm_{i}_out"
        nodes.append(
            helper.make_node("Gemm", [value, *arrays], [gemm_out], name=f"gemm_{i}", transB=1)
        )
        value = gemm_out
        if block.gamma is not None and block.beta is not None:
            statistics = {
                f"bn_{i}.gamma": block.gamma,
                f"bn_{i}.beta": block.beta,
                f"bn_{i}.mean": block.mean,
                f"bn_{i}.variance": block.variance,
            }
            arrays |= statistics
            nodes.append(
                helper.make_node(
                    "BatchNormalization",
                    [value, *statistics],
                    [f"bn_{i}_out"],
                    name=f"bn_{i}",
                    epsilon=EPSILON,
                )
            )
            nodes.append(
                helper.make_node("Relu", [f"bn_{i}_out"], [f"relu_{i}_out"], name=f"relu_{i}")
            )
            value = f"relu_{i}_out"
        weights += [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in arrays.items()
        ]
    shape = ["batch", WIDTHS[0]]
    graph = helper.make_graph(
        nodes,
        "digits_autoencoder",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("reconstruction", onnx.TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_autoencoder(
    x: npt.NDArray[np.float32], x_test: npt.NDArray[np.float32], seed: int
) -> tuple[onnx.ModelProto, float]:
    """A trained autoencoder of rows of 196 pixels, and its mean squared error on `x_test`."""
    rng = np.random.default_rng(seed)
    blocks = _init(rng)
    _train(blocks, x.astype(np.float64), rng)
    error = float(np.mean((_infer(blocks, x_test.astype(np.float64)) - x_test) ** 2))
    return _to_onnx(blocks), error
