"""Evaluation in float64: memory, hooks, roads, and the noise that rounding makes."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.dataflow import UNIT_ROUNDOFF, rounding_of
from bnfold.verify.evaluate import BudgetError, EvaluationError, Float64Model
from bnfold.verify.noise import Perturbed, jiggle
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.tally import OutputTally, Spread, Ulps, ulp_distance
from tests.verify.pairs import conv, mlp


def text(
    body: str, interface: str = "(float[N, 4] x) => (float[N, 4] y)", weights: str = ""
) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> m {interface} {weights} {{ {body} }}'
    )


X = np.random.default_rng(0).normal(size=(3, 4))


def test_an_output_left_out_is_no_operand_left_out() -> None:
    """Both have the empty name: the states of one LSTM start another, neither's Y is read."""
    rng = np.random.default_rng(1)
    model = text(
        " , h, c = LSTM <hidden_size: int = 2> (x, w, r)"
        "  , y = LSTM <hidden_size: int = 2> (x, w, r, , , h, c)",
        "(float[T, N, 4] x, float[1, 8, 4] w, float[1, 8, 2] r) => (float[1, N, 2] y)",
    )
    shapes = {"x": (5, 3, 4), "w": (1, 8, 4), "r": (1, 8, 2)}
    feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    (want,) = Session(model).run(feeds).values()
    np.testing.assert_allclose(Float64Model(model).run(feeds)["y"], want, rtol=1e-5)


def test_float32_constants_count_exactly_and_nothing_is_rounded() -> None:
    model = text("y = Mul (x, w)", weights="<float[4] w = {0.1, 0.2, 0.3, 0.4}>")
    weights = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32).astype(np.float64)
    np.testing.assert_array_equal(Float64Model(model).run({"x": X})["y"], X * weights)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # scan outputs are stacked, carried values pass, and the body reads the outer scope
        (
            "n = Constant <value_int: int = 3> ()  c = Constant <value_int: int = 1> ()"
            "  t = Cast <to: int = 9> (c)  z = Sub (x, x)"
            "  last, all = Loop (n, t, z) <body = b (int64 i, bool k, float[N, 4] v)"
            " => (bool kk, float[N, 4] w, float[N, 4] s)"
            " { kk = Identity (k)  w = Add (v, x)  s = Identity (w) }>"
            "  y = ReduceSum (all, zero)",
            lambda x: (6 * x)[None],
        ),
        (
            "z = ReduceMax <axes: ints = [0], keepdims: int = 0> (x)"
            "  last, all = Scan <num_scan_inputs: int = 1, scan_output_directions: ints = [1],"
            " body = b (float[4] v, float[4] e) => (float[4] w, float[4] s)"
            " { w = Add (v, e)  s = Identity (w) }> (z, x)  y = Identity (all)",
            lambda x: (x.max(axis=0) + np.cumsum(x, axis=0))[::-1],
        ),
    ],
)
def test_loops(body: str, expected: object) -> None:
    model = text(body, "(float[N, 4] x) => (float[A, B, C] y)", "<int64[1] zero = {0}>")
    given = Float64Model(model).run({"x": X})["y"]
    np.testing.assert_allclose(given, expected(X), rtol=1e-14)  # type: ignore[operator]


def test_hooks_see_and_replace_constants_and_values() -> None:
    model = text(
        "c = Constant <value: tensor = float {2}> ()  h = Mul (x, w)  y = Mul (h, c)",
        weights="<float[4] w = {1, 2, 3, 4}>",
    )
    seen: dict[str, list[str]] = {"constant": [], "value": []}

    def constant(name: str, array: np.ndarray) -> np.ndarray:
        seen["constant"].append(name)
        return array * 10

    def value(name: str, array: np.ndarray) -> np.ndarray:
        seen["value"].append(name)
        return array + 1 if name == "h" else array

    out = Float64Model(model).run({"x": X}, constant=constant, value=value)["y"]
    assert seen == {"constant": ["c", "w"], "value": ["h", "y"]}
    np.testing.assert_allclose(out, (X * [10, 20, 30, 40] + 1) * 20)


