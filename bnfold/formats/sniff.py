"""What a file is, told by its bytes and never by its suffix.

`sniff` names the four kinds of model that bnfold reads; for everything else it raises an
`InputError` with one line: what the file is and what to do. Nothing in a file is executed, and no
more than its first few kilobytes, the outline of its fields, or its table of contents is read.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bnfold.core.errors import InputError
from bnfold.formats import archives, wire
from bnfold.formats.text import megabytes, near_miss, shown
from bnfold.formats.wire import Ending, Wire

_HEAD = 8192
# Of a folder's names, as many are compared with one that is not there.
_MOST_NAMES = 1000
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GIVE_SOURCE = "give the Keras or ONNX model that it was made from"


class FileKind(enum.Enum):
    """The kinds of model that bnfold reads."""

    ONNX = "ONNX model"
    KERAS_ZIP = "Keras model (.keras archive)"
    KERAS_HDF5 = "Keras model (HDF5)"
    SAVED_MODEL = "SavedModel folder"


# How a file of each kind may be called, the usual name first.
SUFFIXES = {
    FileKind.ONNX: (".onnx",),
    FileKind.KERAS_ZIP: (".keras",),
    FileKind.KERAS_HDF5: (".h5", ".hdf5"),
    FileKind.SAVED_MODEL: (),
}
KERAS_SUFFIXES = (*SUFFIXES[FileKind.KERAS_ZIP], *SUFFIXES[FileKind.KERAS_HDF5])


@dataclass(frozen=True)
class FileDetails:
    """What `describe` found out.

    Attributes:
        path: the file or folder.
        kind: what it is.
        keras_version: as the file states it, such as "2.15.0"; "" where it does not.
        keras_major: 2 or 3 where it is stated or can be told from the layers; else None.
        suffix_note: one line when the suffix says another kind than the bytes; else "".
    """

    path: Path
    kind: FileKind
    keras_version: str = ""
    keras_major: int | None = None
    suffix_note: str = ""


@dataclass(frozen=True)
class _Signature:
    """Bytes at a place that identify a format bnfold does not read."""

    offset: int
    magic: bytes
    what: str
    hint: str = _GIVE_SOURCE


_EXPORT = "export the model to ONNX where it was made and give that"
_UNPACK = "unpack it and give the model inside"

# Order matters only where one magic is the start of another.
_SIGNATURES = (
    _Signature(4, b"TFL3", "a TensorFlow Lite model"),
    _Signature(4, b"ORTM", "an onnxruntime .ort model", "give the .onnx it was made from"),
    _Signature(0, b"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull' first"),
    _Signature(0, b"/annex/objects/", "a git-annex pointer", "run 'git annex get' first"),
    _Signature(0, b"\x93NUMPY", "a NumPy array"),
    _Signature(0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "a PyTorch checkpoint", _EXPORT),
    _Signature(0, b"\x80\x02", "a Python pickle, which is never executed", _EXPORT),
    _Signature(0, b"\x80\x03", "a Python pickle, which is never executed", _EXPORT),
    _Signature(0, b"\x80\x04", "a Python pickle, which is never executed", _EXPORT),
    _Signature(0, b"\x80\x05", "a Python pickle, which is never executed", _EXPORT),
    _Signature(5, b'\0\0\0{"', "a safetensors file: weights only", _EXPORT),
    _Signature(0, b"GGUF", "a GGUF file", _EXPORT),
    _Signature(0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    _Signature(0, b"BZh", "a bzip2 archive", _UNPACK),
    _Signature(0, b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    _Signature(0, b"\x28\xb5\x2f\xfd", "a zstandard archive", _UNPACK),
    _Signature(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    _Signature(0, b"Rar!", "a RAR archive", _UNPACK),
    _Signature(257, b"ustar", "a tar archive", _UNPACK),
    _Signature(0, b"\x89PNG", "an image"),
    _Signature(0, b"\xff\xd8\xff", "an image"),
    _Signature(0, b"%PDF", "a PDF document"),
    _Signature(0, b"\x7fELF", "a program or library"),
    _Signature(0, b"ptrt", "a TensorRT engine"),
    _Signature(0, b"ftrt", "a TensorRT engine"),
    _Signature(0, b"SQLite format 3", "a database"),
)

# Text files: what their lower-cased beginning matches.
_TEXTS = (
    (
        r"<!doctype html|<html",
        "a web page, not the file meant to be downloaded",
        "download it again",
    ),
    (r"<[\s\S]*<?net ", "an OpenVINO model", "give the model it was made from"),
    (r"<[\s\S]*<pmml", "a PMML model", _EXPORT),
    (r"<\?xml", "an XML document", "download or export the model again"),
    (r'\{[\s\S]*"(modeltopology|weightsmanifest)"', "a TensorFlow.js model", _GIVE_SOURCE),
    (r'\{\s*"irversion"', "an ONNX model in JSON", "save it in the binary format (.onnx)"),
    (r"ir_version\s*:", "an ONNX model as text", "save it in the binary format (.onnx)"),
    (
        r'\{[\s\S]*"class_name"',
        "the architecture of a Keras model without its weights",
        "save the whole model (model.save('model.keras'))",
    ),
    (r"\{", "a JSON document without a model", "give a .keras, .h5 or .onnx model"),
    (r"", "a text file, not a model", "give a .keras, .h5 or .onnx model"),
)


def sniff(path: str | os.PathLike[str]) -> FileKind:
    """Tell which kind of model a file or folder is.

    Raises:
        InputError: when it is none that bnfold reads; the text says what it is and what to do.
    """
    return describe(path).kind


def describe(path: str | os.PathLike[str]) -> FileDetails:
    """Tell the kind of model, the Keras version it states, and whether the suffix misleads.

    Raises:
        InputError: as `sniff`.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return _describe_folder(path)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "not a regular file", "give the path of a model file")
        if status.st_size == 0:
            raise _unusable(path, "empty", "download or export the model again")
        with path.open("rb") as file:
            return _with_suffix_note(_describe_file(path, file, status.st_size))
    except FileNotFoundError:
        raise _unusable(path, "not there", f"check the path{_beside(path)}", verb="is") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shown(path)} cannot be read: {reason}.") from error


