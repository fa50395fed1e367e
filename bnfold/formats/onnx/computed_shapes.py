"""Shapes that onnx's inference leaves open: those that a graph computes itself, and those of ops
that it does not know.

Exporters write ``x.view(x.size(0), -1)`` as Shape, Gather, Unsqueeze, Concat, Reshape. Before opset
14 onnx does not follow that, and behind such a Reshape it knows nothing more. Here every such list
is followed dim by dim, names among them, and what stands behind is inferred node by node.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from bnfold.core.moves import Dim, Shape
from bnfold.formats.onnx.attributes import bodies

# Lists longer than this are no shapes.
_MAX_DIMS = 32
# Constants that the inference of one node may want to see: axes, pads, sizes.
_MAX_BYTES = 1000

# What NumPy's arrays can have, those of 1.x too.
_MOST_AXES = 32


def complete_shapes(graph: ir.Graph | ir.Function) -> None:
    """Fill in what can still be known, in topological order; what is known already stays.

    Bodies too: there onnx does not see the constants of the graph around them.
    """
    _complete(graph, _Contents(), _NodeInference(graph.opset_imports), set())


def _complete(
    graph: ir.Graph | ir.Function, contents: _Contents, infer: _NodeInference, changed: set[int]
) -> None:
    for node in graph:
        for body in bodies(node):
            _complete(body, contents, infer, changed)
        if not any(_is_open(out) for out in node.outputs) and not any(
            id(value) in changed for value in node.inputs
        ):
            continue
        own = _OWN.get((_domain(node), node.op_type))
        found = infer(node) if own is None else own(node, contents)
        for out, (dtype, shape) in zip(node.outputs, found, strict=False):
            if _improve(out, dtype, shape):
                changed.add(id(out))


Found = Sequence[tuple[ir.DataType | None, Shape | None]]
_Own = Callable[[ir.Node, "_Contents"], Found]


def shape_of(value: ir.Value | None) -> Shape | None:
    """The shape as ints, names and None; None where the rank is unknown or absurd."""
    if value is None:
        return None
    if value.shape is not None:
        if len(value.shape) > _MOST_AXES:
            return None
        return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape.dims)
    tensor = value.const_value
    return None if tensor is None else tuple(int(dim) for dim in tensor.shape.numpy())


def _domain(node: ir.Node) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def _is_open(value: ir.Value) -> bool:
    """Whether something is missing, or onnx made up a name for a size that it could not tell."""
    shape = shape_of(value)
    return value.dtype is None or shape is None or any(map(_is_made_up, shape))


def _is_made_up(dim: Dim) -> bool:
    return dim is None or (isinstance(dim, str) and dim.startswith("unk__"))


def _improve(value: ir.Value, dtype: ir.DataType | None, shape: Shape | None) -> bool:
    """Take over what is new; whether anything was."""
    if value.dtype is None and dtype is not None:
        value.type = ir.TensorType(dtype)
    before = shape_of(value)
    if shape is None or (before is not None and len(before) != len(shape)):
        return False
    merged = tuple(
        _better(a, b) for a, b in zip(before or (None,) * len(shape), shape, strict=True)
    )
    if merged == before:
        return False
    value.shape = ir.Shape(merged)
    return True


def _better(known: Dim, found: Dim) -> Dim:
    if isinstance(known, int) or found is None:
        return known
    return found if isinstance(found, int) or _is_made_up(known) else known


# -- lists of dims ----------------------------------------------------------------------------


def reshaped(before: Shape, target: Shape, *, zero: bool = False) -> Shape:
    """What a Reshape of ``before`` to ``target`` gives; dims that nobody can tell are None."""
    after: list[Dim] = []
    for axis, dim in enumerate(target):
        if dim == 0 and not zero:
            dim = before[axis] if axis < len(before) else None
        after.append(None if dim == -1 else dim)
    return completed(before, tuple(after))


def completed(before: Shape, after: Shape) -> Shape:
    """With the one size that is not known: what the others leave of the elements.

    Names cancel: (N, 3, 4) reshaped to (N, ?) is (N, 12).
    """
    names = Counter(dim for dim in before if not isinstance(dim, int))
    open_ends = [i for i, dim in enumerate(after) if not isinstance(dim, int) and dim not in names]
    if len(open_ends) != 1 or None in names:
        return after
    here = open_ends[0]
    rest = (*after[:here], *after[here + 1 :])
    kept = Counter(dim for dim in rest if not isinstance(dim, int))
    left = names - kept
    if kept - names:
        return after  # a name stands there more often than before
    whole, others = (math.prod(d for d in dims if isinstance(d, int)) for dims in (before, rest))
    size: Dim = None
    if not left and others > 0 and whole % others == 0:
        size = whole // others
    elif sum(left.values()) == 1 and whole == others:
        (size,) = left
    return after if size is None else (*after[:here], size, *after[here + 1 :])


class _Contents:
    """What lists of integers hold, dim by dim."""

    def __init__(self) -> None:
        self._known: dict[int, Shape | None] = {}

    def of(self, value: ir.Value | None) -> Shape | None:
        """The elements in order; None where not even their number is known."""
        if value is None:
            return None
        if id(value) not in self._known:
            self._known[id(value)] = None  # a cycle in an invalid graph ends here
            self._known[id(value)] = self._find(value)
        return self._known[id(value)]

    def constant(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The elements if all are numbers."""
        dims = self.of(value)
        if dims is None or not all(isinstance(dim, int) for dim in dims):
            return None
        return tuple(dim for dim in dims if isinstance(dim, int))

    def _find(self, value: ir.Value) -> Shape | None:
        node = value.producer()
        tensor = value.const_value
        if node is not None and node.op_type == "Constant":
            tensor = _constant(node)
        if tensor is not None:
            return None if value.is_graph_input() else _integers(tensor)
        if node is None or _domain(node):
            return None
        found = self._computed(node)
        if found is None:
            shape = shape_of(value)
            size = math.prod(d if isinstance(d, int) else _MAX_DIMS + 1 for d in shape or (-1,))
            return (None,) * size if 0 <= size <= _MAX_DIMS else None
        return found

    def _computed(self, node: ir.Node) -> Shape | None:
        first = node.inputs[0] if node.inputs else None
        match node.op_type:
            case "Shape":
                shape = shape_of(first)
                start, end = _integer(node, "start"), _integer(node, "end")
                return None if shape is None else shape[start:end]
            case "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Flatten":
                return self.of(first)
            case "Concat":
                parts = [self.of(value) for value in node.inputs]
                if any(part is None for part in parts):
                    return None
                return tuple(dim for part in parts for dim in part or ())
            case "Gather":
                return self._gathered(node)
            case "Slice":
                return self._sliced(node)
            case "Add" | "Sub" | "Mul" | "Div":
                return self._arithmetic(node)
        return None

    def _gathered(self, node: ir.Node) -> Shape | None:
        dims, index = self.of(node.inputs[0]), self.constant(node.inputs[1])
        if dims is None or index is None or not all(-len(dims) <= i < len(dims) for i in index):
            return None
        return tuple(dims[i] for i in index)

    def _sliced(self, node: ir.Node) -> Shape | None:
        dims = self.of(node.inputs[0])
        if "starts" in node.attributes:
            starts, ends = (tuple(node.attributes[n].as_ints()) for n in ("starts", "ends"))
            steps: tuple[int, ...] | None = (1,)
        else:
            starts_, ends_ = (self.constant(node.inputs[i]) for i in (1, 2))
            given = node.inputs[4] if len(node.inputs) > 4 else None
            steps = (1,) if given is None else self.constant(given)
            if starts_ is None or ends_ is None or steps is None:
                return None
            starts, ends = starts_, ends_
        if dims is None or not len(starts) == len(ends) == len(steps or ()) == 1:
            return None
        if (steps or (0,))[0] < 1:
            return None
        return dims[slice(starts[0], ends[0], (steps or (1,))[0])]

    def _arithmetic(self, node: ir.Node) -> Shape | None:
        a, b = (self.of(value) for value in node.inputs[:2])
        if a is None or b is None or len(b) not in (1, len(a)) or len(a) not in (1, len(b)):
            return None
        a, b = a * (len(b) // len(a) or 1), b * (len(a) // len(b) or 1)
        return tuple(_combined(node.op_type, x, y) for x, y in zip(a, b, strict=False))


def _combined(op: str, a: Dim, b: Dim) -> Dim:
    neutral = 1 if op in ("Mul", "Div") else 0
    if b == neutral:
        return a
    if a == neutral and op in ("Mul", "Add"):
        return b
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    if op == "Div":
        return None if b == 0 or a % b else a // b
    return a + b if op == "Add" else a - b if op == "Sub" else a * b


def _integer(node: ir.Node, name: str) -> int | None:
    attribute = node.attributes.get(name)
    return None if attribute is None or attribute.is_ref() else attribute.as_int()


def _constant(node: ir.Node) -> ir.TensorProtocol | None:
    for name in ("value", "value_ints", "value_int"):
        attribute = node.attributes.get(name)
        if attribute is not None and not attribute.is_ref():
            value: Any = attribute.value
            return value if name == "value" else ir.tensor(value, dtype=ir.DataType.INT64)
    return None


def _integers(tensor: ir.TensorProtocol) -> Shape | None:
    whole = (ir.DataType.INT64, ir.DataType.INT32)
    if tensor.size > _MAX_DIMS or tensor.dtype not in whole:
        return None
    try:
        return tuple(int(element) for element in tensor.numpy().reshape(-1))
    except (OSError, ValueError, TypeError):  # its data is not there
        return None


# -- ops that onnx does not follow, or does not know ------------------------------------------


def _reshape(node: ir.Node, contents: _Contents) -> Found:
    value = node.inputs[0]
    before, target = shape_of(value), contents.of(node.inputs[1] if len(node.inputs) > 1 else None)
    if value is None or target is None:
        return ()
    zero = bool(_integer(node, "allowzero") or 0)
    return ((value.dtype, reshaped(before or (None,) * len(target), target, zero=zero)),)


def _same(node: ir.Node, _: _Contents) -> Found:
    value = node.inputs[0]
    return () if value is None else ((value.dtype, shape_of(value)),)


def _same_in_float(node: ir.Node, _: _Contents) -> Found:
    return ((ir.DataType.FLOAT, shape_of(node.inputs[0])),)


def _features(node: ir.Node, contents: _Contents) -> Found:
    """Entries of the last axis."""
    value, index = node.inputs[:2]
    shape, taken = shape_of(value), contents.of(index)
    if value is None or not shape:
        return ()
    lead = shape[:-1] if len(shape) > 1 else (1,)
    return ((value.dtype, (*lead, None if taken is None else len(taken))),)


_OWN: dict[tuple[str, str], _Own] = {
    ("", "Reshape"): _reshape,
    ("", "GroupNormalization"): _same,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _features,
    ("ai.onnx.ml", "Binarizer"): _same,
    ("ai.onnx.ml", "Imputer"): _same,
    ("ai.onnx.ml", "Normalizer"): _same_in_float,
    ("ai.onnx.ml", "Scaler"): _same_in_float,
    ("com.microsoft", "BiasGelu"): _same,
    ("com.microsoft", "FastGelu"): _same,
    ("com.microsoft", "Gelu"): _same,
    ("com.microsoft", "QuickGelu"): _same,
}


class _NodeInference:
    """onnx's inference of one node from what is known of its operands."""

    def __init__(self, versions: Mapping[str, int]) -> None:
        self._versions = dict(versions)

    def __call__(self, node: ir.Node) -> Found:
        import onnx

        refs = any(a.is_ref() for a in node.attributes.values())
        version = self._versions.get(node.domain, self._versions.get("", 1))
        if refs or bodies(node) or not onnx.defs.has(node.op_type, node.domain):
            return ()
        given = {v.name: v for v in node.inputs if v is not None and v.name}
        types = {name: ir.to_proto(v).type for name, v in given.items() if v.type is not None}
        data = {k: ir.to_proto(t) for k, v in given.items() if (t := _small(v)) is not None}
        imports = [onnx.helper.make_opsetid(k, v) for k, v in self._versions.items()]
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            found = onnx.shape_inference.infer_node_outputs(
                schema, ir.to_proto(node), types, data, opset_imports=imports
            )
        except Exception:  # it raises whatever it likes on what it cannot infer
            return ()
        return [_read(found.get(out.name or "")) for out in node.outputs]


def _small(value: ir.Value) -> ir.TensorProtocol | None:
    tensor = value.const_value
    node = value.producer()
    if node is not None and node.op_type == "Constant":
        tensor = _constant(node)
    if tensor is None or tensor.nbytes > _MAX_BYTES or value.is_graph_input():
        return None
    return tensor


def _read(proto: Any) -> tuple[ir.DataType | None, Shape | None]:
    if proto is None or not proto.HasField("tensor_type"):
        return None, None
    tensor = proto.tensor_type
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return dtype, None
    dims = (
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
    )
    return dtype, tuple(dims)
