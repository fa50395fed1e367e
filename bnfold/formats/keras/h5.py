"""Reading arrays from HDF5 files that may be hostile: no links out, no sizes that only claim."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bnfold.core.errors import InputError
from bnfold.formats.keras.graph import AnyArray, LazyArray, float_dtype
from bnfold.formats.text import clip

# A dataset may declare gigabytes and store nothing: chunked, compressed, with a fill value only.
_SUSPICIOUS_BYTES = 1 << 30
_LARGEST_EXPANSION = 1000


class H5File:
    """An HDF5 file, or one inside a zip archive, opened when it is first read.

    Args:
        path: the file.
        member: name of the HDF5 file inside the zip; "" if ``path`` is itself the HDF5 file.
    """

    def __init__(self, path: Path, member: str = "") -> None:
        self._path = path
        self._member = member
        self._file: h5py.File | None = None

    @property
    def root(self) -> h5py.File:
        """The open file.

        Raises:
            InputError: it is damaged.
        """
        if self._file is None:
            try:
                source = _member(self._path, self._member) if self._member else str(self._path)
                self._file = h5py.File(source, "r")
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                raise InputError(f"The weights cannot be read: {clip(str(error))}.") from error
        return self._file

    def group(self, path: str) -> h5py.Group | None:
        """The group at ``path``, None if there is none.

        Raises:
            InputError: the path leads through a link to another place.
        """
        current: Any = self.root
        for part in path.split("/") if path else ():
            if part not in current:
                return None
            _refuse_links(current, part)
            current = current[part]
            if not isinstance(current, h5py.Group):
                return None
        return current

    def array(self, path: str) -> LazyArray:
        """The dataset at ``path``.

        Raises:
            InputError: there is none, or it cannot be trusted.
        """
        parent, _, name = path.rpartition("/")
        group = self.group(parent)
        if group is None or name not in group:
            raise InputError(f"The weights lack the array {clip(path)!r}.")
        _refuse_links(group, name)
        dataset = group[name]
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"The weights are damaged: {clip(path)!r} is no array.")
        _refuse_bombs(dataset, path)
        dtype = dataset.attrs.get("dtype")
        stored = "bfloat16" if dtype in ("bfloat16", b"bfloat16") else str(dataset.dtype)
        if dataset.dtype.kind not in "fiub" and stored != "bfloat16":
            raise InputError(f"The weights are damaged: {clip(path)!r} holds no numbers.")
        return LazyArray(tuple(dataset.shape), stored, lambda: self._read(path, stored), path)

    def _read(self, path: str, dtype: str) -> AnyArray:
        try:
            data: AnyArray = self.root[path][()]
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"The array {clip(path)!r} cannot be read: {clip(str(error))}."
            ) from error
        wanted = float_dtype(dtype)
        array = np.asarray(data)
        if array.dtype != wanted and array.dtype.kind == "V" and array.dtype.itemsize == 2:
            return array.view(wanted)
        return array.astype(wanted, copy=False)


def _refuse_links(group: h5py.Group, name: str) -> None:
    kind = group.get(name, default=None, getclass=True, getlink=True)
    if kind in (h5py.ExternalLink, h5py.SoftLink):
        raise InputError(f"The weights hold a link to another place at {clip(name)!r}: refused.")


def _refuse_bombs(dataset: h5py.Dataset, path: str) -> None:
    if dataset.external or dataset.is_virtual:
        raise InputError(f"The array {clip(path)!r} points at another file: refused.")
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if declared > _SUSPICIOUS_BYTES and declared > _LARGEST_EXPANSION * stored:
        raise InputError(
            f"The array {clip(path)!r} claims {declared} bytes and stores {stored}: refused."
        )


def _member(path: Path, member: str) -> io.RawIOBase | io.BytesIO:
    """A seekable file inside a zip; a window of the archive itself where it is stored as is."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            claims = info.file_size > _SUSPICIOUS_BYTES
            if claims and info.file_size > _LARGEST_EXPANSION * info.compress_size:
                raise InputError(
                    f"The archive's {member} unpacks to {info.file_size} bytes: refused."
                )
            return io.BytesIO(archive.read(info))
    with path.open("rb") as file:
        # The data begin behind a local header of 30 bytes, the name and extra fields.
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26xHH", file.read(30))
    return _Window(path, info.header_offset + 30 + name + extra, info.file_size)


class _Window(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        self._file.seek(self._start + self._position)
        read = self._file.readinto(view[:count])
        self._position += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
