"""Steps by which a random graph grows: quantized weights, borders of all kinds, rarer ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from .builder import DTYPES, Builder, Value


def quantized(b: Builder, x: Value) -> Value | None:
    """A product with an integer kernel behind DequantizeLinear, of one scale or one per channel."""
    if b.dtype != "float" or b.opset < 13 or len(x.shape) not in (2, 3, 4):
        return None
    c, out = (x.shape[1] if len(x.shape) > 2 else x.shape[-1]), 3
    matrix = len(x.shape) == 2
    shape = (c, out) if matrix else (out, c, *(1 for _ in x.shape[2:]))
    axis = 1 if matrix else 0
    kernel = b.constant(b.rng.integers(-100, 100, size=shape).astype(np.int8))
    per_axis = b.chance(60)
    scale = b.constant(b.rng.uniform(0.01, 0.1, size=(out,) if per_axis else ()))
    names = [kernel, scale]
    if b.chance(40):
        size = (out,) if per_axis else ()
        names.append(b.constant(np.asarray(b.rng.integers(-3, 3, size=size), dtype=np.int8)))
    w = b.fresh("w")
    attributes = {"axis": axis} if per_axis else {}
    b.nodes.append(helper.make_node("DequantizeLinear", names, [w], name=w, **attributes))
    names = [x.name, w]
    if b.chance(60):
        names.append(_quantized_bias(b, out) if b.chance(50) else b.normal(out))
    op = "Gemm" if matrix else "Conv"
    return b.add(op, names, (x.shape[0], out, *(() if matrix else x.shape[2:])))


def _quantized_bias(b: Builder, size: int) -> str:
    bias = b.constant(b.rng.integers(-500, 500, size=size).astype(np.int32))
    name = b.fresh("bias")
    scale = b.constant(np.asarray(b.rng.uniform(0.001, 0.01)))
    b.nodes.append(helper.make_node("DequantizeLinear", [bias, scale], [name], name=name))
    return name


def cast(b: Builder, x: Value) -> Value | None:
    """To another floating type; what follows is of that type."""
    if b.dtype == "double" and not b.chance(30):
        return None  # most graphs stay in the type that the reference is sharpest in
    target = b.pick([t for t in ("double", "float", "float16") if t != b.dtype])
    b.dtype = target
    return b.add("Cast", [x.name], x.shape, to=helper.np_dtype_to_tensor_dtype(DTYPES[target]))


def clip(b: Builder, x: Value) -> Value | None:
    """Bounds that are one number each, or only one of them."""
    low, high = b.pick([(0.0, 6.0), (0.0, None), (None, 0.5), (-0.5, 0.75)])
    if b.opset < 11:
        named = {"min": low, "max": high}
        attributes = {name: bound for name, bound in named.items() if bound is not None}
        return b.add("Clip", [x.name], x.shape, **attributes)
    bounds = ["" if v is None else b.constant(np.asarray(v)) for v in (low, high)]
    return b.add("Clip", [x.name, *bounds], x.shape)


def window(b: Builder, x: Value) -> Value | None:
    """Convolutions with dilation or one-sided pads, pools that round up."""
    if len(x.shape) != 4 or min(x.shape[2:]) < 3:
        return None
    c, (h, w) = x.shape[1], x.shape[2:]
    kind = b.pick(["dilated", "one-sided", "lower", "valid", "ceil", "norm"])
    if kind in ("ceil", "norm"):
        op = "LpPool" if kind == "norm" else b.pick(["MaxPool", "AveragePool"])
        attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
        sizes = (h // 2, w // 2)
        if kind == "ceil" and b.opset >= 19:
            attributes["ceil_mode"] = 1
            sizes = (-(-h // 2), -(-w // 2))
        return b.add(op, [x.name], (*x.shape[:2], *sizes), **attributes)
    names = [x.name, b.weights(3, c, 2, 2), b.normal(3)]
    attributes, sizes = {
        "dilated": ({"dilations": [2, 2]}, (h - 2, w - 2)),
        "one-sided": ({"pads": [1, 0, 0, 0]}, (h, w - 1)),
        "lower": ({"auto_pad": "SAME_LOWER"}, (h, w)),
        "valid": ({"auto_pad": "VALID"}, (h - 1, w - 1)),
    }[kind]
    return b.add("Conv", names, (x.shape[0], 3, *sizes), **attributes)


def spread(b: Builder, x: Value) -> Value | None:
    """Transposed convolutions with stride, cut borders or one tap."""
    if len(x.shape) != 3:
        return None
    n, c, length = x.shape
    kind = b.pick(["stride", "cut", "point"])
    size = 1 if kind == "point" else 2
    attributes: dict[str, Any] = {
        "stride": {"strides": [2], "output_padding": [1]},
        "cut": {"pads": [1, 0]},
        "point": {},
    }[kind]
    out = {"stride": 2 * length + 1, "cut": length, "point": length}[kind]
    names = [x.name, b.weights(c, 2, size), *([b.normal(2)] if b.chance(60) else [])]
    return b.add("ConvTranspose", names, (n, 2, out), **attributes)


def statistics(b: Builder, x: Value) -> Value | None:
    """Normalizations by statistics of the data."""
    if len(x.shape) < 3 or np.prod(x.shape[2:]) < 2:
        return None
    c = x.shape[1]
    names = [x.name, b.constant(b.scales(c)), b.normal(c)]
    if b.opset >= 21 and b.chance(40):
        return b.add("GroupNormalization", names, x.shape, num_groups=1)
    return b.add("InstanceNormalization", names, x.shape)


def choose(b: Builder, x: Value) -> Value | None:
    """Elements chosen by an index, in another order, or added up."""
    if len(x.shape) < 3 or b.opset < 13:
        return None
    size = x.shape[1]
    kind = b.pick(["elements", "points", "compress", "reverse", "sum", "triangle", "middle"])
    if kind == "elements":
        index = b.rng.integers(0, size, size=x.shape)
        return b.add("GatherElements", [x.name, b.constant(index)], x.shape, axis=1)
    if kind == "points":
        index = b.rng.integers(0, size, size=(x.shape[0], 2, 1))
        shape = (x.shape[0], 2, *x.shape[2:])
        return b.add("GatherND", [x.name, b.constant(index)], shape, batch_dims=1)
    if kind == "compress":
        mask = np.arange(size) % 2 == 0
        shape = (x.shape[0], int(mask.sum()), *x.shape[2:])
        return b.add("Compress", [x.name, b.constant(mask)], shape, axis=1)
    if kind == "reverse":
        lengths = b.constant(b.rng.integers(1, size + 1, size=x.shape[0]))
        return b.add("ReverseSequence", [x.name, lengths], x.shape, time_axis=1, batch_axis=0)
    if kind == "sum":
        return b.add("CumSum", [x.name, b.constant(np.asarray(1))], x.shape)
    if kind == "triangle" and b.opset >= 14:
        return b.add("Trilu", [x.name], x.shape)
    if kind == "middle" and b.opset >= 18 and x.shape[-1] >= 2:
        sizes = (*x.shape[1:-1], x.shape[-1] - 1)
        axes = list(range(1, len(x.shape)))
        names = [x.name, b.integers(*sizes)]
        return b.add("CenterCropPad", names, (x.shape[0], *sizes), axes=axes)
    return None


def view(b: Builder, x: Value) -> Value | None:
    """A Reshape to a computed shape: all but the batch, or all but the channels, in one."""
    if len(x.shape) < 3:
        return None
    kept = b.pick([1, 2])
    names = [b.add("Shape", [x.name], (len(x.shape),)).name]
    b.values.pop()
    parts = [b.fresh("size") for _ in range(kept)]
    for axis, part in enumerate(parts):
        index = b.constant(np.asarray([axis]))
        b.nodes.append(helper.make_node("Gather", [names[0], index], [part], name=part))
    target = b.fresh("target")
    b.nodes.append(
        helper.make_node("Concat", [*parts, b.integers(-1)], [target], name=target, axis=0)
    )
    shape = (*x.shape[:kept], int(np.prod(x.shape[kept:])))
    return b.add("Reshape", [x.name, target], shape)


def plus_constants(b: Builder, x: Value) -> Value | None:
    """Sum or Mean with constants; a constant divided by the value; a Max with one."""
    size = x.shape[-1]
    kind = b.pick(["Sum", "Mean", "Max", "Div", "Where"])
    if b.opset < 9 and kind in ("Sum", "Mean", "Max", "Where"):
        return None
    constant = b.normal(size)
    if kind == "Where":
        mask = b.constant(b.rng.integers(0, 2, size=(1, size)).astype(bool))
        return b.add(kind, [mask, x.name, constant], x.shape)
    if kind == "Div":
        sure = b.add("Exp", [x.name], x.shape)
        return b.add("Div", [constant, sure.name], x.shape)
    return b.add(kind, [x.name, constant], x.shape)


def slices_of_one(b: Builder, x: Value) -> Value | None:
    """Disjoint slices of one product, each with an affine of its own (Q, K and V)."""
    if len(x.shape) < 2 or b.opset < 10:
        return None
    y = b.add("MatMul", [x.name, b.weights(x.shape[-1], 6)], (*x.shape[:-1], 6))
    pieces = []
    for start in (0, 2, 4):
        names, lists = b.lists(
            y.name, 10, starts=[start], ends=[start + 2], axes=[len(x.shape) - 1]
        )
        piece = b.add("Slice", names, (*x.shape[:-1], 2), **lists)
        if b.chance(60):
            piece = b.add("Mul", [piece.name, b.constant(b.scales(2))], piece.shape)
        pieces.append(piece)
    total = b.add("Add", [pieces[0].name, pieces[1].name], pieces[0].shape)
    return b.add("Mul", [total.name, pieces[2].name], total.shape)


def transposed_gemm(b: Builder, x: Value) -> Value | None:
    """Gemm with transA, and with the kernel as its first operand."""
    if len(x.shape) != 2:
        return None
    n = x.shape[1]
    t = b.add("Transpose", [x.name], (n, x.shape[0]), perm=[1, 0])
    b.values.remove(t)
    if b.chance(50):
        bias = b.normal(4)
        names = [t.name, b.weights(4, n), bias]
        return b.add("Gemm", names, (x.shape[0], 4), transA=1, transB=1)
    g = b.add("Gemm", [b.weights(3, n), t.name, b.normal(3, 1)], (3, x.shape[0]))
    b.values.remove(g)
    return b.add("Transpose", [g.name], (x.shape[0], 3), perm=[1, 0])
