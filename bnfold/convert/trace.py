"""A Keras model as one TensorFlow graph, with its names and the layer of every op."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnfold.convert.layer_scopes import LayerScopes, watched
from bnfold.convert.signature import Port, Signature, unique_names
from bnfold.core.errors import BnfoldError, InputError
from bnfold.formats.keras import runtime
from bnfold.formats.text import clip


@dataclass(frozen=True)
class Trace:
    """A traced model.

    Attributes:
        function: the concrete TensorFlow function.
        inputs: name of each input tensor in the graph, to what Keras says about it, in order.
        outputs: name of each output tensor in the graph, to Keras's name, in order.
        layer_of: TensorFlow op name to the path of its Keras layer.
        keeps: what has to live as long as the function is used.
    """

    function: Any
    inputs: Mapping[str, Port]
    outputs: Mapping[str, str]
    layer_of: Mapping[str, str]
    keeps: Any = None


def trace_model(model: Any, signature: Signature) -> Trace:
    """Trace a live model for inference.

    Raises:
        InputError: the model cannot be called on symbolic inputs, or changes itself when called.
    """
    tf = runtime.start_tensorflow()
    trace = _trace_once(tf, model, signature)
    _refuse_changes(trace)
    if not any(_is_compiled(op) for op in trace.function.graph.get_operations()):
        return trace
    # Keras compiles grouped convolutions with XLA on the CPU, and tf2onnx cannot look into what is
    # compiled. Functions run eagerly are inlined in the graph being traced.
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        return _trace_once(tf, model, signature)
    finally:
        tf.config.run_functions_eagerly(eager)


def _trace_once(tf: Any, model: Any, signature: Signature) -> Trace:
    graph: Any = None

    def count_ops() -> int | None:
        if tf.compat.v1.get_default_graph() is not graph:
            return None
        return len(graph.get_operations())

    scopes = LayerScopes(count_ops)

    def run(*tensors: Any) -> list[Any]:
        nonlocal graph
        graph = tf.compat.v1.get_default_graph()
        with watched(model, scopes):
            results = signature.call(tensors)
        # A list of identities: the order stays, and an output may be an input or appear twice.
        return [tf.identity(result) for result in results]

    specs = [
        tf.TensorSpec(port.shape, port.dtype, name=f"bnfold_input_{i}")
        for i, port in enumerate(signature.inputs)
    ]
    try:
        function = tf.function(run, input_signature=specs, autograph=False)
        concrete = function.get_concrete_function()
    except BnfoldError:
        raise
    except Exception as error:
        raise InputError(
            f"The model cannot be traced by TensorFlow: {runtime.said(error)}"
        ) from error
    # Captured tensors (weights, the mean of a Normalization) come after the arguments.
    arguments = concrete.inputs[: len(signature.inputs)]
    names = signature.output_names
    if names is None or len(names) != len(concrete.outputs):
        count = len(concrete.outputs)
        made_up = ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]
        names = unique_names(made_up, taken=[port.name for port in signature.inputs])
    ops = [op.name for op in concrete.graph.get_operations()]
    return Trace(
        function=concrete,
        inputs={t.name: p for t, p in zip(arguments, signature.inputs, strict=True)},
        outputs={t.name: n for t, n in zip(concrete.outputs, names, strict=True)},
        layer_of=scopes.layer_of(ops),
        keeps=(model, function),
    )


def _refuse_changes(trace: Trace) -> None:
    for op in trace.function.graph.get_operations():
        if op.type.startswith("Assign"):
            layer = trace.layer_of.get(op.name)
            raise InputError(
                f"{f'Layer {clip(layer)!r}' if layer else 'The model'} changes its own state when "
                "it is called for inference (a BatchNormalization with training=True, a stateful "
                "recurrent layer): ONNX cannot express that."
            )


def _is_compiled(op: Any) -> bool:
    if not op.type.endswith("PartitionedCall"):
        return False
    return bool(op.node_def.attr["_XlaMustCompile"].b)
