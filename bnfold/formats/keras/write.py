"""Writing a folded Keras model in the form of the file that it came from.

Config and weights go back as that Keras wrote them; what was not edited is copied as it is. The
training configuration and the optimizer's state are left out: they belong to layers that are gone.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py

from bnfold.core.errors import InputError
from bnfold.formats.atomic import atomic_output
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.read import WEIGHTS
from bnfold.formats.keras.write_archive import write_archive_weights
from bnfold.formats.keras.write_flat import copy_attribute, write_flat_weights
from bnfold.formats.sniff import FileKind, describe
from bnfold.formats.text import shown

CANNOT_TRAIN = (
    "The folded model is for inference: it has no optimizer state, and training it further would "
    "not treat it as the original."
)
_LEFT_OUT = ("training_config", "optimizer_weights")


def write_keras(
    source: str | Path,
    original: KerasGraph,
    folded: KerasGraph,
    path: str | Path,
    *,
    force: bool = False,
) -> None:
    """Write a folded model in the source's own format, whole or not at all.

    Args:
        source: the file that ``original`` was read from.
        original: as `bnfold.formats.keras.read.read_keras` read it.
        folded: from `bnfold.formats.keras.fold.fold_graph`.
        path: the file to write.
        force: replace it if it exists.

    Raises:
        OutputError: it cannot be written; whatever stood there before still does.
        InputError: the source is no Keras file, or can no longer be read.
    """
    source, path = Path(source), Path(path)
    kind = describe(source).kind
    with atomic_output(path, force=force) as out:
        if kind is FileKind.KERAS_ZIP:
            _write_archive(source, original, folded, out, path.parent)
        elif kind is FileKind.KERAS_HDF5:
            with _scratch(path.parent) as file, h5py.File(source, "r") as old:
                with h5py.File(file, "w") as new:
                    _copy_attributes(old, new, folded)
                    write_flat_weights(old, new, original, folded)
                file.seek(0)
                shutil.copyfileobj(file, out, 1 << 20)
        else:
            raise InputError(f"{shown(source)} is no Keras file that can be written back.")


@contextmanager
def _scratch(folder: Path) -> Iterator[IO[bytes]]:
    """A file without a name, on the disk where the result will be."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file


def _copy_attributes(old: h5py.File, new: h5py.File, folded: KerasGraph) -> None:
    for name in old.attrs:
        if name not in (*_LEFT_OUT, "model_config"):
            copy_attribute(old, new, name)
    copy_attribute(old, new, "model_config", json.dumps(folded.serialized))


def _write_archive(
    source: Path, original: KerasGraph, folded: KerasGraph, out: IO[bytes], folder: Path
) -> None:
    config = {**folded.serialized}
    if config.get("compile_config"):
        config["compile_config"] = None
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new,
        _scratch(folder) as file,
    ):
        with h5py.File(file, "w") as weights, _opened(old, folder) as before:
            write_archive_weights(before, weights, original, folded)
        file.seek(0)
        for info in old.infolist():
            target = zipfile.ZipInfo(info.filename, info.date_time)
            target.compress_type = info.compress_type
            if info.is_dir():
                new.writestr(target, b"")
                continue
            with new.open(target, "w", force_zip64=True) as member:
                if info.filename == "config.json":
                    member.write(json.dumps(config).encode())
                elif info.filename == WEIGHTS:
                    shutil.copyfileobj(file, member, 1 << 20)
                else:
                    with old.open(info) as given:
                        shutil.copyfileobj(given, member, 1 << 20)


@contextmanager
def _opened(archive: zipfile.ZipFile, folder: Path) -> Iterator[Any]:
    """The archive's weights as an open HDF5 file."""
    with _scratch(folder) as file, archive.open(WEIGHTS) as member:
        shutil.copyfileobj(member, file, 1 << 20)
        file.seek(0)
        with h5py.File(file, "r") as opened:
            yield opened
