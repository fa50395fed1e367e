"""External data on the way in: which file each tensor means, and whether it may and can be read.

A model names its data files itself, and model files are untrusted. So a location must be a relative
path that stays in the folder of the model, links followed, and the file must hold the bytes that
the tensor claims. Nothing is read here but the files' sizes.

Format: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from bnfold.core.errors import InputError
from bnfold.formats.onnx.tensors import byte_count, data_type, element_count
from bnfold.formats.text import clip, megabytes

_LARGEST_OFFSET = 2**62


@dataclass(frozen=True)
class DataFile:
    """A data file that was found.

    Attributes:
        base: absolute folder that bounds it; links within are followed, links out of it refused.
        location: its path relative to `base`.
        size: in bytes.
    """

    base: Path
    location: str
    size: int


def external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model that keeps its data in another file."""
    for tensor in _graph_tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor
    for function in model.functions:
        for tensor in _node_tensors(function.node):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                yield tensor


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    kinds = onnx.AttributeProto
    for node in nodes:
        for attribute in node.attribute:
            kind = attribute.type
            if kind == kinds.TENSOR:
                yield attribute.t
            elif kind == kinds.TENSORS:
                yield from attribute.tensors
            elif kind == kinds.GRAPH:
                yield from _graph_tensors(attribute.g)
            elif kind == kinds.GRAPHS:
                for graph in attribute.graphs:
                    yield from _graph_tensors(graph)


def locate(model: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """Find and check the data of every external tensor, and write down where it is.

    The entries of the tensors in `model` are rewritten to the plain form: a location relative to
    the folder that is returned for it, an offset and the exact length.

    Args:
        model: checked (`check_model`), and the caller's own: it is changed.
        path: the file it was read from.

    Returns:
        Location to the absolute folder it is relative to.

    Raises:
        InputError: a location leaves the folder, or a file is missing or too short.
    """
    files: dict[str, DataFile] = {}
    bases: dict[str, Path] = {}
    for tensor in external_tensors(model):
        where = f"tensor '{clip(tensor.name, 80)}'"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = files.get(location)
        if file is None:
            file = files[location] = _find(location, path, where)
        offset = _number(entries, "offset", where)
        length = _length(tensor, entries, where)
        if offset + length > file.size:
            raise InputError(
                f"{where} needs bytes {offset} to {offset + length} of {clip(location)}, "
                f"which has {file.size}: the data file is truncated or another one"
            )
        bases[file.location] = file.base
        _rewrite(tensor, file.location, offset, length)
    return bases


def _rewrite(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _number(entries: dict[str, str], key: str, where: str) -> int:
    text = entries.get(key, "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise InputError(f"{where} has a damaged {key} of its external data: {clip(text, 40)}")
    return min(int(text), _LARGEST_OFFSET)


def _length(tensor: onnx.TensorProto, entries: dict[str, str], where: str) -> int:
    needed = byte_count(data_type(tensor, where), element_count(tensor, where))
    stated = _number(entries, "length", where)
    if entries.get("length") and stated != needed:
        raise InputError(
            f"{where} says its external data has {megabytes(stated)}, its dims say "
            f"{megabytes(needed)}"
        )
    return needed


def _find(location: str, path: Path, where: str) -> DataFile:
    parts = _safe_parts(location, where)
    folder = Path(os.path.abspath(path.parent))  # noqa: PTH100 - links stay as they are
    candidates = [folder / location]
    if "\\" in location:
        # Written by a tool on Windows that wrote its own separator.
        candidates.append(folder.joinpath(*parts))
    for candidate in candidates:
        try:
            real = candidate.resolve(strict=True)
            status = real.stat()
        except (OSError, RuntimeError, ValueError):
            continue
        # A model that is itself a link (as in download caches) has its data beside the real one.
        for base in (folder.resolve(), path.resolve().parent):
            if real.is_relative_to(base):
                return _checked(base, real, status, location, where)
        raise InputError(
            f"{where} has its data in {clip(location)}, a link that leads out of the model's "
            f"folder: copy the file there"
        )
    raise InputError(f"the data file {clip(location)} is missing: put it beside the model")


def _safe_parts(location: str, where: str) -> tuple[str, ...]:
    """Split a location; one that does not stay in the folder is refused whatever it leads to."""
    windows = PureWindowsPath(location)
    posix = PurePosixPath(location)
    if not location or "\0" in location or not posix.parts:
        raise InputError(f"{where} names no file for its external data")
    if posix.is_absolute() or windows.drive or windows.root:
        raise InputError(
            f"{where} has its data in {clip(location)}, an absolute path: only files in the "
            f"model's own folder are read"
        )
    if ".." in posix.parts or ".." in windows.parts:
        raise InputError(
            f"{where} has its data in {clip(location)}, outside of the model's folder: only files "
            f"in it are read"
        )
    return windows.parts


def _checked(base: Path, real: Path, status: os.stat_result, location: str, where: str) -> DataFile:
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{where} has its data in {clip(location)}, which is not a regular file")
    if status.st_nlink > 1:
        # A hard link can lead out of the folder unseen; onnx and onnx-ir refuse them alike.
        raise InputError(f"the data file {clip(location)} has several hard links: copy it first")
    if not os.access(real, os.R_OK):
        raise InputError(f"the data file {clip(location)} may not be read")
    return DataFile(base, str(real.relative_to(base)), status.st_size)