def _beside(path: Path) -> str:
    """`` (did you mean X?)`` where a file of nearly that name is in the folder, else "" """
    with contextlib.suppress(OSError, ValueError):
        names = (entry.name for entry in itertools.islice(path.parent.iterdir(), _MOST_NAMES))
        found = near_miss(path.name, names)
        if found:
            return f" (did you mean {shown(path.with_name(found))}?)"
    return ""


def _describe_file(path: Path, file: BinaryIO, size: int) -> FileDetails:
    head = file.read(_HEAD)
    # First, as the HDF5 file in an archive may lie where HDF5 allows its own signature to be.
    if head.startswith(_ZIP_SIGNATURES):
        version = _keras_version(path, archives.keras_zip)
        return FileDetails(path, FileKind.KERAS_ZIP, *version)
    if _is_hdf5(file, size):
        version = _keras_version(path, archives.keras_hdf5)
        return FileDetails(path, FileKind.KERAS_HDF5, *version)
    for row in _SIGNATURES:
        if head.startswith(row.magic, row.offset):
            raise _unusable(path, row.what, row.hint)
    _refuse_text(path, head)
    _check_onnx(path, file, size)
    return FileDetails(path, FileKind.ONNX)


def _is_hdf5(file: BinaryIO, size: int) -> bool:
    # A user block may stand before the signature: it is at 0, 512, 1024, 2048, ...
    offset = 0
    while offset + len(_HDF5_SIGNATURE) <= size:
        file.seek(offset)
        if file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE:
            return True
        offset = offset * 2 or 512
    return False


def _keras_version(
    path: Path, look: Callable[[Path], archives.KerasVersion]
) -> tuple[str, int | None]:
    try:
        version = look(path)
    except archives.NotAModelError as error:
        raise _unusable(path, error.what, error.hint) from error
    if version.major is not None and version.major < 2:
        raise _unusable(
            path,
            f"a model of Keras {version.stated or '1'}, which no current Keras loads",
            "load and save it with Keras 2.2 first",
        )
    return version.stated, version.major


