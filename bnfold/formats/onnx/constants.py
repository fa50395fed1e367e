"""Which values of an ONNX graph are constant, and what they are.

A value is constant if it is an initializer that no caller can override, or if an op computes it
from constants alone. Constant subexpressions are evaluated only when somebody asks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.affine import Array
from bnfold.core.diagnostics import Reason
from bnfold.formats.onnx.computed_shapes import shape_of

# Ops that are evaluated on constants: those of which ONNX's reference is known to be right in
# every opset. All others (a BatchNormalization or a convolution of constants) stay as they are.
_EVALUATED = frozenset(
    """
    Abs Add And Cast CastLike Ceil Clip Concat Constant ConstantOfShape CumSum DequantizeLinear Div
    Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherND Gemm Greater GreaterOrEqual Identity
    Less LessOrEqual Log MatMul Max Min Mod Mul Neg Not OneHot Or Pow QuantizeLinear Range
    Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Round ScatterND Shape Sigmoid Sign Size Slice Split Sqrt Squeeze Sub Sum Tanh Tile Transpose
    Trilu Unsqueeze Where
    """.split()  # noqa: SIM905 - one op a line would be a page
)
_QUANTIZED = frozenset({"DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"})
_MAX_ELEMENTS = 1 << 27
_MAX_KEPT = 1 << 20
_FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


def is_float(dtype: ir.DataType | None) -> bool:
    """Whether an affine of such a type can be folded."""
    return dtype in _FLOATS


class OnnxConstants:
    """The constants visible in one graph; implements `bnfold.core.graph.Constants`."""

    def __init__(
        self, ir_version: int, *, fold_overridable: bool = False, outer: OnnxConstants | None = None
    ) -> None:
        self._overridable_allowed = fold_overridable or ir_version < 4
        self._outer = outer
        self._values: dict[str, ir.Value] = {}
        self._editable: set[str] = set()
        self._known: set[str] = set()
        self._overridable: set[str] = set()
        self._cache: dict[str, NDArray[np.generic] | None] = {}
        self._wide_cache: dict[str, NDArray[Any] | None] = {}

    def add_graph(self, graph: ir.Graph | ir.Function) -> None:
        """Classify all values of ``graph``, in topological order."""
        if isinstance(graph, ir.Graph):
            for name, value in graph.initializers.items():
                self._values[name] = value
                if value.is_graph_input() and not self._overridable_allowed:
                    self._overridable.add(name)
                elif value.const_value is not None:
                    self._editable.add(name)
                    self._known.add(name)
        for node in graph:
            for value in node.outputs:
                if value.name:
                    self._values[value.name] = value
            if not self._computable(node):
                continue
            names = [value.name for value in node.outputs if value.name]
            self._known.update(names)
            if node.op_type not in _QUANTIZED and all(
                value is None or self.is_constant(value.name or "") for value in read_by(node)
            ):
                self._editable.update(names)

    def _computable(self, node: ir.Node) -> bool:
        if node.op_type not in _EVALUATED or node.domain not in ("", "ai.onnx"):
            return False
        if any(attr.type in _GRAPHS or attr.ref_attr_name for attr in node.attributes.values()):
            return False
        if not node.inputs and node.op_type != "Constant":
            return False
        return all(value is None or self.is_known(value.name or "") for value in read_by(node))

    # -- the protocol of the core ---------------------------------------------------------

    def is_constant(self, name: str) -> bool:
        """Whether the value is constant and may be replaced by an edited copy."""
        if name in self._values:
            return name in self._editable
        return self._outer is not None and self._outer.is_constant(name)

    def is_known(self, name: str) -> bool:
        """Whether the value is determined by the model, edited or not."""
        if name in self._values:
            return name in self._known
        return self._outer is not None and self._outer.is_known(name)

    def why_not(self, name: str) -> Reason | None:
        """`OVERRIDABLE_INITIALIZER` or `OUTER_SCOPE` where that is the reason."""
        if name in self._overridable:
            return Reason.OVERRIDABLE_INITIALIZER
        if name in self._values:
            return None
        return Reason.OUTER_SCOPE if self._outer is not None else None

    def value(self, name: str) -> Array | None:
        """The value in float64; None where it is not constant, not floating, not readable.

        A constant subexpression is evaluated in float64 from the start, so that its rounding is
        not taken for part of the model.
        """
        if name not in self._values:
            return None if self._outer is None else self._outer.value(name)
        array = self._wide(name)
        return array if array is not None and array.dtype.kind == "f" else None

    def unrounded(self, name: str) -> Array | None:
        """A floating constant that is computed, in float64; None where it is stored as it is.

        What a fold makes of it is rounded once, from this.
        """
        if name not in self._values:
            return None if self._outer is None else self._outer.unrounded(name)
        node = self._values[name].producer()
        return None if node is None or node.op_type == "Constant" else self.value(name)

    def _wide(self, name: str) -> NDArray[Any] | None:
        """The value with float64 in place of any other floating type."""
        if name not in self._values:
            return None if self._outer is None else self._outer._wide(name)
        node = self._values[name].producer()
        if node is None or node.op_type == "Constant" or name not in self._known:
            return _widened(self.array(name))
        if name not in self._wide_cache:
            inputs = [None if v is None else self._wide(v.name or "") for v in node.inputs]
            if node.op_type in ("Cast", "CastLike") and _casts_to_float(node):
                return None if inputs[0] is None else inputs[0].astype(np.float64)
            result = self._evaluate(self._values[name], inputs)
            if result is not None and result.size > _MAX_KEPT:
                return _widened(result)
            self._wide_cache[name] = _widened(result)
        return self._wide_cache[name]

    # -- for lowering ------------------------------------------------------------------------

    def array(self, name: str) -> NDArray[np.generic] | None:
        """The value in its own data type, None where it is not constant or not readable."""
        if name not in self._values:
            return None if self._outer is None else self._outer.array(name)
        if name not in self._known:
            return None
        value = self._values[name]
        if value.const_value is not None:
            return _read(value.const_value)
        if name not in self._cache:
            node = value.producer()
            inputs = [] if node is None else node.inputs
            arrays = [None if v is None else self.array(v.name or "") for v in inputs]
            if node is not None and node.op_type == "CastLike":
                arrays[1] = _of_type(node.inputs[1], value)
            self._cache[name] = self._evaluate(value, arrays)
        return self._cache[name]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a constant, if possible without reading it."""
        if name not in self._values:
            return None if self._outer is None else self._outer.shape(name)
        shape = shape_of(self._values[name])
        if shape is not None and all(isinstance(dim, int) for dim in shape):
            return tuple(int(dim) for dim in shape if isinstance(dim, int))
        array = self.array(name)
        return None if array is None else array.shape

    def _evaluate(
        self, value: ir.Value, inputs: list[NDArray[Any] | None]
    ) -> NDArray[np.generic] | None:
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Constant":
            return _constant_attribute(node)
        shape = shape_of(value)
        if shape is not None and math.prod(d for d in shape if isinstance(d, int)) > _MAX_ELEMENTS:
            return None
        if any(a is None for a, v in zip(inputs, node.inputs, strict=True) if v is not None):
            return None
        if node.op_type == "Identity":
            return inputs[0]
        return _run(node, inputs, value)


