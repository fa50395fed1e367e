"""Saving an ONNX model: deterministic, whole or not at all, of any size.

A model that fits is one file. One that does not gets its weights in a data file beside it, named
after the target and a checksum of the data: `model.onnx` and `model.onnx.0f3a....data`. So a new
output never writes over the data of an old one: until `model.onnx` itself is replaced, in one
step, it goes on meaning the old data, and of two runs at once each has its own. The data file of a
replaced output is left behind, since nobody knows who else reads it.
"""

from __future__ import annotations

import contextlib
import filecmp
import io
import logging
import os
import queue
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.core.errors import OutputError
from bnfold.formats.atomic import Staged, check_target, output_errors
from bnfold.formats.onnx.encode import (
    Progress,
    Skeleton,
    Slot,
    skeleton_of,
    write_model,
    write_tensor,
)
from bnfold.formats.text import shown

logger = logging.getLogger(__name__)

# Protobuf reads messages of up to 2^31 - 1 bytes; some readers need a little room in that.
LARGEST_FILE = 2**31 - 2**24
# Shapes, axes and the like stay in the model, where shape inference looks for them.
_INLINE_BELOW = 1024
# So that readers can map a weight into memory where it lies.
_ALIGNMENT = 4096
_CHUNK = 1 << 20


def save_onnx(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    external: Literal["auto", "always", "never"] = "auto",
    largest_file: int = LARGEST_FILE,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write a model. Saving the same model to the same name gives the same bytes.

    Weights still in a file are copied from there; weights computed on demand are computed and
    written one at a time. The model is not changed.

    Args:
        model: as `open_onnx` gives it or a fold makes it.
        path: the file to write; its folder must be there.
        force: replace it if it exists. The data of the input is never replaced.
        external: "auto" moves the weights to a data file when the model is larger than
            `largest_file` bytes; "always" and "never" decide beforehand.
        largest_file: in bytes; at most protobuf's 2^31 - 1.
        progress: called with the bytes of weights written so far and in all.

    Returns:
        The files written: the model, and the data file where there is one.

    Raises:
        OutputError: the target cannot be written; what stood there before still does.
        InputError: weights cannot be read any more from the input's files.
    """
    target = check_target(path, force=force)
    sources = _source_files(model)
    if any(_same_file(target, source) for source in sources):
        raise OutputError(f"{shown(target)} holds weights of the input: give another name.")
    skeleton = skeleton_of(model)
    size = skeleton.encoded_size()
    if external == "always" or (external == "auto" and size > largest_file):
        return _save_with_data(skeleton, target, force, sources, progress)
    if size > largest_file:
        raise OutputError(f"{shown(target)} would be larger than one ONNX file can be.")
    with Staged(target.parent) as staged:
        with output_errors(target):
            write_model(staged.file, skeleton, progress)
        staged.publish(target, force=force)
    return (target,)


def model_bytes(model: ir.Model) -> bytes:
    """Return the bytes that `save_onnx` would write into a single file.

    Raises:
        OutputError: the model is too large for one file.
        InputError: weights cannot be read any more from the input's files.
    """
    skeleton = skeleton_of(model)
    if skeleton.encoded_size() > LARGEST_FILE:
        raise OutputError("The model is larger than one ONNX file can be: save it to a path.")
    buffer = io.BytesIO()
    write_model(buffer, skeleton)
    return buffer.getvalue()


def _save_with_data(
    skeleton: Skeleton, target: Path, force: bool, sources: list[Path], progress: Progress | None
) -> tuple[Path, ...]:
    moved = [
        slot
        for slot in (*skeleton.slots, *skeleton.nested)
        if slot.movable and slot.nbytes >= _INLINE_BELOW
    ]
    with Staged(target.parent) as data, Staged(target.parent) as staged:
        with output_errors(target):
            digest = _write_data(data, moved, progress)
        data_target = target.with_name(_data_name(target.name, digest))
        offset = 0
        for slot in moved:
            offset = _aligned(offset)
            _point(slot.proto, data_target.name, offset, slot.nbytes)
            offset += slot.nbytes
        if skeleton.proto.ByteSize() > LARGEST_FILE:
            raise OutputError(f"{shown(target)} would be larger than one ONNX file can be.")
        with output_errors(target):
            write_model(staged.file, skeleton)
        with _lock(target.parent):
            _publish_both(data, data_target, staged, target, force, sources)
    return target, data_target


def _publish_both(
    data: Staged, data_target: Path, staged: Staged, target: Path, force: bool, sources: list[Path]
) -> None:
    """Put the data in place, then the model that means it; neither if the model cannot be."""
    existed = os.path.lexists(data_target)
    if not any(_same_file(data_target, source) for source in sources):
        data.publish(data_target, force=True)
    elif not filecmp.cmp(data.path, data_target, shallow=False):  # a checksum can be contrived
        raise OutputError(f"{shown(data_target)} holds weights of the input: give another name.")
    try:
        staged.publish(target, force=force)
    except BaseException:
        if not existed and not _mentions(target, data_target.name):
            with contextlib.suppress(OSError):
                data_target.unlink()
        raise


def _write_data(data: Staged, slots: list[Slot], progress: Progress | None) -> str:
    """Write the tensors one behind the other, each aligned; return the digest of the file."""
    total, offset = sum(slot.nbytes for slot in slots), 0
    with _TrailingDigest(data.path) as digest:
        for slot in slots:
            assert slot.tensor is not None
            offset = _aligned(offset)
            data.file.seek(offset)
            write_tensor(data.file, slot.tensor)
            data.file.flush()
            offset += slot.nbytes
            digest.advance(offset)
            if progress:
                progress(offset, max(total, offset))
    return digest.hexdigest()


class _TrailingDigest:
    """Checksum of a growing file, computed by a thread while the next part is being written.

    It tells one content from another under one name, against nobody's malice; so it is a CRC and a
    sum of words, which keep pace with copying, as a cryptographic one does not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._crc, self._sum = 0, 0
        self._ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> _TrailingDigest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.put(None)
        self._thread.join()

    def advance(self, end: int) -> None:
        """Say that the file is complete up to the byte `end`."""
        self._ends.put(end)

    def hexdigest(self) -> str:
        """Return the digest, once the block has ended."""
        if self._error is not None:
            raise self._error
        return f"{self._crc:08x}{self._sum % 0xFFFFFFFB:08x}"

    def _follow(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                position = 0
                while (end := self._ends.get()) is not None:
                    while position < end:
                        part = file.read(min(_CHUNK, end - position))
                        if not part:
                            raise OSError("the data file became shorter while it was written")
                        self._crc = zlib.crc32(part, self._crc)
                        self._sum += _sum_of_words(part, position)
                        position += len(part)
        except BaseException as error:
            self._error = error


def _sum_of_words(data: bytes, position: int) -> int:
    """Of 32 bits each, in a file that has ``data`` at ``position`` and zeros elsewhere."""
    data = bytes(position % 4) + data if position % 4 else data
    words = np.frombuffer(data, dtype="<u4", count=len(data) // 4)
    return int(words.sum(dtype=np.uint64)) + int.from_bytes(data[4 * len(words) :], "little")


def _point(proto: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    for field, _ in proto.ListFields():
        if field.name.endswith("_data"):
            proto.ClearField(field.name)
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        proto.external_data.add(key=key, value=str(value))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _data_name(name: str, digest: str) -> str:
    # The name goes into the model as text, and must not grow beyond what file systems take.
    printable = "".join(char if char.isprintable() and char != "\\" else "_" for char in name)
    while len(printable.encode()) > 200:
        printable = printable[:-1]
    return f"{printable}.{digest}.data"


def _source_files(model: ir.Model) -> list[Path]:
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    tensors = (value.const_value for graph in graphs for value in graph.initializers.values())
    paths = {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    return sorted(paths)


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _mentions(model: Path, data_name: str) -> bool:
    try:
        return data_name.encode() in model.read_bytes()
    except OSError:
        return False


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one process at a time put a pair of files in place, where the system has locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
