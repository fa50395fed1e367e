"""From the JSON config of a Keras model to a `KerasGraph` without arrays.

All shapes that Keras 2 and Keras 3 have written are read: a Sequential as a bare list, nodes as
lists (Keras 2) or as call arguments (Keras 3), a first layer in place of an input layer.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Mapping
from typing import Any

from bnfold.core.errors import InputError
from bnfold.formats.keras import tf_ops
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.graph import (
    Call,
    KerasGraph,
    Layer,
    Policy,
    Shape,
    TensorRef,
    leaves,
    map_leaves,
)
from bnfold.formats.keras.nodes import parse_node, stated_shapes
from bnfold.formats.text import clip

_GRAPHS = ("Functional", "Model")
_SEQUENTIAL = "Sequential"
# Layers and models whose configs in Keras 3 do not say whether they are trainable.
_LAYERS_THAT_LACK_IT = frozenset(
    {"Discretization", "FeatureSpace", "HashedCrossing", "InputLayer", "Pipeline"}
    | {"SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", *_GRAPHS, _SEQUENTIAL}
)
_DEEPEST = 64


def parse_model(config: Any, generation: int = 3) -> KerasGraph:
    """The graph of a model's config.

    Args:
        config: the parsed JSON: an object with "class_name" and "config".
        generation: 2 or 3: the Keras that wrote it.

    Raises:
        UnsupportedModelError: the model is a class of the user's, or a subclassed one.
        InputError: the config is damaged.
    """
    try:
        layer = _parse_layer(config, generation, 0)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        what = clip(f"{type(error).__name__}: {error}")
        raise InputError(f"The model config is damaged: {what}.") from error
    if not layer.is_own:
        raise UnsupportedModelError(
            layer.name, layer.class_name, "is a class of its own, whose code is not in the file"
        )
    if layer.graph is None:
        raise UnsupportedModelError(
            layer.name, layer.class_name, "is no Sequential or Functional model: it has no graph"
        )
    return dataclasses.replace(layer.graph, serialized=config)


def parse_layer(config: Any, generation: int = 3) -> Layer:
    """One layer of its serialized form."""
    return _parse_layer(config, generation, 0)


def _parse_layer(data: Any, generation: int, depth: int) -> Layer:
    if depth > _DEEPEST:
        raise InputError("The model config is damaged: models are nested too deeply.")
    class_name = str(data["class_name"])
    config = data["config"]
    if isinstance(config, list):
        config = {"name": data.get("name", "sequential"), "layers": config}
    name = str(data.get("name") or config.get("name") or class_name.lower())
    build = data.get("build_config")
    if class_name == tf_ops.CLASS_NAME:
        config = tf_ops.as_function(config)
    layer = Layer(
        name=name,
        class_name=class_name,
        module=_module(data, class_name, config, generation),
        registered=str(data.get("registered_name") or ""),
        config=config,
        policy=parse_policy(config.get("dtype")),
        build_shape=build.get("input_shape") if isinstance(build, dict) else None,
        shared=data.get("shared_object_id"),
    )
    parts = {
        attribute: _parse_layer(part, generation, depth + 1)
        for attribute, part in _wrapped(class_name, config).items()
    }
    graph = None
    if class_name == _SEQUENTIAL:
        graph = _parse_sequential(name, config, generation, depth)
    elif class_name in _GRAPHS and "layers" in config and "input_layers" in config:
        graph = _parse_functional(name, config, generation, depth)
    elif "input_layers" in config and "output_layers" in config:
        # A subclass of Model that was built like a Functional one; its call may be another.
        graph = _parse_functional(name, config, generation, depth)
    return dataclasses.replace(layer, parts=parts, graph=graph)


def _module(
    data: Mapping[str, Any], class_name: str, config: Mapping[str, Any], generation: int
) -> str:
    module = data.get("module")
    if isinstance(module, str):
        return module
    # Keras 3 leaves the module out of .h5 files; an operator's config lacks what all layers have.
    lacks = "trainable" not in config and class_name not in _LAYERS_THAT_LACK_IT
    if generation == 3 and "module" not in data and lacks:
        return "keras.ops"
    # None stands for the user's own script.
    return "__main__" if "module" in data else ""


def _wrapped(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Serialized layers inside a wrapper layer, by the attribute that holds them."""
    found: dict[str, Any] = {}
    inner = config.get("layer")
    if not isinstance(inner, dict) or "class_name" not in inner:
        inner = None
    if class_name == "Bidirectional" and inner is not None:
        found["forward_layer"] = inner
        found["backward_layer"] = config.get("backward_layer") or _mirrored(inner)
    elif inner is not None:
        found["layer"] = inner
    cell = config.get("cell")
    if isinstance(cell, dict) and "class_name" in cell:
        found["cell"] = cell
    return found | listed_parts(class_name, config)


