"""Carrying out a plan on an ONNX model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.graph import Use
from bnfold.core.holding import form_written
from bnfold.core.plan import Plan
from bnfold.core.state import Standing
from bnfold.core.transfer import Form, Source
from bnfold.formats.onnx.attributes import float_attribute
from bnfold.formats.onnx.collapse import collapse_products
from bnfold.formats.onnx.edited import Edited
from bnfold.formats.onnx.names import name_values
from bnfold.formats.onnx.ops_elementwise import EPSILON
from bnfold.formats.onnx.scope import Scope, scopes


@dataclass(frozen=True)
class GraphPlan:
    """The plan of one graph of a model.

    Attributes:
        scope: number of the graph in the order of `scopes`.
        plan: the changes.
        nodes: for each op of the plan the position of its node.
        dtypes: for each op the data type of its result.
        keeping: the normalizations that stay some whatever they hold.
    """

    scope: int
    plan: Plan
    nodes: tuple[int, ...]
    dtypes: tuple[ir.DataType | None, ...]
    keeping: Mapping[int, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxPlan:
    """The plans of all graphs that change.

    Attributes:
        graphs: one plan per changed graph.
        fold_overridable: whether initializers that a caller may override count as constants.
        collapse: whether matrix products in a row become one afterwards.
    """

    graphs: tuple[GraphPlan, ...]
    fold_overridable: bool = False
    collapse: bool = False


class DoesNotFit(Exception):  # noqa: N818 - planning goes on without these constants
    """Some folded constants do not fit their data type.

    Attributes:
        blocked: graph number to the uses concerned.
    """

    def __init__(self, blocked: dict[int, dict[Use, Reason]]) -> None:
        super().__init__("folded constants do not fit their data type")
        self.blocked = blocked


def apply_plan(
    model: ir.Model, plan: OnnxPlan, *, double: bool = False, in_place: bool = False
) -> ir.Model:
    """A copy of ``model`` with the plan carried out; ``model`` stays as it is.

    Args:
        model: the model that was planned, or one of the same structure.
        plan: from `bnfold.formats.onnx.fold.fold_model`.
        double: the model was lifted to float64; new constants are float64 too.
        in_place: change ``model`` itself and return it.

    Raises:
        DoesNotFit: if a constant cannot be written in its data type; nothing has changed then.
    """
    result = model if in_place else model.clone()
    name_values(result)
    by_scope = {part.scope: part for part in plan.graphs}
    names = _all_names(result)
    blocked: dict[int, dict[Use, Reason]] = {}
    work = [
        _Editor(scope, by_scope[number], names, double, _lists_initializers(result, scope))
        for number, scope in enumerate(scopes(result, fold_overridable=plan.fold_overridable))
        if number in by_scope
    ]
    for editor in work:
        editor.compute()
        if editor.blocked:
            blocked[editor.part.scope] = editor.blocked
    if blocked:
        raise DoesNotFit(blocked)
    for editor in work:
        editor.write()
    if plan.collapse:
        collapse_products(result)
    return result


def _lists_initializers(model: ir.Model, scope: Scope) -> bool:
    """Whether the graph's initializers are among its inputs, where they are mere declarations.

    Before IR 4 they had to be; some writers left them out all the same.
    """
    graph = scope.graph
    if (model.ir_version or 8) >= 4 or graph is not model.graph:
        return False
    return any(value.is_graph_input() for value in model.graph.initializers.values())


def _all_names(model: ir.Model) -> Counter[str]:
    """How often each name is defined: the same one may stand in two graphs."""
    names: Counter[str] = Counter()
    for scope in scopes(model):
        graph = scope.graph
        names.update(v.name or "" for v in graph.inputs)
        if isinstance(graph, ir.Graph):
            names.update(graph.initializers.keys())
        for node in graph:
            names.update(v.name or "" for v in node.outputs)
    return names


@dataclass(frozen=True)
class _New:
    """A constant to be written: its content, and the value that it replaces."""

    content: Edited
    old: ir.Value | None
    name: str


class _Editor:
    """Changes one graph: first everything is computed from the old constants, then written."""

    def __init__(
        self, scope: Scope, part: GraphPlan, names: Counter[str], double: bool, listed: bool
    ) -> None:
        self.scope = scope
        self.part = part
        self.names = names
        self.double = double
        self.listed = listed
        self.blocked: dict[Use, Reason] = {}
        self._nodes = list(scope.graph)
        self._new: dict[Use, _New] = {}
        self._values: dict[tuple[str | None, bytes], ir.Value] = {}
        self._plain: list[int] = []

    def _node(self, number: int) -> ir.Node:
        return self._nodes[self.part.nodes[number]]

    def _dtype(self, number: int) -> ir.DataType:
        dtype = self.part.dtypes[number]
        if dtype is None:
            known = [v.dtype for v in self._node(number).inputs if v is not None]
            dtype = next((d for d in known if d is not None), ir.DataType.FLOAT)
        return ir.DataType.DOUBLE if self.double else dtype

    # -- computing -------------------------------------------------------------------------

    def compute(self) -> None:
        """Every new constant, checked against its data type."""
        for use, affine in self.part.plan.edits.items():
            node = self._node(use.op)
            old = node.inputs[use.operand] if use.operand < len(node.inputs) else None
            if old is None or not old.name or _is_ignored(node, use.operand):
                name = "value" if node.op_type == "Pad" else "bias"
                self._enter(use, affine, self._dtype(use.op), name)
            else:
                self._edit(use, affine, old)
        for number, standing in self.part.plan.standing.items():
            self._stand(number, standing)

    def _edit(self, use: Use, affine: Affine, old: ir.Value) -> None:
        name = old.name or ""
        array = self.scope.constants.array(name)
        if array is None:  # it is in the file, but its content cannot be read
            self.blocked[use] = Reason.UNREADABLE_CONSTANT
            return
        base = self.scope.constants.unrounded(name)
        dtype = _onnx_type(array)
        self._check(use, Edited(array if base is None else base, affine, dtype), old, name)

    def _stand(self, number: int, standing: Standing) -> None:
        dtype, affine = self._dtype(number), standing.affine
        own = Use(number, -1)
        source = self.part.keeping.get(number)
        if source and form_written(source, standing.form, affine) is not standing.form:
            self._plain_norm(number, affine)
            return
        match standing.form:
            case Form.MUL:
                only = Affine.of(1.0, _trimmed(affine.scale))
                self._enter(own, only, dtype, "scale")
            case Form.ADD:
                only = Affine.of(1.0, _trimmed(affine.shift))
                self._enter(own, only, dtype, "shift")
            case Form.NORM:
                self._norm(number, affine)
            case _:
                pass

    def _norm(self, number: int, affine: Affine) -> None:
        """Gamma and beta that make ``affine`` with the mean and variance there are."""
        node = self._node(number)
        values = [node.inputs[i] for i in range(1, 5)]
        arrays = [self.scope.constants.value(v.name or "") for v in values if v is not None]
        gamma, beta, mean, variance = (a for a in arrays if a is not None)
        epsilon = float_attribute(node, "epsilon", EPSILON)
        scale = np.broadcast_to(affine.scale.reshape(-1), gamma.shape)
        shift = np.broadcast_to(affine.shift.reshape(-1), beta.shape)
        self._norm_of(number, (scale * np.sqrt(variance + epsilon), shift + mean * scale))

    def _plain_norm(self, number: int, affine: Affine) -> None:
        """A normalization with mean 0 and variance 1, whose gamma and beta are ``affine``."""
        one = np.ones(affine.channels)
        scale, shift = affine.scale.reshape(-1), affine.shift.reshape(-1)
        self._norm_of(number, (scale * one, shift * one, 0.0 * one, one))
        self._plain.append(number)

    def _norm_of(self, number: int, wanted: Sequence[Array]) -> None:
        """Gamma, beta and, if given, mean and variance."""
        node = self._node(number)
        for operand, target in enumerate(wanted, 1):
            old = node.inputs[operand]
            assert old is not None
            array = self.scope.constants.array(old.name or "")
            assert array is not None
            only = Affine(np.zeros(target.shape), np.asarray(target))
            use = Use(number, operand)
            self._check(use, Edited(array, only, _onnx_type(array)), old, old.name or "")
            if use in self.blocked:
                self.blocked[Use(number, -1)] = self.blocked.pop(use)

    def _enter(self, use: Use, shift: Affine, dtype: ir.DataType, name: str) -> None:
        """A constant that did not exist before."""
        name = f"{self._node(use.op).outputs[0].name}_{name}"
        content = Edited(np.zeros((), dtype=np.float64), shift, dtype, is_new=True)
        self._check(use, content, None, name)

    def _check(self, use: Use, content: Edited, old: ir.Value | None, name: str) -> None:
        reason = content.why_not()
        if reason is not None:
            self.blocked[use] = reason
            return
        self._new[use] = _New(content, old, name)

    # -- writing ---------------------------------------------------------------------------

    def write(self) -> None:
        """Put the new constants in place, rewrite and remove affines, drop what is dead."""
        replaced: list[ir.Value] = []
        for use, new in self._new.items():
            node = self._node(use.op)
            if use.operand < 0:
                replaced += self._rewrite(use.op, new)
                continue
            value = self._constant(new, node)
            if use.operand >= len(node.inputs):
                node.resize_inputs(use.operand + 1)
            before = node.inputs[use.operand]
            if before is not None:
                replaced.append(before)
            node.replace_input_with(use.operand, value)
            if new.old is None:
                _take_bias(node)
        for number in self._plain:
            self._node(number).attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.0)
        for number, standing in self.part.plan.standing.items():
            if standing.form is Form.NONE:
                replaced += self._remove(number)
        self._drop_dead(replaced)
        self._restore_names()

    def _rewrite(self, number: int, new: _New) -> Iterable[ir.Value]:
        """Turn a source into a Mul or an Add by one constant."""
        node = self._node(number)
        data = node.inputs[self._data(number)]
        old = [v for v in node.inputs if v is not None and v is not data]
        form = self.part.plan.standing[number].form
        node.resize_inputs(0)
        node.resize_inputs(2)
        node.replace_input_with(0, data)
        node.replace_input_with(1, self._constant(new, node))
        node.op_type, node.domain = form.title, ""
        node.attributes.clear()
        return old

    def _data(self, number: int) -> int:
        """Which operand of a source is not constant."""
        for index, value in enumerate(self._node(number).inputs):
            if value is not None and not self.scope.constants.is_known(value.name or ""):
                return index
        return 0

    def _remove(self, number: int) -> list[ir.Value]:
        node = self._node(number)
        data = node.inputs[self._data(number)]
        assert data is not None
        out = node.outputs[0]
        constants = [v for v in node.inputs if v is not None and v is not data]
        if out.is_graph_output():
            name = out.name
            out.name = None
            data.name, data.type, data.shape = name, out.type or data.type, out.shape
            data.doc_string = out.doc_string or data.doc_string
            data.metadata_props.update(out.metadata_props)
        out.replace_all_uses_with(data, replace_graph_outputs=True)
        graph = node.graph
        assert graph is not None
        graph.remove(node, safe=True)
        return constants

    def _constant(self, new: _New, node: ir.Node) -> ir.Value:
        """The new constant as a value of the graph; equal ones are shared."""
        content = new.content
        key = (new.old.name, content.affine.digest) if new.old is not None else (new.name, b"")
        if key in self._values:
            return self._values[key]
        name = self._fresh(new.name)
        tensor = content.tensor(name)
        graph = self.scope.graph
        if isinstance(graph, ir.Graph):
            value = ir.Value(
                name=name,
                shape=ir.Shape(content.shape),
                type=ir.TensorType(content.dtype),
                const_value=tensor,
            )
            graph.register_initializer(value)
            if self.listed:
                graph.inputs.append(value)
        else:
            maker = ir.node("Constant", [], attributes={"value": tensor})
            value = maker.outputs[0]
            value.name = name
            graph.insert_before(node, maker)
        self._values[key] = value
        return value

    def _fresh(self, wanted: str) -> str:
        stem = wanted if wanted not in self.names else f"{wanted}_folded"
        name, count = stem, 1
        while name in self.names:
            count += 1
            name = f"{stem}_{count}"
        self.names[name] += 1
        return name

    def _drop_dead(self, values: Iterable[ir.Value]) -> None:
        """Remove constants, and ops that made them, that nobody reads any more."""
        stack = list(values)
        while stack:
            value = stack.pop()
            if value.uses() or value.is_graph_output():
                continue
            if value.is_graph_input() and not (self.listed and value.is_initializer()):
                continue
            node = value.producer()
            graph = value.graph if node is None else node.graph
            if node is None:
                name = value.name or ""
                if isinstance(graph, ir.Graph) and name in graph.initializers:
                    if value.is_graph_input():
                        graph.inputs.remove(value)
                    del graph.initializers[name]
            elif graph is not None and not any(
                out.uses() or out.is_graph_output() for out in node.outputs
            ):
                stack += [v for v in node.inputs if v is not None]
                graph.remove(node, safe=True)

    def _restore_names(self) -> None:
        """A constant that replaced its predecessor everywhere takes its name."""
        graph = self.scope.graph
        if not isinstance(graph, ir.Graph):
            return
        for use, new in self._new.items():
            if new.old is None or use.operand < 0 or _is_defined(new.old):
                continue
            old = new.old.name or ""
            value = self._node(use.op).inputs[use.operand]
            if value is None or value.name == old or self.names[old] > 1:
                continue
            if old in graph.initializers:
                continue  # by another constant that took its name before
            del graph.initializers[value.name or ""]
            value.name = old
            if value.const_value is not None:
                value.const_value.name = old
            graph.register_initializer(value)


def _is_defined(value: ir.Value) -> bool:
    """Whether the value is still part of the graph."""
    node = value.producer()
    if node is not None:
        return node.graph is not None
    return value.is_initializer() or value.is_graph_input()


def _is_ignored(node: ir.Node, operand: int) -> bool:
    """Whether the op multiplies the operand by zero: a Gemm with beta = 0 has no bias."""
    return operand == 2 and node.op_type == "Gemm" and float_attribute(node, "beta", 1.0) == 0.0


def _take_bias(node: ir.Node) -> None:
    """Let an op that has just been given a bias add it, once."""
    if node.op_type == "MatMul":
        node.op_type = "Gemm"
        # A MatMul has none; what an odd file gave it would mean something to a Gemm.
        node.attributes.clear()
    if node.op_type == "Gemm":
        node.attributes.pop("beta", None)


def _trimmed(array: Array) -> Array:
    """Without leading axes of size 1."""
    while array.ndim and array.shape[0] == 1:
        array = array.reshape(array.shape[1:])
    return array


def _onnx_type(array: NDArray[np.generic]) -> ir.DataType:
    return ir.DataType.from_numpy(array.dtype)
