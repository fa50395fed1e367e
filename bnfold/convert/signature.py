"""How a live Keras model is called: flat inputs with names, flat outputs with names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bnfold.core.errors import InputError
from bnfold.formats.keras import runtime

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Port:
    """One input of a model.

    Attributes:
        name: Keras's name of it.
        shape: sizes, None where free. The first is the batch.
        dtype: name of the element type, "float32".
    """

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Signature:
    """A model as a function from a flat list of tensors to a flat list of tensors.

    Attributes:
        inputs: in Keras's order.
        call: applies the model for inference; one tensor per input in, a flat list out.
        output_names: Keras's names in the order of `call`; None when only a call can tell how
            many outputs there are (subclassed models).
    """

    inputs: tuple[Port, ...]
    call: Callable[[Sequence[Any]], list[Any]]
    output_names: tuple[str, ...] | None


def signature_of(model: Any, *, input_is_named: bool = True) -> Signature:
    """Read the signature of a `keras.Model` or `tf_keras.Model`.

    Args:
        model: functional, sequential, or subclassed and called before.
        input_is_named: False when Keras made up the name of the only input; it becomes "input".

    Raises:
        InputError: the inputs are not known, or are sparse or ragged.
    """
    inputs = getattr_or_none(model, "inputs")
    if inputs:
        return _of_graph(model, list(inputs), input_is_named)
    return _of_calls(model)


def getattr_or_none(model: Any, name: str) -> Any:
    """An attribute, None where there is none or Keras refuses to give it yet."""
    try:
        return getattr(model, name)
    except (AttributeError, ValueError, RuntimeError):
        return None


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
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


def _of_graph(model: Any, inputs: list[Any], input_is_named: bool) -> Signature:
    tf = runtime.start_tensorflow()
    for tensor in inputs:
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise InputError(f"Input {_name_of(tensor)!r} is sparse or ragged: ONNX has no such.")
    names = [_name_of(tensor) for tensor in inputs]
    if not input_is_named and len(names) == 1:
        names = ["input"]
    names = list(unique_names(names))
    structure = _structure(tf, model, "input", inputs)

    def call(tensors: Sequence[Any]) -> list[Any]:
        given = {id(port): tensor for port, tensor in zip(inputs, tensors, strict=True)}
        packed = tf.nest.map_structure(lambda port: given[id(port)], structure)
        return list(tf.nest.flatten(model(packed, training=False)))

    ports = tuple(
        Port(name, _shape(tensor.shape), _dtype(tensor.dtype))
        for name, tensor in zip(names, inputs, strict=True)
    )
    outputs = unique_names(_output_names(model), taken=names)
    return Signature(ports, call, outputs)


def _structure(tf: Any, model: Any, attribute: str, tensors: list[Any]) -> Any:
    """How the flat tensors are nested where the model is called.

    A Keras 3 Sequential has no `input`, or that of the model in which it was called.
    """
    structure = getattr_or_none(model, attribute)
    if structure is not None and {id(leaf) for leaf in tf.nest.flatten(structure)} == {
        id(tensor) for tensor in tensors
    }:
        return structure
    return tensors[0] if len(tensors) == 1 else tensors


def _output_names(model: Any) -> list[str]:
    """One name per output: the keys of a flat dict, else the names of the output layers."""
    structure = _structure(runtime.start_tensorflow(), model, "output", list(model.outputs))
    if isinstance(structure, dict) and not any(
        isinstance(value, (dict, list, tuple)) for value in structure.values()
    ):
        return [str(key) for key in sorted(structure)]
    stated = getattr_or_none(model, "output_names")
    if stated is not None and len(stated) == len(model.outputs):
        return [str(name) for name in stated]
    return [_name_of(tensor) for tensor in model.outputs]


def _name_of(tensor: Any) -> str:
    """The name of the layer that makes a symbolic tensor.

    The tensor's own name is no name: Keras 3 calls it keras_tensor_N after a counter.
    """
    history = getattr(tensor, "_keras_history", None)
    name = getattr(history[0], "name", None) if history is not None else None
    return str(name or tensor.name).split("/")[0].split(":")[0]


def _of_calls(model: Any) -> Signature:
    """A subclassed model: what it was called with, or built for, is what is known."""
    recorded = _recorded_by_keras2(model) if hasattr(model, "save_spec") else None
    recorded = recorded or _recorded_by_keras3(model)
    if recorded is None:
        raise InputError(
            f"Model {getattr(model, 'name', '?')!r} has never been called, so the shape of its "
            "input is unknown: call it once, model(x), before converting it."
        )
    ports, repack = recorded

    def call(tensors: Sequence[Any]) -> list[Any]:
        tf = runtime.start_tensorflow()
        args, kwargs = repack(tensors)
        if _takes_training(model):
            kwargs = {**kwargs, "training": False}
        return list(tf.nest.flatten(model(*args, **kwargs)))

    return Signature(ports, call, None)


_Repack = Callable[[Sequence[Any]], "tuple[list[Any], dict[str, Any]]"]


def _recorded_by_keras2(model: Any) -> tuple[tuple[Port, ...], _Repack] | None:
    tf = runtime.start_tensorflow()
    spec = model.save_spec(dynamic_batch=True)
    if spec is None:
        return None
    args, kwargs = spec
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}
    structure = (list(args), kwargs)
    leaves = tf.nest.flatten(structure)
    if not all(isinstance(leaf, tf.TensorSpec) for leaf in leaves):
        return None
    names = [str(leaf.name or f"input_{i + 1}").split("/")[-1] for i, leaf in enumerate(leaves)]
    ports = tuple(
        Port(name, _shape(leaf.shape), leaf.dtype.name)
        for name, leaf in zip(unique_names(names), leaves, strict=True)
    )

    def repack(tensors: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = tf.nest.pack_sequence_as(structure, list(tensors))
        return args, kwargs

    return ports, repack


def _recorded_by_keras3(model: Any) -> tuple[tuple[Port, ...], _Repack] | None:
    shapes: dict[str, Any] = getattr_or_none(model, "_build_shapes_dict") or {}
    if not shapes:
        return None
    ports: list[Port] = []

    def place(structure: Any, name: str) -> Any:
        """The structure with each shape replaced by the index of its port."""
        if isinstance(structure, dict):
            return {key: place(value, str(key)) for key, value in structure.items()}
        if all(size is None or isinstance(size, int) for size in structure):
            # Only shapes are recorded; layers cast what they are given.
            ports.append(Port(name, (None, *structure[1:]), str(model.variable_dtype)))
            return len(ports) - 1
        return [place(part, f"{name}_{i + 1}") for i, part in enumerate(structure)]

    only = len(shapes) == 1
    places = {
        key.removesuffix("_shape"): place(value, "input" if only else key.removesuffix("_shape"))
        for key, value in shapes.items()
    }

    def repack(tensors: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        def fill(part: Any) -> Any:
            if isinstance(part, dict):
                return {key: fill(value) for key, value in part.items()}
            return [fill(p) for p in part] if isinstance(part, list) else tensors[part]

        if only:
            return [fill(next(iter(places.values())))], {}
        return [], {key: fill(part) for key, part in places.items()}

    names = unique_names(port.name for port in ports)
    named = tuple(
        Port(name, port.shape, port.dtype) for name, port in zip(names, ports, strict=True)
    )
    return named, repack


def _takes_training(model: Any) -> bool:
    import inspect

    parameters = inspect.signature(type(model).call).parameters
    return "training" in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )


def _shape(shape: Any) -> Shape:
    return tuple(None if size is None else int(size) for size in shape)


def _dtype(dtype: Any) -> str:
    return str(getattr(dtype, "name", dtype))
