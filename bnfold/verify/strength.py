"""How strong a run was: the smallest planted error it would have caught, and what it never saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.bounds import NOISE_MAX, NOISE_RMS
from bnfold.verify.channels import ChannelCheck
from bnfold.verify.evaluate import EvaluationError, Hook
from bnfold.verify.local import Ground
from bnfold.verify.sampling import Samples
from bnfold.verify.types import Strength

Array = NDArray[Any]

_KINKED = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Clip",
        "Elu",
        "Selu",
        "Celu",
        "HardSigmoid",
        "HardSwish",
        "ThresholdedRelu",
        "Abs",
    }
)

# Kernels tried, and columns of each; the planted error, small enough to act linearly.
_KERNELS = 16
_COLUMNS = 2
_PLANTED = 1e-3


@dataclass
class SignWatch:
    """Sees which channels run into a kinked activation with values of both signs.

    Give `see` to `sample` as its observer.
    """

    names: frozenset[str]
    positive: dict[str, Array] = field(default_factory=dict)
    negative: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ir.Model) -> SignWatch:
        """Watch every computed value of `model` that such an activation reads."""
        names = {
            node.inputs[0].name or ""
            for node in model.graph
            if node.op_type in _KINKED and node.inputs and node.inputs[0] is not None
        }
        return cls(frozenset(names))

    def see(self, name: str, array: Array) -> Array:
        """Take note of a value; it is returned as it is."""
        if name in self.names and array.dtype.kind == "f" and array.ndim >= 2:
            channel = 1 if array.ndim >= 3 else array.ndim - 1
            axes = tuple(a for a in range(array.ndim) if a != channel)
            for kept, seen in ((self.positive, array > 0), (self.negative, array < 0)):
                now: Array = np.asarray(seen.any(axis=axes))
                before: Array = kept.get(name, now)
                same = before.shape == now.shape
                kept[name] = np.logical_or(now, before) if same else now
        return array

    @property
    def channels(self) -> int:
        """How many channels were seen."""
        return sum(seen.size for seen in self.positive.values())

    @property
    def both(self) -> int:
        """How many of them had values of both signs."""
        return sum(int((seen & self.negative[name]).sum()) for name, seen in self.positive.items())


@dataclass(frozen=True)
class Kernel:
    """A constant kernel and the axis of its output channels.

    Attributes:
        name: of the constant.
        axis: along which the output channels lie.
        channels: how many there are.
        op: name of the op that uses it.
    """

    name: str
    axis: int
    channels: int
    op: str


def kernels_of(model: ir.Model) -> list[Kernel]:
    """The constant floating-point kernels of matrix products and convolutions."""
    found = []
    for node in model.graph:
        axis = _output_axis(node)
        if axis is None or len(node.inputs) < 2 or node.inputs[1] is None:
            continue
        value = node.inputs[1]
        tensor = value.const_value if value.is_initializer() else None
        if tensor is None or not tensor.dtype.is_floating_point() or len(tensor.shape) <= axis:
            continue
        channels = int(tensor.shape.numpy()[axis])
        if channels:
            found.append(Kernel(value.name or "", axis, channels, node.name or node.op_type))
    return found


def _output_axis(node: ir.Node) -> int | None:
    if node.op_type == "Gemm":
        transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
        return 0 if transposed else 1
    if node.op_type == "MatMul":
        value = node.inputs[1]
        tensor = value.const_value if value is not None else None
        return None if tensor is None else len(tensor.shape) - 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type)


def scaled_column(array: Array, kernel: Kernel, column: int, factor: float) -> Array:
    """A copy of the kernel with one output channel multiplied."""
    changed: Array = array.copy()
    where = [slice(None)] * array.ndim
    where[kernel.axis] = slice(column, column + 1)
    changed[tuple(where)] = changed[tuple(where)] * factor
    return changed


def measure_strength(
    ground: Ground, samples: Samples, watch: SignWatch, *, seed: int, deadline: float
) -> Strength:
    """Plant a small error in columns of every kernel and see what the float64 checks make of it.

    The response is linear in the error, so its ratio to the bound gives the smallest error that
    would have failed: at the outputs, or at the channels of the part that holds the kernel.
    """
    model, folded = ground.prepared.runners.stored, ground.prepared.folded
    kernels = kernels_of(folded)
    if len(kernels) > _KERNELS:
        chosen = np.linspace(0, len(kernels) - 1, _KERNELS).round().astype(int)
        kernels = [kernels[i] for i in chosen]
    rng = np.random.default_rng([seed, 3])
    results: list[tuple[Kernel, float | None]] = []
    try:
        if model is None:
            raise EvaluationError("there is no float64 evaluation")
        local = _Local(ground, rng)
        base = model.run(ground.feed)
        for kernel in kernels * _COLUMNS:
            if time.monotonic() > deadline:
                break
            change = _plant(kernel, int(rng.integers(kernel.channels)))
            moved = model.run(ground.feed, constant=change)
            found = [local.visible(kernel, change), _visible(base, moved, samples)]
            seen = [value for value in found if value is not None]
            results.append((kernel, min(seen, default=None)))
    except EvaluationError:
        pass
    sizes = [(size, kernel.op) for kernel, size in results if size is not None]
    smallest, weakest = max(sizes, default=(None, ""))
    return Strength(
        column_error=smallest,
        columns=len(results),
        unseen=len(results) - len(sizes),
        kernels=len({kernel.name for kernel, _ in results}),
        weakest=weakest,
        activation_channels=watch.channels,
        both_signs=watch.both,
    )


def _plant(kernel: Kernel, column: int) -> Hook:
    def constant(name: str, array: Array) -> Array:
        if name != kernel.name:
            return array
        return scaled_column(array, kernel, column, 1.0 + _PLANTED)

    return constant


class _Local:
    """The parts that hold a kernel, to see a planted error at their channels."""

    def __init__(self, ground: Ground, rng: np.random.Generator) -> None:
        parts, _ = ground.parts(unchanged=True)
        self._by_kernel = {kernel.name: p for p in parts for kernel in kernels_of(p.folded)}
        self._values = ground.values(list(self._by_kernel.values()))
        self._checks: dict[str, ChannelCheck] = {}
        self._rng = rng

    def visible(self, kernel: Kernel, change: Hook) -> float | None:
        """The smallest error that fails the channel check of the kernel's part."""
        part = self._by_kernel.get(kernel.name)
        if part is None:
            return None
        if kernel.name not in self._checks:
            self._checks[kernel.name] = ChannelCheck(part, self._values, self._rng)
        share = self._checks[kernel.name].share(change)
        return _PLANTED / share if share > 0 else None


def _visible(
    base: Mapping[str, Array], moved: Mapping[str, Array], samples: Samples
) -> float | None:
    """The smallest error that some output shows beyond its bound; None if no output moves."""
    found: list[float] = []
    for name, tally in samples.tallies.items():
        before, after = base[name], moved[name]
        if not isinstance(before, np.ndarray) or before.dtype.kind != "f":
            continue
        difference = np.abs(after - before)
        difference = difference[np.isfinite(difference)]
        if not difference.size or not difference.any():
            continue
        noise = tally.spread("noise")
        rms = float(np.sqrt(np.mean(difference**2)))
        found.append(_PLANTED * NOISE_RMS * noise.rms / rms)
        found.append(_PLANTED * NOISE_MAX * noise.largest / float(difference.max()))
    return min(found, default=None)
