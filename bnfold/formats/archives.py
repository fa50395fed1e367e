"""Whether an HDF5 file or a zip archive holds a whole Keras model, and of which Keras.

Only attributes and tables of contents are read; layers and weights stay where they are.
"""

from __future__ import annotations

import json
import mmap
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnfold.formats.hdf5_heap import heaps_are_sound

# A config of this size would describe some hundred thousand layers.
LARGEST_CONFIG = 64 * 2**20
_LARGEST_METADATA = 2**20
_SAVE_WHOLE = "save the whole model (model.save('model.keras'))"
_AGAIN = "download or save the model again"


@dataclass(frozen=True)
class KerasVersion:
    """The version of Keras that wrote a file.

    Attributes:
        stated: as the file says, "" where it does not.
        major: its first number, or what the layer configs suggest; None when unknown.
    """

    stated: str
    major: int | None


class NotAModelError(Exception):
    """The archive is no Keras model: what it is, and what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def keras_hdf5(path: Path) -> KerasVersion:
    """Check that an HDF5 file holds a Keras model with architecture and weights.

    Raises:
        NotAModelError: otherwise.
    """
    import h5py  # costs a tenth of a second, which ONNX users need not pay

    if not _heaps_are_sound(path):
        raise NotAModelError("a damaged HDF5 file", _AGAIN)
    with _damage("HDF5 file"), h5py.File(path, "r") as file:
        config = _text_attribute(file, "model_config", LARGEST_CONFIG)
        if config is None:
            raise _hdf5_without_config(file)
        if "model_weights" not in file:
            raise NotAModelError("a Keras model without its weights", _SAVE_WHOLE)
        stated = _text_attribute(file, "keras_version", 256) or ""
    return KerasVersion(stated, _major(stated, config))


def keras_zip(path: Path) -> KerasVersion:
    """Check that a zip archive is a .keras file with architecture and weights.

    Raises:
        NotAModelError: otherwise.
    """
    if not _heaps_are_sound(path):  # HDF5 members that are stored as they are
        raise NotAModelError("a damaged Keras archive", _AGAIN)
    with _damage("zip archive"), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        config = members.get("config.json")
        weights = [name for name in members if name.startswith("model.weights.")]
        if config is None:
            raise _zip_without_config(members, bool(weights))
        if not weights:
            raise NotAModelError("a Keras model without its weights", _SAVE_WHOLE)
        text = _member(archive, config, LARGEST_CONFIG)
        stated = ""
        if "metadata.json" in members:
            metadata = _member(archive, members["metadata.json"], _LARGEST_METADATA)
            stated = _stated_version(metadata)
    return KerasVersion(stated, _major(stated, text))


def _heaps_are_sound(path: Path) -> bool:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        return heaps_are_sound(mapped)


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Turn whatever the libraries raise on damaged files into one line."""
    damaged = f"a damaged or truncated {what}"
    try:
        yield
    except NotAModelError:
        raise
    except MemoryError as error:
        raise NotAModelError(f"{damaged} that declares absurd sizes", _AGAIN) from error
    except PermissionError:
        raise
    except Exception as error:
        # h5py and zipfile raise OSError, KeyError, RuntimeError, ValueError, struct.error, ...
        raise NotAModelError(damaged, _AGAIN) from error


def _text_attribute(group: Any, name: str, longest: int) -> str | None:
    """Read a scalar text attribute; None when there is none."""
    if name not in group.attrs:
        return None
    info = group.attrs.get_id(name)
    if info.shape not in ((), (1,)) or info.dtype.itemsize > longest:
        raise NotAModelError(f"an HDF5 file with a damaged {name}", _AGAIN)
    value = group.attrs[name]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > longest:
        raise NotAModelError(f"an HDF5 file with a damaged {name}", _AGAIN)
    return value


def _hdf5_without_config(file: Any) -> NotAModelError:
    names = set(file)
    weights_only = (
        "layer_names" in file.attrs
        or {"layers", "_layer_checkpoint_dependencies"} & names
        or "model_weights" in names
    )
    if weights_only:
        return NotAModelError(
            "an HDF5 file with weights only (no architecture)",
            f"load the weights into the model and {_SAVE_WHOLE}",
        )
    return NotAModelError("an HDF5 file without a Keras model", "give a .keras, .h5 or .onnx model")


# What the names of a zip's members say, in the order of asking.
_ZIPS = (
    (r"(^|/)constants\.pkl$", "a TorchScript model", "export it to ONNX and give that"),
    (r"(^|/)data\.pkl$", "a PyTorch checkpoint", "export the model to ONNX and give that"),
    (r"(^|/)(saved_model\.pb)$", "a zipped SavedModel", "unpack it and give the folder"),
    (r"\.(onnx|keras|h5|hdf5|tflite)$", "a zip archive", "unpack it and give the model inside"),
    (r"\.npy$", "a file of NumPy arrays (.npz)", "give a .keras, .h5 or .onnx model"),
)


def _zip_without_config(names: Any, has_weights: bool) -> NotAModelError:
    if has_weights:
        return NotAModelError("a Keras archive without config.json (weights only)", _SAVE_WHOLE)
    for pattern, what, hint in _ZIPS:
        if any(re.search(pattern, name) for name in names):
            return NotAModelError(what, hint)
    return NotAModelError(
        "a zip archive without a Keras model", "give a .keras, .h5 or .onnx model"
    )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, largest: int) -> str:
    if info.flag_bits & 1:
        raise NotAModelError("an encrypted archive", "unpack it with its password first")
    # The declared size can lie, so reading stops at the limit whatever it says.
    with archive.open(info) as member:
        data = member.read(largest + 1)
    if len(data) > largest:
        raise NotAModelError(
            f"an archive whose {info.filename} unpacks to more than {largest >> 20} MB", _AGAIN
        )
    return data.decode("utf-8", "replace")


def _stated_version(metadata: str) -> str:
    try:
        content = json.loads(metadata)
    except (ValueError, RecursionError):
        return ""
    version = content.get("keras_version", "") if isinstance(content, dict) else ""
    return version if isinstance(version, str) and len(version) <= 64 else ""


# Words that only one generation of Keras wrote into layer configs.
_ERAS = (
    (3, '"batch_shape"'),
    (1, '"border_mode"'),
    (1, '"nb_filter"'),
    (1, '"inbound_nodes": [], "class_name": "InputLayer", "config": {"input_dtype"'),
    (1, '"output_dim": '),
    (2, '"batch_input_shape"'),
)


def _major(stated: str, config: str) -> int | None:
    match = re.match(r"(\d{1,3})\.", stated)
    if match:
        return int(match[1])
    for major, word in _ERAS:
        if word in config and not (major == 1 and '"units"' in config):
            return major
    return None
