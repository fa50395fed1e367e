"""An ONNX model as protobuf bytes, with every weight written straight to where it belongs.

onnx-ir turns everything but the main graph's initializers into a `ModelProto`; these are encoded
around it one by one. So no more than one weight is in memory at a time, whether it was loaded,
is still in its file, or is computed on demand (`ir.LazyTensor`). The bytes are those that
protobuf's own deterministic serialization of the whole model gives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.core.errors import InputError
from bnfold.formats.collector import collector_paused
from bnfold.formats.text import clip

Progress = Callable[[int, int], None]

_GRAPH = onnx.ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_LENGTH_DELIMITED = 2
_MODEL_FIELDS = (
    "ir_version",
    "producer_name",
    "producer_version",
    "domain",
    "model_version",
    "doc_string",
    "opset_imports",
    "metadata_props",
    "device_configurations",
    "functions",
)


@dataclass(frozen=True)
class Slot:
    """A tensor and the message that stands for it.

    Attributes:
        proto: its name, type, dims; its data too only where `tensor` is None (strings).
        tensor: where the data comes from.
        movable: whether it may live in external data (initializers may, attributes may not).
    """

    proto: onnx.TensorProto
    tensor: ir.TensorProtocol | None
    movable: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of data that are written apart from `proto`."""
        return 0 if self.tensor is None else self.tensor.nbytes


@dataclass(frozen=True)
class Skeleton:
    """A model without the data of its weights.

    Attributes:
        proto: everything but the main graph's initializers.
        slots: the main graph's initializers, in order.
        nested: tensors inside `proto` that are still in a file, or may be moved to one.
    """

    proto: onnx.ModelProto
    slots: tuple[Slot, ...]
    nested: tuple[Slot, ...]

    def encoded_size(self) -> int:
        """Bytes of the whole model with all data inline, as `write_model` writes it."""
        graph = int(self.proto.graph.ByteSize())
        weights = 0
        for slot in self.slots:
            data = 0 if slot.tensor is None else _framed(slot.nbytes)
            weights += _framed(int(slot.proto.ByteSize()) + data)
        unloaded = sum(slot.nbytes for slot in self.nested if not slot.proto.HasField("raw_data"))
        return int(self.proto.ByteSize()) - _framed(graph) + _framed(graph + weights) + unloaded


def _framed(length: int) -> int:
    """Bytes of a message or of raw data as a field: its key, its length, itself."""
    return 1 + len(_varint(length)) + length


def skeleton_of(model: ir.Model) -> Skeleton:
    """Serialize everything but the weights. The model is not changed."""
    shell = SimpleNamespace(**{name: getattr(model, name) for name in _MODEL_FIELDS})
    named = [(name, value) for name, value in model.graph.initializers.items()]
    tensors = [value.const_value for _, value in named if value.const_value is not None]
    shell.graph = _GraphShell(model.graph)
    with collector_paused():
        proto = ir.serde.serialize_model(cast(Any, shell))
    slots = []
    for header, tensor in zip(proto.graph.initializer, tensors, strict=True):
        own = onnx.TensorProto()
        own.CopyFrom(header)
        slots.append(Slot(own, None if tensor.dtype == ir.DataType.STRING else _bare(own, tensor)))
    del proto.graph.initializer[:]
    nested = list(_in_nodes(proto.graph.node, model.graph))
    for function_proto, function in zip(proto.functions, model.functions.values(), strict=True):
        nested.extend(_in_nodes(function_proto.node, function))
    return Skeleton(proto, tuple(slots), tuple(nested))


class _GraphShell:
    """The main graph as onnx-ir's serializer sees it, with weights that have no data."""

    def __init__(self, graph: ir.Graph) -> None:
        self.name = graph.name
        self.doc_string = graph.doc_string
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.metadata_props = graph.metadata_props
        self.initializers = {
            name: _value_shell(name, value)
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }
        self._nodes = graph

    def __iter__(self) -> Iterator[ir.Node]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


def _value_shell(name: str, value: ir.Value) -> SimpleNamespace:
    tensor = value.const_value
    assert tensor is not None
    described = bool(value.metadata_props or value.doc_string)
    stand_in: ir.TensorProtocol = tensor
    if tensor.dtype != ir.DataType.STRING:
        stand_in = ir.ExternalTensor(
            "",
            None,
            None,
            tensor.dtype,
            shape=cast(ir.Shape, tensor.shape),
            name=name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
        )
    return SimpleNamespace(
        name=name,
        # Type and shape are the tensor's own: saying them twice would only make the file larger.
        shape=value.shape if described else None,
        type=value.type if described else None,
        metadata_props=value.metadata_props,
        doc_string=value.doc_string,
        meta=value.meta,
        const_value=stand_in,
    )


