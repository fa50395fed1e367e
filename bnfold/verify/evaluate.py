"""A model in float64: every operator, every constant, in bounded memory.

The engine is onnx.reference's evaluator with three changes: the table of `reference_ops` goes
before its own operators, every floating-point value is float64 whatever the model says, and a node
that neither knows is run alone by onnxruntime in float32 (and remembered as such).
Constants are read when a node needs them and values are dropped after their last use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bnfold.verify.reference_ops.call import Call
from bnfold.verify.reference_ops.control import Loop, Scan
from bnfold.verify.reference_ops.table import RUNTIME_ONLY, TABLE, attributes_given
from bnfold.verify.runtime import NodeRunner

Array = NDArray[Any]
Hook = Callable[[str, Array], Array]

logger = logging.getLogger(__name__)

LOW_FLOATS = frozenset(np.dtype(t) for t in (np.float16, np.float32, ml_dtypes.bfloat16))
_FLOAT_TYPES = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)


class EvaluationError(Exception):
    """A node could be evaluated by nothing here; the text names it."""


class BudgetError(Exception):
    """The deadline passed before the evaluation was through."""


def as_float64(value: Any) -> Any:
    """A half, bfloat16 or single array (or a list of them) in float64; all else as it is."""
    if isinstance(value, list):
        return [as_float64(v) for v in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype in LOW_FLOATS:
        return np.asarray(value).astype(np.float64)
    return value


class _TableOp(OpRun):
    """A row of the table as an operator of onnx.reference."""

    def _run(self, *args: Any, **attributes: Any) -> tuple[Array, ...]:
        domain = self.onnx_node.domain
        call = Call(
            inputs=tuple(args),
            attributes=attributes,
            opset=self.run_params["opsets"].get(domain, 1),
            outputs=len(self.onnx_node.output),
            given=attributes_given(self.onnx_node),
        )
        return TABLE[(domain, self.onnx_node.op_type)](call)


class _Cast(OpRun):
    """Cast and CastLike: a float target is float64; others as onnx.reference casts."""

    def _run(self, x: Array, like: Array | None = None, **attributes: Any) -> tuple[Array]:
        to = int(
            attributes["to"] if like is None else onnx.helper.np_dtype_to_tensor_dtype(like.dtype)
        )
        if to in _FLOAT_TYPES or to == onnx.TensorProto.DOUBLE:
            return (x.astype(np.float64),)
        from onnx.reference.ops.op_cast import cast_to

        target = onnx.TensorProto.DataType.ValueType(to)
        return (cast_to(x, target, bool(attributes.get("saturate", True))),)


_CLASSES: dict[tuple[str, str], type[OpRun]] = {
    ("", "Loop"): Loop,
    ("", "Scan"): Scan,
    ("", "Cast"): _Cast,
    ("", "CastLike"): _Cast,
}


class _Node:
    """A node with its roads, first to last: the table, onnx.reference, onnxruntime."""

    def __init__(
        self, proto: onnx.NodeProto, roads: list[OpRun], runner: NodeRunner | None
    ) -> None:
        self.onnx_node = proto
        self.op_type = proto.op_type
        self.input = list(proto.input)
        self.output = list(proto.output)
        self.has_linked_attribute = any(road.has_linked_attribute for road in roads)
        self._roads = roads
        self._runner = runner
        self.in_float32 = False

    def need_context(self) -> bool:
        return any(road.need_context() for road in self._roads)

    def run(self, *args: Any, **settings: Any) -> tuple[Any, ...]:
        error: Exception | None = None
        for road in self._roads:
            try:
                run: Callable[..., Any] = road.run
                return tuple(run(*args, **settings))
            except BudgetError:
                raise
            except Exception as failure:
                error = error or failure
        if self._runner is not None:
            try:
                outputs = self._runner.run(args)
                self.in_float32 = True
                return outputs
            except Exception as failure:
                error = error or failure
        label = self.onnx_node.name or ", ".join(self.output)
        domain = f"{self.onnx_node.domain}::" if self.onnx_node.domain else ""
        raise EvaluationError(f"{domain}{self.op_type} '{label}': {_first_line(error)}") from error


def _first_line(error: Exception | None) -> str:
    cause: BaseException | None = error
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip() or type(cause).__name__
    return text.splitlines()[0][:200]


class _Evaluator(ReferenceEvaluator):
    """onnx.reference's evaluator with the roads above; nested graphs get one of their own."""

    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        own = self._own_class(node)
        theirs: Any = None
        try:
            if (node.domain, node.op_type) not in RUNTIME_ONLY:
                theirs = super()._load_impl(node, input_types)
        except Exception as error:
            if type(error).__name__ == "RuntimeContextError" and own is None:
                raise
            logger.debug("onnx.reference has no %s: %s", node.op_type, error)

        def make(proto: onnx.NodeProto, run_params: dict[str, Any]) -> _Node:
            roads = []
            for road in (own, theirs):
                if road is None:
                    continue
                try:
                    roads.append(road(proto, run_params))
                except Exception as error:
                    logger.debug("no %s from %s: %s", proto.op_type, road, error)
            return _Node(proto, roads, NodeRunner.for_node(proto, self.opsets))

        return make

    @staticmethod
    def _own_class(node: onnx.NodeProto) -> type[OpRun] | None:
        key = (node.domain, node.op_type)
        return _CLASSES.get(key) or (_TableOp if key in TABLE else None)

    def run(  # type: ignore[override]
        self,
        output_names: list[str] | None,
        feed_inputs: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        **_: Any,
    ) -> list[Any]:
        """The named outputs of a subgraph or function body."""
        results: dict[str, Any] = {"": None}
        results.update({k: as_float64(v) for k, v in self.rt_inits_.items()})
        results.update(feed_inputs)
        for node in self.rt_nodes_:
            self.step(node, results, attributes)
        return [results[name] for name in (output_names or self.output_names)]

    @staticmethod
    def step(node: _Node, results: dict[str, Any], attributes: dict[str, Any] | None) -> None:
        """Run one node and put its outputs, in float64, into `results`."""
        settings: dict[str, Any] = {}
        if node.has_linked_attribute and attributes:
            settings["linked_attributes"] = attributes
        if node.need_context():
            settings["context"] = results
        outputs = node.run(*(results[name] for name in node.input), **settings)
        for name, value in zip(node.output, outputs, strict=False):
            # An output that is left out has no name, and neither has an operand.
            if name:
                results[name] = as_float64(value)


