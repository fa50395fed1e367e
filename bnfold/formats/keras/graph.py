"""A Keras model as data: layers with their configs and arrays, their calls, inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bnfold.core.errors import InputError
from bnfold.formats.text import clip

Dim = int | None
Shape = tuple[Dim, ...]
AnyArray = npt.NDArray[Any]
Frozen = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class LazyArray:
    """An array that is read when it is asked for.

    Attributes:
        shape: its shape.
        dtype: name of its element type ("float32", "bfloat16").
        read: reads it; every call reads anew.
        key: where it stands in the file, or in the list of the layer's weights; for writing back.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], AnyArray] = field(repr=False)
    key: str = ""


@dataclass(frozen=True)
class Policy:
    """The dtypes of a layer.

    Attributes:
        compute: dtype of its arithmetic and output.
        variable: dtype of its weights.
        quantized: name of the policy where it is a quantized one, else "".
    """

    compute: str = "float32"
    variable: str = "float32"
    quantized: str = ""


@dataclass(frozen=True)
class TensorRef:
    """Output number ``index`` of call number ``call`` of layer ``layer``."""

    layer: str
    call: int = 0
    index: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: name of the layer.
        number: which of the layer's calls, from 0.
        args: positional arguments; `TensorRef`s stand in for values, within lists and dicts too.
        kwargs: keyword arguments, likewise.
    """

    layer: str
    number: int = 0
    args: tuple[Any, ...] = ()
    kwargs: Frozen = field(default_factory=dict)

    def refs(self) -> Iterator[TensorRef]:
        """Every value that the call reads, in order."""
        yield from leaves((self.args, dict(self.kwargs)))


_MODELS = ("Functional", "Model", "Sequential")


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer, an operator node (`x + y`), or a nested model.

    Attributes:
        name: unique in its graph.
        class_name: as the file has it.
        module: where the class comes from, "" where the file does not say.
        registered: the name it was registered under ("pkg>Name"), "" for Keras's own.
        config: the layer's config, as JSON holds it.
        policy: its dtypes.
        weights: role ("kernel", "query/bias") to array.
        loose: arrays of a layer whose class is not known, in the order of the file.
        parts: layers inside a wrapper, by attribute ("layer", "forward_layer").
        graph: the nested model, if it is one.
        build_shape: the input shape recorded when the layer was built; None where it is not.
        shared: an id that several layers have which are one and the same object; None else.
        learned: reads what a lookup or Discretization has learned and its config does not say: its
            tokens, special ones among them, or its boundaries. None where it keeps none; may raise
            InputError.
    """

    name: str
    class_name: str
    module: str = ""
    registered: str = ""
    config: Frozen = field(default_factory=dict)
    policy: Policy = Policy()
    weights: Mapping[str, LazyArray] = field(default_factory=dict)
    loose: tuple[LazyArray, ...] = ()
    parts: Mapping[str, Layer] = field(default_factory=dict)
    graph: KerasGraph | None = None
    build_shape: Any = None
    shared: int | None = None
    learned: Callable[[], tuple[str | float, ...]] | None = field(default=None, repr=False)

    @property
    def is_operator(self) -> bool:
        """Whether this is no layer but a function of tensors, such as ``x + y`` (Keras 3)."""
        return ".ops" in self.module

    @property
    def is_own(self) -> bool:
        """Whether the class is one of Keras's own, not a user's of whatever name."""
        if self.graph is not None and self.class_name not in _MODELS:
            return False  # older files do not say where a model's class comes from
        root = self.module.partition(".")[0]
        if self.registered and self.registered != self.class_name:
            return False
        if ">" in self.class_name:
            return False
        return root in ("", "keras", "tf_keras", "tensorflow")


