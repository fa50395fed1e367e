"""Constants that decide what an op does, and values that no input reaches: no rounding there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import bnfold
from bnfold.verify.dataflow import rounding_of
from bnfold.verify.evaluate import Float64Model
from bnfold.verify.running_error import NoBoundError, error_bounds
from tests.formats.onnx.support.build import Norm, model

_NORMALIZED = (
    "m = ReduceMean<axes=[-1]>(x)  d = Sub(x, m)  p = Pow(d, two)  v = ReduceMean<axes=[-1]>(p)"
    "  e = Add(v, eps)  q = Sqrt(e)  n = Div(d, q)  g = Mul(n, ga)  h = Add(g, be)"
    "  y = Gemm(h, W, b)"
)


def test_a_layer_normalization_by_parts_verifies() -> None:
    """Moved by its rounding, the exponent 2 would make a NaN of every negative number."""
    proto = model(
        _NORMALIZED,
        "T[N,4] x",
        dtype="float",
        two=2.0,
        eps=1e-5,
        ga=(4,),
        be=(4,),
        W=(4, 3),
        b=(3,),
    )
    result = bnfold.fold(proto)
    assert len(result.folds) == 1
    assert result.verification is not None and result.verification.passed


@pytest.mark.parametrize(
    ("nodes", "exact"),
    [
        ("h = Pow(x, c)  y = Mul(h, d)", {"c"}),
        ("h = Pow(x, c)  y = Mul(h, c)", {"c"}),
        ('y = Resize<mode="linear">(x, , c)', {"c"}),
        ("h = Add(x, c)  y = Mul(h, d)", set()),
    ],
)
def test_constants_that_steer_are_not_rounded(nodes: str, exact: set[str]) -> None:
    weights = {"c": np.array([1.0, 2.0]), "d": 3.0}
    used = {name: value for name, value in weights.items() if f" {name})" in nodes}
    proto = model(nodes, "T[2,2] x", dtype="float", **used)  # type: ignore[arg-type]
    assert set(used) - set(rounding_of(ir.from_proto(proto)).constants) == exact


def test_a_value_that_no_input_reaches_has_no_bound() -> None:
    proto = model("z = Mul(c, c)  y = Add(x, z)", "T[3] x", "y, z", c=(3,))
    with pytest.raises(NoBoundError, match="'z' is the same for every input"):
        error_bounds(Float64Model(ir.from_proto(proto)), {"x": np.ones(3)}, 2.0**-24)


@pytest.mark.parametrize(
    "nodes",
    [
        "V = Div(W, s)  h = MatMul(x, V)  y = BN(h, a)",
        "q = Mul(W, W)  n = ReduceSum(q, i)  r = Sqrt(n)  u = Div(W, r)  V = Mul(u, g)"
        "  h = Gemm(x, V, b)  y = BN(h, a)",
    ],
    ids=["divided", "normalized"],
)
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_weights_that_the_graph_computes_are_rounded_once(nodes: str, dtype: str) -> None:
    weights = {"s": 2.7, "g": (3,), "b": (3,), "i": [0]}
    used = {k: v for k, v in weights.items() if f", {k})" in nodes}
    proto = model(nodes, "T[N,4] x", dtype=dtype, W=(4, 3), a=Norm(3), **used)  # type: ignore[arg-type]
    result = bnfold.fold(proto)
    assert not result.kept
    assert result.verification is not None and result.verification.passed
