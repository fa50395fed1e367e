"""Keras to ONNX through TensorFlow and tf2onnx: the road that takes every kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError
from bnfold.formats.sniff import FileKind, describe

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.convert.layer_scopes import LayerNames
    from bnfold.convert.trace import Trace

DEFAULT_OPSET = 17
CONVERTER = "tf2onnx"
_NOTE_SAVED_MODEL = (
    "A SavedModel holds no layers: names of layers are told by the scopes of its operations."
)


def convert_keras(
    source: str | Path | Any,
    *,
    opset: int = DEFAULT_OPSET,
    unsafe_load: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> ConvertedModel:
    """Convert a Keras model to ONNX by tracing it, without folding anything.

    Args:
        source: a `keras.Model` or `tf_keras.Model`, or the path of a .h5 or .keras
            file or of a SavedModel folder.
        opset: of the ONNX model, 9 or higher.
        unsafe_load: allow code that a file carries (Lambda layers) to run.
        custom_objects: custom classes and functions of a file, by name.

    Returns:
        The model; inputs and outputs have Keras's names and order.

    Raises:
        InputError: the model cannot be loaded, traced or converted; one line that names the layer.
        MissingExtraError: TensorFlow, Keras, tf_keras or tf2onnx is not installed.
    """
    from bnfold.convert.opsets import opset_to_emit
    from bnfold.formats.keras import runtime

    emitted = opset_to_emit(opset)
    runtime.import_tf2onnx()  # a missing extra is said before minutes are spent on loading
    if isinstance(source, (str, Path)):
        path = Path(source)
        if describe(path).kind is FileKind.SAVED_MODEL:
            return _from_saved_model(path, opset, emitted, unsafe_load)
        from bnfold.formats.keras.open import open_keras

        opened = open_keras(path, unsafe_load=unsafe_load, custom_objects=custom_objects)
        named = opened.input_is_named or opened.generation == 2
        return _from_model(opened.model, opset, emitted, named, opened.notes)
    _refuse_strangers(source)
    return _from_model(source, opset, emitted, True, ())


def _from_model(
    model: Any, opset: int, emitted: int, input_is_named: bool, notes: tuple[str, ...]
) -> ConvertedModel:
    from bnfold.convert.layer_scopes import LayerNames
    from bnfold.convert.reference import keras_reference
    from bnfold.convert.signature import signature_of
    from bnfold.convert.trace import trace_model
    from bnfold.formats.keras import runtime

    with runtime.quiet():
        signature = signature_of(model, input_is_named=input_is_named)
        trace = trace_model(model, signature)
    layer_of = LayerNames(trace.layer_of)
    converted, labels = _emit(trace, opset, emitted, layer_of)
    return ConvertedModel(converted, labels, keras_reference(signature), CONVERTER, notes)


def _from_saved_model(path: Path, opset: int, emitted: int, unsafe_load: bool) -> ConvertedModel:
    from bnfold.convert.layer_scopes import LayerNames
    from bnfold.convert.saved_model import open_saved_model, scope_names

    trace, reference = open_saved_model(path, unsafe_load=unsafe_load)
    layer_of = LayerNames({}, scope_names(trace))
    converted, labels = _emit(trace, opset, emitted, layer_of)
    return ConvertedModel(converted, labels, reference, CONVERTER, (_NOTE_SAVED_MODEL,))


def _emit(
    trace: Trace, opset: int, emitted: int, layer_of: LayerNames
) -> tuple[ir.Model, dict[str, str]]:
    """The ONNX model at `opset`, tf2onnx being asked for `emitted`, and its labels."""
    import onnx_ir as ir

    from bnfold.convert.biases import attach_biases
    from bnfold.convert.canonical import canonicalize
    from bnfold.convert.emit import graph_to_onnx
    from bnfold.convert.freeze import freeze
    from bnfold.convert.opsets import raised
    from bnfold.convert.weights import bind_weights
    from bnfold.formats.keras import runtime

    with runtime.quiet():
        frozen = freeze(trace)
    inputs, outputs = [*trace.inputs, *frozen.weights], list(trace.outputs)
    proto = graph_to_onnx(frozen.graph_def, frozen.tables, inputs, outputs, emitted, layer_of)
    model = ir.from_proto(raised(proto, opset))
    bind_weights(model, len(trace.inputs), frozen.weights)
    ports = [(port.name, port.shape) for port in trace.inputs.values()]
    labels = canonicalize(model, ports, list(trace.outputs.values()), layer_of)
    gone = attach_biases(model, labels)
    return model, {name: layer for name, layer in labels.items() if name not in gone}


def _refuse_strangers(model: Any) -> None:
    """Let live models of Keras 3 on TensorFlow and of tf_keras pass.

    Raises:
        InputError: it is another object, or its Keras runs on another backend.
    """
    from bnfold.formats.keras import runtime

    for base in type(model).__mro__:
        package = base.__module__.partition(".")[0]
        if base.__name__ == "Model" and package == "tf_keras":
            return
        if base.__name__ == "Model" and package == "keras":
            runtime.import_keras()
            return
    raise InputError(
        f"{type(model).__module__}.{type(model).__name__} is no Keras model and no path of one."
    )
