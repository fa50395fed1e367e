"""Which road a Keras model takes to ONNX: read as data, or traced by TensorFlow and tf2onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.convert.reference_process import ReferenceProcess
from bnfold.convert.types import ConvertedModel, Reference
from bnfold.core.errors import InputError, MissingExtraError
from bnfold.formats.keras.errors import UnsupportedLayerError
from bnfold.formats.sniff import FileKind, describe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONVERTERS = ("auto", "direct", "tf2onnx")


def convert_by(
    source: object,
    *,
    converter: str = "auto",
    opset: int,
    unsafe_load: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
) -> ConvertedModel:
    """Convert a Keras model to ONNX without folding anything.

    Args:
        source: a live model of Keras 3 or tf_keras, or the path of a file or SavedModel folder.
        converter: "direct", "tf2onnx", or "auto": direct where every layer is known, else tf2onnx
            with a note that says why.
        opset: of the ONNX model.
        unsafe_load: allow code that a file carries to run; only tf2onnx has a use for it.
        custom_objects: custom classes and functions of a file; only tf2onnx has a use for them.

    Raises:
        InputError: the model cannot be read or converted, or there is no such converter.
        MissingExtraError: the road that it needs is not installed.
    """
    if converter not in CONVERTERS:
        raise InputError(f"there is no converter {converter!r}: choose {', '.join(CONVERTERS)}.")
    given = {"opset": opset, "unsafe_load": unsafe_load, "custom_objects": custom_objects}
    if converter == "tf2onnx":
        return _by_tf2onnx(source, given)
    why = _why_not_direct(source, opset, custom_objects)
    if not why:
        try:
            return _directly(source, opset)
        except UnsupportedLayerError as error:
            why = str(error)
    if converter == "direct":
        raise InputError(f"the direct converter cannot do this: {why.rstrip('.')}.")
    return _falling_back(source, why.rstrip("."), given)


def _why_not_direct(source: object, opset: int, custom_objects: Mapping[str, Any] | None) -> str:
    """What tells without reading the model that this is nothing for the direct road."""
    from bnfold.convert.direct import OLDEST_OPSET

    if opset < OLDEST_OPSET:
        return f"it writes opset {OLDEST_OPSET} and newer"
    if isinstance(source, Path):
        # They may also replace Keras's own classes, so the rules for these say nothing.
        if custom_objects:
            return "it has no rules for custom objects"
        if describe(source).kind is FileKind.SAVED_MODEL:
            return "a SavedModel holds no layers"
    return ""


def _directly(source: Any, opset: int) -> ConvertedModel:
    from bnfold.convert.direct import convert

    converted = convert(source, opset=opset)
    return replace(converted, reference=_reference_of(source))


def _falling_back(source: object, why: str, given: Mapping[str, Any]) -> ConvertedModel:
    """By tf2onnx, as the direct road is closed; the note says what closed it.

    Raises:
        InputError: the file holds code, which nobody allowed to run, or cannot be converted.
        MissingExtraError: TensorFlow or tf2onnx is not installed; the text has the reason too.
    """
    _refuse_code(source, given)
    try:
        converted = _by_tf2onnx(source, given)
    except MissingExtraError as error:
        raise MissingExtraError(
            f"Without TensorFlow this cannot be done: {why}. {error}"
        ) from error
    except InputError as error:
        raise InputError(f"{why}. Nor can tf2onnx: {error}") from error
    note = f"converted by tf2onnx, not directly: {why}"
    return replace(converted, notes=(*converted.notes, note))


def _refuse_code(source: object, given: Mapping[str, Any]) -> None:
    """Refuse a file that carries code before seconds are spent on importing TensorFlow."""
    from bnfold.formats.keras.guard import refuse_code
    from bnfold.formats.keras.open import read_config
    from bnfold.formats.text import shown

    if not isinstance(source, Path):
        return
    kind = describe(source).kind
    if kind is FileKind.SAVED_MODEL:
        return
    config = read_config(source, kind)
    try:
        refuse_code(config, given["custom_objects"] or (), unsafe_load=given["unsafe_load"])
    except InputError as error:
        raise InputError(f"{shown(source)}: {error}") from None


def _by_tf2onnx(source: object, given: Mapping[str, Any]) -> ConvertedModel:
    from bnfold.convert.tf2onnx_road import convert_keras

    return convert_keras(source, **given)


def _reference_of(source: object) -> Reference | None:
    """Runs Keras itself, which is imported and loads the model when it is first called.

    None where no Keras that might do it is installed, or nothing for it to compute on.
    """
    from bnfold.formats.keras.runtime import backend_at_hand, is_installed

    if isinstance(source, Path):
        backend = backend_at_hand()
        homes = ("keras", "tf_keras") if backend == "tensorflow" else ("keras",)
        if not (backend and any(is_installed(home) for home in homes)):
            return None
        return ReferenceProcess(source, _LazyReference(source))
    return _LazyReference(source)


def load_reference(source: object) -> Reference:
    """Import Keras, load the model if it is a file, and give what runs it."""
    from bnfold.convert.reference import backend_reference, keras_reference, runs_on_tensorflow
    from bnfold.convert.signature import signature_of
    from bnfold.formats.keras import runtime
    from bnfold.formats.keras.open import open_keras

    model = source
    if isinstance(model, Path):
        model = open_keras(model, backend=runtime.backend_at_hand()).model
    if not runs_on_tensorflow(model):
        return backend_reference(model)
    with runtime.quiet():
        return keras_reference(signature_of(model))


class _LazyReference:
    """A Keras model that is loaded when it is first run."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._run: Reference | None = None

    def __call__(self, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.generic]]:
        if self._run is None:
            self._run = load_reference(self._source)
        return self._run(arrays)
