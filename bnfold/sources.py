"""Opens whatever a caller gives as a model: one way in for every command and function.

Neither TensorFlow nor Keras is imported unless the source is a Keras model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from bnfold.convert.types import ConvertedModel

DEFAULT_OPSET = 17
"""Opset of the ONNX that is made from a Keras model when none is asked for."""

_KERAS_ROOTS = frozenset({"keras", "tf_keras", "tensorflow", "tensorflow_core"})
_ONNX_ROOTS = frozenset({"onnx", "onnx_ir"})


@dataclass(frozen=True)
class Opened:
    """A model, however it came, seen as ONNX.

    Attributes:
        model: the ONNX model; for a Keras source the conversion of it.
        name: file name, or what kind of object it was.
        format: for people: "ONNX model", "Keras model (HDF5)", ...
        labels: op name to Keras layer name; empty for an ONNX source.
        reference: runs the source itself on input arrays in the order of its inputs and gives
            the outputs in their order; None where the source is the ONNX model itself.
        converter: what turned Keras into ONNX; "" for an ONNX source.
        notes: lines that a reader should know.
    """

    model: ir.Model
    name: str
    format: str
    labels: Mapping[str, str] = field(default_factory=dict)
    reference: Callable[[Sequence[np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]] | None = None
    converter: str = ""
    notes: tuple[str, ...] = ()


def open_source(
    source: object,
    *,
    opset: int | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
) -> Opened:
    """Open a model.

    Args:
        source: a path to a Keras or ONNX model (told by its bytes), a `keras.Model`, an
            `onnx.ModelProto` or an `onnx_ir.Model`.
        opset: opset for the conversion of a Keras model (17 when None); not used for ONNX.
        custom_objects: custom Keras classes and functions by name.
        unsafe_load: allow code in the file (Lambda layers) to run.

    Raises:
        InputError: the source is no model that can be used.
        MissingExtraError: it needs a package that is not installed.
    """
    options = {
        "opset": DEFAULT_OPSET if opset is None else opset,
        "custom_objects": custom_objects,
        "unsafe_load": unsafe_load,
    }
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), options)
    if is_keras_model(source):
        return _from_keras(source, type(source).__name__, "Keras model in memory", options)
    if _roots(source) & _ONNX_ROOTS:
        from bnfold.formats.onnx.open import open_onnx

        name = getattr(getattr(source, "graph", None), "name", None) or type(source).__name__
        return Opened(open_onnx(source), name, "ONNX model in memory")  # type: ignore[arg-type]
    raise InputError(
        f"cannot use a {type(source).__name__} as a model: give a path, a keras.Model, "
        f"an onnx.ModelProto or an onnx_ir.Model."
    )


def is_keras_model(source: object) -> bool:
    """Whether this is a live Keras model, of Keras 3 or tf_keras; neither is imported for it."""
    return any(
        base.__name__ == "Model" and base.__module__.partition(".")[0] in _KERAS_ROOTS
        for base in type(source).__mro__
    )


def named_inputs(model: ir.Model, inputs: object | None) -> dict[str, Any] | None:
    """Input arrays by name.

    Args:
        model: whose inputs they are.
        inputs: arrays by name, or arrays in the order of the inputs, or one array for a model
            with one input; None stays None.

    Raises:
        InputError: the number of arrays is not that of the inputs.
    """
    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        return dict(inputs)
    names = [
        value.name or ""
        for value in model.graph.inputs
        if value.name not in model.graph.initializers
    ]
    arrays = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if len(arrays) != len(names):
        raise InputError(
            f"{len(arrays)} input arrays were given, but the model has {len(names)} inputs: "
            f"{', '.join(names)}."
        )
    return dict(zip(names, arrays, strict=True))


def _open_path(path: Path, options: dict[str, Any]) -> Opened:
    from bnfold.formats.sniff import FileKind, describe

    details = describe(path)
    notes = (details.suffix_note,) if details.suffix_note else ()
    if details.kind is FileKind.ONNX:
        from bnfold.formats.onnx.open import open_onnx

        return Opened(open_onnx(path), path.name, details.kind.value, notes=notes)
    version = f"Keras {details.keras_major} " if details.keras_major else ""
    format_name = version + details.kind.value.replace(
        "Keras model", "model" if version else "Keras model"
    )
    return _from_keras(path, path.name, format_name, options, notes)


def _from_keras(
    source: object,
    name: str,
    format_name: str,
    options: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> Opened:
    from bnfold.convert.tf2onnx_road import convert_keras

    converted: ConvertedModel = convert_keras(source, **options)
    return Opened(
        model=converted.model,
        name=name,
        format=format_name,
        labels=converted.labels,
        reference=converted.reference,
        converter=converted.converter,
        notes=(*notes, *converted.notes),
    )


def _roots(source: object) -> set[str]:
    return {base.__module__.partition(".")[0] for base in type(source).__mro__}
