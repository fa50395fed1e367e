"""Keras to ONNX through TensorFlow and tf2onnx: the road that takes every kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError

DEFAULT_OPSET = 17


def convert_keras(
    source: str | Path | Any,
    *,
    opset: int = DEFAULT_OPSET,
    unsafe_load: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> ConvertedModel:
    """Convert a Keras model to ONNX by tracing it, without folding anything.

    Args:
        source: a `keras.Model` or `tf_keras.Model`, or the path of a .h5 or .keras file.
        opset: of the ONNX model, 9 or higher.
        unsafe_load: allow code that a file carries (Lambda layers) to run.
        custom_objects: custom classes and functions of a file, by name.

    Returns:
        The model; inputs and outputs have Keras's names and order.

    Raises:
        InputError: the model cannot be loaded, traced or converted; one line that names the layer.
        MissingExtraError: TensorFlow, Keras, tf_keras or tf2onnx is not installed.
    """
    import onnx_ir as ir

    from bnfold.convert.opsets import opset_to_emit, raised

    emitted = opset_to_emit(opset)
    from bnfold.convert import canonical, emit, freeze, reference, signature, trace
    from bnfold.convert.layer_scopes import LayerNames
    from bnfold.convert.weights import bind_weights
    from bnfold.formats.keras import open as opening
    from bnfold.formats.keras import runtime

    if isinstance(source, (str, Path)):
        runtime.import_tf2onnx()  # missing extras are said before minutes are spent on loading
        opened = opening.open_keras(source, unsafe_load=unsafe_load, custom_objects=custom_objects)
    else:
        opened = opening.OpenedModel(source, _generation(source))
    named = opened.input_is_named or opened.generation == 2
    with runtime.quiet():
        sign = signature.signature_of(opened.model, input_is_named=named)
        traced = trace.trace_model(opened.model, sign)
        frozen = freeze.freeze(traced)

    layer_of = LayerNames(traced.layer_of)
    inputs = [*traced.inputs, *frozen.weights]
    proto = emit.graph_to_onnx(
        frozen.graph_def, frozen.tables, inputs, list(traced.outputs), emitted, layer_of
    )
    model = ir.from_proto(raised(proto, opset))
    bind_weights(model, len(traced.inputs), frozen.weights)
    ports = [(port.name, port.shape) for port in traced.inputs.values()]
    labels = canonical.canonicalize(model, ports, list(traced.outputs.values()), layer_of)
    return ConvertedModel(model, labels, reference.keras_reference(sign), "tf2onnx", opened.notes)


def _generation(model: Any) -> int:
    """2 or 3 for a live Keras model.

    Raises:
        InputError: it is none, or of a Keras that does not run on TensorFlow.
    """
    from bnfold.formats.keras import runtime

    for base in type(model).__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ == "Model" and package == "tf_keras":
            return 2
        if base.__name__ == "Model" and package == "keras":
            runtime.import_keras()
            return 3
    raise InputError(
        f"{type(model).__module__}.{type(model).__name__} is no Keras model and no path of one."
    )