def _refuse_text(path: Path, head: bytes) -> None:
    # A cut at the end may fall within a character: ignore that one only.
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.start == 0:
            return
        text = head[: error.start].decode("utf-8")
    text = text.lstrip("\ufeff \t\r\n")
    if any(not (char.isprintable() or char in "\t\r\n\f") for char in text):
        return
    lowered = text.lower()
    for pattern, what, hint in _TEXTS:
        if re.match(pattern, lowered):
            raise _unusable(path, what, hint)


def _check_onnx(path: Path, file: BinaryIO, size: int) -> None:
    """Pass when the outline is an ONNX ModelProto's: ir_version is field 1, graph field 7."""
    outline = wire.scan(file, size)
    starts_as_onnx = outline.has(1, Wire.VARINT)
    cut = outline.ending is Ending.TRUNCATED
    if starts_as_onnx and outline.has(7, Wire.BYTES) and _onnx_fields_only(outline):
        if cut:
            lacking = f": at least {megabytes(outline.missing)} are missing"
            raise _unusable(
                path,
                "a truncated ONNX model" + (lacking if outline.missing else ""),
                "download or export it again",
            )
        if outline.ending in (Ending.COMPLETE, Ending.LONG):
            return
    if outline.ending is Ending.COMPLETE:
        if starts_as_onnx and outline.has(2, Wire.BYTES) and set(outline.fields) == {1, 2}:
            raise _unusable(path, "the saved_model.pb of a SavedModel", "give the folder it is in")
        if outline.has(1, Wire.BYTES) and set(outline.fields) <= {1, 2, 3, 4, 5}:
            raise _unusable(
                path, "a frozen TensorFlow graph", "give the Keras model, or export it to ONNX"
            )
        if starts_as_onnx and outline.has(2, Wire.BYTES) and max(outline.fields) >= 200:
            raise _unusable(path, "a Core ML model", _GIVE_SOURCE)
    what = "damaged or no model (neither ONNX nor Keras)"
    raise _unusable(path, what, "check that this is the file you mean")


def _onnx_fields_only(outline: wire.Outline) -> bool:
    numbers = {1: Wire.VARINT, 5: Wire.VARINT} | dict.fromkeys(
        (2, 3, 4, 6, 7, 8, 14, 20, 25, 26), Wire.BYTES
    )
    return all(outline.has(number, numbers.get(number, Wire.BYTES)) for number in outline.fields)


# What a folder may hold, what that is, and what to do.
_FOLDERS = (
    ("checkpoint", "a TensorFlow checkpoint: weights only", "give the saved model"),
    ("variables.index", "the variables of a SavedModel", "give the folder above"),
    ("keras_metadata.pb", "a SavedModel without its saved_model.pb", "copy the whole folder"),
    ("model.json", "a TensorFlow.js model", _GIVE_SOURCE),
    ("Manifest.json", "a Core ML package", _GIVE_SOURCE),
    ("config.json", "an unpacked .keras archive or a model repository", "give the file itself"),
)


def _describe_folder(path: Path) -> FileDetails:
    for name in ("saved_model.pb", "saved_model.pbtxt"):
        if (path / name).is_file():
            major = 2 if (path / "keras_metadata.pb").is_file() else None
            return FileDetails(path, FileKind.SAVED_MODEL, "", major)
    models = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.suffix.lower() in (*SUFFIXES[FileKind.ONNX], *KERAS_SUFFIXES)
    )
    if models:
        raise _unusable(path, "a folder", f"give one of the models in it, such as {models[0]}")
    for name, what, hint in _FOLDERS:
        if (path / name).exists():
            raise _unusable(path, f"a folder with {what}", hint)
    raise _unusable(path, "a folder without a model in it", "give the path of a model")


def _with_suffix_note(details: FileDetails) -> FileDetails:
    suffix = details.path.suffix.lower()
    fitting = SUFFIXES[details.kind]
    known = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
    if suffix in fitting or suffix not in known:
        return details
    article = "an" if details.kind is FileKind.ONNX else "a"
    note = (
        f"{shown(details.path)} is named {suffix} but is {article} {details.kind.value}; "
        f"it is read as that."
    )
    return FileDetails(details.path, details.kind, details.keras_version, details.keras_major, note)


def _unusable(path: Path, what: str, hint: str, verb: str = "is") -> InputError:
    return InputError(f"{shown(path)} {verb} {what}: {hint}.")