def test_values_are_dropped_after_their_last_use() -> None:
    """Of a long chain only two values are alive at a time."""
    import gc
    import weakref

    body = "  ".join(f"v{i + 1} = Neg (v{i})" for i in range(20))
    model = text(f"v0 = Neg (x)  {body}  y = Neg (v20)")
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def value(name: str, array: np.ndarray) -> np.ndarray:
        nonlocal most
        kept = array.copy()
        alive.append(weakref.ref(kept))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        return kept

    Float64Model(model).run({"x": X}, value=value)
    assert most <= 3


def test_a_deadline_stops_it() -> None:
    with pytest.raises(BudgetError):
        Float64Model(text("y = Neg (x)")).run({"x": X}, deadline=time.monotonic() - 1)


def test_an_op_that_nobody_knows_is_named() -> None:
    model = text("h = com.example.Thing (x)  y = Neg (h)")
    model.graph.opset_imports["com.example"] = 1
    model.graph.node(0).name = "the_thing"
    with pytest.raises(EvaluationError, match=r"com\.example::Thing 'the_thing'"):
        Float64Model(model).run({"x": X})


def test_overridable_initializers_can_be_fed() -> None:
    model = text(
        "y = Mul (x, w)",
        "(float[N, 4] x, float[4] w) => (float[N, 4] y)",
        "<float[4] w = {1, 2, 3, 4}>",
    )
    run = Float64Model(model).run
    np.testing.assert_array_equal(run({"x": X})["y"], X * [1, 2, 3, 4])
    np.testing.assert_array_equal(run({"x": X, "w": np.ones(4)})["y"], X)


def test_the_runtime_says_why_it_does_not_run() -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        Session(text("y = com.example.Thing (x)"))
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeUnavailableError):
        Session(text("y = Neg (x)")).run({"x": np.ones((2, 5), np.float32)})


def test_weights_in_files_of_their_own_are_loaded(tmp_path: Path) -> None:
    pair = mlp(1)
    ir.save(pair.original, tmp_path / "model.onnx", external_data="weights.bin")
    model = ir.load(tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    inline = Session(pair.original).run({"x": x})["y"]
    np.testing.assert_array_equal(Session(model).run({"x": x})["y"], inline)
    np.testing.assert_allclose(Float64Model(model).run({"x": x})["y"], inline, rtol=1e-5)


def test_large_models_go_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(2, 20)).astype(np.float32)
    inline = Session(mlp(1).original).run({"x": x})["y"]
    monkeypatch.setattr("bnfold.verify.runtime._IN_MEMORY", 1000)
    np.testing.assert_array_equal(Session(mlp(1).original).run({"x": x})["y"], inline)


# ------------------------------------------------------------------ rounding


def test_only_what_depends_on_data_rounds() -> None:
    """A size computed in floating point must not be moved: it would change shapes."""
    model = text(
        "s = Shape (x)  f = Cast <to: int = 1> (s)  g = Mul (f, two)  i = Cast <to: int = 7> (g)"
        "  h = Expand (row, i)  k = MatMul (x, W)  r = Relu (k)  y = Add (r, b)",
        "(float[N, 4] x) => (float[N, 4] y, float[A, B] h)",
        "<float two = {1}, float[4] row = {1,2,3,4}, float[4, 4] W = "
        "{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float[4] b = {1,2,3,4}>",
    )
    rounding = rounding_of(model)
    assert set(rounding.constants) == {"W", "b"}
    assert set(rounding.values) == {"k", "y"}  # Relu rounds nothing
    assert rounding.coarsest == UNIT_ROUNDOFF[ir.DataType.FLOAT]


def test_each_value_rounds_as_its_own_type() -> None:
    model = text(
        "h = Cast <to: int = 10> (x)  k = Mul (h, a)  y = Cast <to: int = 1> (k)  z = Mul (y, b)",
        "(float[N, 4] x) => (float[N, 4] y, float[N, 4] z)",
        "<float16[4] a = {1,2,3,4}, float[4] b = {1,2,3,4}>",
    )
    model.graph.node(1).outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    rounding = rounding_of(model)
    assert rounding.constants == {"a": 2.0**-11, "b": 2.0**-24}
    assert rounding.values["k"] == 2.0**-11 and rounding.values["z"] == 2.0**-24