def read_by(node: ir.Node) -> tuple[ir.Value | None, ...]:
    """The operands whose elements the op reads: of the second one of a CastLike only the type."""
    return tuple(node.inputs[:1] if node.op_type == "CastLike" else node.inputs)


def _of_type(like: ir.Value | None, result: ir.Value) -> NDArray[np.generic] | None:
    """Something of the type that a CastLike casts to; None where nobody declared it."""
    dtype = (None if like is None else like.dtype) or result.dtype
    return None if dtype is None else np.zeros((), dtype=dtype.numpy())


def _casts_to_float(node: ir.Node) -> bool:
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return like is not None and is_float(like.dtype)
    return is_float(ir.DataType(node.attributes["to"].as_int()))


def _widened(array: NDArray[np.generic] | None) -> NDArray[Any] | None:
    """Floating elements in float64, all others as they are."""
    if array is None or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        return array
    return array.astype(np.float64)


_GRAPHS = frozenset({ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS})


def _read(tensor: ir.TensorProtocol) -> NDArray[np.generic] | None:
    try:
        return tensor.numpy()
    except (OSError, ValueError, TypeError):
        return None


def _constant_attribute(node: ir.Node) -> NDArray[np.generic] | None:
    for name, attribute in node.attributes.items():
        if name == "value":
            return _read(attribute.as_tensor())
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, dtype=np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, dtype=np.int64)
    return None


def _run(
    node: ir.Node, inputs: list[NDArray[np.generic] | None], wanted: ir.Value
) -> NDArray[np.generic] | None:
    """Evaluate one op on constants with ONNX's own reference."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    version = node.version or 17
    if node.graph is not None:
        version = node.graph.opset_imports.get("", version)
    if node.op_type == "DequantizeLinear":
        # The reference begins at 19, which computes the same for the integers of older opsets.
        version = max(version, 19)
    feeds = {
        value.name: array
        for value, array in zip(node.inputs, inputs, strict=True)
        if value is not None and value.name is not None
    }
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in feeds],
        [onnx.helper.make_tensor_value_info(wanted.name or "", onnx.TensorProto.UNDEFINED, None)],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=8
    )
    try:
        with np.errstate(all="ignore"):
            (result,) = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # an op that the reference cannot run leaves its result unknown
        return None
    return np.asarray(result)
