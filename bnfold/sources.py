"""Opens whatever a caller gives as a model: one way in for every command and function.

Neither TensorFlow nor Keras is imported unless a Keras model cannot be read as data.
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

ONNX = "ONNX"
DEFAULT_OPSET = 17
"""Opset of the ONNX that is made from a Keras model when none is asked for."""

# Class name and top-level packages of what can be given, told without importing any of them.
_KERAS_MODEL = ("Model", frozenset({"keras", "tf_keras", "tensorflow"}))
_ONNX_MODELS = (("ModelProto", frozenset({"onnx"})), ("Model", frozenset({"onnx_ir"})))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model came from.

    Attributes:
        name: file name, or what kind of object it was.
        format: for people: "ONNX", "Keras 3, HDF5", ...
        converter: what turned Keras into ONNX, "direct" or "tf2onnx"; "" where nothing did.
        notes: lines that a reader should know.
    """

    name: str
    format: str
    converter: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Opened(Origin):
    """A model, however it came, seen as ONNX.

    Attributes:
        model: the ONNX model; for a Keras source the conversion of it.
        labels: op name to Keras layer name; empty for an ONNX source.
        steps: names of ops that are steps of a layer's own formula, no affines of the model.
        reference: runs the source itself on input arrays in the order of its inputs and gives
            the outputs in their order; None where the source is the ONNX model itself.
    """

    model: ir.Model
    labels: Mapping[str, str] = field(default_factory=dict)
    steps: frozenset[str] = frozenset()
    reference: Callable[[Sequence[np.ndarray[Any, Any]]], list[np.ndarray[Any, Any]]] | None = None


def open_source(
    source: object,
    *,
    opset: int | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
) -> Opened:
    """Open a model.

    Args:
        source: a path to a Keras or ONNX model (told by its bytes), a `keras.Model`, an
            `onnx.ModelProto` or an `onnx_ir.Model`.
        opset: opset of the ONNX; None: 17 for a Keras source, the model's own for ONNX.
        custom_objects: custom Keras classes and functions by name.
        unsafe_load: allow code in the file (Lambda layers) to run.
        converter: what turns Keras into ONNX: "direct", "tf2onnx", or "auto" (direct where every
            layer is known).

    Raises:
        InputError: the source is no model that can be used.
        MissingExtraError: it needs a package that is not installed.
    """
    options = {
        "opset": DEFAULT_OPSET if opset is None else opset,
        "custom_objects": custom_objects,
        "unsafe_load": unsafe_load,
        "converter": converter,
    }
    origin = origin_of(source)
    if isinstance(source, str | os.PathLike):
        source = Path(source)
        is_keras = origin.format != ONNX
    else:
        is_keras = is_keras_model(source)
    return _from_keras(source, origin, options) if is_keras else _from_onnx(source, origin, opset)


def origin_of(source: object) -> Origin:
    """What a source is, told by its bytes or its class; nothing of it is converted.

    Raises:
        InputError: the source is no model that can be used.
    """
    if isinstance(source, str | os.PathLike):
        return _origin_of_file(Path(source))
    if is_keras_model(source):
        return Origin(name=type(source).__name__, format="Keras, in memory")
    if any(_is_a(source, *kind) for kind in _ONNX_MODELS):
        name = getattr(getattr(source, "graph", None), "name", None) or type(source).__name__
        return Origin(name=name, format="ONNX, in memory")
    raise InputError(
        f"cannot use a {type(source).__name__} as a model: give a path, a keras.Model, "
        f"an onnx.ModelProto or an onnx_ir.Model."
    )


def is_keras_model(source: object) -> bool:
    """Whether this is a live Keras model, of Keras 3 or tf_keras; neither is imported for it."""
    return _is_a(source, *_KERAS_MODEL)


def _origin_of_file(path: Path) -> Origin:
    from bnfold.formats.sniff import FileKind, describe

    details = describe(path)
    notes = (details.suffix_note,) if details.suffix_note else ()
    if details.kind is FileKind.ONNX:
        return Origin(name=path.name, format=ONNX, notes=notes)
    version = f"Keras {details.keras_major or ''}".rstrip()
    form = {FileKind.KERAS_HDF5: ", HDF5", FileKind.KERAS_ZIP: ", .keras"}
    return Origin(
        name=path.name, format=version + form.get(details.kind, " SavedModel"), notes=notes
    )


def _from_onnx(source: object, origin: Origin, opset: int | None) -> Opened:
    from bnfold.formats.onnx.open import open_onnx

    model = open_onnx(source)  # type: ignore[arg-type]
    if opset is not None:
        import onnx_ir as ir

        from bnfold.convert.opsets import raised

        proto = ir.to_proto(model)
        changed = raised(proto, opset)
        if changed is not proto:
            model = ir.from_proto(changed)
    return Opened(model=model, name=origin.name, format=origin.format, notes=origin.notes)


def _from_keras(source: object, origin: Origin, options: dict[str, Any]) -> Opened:
    from bnfold.convert.roads import convert_by

    converted = convert_by(source, **options)
    return Opened(
        model=converted.model,
        name=origin.name,
        format=origin.format,
        labels=converted.labels,
        steps=converted.steps,
        reference=converted.reference,
        converter=converted.converter,
        notes=(*origin.notes, *converted.notes),
    )


def _is_a(source: object, name: str, packages: frozenset[str]) -> bool:
    return any(
        base.__name__ == name and base.__module__.partition(".")[0] in packages
        for base in type(source).__mro__
    )
