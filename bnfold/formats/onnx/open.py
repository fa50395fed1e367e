"""Opening an ONNX model: from a file, a ModelProto or an onnx-ir model."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import (  # type: ignore[import-untyped]
    DecodeError,
    EncodeError,
)

from bnfold.core.errors import InputError
from bnfold.formats.collector import collector_paused
from bnfold.formats.onnx.check import check_model
from bnfold.formats.onnx.expansion import refuse_expansion
from bnfold.formats.onnx.external import external_tensors, locate
from bnfold.formats.onnx.utf8 import mend_text
from bnfold.formats.sniff import FileKind, describe
from bnfold.formats.text import clip, megabytes, shown

logger = logging.getLogger(__name__)

_PROTOBUF_LIMIT = 2**31 - 1
_ALIAS, _DEFAULT = "ai.onnx", ""


def open_onnx(source: str | os.PathLike[str] | onnx.ModelProto | ir.Model) -> ir.Model:
    """Open a model for folding.

    Weights in external data stay in their files until somebody asks for them; they are mapped, not
    loaded. Nodes of a file that are out of order are put in topological order, and negative
    dimensions, which some exporters write for unknown ones, become unknown.

    Args:
        source: the path of an .onnx file (decided by its bytes), a `ModelProto` (which is copied
            and never changed), or an `ir.Model` (which is returned as it is).

    Returns:
        A model in which every name has one origin, every tensor holds what it declares, and no
        graph has a cycle.

    Raises:
        InputError: one line saying what is wrong and, for a file, in which.
    """
    if isinstance(source, ir.Model):
        return source
    if isinstance(source, onnx.ModelProto):
        with _named("the given model"):
            return _from_proto(_copy(source), None)
    path = Path(source)
    details = describe(path)
    if details.kind is not FileKind.ONNX:
        raise InputError(f"{shown(path)} is a {details.kind.value}, not an ONNX model.")
    with _named(shown(path)):
        return _from_proto(_parse(path), path)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the model's name before what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name} cannot be used: {error}.") from error
    except MemoryError as error:
        raise InputError(f"{name} cannot be opened: there is not enough memory.") from error
    except RecursionError as error:
        raise InputError(f"{name} cannot be used: it is nested too deeply.") from error


def _copy(source: onnx.ModelProto) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.CopyFrom(source)
    except (DecodeError, EncodeError) as error:
        # Protobuf copies by way of bytes, and refuses those nested more than 100 deep.
        raise InputError("it is nested too deeply") from error
    return proto


def _parse(path: Path) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size > _PROTOBUF_LIMIT:
                raise InputError(
                    f"it has {megabytes(size)}, and an ONNX file holds at most 2 GB: save it "
                    f"with external data"
                )
            # Mapped rather than read, so that the weights are in memory once and not twice.
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
            ):
                proto.ParseFromString(view)
    except DecodeError as error:
        raise InputError("it is damaged (not a whole protobuf message)") from error
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror or error}") from error
    return proto


def _from_proto(proto: onnx.ModelProto, path: Path | None) -> ir.Model:
    """Check and convert a proto that is ours to change."""
    mend_text(proto)
    in_order = check_model(proto)
    _normalize(proto)
    bases: dict[str, Path] = {}
    if path is not None:
        bases = locate(proto, path)
    elif next(external_tensors(proto), None) is not None:
        raise InputError(
            "its weights are in external data, and it does not say in which folder: give the path "
            "of the file, or load the data first (onnx.load)"
        )
    if proto.training_info:
        logger.warning("The model's training information is left out.")
        del proto.training_info[:]
    model = _convert(proto)
    for tensor in _all_external(model):
        tensor.base_dir = str(bases[str(tensor.location)])
    if not in_order:
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
    functions = model.functions.values()
    refuse_expansion(
        [*model.graphs(), *functions, *(g for f in functions for g in f.graph.subgraphs())]
    )
    return model


def _convert(proto: onnx.ModelProto) -> ir.Model:
    try:
        with collector_paused():
            return ir.serde.deserialize_model(proto)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = clip(str(cause) or type(cause).__name__)
        raise InputError(f"it holds something that is not supported ({reason})") from error


def _normalize(proto: onnx.ModelProto) -> None:
    """Rewrite what means the same: the opset's alias, and negative dims."""
    domains = {opset.domain for opset in proto.opset_import}
    if _ALIAS in domains:
        for opset in [opset for opset in proto.opset_import if opset.domain == _ALIAS]:
            if _DEFAULT in domains:
                proto.opset_import.remove(opset)
            else:
                opset.domain = _DEFAULT
    for values in (proto.graph.input, proto.graph.output, proto.graph.value_info):
        for value in values:
            if value.type.HasField("tensor_type"):
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_value < 0:
                        dim.Clear()


def _all_external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    graphs = list(model.graphs())
    for function in model.functions.values():
        graphs.append(function.graph)
        graphs.extend(function.graph.subgraphs())
    for graph in graphs:
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                yield from _external_in(attribute)


def _external_in(attribute: ir.Attr) -> Iterator[ir.ExternalTensor]:
    if attribute.is_ref():
        return
    if attribute.type == ir.AttributeType.TENSOR:
        if isinstance(attribute.value, ir.ExternalTensor):
            yield attribute.value
    elif attribute.type == ir.AttributeType.TENSORS:
        yield from (each for each in attribute.value if isinstance(each, ir.ExternalTensor))
