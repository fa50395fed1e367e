"""Opening a Keras file through Keras itself (Keras 3, or tf_keras for what Keras 2 wrote).

The bytes decide, never the suffix. What the file's config holds is inspected before a loader sees
the file, so that nothing in it runs unasked (`guard`).
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.core.errors import InputError, MissingExtraError
from bnfold.formats.keras import runtime
from bnfold.formats.keras.guard import refuse_code, refuse_unknown_modules
from bnfold.formats.sniff import FileKind, describe
from bnfold.formats.text import clip, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIX = {FileKind.KERAS_HDF5: ".h5", FileKind.KERAS_ZIP: ".keras"}


@dataclass(frozen=True)
class OpenedModel:
    """A model that Keras has loaded.

    Attributes:
        model: `keras.Model` or `tf_keras.Model`, not compiled.
        generation: 2 for tf_keras, 3 for Keras 3.
        input_is_named: False where the file has no input layer, so that Keras made a name up.
        notes: one line each for the user.
    """

    model: Any
    generation: int
    input_is_named: bool = True
    notes: tuple[str, ...] = ()


def open_keras(
    path: str | Path,
    *,
    unsafe_load: bool = False,
    custom_objects: Mapping[str, Any] | None = None,
    backend: str = "tensorflow",
) -> OpenedModel:
    """Load a .h5 or .keras file with the Keras that wrote it, without compiling it.

    Args:
        path: the file, whatever its suffix.
        unsafe_load: allow Lambda layers and other code in the file to run.
        custom_objects: custom classes and functions by name.
        backend: what Keras 3 is to compute on; Keras 2 has TensorFlow only.

    Raises:
        InputError: the file is no usable Keras model; the text says why and what to do.
        MissingExtraError: TensorFlow, Keras or tf_keras is not installed.
    """
    path = Path(path)
    details = describe(path)
    if details.kind not in _SUFFIX:
        raise InputError(f"{shown(path)} is an {details.kind.value}, not a Keras file.")
    config = read_config(path, details.kind)
    custom = dict(custom_objects or {})
    with _named(path):
        refuse_code(config, custom, unsafe_load=unsafe_load)
    order = (2, 3) if details.keras_major == 2 else (3, 2) if details.keras_major is None else (3,)
    loading = _Loading(path, details.kind, config, custom, unsafe_load, backend)
    model, generation = _load_first(order, loading)
    notes = (details.suffix_note,) if details.suffix_note else ()
    return OpenedModel(model, generation, _names_its_input(config), notes)


def read_config(path: Path, kind: FileKind) -> Any:
    """The model config of a Keras file, as parsed JSON; nothing else is read.

    Raises:
        InputError: it cannot be parsed.
    """
    try:
        if kind is FileKind.KERAS_ZIP:
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["model_config"])
    except (ValueError, RecursionError, KeyError, OSError) as error:
        line = clip(str(error))
        raise InputError(f"{shown(path)} has a damaged model config: {line}.") from error


@dataclass(frozen=True)
class _Loading:
    """A file to be loaded, and how."""

    path: Path
    kind: FileKind
    config: Any
    custom: dict[str, Any]
    unsafe_load: bool
    backend: str


def _load_first(order: tuple[int, ...], loading: _Loading) -> tuple[Any, int]:
    """The model from the first Keras that loads it; on failure, the first one's error.

    Keras 3 loads about half of what Keras 2 wrote, none of it wrongly, so it may try where
    tf_keras is not installed.
    """
    first: InputError | None = None
    for generation in order:
        try:
            return _load(generation, loading), generation
        except InputError as error:
            first = first or error
            if generation == 2 and not isinstance(error, MissingExtraError):
                break
    assert first is not None
    raise first


def _load(generation: int, loading: _Loading) -> Any:
    keras = runtime.import_keras(loading.backend) if generation == 3 else runtime.import_tf_keras()
    path, custom = loading.path, loading.custom

    def is_known(name: str) -> bool:
        return name in custom or keras.saving.get_registered_object(name) is not None

    with _named(path):
        if not loading.unsafe_load:
            refuse_unknown_modules(loading.config, is_known)
    with _suffixed(path, _SUFFIX[loading.kind]) as readable, runtime.quiet():
        try:
            model = keras.models.load_model(
                str(readable),
                custom_objects=custom,
                compile=False,
                safe_mode=not loading.unsafe_load,
            )
        except Exception as error:
            raise _load_error(path, generation, error) from error
    return model


def _load_error(path: Path, generation: int, error: Exception) -> InputError:
    text = " ".join(str(error).split())
    unknown = re.search(
        r"(?:Unknown|Could not locate|Could not deserialize) (?:layer|class|function|object|"
        r"activation function|[\w ]+?):? ['\"](?P<name>[\w.>]+)['\"]",
        text,
    )
    # Of a custom activation in an .h5 tf_keras says this whatever it is given.
    if unknown and unknown["name"] != "function":
        name = unknown["name"]
        return InputError(
            f"{shown(path)} uses the custom object {name!r}: pass --custom-objects module:{name} "
            f"(custom_objects={{{name!r}: ...}})."
        )
    loader = "Keras" if generation == 3 else "tf_keras"
    return InputError(f"{shown(path)} cannot be loaded by {loader}: {runtime.said(error)}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before what the guard has to say."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from None


@contextmanager
def _suffixed(path: Path, suffix: str) -> Iterator[Path]:
    """The file under a name with `suffix`, because Keras chooses its reader by the suffix."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        try:
            link.symlink_to(path.resolve())
        except OSError:
            import shutil

            shutil.copyfile(path, link)
        yield link


def _names_its_input(config: Any) -> bool:
    """Whether the config says how the input is called (functional models always do)."""
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        return True
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    first = layers[0] if isinstance(layers, list) and layers else None
    return isinstance(first, dict) and first.get("class_name") == "InputLayer"
