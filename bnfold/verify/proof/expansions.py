"""Ops that are short for several, written out, so that the laws of those speak for them.

Runtimes write fused ops into the models that they optimize: a convolution with its activation, a
product with its transposes. Read as what they stand for, they need no laws of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import onnx_ir as ir

Attributes = Mapping[str, ir.Attr]


class _UnknownError(Exception):
    """This use of the op is not written out."""


@dataclass(eq=False)
class _Draft:
    """The ops that take the place of one.

    Attributes:
        node: the op.
        version: opset version of the default domain.
        nodes: what has been written so far; the result of the last is the op's own.
    """

    node: ir.Node
    version: int
    nodes: list[ir.Node] = field(default_factory=list)

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Attributes | None = None
    ) -> ir.Value:
        """Write an op. It bears the name of the one that it is a part of, as faults name it."""
        name = self.node.name or next((v.name for v in self.node.outputs if v.name), None)
        kept = list((attributes or {}).values())
        made = ir.Node("", op_type, list(inputs), kept, num_outputs=1, name=name)
        self.nodes.append(made)
        return made.outputs[0]

    def number(self, number: float, like: ir.Value | None = None) -> ir.Value:
        """A constant."""
        dtype = like.dtype if like is not None and like.dtype is not None else ir.DataType.FLOAT
        value = ir.tensor(np.asarray(number, dtype.numpy()), dtype=dtype)
        return self.op("Constant", [], {"value": ir.AttrTensor("value", value)})

    def input(self, index: int) -> ir.Value | None:
        """An operand; None where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def operand(self, index: int) -> ir.Value:
        """An operand that there must be."""
        value = self.input(index)
        if value is None:
            raise _UnknownError
        return value

    def but(self, *names: str) -> Attributes:
        """The op's attributes without some."""
        return {name: a for name, a in self.node.attributes.items() if name not in names}

    def real(self, name: str, default: float) -> float:
        """A float attribute."""
        attr = self.node.attributes.get(name)
        return default if attr is None else attr.as_float()

    def flag(self, name: str) -> bool:
        """An integer attribute that is 0 or not."""
        attr = self.node.attributes.get(name)
        return attr is not None and attr.as_int() != 0

    def drop(self) -> None:
        """Give up: what was written no longer reads anything."""
        for made in self.nodes:
            for place in range(len(made.inputs)):
                made.replace_input_with(place, None)

    def scaled(self, x: ir.Value, factor: float) -> ir.Value:
        """The value times a constant."""
        return x if factor == 1 else self.op("Mul", [x, self.number(factor, x)])


#: Activations that fused ops name, and their settings in order.
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "Celu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
    "Clip": ("min", "max"),
}


def _activated(draft: _Draft, x: ir.Value, settings: Sequence[float | None]) -> None:
    """The activation that the op names, on the result so far."""
    attr = draft.node.attributes.get("activation")
    name = "" if attr is None else attr.as_string()
    if not name:
        return
    if name not in _SETTINGS:
        raise _UnknownError
    given = {
        setting: value
        for setting, value in zip(_SETTINGS[name], settings, strict=False)
        if value is not None
    }
    if name == "Clip" and draft.version >= 11:
        bounds = [given.get(setting) for setting in ("min", "max")]
        like = draft.input(1)
        draft.op(name, [x, *(None if b is None else draft.number(b, like) for b in bounds)])
        return
    draft.op(name, [x], {key: ir.AttrFloat32(key, value) for key, value in given.items()})


def _conv(draft: _Draft) -> None:
    """FusedConv: Conv, the sum with a fourth operand, and an activation."""
    kept = draft.but("activation", "activation_params")
    y = draft.op("Conv", draft.node.inputs[:3], kept)
    added = draft.input(3)
    if added is not None:
        y = draft.op("Add", [y, added])
    params = draft.node.attributes.get("activation_params")
    _activated(draft, y, () if params is None else params.as_floats())


def _gemm(draft: _Draft) -> None:
    """FusedGemm: Gemm and an activation."""
    names = [f"activation_{name}" for name in ("alpha", "beta", "gamma")]
    y = draft.op("Gemm", draft.node.inputs, draft.but("activation", *names))
    activation = draft.node.attributes.get("activation")
    own = _SETTINGS.get(activation.as_string(), ()) if activation is not None else ()
    found = [draft.node.attributes.get(f"activation_{name}") for name in own]
    _activated(draft, y, [None if attr is None else attr.as_float() for attr in found])


