"""Operands of one operator brought to one dtype, as Keras promotes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant
from bnfold.convert.direct.ops import cast
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.graph import float_dtype

_HALVES = ("float16", "bfloat16")
FLOATS = ("float64", "float32", *_HALVES)
# A plain Python number takes the dtype of what it meets, if that can hold its kind.
_WEAK = {"int": "int32", "float": "float32"}


def is_float(dtype: str) -> bool:
    """Whether a dtype's name is that of a floating one."""
    return dtype in FLOATS


def result_type(kinds: Iterable[str]) -> str:
    """The dtype of a result: Keras's lattice, which is that of JAX.

    Args:
        kinds: names of dtypes; "int" and "float" for plain Python numbers.
    """
    given = set(kinds)
    floats = [dtype for dtype in FLOATS if dtype in given]
    if floats:
        return "float32" if set(floats) == set(_HALVES) else floats[0]
    whole = {np.dtype(kind) for kind in given if kind not in _WEAK and kind != "bool"}
    if "float" in given or (np.dtype("uint64") in whole and len({d.kind for d in whole}) > 1):
        return "float32"
    if whole:
        return str(np.result_type(*whole).name)
    return "int32" if "int" in given else "bool"


def kind_of(operand: Any) -> str:
    """The kind of a tensor, array or number, as `result_type` takes it."""
    if isinstance(operand, Tensor):
        return operand.dtype
    if isinstance(operand, (np.ndarray, np.generic)):
        return str(operand.dtype.name)
    flat = np.asarray(operand)
    return {"b": "bool", "f": "float"}.get(flat.dtype.kind, "int")


# TensorFlow divides whole numbers in these.
_TF_QUOTIENT = {"int8": "float32", "int16": "float32", "uint8": "float32", "uint16": "float32"}


def common_dtype(site: Site, values: Sequence[Any], *, to_float: bool = False) -> str:
    """The dtype in which an operator computes with these operands."""
    if site.generation == 3:
        return result_type([*map(kind_of, values), *(["float"] if to_float else [])])
    dtypes = {one.dtype for one in values if isinstance(one, Tensor)} or {
        result_type(map(kind_of, values))
    }
    if len(dtypes) > 1:
        raise site.unsupported(f"combines {sorted(dtypes)}")
    dtype = dtypes.pop()
    if to_float and not is_float(dtype):
        return _TF_QUOTIENT.get(dtype, "float64")
    return dtype


def tensor_of(site: Site, operand: Any, dtype: str) -> Tensor:
    """A tensor, array or number as a tensor of this dtype."""
    if isinstance(operand, Tensor):
        return cast(site, operand, dtype)
    with np.errstate(over="ignore"):
        return constant(np.asarray(operand).astype(float_dtype(dtype)))


def operands(site: Site, values: Sequence[Any], *, to_float: bool = False) -> list[Tensor]:
    """Tensors, arrays and plain numbers as tensors of one dtype."""
    if any(one is None for one in values):
        raise site.unsupported("is called without an operand that it needs")
    dtype = common_dtype(site, values, to_float=to_float)
    return [tensor_of(site, one, dtype) for one in values]


def alone(site: Site, operand: Any) -> Tensor:
    """One operand, in its own dtype."""
    return operands(site, [operand])[0]


def in_floats(site: Site, x: Tensor, *, wide: bool = False) -> Tensor:
    """Whole numbers and flags as floats; with ``wide`` int64 becomes float64."""
    if is_float(x.dtype):
        return x
    return cast(site, x, "float64" if wide and x.dtype == "int64" else "float32")
