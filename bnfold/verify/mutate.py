"""Faults planted on purpose, to see whether the verification catches them.

Each kind is a bug that a fold can have. A mutant is a copy of the folded model with one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.dataflow import rounding_of
from bnfold.verify.evaluate import EvaluationError, Float64Model
from bnfold.verify.inputs import Feed
from bnfold.verify.noise import Perturbed
from bnfold.verify.strength import Kernel, kernels_of, scaled_column
from bnfold.verify.tally import OutputTally
from bnfold.verify.types import Mutant, MutationTest, Status, Verification

Array = NDArray[Any]

# Relative size of a planted column error: log-uniform between these.
_COLUMN_ERRORS = (1e-4, 1e-1)

_NOISE_FEEDS = 4
_NOISE_DRAWS = 4

_ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Sigmoid", "Tanh"})


class NoPlaceError(Exception):
    """The model has no place for a fault of this kind."""


@dataclass(frozen=True)
class Planted:
    """A faulty copy.

    Attributes:
        model: with the fault.
        kind, op, detail: as in `Mutant`.
    """

    model: ir.Model
    kind: str
    op: str
    detail: str


Planter = Callable[[ir.Model, np.random.Generator], tuple[str, str]]


def plant(model: ir.Model, kind: str, rng: np.random.Generator) -> Planted:
    """A copy of `model` with one fault of the given kind.

    Raises:
        NoPlaceError: if the model has no place for it.
        KeyError: if there is no such kind.
    """
    planter = KINDS[kind]
    copy = model.clone()
    op, detail = planter(copy, rng)
    return Planted(copy, kind, op, detail)


def plant_any(
    model: ir.Model, rng: np.random.Generator, first: str | None = None
) -> Planted | None:
    """A fault of the kind `first`, or of a random one that has a place; None if none has."""
    kinds = [str(kind) for kind in rng.permutation(list(KINDS))]
    for kind in ([first] if first is not None else []) + kinds:
        try:
            return plant(model, kind, rng)
        except NoPlaceError:
            continue
    return None


# --------------------------------------------------------------------------- places


def _kernel(model: ir.Model, rng: np.random.Generator, least: int = 1) -> Kernel:
    kernels = [kernel for kernel in kernels_of(model) if kernel.channels >= least]
    if not kernels:
        raise NoPlaceError("no constant kernel")
    return kernels[int(rng.integers(len(kernels)))]


def _array(model: ir.Model, name: str) -> Array:
    tensor = model.graph.initializers[name].const_value
    if tensor is None:
        raise NoPlaceError(f"'{name}' has no value")
    return tensor.numpy()


def _write(model: ir.Model, name: str, array: Array) -> None:
    """Replace an initializer's data, in its own type."""
    before = _array(model, name)
    changed = np.asarray(array).astype(before.dtype)
    if np.array_equal(changed, before, equal_nan=True):
        raise NoPlaceError("the change is lost in the type's precision")
    model.graph.initializers[name].const_value = ir.Tensor(changed, name=name)


def _biased(model: ir.Model) -> list[ir.Node]:
    """Gemm and convolutions with a constant, nonzero bias."""
    found = []
    for node in model.graph:
        if node.op_type not in ("Gemm", "Conv", "ConvTranspose") or len(node.inputs) < 3:
            continue
        bias = node.inputs[2]
        if bias is None or not bias.is_initializer() or bias.const_value is None:
            continue
        if bias.const_value.dtype.is_floating_point() and np.any(bias.const_value.numpy()):
            found.append(node)
    return found


def _pick(nodes: list[ir.Node], rng: np.random.Generator, what: str) -> ir.Node:
    if not nodes:
        raise NoPlaceError(what)
    return nodes[int(rng.integers(len(nodes)))]


