"""Whether a TensorProto holds what it declares.

A tensor that declares 2^40 elements and holds none would make its first reader allocate
terabytes; after this check, what a tensor costs is bounded by the bytes it is stored in.
"""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir

from bnfold.core.errors import InputError

# Field that holds the elements where raw_data does not, and entries of it per element.
_FIELDS = {
    ir.DataType.FLOAT: ("float_data", 1),
    ir.DataType.COMPLEX64: ("float_data", 2),
    ir.DataType.DOUBLE: ("double_data", 1),
    ir.DataType.COMPLEX128: ("double_data", 2),
    ir.DataType.INT64: ("int64_data", 1),
    ir.DataType.UINT32: ("uint64_data", 1),
    ir.DataType.UINT64: ("uint64_data", 1),
    ir.DataType.STRING: ("string_data", 1),
}
_MOST_AXES = 64  # numpy's limit


def check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    """Check type, dims and, unless the data is external, the amount of data.

    Raises:
        InputError: with `where` (such as "initializer 'w'") and what is wrong.
    """
    dtype = data_type(tensor, where)
    count = element_count(tensor, where)
    if tensor.HasField("segment"):
        raise InputError(f"{where} is split into segments, which is not supported")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        if dtype == ir.DataType.STRING:
            raise InputError(f"{where} keeps strings in external data, which ONNX does not allow")
        return
    if tensor.HasField("raw_data") and dtype != ir.DataType.STRING:
        held, needed, unit = len(tensor.raw_data), byte_count(dtype, count), "bytes"
    else:
        field, per_element = _FIELDS.get(dtype, ("int32_data", 1))
        held, unit = len(getattr(tensor, field)), "values"
        needed = count * per_element
        if field == "int32_data" and dtype.bitwidth < 8:
            needed = byte_count(dtype, count)
    if held != needed:
        dims = "x".join(map(str, tensor.dims)) or "scalar"
        raise InputError(f"{where} ({dims}) holds {held} {unit} where {needed} belong")


def data_type(tensor: onnx.TensorProto, where: str) -> ir.DataType:
    """Return the element type; an unknown or missing one is an `InputError`."""
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype == ir.DataType.UNDEFINED:
        raise InputError(f"{where} has the unknown element type {tensor.data_type}")
    return dtype


def element_count(tensor: onnx.TensorProto, where: str) -> int:
    """Return the product of the dims, as an exact integer."""
    if len(tensor.dims) > _MOST_AXES:
        raise InputError(f"{where} has {len(tensor.dims)} axes, more than {_MOST_AXES}")
    if any(dim < 0 for dim in tensor.dims):
        raise InputError(f"{where} has a negative dimension")
    return math.prod(tensor.dims)


def byte_count(dtype: ir.DataType, count: int) -> int:
    """Return the bytes that `count` elements take, packed where they are smaller than a byte."""
    return -(-count * dtype.bitwidth // 8)
