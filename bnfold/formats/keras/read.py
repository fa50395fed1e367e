"""Reading a Keras file as data, with h5py, zipfile and json only; nothing in it is executed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py

from bnfold.core.errors import InputError
from bnfold.formats.keras.assets import Assets
from bnfold.formats.keras.attach import ArchiveHolder, attach
from bnfold.formats.keras.attach_flat import attach_flat
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.h5 import H5_DAMAGES, H5File
from bnfold.formats.keras.read_config import parse_model
from bnfold.formats.sniff import FileKind, describe
from bnfold.formats.text import clip, shown

WEIGHTS = "model.weights.h5"
_LARGEST_CONFIG = 1 << 28


def read_keras(path: str | Path) -> KerasGraph:
    """Read a .keras or .h5 file, of Keras 2 or 3, whatever its suffix.

    Arrays stay in the file until they are asked for; the file must stay where it is until then.

    Raises:
        UnsupportedModelError: the model is Python code rather than a graph of layers.
        InputError: the file is no usable Keras model; the text says why and what to do.
    """
    path = Path(path)
    details = describe(path)
    try:
        if details.kind is FileKind.KERAS_ZIP:
            graph = parse_model(_zip_config(path), details.keras_major or 3)
            names = _zip_names(path)
            holder = ArchiveHolder(_zip_weights(path, names, graph), Assets(path, names))
            return attach(graph, holder)
        if details.kind is FileKind.KERAS_HDF5:
            graph = parse_model(_h5_config(path), details.keras_major or 2)
            return attach_flat(graph, H5File(path))
    except UnsupportedModelError:
        raise
    except InputError as error:
        raise InputError(f"{shown(path)}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{shown(path)} has a damaged model config: too deep.") from error
    raise InputError(f"{shown(path)} is an {details.kind.value}, not a Keras file.")


def _zip_config(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
            text = member.read(_LARGEST_CONFIG + 1)
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"config.json cannot be read: {clip(str(error))}.") from error
    return _parsed(text)


def _zip_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _zip_weights(path: Path, names: list[str], graph: KerasGraph) -> H5File:
    if WEIGHTS in names:
        return H5File(path, WEIGHTS)
    if any(name.startswith("model.weights") for name in names):
        raise UnsupportedModelError(graph.name, "Keras", "keeps its weights in another form")
    raise InputError("the archive has no weights; save the model again with model.save().")


def _h5_config(path: Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs["model_config"]
    except H5_DAMAGES as error:
        raise InputError(f"the model config cannot be read: {clip(str(error))}.") from error
    if hasattr(text, "item") and not isinstance(text, (str, bytes)):
        text = text.item()
    return _parsed(text)


def _parsed(text: str | bytes) -> Any:
    if len(text) > _LARGEST_CONFIG:
        raise InputError("the model config is too large to be one.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"the model config is damaged: {clip(str(error))}.") from error
