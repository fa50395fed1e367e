"""Models with a fold made by hand, right or with a fault; nothing here uses bnfold's folder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]
EPSILON = 1e-3


@dataclass
class Graph:
    """A graph under construction: nodes and weights."""

    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def op(self, op_type: str, *inputs: str, to: str, **attributes: Any) -> str:
        name = f"{op_type.lower()}_{to}"
        self.nodes.append(helper.make_node(op_type, inputs, [to], name=name, **attributes))
        return to

    def weight(self, name: str, array: Array, dtype: Any) -> str:
        self.weights[name] = np.asarray(array).astype(dtype)
        return name

    def model(
        self,
        dtype: Any,
        inputs: dict[str, list[Any]],
        outputs: dict[str, list[Any]],
        *,
        opset: int = 17,
        ir_version: int = 8,
    ) -> ir.Model:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(n, kind, shape) for n, shape in inputs.items()],
            [helper.make_tensor_value_info(n, kind, shape) for n, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=ir_version))


@dataclass(frozen=True)
class Pair:
    """An original and its fold, stored and with unrounded constants."""

    original: ir.Model
    folded: ir.Model
    exact: ir.Model


@dataclass(frozen=True)
class Norm:
    """The parameters of a BatchNormalization, in the model's own type."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, channels: int, dtype: Any) -> Norm:
        gamma = rng.normal(size=channels)
        gamma[rng.integers(channels)] = 0.0
        drawn = (gamma, rng.normal(size=channels), rng.normal(size=channels))
        variance = rng.uniform(0.1, 3.0, channels)
        return cls(*(p.astype(dtype) for p in (*drawn, variance)))

    def affine(self, epsilon: float = EPSILON) -> tuple[Array, Array]:
        """Scale and shift in float64."""
        gamma, beta, mean, variance = (
            p.astype(np.float64) for p in (self.gamma, self.beta, self.mean, self.variance)
        )
        scale = gamma / np.sqrt(variance + np.float64(np.float32(epsilon)))
        return scale, beta - mean * scale

    def put(self, graph: Graph, x: str, to: str) -> str:
        """Append the op."""
        names = [
            graph.weight(f"{to}_{part}", getattr(self, part), self.gamma.dtype)
            for part in ("gamma", "beta", "mean", "variance")
        ]
        return graph.op("BatchNormalization", x, *names, to=to, epsilon=EPSILON)


FAULTS = ("epsilon", "shift", "axis", "relu", "column", "channels")


def _faulty(scale: Array, shift: Array, norm: Norm, fault: str) -> tuple[Array, Array]:
    if fault == "epsilon":
        return norm.affine(1e-5)
    if fault == "shift":
        return scale, np.zeros_like(shift)
    if fault == "column":
        changed = scale.copy()
        changed[int(np.argmax(np.abs(scale)))] *= 1 + 1e-4
        return changed, shift
    if fault == "channels":
        return scale[::-1], shift
    return scale, shift


def mlp(
    seed: int,
    *,
    widths: tuple[int, ...] = (20, 24, 24, 10),
    dtype: Any = np.float32,
    fault: str = "",
    softmax: bool = True,
) -> Pair:
    """Gemm, BatchNormalization, Relu, ..., Softmax; the fault is in the second block."""
    rng = np.random.default_rng(seed)
    original, folded, exact = Graph(), Graph(), Graph()
    x = ["x", "x", "x"]
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        last = layer == len(widths) - 2
        kernel = (rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)).astype(dtype)
        bias = rng.normal(size=outputs).astype(dtype)
        norm = Norm.draw(rng, outputs, dtype)
        own = fault if layer == 1 else ""
        scale, shift = _faulty(*norm.affine(), norm, own)
        new_kernel = kernel.astype(np.float64) * scale
        if own == "axis":
            new_kernel = kernel.astype(np.float64) * np.resize(scale, inputs)[:, None]
        new_bias = bias.astype(np.float64) * scale + shift
        activation, result = ("Softmax", "y") if last else ("Relu", f"h{layer}")
        if last and not softmax:
            activation = "Identity"
        names = (
            original.weight(f"W{layer}", kernel, dtype),
            original.weight(f"B{layer}", bias, dtype),
        )
        v = original.op("Gemm", x[0], *names, to=f"d{layer}")
        v = norm.put(original, v, f"n{layer}")
        x[0] = original.op(activation, v, to=result)
        for place, (graph, kind) in enumerate(((folded, dtype), (exact, np.float64)), 1):
            moved = own == "relu"
            weights = (
                graph.weight(f"W{layer}", new_kernel, kind),
                graph.weight(f"B{layer}", np.zeros_like(new_bias) if moved else new_bias, kind),
            )
            v = graph.op("Gemm", x[place], *weights, to=f"n{layer}")
            v = graph.op(activation, v, to=f"{result}_low" if moved else result)
            if moved:
                graph.weight("moved", new_bias, kind)
                v = graph.op("Add", v, "moved", to=result)
            x[place] = v
    shapes: tuple[dict[str, list[Any]], dict[str, list[Any]]] = (
        {"x": ["N", widths[0]]},
        {"y": ["N", widths[-1]]},
    )
    return Pair(
        original.model(dtype, *shapes),
        folded.model(dtype, *shapes),
        exact.model(np.float64, *shapes),
    )