def _bare(proto: onnx.TensorProto, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Take the stand-in's location out of the message that it became."""
    proto.ClearField("external_data")
    proto.ClearField("data_location")
    return tensor


def _in_nodes(protos: Iterable[onnx.NodeProto], nodes: Iterable[ir.Node]) -> Iterator[Slot]:
    """Yield the tensors of bodies, and those of attributes that are still in a file."""
    for proto, node in zip(protos, nodes, strict=True):
        if not node.attributes:
            continue
        for attribute_proto, attribute in zip(
            proto.attribute, node.attributes.values(), strict=True
        ):
            if not attribute.is_ref():
                yield from _in_attribute(attribute_proto, attribute)


def _in_attribute(proto: onnx.AttributeProto, attribute: ir.Attr) -> Iterator[Slot]:
    kinds = ir.AttributeType
    if attribute.type == kinds.TENSOR:
        yield from _unloaded([proto.t], [attribute.value])
    elif attribute.type == kinds.TENSORS:
        yield from _unloaded(proto.tensors, attribute.value)
    elif attribute.type == kinds.GRAPH:
        yield from _in_body(proto.g, attribute.value)
    elif attribute.type == kinds.GRAPHS:
        for graph_proto, graph in zip(proto.graphs, attribute.value, strict=True):
            yield from _in_body(graph_proto, graph)


def _unloaded(
    protos: Iterable[onnx.TensorProto], tensors: Iterable[ir.TensorProtocol]
) -> Iterator[Slot]:
    for proto, tensor in zip(protos, tensors, strict=True):
        if isinstance(tensor, ir.ExternalTensor):
            yield Slot(proto, _bare(proto, tensor), movable=False)


def _in_body(proto: onnx.GraphProto, graph: ir.Graph) -> Iterator[Slot]:
    values = [value for value in graph.initializers.values() if value.const_value is not None]
    for tensor_proto, value in zip(proto.initializer, values, strict=True):
        tensor = cast(ir.TensorProtocol, value.const_value)
        if isinstance(tensor, ir.ExternalTensor):
            yield Slot(tensor_proto, _bare(tensor_proto, tensor))
        elif tensor.dtype != ir.DataType.STRING:
            yield Slot(tensor_proto, tensor)
    yield from _in_nodes(proto.node, graph)


def write_model(file: BinaryIO, skeleton: Skeleton, progress: Progress | None = None) -> None:
    """Write a model with its weights inline, except those whose slots say where else they are.

    Raises:
        InputError: the data of a weight can no longer be read.
        OSError: the file cannot be written.
    """
    for slot in skeleton.nested:
        if slot.tensor is not None and not _has_data(slot.proto):
            slot.proto.raw_data = bytes(tensor_bytes(slot.tensor))
    graph = skeleton.proto.graph
    before_graph, after_graph = _split(skeleton.proto, _GRAPH)
    before, after = _split(graph, _INITIALIZER)
    entries = [_frame(slot) for slot in skeleton.slots]
    inner = sum(len(head) + data + len(tail) for head, data, tail in entries)
    file.write(before_graph)
    file.write(_key(_GRAPH) + _varint(len(before) + inner + len(after)))
    file.write(before)
    total, done = sum(data for _, data, _ in entries), 0
    for slot, (head, data, tail) in zip(skeleton.slots, entries, strict=True):
        file.write(head)
        if data and slot.tensor is not None:
            write_tensor(file, slot.tensor)
            done += data
            if progress:
                progress(done, total)
        file.write(tail)
    file.write(after)
    file.write(after_graph)


def _has_data(proto: onnx.TensorProto) -> bool:
    return any(
        field.name.endswith("_data") for field, _ in proto.ListFields()
    )  # raw_data, float_data, ..., external_data


def _frame(slot: Slot) -> tuple[bytes, int, bytes]:
    """Encode an initializer around its raw data: bytes before, count of data, bytes after."""
    inline = slot.tensor is not None and slot.proto.data_location != onnx.TensorProto.EXTERNAL
    if not inline:
        message = _serialized(slot.proto)
        return _key(_INITIALIZER) + _varint(len(message)) + message, 0, b""
    before, after = _split(slot.proto, _RAW_DATA)
    count = slot.nbytes
    raw = _key(_RAW_DATA) + _varint(count)
    length = len(before) + len(raw) + count + len(after)
    return _key(_INITIALIZER) + _varint(length) + before + raw, count, after


def _split(message: Any, number: int) -> tuple[bytes, bytes]:
    """Serialize the fields before and behind field `number`, which is left out."""
    before, after = type(message)(), type(message)()
    for field, value in message.ListFields():
        if field.number == number:
            continue
        part = before if field.number < number else after
        if hasattr(value, "MergeFrom"):  # a message, or a repeated field
            getattr(part, field.name).MergeFrom(value)
        else:
            setattr(part, field.name, value)
    return _serialized(before), _serialized(after)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _key(number: int) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_tensor(file: BinaryIO, tensor: ir.TensorProtocol) -> None:
    """Write a tensor's data at the file's position, as ONNX stores it (little endian, packed).

    What is still in a file is copied from file to file without passing through this process where
    the system can.

    Raises:
        InputError: the data can no longer be read, or is not what the tensor declares.
        OSError: the file cannot be written.
    """
    if not isinstance(tensor, ir.ExternalTensor):
        file.write(tensor_bytes(tensor))
        return
    start = file.tell()
    try:
        tensor.tofile(file)
    except (OSError, ValueError) as error:
        # Errors of opening and reading name the file or have no number; those of writing do not.
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise
        raise _gone(tensor, error) from error
    if file.tell() - start != tensor.nbytes:
        raise _gone(tensor, "its length changed")


def tensor_bytes(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """Return a tensor's data as ONNX stores it, without a copy where that is possible.

    Raises:
        InputError: the data can no longer be read, or is not what the tensor declares.
    """
    try:
        if tensor.dtype.bitwidth < 8 or sys.byteorder == "big":
            data: bytes | memoryview = tensor.tobytes()
        else:
            array = np.ascontiguousarray(tensor.numpy())
            data = array.reshape(-1).view(np.uint8).data
    except (OSError, ValueError) as error:
        raise _gone(tensor, error) from error
    if len(data) != tensor.nbytes:
        raise _gone(tensor, f"it gives {len(data)} bytes where {tensor.nbytes} belong")
    return data


def _gone(tensor: ir.TensorProtocol, error: object) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(
        f"The data of '{clip(tensor.name or '', 80)}' cannot be read any more: "
        f"{clip(str(reason))}. Did its file change?"
    )