@dataclass(frozen=True, eq=False)
class KerasGraph:
    """A Sequential or Functional model.

    Attributes:
        name: the model's.
        layers: by name, in the order of the config.
        calls: in an order in which every value is made before it is read.
        inputs: the inputs, in Keras's order.
        outputs: the outputs, in Keras's order; one may occur twice, or be an input.
        output_structure: the outputs nested as Keras gives them; `TensorRef`s at the leaves.
        input_structure: the inputs likewise.
        sequential: whether it is a Sequential.
        named_input: False where the file has no input layer, so that one was made up.
        generation: 2 or 3: the Keras that wrote it.
        config: the model's config as the file has it.
        shapes: shapes that the config states for values, where it does (Keras 3).
        serialized: the object that wraps the config of the outermost model, with class and
            module; empty in nested models.
    """

    name: str
    layers: Mapping[str, Layer]
    calls: tuple[Call, ...]
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    input_structure: Any
    output_structure: Any
    sequential: bool = False
    named_input: bool = True
    generation: int = 3
    config: Frozen = field(default_factory=dict)
    shapes: Mapping[TensorRef, Shape] = field(default_factory=dict)
    serialized: Frozen = field(default_factory=dict)

    def input_names(self) -> tuple[str, ...]:
        """One distinct name per input: the input layer's."""
        if not self.named_input and len(self.inputs) == 1:
            return ("input",)
        return unique_names([ref.layer for ref in self.inputs])

    def output_names(self) -> tuple[str, ...]:
        """One distinct name per output: the key of a flat dict, else the layer's name."""
        structure = self.output_structure
        if isinstance(structure, dict) and all(
            isinstance(value, TensorRef) for value in structure.values()
        ):
            names = sorted(str(key) for key in structure)
        else:
            names = [ref.layer for ref in self.outputs]
        return unique_names(names, taken=self.input_names())


def unique_names(names: list[str], taken: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Make names distinct as Keras 2 does: "dense", "dense_1", "dense_2"."""
    used = set(taken)
    result = []
    for name in names:
        candidate, count = name, 0
        while candidate in used:
            count += 1
            candidate = f"{name}_{count}"
        used.add(candidate)
        result.append(candidate)
    return tuple(result)


def leaves(structure: Any) -> Iterator[TensorRef]:
    """The `TensorRef`s in a nested structure; dicts in the order of their sorted keys."""
    if isinstance(structure, TensorRef):
        yield structure
    elif isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from leaves(part)


def map_leaves(structure: Any, function: Callable[[TensorRef], Any]) -> Any:
    """The structure with every `TensorRef` replaced."""
    if isinstance(structure, TensorRef):
        return function(structure)
    if isinstance(structure, dict):
        return {key: map_leaves(value, function) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(map_leaves(part, function) for part in structure)
    return structure


def walk_layers(graph: KerasGraph, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer with its path ("encoder/bn_1"), nested models and wrapped layers included."""
    for layer in graph.layers.values():
        yield from _walk_layer(layer, path)


def _walk_layer(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    here = f"{path}/{layer.name}" if path else layer.name
    yield here, layer
    for part in layer.parts.values():
        yield from _walk_layer(part, here)
    if layer.graph is not None:
        yield from walk_layers(layer.graph, here)


def float_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of a name, bfloat16 and the 8-bit floats included."""
    try:
        kind: np.dtype[Any] = np.dtype(name)
    except (TypeError, ValueError):
        kind = np.dtype(object)
    if kind.kind in "biufc":
        return kind
    import ml_dtypes

    # NumPy also knows names of records and objects.
    found = getattr(ml_dtypes, str(name), None)
    if not isinstance(found, type) or np.dtype(found).hasobject:
        raise InputError(f"{clip(str(name), 80)!r} is no data type.")
    return np.dtype(found)


def epsilon_of(config: Frozen, compute: str) -> float:
    """The epsilon of a BatchNormalization as its arithmetic has it.

    Keras normalizes in float32, so epsilon is rounded to that, unless the layer computes in
    float64.
    """
    stated = float(config.get("epsilon", 1e-3))
    with np.errstate(over="ignore"):
        return stated if compute == "float64" else float(np.float32(stated))


def stated_numbers(stated: Any, *, exact: bool = False) -> AnyArray:
    """A number or a list of numbers of a config, as an array of float64.

    TensorFlow makes float32 of Python's floats, whatever is computed with them, unless NumPy has
    made float64 of them before (``exact``).
    """
    if isinstance(stated, dict):
        stated = stated.get("config", {}).get("value", stated.get("value"))
    numbers = np.asarray(stated, dtype=np.float64)
    with np.errstate(over="ignore"):
        return numbers if exact else numbers.astype(np.float32).astype(np.float64)
