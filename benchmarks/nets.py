"""A small builder of ONNX nets with, or without, their normalizations; all weights by seed.

With `norms=False` the same calls give the BN-free twin: every layer that would have taken a
normalization into itself has a bias, and nothing else is there. It is the limit of any folding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Net:
    """A graph that grows node by node; every method returns the name of the new value.

    Args:
        shape: of the input "x", without the batch.
        norms: False builds the BN-free twin.
        seed: of all weights.
    """

    def __init__(self, shape: Sequence[int], *, norms: bool, seed: int) -> None:
        self.norms = norms
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add one node with one output."""
        output = f"{op_type.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return output

    def constant(self, array: NDArray[Any], dtype: type = np.float32) -> str:
        """Add an initializer."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape: int, fan_in: int) -> str:
        """Add a random kernel that keeps the size of what flows through it."""
        return self.constant(self._rng.standard_normal(shape) * np.sqrt(2 / fan_in))

    def vector(self, size: int, low: float = -0.5, high: float = 0.5) -> str:
        """Add a random vector."""
        return self.constant(self._rng.uniform(low, high, size))

    def gemm(self, x: str, inside: int, outside: int, *, bias: bool = True) -> str:
        """Dense as PyTorch exports it; the twin always has a bias."""
        operands = [x, self.weight(outside, inside, fan_in=inside)]
        if bias or not self.norms:
            operands.append(self.vector(outside))
        return self.op("Gemm", *operands, transB=1)

    def matmul(self, x: str, inside: int, outside: int) -> str:
        """Dense as Keras exports it: a product, then a bias."""
        product = self.op("MatMul", x, self.weight(inside, outside, fan_in=inside))
        return self.op("Add", product, self.vector(outside))

    def conv(
        self,
        x: str,
        inside: int,
        outside: int,
        *,
        size: Sequence[int] = (3, 3),
        stride: int = 1,
        group: int = 1,
        bias: bool = False,
    ) -> str:
        """Convolution that keeps height and width (divided by `stride`)."""
        kernel = (outside, inside // group, *size)
        operands = [x, self.weight(*kernel, fan_in=int(np.prod(kernel[1:])))]
        if bias or not self.norms:
            operands.append(self.vector(outside))
        pads = [side // 2 for side in size] * 2
        return self.op("Conv", *operands, group=group, pads=pads, strides=[stride] * len(size))

    def norm(self, x: str, channels: int) -> str:
        """BatchNormalization with trained-looking statistics; nothing in the twin."""
        if not self.norms:
            return x
        return self.op(
            "BatchNormalization",
            x,
            self.vector(channels, 0.5, 1.5),
            self.vector(channels),
            self.vector(channels),
            self.vector(channels, 0.5, 2.0),
            epsilon=1e-5,  # the default, but not every tool knows that
        )

    def mul_add(self, x: str, channels: int) -> str:
        """The same as Keras exports it: a product and a sum; nothing in the twin."""
        if not self.norms:
            return x
        scaled = self.op("Mul", x, self.vector(channels, 0.5, 1.5))
        return self.op("Add", scaled, self.vector(channels))

    def finish(self, y: str, rank: int) -> onnx.ModelProto:
        """The model whose output is `y`."""
        self._nodes.append(helper.make_node("Identity", [y], ["y"], "out"))
        output = helper.make_tensor_value_info(
            "y", TensorProto.FLOAT, ["N", *(f"d{i}" for i in range(1, rank))]
        )
        graph = helper.make_graph(self._nodes, "net", [self._input], [output], self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        onnx.checker.check_model(model)
        return model