def _label(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type


# --------------------------------------------------------------------------- faults


def plant_column(model: ir.Model, rng: np.random.Generator, error: float) -> Planted:
    """A copy of `model` with one column of one kernel multiplied by 1 + `error`.

    Raises:
        NoPlaceError: if the model has no constant kernel, or the error is lost in its type.
    """
    copy = model.clone()
    op, detail = _scale_column(copy, rng, error)
    return Planted(copy, "column", op, detail)


def _column(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    low, high = np.log(_COLUMN_ERRORS)
    error = float(np.exp(rng.uniform(low, high))) * float(rng.choice([-1.0, 1.0]))
    return _scale_column(model, rng, error)


def _scale_column(model: ir.Model, rng: np.random.Generator, error: float) -> tuple[str, str]:
    kernel = _kernel(model, rng)
    column = int(rng.integers(kernel.channels))
    array = _array(model, kernel.name)
    _write(model, kernel.name, scaled_column(array, kernel, column, 1.0 + error))
    return kernel.op, f"column {column} of '{kernel.name}' times 1 {error:+.2g}"


def _shift(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    node = _pick(_biased(model), rng, "no nonzero bias")
    bias = node.inputs[2]
    assert bias is not None
    name = bias.name or ""
    array = _array(model, name).copy()
    if rng.random() < 0.5:
        _write(model, name, np.zeros_like(array))
        return _label(node), f"bias '{name}' dropped"
    places = np.flatnonzero(array)
    place = int(rng.choice(places))
    array.flat[place] = 0
    _write(model, name, array)
    return _label(node), f"element {place} of bias '{name}' dropped"


def _epsilon(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    """Every column times sqrt((variance + 1e-3) / (variance + 1e-5)), variances in [0.1, 3]."""
    kernel = _kernel(model, rng)
    variance = rng.uniform(0.1, 3.0, kernel.channels)
    factor = np.sqrt((variance + 1e-3) / (variance + 1e-5))
    array = _array(model, kernel.name)
    form = [-1 if axis == kernel.axis else 1 for axis in range(array.ndim)]
    _write(model, kernel.name, array.astype(np.float64) * factor.reshape(form))
    return kernel.op, f"'{kernel.name}' folded with epsilon 1e-5 in place of 1e-3"


def _channels(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    kernel = _kernel(model, rng, least=2)
    array = _array(model, kernel.name)
    first, second = (int(c) for c in rng.choice(kernel.channels, 2, replace=False))
    order = np.arange(kernel.channels)
    order[[first, second]] = order[[second, first]]
    _write(model, kernel.name, array.take(order, axis=kernel.axis))
    return kernel.op, f"columns {first} and {second} of '{kernel.name}' swapped"


def _axis(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    """A scale per output channel put on the input channels instead."""
    kernel = _kernel(model, rng, least=2)
    array = _array(model, kernel.name)
    other = 1 - kernel.axis if kernel.axis < 2 and array.ndim >= 2 else array.ndim - 2
    if array.ndim < 2 or array.shape[other] < 2:
        raise NoPlaceError("one input channel only")
    form = [-1 if axis == other else 1 for axis in range(array.ndim)]
    right = [-1 if axis == kernel.axis else 1 for axis in range(array.ndim)]
    scale = rng.uniform(0.5, 2.0, max(kernel.channels, array.shape[other]))
    wrong = scale[: array.shape[other]].reshape(form) / scale[: kernel.channels].reshape(right)
    _write(model, kernel.name, array.astype(np.float64) * wrong)
    return kernel.op, f"scale of '{kernel.name}' on its input axis"


def _relu(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    """The bias carried over the activation behind it, as if that were linear."""
    places = []
    for node in _biased(model):
        uses = list(node.outputs[0].uses())
        output = node.outputs[0]
        if len(uses) == 1 and uses[0][0].op_type in _ACTIVATIONS and not output.is_graph_output():
            places.append(node)
    node = _pick(places, rng, "no biased op before an activation")
    activation = next(iter(node.outputs[0].uses()))[0]
    bias = node.inputs[2]
    assert bias is not None and bias.const_value is not None
    array = bias.const_value.numpy()
    rank = 4 if node.op_type == "Gemm" else len(_shape_of(node))
    form = array if node.op_type == "Gemm" else array.reshape(-1, *([1] * (rank - 2)))
    node.replace_input_with(2, _constant(model, np.zeros_like(array), "planted_zero"))
    moved = _constant(model, np.asarray(form), "planted_bias")
    _insert_behind(model, activation, "Add", moved)
    return _label(node), f"bias of '{_label(node)}' moved behind {activation.op_type}"


def _shape_of(node: ir.Node) -> tuple[int, ...]:
    kernel = node.inputs[1]
    tensor = kernel.const_value if kernel is not None else None
    if tensor is None:
        raise NoPlaceError("the kernel is not constant")
    return tuple(tensor.numpy().shape)


def _constant(model: ir.Model, array: Array, base: str) -> ir.Value:
    name, number = base, 0
    while name in model.graph.initializers:
        number += 1
        name = f"{base}_{number}"
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def _insert_behind(model: ir.Model, node: ir.Node, op_type: str, operand: ir.Value) -> None:
    """Put a binary op with a constant between `node` and all its readers; the name moves along."""
    output = node.outputs[0]
    name = output.name
    new = ir.Node("", op_type, [output, operand], name="planted")
    new.outputs[0].type, new.outputs[0].shape = output.type, output.shape
    for reader, index in list(output.uses()):
        if reader is not new:
            reader.replace_input_with(index, new.outputs[0])
    for index, value in enumerate(model.graph.outputs):
        if value is output:
            model.graph.outputs[index] = new.outputs[0]
    output.name = f"{name}_before_planted"
    new.outputs[0].name = name
    model.graph.insert_after(node, new)


def _border(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    """Padded with 0.1 in place of 0: what a shift carried over zero padding does."""
    places = [
        node
        for node in model.graph
        if node.op_type == "Conv"
        and "pads" in node.attributes
        and any(node.attributes["pads"].as_ints())
        and node.inputs[0] is not None
    ]
    node = _pick(places, rng, "no padded convolution")
    pads = list(node.attributes["pads"].as_ints())
    rank = len(pads) // 2
    full = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    kernel = node.inputs[1]
    tensor = kernel.const_value if kernel is not None else None
    if tensor is None or model.graph.opset_imports.get("", 0) < 11:
        raise NoPlaceError("the kernel is not constant, or the opset is too old")
    data = node.inputs[0]
    assert data is not None
    amounts = _constant(model, np.array(full, dtype=np.int64), "planted_pads")
    value = _constant(model, np.array(0.1, dtype=tensor.numpy().dtype), "planted_value")
    padding = ir.Node("", "Pad", [data, amounts, value], name="planted")
    padding.outputs[0].name = "planted_padded"
    padding.outputs[0].type = data.type
    model.graph.insert_before(node, padding)
    node.replace_input_with(0, padding.outputs[0])
    node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(pads))
    return _label(node), f"padding of '{_label(node)}' with 0.1 in place of 0"


def _activation(model: ir.Model, rng: np.random.Generator) -> tuple[str, str]:
    places = [
        node
        for node in model.graph
        if node.op_type in _ACTIVATIONS and not node.outputs[0].is_graph_output()
    ]
    node = _pick(places, rng, "no activation inside the model")
    label, kind = _label(node), node.op_type
    source = node.inputs[0]
    assert source is not None
    for reader, index in list(node.outputs[0].uses()):
        reader.replace_input_with(index, source)
    model.graph.remove(node)
    return label, f"{kind} '{label}' removed"


KINDS: dict[str, Planter] = {
    "column": _column,
    "shift": _shift,
    "epsilon": _epsilon,
    "channels": _channels,
    "axis": _axis,
    "relu": _relu,
    "border": _border,
    "activation": _activation,
}


# --------------------------------------------------------------------------- the test


def is_below_noise(
    folded: ir.Model, mutant: ir.Model, feeds: Sequence[Feed], *, seed: int = 0
) -> bool:
    """Whether a fault moves every output by less than rounding everything once would.

    Both are measured in float64 on the first feeds; two correct models differ by the noise of each,
    sqrt(2) times that of one. Such a fault is no larger than what correct models of the same types
    show, so no comparison of results can tell it from them.
    """
    try:
        still, moved = Float64Model(folded), Float64Model(mutant)
        noisy = Perturbed(still, rounding_of(folded))
        tallies = {name: OutputTally(name) for name in still.outputs}
        rng = np.random.default_rng([seed, 6])
        for number, feed in enumerate(feeds[:_NOISE_FEEDS]):
            base, fault = still.run(feed), moved.run(feed)
            draws = [noisy.run(feed, rng) for _ in range(_NOISE_DRAWS)]
            for name, tally in tallies.items():
                tally.compare("fault", base[name], fault[name], number, report=True)
                for draw in draws:
                    tally.compare("noise", base[name], draw[name], number, report=False)
    except EvaluationError:
        return False
    return all(
        not tally.faults
        and tally.spread("fault").rms <= 2**0.5 * tally.spread("noise").rms
        and tally.share("fault") <= tally.share("noise")
        for tally in tallies.values()
    )


Verify = Callable[[ir.Model], Verification]
IsBelowNoise = Callable[[ir.Model], bool]


def mutation_test(
    folded: ir.Model,
    verify: Verify,
    below_noise: IsBelowNoise,
    count: int,
    *,
    seed: int = 0,
) -> MutationTest:
    """Plant `count` faults, of every kind in turn, and look whether `verify` catches each.

    Args:
        folded: a model that passes.
        verify: verifies a candidate against the original.
        below_noise: whether a mutant's effect is smaller than rounding's; asked when not caught.
        count: how many to plant.
        seed: of the choice.
    """
    start = time.monotonic()
    rng = np.random.default_rng([seed, 5])
    kinds = list(KINDS)
    mutants: list[Mutant] = []
    for number in range(count):
        planted = plant_any(folded, rng, kinds[number % len(kinds)])
        if planted is None:
            break
        result = verify(planted.model)
        codes = [c.code for c in result.checks if c.status is Status.FAILED]
        caught = bool(codes)
        mutants.append(
            Mutant(
                planted.kind,
                planted.op,
                planted.detail,
                caught,
                codes[0] if codes else "",
                below_noise=not caught and below_noise(planted.model),
            )
        )
    return MutationTest(tuple(mutants), seed, time.monotonic() - start)
