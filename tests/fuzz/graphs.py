"""Random ONNX graphs over the whole lowering table, small and in float64.

A graph grows op by op from one input. Every choice comes from a `Chooser`, so that hypothesis
can shrink a failure and a script can run thousands from plain seeds. Affines are drawn often,
with gammas of both signs and zeros, and sizes coincide on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")
FLOAT = TensorProto.DOUBLE


class Chooser(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        ...


class SeededChooser:
    """Choices of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return self._random.randint(low, high)


@dataclass
class Value:
    """A computed value; axis 0 is the batch, of size 4 at run time."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Builder:
    """A graph under construction."""

    chooser: Chooser
    rng: np.random.Generator
    batch: str | int
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    kernels: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    count: int = 0

    def chance(self, percent: int) -> bool:
        """True that often."""
        return self.chooser.integer(1, 100) <= percent

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.chooser.integer(0, len(options) - 1)]

    def fresh(self, stem: str) -> str:
        """A new name."""
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: np.ndarray) -> str:
        """A constant: an initializer, a Constant node, or one behind an Identity."""
        name = self.fresh("c")
        kind = self.chooser.integer(0, 9)
        if kind == 0:
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(numpy_helper.from_array(array, name))
        if kind == 1:
            other = self.fresh("c")
            self.nodes.append(helper.make_node("Identity", [name], [other]))
            return other
        return name

    def weights(self, *shape: int) -> str:
        """A kernel, sometimes one that another op has already."""
        shared = self.kernels.setdefault(shape, [])
        if shared and self.chance(15):
            return self.pick(shared)
        name = self.constant(self.rng.normal(size=shape) / np.sqrt(max(1, shape[-1])))
        shared.append(name)
        return name

    def normal(self, *shape: int) -> str:
        """Random numbers."""
        return self.constant(self.rng.normal(size=shape))

    def scales(self, *shape: int) -> np.ndarray:
        """Scales of both signs, or positive, or with a zero."""
        kind = self.chooser.integer(0, 3)
        array = self.rng.uniform(0.3, 2.0, size=shape)
        if kind >= 2:
            array *= self.rng.choice([-1.0, 1.0], size=shape)
        if kind == 3 and array.size > 1:
            array.reshape(-1)[0] = 0.0
        return array

    def integers(self, *values: int) -> str:
        """A constant list of int64."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def add(
        self, op: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: Any
    ) -> Value:
        """A node with one result."""
        name = self.fresh(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        value = Value(name, shape)
        self.values.append(value)
        return value


Step = Callable[[Builder, Value], Value | None]


def norm(b: Builder, x: Value) -> Value | None:
    """BatchNormalization."""
    if len(x.shape) < 2:
        return None
    c = x.shape[1]
    parameters = [
        b.constant(b.scales(c)),
        b.normal(c),
        b.normal(c),
        b.constant(b.rng.uniform(0.1, 3.0, size=c)),
    ]
    return b.add("BatchNormalization", [x.name, *parameters], x.shape, epsilon=1e-3)


def affine(b: Builder, x: Value) -> Value | None:
    """Mul, Add, Sub or Div by a constant of a random broadcastable shape."""
    shape = [1 if b.chance(45) else size for size in x.shape]
    shape[0] = 1
    while len(shape) > 1 and shape[0] == 1 and b.chance(60):
        shape.pop(0)
    if b.chance(10):
        shape = []
    op = b.pick(["Mul", "Add", "Sub", "Div", "Mul", "Add"])
    array = b.scales(*shape) if op != "Div" else b.rng.uniform(0.4, 2.0, size=shape)
    names = [x.name, b.constant(np.asarray(array))]
    if op != "Div" and b.chance(25):
        names.reverse()
    return b.add(op, names, x.shape)


def gemm(b: Builder, x: Value) -> Value | None:
    """Gemm with any C, alpha, beta."""
    if len(x.shape) != 2:
        return None
    n, m = b.pick([3, 4, 5, x.shape[1]]), x.shape[1]
    attributes: dict[str, Any] = {}
    trans = b.chance(40)
    if trans:
        attributes["transB"] = 1
    if b.chance(30):
        attributes["alpha"] = 0.5
    names = [x.name, b.weights(n, m) if trans else b.weights(m, n)]
    if b.chance(75):
        names.append(b.normal(*b.pick([(n,), (1, n), (1,), (), (n,)])))
        if b.chance(30):
            attributes["beta"] = 2.0
    return b.add("Gemm", names, (x.shape[0], n), **attributes)


def matmul(b: Builder, x: Value) -> Value | None:
    """MatMul, the constant on either side, sometimes with a bias behind it."""
    if len(x.shape) < 2:
        return None
    if len(x.shape) > 2 and b.chance(25):
        n = b.pick([3, x.shape[-2]])
        names = [b.weights(n, x.shape[-2]), x.name]
        return b.add("MatMul", names, (*x.shape[:-2], n, x.shape[-1]))
    n = b.pick([3, 4, x.shape[-1]])
    y = b.add("MatMul", [x.name, b.weights(x.shape[-1], n)], (*x.shape[:-1], n))
    if b.chance(40):
        y = b.add("Add", [y.name, b.normal(n)], y.shape)
    return y


def conv(b: Builder, x: Value) -> Value | None:
    """Convolutions with groups, strides, dilations and every kind of padding."""
    if len(x.shape) not in (3, 4) or min(x.shape[2:]) < 2:
        return None
    c, space = x.shape[1], len(x.shape) - 2
    groups = b.pick([g for g in (1, 2, c) if c % g == 0])
    out = groups * b.pick([1, 2, 3])
    window = [b.pick([1, 2]) for _ in range(space)]
    attributes: dict[str, Any] = {"group": groups}
    sizes = [s - k + 1 for s, k in zip(x.shape[2:], window, strict=True)]
    kind = b.chooser.integer(0, 4)
    if kind == 1:
        attributes["pads"] = [1] * (2 * space)
        sizes = [s + 2 for s in sizes]
    elif kind == 2:
        attributes["auto_pad"] = "SAME_UPPER"
        sizes = list(x.shape[2:])
    elif kind == 3:
        attributes["strides"] = [2] * space
        sizes = [(s - 1) // 2 + 1 for s in sizes]
    names = [x.name, b.weights(out, c // groups, *window)]
    if b.chance(60):
        names.append(b.normal(out))
    return b.add("Conv", names, (x.shape[0], out, *sizes), **attributes)


def deconv(b: Builder, x: Value) -> Value | None:
    """Transposed convolutions with groups."""
    if len(x.shape) != 4:
        return None
    c = x.shape[1]
    groups = b.pick([g for g in (1, 2, c) if c % g == 0])
    per = b.pick([1, 2])
    names = [x.name, b.weights(c, per, 2, 2)]
    if groups == 1 and b.chance(60):  # the reference adds a grouped bias wrongly
        names.append(b.normal(groups * per))
    sizes = [s + 1 for s in x.shape[2:]]
    return b.add("ConvTranspose", names, (x.shape[0], groups * per, *sizes), group=groups)


def einsum(b: Builder, x: Value) -> Value | None:
    """A contraction by letters."""
    if len(x.shape) != 3:
        return None
    _, s, c = x.shape
    if b.chance(50):
        names = [x.name, b.weights(c, 2, 3)]
        return b.add("Einsum", names, (x.shape[0], s, 2, 3), equation="bsc,chd->bshd")
    return b.add("Einsum", [x.name, b.weights(s, c)], (x.shape[0], c), equation="bsc,sc->bc")


def activation(b: Builder, x: Value) -> Value | None:
    """Activations, most of which pass something."""
    op = b.pick(["Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "Abs", "Relu", "Neg", "Tanh"])
    names = [x.name]
    if op == "PRelu":
        names.append(b.normal(*(x.shape[-1:] if b.chance(50) else ())))
    return b.add(op, names, x.shape)


def same(b: Builder, x: Value) -> Value | None:
    """Ops that do nothing at inference."""
    return b.add(b.pick(["Identity", "Dropout"]), [x.name], x.shape)


def pool(b: Builder, x: Value) -> Value | None:
    """Pooling."""
    if len(x.shape) != 4 or min(x.shape[2:]) < 2:
        return None
    op = b.pick(["MaxPool", "AveragePool", "GlobalAveragePool"])
    if op == "GlobalAveragePool":
        return b.add(op, [x.name], (*x.shape[:2], 1, 1))
    attributes: dict[str, Any] = {"kernel_shape": [2, 2]}
    extra = 0
    if b.chance(40):
        attributes["pads"], extra = [1, 1, 1, 1], 2
        if op == "AveragePool" and b.chance(50):
            attributes["count_include_pad"] = 1
    sizes = [s - 1 + extra for s in x.shape[2:]]
    return b.add(op, [x.name], (*x.shape[:2], *sizes), **attributes)


def reduce(b: Builder, x: Value) -> Value | None:
    """Reductions over one axis."""
    if len(x.shape) < 3:
        return None
    op = b.pick(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"])
    axis = b.chooser.integer(1, len(x.shape) - 1)
    keep = b.chooser.integer(0, 1)
    shape = tuple(1 if i == axis else s for i, s in enumerate(x.shape) if keep or i != axis)
    return b.add(op, [x.name, b.integers(axis)], shape, keepdims=keep)


def reshape(b: Builder, x: Value) -> Value | None:
    """Flatten, Reshape, Transpose, Squeeze, Unsqueeze."""
    kind = b.pick(["flatten", "transpose", "reshape", "unsqueeze", "squeeze"])
    batch, rest = x.shape[0], x.shape[1:]
    size = int(np.prod(rest))
    if kind == "flatten":
        return b.add("Flatten", [x.name], (batch, size))
    if kind == "transpose" and len(rest) > 1:
        order = [0, *(int(i) + 1 for i in b.rng.permutation(len(rest)))]
        return b.add("Transpose", [x.name], tuple(x.shape[i] for i in order), perm=order)
    if kind == "unsqueeze" and len(x.shape) < 5:
        axis = b.chooser.integer(1, len(x.shape))
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        return b.add("Unsqueeze", [x.name, b.integers(axis)], shape)
    ones = [i for i, s in enumerate(x.shape) if i and s == 1]
    if kind == "squeeze" and ones:
        shape = tuple(s for i, s in enumerate(x.shape) if i != ones[0])
        return b.add("Squeeze", [x.name, b.integers(ones[0])], shape)
    if kind == "reshape":
        options = [(size,), (size, 1), (1, size)]
        options += [(d, size // d) for d in (2, 3, 4) if size % d == 0]
        options += [(2, d, size // d // 2) for d in (2, 3) if size % (2 * d) == 0]
        target = b.pick(options)
        return b.add("Reshape", [x.name, b.integers(-1, *target)], (batch, *target))
    return None


def cut(b: Builder, x: Value) -> Value | None:
    """Slice, Gather, Split."""
    axes = [i for i, s in enumerate(x.shape) if i and s >= 2]
    if not axes:
        return None
    axis = b.pick(axes)
    size = x.shape[axis]
    kind = b.pick(["slice", "gather", "split"])
    shape = list(x.shape)
    if kind == "slice":
        start, step = b.pick([(0, 1), (1, 1), (-1, -1)])
        end = -size - 1 if step < 0 else size
        shape[axis] = size if step < 0 else size - start
        names = [x.name, *(b.integers(v) for v in (start, end, axis, step))]
        return b.add("Slice", names, tuple(shape))
    if kind == "gather":
        index = [int(i) for i in b.rng.integers(0, size, size=b.pick([2, 3]))]
        shape[axis] = len(index)
        return b.add("Gather", [x.name, b.integers(*index)], tuple(shape), axis=axis)
    sizes = [1, size - 1]
    outs = [b.fresh("split"), b.fresh("split")]
    b.nodes.append(helper.make_node("Split", [x.name, b.integers(*sizes)], outs, axis=axis))
    pieces = [
        Value(o, tuple(s if i == axis else d for i, d in enumerate(shape)))
        for o, s in zip(outs, sizes, strict=True)
    ]
    b.values += pieces
    return b.pick(pieces)


def grow(b: Builder, x: Value) -> Value | None:
    """Pad, Tile, Resize, DepthToSpace, SpaceToDepth."""
    if len(x.shape) < 3:
        return None
    kind = b.pick(["pad", "tile", "depth", "resize", "space"])
    if kind == "pad":
        before = [0, 0, *(1 for _ in x.shape[2:])]
        shape = (*x.shape[:2], *(s + 2 for s in x.shape[2:]))
        mode = b.pick(["constant", "reflect", "edge"])
        if mode == "reflect" and min(x.shape[2:]) < 2:
            mode = "edge"
        return b.add("Pad", [x.name, b.integers(*before, *before)], shape, mode=mode)
    if kind == "tile":
        axis = b.chooser.integer(1, len(x.shape) - 1)
        times = [2 if i == axis else 1 for i in range(len(x.shape))]
        shape = tuple(s * t for s, t in zip(x.shape, times, strict=True))
        return b.add("Tile", [x.name, b.integers(*times)], shape) if np.prod(shape) < 500 else None
    if kind == "resize" and len(x.shape) == 4 and np.prod(x.shape) < 500:
        scales = b.constant(np.asarray([1, 1, 2, 2], dtype=np.float32))
        shape = (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        names = [x.name, "", scales]
        return b.add(
            "Resize",
            names,
            shape,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    if kind == "depth" and len(x.shape) == 4 and x.shape[1] % 4 == 0:
        shape = (x.shape[0], x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3])
        mode = b.pick(["DCR", "CRD"])
        return b.add("DepthToSpace", [x.name], shape, blocksize=2, mode=mode)
    if kind == "space" and len(x.shape) == 4 and not (x.shape[2] % 2 or x.shape[3] % 2):
        shape = (x.shape[0], 4 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2)
        return b.add("SpaceToDepth", [x.name], shape, blocksize=2)
    return None


def combine(b: Builder, x: Value) -> Value | None:
    """Two computed values: Add, Sub, Mul, Max, Concat, MatMul."""
    others = [v for v in b.values if v.shape == x.shape]
    if not others:
        return None
    other = b.pick(others)
    op = b.pick(["Add", "Sub", "Concat", "Add", "Mul", "Max", "Sum", "Where"])
    if op == "Concat":
        if len(x.shape) < 2:
            return None
        axis = b.chooser.integer(1, len(x.shape) - 1)
        shape = tuple(2 * s if i == axis else s for i, s in enumerate(x.shape))
        return b.add("Concat", [x.name, other.name], shape, axis=axis)
    if op == "Where":
        mask = b.constant(b.rng.integers(0, 2, size=x.shape[-1:]).astype(bool))
        return b.add("Where", [mask, x.name, other.name], x.shape)
    return b.add(op, [x.name, other.name], x.shape)


def recurrent(b: Builder, x: Value) -> Value | None:
    """LSTM or GRU on [batch, steps, features], transposed to steps first."""
    if len(x.shape) != 3:
        return None
    n, steps, features = x.shape
    op, gates = b.pick([("LSTM", 4), ("GRU", 3)])
    directions = b.pick([1, 2])
    hidden = 2
    before = list(b.values)
    t = b.add("Transpose", [x.name], (steps, n, features), perm=[1, 0, 2])
    if b.chance(60):
        shape = (1, features)
        t = b.add("Mul", [t.name, b.constant(b.scales(*shape))], t.shape)
        t = b.add("Add", [t.name, b.normal(*shape)], t.shape)
    names = [
        t.name,
        b.weights(directions, gates * hidden, features),
        b.weights(directions, gates * hidden, hidden),
    ]
    if b.chance(70):
        names.append(b.normal(directions, 2 * gates * hidden))
    direction = "bidirectional" if directions == 2 else "forward"
    b.values[:] = before  # those in between have the batch on another axis
    out = b.add(op, names, (steps, directions, n, hidden), hidden_size=hidden, direction=direction)
    b.values.remove(out)
    return b.add("Transpose", [out.name], (n, steps, directions, hidden), perm=[2, 0, 1, 3])


def layer_norm(b: Builder, x: Value) -> Value | None:
    """LayerNormalization over the last axis."""
    if len(x.shape) < 2 or x.shape[-1] < 2:
        return None
    c = x.shape[-1]
    names = [x.name, b.constant(b.scales(c)), b.normal(c)]
    return b.add("LayerNormalization", names, x.shape, axis=-1)


STEPS: tuple[tuple[int, Step], ...] = (
    (7, norm),
    (8, affine),
    (4, gemm),
    (4, matmul),
    (5, conv),
    (2, deconv),
    (1, einsum),
    (3, activation),
    (1, same),
    (2, pool),
    (1, reduce),
    (4, reshape),
    (2, cut),
    (2, grow),
    (3, combine),
    (1, recurrent),
    (1, layer_norm),
)
WEIGHTED = tuple(step for weight, step in STEPS for _ in range(weight))
INPUTS = ((4, 4, 4, 4), (4, 3), (4, 4), (4, 4, 5, 5), (4, 3, 4), (4, 4, 4), (4, 6, 6, 6))


def random_model(chooser: Chooser, opset: int = 18) -> onnx.ModelProto:
    """A valid model of 2 to 12 ops with one input "x" of batch 4."""
    shape = INPUTS[chooser.integer(0, len(INPUTS) - 1)]
    rng = np.random.default_rng(chooser.integer(0, 2**31))
    batch: str | int = "N" if chooser.integer(0, 1) else 4
    b = Builder(chooser, rng, batch)
    current = Value("x", shape)
    b.values.append(current)
    for _ in range(chooser.integer(2, 12)):
        step = b.pick(WEIGHTED)
        start = current if b.chance(85) else b.pick(b.values)
        new = step(b, start)
        if new is not None and np.prod(new.shape) <= 2000:
            current = new
    outputs = [current]
    if b.chance(15):
        outputs.append(b.pick(b.values))
    return _model(b, shape, outputs, opset)


def _prune(b: Builder, wanted: list[str]) -> None:
    """Drop ops that no output depends on: dead readers would block most folds."""
    needed = set(wanted)
    kept = []
    for node in reversed(b.nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    b.nodes[:] = reversed(kept)
    b.initializers[:] = [t for t in b.initializers if t.name in needed]


def _model(b: Builder, shape: tuple[int, ...], outputs: list[Value], opset: int) -> onnx.ModelProto:
    if outputs[0].name == "x":
        outputs[0] = b.add("Identity", ["x"], shape)
    if b.chance(90):
        _prune(b, [v.name for v in outputs])
    unique = {v.name: v for v in outputs if v.name != "x"}
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("x", FLOAT, [b.batch, *shape[1:]])],
        [
            helper.make_tensor_value_info(v.name, FLOAT, [b.batch, *v.shape[1:]])
            for v in unique.values()
        ],
        b.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