@dataclass(frozen=True)
class NodeCall:
    """A node that was just evaluated.

    Attributes:
        op_type, domain: of the node.
        input_names, output_names: names of its values, "" where left out.
        inputs, outputs: the arrays, None where left out.
        attributes: plain values by name.
        evaluate: the same op on other arrays.
    """

    op_type: str
    domain: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    evaluate: Callable[..., tuple[Any, ...]]


def _call_of(node: _Node, results: Mapping[str, Any]) -> NodeCall:
    return NodeCall(
        op_type=node.op_type,
        domain=node.onnx_node.domain,
        input_names=tuple(node.input),
        output_names=tuple(node.output),
        inputs=tuple(results.get(name) for name in node.input),
        outputs=tuple(results.get(name) for name in node.output if name),
        attributes={
            a.name: onnx.helper.get_attribute_value(a)
            for a in node.onnx_node.attribute
            if not a.ref_attr_name
        },
        evaluate=node.run,
    )


class Float64Model:
    """A model ready to be evaluated in float64.

    Args:
        model: any ONNX model; its floating-point types are taken as float64.

    Raises:
        EvaluationError: where the model cannot be loaded at all.
    """

    def __init__(self, model: ir.Model) -> None:
        self.inputs = [v.name or "" for v in model.graph.inputs]
        self.outputs = [v.name or "" for v in model.graph.outputs]
        self._constants: dict[str, ir.TensorProtocol] = {
            name: value.const_value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        try:
            self._engine = _Evaluator(_without_initializers(model))
        except Exception as error:
            raise EvaluationError(f"the model cannot be loaded: {_first_line(error)}") from error
        self._nodes: list[_Node] = list(self._engine.rt_nodes_)
        self._last_use = _last_uses(self._nodes, self.outputs)

    @property
    def constant_names(self) -> tuple[str, ...]:
        """Names of the constants: initializers and Constant nodes' outputs."""
        nodes = [n.output[0] for n in self._nodes if n.op_type == "Constant"]
        return (*self._constants, *nodes)

    @property
    def in_float32(self) -> tuple[str, ...]:
        """Outputs of the nodes that only onnxruntime could run, hence in float32."""
        return tuple(name for node in self._nodes if node.in_float32 for name in node.output)

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        constant: Hook | None = None,
        value: Hook | None = None,
        visit: Callable[[NodeCall], None] | None = None,
        deadline: float | None = None,
    ) -> dict[str, Array]:
        """The outputs, by name, in float64 where they are floating point.

        Args:
            feeds: the inputs; floating point ones are converted.
            constant: sees each constant (name, array) when it is used and may replace it.
            value: sees each computed value likewise.
            visit: sees each node with its inputs and outputs.
            deadline: on the clock of `time.monotonic`.

        Raises:
            EvaluationError: if a node cannot be evaluated.
            BudgetError: if the deadline passes.
        """
        results: dict[str, Any] = {"": None}
        results.update({k: as_float64(np.asarray(v)) for k, v in feeds.items()})
        with np.errstate(all="ignore"):
            for index, node in enumerate(self._nodes):
                if deadline is not None and time.monotonic() > deadline:
                    raise BudgetError(f"stopped before node {index} of {len(self._nodes)}")
                self._fetch(self._needed(node), results, constant)
                _Evaluator.step(node, results, None)
                hook = constant if node.op_type == "Constant" else value
                if hook is not None:
                    for name in node.output:
                        if name and isinstance(results.get(name), np.ndarray):
                            results[name] = hook(name, results[name])
                if visit is not None:
                    visit(_call_of(node, results))
                for name in self._last_use.get(index, ()):
                    results.pop(name, None)
        self._fetch(self.outputs, results, constant)
        missing = [name for name in self.outputs if name not in results]
        if missing:
            raise EvaluationError(f"output '{missing[0]}' is not computed")
        return {name: results[name] for name in self.outputs}

    def _needed(self, node: _Node) -> Iterable[str]:
        return _names_used(node.onnx_node)

    def _fetch(self, names: Iterable[str], results: dict[str, Any], hook: Hook | None) -> None:
        for name in names:
            if name in results or name not in self._constants:
                continue
            array = as_float64(self._constants[name].numpy())
            results[name] = array if hook is None else hook(name, array)


def _without_initializers(model: ir.Model) -> onnx.ModelProto:
    """The model's proto with no weights in it; they are fetched by name instead."""
    bare = model.clone()
    for name in list(bare.graph.initializers):
        del bare.graph.initializers[name]
    return ir.to_proto(bare)


def _names_used(node: onnx.NodeProto) -> list[str]:
    """The inputs of a node, and what its bodies take from outside."""
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names.extend(_names_used(inner))
            names.extend(output.name for output in graph.output)
    return names


def _last_uses(nodes: list[_Node], outputs: list[str]) -> dict[int, list[str]]:
    """For each node the names that nobody needs after it."""
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in (*_names_used(node.onnx_node), *node.output):
            last[name] = index
    result: dict[int, list[str]] = {}
    for name, index in last.items():
        if name and name not in outputs:
            result.setdefault(index, []).append(name)
    return result
