"""Building the planner's neutral graph from Keras calls: values, weights, ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.graph import Graph, Op
from bnfold.core.moves import Shape
from bnfold.core.transfer import Contraction, Opaque, Source, Transfer
from bnfold.formats.keras.graph import Layer, LazyArray, float_dtype

# What a layer must become to stand for another affine: None where it cannot.
Holder = Callable[[Affine], "Held | None"]


@dataclass(frozen=True)
class Value:
    """A value of the neutral graph; its shape where the rank is known.

    ``masked`` says that Keras may carry a mask with it.
    """

    name: str
    shape: Shape | None
    dtype: str = "float32"
    masked: bool = False

    @property
    def rank(self) -> int | None:
        """Number of axes."""
        return None if self.shape is None else len(self.shape)


@dataclass(frozen=True)
class Slot:
    """An array of a layer that an op reads.

    Attributes:
        key: the layer's.
        role: the array's.
        part: row of the array, where the op reads only that (a GRU's two biases).
        compute: dtype in which the layer computes with it.
        settings: what the layer's config must say for the array to exist.
        shape: its shape when it has to be made.
        fill: what an array that is not there counts as; None if it cannot be made from that.
    """

    key: str
    role: str
    part: int | None = None
    compute: str = "float32"
    settings: tuple[tuple[str, Any], ...] = ()
    shape: tuple[int, ...] = ()
    fill: float | None = None


@dataclass(frozen=True)
class Held:
    """How a layer stands for an affine.

    Attributes:
        arrays: role to its new content in float64.
        settings: changes of its config.
        class_name: a class that takes its place; "" to keep its own.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    class_name: str = ""


@dataclass(frozen=True)
class Origin:
    """Where an op comes from.

    Attributes:
        key: key of the layer.
        slots: for each operand the array that it is, or would be if it were made.
        hold: of a source: how the layer can stand for another affine.
        dtype: of its results.
    """

    key: str
    slots: tuple[Slot | None, ...]
    hold: Holder | None = None
    dtype: str = "float32"


class Weights:
    """The constants of the neutral graph: arrays of layers, read when they are asked for.

    Args:
        arrays: name in the graph to the array and the row of it that is meant.
        frozen: names that must stay as they are, because the calls of a layer want different
            things of them.
    """

    def __init__(
        self, arrays: Mapping[str, tuple[LazyArray, int | None]], frozen: frozenset[str]
    ) -> None:
        self._arrays = arrays
        self._frozen = frozen
        self._read = lru_cache(maxsize=8)(self._load)

    def is_constant(self, name: str) -> bool:
        """Whether it is an array that may change."""
        return name in self._arrays and name not in self._frozen

    def why_not(self, name: str) -> Reason | None:
        """Several calls of its layer need it as it is."""
        return Reason.OTHER_READER if name in self._frozen else None

    def value(self, name: str) -> Array | None:
        """Its content in float64."""
        return self._read(name) if name in self._arrays else None

    def _load(self, name: str) -> Array:
        array, part = self._arrays[name]
        full = array.read().astype(np.float64)
        return full if part is None else np.asarray(full[part])


@dataclass(frozen=True)
class Lowered:
    """A neutral graph and the way back to layers; ``origins`` has one entry per op."""

    graph: Graph
    origins: tuple[Origin, ...]


class Builder:
    """Collects ops, shapes and constants.

    Args:
        frozen: keys of layers whose arrays and affines must stay as they are.
    """

    def __init__(self, frozen: frozenset[str] = frozenset()) -> None:
        self.frozen = frozen
        self.ops: list[Op] = []
        self.origins: list[Origin] = []
        self.shapes: dict[str, Shape] = {}
        self._arrays: dict[str, tuple[LazyArray, int | None]] = {}
        self._names: dict[str, int] = {}
        self._dims = 0

    def fresh_dim(self) -> str:
        """The name of a size that nothing else is known to have."""
        self._dims += 1
        return f"dim_{self._dims}"

    def unique(self, name: str) -> str:
        """A name not given before."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if not count else f"{name}#{count + 1}"

    def value(self, name: str, shape: Shape | None, dtype: str = "float32") -> Value:
        """A new value."""
        full = self.unique(f"value {name}")
        if shape is not None:
            self.shapes[full] = shape
        return Value(full, shape, dtype)

    def weight(self, slot: Slot, array: LazyArray) -> str:
        """The name of a layer's array in the graph; one and the same for all calls."""
        part = "" if slot.part is None else f"[{slot.part}]"
        name = f"weight {slot.key}|{slot.role}{part}"
        self._arrays[name] = (array, slot.part)
        self.shapes[name] = array.shape if slot.part is None else array.shape[1:]
        return name

    def finish(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Lowered:
        """The graph."""
        frozen = frozenset(
            name for name in self._arrays if name[7:].partition("|")[0] in self.frozen
        )
        graph = Graph(
            self.ops,
            [one.name for one in inputs],
            [one.name for one in outputs],
            self.shapes,
            Weights(self._arrays, frozen),
        )
        return Lowered(graph, tuple(self.origins))


@dataclass(frozen=True, eq=False)
class View:
    """One call of one layer, for the lowering rules.

    Attributes:
        builder: where ops go.
        layer: the layer.
        key: its key: equal for all calls of one layer.
        path: its path, for people.
        args, kwargs: of the call, with `Value`s.
        generation: 2 or 3.
    """

    builder: Builder
    layer: Layer
    key: str
    path: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 3

    @property
    def config(self) -> Mapping[str, Any]:
        """The layer's config."""
        return self.layer.config

    @property
    def inputs(self) -> list[Value]:
        """All values among the arguments, in order."""
        return list(_values((self.args, dict(self.kwargs))))

    @property
    def input(self) -> Value:
        """The first of them."""
        return self.inputs[0]

    @property
    def channels_first(self) -> bool:
        """The layer's data format."""
        return self.config.get("data_format") == "channels_first"

    def slot(self, role: str, part: int | None = None, **settings: Any) -> Slot:
        """A slot for one of the layer's arrays; ``settings`` make it exist."""
        return Slot(
            self.key, role, part, self.layer.policy.compute, tuple(sorted(settings.items()))
        )

    def operand(self, slot: Slot) -> str | None:
        """The array of a slot as an operand; None where the layer has none."""
        array = stored_array(self.layer, slot)
        return None if array is None else self.builder.weight(slot, array)

    def op(
        self,
        transfer: Transfer,
        inputs: Sequence[Value | str | None],
        shape: Shape | None,
        *,
        op_type: str = "",
        suffix: str = "",
        slots: Sequence[Slot | None] = (),
        hold: Holder | None = None,
        dtype: str = "",
    ) -> Value:
        """Append an op with one result."""
        return self.ops(
            transfer,
            inputs,
            [shape],
            op_type=op_type,
            suffix=suffix,
            slots=slots,
            hold=hold,
            dtype=dtype,
        )[0]

    def ops(
        self,
        transfer: Transfer,
        inputs: Sequence[Value | str | None],
        shapes: Sequence[Shape | None],
        *,
        op_type: str = "",
        suffix: str = "",
        slots: Sequence[Slot | None] = (),
        hold: Holder | None = None,
        dtype: str = "",
    ) -> list[Value]:
        """Append an op with several results."""
        name = self.builder.unique(f"{self.path}/{suffix}" if suffix else self.path)
        first = next((one for one in inputs if isinstance(one, Value)), None)
        kind = dtype or (first.dtype if first is not None else "float32")
        results = [self.builder.value(name, shape, kind) for shape in shapes]
        if isinstance(transfer, Source) and self.key in self.builder.frozen:
            transfer = Opaque(Reason.OTHER_READER, "another call of the layer", candidate=True)
        if isinstance(transfer, Contraction) and self.key in self.builder.frozen:
            # Nor may it be given a bias.
            bias = transfer.bias if transfer.bias is not None and transfer.bias.present else None
            transfer = replace(transfer, bias=bias)
        self.builder.ops.append(
            Op(
                name,
                op_type or self.layer.class_name,
                tuple(one.name if isinstance(one, Value) else one for one in inputs),
                tuple(one.name for one in results),
                transfer,
                self.path,
            )
        )
        self.builder.origins.append(Origin(self.key, tuple(slots), hold, kind))
        return results

    def opaque(
        self, shape: Shape | None, why: Reason = Reason.OPAQUE_OP, detail: str = ""
    ) -> Value:
        """The layer as something that nothing passes."""
        return self.op(Opaque(why, detail), self.inputs, shape)


def stored_array(layer: Layer, slot: Slot) -> LazyArray | None:
    """The array of a slot; one of equal numbers where it is not there but counts as such."""
    array = layer.weights.get(slot.role)
    if array is not None or slot.fill is None:
        return array
    dtype, fill = layer.policy.variable, slot.fill
    return LazyArray(slot.shape, dtype, lambda: np.full(slot.shape, fill, float_dtype(dtype)))


def _values(structure: Any) -> list[Value]:
    if isinstance(structure, Value):
        return [structure]
    if isinstance(structure, dict):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [one for part in structure for one in _values(part)]
    return []
