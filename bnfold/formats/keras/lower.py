"""From a `KerasGraph` to the neutral graph that the planner works on: the lowering table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnfold.core.errors import InputError
from bnfold.core.moves import Shape
from bnfold.core.transfer import Opaque
from bnfold.formats.keras import lower_elementwise as elementwise
from bnfold.formats.keras import lower_linear as linear
from bnfold.formats.keras import lower_local as local
from bnfold.formats.keras import lower_moves as moves
from bnfold.formats.keras import lower_recurrent as recurrent
from bnfold.formats.keras.errors import making_sense
from bnfold.formats.keras.graph import KerasGraph, Layer, TensorRef, map_leaves
from bnfold.formats.keras.keys import key_of
from bnfold.formats.keras.lower_operators import operator
from bnfold.formats.keras.lower_view import Builder, Lowered, Value, View
from bnfold.formats.keras.masking import may_be_masked
from bnfold.formats.keras.read_config import input_shape
from bnfold.formats.keras.roles import is_application_layer
from bnfold.formats.text import clip

Rule = Callable[[View], "Value | list[Value]"]

RULES: Mapping[str, Rule] = {
    "Activation": elementwise.activation,
    "ActivityRegularization": elementwise.identity,
    "AdaptiveAveragePooling1D": moves.adaptive_pooling,
    "AdaptiveAveragePooling2D": moves.adaptive_pooling,
    "AdaptiveAveragePooling3D": moves.adaptive_pooling,
    "AdaptiveMaxPooling1D": moves.adaptive_pooling,
    "AdaptiveMaxPooling2D": moves.adaptive_pooling,
    "AdaptiveMaxPooling3D": moves.adaptive_pooling,
    "Add": elementwise.weighted_sum(1.0),
    "AlphaDropout": elementwise.random_only,
    "AugMix": elementwise.random_only,
    "AutoContrast": elementwise.auto_contrast,
    "Average": elementwise.weighted_sum(),
    "AveragePooling1D": moves.pooling,
    "AveragePooling2D": moves.pooling,
    "AveragePooling3D": moves.pooling,
    "BatchNormalization": elementwise.batch_norm,
    "BatchNormalizationV1": elementwise.batch_norm,
    "BatchNormalizationV2": elementwise.batch_norm,
    "Bidirectional": recurrent.bidirectional,
    "CategoryEncoding": moves.encoding,
    "CenterCrop": moves.center_crop,
    "Concatenate": elementwise.concatenate,
    "Conv1D": linear.convolution,
    "Conv1DTranspose": linear.transposed,
    "Conv2D": linear.convolution,
    "Conv2DTranspose": linear.transposed,
    "Conv3D": linear.convolution,
    "Conv3DTranspose": linear.transposed,
    "ConvLSTM1D": recurrent.recurrent,
    "ConvLSTM2D": recurrent.recurrent,
    "ConvLSTM3D": recurrent.recurrent,
    "Convolution1D": linear.convolution,
    "Convolution2D": linear.convolution,
    "Convolution3D": linear.convolution,
    "Cropping1D": moves.cropping,
    "Cropping2D": moves.cropping,
    "Cropping3D": moves.cropping,
    "CutMix": elementwise.random_only,
    "CustomScaleLayer": elementwise.custom_scale,
    "Dense": linear.dense,
    "DepthwiseConv1D": linear.depthwise,
    "DepthwiseConv2D": linear.depthwise,
    "Discretization": moves.encoding,
    "Dot": elementwise.dot,
    "Dropout": elementwise.random_only,
    "ELU": elementwise.activation_layer,
    "EinsumDense": linear.einsum_dense,
    "Embedding": linear.embedding,
    "Flatten": moves.flatten,
    "GRU": recurrent.recurrent,
    "GRUV1": recurrent.recurrent,
    "GaussianDropout": elementwise.random_only,
    "GaussianNoise": elementwise.random_only,
    "GlobalAveragePooling1D": moves.global_pooling,
    "GlobalAveragePooling2D": moves.global_pooling,
    "GlobalAveragePooling3D": moves.global_pooling,
    "GlobalMaxPooling1D": moves.global_pooling,
    "GlobalMaxPooling2D": moves.global_pooling,
    "GlobalMaxPooling3D": moves.global_pooling,
    "GroupNormalization": linear.statistics_norm,
    "Identity": elementwise.identity,
    "IntegerLookup": moves.encoding,
    "LSTM": recurrent.recurrent,
    "LSTMV1": recurrent.recurrent,
    "LayerNormalization": linear.statistics_norm,
    "LocallyConnected1D": local.locally_connected,
    "LocallyConnected2D": local.locally_connected,
    "LayerScale": elementwise.layer_scale,
    "LeakyReLU": elementwise.activation_layer,
    "Masking": elementwise.shape_keeper,
    "MaxPooling1D": moves.pooling,
    "MaxPooling2D": moves.pooling,
    "MaxPooling3D": moves.pooling,
    "Maximum": elementwise.extremum,
    "Minimum": elementwise.extremum,
    "MixUp": elementwise.random_only,
    "MultiHeadAttention": linear.multi_head,
    "Multiply": elementwise.multiply,
    "Normalization": elementwise.normalization,
    "PReLU": elementwise.activation_layer,
    "Permute": moves.permute,
    "RMSNormalization": linear.rms_norm,
    "RNN": recurrent.recurrent,
    "RandAugment": elementwise.random_only,
    "RandomBrightness": elementwise.random_only,
    "RandomColorDegeneration": elementwise.random_only,
    "RandomColorJitter": elementwise.random_only,
    "RandomContrast": elementwise.random_only,
    "RandomCrop": moves.random_crop,
    "RandomElasticTransform": elementwise.random_only,
    "RandomErasing": elementwise.random_only,
    "RandomFlip": elementwise.random_only,
    "RandomGaussianBlur": elementwise.random_only,
    "RandomGrayscale": elementwise.random_only,
    "RandomHeight": elementwise.random_only,
    "RandomHue": elementwise.random_only,
    "RandomInvert": elementwise.random_only,
    "RandomPerspective": elementwise.random_only,
    "RandomPosterization": elementwise.random_only,
    "RandomRotation": elementwise.random_only,
    "RandomSaturation": elementwise.random_only,
    "RandomSharpness": elementwise.random_only,
    "RandomShear": elementwise.random_only,
    "RandomTranslation": elementwise.random_only,
    "RandomWidth": elementwise.random_only,
    "RandomZoom": elementwise.random_only,
    "Resizing": moves.resizing,
    "ReLU": elementwise.activation_layer,
    "RepeatVector": moves.repeat_vector,
    "ReversibleEmbedding": linear.reversible_embedding,
    "Rescaling": elementwise.rescaling,
    "Reshape": moves.reshape,
    "SeparableConv1D": linear.separable,
    "SeparableConv2D": linear.separable,
    "SimpleRNN": recurrent.recurrent,
    "SlicingOpLambda": operator,
    "Softmax": elementwise.activation_layer,
    "Solarization": elementwise.random_only,
    "SpatialDropout1D": elementwise.random_only,
    "SpatialDropout2D": elementwise.random_only,
    "SpatialDropout3D": elementwise.random_only,
    "StochasticDepth": elementwise.random_only,
    "StringLookup": moves.encoding,
    "Subtract": elementwise.weighted_sum(1.0, -1.0),
    "SyncBatchNormalization": elementwise.batch_norm,
    "TFDConcat": elementwise.concatenate,
    "TFDIdentity": elementwise.identity,
    "TFOpLambda": operator,
    "TensorFlowOpLayer": operator,
    "ThresholdedReLU": elementwise.activation_layer,
    "UnitNormalization": elementwise.shape_keeper,
    "UpSampling1D": moves.upsampling,
    "UpSampling2D": moves.upsampling,
    "UpSampling3D": moves.upsampling,
    "ZeroPadding1D": moves.zero_padding,
    "ZeroPadding2D": moves.zero_padding,
    "ZeroPadding3D": moves.zero_padding,
}


def lower(graph: KerasGraph, frozen: frozenset[str] = frozenset()) -> Lowered:
    """The neutral view of a Keras graph, nested models inlined call by call.

    Args:
        graph: the model.
        frozen: keys of layers that must stay as they are.
    """
    builder = Builder(frozen)
    inputs: list[Value] = []
    for ref, name in zip(graph.inputs, graph.input_names(), strict=True):
        layer = graph.layers[ref.layer]
        prefix = "" if len(graph.inputs) == 1 else f"{name}_"
        inputs.append(builder.value(name, _named(input_shape(layer), prefix), layer.policy.compute))
    outputs = _lower_graph(builder, graph, inputs, "", "", graph.generation)
    return builder.finish(inputs, outputs)


def _named(shape: Sequence[int | None] | None, prefix: str) -> Shape | None:
    if shape is None:
        return None
    return tuple(
        dim if dim is not None else "batch" if axis == 0 else f"{prefix}axis_{axis}"
        for axis, dim in enumerate(shape)
    )


def _lower_graph(
    builder: Builder,
    graph: KerasGraph,
    inputs: Sequence[Value],
    path: str,
    prefix: str,
    generation: int,
) -> list[Value]:
    """Lower all calls of a (nested) graph on these values; ``prefix`` is that of the keys."""
    made: dict[TensorRef, Value] = dict(zip(graph.inputs, inputs, strict=True))
    counts = _counts(graph)

    def lookup(ref: TensorRef) -> Value:
        if ref not in made:
            raise InputError(
                f"The model reads output {ref.index} of layer {clip(ref.layer, 80)!r}."
            )
        return made[ref]

    for call in graph.calls:
        if TensorRef(call.layer, call.number) in made:
            continue
        layer = graph.layers[call.layer]
        here = f"{path}/{layer.name}" if path else layer.name
        key = key_of(layer.shared, f"{prefix}/{layer.name}" if prefix else layer.name)
        view = View(
            builder,
            layer,
            key,
            here,
            map_leaves(call.args, lookup),
            map_leaves(dict(call.kwargs), lookup),
            generation,
        )
        with making_sense(layer.name, layer.class_name):
            results = _lower_layer(view, counts.get((call.layer, call.number), 1))
        if may_be_masked(layer, generation, any(one.masked for one in view.inputs)):
            results = [dataclasses.replace(one, masked=True) for one in results]
        for index, one in enumerate(results):
            ref = TensorRef(call.layer, call.number, index)
            made[ref] = _with_stated_shape(builder, one, graph.shapes.get(ref))
    return [lookup(ref) for ref in graph.outputs]


def _counts(graph: KerasGraph) -> dict[tuple[str, int], int]:
    """How many results of each call are read: what is not known may have any number."""
    counts: dict[tuple[str, int], int] = {}
    for ref in [*graph.outputs, *(ref for call in graph.calls for ref in call.refs())]:
        place = (ref.layer, ref.call)
        counts[place] = max(counts.get(place, 1), ref.index + 1)
    return counts


def _with_stated_shape(builder: Builder, one: Value, stated: Any) -> Value:
    if one.shape is not None or stated is None:
        return one
    shape = tuple("batch" if axis == 0 and dim is None else dim for axis, dim in enumerate(stated))
    builder.shapes[one.name] = shape
    return dataclasses.replace(one, shape=shape)


def _lower_layer(view: View, count: int) -> list[Value]:
    layer = view.layer
    view = _with_built_shape(view)
    if layer.graph is not None and layer.is_own:
        given = view.inputs
        if len(given) == len(layer.graph.inputs) and view.kwargs.get("training") is not True:
            wanted = [layer.graph.layers[ref.layer] for ref in layer.graph.inputs]
            inputs = [_as_input(view, *pair) for pair in zip(given, wanted, strict=True)]
            return _lower_graph(
                view.builder, layer.graph, inputs, view.path, view.key, view.generation
            )
    if layer.class_name == "TimeDistributed" and layer.is_own and "layer" in layer.parts:
        return moves.time_distributed(view, _inner)
    if layer.class_name == "Pipeline" and layer.is_own and layer.parts:
        return _lower_pipeline(view)
    if _is_transparent(view):
        return _inner(view, view.input)
    rule = rule_of(layer)
    if rule is None or layer.policy.quantized or not view.inputs:
        return view.ops(Opaque(), view.inputs, [None] * count)
    result = rule(view)
    results = result if isinstance(result, list) else [result]
    if len(results) < count:
        extra = view.ops(Opaque(), view.inputs, [None] * count, suffix="more")
        results = [*results, *extra[len(results) :]]
    return results


def _as_input(view: View, x: Value, wanted: Layer) -> Value:
    """What a nested model makes of a value: it may take whole numbers only."""
    dtype = wanted.policy.compute
    if "float" in dtype or "float" not in x.dtype:
        return x
    why = Opaque(detail=f"the model's input takes {dtype}")
    made = view.op(why, [x], x.shape, suffix="input", dtype=dtype)
    return dataclasses.replace(made, masked=x.masked)


def _is_transparent(view: View) -> bool:
    """SpectralNormalization: it only keeps the kernel small while that is trained."""
    layer, training = view.layer, view.kwargs.get("training") is True
    wraps = layer.class_name == "SpectralNormalization" and "layer" in layer.parts
    return wraps and layer.is_own and not training and bool(view.inputs)


def _inner(view: View, x: Value) -> list[Value]:
    """The layer inside a wrapper, on one value."""
    return _lower_part(view, "layer", x)


def _lower_part(view: View, attribute: str, x: Value) -> list[Value]:
    part = view.layer.parts[attribute]
    inner = dataclasses.replace(
        view,
        layer=part,
        key=key_of(part.shared, f"{view.key}/.{attribute}"),
        path=f"{view.path}/{part.name}",
        args=(x,),
        kwargs={},
    )
    return _lower_layer(inner, 1)


def _lower_pipeline(view: View) -> list[Value]:
    """The layers of a Pipeline one after the other."""
    results = [view.input]
    for attribute in view.layer.parts:
        if len(results) == 1:
            x = dataclasses.replace(results[0], masked=view.input.masked)
            results = _lower_part(view, attribute, x)
    return results


def _with_built_shape(view: View) -> View:
    """The view with the shape that the layer was built for, where nothing else tells it."""
    stated = view.layer.build_shape
    flat = isinstance(stated, list) and all(one is None or type(one) is int for one in stated)
    if not flat or len(view.inputs) != 1 or view.input.shape is not None:
        return view
    one = _with_stated_shape(view.builder, view.input, stated)

    def swap(structure: Any) -> Any:
        if isinstance(structure, Value):
            return one
        if isinstance(structure, (list, tuple)):
            return type(structure)(swap(part) for part in structure)
        return structure

    return dataclasses.replace(view, args=swap(view.args))


def rule_of(layer: Layer) -> Rule | None:
    """The layer's rule; None where nothing is known of it."""
    if layer.is_operator:
        return operator
    bare = layer.class_name.rpartition(">")[2]
    return RULES.get(bare) if layer.is_own or is_application_layer(layer) else None
