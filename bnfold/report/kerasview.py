"""What a report shows of a Keras model: layers instead of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod

from bnfold.formats.keras.graph import Call, KerasGraph, Layer, TensorRef, float_dtype, walk_layers
from bnfold.report.graphview import MAX_NODES, GraphNode, GraphView
from bnfold.report.model import ModelFacts

_INPUT = "InputLayer"


def keras_facts(graph: KerasGraph, name: str, format_name: str) -> ModelFacts:
    """The facts of a Keras model, nested models and wrapped layers included.

    Args:
        graph: the model.
        name: what to call it: a file name or a kind of object.
        format_name: the format it came in, for people.
    """
    layers = [layer for _, layer in walk_layers(graph) if layer.class_name != _INPUT]
    counts = Counter(layer.class_name for layer in layers)
    return ModelFacts(
        name=name,
        format=format_name,
        nodes=counts.total(),
        bytes=sum(_weight_bytes(layer) for layer in layers),
        opset=None,
        op_counts=dict(sorted(counts.items())),
        unit="layers",
    )


def keras_view(graph: KerasGraph) -> GraphView:
    """The view of a model's own layers, one box per call; a nested model is one box."""
    calls = [call for call in graph.calls if _layer(graph, call).class_name != _INPUT]
    inputs, outputs = graph.input_names(), graph.output_names()
    if len(calls) > MAX_NODES:
        return GraphView((), inputs, outputs, omitted=len(calls))
    numbers = {(call.layer, call.number): number for number, call in enumerate(calls)}
    nodes = tuple(
        GraphNode(
            name=call.layer,
            op_type=_layer(graph, call).class_name,
            inputs=tuple(_makers(call.refs(), numbers)),
            weights=tuple(
                "x".join(map(str, array.shape)) for array in _layer(graph, call).weights.values()
            ),
        )
        for call in calls
    )
    return GraphView(nodes, inputs, outputs)


def _layer(graph: KerasGraph, call: Call) -> Layer:
    return graph.layers[call.layer]


def _makers(refs: Iterable[TensorRef], numbers: dict[tuple[str, int], int]) -> list[int]:
    found = (numbers.get((ref.layer, ref.call)) for ref in refs)
    return list(dict.fromkeys(number for number in found if number is not None))


def _weight_bytes(layer: Layer) -> int:
    arrays = (*layer.weights.values(), *layer.loose)
    return sum(prod(array.shape) * float_dtype(array.dtype).itemsize for array in arrays)
