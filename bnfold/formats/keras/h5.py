"""Reading arrays from HDF5 files that may be hostile: no links out, no sizes that only claim."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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
# What the zip library raises on damaged archives, beside Python's own.
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error)
# What h5py raises on damaged files, whatever it is asked.
H5_DAMAGES = (OSError, ValueError, KeyError, EOFError, RuntimeError)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what h5py raises meanwhile into one line that names the place.

    Raises:
        InputError: the file is damaged there.
    """
    try:
        yield
    except H5_DAMAGES as error:
        raise InputError(
            f"The weights are damaged at {clip(name)!r}: {clip(str(error))}."
        ) from error


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
        # Where the HDF5 file begins in `path`; None where it does not stand there as it is.
        self._start: int | None = None

    @property
    def root(self) -> h5py.File:
        """The open file.

        Raises:
            InputError: it is damaged.
        """
        if self._file is None:
            try:
                source, self._start = _located(self._path, self._member)
                self._file = h5py.File(source, "r")
            except (*H5_DAMAGES, *_DAMAGES) as error:
                raise InputError(f"The weights cannot be read: {clip(str(error))}.") from error
        return self._file

    def group(self, path: str) -> h5py.Group | None:
        """The group at ``path``, None if there is none.

        Raises:
            InputError: the path leads through a link to another place.
        """
        current: Any = self.root
        for part in path.split("/") if path else ():
            found = _child(current, part)
            if found is None:
                return None
            current = found
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
        dataset = None if group is None else _child(group, name)
        if dataset is None:
            raise InputError(f"The weights lack the array {clip(path)!r}.")
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"The weights are damaged: {clip(path)!r} is no array.")
        with reading(path):
            _refuse_bombs(dataset, path)
            dtype = dataset.attrs.get("dtype")
            stored = "bfloat16" if dtype in ("bfloat16", b"bfloat16") else str(dataset.dtype)
            if dataset.dtype.kind not in "fiub" and stored != "bfloat16":
                raise InputError(f"The weights are damaged: {clip(path)!r} holds no numbers.")
            shape = tuple(dataset.shape)
        return LazyArray(shape, stored, lambda: self._read(path, stored), path)

    def _read(self, path: str, dtype: str) -> AnyArray:
        try:
            dataset = self.root[path]
            data = self._straight(dataset)
            if data is None:
                data = dataset[()]
        except H5_DAMAGES as error:
            raise InputError(
                f"The array {clip(path)!r} cannot be read: {clip(str(error))}."
            ) from error
        wanted = float_dtype(dtype)
        array = np.asarray(data)
        if array.dtype != wanted and array.dtype.kind == "V" and array.dtype.itemsize == 2:
            return array.view(wanted)
        return array.astype(wanted, copy=False)

    def _straight(self, dataset: h5py.Dataset) -> AnyArray | None:
        """The content read past the HDF5 library, which is slow within archives.

        None where it does not lie in one piece, or not as numbers of this machine.
        """
        offset = dataset.id.get_offset()
        plain = offset is not None and dataset.chunks is None and self.root.userblock_size == 0
        native = dataset.dtype.isnative and dataset.dtype.kind in "fiu"
        if self._start is None or not plain or not native or not dataset.size:
            return None
        count = int(dataset.size)
        data = np.fromfile(self._path, dataset.dtype, count, offset=self._start + int(offset))
        return data.reshape(dataset.shape) if data.size == count else None


def _child(group: h5py.Group, name: str) -> Any:
    """What stands in the group under that name, None if nothing does.

    Raises:
        InputError: it is a link to another place, or damaged.
    """
    with reading(name):
        if name not in group:
            return None
        _refuse_links(group, name)
        return group[name]


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


def _located(path: Path, member: str) -> tuple[str | io.RawIOBase | io.BytesIO, int | None]:
    """Where to read an HDF5 file from, and where in ``path`` it begins.

    One that a zip holds as it is is a window of the archive; one that is packed is unpacked.
    """
    if not member:
        return str(path), 0
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            claims = info.file_size > _SUSPICIOUS_BYTES
            if claims and info.file_size > _LARGEST_EXPANSION * info.compress_size:
                raise InputError(
                    f"The archive's {member} unpacks to {info.file_size} bytes: refused."
                )
            return io.BytesIO(archive.read(info)), None
    with path.open("rb") as file:
        # The data begin behind a local header of 30 bytes, the name and extra fields.
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26xHH", file.read(30))
    start = info.header_offset + 30 + name + extra
    return _Window(path, start, info.file_size), start


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
