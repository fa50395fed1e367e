"""Hand-made pairs of models, with arithmetic of their own (NumPy, float64, rounded once)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
EPSILON = 1e-3


@dataclass
class Net:
    """A model under construction; constants are named as they are added."""

    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def input(self, name: str, shape: list[int | str | None], dtype: Any = np.float32) -> Net:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self

    def output(
        self, name: str, shape: list[int | str | None] | None = None, dtype: Any = np.float32
    ) -> Net:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self

    def const(self, **arrays: Array) -> Net:
        self.constants.update({name: np.asarray(array) for name, array in arrays.items()})
        return self

    def add(self, op: str, inputs: str, output: str, *, name: str = "", **attributes: Any) -> Net:
        """Inputs and outputs as words; "_" is an absent input. The name is the first output."""
        sources = [word if word != "_" else "" for word in inputs.split()]
        targets = output.split()
        node = helper.make_node(op, sources, targets, name=name or f"{targets[0]}_op", **attributes)
        self.nodes.append(node)
        return self

    def constant_node(self, name: str, array: Array, place: int) -> Net:
        """A weight as a Constant node, put at a place among the nodes."""
        node = helper.make_node(
            "Constant", [], [name], name=f"{name}_op", value=numpy_helper.from_array(array, name)
        )
        self.nodes.insert(place, node)
        return self

    def body(self, name: str) -> onnx.GraphProto:
        """The graph alone, as the body of an If, Loop or Scan."""
        constants = [numpy_helper.from_array(array, key) for key, array in self.constants.items()]
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, constants)

    def model(self, ir_version: int = 8) -> ir.Model:
        return ir.from_proto(self.proto(ir_version))

    def proto(self, ir_version: int = 8) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            self.outputs,
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization's parameters, as stored."""

    gamma: Array
    beta: Array
    mean: Array
    var: Array
    epsilon: float = EPSILON

    @property
    def scale(self) -> Array:
        epsilon = np.float64(np.float32(self.epsilon))
        return self.gamma.astype(np.float64) / np.sqrt(self.var.astype(np.float64) + epsilon)

    @property
    def shift(self) -> Array:
        return self.beta.astype(np.float64) - self.mean.astype(np.float64) * self.scale

    def constants(self, prefix: str = "bn") -> dict[str, Array]:
        parts = ("gamma", "beta", "mean", "var")
        return {f"{prefix}_{part}": getattr(self, part) for part in parts}

    def node(self, net: Net, x: str, y: str, prefix: str = "bn") -> Net:
        """Added to a net, constants and all."""
        net.const(**self.constants(prefix))
        words = " ".join([x, *self.constants(prefix)])
        return net.add("BatchNormalization", words, y, name=prefix, epsilon=self.epsilon)


def norm(
    rng: np.random.Generator, channels: int, dtype: Any = np.float32, positive: bool = False
) -> Norm:
    """Random parameters: gammas of both signs and a zero, unless `positive`."""
    gamma = rng.uniform(0.3, 1.5, channels)
    if not positive:
        gamma *= rng.choice([-1.0, 1.0], channels)
        gamma[1 % channels] = -abs(gamma[1 % channels])
        if channels > 2:
            gamma[2] = 0.0
    return Norm(
        gamma.astype(dtype),
        rng.standard_normal(channels).astype(dtype),
        rng.standard_normal(channels).astype(dtype),
        rng.uniform(0.1, 3.0, channels).astype(dtype),
    )


def normal(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Array:
    """A random weight."""
    return rng.standard_normal(shape).astype(dtype)


def rounded(array: Array, like: Any = np.float32) -> Array:
    """Rounded once to the type that is stored."""
    return np.asarray(array, np.float64).astype(like)
