"""What the models are fed: inputs given by the user, or made from the interface.

The first dimension of an input, where it is symbolic, is the batch; every other symbol gets its
size from `dims` or from a default that is reported with the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnfold.core.errors import InputError

if TYPE_CHECKING:
    import onnx_ir as ir

Array = NDArray[Any]

#: Size of an unknown height or width of an image-like (rank 4) input; a multiple of 32, as nets
#: with five strides of two demand.
DEFAULT_SPATIAL = 224
#: Size of any other unknown dimension: sequence lengths, mostly.
DEFAULT_LENGTH = 32

_MAKERS = {
    "float": lambda rng, shape, dtype: rng.standard_normal(shape).astype(dtype),
    # 0 and 1 are valid indices of all but one-row tables and valid flags everywhere.
    "integer": lambda rng, shape, dtype: rng.integers(0, 2, shape).astype(dtype),
    "bool": lambda rng, shape, dtype: rng.integers(0, 2, shape).astype(dtype),
}
_KINDS = {
    "FLOAT": "float",
    "FLOAT16": "float",
    "DOUBLE": "float",
    "INT8": "integer",
    "INT16": "integer",
    "INT32": "integer",
    "INT64": "integer",
    "UINT8": "integer",
    "UINT16": "integer",
    "UINT32": "integer",
    "UINT64": "integer",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Slot:
    """One input that a caller must give.

    Attributes:
        name: its name in the graph.
        dtype: its ONNX name, such as "FLOAT".
        shape: a size, a symbol, or None for each dimension; None where the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    @property
    def has_batch(self) -> bool:
        """True when the first dimension can be chosen."""
        return bool(self.shape) and not isinstance((self.shape or (0,))[0], int)


@dataclass(frozen=True)
class Feeds:
    """The arrays of one batch size.

    Attributes:
        batch: rows per call, as the arrays have them.
        arrays: input name to array.
        lines: how each input came about, for the report.
    """

    batch: int
    arrays: dict[str, Array]
    lines: tuple[str, ...]


def slots_of(model: ir.Model) -> tuple[Slot, ...]:
    """List the inputs that have no initializer behind them.

    Raises:
        InputError: an input is no dense tensor.
    """
    import onnx_ir as ir

    slots = []
    for value in model.graph.inputs:
        if value.name is None or value.name in model.graph.initializers:
            continue
        if value.dtype is None or not isinstance(value.type, ir.TensorType):
            raise InputError(
                f"input {value.name!r} is not a dense tensor: it cannot be measured with"
            )
        shape = None
        if value.shape is not None:
            shape = tuple(
                dim if isinstance(dim, int) else dim.value or None for dim in value.shape.dims
            )
        slots.append(Slot(value.name, value.dtype.name, shape))
    return tuple(slots)


def make_feeds(
    slots: Sequence[Slot], batches: Sequence[int], dims: Mapping[str, int], seed: int
) -> list[Feeds]:
    """Generate inputs for each batch size that the interface allows.

    Floats are drawn from N(0, 1); integers and booleans are 0 or 1. Where the first dimension of
    every input is fixed, that size is the only batch and is returned once.

    Args:
        dims: symbol to size, for symbols other than the batch.
        seed: the same seed gives the same arrays.

    Raises:
        InputError: an input of a type or rank that cannot be generated, or an unknown symbol.
    """
    known = {dim for slot in slots for dim in slot.shape or () if isinstance(dim, str)}
    for name, size in dims.items():
        if name not in known:
            choice = ", ".join(sorted(known)) or "none, all are fixed"
            raise InputError(f"no dimension is called {name!r} (symbolic ones: {choice})")
        if size < 1:
            raise InputError(f"dimension {name!r} must be at least 1, not {size}")
    if not any(_follows_batch(slot, dims) for slot in slots):
        batches = batches[:1]
    return [_generate(slots, batch, dims, seed) for batch in batches]


def given_feeds(slots: Sequence[Slot], inputs: Mapping[str, Array]) -> Feeds:
    """Check arrays that the user gave against the interface.

    Raises:
        InputError: an input is missing or unknown.
    """
    wanted = {slot.name for slot in slots}
    missing, unknown = sorted(wanted - set(inputs)), sorted(set(inputs) - wanted)
    if missing:
        raise InputError(f"no array given for input {missing[0]!r}")
    if unknown:
        expected = ", ".join(sorted(wanted)) or "none"
        raise InputError(f"the model has no input called {unknown[0]!r} (inputs: {expected})")
    arrays = {slot.name: np.asarray(inputs[slot.name]) for slot in slots}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise InputError(f"the array for input {name!r} holds Python objects, not numbers")
    lines = tuple(
        f"{name}: {array.dtype} {list(array.shape)}, given" for name, array in arrays.items()
    )
    return Feeds(_batch_of(slots, arrays), arrays, lines)


def _follows_batch(slot: Slot, dims: Mapping[str, int]) -> bool:
    return slot.has_batch and (slot.shape or (None,))[0] not in dims


def _generate(slots: Sequence[Slot], batch: int, dims: Mapping[str, int], seed: int) -> Feeds:
    rng = np.random.default_rng(seed)
    sizes = dict(dims)
    for slot in slots:
        first = slot.shape[0] if slot.shape else None
        if isinstance(first, str):
            sizes.setdefault(first, batch)
    arrays: dict[str, Array] = {}
    lines: list[str] = []
    for slot in slots:
        kind = _KINDS.get(slot.dtype)
        if kind is None:
            raise InputError(
                f"input {slot.name!r} has type {slot.dtype.lower()}, which cannot be generated:"
                " give the inputs"
            )
        if slot.shape is None:
            raise InputError(f"the rank of input {slot.name!r} is not known: give the inputs")
        shape, defaults = _concrete(slot.shape, batch, sizes)
        dtype = np.dtype(
            {"FLOAT": "float32", "DOUBLE": "float64"}.get(slot.dtype, slot.dtype.lower())
        )
        arrays[slot.name] = _MAKERS[kind](rng, shape, dtype)
        chosen = f", {' and '.join(defaults)} by default" if defaults else ""
        lines.append(f"{slot.name}: {dtype} {list(shape)}, generated{chosen}")
    return Feeds(_batch_of(slots, arrays) if arrays else batch, arrays, tuple(lines))


def _concrete(
    shape: Sequence[int | str | None], batch: int, sizes: Mapping[str, int]
) -> tuple[tuple[int, ...], list[str]]:
    """Give every dimension a size; also name the ones that got a default."""
    concrete: list[int] = []
    defaults: list[str] = []
    for axis, dim in enumerate(shape):
        if isinstance(dim, int):
            concrete.append(dim)
        elif isinstance(dim, str) and dim in sizes:
            concrete.append(sizes[dim])
        elif axis == 0:
            concrete.append(batch)
        else:
            size = DEFAULT_SPATIAL if len(shape) == 4 else DEFAULT_LENGTH
            concrete.append(size)
            defaults.append(f"{dim or f'dimension {axis}'}={size}")
    return tuple(concrete), defaults


def _batch_of(slots: Sequence[Slot], arrays: Mapping[str, Array]) -> int:
    """Rows per call: the first axis of the first input whose batch is free, else of any."""
    for slot in sorted(slots, key=lambda slot: not slot.has_batch):
        if arrays[slot.name].ndim:
            return int(arrays[slot.name].shape[0])
    return 1
