"""Walking a `KerasGraph` and emitting each call by the rule of its layer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from bnfold.convert.direct import wrappers
from bnfold.convert.direct.emitter import Emitter, onnx_type
from bnfold.convert.direct.layout import value
from bnfold.convert.direct.ops import cast
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.table import rule_of, why_unsupported
from bnfold.convert.direct.tensor import Tensor, plain
from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError, making_sense
from bnfold.formats.keras.graph import Call, KerasGraph, Layer, TensorRef, leaves, map_leaves
from bnfold.formats.keras.masking import OWN_MASKS, carries_mask
from bnfold.formats.keras.read_config import input_shape

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def refuse_unsupported(graph: KerasGraph) -> None:
    """Check that every layer that is called has a rule.

    Raises:
        UnsupportedLayerError: naming the first that has none.
    """
    for path, layer in called_layers(graph):
        why = why_unsupported(layer)
        if why:
            raise UnsupportedLayerError(path, layer.class_name, why)


def called_layers(graph: KerasGraph, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Layers that take part, with their paths; nested models' layers too."""
    for name in dict.fromkeys(call.layer for call in needed_calls(graph)):
        layer = graph.layers[name]
        here = f"{path}/{name}" if path else name
        yield here, layer
        inner = [layer, *layer.parts.values()]
        for one in inner:
            if one.graph is not None and one.is_own:
                yield from called_layers(one.graph, here)


def needed_calls(graph: KerasGraph) -> list[Call]:
    """The calls that an output depends on; Keras 3's files also hold masks that nobody reads."""
    makers = {(call.layer, call.number): call for call in graph.calls}
    wanted: set[tuple[str, int]] = set()
    pending = [(ref.layer, ref.call) for ref in graph.outputs]
    while pending:
        place = pending.pop()
        if place not in wanted:
            wanted.add(place)
            call = makers.get(place)
            pending += [(ref.layer, ref.call) for ref in call.refs()] if call else []
    return [call for call in graph.calls if (call.layer, call.number) in wanted]


def emit(graph: KerasGraph, opset: int) -> ConvertedModel:
    """The ONNX model of a graph, not folded, and the layer of each of its nodes.

    Raises:
        UnsupportedLayerError: a layer has no rule, or is used in a way that has none.
        InputError: weights are missing or have wrong shapes.
    """
    refuse_unsupported(graph)
    emitter = Emitter(opset)
    inputs, tensors = _inputs(graph, emitter)
    results = emit_graph(emitter, graph, tensors, "", graph.generation)
    outputs = _outputs(graph, emitter, results, inputs)
    nodes = _needed(emitter.nodes, outputs)
    used = {id(one) for node in nodes for one in _reads(node)}
    other = any(node.domain for node in nodes)
    onnx_graph = ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=[one for one in emitter.initializers if id(one) in used],
        opset_imports={"": opset, **_OTHER_DOMAINS} if other else {"": opset},
        name=graph.name or "model",
    )
    version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model = ir.Model(onnx_graph, ir_version=max(version, 8), producer_name="bnfold")
    names = {node.name for node in nodes}
    labels = {name: label for name, label in emitter.labels.items() if name in names}
    return ConvertedModel(model, labels, None, "direct", steps=frozenset(emitter.steps & names))


# Domains beside ONNX's own in which a rule has an op, with the version that first had it.
_OTHER_DOMAINS = {"ai.onnx.ml": 2}