def conv(seed: int, *, dtype: Any = np.float32, fault: str = "", size: int = 8) -> Pair:
    """Conv, BatchNormalization, Relu, Conv with as many channels as pixels in a row."""
    rng = np.random.default_rng(seed)
    channels = 3
    kernel = (rng.normal(size=(size, channels, 3, 3)) / 5).astype(dtype)
    bias = rng.normal(size=size).astype(dtype)
    norm = Norm.draw(rng, size, dtype)
    second = (rng.normal(size=(4, size, 3, 3)) / 8).astype(dtype)
    scale, shift = _faulty(*norm.affine(), norm, fault)
    new_kernel = kernel.astype(np.float64) * scale.reshape(-1, 1, 1, 1)
    if fault == "axis":
        new_kernel = kernel.astype(np.float64) * scale[:channels].reshape(1, -1, 1, 1)
    new_bias = bias.astype(np.float64) * scale + shift

    def finish(graph: Graph, v: str, kind: Any) -> ir.Model:
        v = graph.op("Relu", v, to="r")
        if fault == "relu" and graph is not original:
            graph.weight("moved", new_bias.reshape(-1, 1, 1), kind)
            v = graph.op("Add", v, "moved", to="moved_r")
        graph.op("Conv", v, graph.weight("K", second, kind), to="y", pads=[1, 1, 1, 1])
        return graph.model(kind, {"x": ["N", channels, size, size]}, {"y": ["N", 4, size, size]})

    original = Graph()
    names = (original.weight("W", kernel, dtype), original.weight("B", bias, dtype))
    v = original.op("Conv", "x", *names, to="c", pads=[1, 1, 1, 1])
    models = [finish(original, norm.put(original, v, "n"), dtype)]
    for kind in (dtype, np.float64):
        graph = Graph()
        stored = np.zeros_like(new_bias) if fault == "relu" else new_bias
        names = (graph.weight("W", new_kernel, kind), graph.weight("B", stored, kind))
        models.append(finish(graph, graph.op("Conv", "x", *names, to="n", pads=[1] * 4), kind))
    return Pair(*models)


def forward(seed: int, *, dtype: Any = np.float32, fault: str = "") -> Pair:
    """BatchNormalization, Gemm, Elu, Gemm: folded forward into the first Gemm."""
    rng = np.random.default_rng(seed)
    width = 16
    norm = Norm.draw(rng, width, dtype)
    kernel = (rng.normal(size=(width, width)) / 4).astype(dtype)
    bias = rng.normal(size=width).astype(dtype)
    second = (rng.normal(size=(width, 5)) / 4).astype(dtype)
    scale, shift = _faulty(*norm.affine(), norm, fault)
    wide = kernel.astype(np.float64)
    new_kernel = wide * (scale if fault == "axis" else scale[:, None])
    new_bias = bias.astype(np.float64) + shift @ wide
    shapes: tuple[dict[str, list[Any]], dict[str, list[Any]]] = (
        {"x": ["N", width]},
        {"y": ["N", 5]},
    )

    def finish(graph: Graph, v: str, kind: Any) -> ir.Model:
        v = graph.op("Elu", v, to="e")
        if fault == "relu" and graph is not original:
            graph.weight("moved", new_bias, kind)
            v = graph.op("Add", v, "moved", to="moved_e")
        graph.op("MatMul", v, graph.weight("K", second, kind), to="y")
        return graph.model(kind, *shapes)

    original = Graph()
    v = norm.put(original, "x", "n")
    names = (original.weight("W", kernel, dtype), original.weight("B", bias, dtype))
    models = [finish(original, original.op("Gemm", v, *names, to="g"), dtype)]
    for kind in (dtype, np.float64):
        graph = Graph()
        stored = np.zeros_like(new_bias) if fault == "relu" else new_bias
        names = (graph.weight("W", new_kernel, kind), graph.weight("B", stored, kind))
        models.append(finish(graph, graph.op("Gemm", "x", *names, to="g"), kind))
    return Pair(*models)


FAMILIES = {"mlp": mlp, "conv": conv, "forward": forward}