def test_jiggle_moves_every_element_by_about_one_rounding() -> None:
    ones = np.ones(10_000)
    moved = np.abs(jiggle(ones, 1e-6, np.random.default_rng(0)) - 1) / 1e-6
    assert moved.min() > 0.49 and moved.max() < 1.51
    integers = np.arange(3)
    assert jiggle(integers, 1e-6, np.random.default_rng(0)) is integers


@pytest.mark.parametrize("make", [mlp, conv])
def test_the_noise_is_of_the_size_of_the_runtimes_error(make: object) -> None:
    """What rounding does in onnxruntime lies within a small factor of the measured noise."""
    model = make(3).original  # type: ignore[operator]
    shape = [d if isinstance(d, int) else 8 for d in model.graph.inputs[0].shape.dims]
    feed = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    exact = Float64Model(model)
    still = exact.run(feed)["y"]
    noisy = Perturbed(exact, rounding_of(model))
    rng = np.random.default_rng(2)
    noise = np.sqrt(np.mean([(noisy.run(feed, rng)["y"] - still) ** 2 for _ in range(8)]))
    error = np.sqrt(np.mean((Session(model).run(feed)["y"] - still) ** 2))
    assert 0.05 < error / noise < 1.5
    finer = np.sqrt(np.mean((noisy.run(feed, rng, level=2.0**-34)["y"] - still) ** 2))
    assert finer == pytest.approx(noise * 2.0**-10, rel=0.5)


# ------------------------------------------------------------------ tallies


def test_spread_of_huge_and_tiny_differences() -> None:
    spread = Spread()
    spread.add(np.array([[3e200, 4e200]]), 0)
    assert spread.rms == pytest.approx(np.sqrt(12.5) * 1e200)
    spread.add(np.zeros(0), 1)
    assert (spread.largest, spread.where, spread.feed) == (4e200, (0, 1), 0)
    assert Spread().rms == 0.0


def test_ulps_count_representable_numbers() -> None:
    one = np.array([1.0, -1.0, 0.0, -0.0], dtype=np.float32)
    np.testing.assert_array_equal(ulp_distance(one, np.nextafter(one, np.float32(9))), [1, 1, 1, 1])
    np.testing.assert_array_equal(ulp_distance(one[2:3], one[3:4]), [0])
    half = np.array([1.0], dtype=np.float16)
    assert ulp_distance(half, half + np.float16(2**-8)) == [4]
    ulps = Ulps()
    ulps.add(one, one)
    ulps.add(half, half + np.float16(2**-8))
    assert ulps.quantile(0.5) == 0 and ulps.quantile(1.0) == ulps.largest == 4


def test_faults_are_only_the_candidates_own() -> None:
    tally = OutputTally("y")
    base, other = np.array([1.0, np.nan, np.inf, 2.0]), np.array([1.0, np.nan, np.inf, 2.5])
    tally.compare("pair", base, other, 0, report=True)
    assert not tally.faults and tally.spread("pair").largest == 0.5
    tally.compare("pair", base[:1], np.array([np.nan]), 1, report=False)
    assert not tally.faults
    tally.compare("pair", [base[:1]], [base[:1], base[:1]], 2, report=True)
    assert [fault.title for fault, _, _ in tally.faults] == ["result-shape"]


def test_discrete_results_are_counted() -> None:
    tally = OutputTally("y")
    tally.compare("pair", np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0, report=True)
    tally.compare("pair", np.array(["a"], object), np.array(["b"], object), 0, report=True)
    assert tally.share("pair") == 0.4 and tally.share("noise") == 0.0


def test_a_cast_to_a_smaller_type_rounds() -> None:
    model = text("h = Cast <to: int = 10> (x)  y = Cast <to: int = 1> (h)")
    assert rounding_of(model).values == {"h": 2.0**-11}
    integers = text("h = Cast <to: int = 7> (x)  y = Cast <to: int = 1> (h)")
    assert rounding_of(integers).values == {}
