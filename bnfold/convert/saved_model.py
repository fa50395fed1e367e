"""SavedModel folders (Keras 2, Keras 3's `export`, TensorFlow 1) as something to freeze."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bnfold.convert.layer_scopes import tf_name
from bnfold.convert.signature import Port, unique_names
from bnfold.convert.trace import Trace
from bnfold.convert.types import Reference
from bnfold.core.errors import InputError
from bnfold.formats.keras import runtime
from bnfold.formats.text import clip, shown

# A SavedModel is a program, and loading one runs its initializers. These ops reach outside it.
_REACHING_OUT = frozenset(
    (
        *("EagerPyFunc", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles"),
        *("FixedLengthRecordReaderV2", "IdentityReaderV2", "TFRecordReaderV2", "TextLineReaderV2"),
        *("WholeFileReaderV2", "FixedLengthRecordDatasetV2", "TFRecordDatasetV2", "LoadDataset"),
        *("TextLineDataset", "SaveDataset", "SaveDatasetV2", "DebugIdentityV2", "RpcCall"),
    )
)
_SIGNATURE = "serving_default"


def open_saved_model(path: Path, *, unsafe_load: bool = False) -> tuple[Trace, Reference]:
    """Load the serving signature of a SavedModel.

    Args:
        path: the folder.
        unsafe_load: load it even when its graph reads or writes files or runs Python.

    Returns:
        The signature as a trace (inputs and outputs by the signature's names), and what runs it.

    Raises:
        InputError: it cannot be loaded, or has no usable signature.
    """
    tf = runtime.start_tensorflow()
    if not unsafe_load:
        _refuse_reaching_out(path)
    with runtime.quiet():
        loaded = _loaded(tf, path)
    function = _signature(path, loaded)
    tensors = {tensor.name: tensor for tensor in function.inputs}
    specs = function.structured_input_signature[1]
    count = len(function.inputs) - len(function.captured_inputs)
    arguments = function.inputs[:count]
    if sorted(specs) != sorted(_plain(tensor.name) for tensor in arguments):
        arguments = [tensors[f"{specs[key].name}:0"] for key in sorted(specs)]
    keys = {f"{specs[key].name}:0": key for key in specs}
    ports = {
        tensor.name: Port(
            keys.get(tensor.name, _plain(tensor.name)),
            tuple(None if size is None else int(size) for size in tensor.shape),
            tensor.dtype.name,
        )
        for tensor in arguments
    }
    outputs = function.structured_outputs
    names = sorted(outputs) if isinstance(outputs, dict) else []
    if len(names) != len(function.outputs):
        names = [f"output_{i}" for i in range(len(function.outputs))]
    taken = [port.name for port in ports.values()]
    unique = unique_names(names, taken)
    trace = Trace(
        function=function,
        inputs=ports,
        outputs={t.name: n for t, n in zip(function.outputs, unique, strict=True)},
        layer_of={},
        keeps=(loaded, function),
    )
    return trace, _reference(tf, function, list(ports.values()), names)


def scope_names(trace: Trace) -> Callable[[str], str | None]:
    """The layer of a node, told by its scope: nothing better is left in a SavedModel.

    A scope counts as a layer's when a variable lies in a scope of this name, or of this name
    without the number that TensorFlow puts behind a scope which is entered again.
    """
    layers = {
        part
        for variable in trace.function.graph.variables
        for part in variable.name.partition(":")[0].split("/")[:-1]
    }

    def layer_of(name: str) -> str | None:
        return _layer_in_scope(tf_name(name), layers)

    return layer_of


def _layer_in_scope(name: str, layers: Collection[str]) -> str | None:
    path = []
    for scope in name.split("/")[:-1]:
        bare = re.sub(r"_\d+$", "", scope)
        found = scope if scope in layers else bare if bare in layers else None
        if found is not None:
            path.append(found)
    return "/".join(path) or None


def _refuse_reaching_out(path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    parsed = saved_model_pb2.SavedModel()
    try:
        if (path / "saved_model.pb").is_file():
            parsed.ParseFromString((path / "saved_model.pb").read_bytes())
        else:
            from google.protobuf import text_format  # type: ignore[import-untyped]

            text_format.Parse((path / "saved_model.pbtxt").read_text("utf-8"), parsed)
    except Exception as error:
        raise InputError(
            f"{shown(path)} has a damaged saved_model.pb: {clip(str(error))}"
        ) from error
    for meta in parsed.meta_graphs:
        bodies = [meta.graph_def.node, *(f.node_def for f in meta.graph_def.library.function)]
        for node in (node for body in bodies for node in body):
            if node.op in _REACHING_OUT:
                raise InputError(
                    f"{shown(path)}: node {clip(node.name)!r} is a {node.op}, which reaches "
                    "outside the model: pass --unsafe-load (unsafe_load=True) if you trust it."
                )


def _loaded(tf: Any, path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except Exception as first:
        try:
            return tf.saved_model.load(str(path), tags=["serve"])
        except Exception:
            raise InputError(f"{shown(path)} cannot be loaded: {runtime.said(first)}") from first


def _signature(path: Path, loaded: Any) -> Any:
    names = [name for name in loaded.signatures if not name.startswith("_")]
    if not names:
        raise InputError(f"{shown(path)} has no signature to serve: save it with one.")
    if _SIGNATURE in names or len(names) == 1:
        return loaded.signatures[_SIGNATURE if _SIGNATURE in names else names[0]]
    raise InputError(
        f"{shown(path)} has the signatures {', '.join(sorted(names))}, none of them "
        f"{_SIGNATURE!r}: save it with that one."
    )


def _plain(tensor_name: str) -> str:
    return tensor_name.partition(":")[0]


def _reference(tf: Any, function: Any, ports: list[Port], names: list[str]) -> Reference:
    def reference(arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.generic]]:
        given = {
            port.name: tf.constant(array, dtype=port.dtype)
            for port, array in zip(ports, arrays, strict=True)
        }
        with runtime.quiet():
            results = function(**given)
        if isinstance(results, dict):
            return [np.asarray(results[name]) for name in names]
        return [np.asarray(result) for result in tf.nest.flatten(results)]

    return reference
