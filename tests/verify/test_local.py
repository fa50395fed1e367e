"""Each rewritten part on its own, and the rounding bounds it is judged by."""

from __future__ import annotations

import math
import time

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.bounds import Measure, gamma
from bnfold.verify.channels import ChannelCheck
from bnfold.verify.codes import Fault
from bnfold.verify.evaluate import Float64Model
from bnfold.verify.inputs import generate_inputs
from bnfold.verify.local import Ground, check_local, find_ground, matters
from bnfold.verify.prepare import prepare
from bnfold.verify.running_error import ROWS, NoBoundError, error_bounds
from bnfold.verify.runtime import Session
from bnfold.verify.types import Check, Status
from tests.verify.pairs import FAMILIES, Graph, Pair, mlp

U32 = 2.0**-24


def ground_of(pair: Pair) -> Ground:
    prepared = prepare(pair.original, pair.folded, None, None)
    feeds = generate_inputs(pair.original, samples=12)
    found = find_ground(prepared, feeds, 1e-4, seed=0, deadline=time.monotonic() + 60)
    assert isinstance(found, Ground)
    return found


def checks_of(pair: Pair) -> list[Check]:
    return check_local(ground_of(pair), seed=0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("family", FAMILIES)
def test_right_parts_stay_far_within_both_bounds(family: str, dtype: type, seed: int) -> None:
    runtime, channels = checks_of(FAMILIES[family](seed, dtype=dtype))
    for check in (runtime, channels):
        assert check.status is Status.PASSED and check.figure is not None
        assert 0 < check.figure < 0.7, check


def nudged(pair: Pair, factor: float) -> Pair:
    """One kernel column multiplied: an error too small to be seen at the outputs."""
    kernel = pair.folded.graph.initializers["W1"]
    assert kernel.const_value is not None
    array = kernel.const_value.numpy().astype(np.float64)
    array[:, int(np.abs(array).sum(axis=0).argmax())] *= factor
    kernel.const_value = ir.Tensor(array.astype(np.float32), name="W1")
    return pair


def test_an_error_of_a_few_roundings_in_one_column_is_found_by_its_channel() -> None:
    runtime, channels = checks_of(nudged(mlp(1), 1 + 2e-6))
    assert runtime.status is Status.PASSED
    assert channels.code == Fault.CONSTANTS.code and channels.where == "gemm_n1"


def test_an_error_of_half_a_rounding_is_not() -> None:
    _, channels = checks_of(nudged(mlp(1), 1 + 3e-8))
    assert channels.status is Status.PASSED


def test_a_difference_that_is_mended_later_does_not_count() -> None:
    """The second product's inputs are scaled by nearly one, and the third takes that back."""
    pair = mlp(1)
    factor = 1 + 8e-7
    for name, scale in (("W1", factor), ("B1", factor), ("W2", 1 / factor)):
        value = pair.folded.graph.initializers[name]
        array = value.const_value.numpy() * np.float32(scale)
        value.const_value = ir.Tensor(array.astype(np.float32), name=name)
    ground = ground_of(pair)
    parts, _ = ground.parts()
    second = next(part for part in parts if part.output[1] == "n1")
    share = ChannelCheck(second, ground.values(parts), np.random.default_rng(0)).share()
    assert share > 1 and not matters(ground, second)
    assert all(check.status is Status.PASSED for check in check_local(ground, seed=0))


def test_without_time_or_parts_the_check_is_skipped_with_the_reason() -> None:
    same = mlp(1)
    (check,) = checks_of(Pair(same.original, same.original.clone(), same.exact))
    assert check.status is Status.SKIPPED and "no part was rewritten" in check.detail
    prepared = prepare(same.original, same.folded, None, None)
    feeds = generate_inputs(same.original)
    late = find_ground(prepared, feeds, 10.0, seed=0, deadline=time.monotonic())
    assert late == "not within the time budget"
    (check,) = check_local(late, seed=0)
    assert check.status is Status.SKIPPED


# ------------------------------------------------------------------ bounds


def test_gamma_lies_between_one_rounding_and_the_worst_case() -> None:
    for n in (1, 10, 1000, 100_000):
        worst = n * U32 / (1 - n * U32)
        assert gamma(n, U32) >= U32
        if n >= 100:
            assert gamma(n, U32) < worst / 2
    assert gamma(100, U32, failure=1e-9) > gamma(100, U32)
    factor = math.sqrt(2 * math.log(2 / 1e-2))
    assert gamma(400, U32) == pytest.approx(factor * 20 * U32, rel=1e-3)


@pytest.mark.parametrize(
    ("figure", "bound", "holds"),
    [(1.0, 1.0, True), (1.1, 1.0, False), (0.0, 0.0, True), (math.nan, 1.0, False)],
)
def test_a_measure_holds_up_to_its_bound(figure: float, bound: float, holds: bool) -> None:
    assert Measure(figure, bound, "", "").holds is holds


def test_excess_of_a_bound_of_zero() -> None:
    assert Measure(0.0, 0.0, "", "").excess == 0
    assert Measure(1e-30, 0.0, "", "").excess == math.inf


BODIES = {
    "Gemm": "y = Gemm <alpha: float = -0.5, beta: float = 2.0> (x, W, b)",
    "MatMul": "y = MatMul (x, W)",
    "BatchNormalization": "y = BatchNormalization (x, b, c, d, v)",
    "Softmax": "y = Softmax (x)",
    "Tanh": "y = Tanh (x)",
    "Elu": "y = Elu (x)",
    "chain": "h = Gemm (x, W, b)  r = Relu (h)  s = Mul (r, c)  t = Sub (s, d)  y = Div (t, v)",
    "moves": "t = Transpose (x)  u = MatMul (W, t)  y = Concat <axis: int = 0> (u, t)",
    "averages": "h = MatMul (x, W)  y = ReduceMean <axes: ints = [1]> (h)",
    "sum": "h = MatMul (x, W)  y = Sum (h, x, c)",
}


@pytest.mark.parametrize("name", BODIES)
def test_bounds_hold_and_are_not_idle(name: str) -> None:
    """The runtime's float32 error never exceeds the bound, and comes near it at times."""
    rng = np.random.default_rng(5)
    size = 64
    shares = []
    for _ in range(5):
        graph = (
            f'<ir_version: 8, opset_import: ["" : 17]> m (float[N, {size}] x) => (float[A, B] y)'
            f" {{ {BODIES[name]} }}"
        )
        model = ir.from_onnx_text(graph)
        arrays = {"W": rng.normal(size=(size, size)), "v": rng.uniform(0.1, 3, size)}
        arrays |= {k: rng.normal(size=size) for k in "bcd"}
        used = {v.name for node in model.graph for v in node.inputs if v is not None}
        for key, array in arrays.items():
            if key in used:
                value = next(
                    v for n in model.graph for v in n.inputs if v is not None and v.name == key
                )
                value.const_value = ir.Tensor(array.astype(np.float32), name=key)
                value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(array.shape)
                model.graph.register_initializer(value)
        feed = {"x": rng.normal(size=(8, size)).astype(np.float32)}
        truth = Float64Model(model).run(feed)["y"]
        bound = error_bounds(Float64Model(model), feed, U32)["y"]
        error = np.abs(Session(model, optimize=False).run(feed)["y"] - truth)
        assert bound.shape == truth.shape
        assert not error[bound == 0].any()
        shares.append(float((error[bound > 0] / bound[bound > 0]).max()))
    assert 0.002 < max(shares) <= 1.0, shares


def test_ops_without_a_row_have_no_bound() -> None:
    graph = Graph()
    graph.op("Exp", "x", to="y")
    model = graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})
    assert "Exp" not in ROWS
    with pytest.raises(NoBoundError, match="Exp"):
        error_bounds(Float64Model(model), {"x": np.ones((1, 4))}, U32)
