"""Tiny neutral graphs, and an interpreter for them that knows no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Reason
from bnfold.core.graph import Graph, Op, Use
from bnfold.core.labels import Labels, parse_axes
from bnfold.core.moves import Reduce, Shape
from bnfold.core.plan import Plan
from bnfold.core.transfer import (
    Bias,
    Commute,
    Concat,
    Contraction,
    Form,
    Opaque,
    Rewrite,
    Sign,
    Source,
    Sum,
    Transfer,
)

BATCH = 5


@dataclass
class Store:
    """Constants by name."""

    arrays: dict[str, Array] = field(default_factory=dict)

    def is_constant(self, name: str) -> bool:
        return name in self.arrays

    def why_not(self, name: str) -> Reason | None:
        return None

    def value(self, name: str) -> Array | None:
        return self.arrays.get(name)


@dataclass
class Net:
    """A graph under construction whose ops are functions too."""

    rng: np.random.Generator
    ops: list[Op] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    run: dict[str, Callable[..., Array]] = field(default_factory=dict)

    def value(self, name: str, *shape: int) -> str:
        self.shapes[name] = ("N", *shape)
        return name

    def const(self, name: str, array: Array) -> str:
        self.store.arrays[name] = np.asarray(array, dtype=np.float64)
        self.shapes[name] = self.store.arrays[name].shape
        return name

    def op(
        self,
        name: str,
        inputs: Sequence[str | None],
        transfer: Transfer,
        function: Callable[..., Array],
        *shape: int,
        kind: str = "",
    ) -> str:
        self.ops.append(Op(name, kind or name.split("_")[0], tuple(inputs), (name,), transfer))
        self.run[name] = function
        return self.value(name, *shape)

    def dense(self, name: str, x: str, width: int, *, bias: bool = True) -> str:
        size = int(self.shapes[x][-1])  # type: ignore[arg-type]
        kernel = self.const(f"{name}.w", self.rng.normal(size=(size, width)))
        names: list[str | None] = [x, kernel]
        if bias:
            names.append(self.const(f"{name}.b", self.rng.normal(size=width)))
        labels = Labels(
            parse_axes("m k"), parse_axes("k n"), parse_axes("m n"), {"k": size, "n": width}
        )
        slot = Bias(2, bias, create=Rewrite.OPERAND)
        transfer = Contraction(labels, bias=slot)
        return self.op(name, names, transfer, lambda v, w, b=0.0: v @ w + b, width, kind="Dense")

    def affine(self, name: str, x: str, scale: object, shift: object, form: Form) -> str:
        rank = len(self.shapes[x])
        map_ = Affine.of(scale, shift, rank)  # type: ignore[arg-type]
        transfer = Source(map_, form)
        return self.op(
            name,
            [x],
            transfer,
            lambda v: v * map_.scale + map_.shift,
            *self.shapes[x][1:],  # type: ignore[arg-type]
            kind=form.title,
        )

    def norm(self, name: str, x: str, *, positive: bool = False) -> str:
        """A normalization with gammas of both signs and a zero."""
        size = int(self.shapes[x][1])  # type: ignore[arg-type]
        scale = self.rng.uniform(0.3, 2.0, size=size)
        if not positive:
            scale *= np.where(np.arange(size) % 2, -1.0, 1.0)
            scale[0] = 0.0
        shift = self.rng.normal(size=size)
        extra = (1,) * (len(self.shapes[x]) - 2)
        return self.affine(name, x, scale.reshape(-1, *extra), shift.reshape(-1, *extra), Form.NORM)

    def relu(self, name: str, x: str) -> str:
        transfer = Commute(sign=Sign.NOT_NEGATIVE, shift_blocked=Reason.ACTIVATION_SHIFT)
        return self.op(name, [x], transfer, lambda v: np.maximum(v, 0), *self._tail(x))

    def elu(self, name: str, x: str) -> str:
        def function(v: Array) -> Array:
            return np.where(v > 0, v, np.expm1(v))

        return self.op(name, [x], Opaque(Reason.ACTIVATION), function, *self._tail(x))

    def add(self, name: str, x: str, y: str) -> str:
        return self.op(name, [x, y], Sum((0, 1), (1.0, 1.0)), np.add, *self._tail(x))

    def concat(self, name: str, x: str, y: str) -> str:
        a, b = self._tail(x)[0], self._tail(y)[0]
        return self.op(
            name,
            [x, y],
            Concat(1, (a, b)),
            lambda v, w: np.concatenate([v, w], axis=1),
            a + b,
        )

    def mean(self, name: str, x: str) -> str:
        tail = self._tail(x)
        rank = len(tail) + 1
        move = Reduce((rank - 1,), rank, keepdims=False)
        return self.op(name, [x], Commute(move), lambda v: v.mean(axis=-1), *tail[:-1])

    def _tail(self, x: str) -> tuple[int, ...]:
        return tuple(int(dim) for dim in self.shapes[x][1:])  # type: ignore[arg-type]

    def graph(self, outputs: Sequence[str], captured: Sequence[str] = ()) -> Graph:
        made = {op.outputs[0] for op in self.ops} | set(self.store.arrays)
        inputs = [name for name in self.shapes if name not in made]
        return Graph(self.ops, inputs, list(outputs), self.shapes, self.store, frozenset(captured))


def evaluate(
    net: Net, graph: Graph, feeds: Mapping[str, Array], plan: Plan | None = None
) -> dict[str, Array]:
    """Run the graph, with the plan carried out if there is one."""
    values = {**net.store.arrays, **feeds}
    for number, op in enumerate(graph.ops):
        standing = plan.standing.get(number) if plan else None
        if standing is not None:
            x = values[op.inputs[0] or ""]
            affine = standing.affine
            values[op.outputs[0]] = (
                x if standing.form is Form.NONE else (x * affine.scale + affine.shift)
            )
            continue
        operands = [values[name] for name in op.inputs if name is not None]
        for operand in range(4):
            edit = plan.edits.get(Use(number, operand)) if plan else None
            if edit is None:
                continue
            if operand < len(operands):
                operands[operand] = operands[operand] * edit.scale + edit.shift
            else:
                operands.append(edit.shift)
        values[op.outputs[0]] = net.run[op.name](*operands)
    return {name: values[name] for name in graph.outputs}