def listed_parts(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Serialized layers in a list of a layer's config, by attribute and place: "cells/0"."""
    attribute = _LISTS.get(class_name, "")
    parts = config.get(attribute)
    if not isinstance(parts, list) or not all(_is_serialized(one) for one in parts):
        return {}
    return {f"{attribute}/{place}": one for place, one in enumerate(parts)}


# The attribute that holds a list of layers.
_LISTS = {"Pipeline": "layers", "StackedRNNCells": "cells"}


def _is_serialized(part: Any) -> bool:
    return isinstance(part, dict) and "class_name" in part and "config" in part


def _mirrored(layer: Mapping[str, Any]) -> dict[str, Any]:
    """The layer that a Bidirectional makes for the backward direction."""
    config = dict(layer["config"])
    config["go_backwards"] = not config.get("go_backwards", False)
    return {**layer, "config": config}


def parse_policy(dtype: Any) -> Policy:
    """The dtypes that a config's "dtype" stands for."""
    if isinstance(dtype, dict):
        class_name, config = str(dtype.get("class_name", "")), dtype.get("config") or {}
        if class_name == "DTypePolicyMap":
            return parse_policy(config.get("default_policy"))
        name = config.get("name")
        if "Quantized" in class_name or config.get("mode") is not None:
            source = parse_policy(config.get("source_name") or config.get("source"))
            return dataclasses.replace(source, quantized=str(name or config.get("mode")))
        return parse_policy(name)
    if dtype is None or dtype in ("", "_infer"):
        return Policy()
    if not isinstance(dtype, str):
        raise InputError(f"{clip(str(dtype), 80)!r} is no data type.")
    if dtype in ("mixed_float16", "mixed_bfloat16"):
        return Policy(dtype.removeprefix("mixed_"), "float32")
    if "_from_" in dtype:
        source = parse_policy(dtype.partition("_from_")[2])
        return dataclasses.replace(source, quantized=dtype)
    return Policy(dtype, dtype)


def _parse_sequential(
    name: str, config: Mapping[str, Any], generation: int, depth: int
) -> KerasGraph:
    parsed = [_parse_layer(data, generation, depth + 1) for data in config.get("layers", ())]
    if not parsed:
        raise InputError(f"Model {clip(name)!r} has no layers.")
    named = parsed[0].class_name == "InputLayer"
    if not named:
        taken = {layer.name for layer in parsed}
        first = _made_up_input(parsed[0], config.get("build_input_shape"))
        if first.name in taken:
            first = dataclasses.replace(first, name=f"{name}_{first.name}")
        parsed.insert(0, first)
    elif generation == 3:
        parsed[0] = _of_any_batch(parsed[0])
    layers = _by_name(name, parsed)
    calls = [Call(parsed[0].name)]
    for before, layer in itertools.pairwise(parsed):
        calls.append(Call(layer.name, 0, (TensorRef(before.name),)))
    first_ref, last_ref = TensorRef(parsed[0].name), TensorRef(parsed[-1].name)
    return KerasGraph(
        name=name,
        layers=layers,
        calls=tuple(calls),
        inputs=(first_ref,),
        outputs=(last_ref,),
        input_structure=first_ref,
        output_structure=last_ref,
        sequential=True,
        named_input=named,
        generation=generation,
        config=config,
    )


def _made_up_input(first: Layer, build_shape: Any) -> Layer:
    """The input layer of a Sequential whose file has none."""
    shape = first.config.get("batch_input_shape") or first.config.get("batch_shape")
    dtype = first.config.get("dtype")
    if shape is None and first.graph is not None:
        inner = first.graph.layers[first.graph.inputs[0].layer]
        shape, dtype = input_shape(inner), inner.config.get("dtype")
    if shape is None and isinstance(build_shape, (list, tuple)):
        shape = build_shape
    if shape is None and isinstance(first.build_shape, (list, tuple)):
        shape = first.build_shape
    variable = parse_policy(dtype).variable
    return Layer(
        "input",
        "InputLayer",
        "keras.layers",
        config={"name": "input", "batch_shape": shape, "dtype": variable},
        policy=Policy(variable, variable),
    )


def _of_any_batch(first: Layer) -> Layer:
    """The input layer of a Sequential, for batches of any size.

    One without an input layer is given that of its first batch, its size included; like every model
    it takes batches of other sizes all the same.
    """
    shape = input_shape(first)
    if not shape or shape[0] is None:
        return first
    config = {key: one for key, one in first.config.items() if key not in ("shape", "batch_size")}
    return dataclasses.replace(first, config={**config, "batch_shape": [None, *shape[1:]]})


def input_shape(layer: Layer) -> tuple[int | None, ...] | None:
    """The shape that an InputLayer's config states, batch axis included; None if it does not."""
    config = layer.config
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if isinstance(shape, dict):
        shape = shape.get("items") or shape.get("config")
    if shape is None and isinstance(config.get("shape"), (list, tuple)):
        shape = [config.get("batch_size"), *config["shape"]]
    if not isinstance(shape, (list, tuple)):
        return None
    if not all(size is None or (isinstance(size, int) and size >= 0) for size in shape):
        raise InputError(f"Input {clip(layer.name)!r} has the damaged shape {clip(str(shape))}.")
    return tuple(shape)


def _parse_functional(
    name: str, config: Mapping[str, Any], generation: int, depth: int
) -> KerasGraph:
    data = config["layers"]
    layers = _by_name(name, [_parse_layer(item, generation, depth + 1) for item in data])
    calls: list[Call] = []
    as_lists: set[str] = set()
    shapes: dict[TensorRef, Shape] = {}
    for item in data:
        layer = layers[str(item.get("name") or item["config"]["name"])]
        nodes = item.get("inbound_nodes") or []
        if layer.class_name == "InputLayer" and not nodes:
            calls.append(Call(layer.name))
        for number, node in enumerate(nodes):
            args, kwargs = parse_node(node)
            if layer.class_name == tf_ops.CLASS_NAME:
                args = tf_ops.with_constants(layer.config, args)
            shapes |= stated_shapes(node) if isinstance(node, dict) else {}
            calls.append(Call(layer.name, number, args, kwargs))
            if not isinstance(node, dict):
                as_lists.add(layer.name)
    outputs = _structure(config["output_layers"])
    inputs = _structure(config["input_layers"])
    calls, inputs, outputs = _renumbered(layers, calls, inputs, outputs, bool(as_lists))
    flat_in, flat_out = tuple(leaves(inputs)), tuple(leaves(outputs))
    if not flat_out:
        raise InputError(f"Model {clip(name)!r} has no outputs.")
    return KerasGraph(
        name=name,
        layers=layers,
        calls=_in_order(name, calls, flat_out),
        inputs=flat_in,
        outputs=flat_out,
        input_structure=inputs,
        output_structure=outputs,
        generation=generation,
        config=config,
        shapes=shapes,
    )


def _by_name(model: str, layers: list[Layer]) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    for layer in layers:
        if layer.name in found:
            raise InputError(f"Model {clip(model)!r} has two layers named {clip(layer.name)!r}.")
        found[layer.name] = layer
    return found


def _structure(data: Any) -> Any:
    """Nested references to tensors from a config's input_layers or output_layers."""
    if isinstance(data, dict):
        return {key: _structure(value) for key, value in data.items()}
    if len(data) == 3 and isinstance(data[0], str) and isinstance(data[1], int):
        return TensorRef(data[0], int(data[1]), int(data[2]))
    return [_structure(part) for part in data]


def _renumbered(
    layers: Mapping[str, Layer], calls: list[Call], inputs: Any, outputs: Any, keras2: bool
) -> tuple[list[Call], Any, Any]:
    """Calls of nested models numbered from 0 everywhere.

    A nested Functional model has a call of its own, from its making, that is in no config. Keras 2
    counts it wherever it refers to a call of the model; Keras 3 counts it only in the list of
    outputs.
    """
    counts: dict[str, int] = {}
    for call in calls:
        counts[call.layer] = counts.get(call.layer, 0) + 1
    starts: dict[str, int] = {}
    if keras2:
        used: dict[str, list[int]] = {}
        refs = [ref for call in calls for ref in call.refs()]
        for ref in [*refs, *leaves(inputs), *leaves(outputs)]:
            used.setdefault(ref.layer, []).append(ref.call)
        starts = {
            name: min(numbers)
            for name, numbers in used.items()
            if name in layers and _is_model(layers[name])
        }

    def inside(ref: TensorRef) -> TensorRef:
        return dataclasses.replace(ref, call=ref.call - starts.get(ref.layer, 0))

    def outside(ref: TensorRef) -> TensorRef:
        if keras2:
            return inside(ref)
        layer = layers.get(ref.layer)
        skipped = layer is not None and _is_model(layer) and layer.class_name != _SEQUENTIAL
        # A model that only passes an input through has its own node as the first.
        number = ref.call - int(skipped)
        return dataclasses.replace(ref, call=max(number, 0))

    def check(ref: TensorRef) -> TensorRef:
        if ref.layer not in layers:
            raise InputError(
                f"The model config names the layer {clip(ref.layer)!r}, which it lacks."
            )
        if not 0 <= ref.call < counts.get(ref.layer, 0):
            raise InputError(
                f"The model config reads call {ref.call} of layer {clip(ref.layer)!r}, which is "
                f"called {counts.get(ref.layer, 0)} times."
            )
        return ref

    moved = [
        dataclasses.replace(
            call,
            args=map_leaves(call.args, lambda ref: check(inside(ref))),
            kwargs=map_leaves(dict(call.kwargs), lambda ref: check(inside(ref))),
        )
        for call in calls
    ]
    return (
        moved,
        map_leaves(inputs, lambda ref: check(inside(ref))),
        map_leaves(outputs, lambda ref: check(outside(ref))),
    )


def _is_model(layer: Layer) -> bool:
    return layer.graph is not None or layer.class_name in (*_GRAPHS, _SEQUENTIAL)


def _in_order(model: str, calls: list[Call], outputs: tuple[TensorRef, ...]) -> tuple[Call, ...]:
    """The calls in topological order, otherwise as in the config (Kahn's algorithm)."""
    place = {(call.layer, call.number): number for number, call in enumerate(calls)}
    waits: list[int] = []
    readers: list[list[int]] = [[] for _ in calls]
    for number, call in enumerate(calls):
        needed = {(ref.layer, ref.call) for ref in call.refs()}
        waits.append(len(needed))
        for key in needed:
            readers[place[key]].append(number)
    ready = [number for number, count in enumerate(waits) if count == 0]
    ordered: list[Call] = []
    while ready:
        number = heapq.heappop(ready)
        ordered.append(calls[number])
        for reader in readers[number]:
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(ready, reader)
    if len(ordered) != len(calls):
        stuck = next(call.layer for call, count in zip(calls, waits, strict=True) if count)
        raise InputError(
            f"Model {clip(model)!r} is no graph that can be computed: layer {clip(stuck)!r} waits "
            "for its own result."
        )
    return tuple(ordered)
