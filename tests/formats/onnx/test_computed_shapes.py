"""Shapes that the graph computes: each dim that is told is the dim that a run has."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.core.moves import Shape
from bnfold.formats.onnx.computed_shapes import (
    complete_shapes,
    completed,
    reshaped,
    shape_of,
)
from bnfold.formats.onnx.shapes import scratch_copy
from tests.formats.onnx.support.build import feeds_of, model
from tests.formats.onnx.support.check import run_float64

_ONES = {"o": [1], "z": [0], "m": [-1], "t": [2], "i": np.array(0), "k": np.array(1)}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("N", 3, 4), ("N", None), ("N", 12)),
        (("N", 3, 4), (None, 12), ("N", 12)),
        (("N", 3, 4), (None, 6), (None, 6)),
        (("N", 3, 4), (None, None), (None, None)),
        (("N", 3, "H"), ("N", None), ("N", None)),
        (("N", 3, "H"), ("N", None, "H"), ("N", 3, "H")),
        (("N", "N", 4), ("N", None), ("N", None)),
        (("N", 4), ("N", "N", None), ("N", "N", None)),
        ((None, 3, 4), ("N", None), ("N", None)),
        ((2, 3, 4), (5, None), (5, None)),
        ((2, 3, 4), ("unk__0", 6), (4, 6)),
        ((0, 3), (None, 3), (0, 3)),
    ],
)
def test_the_size_that_is_left(before: Shape, after: Shape, expected: Shape) -> None:
    assert completed(before, after) == expected


def test_zeros_copy_and_minus_one_is_left() -> None:
    assert reshaped(("N", 3, 4), (0, -1)) == ("N", 12)
    assert reshaped(("N", 3, 4), (0, 0, 2, 2)) == ("N", 3, 2, 2)
    assert reshaped((0, 3), (0, 3), zero=True) == (0, 3)


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("s = Shape(x)  a = Slice(s, z, o, z)  r = Concat<axis=0>(a, m)", ("N", 12)),
        ("s = Shape(x)  a = Slice(s, z, t, z)  r = Concat<axis=0>(a, m)", ("N", 3, 4)),
        ("s = Shape(x)  a = Gather(s, o)  r = Concat<axis=0>(m, a)", (None, 3)),
        ("s = Shape(x)  a = Slice(s, m, e, z)  r = Concat<axis=0>(z, m, a)", ("N", 3, 4)),
        ("s = Shape(x)  a = Gather(s, t)  b = Mul(a, o)  r = Concat<axis=0>(m, b)", (None, 4)),
        ("s = Shape(x)  a = Gather(s, t)  b = Div(a, t)  r = Concat<axis=0>(z, m, b)", ("N", 6, 2)),
        ("s = Shape(x)  a = Gather(s, o)  b = Add(a, o)  r = Concat<axis=0>(m, b)", (None, 4)),
        ("s = Shape(x)  c = Cast<to=6>(s)  d = Cast<to=7>(c)  r = Identity(d)", ("N", 3, 4)),
    ],
)
def test_a_computed_target_is_followed(opset: int, target: str, expected: Shape) -> None:
    used = {k: v for k, v in (_ONES | {"e": [9]}).items() if f"{k})" in target or f"{k}," in target}
    proto = model(
        f"{target}  h = Reshape(x, r)  y = Relu(h)",
        "T[N,3,4] x",
        "T[" + ",".join("?" for _ in expected) + "] y",
        opset=opset,
        **used,  # type: ignore[arg-type]
    )
    scratch = scratch_copy(ir.from_proto(proto))
    told = shape_of(scratch.graph.node(len(scratch.graph) - 1).outputs[0])
    assert told is not None
    known = tuple(dim if isinstance(dim, int) or dim == "N" else None for dim in told)
    assert known == expected
    (result,) = run_float64(proto, feeds_of(proto))
    for dim, size in zip(told, result.shape, strict=True):
        assert not isinstance(dim, int) or dim == size


@pytest.mark.parametrize(
    ("attributes", "rank"), [("start=1", 2), ("start=-1", 1), ("end=2", 2), ("start=1, end=2", 1)]
)
def test_a_part_of_a_shape(attributes: str, rank: int) -> None:
    proto = model(
        f"r = Shape<{attributes}>(x)  h = ConstantOfShape(r)  k = Expand(w, r)  g = Reshape(k, r)"
        "  y = Relu(g)",
        "T[2,3,4] x",
        f"T[{','.join('?' * rank)}] y",
        w=(1,),
    )
    subject = ir.from_proto(proto)
    complete_shapes(subject.graph)  # alone: onnx follows this one itself
    (result,) = run_float64(proto, feeds_of(proto))
    assert shape_of(subject.graph.node(3).outputs[0]) == result.shape