def _matmul(draft: _Draft) -> None:
    """FusedMatMul: alpha times the product of operands that are transposed first."""
    if draft.flag("transBatchA") or draft.flag("transBatchB"):
        raise _UnknownError
    sides = []
    for index, name in enumerate(("transA", "transB")):
        side = draft.operand(index)
        if draft.flag(name):
            shape = side.const_value.shape if side.const_value is not None else side.shape
            if shape is None or len(shape) < 2:
                raise _UnknownError
            axes = list(range(len(shape)))
            axes[-2:] = axes[:-3:-1]
            side = draft.op("Transpose", [side], {"perm": ir.AttrInt64s("perm", axes)})
        sides.append(side)
    draft.scaled(draft.op("MatMul", sides), draft.real("alpha", 1.0))


def _quick_gelu(draft: _Draft) -> None:
    """QuickGelu: x sigmoid(alpha x)."""
    x = draft.operand(0)
    draft.op("Mul", [x, draft.op("Sigmoid", [draft.scaled(x, draft.real("alpha", 1.702))])])


def _gelu(draft: _Draft) -> None:
    """Gelu of the sum of all operands: x / 2 (1 + erf(x / sqrt(2)))."""
    approximate = draft.node.attributes.get("approximate")
    if approximate is not None and approximate.as_string() != "none":
        raise _UnknownError
    x = draft.operand(0)
    if len(draft.node.inputs) > 1:
        x = draft.op("Add", [x, draft.operand(1)])
    inner = draft.op("Erf", [draft.op("Div", [x, draft.number(sqrt(2.0), x)])])
    raised = draft.op("Add", [inner, draft.number(1.0, x)])
    draft.op("Mul", [draft.scaled(x, 0.5), raised])


def _hard_swish(draft: _Draft) -> None:
    """HardSwish: x HardSigmoid(x), as ONNX itself defines it."""
    x = draft.operand(0)
    settings = {"alpha": ir.AttrFloat32("alpha", 1 / 6), "beta": ir.AttrFloat32("beta", 0.5)}
    draft.op("Mul", [x, draft.op("HardSigmoid", [x], settings)])


_EXPANSIONS: Mapping[tuple[str, str], Callable[[_Draft], None]] = {
    ("com.microsoft", "FusedConv"): _conv,
    ("com.microsoft", "FusedGemm"): _gemm,
    ("com.microsoft", "FusedMatMul"): _matmul,
    ("com.microsoft", "QuickGelu"): _quick_gelu,
    ("com.microsoft", "Gelu"): _gelu,
    ("com.microsoft", "BiasGelu"): _gelu,
    ("", "Gelu"): _gelu,
    ("", "HardSwish"): _hard_swish,
}


def expand(model: ir.Model) -> frozenset[str]:
    """Write out what is short for several ops, in place; what is not known here stays.

    Returns:
        The names of the values between the parts, which the model itself does not have.
    """
    imports = model.opset_imports
    version = int(imports.get("", imports.get("ai.onnx", 0)))
    short = [(graph, node) for graph in model.graphs() for node in graph if _law(node) is not None]
    names = _names(model) if short else set()
    parts: set[str] = set()
    for graph, node in short:
        law, draft = _law(node), _Draft(node, version)
        try:
            assert law is not None
            law(draft)
        except (_UnknownError, TypeError, ValueError):
            draft.drop()
            continue
        _replace(graph, node, draft.nodes)
        for made in draft.nodes[:-1]:
            name = f"{draft.nodes[-1].outputs[0].name}#{made.op_type}"
            while name in names:
                name += "'"
            made.outputs[0].name = name
            names.add(name)
            parts.add(name)
    return frozenset(parts)


def _law(node: ir.Node) -> Callable[[_Draft], None] | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return _EXPANSIONS.get((domain, node.op_type)) if len(node.outputs) == 1 else None


def _names(model: ir.Model) -> set[str]:
    """Of all values."""
    found: set[str] = set()
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values()]
        values += [value for node in graph for value in node.outputs]
        found.update(value.name for value in values if value.name)
    return found


def _replace(graph: ir.Graph, node: ir.Node, made: Sequence[ir.Node]) -> None:
    old, new = node.outputs[0], made[-1].outputs[0]
    graph.insert_before(node, made)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    name, new.type, new.shape = old.name, old.type, old.shape
    graph.remove(node, safe=True)
    new.name = name
