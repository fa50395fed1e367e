"""What a random graph is built with: choices, constants and nodes of any opset and type."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import ml_dtypes
import numpy as np
from onnx import helper, numpy_helper

T = TypeVar("T")
DTYPES: dict[str, np.dtype[Any]] = {
    "double": np.dtype(np.float64),
    "float": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class Chooser(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        ...


class SeededChooser:
    """Choices of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return self._random.randint(low, high)


@dataclass
class Value:
    """A computed value; axis 0 is the batch, of size 4 at run time."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "double"


@dataclass
class Builder:
    """A graph under construction."""

    chooser: Chooser
    rng: np.random.Generator
    batch: str | int
    opset: int = 18
    dtype: str = "double"
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    kernels: dict[tuple[str, tuple[int, ...]], list[str]] = field(default_factory=dict)
    count: int = 0

    def chance(self, percent: int) -> bool:
        """True that often."""
        return self.chooser.integer(1, 100) <= percent

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.chooser.integer(0, len(options) - 1)]

    def fresh(self, stem: str) -> str:
        """A new name."""
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: np.ndarray) -> str:
        """A constant: an initializer, a Constant node, or one behind an Identity.

        Float64 stands for the type that the graph has at this place.
        """
        if array.dtype == np.float64:
            array = array.astype(DTYPES[self.dtype])
        name = self.fresh("c")
        kind = self.chooser.integer(0, 9)
        if kind == 0:
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(numpy_helper.from_array(array, name))
        if kind == 1:
            other = self.fresh("c")
            self.nodes.append(helper.make_node("Identity", [name], [other]))
            return other
        return name

    def weights(self, *shape: int) -> str:
        """A kernel, sometimes one that another op has already."""
        shared = self.kernels.setdefault((self.dtype, shape), [])
        if shared and self.chance(15):
            return self.pick(shared)
        name = self.constant(self.rng.normal(size=shape) / np.sqrt(max(1, shape[-1])))
        shared.append(name)
        return name

    def normal(self, *shape: int) -> str:
        """Random numbers."""
        return self.constant(self.rng.normal(size=shape))

    def scales(self, *shape: int) -> np.ndarray:
        """Scales of both signs, or positive, or with a zero."""
        kind = self.chooser.integer(0, 3)
        array = self.rng.uniform(0.3, 2.0, size=shape)
        if kind >= 2:
            array *= self.rng.choice([-1.0, 1.0], size=shape)
        if kind == 3 and array.size > 1:
            array.reshape(-1)[0] = 0.0
        return array

    def integers(self, *values: int) -> str:
        """A constant list of int64."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def add(
        self, op: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: Any
    ) -> Value:
        """A node with one result."""
        name = self.fresh(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        value = Value(name, shape, self.dtype)
        self.values.append(value)
        return value

    def lists(self, x: str, since: int, **given: Sequence[int]) -> tuple[list[str], dict[str, Any]]:
        """Operands and attributes of an op whose lists became operands at opset ``since``."""
        if self.opset < since:
            return [x], {name: list(numbers) for name, numbers in given.items()}
        return [x, *(self.integers(*numbers) for numbers in given.values())], {}


Step = Callable[[Builder, Value], Value | None]
