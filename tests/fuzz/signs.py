"""Scales of both signs, with only an op that asks for their sign between them and a product."""

from __future__ import annotations

from typing import Any

import numpy as np

from .builder import Builder, Value
from .steps import conv, gemm, matmul

_ANYWHERE = ("Relu", "LeakyRelu", "PRelu", "Abs", "Max", "Min", "Clip")
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
_POOLS = ("MaxPool", "MaxPool", "MaxPool", "LpPool", "GlobalMaxPool", "GlobalLpPool")


def signed(b: Builder, x: Value) -> Value | None:
    """The scale behind the product and the op, or before the op and the product."""
    product = {2: gemm, 4: conv}.get(len(x.shape), matmul)
    parts = (product, _sensitive, _scale) if b.chance(60) else (_scale, _sensitive, product)
    y: Value | None = x
    for part in parts:
        y = None if y is None else part(b, y)
    return y


def _scale(b: Builder, x: Value) -> Value | None:
    """Along the axis of channels or one for all, at least one of them negative."""
    axis = 1 if len(x.shape) == 4 else len(x.shape) - 1
    shape = tuple(size if i == axis else 1 for i, size in enumerate(x.shape))
    shape = () if b.chance(40) else shape[1:] if axis else shape
    array = b.rng.uniform(0.3, 2.0, size=shape) * b.rng.choice([-1.0, 1.0], size=shape)
    array = np.asarray(array)
    array.reshape(-1)[-1] = -abs(array.reshape(-1)[-1])
    return b.add("Mul", [x.name, b.constant(array)], x.shape)


def _sensitive(b: Builder, x: Value) -> Value | None:
    image = len(x.shape) == 4 and min(x.shape[2:]) >= 2
    elsewhere = (*_ANYWHERE, *(_REDUCTIONS if len(x.shape) > 2 else ()))
    op = b.pick(_POOLS if image and b.chance(60) else elsewhere)
    names, shape = [x.name], x.shape
    attributes: dict[str, Any] = {}
    if op == "PRelu":
        names.append(b.normal())
    elif op in ("Max", "Min"):
        names.append(b.normal(*x.shape))
    elif op == "Clip" and b.opset >= 11:
        names += [b.constant(np.asarray(bound)) for bound in (-0.5, 0.75)]
    elif op == "Clip":
        attributes = {"min": -0.5, "max": 0.75}
    elif op in _REDUCTIONS:
        axis = 2 if len(x.shape) == 4 else 1
        shape = tuple(1 if i == axis else size for i, size in enumerate(x.shape))
        names, attributes = b.lists(x.name, 18, axes=[axis])
    elif op in ("MaxPool", "LpPool"):
        attributes["kernel_shape"] = [2, 2]
        shape = (*x.shape[:2], *(size - 1 for size in x.shape[2:]))
    elif op in _POOLS:
        shape = (*x.shape[:2], 1, 1)
    return b.add(op, names, shape, **attributes)
