"""Random ONNX graphs over the whole lowering table.

A graph grows op by op from one input. Every choice comes from a `Chooser`, so that hypothesis
can shrink a failure and a script can run thousands from plain seeds. Affines are drawn often,
with gammas of both signs and zeros, and sizes coincide on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from . import rarer_steps, signs, steps
from .builder import DTYPES, Builder, Chooser, SeededChooser, Step, Value
from .frames import framed

__all__ = ["Chooser", "SeededChooser", "random_model"]

# Before, convolutions had no such type.
BFLOAT16_SINCE = 22
NEWEST = onnx.defs.onnx_opset_version()

STEPS: tuple[tuple[int, Step], ...] = (
    (2, steps.norm),
    (3, steps.affine),
    (2, steps.gemm),
    (2, steps.matmul),
    (3, steps.conv),
    (2, steps.deconv),
    (1, steps.einsum),
    (3, steps.activation),
    (1, steps.same),
    (3, steps.pool),
    (2, steps.reduce),
    (4, steps.reshape),
    (2, steps.cut),
    (2, steps.grow),
    (3, steps.combine),
    (1, steps.recurrent),
    (1, steps.layer_norm),
    (2, rarer_steps.quantized),
    (1, rarer_steps.cast),
    (1, rarer_steps.clip),
    (2, rarer_steps.window),
    (1, rarer_steps.spread),
    (1, rarer_steps.statistics),
    (2, rarer_steps.choose),
    (1, rarer_steps.view),
    (1, rarer_steps.plus_constants),
    (1, rarer_steps.slices_of_one),
    (1, rarer_steps.transposed_gemm),
    (4, signs.signed),
)
WEIGHTED = tuple(step for weight, step in STEPS for _ in range(weight))
LINEAR = (steps.gemm, steps.matmul, steps.conv, steps.conv, steps.deconv, rarer_steps.quantized)
PRODUCTS = (*LINEAR, signs.signed, signs.signed)
IMAGES = ((4, 4, 4, 4), (4, 4, 5, 5), (4, 6, 6, 6), (4, 3, 6, 6))
INPUTS = ((4, 3), (4, 4), (4, 3, 4), (4, 4, 4), *IMAGES)


def _sequence(b: Builder, count: int) -> Iterator[Step]:
    """Steps such that affines meet every op with a product on at least one side of them."""
    for number in range(count):
        ends = number in (0, count - 1)
        yield b.pick(PRODUCTS if ends and b.chance(50) else WEIGHTED)
        if b.chance(45):
            yield b.pick((steps.norm, steps.affine, steps.affine))


def random_model(chooser: Chooser, opset: int | None = None) -> onnx.ModelProto:
    """A valid model of 2 to 12 ops with one input "x" of batch 4.

    Half of them are in float64 at opset 18, where the reference is sharpest; the others are of any
    type and opset, and may lie in a branch, a loop or a function, or have constants that a caller
    may override.
    """
    shape = INPUTS[chooser.integer(0, len(INPUTS) - 1)]
    rng = np.random.default_rng(chooser.integer(0, 2**31))
    batch: str | int = "N" if chooser.integer(0, 1) else 4
    plain = chooser.integer(0, 1) == 0
    kind, version = "double", 18
    if not plain:
        version = chooser.integer(7, NEWEST)
        kind = ("double", "float", "float", "float16", "bfloat16")[chooser.integer(0, 4)]
        version = max(version, BFLOAT16_SINCE) if kind == "bfloat16" else version
    version = version if opset is None else opset
    b = Builder(chooser, rng, batch, version, kind)
    current = Value("x", shape, kind)
    b.values.append(current)
    for step in _sequence(b, chooser.integer(2, 9)):
        start = current if b.chance(90) else b.pick(b.values)
        b.dtype = start.dtype
        new = step(b, start)
        if new is not None and np.prod(new.shape) <= 2000:
            current = new
    outputs = [current]
    if b.chance(15):
        outputs.append(b.pick(b.values))
    model = _model(b, shape, kind, outputs)
    return model if plain else framed(model, chooser)


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


def _model(b: Builder, shape: tuple[int, ...], kind: str, outputs: list[Value]) -> onnx.ModelProto:
    if outputs[0].name == "x":
        b.dtype = kind
        outputs[0] = b.add("Identity", ["x"], shape)
    if b.chance(90):
        _prune(b, [v.name for v in outputs])
    unique = {v.name: v for v in outputs if v.name != "x"}
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("x", _element(kind), [b.batch, *shape[1:]])],
        [
            helper.make_tensor_value_info(v.name, _element(v.dtype), [b.batch, *v.shape[1:]])
            for v in unique.values()
        ],
        b.initializers,
    )
    versions = [helper.make_opsetid("", b.opset)]
    return helper.make_model(graph, opset_imports=versions, ir_version=8 if b.opset < 21 else 10)


def _element(kind: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(DTYPES[kind]))
