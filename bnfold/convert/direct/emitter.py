"""Making ONNX nodes and constants: names, labels, shapes and types in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from bnfold.convert.direct.tensor import Dim
from bnfold.formats.keras.errors import UnsupportedLayerError
from bnfold.formats.keras.graph import AnyArray, float_dtype

Attribute = (
    int
    | float
    | str
    | Sequence[int]
    | Sequence[float]
    | Sequence[str]
    | ir.Graph
    | ir.TensorProtocol
)
_SHARED_BYTES = 64


class Emitter:
    """The ONNX graph under construction.

    Args:
        opset: version of the default operator set.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.labels: dict[str, str] = {}
        self.steps: set[str] = set()
        self._names: dict[str, int] = {}
        self._small: dict[tuple[Any, ...], ir.Value] = {}
        self._made: dict[tuple[Any, ...], ir.Node] = {}

    def inner(self) -> Emitter:
        """An emitter for the body of a node: its own nodes, everything else in common."""
        inner = Emitter(self.opset)
        inner.initializers = self.initializers
        inner.labels = self.labels
        inner._names = self._names
        inner._small = self._small
        return inner

    def unique(self, name: str) -> str:
        """A name that nothing else has: ``name``, or with a number behind it."""
        count = self._names.get(name)
        self._names[name] = 0 if count is None else count + 1
        return name if count is None else self.unique(f"{name}_{count + 1}")

    def fresh_dim(self) -> str:
        """The name of a size that nothing else is known to have."""
        return self.unique("dim")

    def node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[tuple[str, Sequence[Dim]] | None],
        *,
        label: str,
        name: str = "",
        attributes: Mapping[str, Attribute | None] | None = None,
        is_step: bool = False,
    ) -> list[ir.Value]:
        """Append a node; one that computes the same of the same values is used again.

        Args:
            op: operator of the default domain, or "domain::operator".
            inputs: None for an absent operand.
            outputs: dtype and shape of each; None for one that is not wanted.
            label: path of the layer, "encoder/bn_1"; it becomes part of the name.
            name: what follows in the name; the op's by default.
            attributes: plain values, floats in float32 as a file holds them; None values are left
                out.
            is_step: whether it is a step of a layer's own formula, not an affine of the model.
        """
        for index, made in enumerate(outputs):
            if made is not None and made[0] != "float32" and "::" not in op:
                self._check_type(op, index, made[0], label)
        given = {key: one for key, one in (attributes or {}).items() if one is not None}
        key = _identity(op, inputs, outputs, given)
        if key in self._made:
            return list(self._made[key].outputs)
        domain, _, op = op.rpartition("::")
        full = self.unique(f"{label}/{name or op}" if label else name or op)
        attrs = [
            ir.convenience.convert_attribute(key, _storable(value)) for key, value in given.items()
        ]
        last = max((i for i, value in enumerate(inputs) if value is not None), default=-1)
        values = [
            ir.Value(name="")
            if made is None
            else ir.Value(
                name=f"{full}:{index}",
                type=ir.TensorType(onnx_type(made[0])),
                shape=ir.Shape(made[1]),
            )
            for index, made in enumerate(outputs)
        ]
        node = ir.Node(domain, op, inputs[: last + 1], attrs, outputs=values, name=full)
        self.nodes.append(node)
        if key is not None:
            self._made[key] = node
        if label:
            self.labels[full] = label
        if is_step:
            self.steps.add(full)
        return list(node.outputs)

    def _check_type(self, op: str, index: int, dtype: str, label: str) -> None:
        """Many operators took bfloat16 and small whole numbers up late, or never."""
        allowed = _opsets_with(op, index, f"tensor({_TYPES.get(dtype, dtype)})")
        if _latest(op, self.opset) not in allowed:
            later = [first for first in allowed if first > self.opset]
            since = f"from opset {min(later)} on only" if later else "not at all"
            raise UnsupportedLayerError(label, op, f"computes in {dtype}, which ONNX has {since}")

    def constant(self, array: AnyArray, name: str) -> ir.Value:
        """A constant; small ones without a telling value are made once only."""
        array = np.asarray(array)
        key = None
        if array.nbytes <= _SHARED_BYTES and array.dtype.kind in "iub":
            key = (array.shape, array.dtype.str, array.tobytes())
            if key in self._small:
                return self._small[key]
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        full = self.unique(name)
        tensor = ir.Tensor(array, dtype=onnx_type(array.dtype.name), name=full)
        value = ir.Value(
            name=full,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self.initializers.append(value)
        if key is not None:
            self._small[key] = value
        return value

    def integers(self, values: Sequence[int], name: str) -> ir.Value:
        """A one-dimensional int64 constant."""
        return self.constant(np.asarray(values, dtype=np.int64), name)


_TYPES = {"float64": "double", "float32": "float"}


def _identity(
    op: str,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[tuple[str, Sequence[Dim]] | None],
    attributes: Mapping[str, Attribute],
) -> tuple[Any, ...] | None:
    """What two nodes that compute the same have in common; None for one that stands alone.

    Identity is there to make a second value, and bodies are not compared.
    """
    if op == "Identity" or any(
        isinstance(one, (ir.Graph, ir.TensorProtocol)) for one in attributes.values()
    ):
        return None
    settings = tuple(sorted((name, repr(one)) for name, one in attributes.items()))
    wanted = tuple(None if one is None else one[0] for one in outputs)
    return op, tuple(id(one) for one in inputs), wanted, settings


@cache
def _versions(op: str) -> dict[int, Any]:
    """The schemas of an operator by the opset that each came with."""
    found: dict[int, Any] = {}
    for opset in range(1, onnx.defs.onnx_opset_version() + 1):
        try:
            schema = onnx.defs.get_schema(op, opset, "")
        except onnx.defs.SchemaError:
            continue
        found[schema.since_version] = schema
    return found


@cache
def _opsets_with(op: str, index: int, kind: str) -> frozenset[int]:
    """The versions of ``op`` whose result number ``index`` may have this type."""
    return frozenset(
        version
        for version, schema in _versions(op).items()
        if kind in schema.outputs[min(index, len(schema.outputs) - 1)].types
    )


@cache
def _latest(op: str, opset: int) -> int:
    return max((version for version in _versions(op) if version <= opset), default=0)


def onnx_type(dtype: str) -> ir.DataType:
    """ONNX's element type of a dtype's name."""
    if dtype == "string":
        return ir.DataType.STRING
    return ir.DataType.from_numpy(float_dtype(dtype))


def _storable(value: Attribute) -> Any:
    if isinstance(value, float):
        return float(np.float32(value))
    if isinstance(value, tuple):
        return [_storable(one) for one in value]
    return value