def _needed(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that an output depends on."""
    wanted = {id(one) for one in outputs}
    kept: list[ir.Node] = []
    for node in reversed(nodes):
        if any(id(one) in wanted for one in node.outputs):
            kept.append(node)
            wanted |= {id(one) for one in _reads(node)}
        else:
            for place in range(len(node.inputs)):
                node.replace_input_with(place, None)
    return kept[::-1]


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, in its body too."""
    yield from (one for one in node.inputs if one is not None)
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _reads(inner)


_AXIS_NAMES = {2: ("batch", "features"), 3: ("batch", "time", "features")}
_AXIS_NAMES |= {4: ("batch", "height", "width", "channels")}
_AXIS_NAMES |= {5: ("batch", "depth", "height", "width", "channels")}


def _inputs(graph: KerasGraph, emitter: Emitter) -> tuple[list[ir.Value], list[Tensor]]:
    values: list[ir.Value] = []
    tensors: list[Tensor] = []
    for ref, name in zip(graph.inputs, graph.input_names(), strict=True):
        layer = graph.layers[ref.layer]
        with making_sense(layer.name, layer.class_name):
            shape = input_shape(layer)
        if shape is None:
            raise InputError(f"Input {ref.layer!r} has no shape in the file.")
        if layer.config.get("sparse") or layer.config.get("ragged"):
            raise UnsupportedLayerError(ref.layer, "InputLayer", "is sparse or ragged")
        dtype = str(layer.config.get("dtype") or "float32")
        dtype = layer.policy.compute if isinstance(layer.config.get("dtype"), dict) else dtype
        prefix = "" if len(graph.inputs) == 1 else f"{name}_"
        dims = tuple(
            dim if dim is not None else _dim_name(axis, len(shape), prefix)
            for axis, dim in enumerate(shape)
        )
        made = ir.Value(
            name=emitter.unique(name), type=ir.TensorType(onnx_type(dtype)), shape=ir.Shape(dims)
        )
        values.append(made)
        tensors.append(Tensor(dims, dtype, {plain(len(dims)): made}))
    return values, tensors


def _dim_name(axis: int, rank: int, prefix: str) -> str:
    if axis == 0:
        return "batch"
    names = _AXIS_NAMES.get(rank)
    return f"{prefix}{names[axis] if names else f'axis_{axis}'}"


def _outputs(
    graph: KerasGraph, emitter: Emitter, results: Sequence[Tensor], inputs: Sequence[ir.Value]
) -> list[ir.Value]:
    outputs: list[ir.Value] = []
    site = Site(emitter, Layer("", "Model"), "", generation=graph.generation)
    taken = {id(one) for one in inputs}
    for tensor, name in zip(results, graph.output_names(), strict=True):
        made = value(site, tensor, plain(tensor.rank))
        if id(made) in taken or made.const_value is not None:
            made = site.node("Identity", [made], (tensor.dtype, tensor.shape))
        taken.add(id(made))
        made.name = name
        outputs.append(made)
    return outputs


def emit_graph(
    emitter: Emitter, graph: KerasGraph, inputs: Sequence[Tensor], path: str, generation: int
) -> list[Tensor]:
    """Emit all calls of a (nested) graph on these inputs."""
    made: dict[tuple[str, int, int], Tensor] = {}
    for ref, tensor in zip(graph.inputs, inputs, strict=True):
        made[ref.layer, ref.call, ref.index] = tensor

    def lookup(ref: TensorRef) -> Tensor:
        found = made.get((ref.layer, ref.call, ref.index))
        if found is None:
            raise InputError(f"The model reads output {ref.index} of layer {ref.layer!r}.")
        return found

    for call in needed_calls(graph):
        if (call.layer, call.number, 0) in made:
            continue
        layer = graph.layers[call.layer]
        with making_sense(f"{path}/{layer.name}" if path else layer.name, layer.class_name):
            results = _emit_call(emitter, layer, call, lookup, path, generation)
        for index, tensor in enumerate(results):
            made[call.layer, call.number, index] = tensor
    return [lookup(ref) for ref in graph.outputs]


def _emit_call(
    emitter: Emitter, layer: Layer, call: Call, lookup: Any, path: str, generation: int
) -> list[Tensor]:
    here = f"{path}/{layer.name}" if path else layer.name
    args = map_leaves(call.args, lookup)
    kwargs = map_leaves(dict(call.kwargs), lookup)
    site = Site(emitter, layer, here, args, kwargs, generation)
    if layer.class_name == "InputLayer":
        raise InputError(f"Input layer {here!r} is not among the inputs of its model.")
    if layer.graph is not None and layer.is_own:
        return _emit_nested(site, layer.graph, call, lookup)
    result = _emit_layer(site)
    return result if isinstance(result, list) else [result]


def _emit_nested(site: Site, graph: KerasGraph, call: Call, lookup: Any) -> list[Tensor]:
    if site.is_training:
        raise site.unsupported("is called with training=True")
    given = [lookup(ref) for ref in leaves(call.args)]
    given += [lookup(ref) for ref in leaves({k: v for k, v in call.kwargs.items() if k != "mask"})]
    if len(given) != len(graph.inputs):
        raise site.unsupported(f"is given {len(given)} inputs where it has {len(graph.inputs)}")
    cast_to = [_input_dtype(graph.layers[ref.layer]) for ref in graph.inputs]
    inputs = [
        cast(site, one, dtype) if one.dtype in _FLOATS and dtype in _FLOATS else one
        for one, dtype in zip(given, cast_to, strict=True)
    ]
    return emit_graph(site.emitter, graph, inputs, site.path, site.generation)


def _input_dtype(layer: Layer) -> str:
    return layer.policy.compute


def _emit_layer(site: Site) -> Tensor | list[Tensor]:
    layer = site.layer
    if layer.class_name in _WRAPPERS:
        return _WRAPPERS[layer.class_name](_autocast(site), _emit_inner)
    rule = rule_of(layer)
    if rule is None:
        raise site.unsupported(why_unsupported(layer) or "has no rule")
    ready = _autocast(site)
    result = rule(ready)
    if isinstance(result, Tensor) and layer.class_name not in OWN_MASKS:
        first = next(leaves_of(ready.args), None)
        carried = first is not None and carries_mask(layer, site.generation)
        result = dataclasses.replace(result, mask=first.mask if carried and first else None)
    return result


_WRAPPERS = {
    "SpectralNormalization": wrappers.transparent,
    "TimeDistributed": wrappers.time_distributed,
}


def _emit_inner(site: Site, layer: Layer, x: Tensor) -> Tensor:
    """A layer or model inside a wrapper, on one value."""
    path = f"{site.path}/{layer.name}"
    inner = dataclasses.replace(site, layer=layer, path=path, args=(x,), kwargs={})
    if layer.graph is not None and layer.is_own:
        results: Any = emit_graph(site.emitter, layer.graph, [x], path, site.generation)
    else:
        results = _emit_layer(inner)
    if isinstance(results, list):
        if len(results) != 1:
            raise site.unsupported("wraps a layer with several outputs")
        results = results[0]
    found: Tensor = results
    return found


# Operators and lookups take what they are given.
_NO_CAST = frozenset({"Embedding", "TFOpLambda", "SlicingOpLambda"})


def _autocast(site: Site) -> Site:
    """Floating inputs in the layer's compute dtype, as Keras gives them to it."""
    layer = site.layer
    if layer.is_operator or layer.class_name in _NO_CAST or layer.policy.compute not in _FLOATS:
        return site
    if layer.config.get("autocast") is False:
        return site
    change = functools.partial(_cast_tensor, site)
    return dataclasses.replace(
        site, args=_map(site.args, change), kwargs=_map(dict(site.kwargs or {}), change)
    )


_WANTS_FLOAT = frozenset({"Rescaling", "Normalization", "Dense", "BatchNormalization"})


def _cast_tensor(site: Site, tensor: Tensor) -> Tensor:
    wanted = site.dtype
    if tensor.dtype == wanted:
        return tensor
    takes_any = site.layer.class_name in _WANTS_FLOAT and tensor.dtype not in ("string",)
    if tensor.dtype in _FLOATS or takes_any:
        result = cast(site, tensor, wanted)
        result.mask = tensor.mask
        return result
    return tensor


def _map(structure: Any, function: Any) -> Any:
    if isinstance(structure, Tensor):
        return function(structure)
    if isinstance(structure, dict):
        return {key: _map(one, function) for key, one in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(_map(one, function) for one in structure)
    return structure


def leaves_of(structure: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments."""
    if isinstance(structure, Tensor):
        yield structure
    elif isinstance(structure, dict):
        for one in structure.values():
            yield from leaves_of(one)
    elif isinstance(structure, (list, tuple)):
        for one in structure:
            yield from leaves_of(one)
