"""Steps by which a random graph grows: the ops of most networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from .builder import Builder, Value


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
    if b.chance(75) or b.opset < 11:
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
    if len(x.shape) != 3 or b.opset < 12:
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
    op = b.pick(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin", "ReduceL1", "ReduceL2"])
    axis = b.chooser.integer(1, len(x.shape) - 1)
    keep = b.chooser.integer(0, 1)
    shape = tuple(1 if i == axis else s for i, s in enumerate(x.shape) if keep or i != axis)
    names, lists = b.lists(x.name, 13 if op == "ReduceSum" else 18, axes=[axis])
    return b.add(op, names, shape, keepdims=keep, **lists)


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
        names, lists = b.lists(x.name, 13, axes=[axis])
        return b.add("Unsqueeze", names, shape, **lists)
    ones = [i for i, s in enumerate(x.shape) if i and s == 1]
    if kind == "squeeze" and ones:
        shape = tuple(s for i, s in enumerate(x.shape) if i != ones[0])
        names, lists = b.lists(x.name, 13, axes=[ones[0]])
        return b.add("Squeeze", names, shape, **lists)
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
        start, step = b.pick([(0, 1), (1, 1), (-1, -1)] if b.opset >= 10 else [(0, 1), (1, 1)])
        end = -size - 1 if step < 0 else size
        shape[axis] = size if step < 0 else size - start
        steps = {"steps": [step]} if b.opset >= 10 else {}
        names, lists = b.lists(x.name, 10, starts=[start], ends=[end], axes=[axis], **steps)
        return b.add("Slice", names, tuple(shape), **lists)
    if kind == "gather":
        index = [int(i) for i in b.rng.integers(0, size, size=b.pick([2, 3]))]
        shape[axis] = len(index)
        return b.add("Gather", [x.name, b.integers(*index)], tuple(shape), axis=axis)
    sizes = [1, size - 1]
    outs = [b.fresh("split"), b.fresh("split")]
    names, lists = b.lists(x.name, 13, split=sizes)
    b.nodes.append(helper.make_node("Split", names, outs, axis=axis, **lists))
    pieces = [
        Value(o, tuple(s if i == axis else d for i, d in enumerate(shape)), b.dtype)
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
        names, lists = b.lists(x.name, 11, pads=[*before, *before])
        return b.add("Pad", names, shape, mode=mode, **lists)
    if kind == "tile":
        axis = b.chooser.integer(1, len(x.shape) - 1)
        times = [2 if i == axis else 1 for i in range(len(x.shape))]
        shape = tuple(s * t for s, t in zip(x.shape, times, strict=True))
        return b.add("Tile", [x.name, b.integers(*times)], shape) if np.prod(shape) < 500 else None
    if kind == "resize" and len(x.shape) == 4 and np.prod(x.shape) < 500:
        shape = (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        if b.opset < 9:
            return b.add("Upsample", [x.name], shape, scales=[1.0, 1.0, 2.0, 2.0])
        scales = b.constant(np.asarray([1, 1, 2, 2], dtype=np.float32))
        mode = b.pick(["nearest", "linear"])
        if b.opset < 11:
            op = "Upsample" if b.opset < 10 else "Resize"
            return b.add(op, [x.name, scales], shape, mode=mode)
        nearest = {"nearest_mode": "floor"} if mode == "nearest" else {}
        names = [x.name, "" if b.opset >= 13 else b.constant(np.zeros(0, np.float32)), scales]
        how = "asymmetric"
        return b.add(
            "Resize", names, shape, mode=mode, coordinate_transformation_mode=how, **nearest
        )
    if kind == "depth" and len(x.shape) == 4 and x.shape[1] % 4 == 0:
        shape = (x.shape[0], x.shape[1] // 4, 2 * x.shape[2], 2 * x.shape[3])
        mode = {"mode": b.pick(["DCR", "CRD"])} if b.opset >= 11 else {}
        return b.add("DepthToSpace", [x.name], shape, blocksize=2, **mode)
    if kind == "space" and len(x.shape) == 4 and not (x.shape[2] % 2 or x.shape[3] % 2):
        shape = (x.shape[0], 4 * x.shape[1], x.shape[2] // 2, x.shape[3] // 2)
        return b.add("SpaceToDepth", [x.name], shape, blocksize=2)
    return None


def combine(b: Builder, x: Value) -> Value | None:
    """Two computed values: Add, Sub, Mul, Max, Concat, MatMul."""
    others = [v for v in b.values if v.shape == x.shape and v.dtype == x.dtype]
    if not others:
        return None
    other = b.pick(others)
    op = b.pick(["Add", "Sub", "Concat", "Add", "Mul", "Max", "Sum", "Where", "Div", "Mean"])
    if op == "Concat":
        if len(x.shape) < 2:
            return None
        axis = b.chooser.integer(1, len(x.shape) - 1)
        shape = tuple(2 * s if i == axis else s for i, s in enumerate(x.shape))
        return b.add("Concat", [x.name, other.name], shape, axis=axis)
    if op == "Where" and b.opset >= 9:
        mask = b.constant(b.rng.integers(0, 2, size=x.shape[-1:]).astype(bool))
        return b.add("Where", [mask, x.name, other.name], x.shape)
    return b.add("Add" if op == "Where" else op, [x.name, other.name], x.shape)


def recurrent(b: Builder, x: Value) -> Value | None:
    """LSTM or GRU on [batch, steps, features], transposed to steps first."""
    if len(x.shape) != 3:
        return None
    n, steps, features = x.shape
    op, gates = b.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
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
    if len(x.shape) < 2 or x.shape[-1] < 2 or b.opset < 17:
        return None
    c = x.shape[-1]
    names = [x.name, b.constant(b.scales(c)), b.normal(c)]
    return b.add("LayerNormalization", names, x.shape, axis=-1)
