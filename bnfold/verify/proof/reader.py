"""Reads one model into the shared values, op by op."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from bnfold.verify.proof.constants import Const, of_tensor
from bnfold.verify.proof.forms import Base, Form, UnfitError, merged, of_base
from bnfold.verify.proof.laws import laws_of
from bnfold.verify.proof.precomputed import evaluate
from bnfold.verify.proof.rounding import GRAINS
from bnfold.verify.proof.rules_nonlinear import opaque, operand_key
from bnfold.verify.proof.source import Known, Op, Source, live_nodes, shape_of
from bnfold.verify.proof.space import Space

logger = logging.getLogger(__name__)

#: What a law may run into on an op that contradicts itself, such as a bias of the wrong size.
FORGIVEN: tuple[type[Exception], ...] = (ArithmeticError, LookupError, TypeError, ValueError)


class OutOfTimeError(Exception):
    """The budget is used up."""


@dataclass(frozen=True)
class Step:
    """One op as it was read.

    Attributes:
        op: the op with its operands.
        results: what its outputs are.
        fresh: values that it made and the original does not have (folded model only).
        inner: what its result depends on beside its operands, each with a word for it: results
            of bodies, biases, bounds.
        covered: operands that ``inner``, or a kernel that was compared, stands for.
    """

    op: Op
    results: tuple[Known, ...]
    fresh: tuple[Base, ...] = ()
    inner: tuple[tuple[str, Form], ...] = ()
    covered: frozenset[int] = frozenset()


#: Gets each step, and returns the results to go on with.
Assume = Callable[[Step], "tuple[Known, ...]"]


@dataclass(eq=False)
class Reader:
    """What is known of one model's values.

    Attributes:
        source: the model.
        space: the values that both models share.
        deadline: when to give up, on the clock of `time.perf_counter`.
        steps: the ops read, in order, those of bodies included.
        values: what each value is.
        assume: see `Assume`.
    """

    source: Source
    space: Space
    assume: Assume | None = None
    deadline: float = math.inf
    steps: list[Step] = field(default_factory=list)
    values: dict[ir.Value, Known] = field(default_factory=dict)

    def read(self) -> None:
        """Read the main graph."""
        self.values.update(self.source.constants(self.source.graph))
        for value in self.source.graph.inputs:
            if value not in self.values:
                key = ("input", value.name, self._default_key(value))
                self.values[value] = self._given(value, key)
        self._read_nodes(self.source.graph, 0)

    def known(self, value: ir.Value) -> Known:
        """What is known of a value; one that was never read is a value of its own."""
        if value not in self.values:
            self.values[value] = self._given(value, self._unread_key(value))
        return self.values[value]

    def _default_key(self, value: ir.Value) -> Hashable:
        """What the caller gets who does not give an input: that is a part of what is computed."""
        if value.const_value is None:
            return None
        try:
            return of_tensor(value.const_value).key
        except OSError:
            return self._unread_key(value)

    def _unread_key(self, value: ir.Value) -> Hashable:
        """Data that is not there is the same in both models if it is the same place in a file."""
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            place = (str(tensor.location), tensor.offset, tensor.length)
            return ("missing", value.name, place, tuple(tensor.shape))
        return ("unknown", value.name, self.space.folded)

    def _given(self, value: ir.Value, key: Hashable) -> Form:
        self.space.made = value.name or ""
        base = self.space.intern((key, value.dtype), shape_of(value), value.dtype)
        return of_base(base, value.dtype)

    def _read_nodes(self, graph: ir.Graph, depth: int) -> None:
        for node in live_nodes(graph):
            self._read_node(node, depth)

    def _read_node(self, node: ir.Node, depth: int) -> None:
        inputs = [None if value is None else self.known(value) for value in node.inputs]
        if time.perf_counter() > self.deadline:
            raise OutOfTimeError
        op = Op(node, self.source.version(node.domain), inputs, self.source.wide_epsilon)
        constants = self._constants(op)
        if constants is not None:
            self.values.update(zip(node.outputs, constants, strict=True))
            return
        space = self.space
        space.op = op.name
        space.made = next((v.name for v in node.outputs if v.name), "")
        before = len(space.fresh)
        space.inner, space.covered = [], set()
        results = tuple(self._results(op, depth))
        fresh = tuple(space.fresh[before:])
        step = Step(op, results, fresh, tuple(space.inner), frozenset(space.covered))
        if self.assume is not None:
            results = self.assume(step)
        self.steps.append(step)
        for value, known in zip(node.outputs, results, strict=False):
            self.values[value] = _with_dims(known, value)

    def _constants(self, op: Op) -> list[Const] | None:
        if op.bodies or any(isinstance(known, Form) for known in op.inputs):
            return None
        return evaluate(
            op.node, op.version, [k if isinstance(k, Const) else None for k in op.inputs]
        )

    def _results(self, op: Op, depth: int) -> list[Known]:
        if op.bodies:
            return list(opaque(self.space, op, self._bodies(op, depth)))
        made = len(self.space.fresh)
        for law in laws_of(op):
            try:
                return [_typed(known, op) for known in law(self.space, op)]
            except UnfitError:
                del self.space.fresh[made:]
            except FORGIVEN as error:
                # An op that its own definition does not allow: then no law speaks of it.
                logger.debug("%s %r: %s", op.op_type, op.name, error)
                del self.space.fresh[made:]
        return list(opaque(self.space, op))

    def _bodies(self, op: Op, depth: int) -> Hashable:
        """Equal for equal bodies: what each gives, as a function of what it is given.

        What a body is given on each turn may be anything: a value known by depth and place
        alone, so that equal bodies come out as equal.
        """
        keys: list[Hashable] = []
        inner: list[tuple[str, Form]] = []
        for name, graphs in sorted(op.bodies.items()):
            for graph in graphs:
                self.values.update(self.source.constants(graph))
                for place, value in enumerate(graph.inputs):
                    key = ("turn", depth, place, shape_of(value))
                    self.values[value] = self._given(value, key)
                self._read_nodes(graph, depth + 1)
                known = [self.known(value) for value in graph.outputs]
                results = [operand_key(self.space, one) for one in known]
                inner += [
                    (f"result {place} of a body", one)
                    for place, one in enumerate(known, len(inner))
                    if isinstance(one, Form)
                ]
                keys.append((name, len(graph.inputs), tuple(results)))
        self.space.op = op.name
        self.space.inner, self.space.covered = inner, set()
        return tuple(keys)


def _typed(known: Known, op: Op) -> Known:
    """The form with its operand's type, where the shape inference knows none."""
    given = op.input(0)
    if isinstance(known, Const) or known.dtype is not None or op.op_type == "Shape":
        return known
    if not isinstance(given, Form) or given.dtype not in GRAINS:
        return known
    return replace(known, dtype=given.dtype)


def _with_dims(known: Known, value: ir.Value) -> Known:
    """The form with what the shape inference knows of its dims."""
    if isinstance(known, Const) or known.shape is None:
        return known
    shape = shape_of(value)
    if shape is None or len(shape) != len(known.shape) or shape == known.shape:
        return known
    return replace(known, shape=merged(known.shape, shape))
