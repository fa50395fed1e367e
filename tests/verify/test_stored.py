"""Stored constants against the unrounded ones: half a unit of the last place, no more."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.codes import Fault
from bnfold.verify.stored import check_stored
from bnfold.verify.types import Status
from tests.verify.pairs import FAMILIES, Pair, mlp


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_constants_rounded_once_pass(family: str, dtype: type) -> None:
    pair = FAMILIES[family](1, dtype=dtype)
    check = check_stored(pair.folded, pair.exact)
    assert check.status is Status.PASSED and check.unit == "ulp"
    assert check.figure == 0 if dtype is np.float64 else 0.3 < check.figure <= 0.5


def changed(pair: Pair, name: str, array: np.ndarray) -> Pair:
    pair.folded.graph.initializers[name].const_value = ir.Tensor(array, name=name)
    return pair


@pytest.mark.parametrize("steps", [1, 3])
def test_the_next_number_fails(steps: int) -> None:
    pair = mlp(1)
    array = pair.folded.graph.initializers["W1"].const_value.numpy().copy()
    for _ in range(steps):
        array[2, 3] = np.nextafter(array[2, 3], np.float32(9))
    check = check_stored(changed(pair, "W1", array).folded, pair.exact)
    assert (check.status, check.code, check.where) == (Status.FAILED, Fault.WEIGHTS.code, "W1")
    assert steps - 0.5 <= check.figure <= steps + 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_lost_numbers_and_other_shapes_fail(value: float) -> None:
    pair = mlp(1)
    array = pair.folded.graph.initializers["B1"].const_value.numpy().copy()
    array[0] = value
    assert check_stored(changed(pair, "B1", array).folded, pair.exact).figure == np.inf
    assert check_stored(changed(pair, "B1", array[:3]).folded, pair.exact).figure == np.inf


def test_small_numbers_are_counted_in_steps_of_their_own() -> None:
    """Below the smallest normal number all steps are alike; bfloat16 has eight digits."""

    def pair(dtype: type, stored: list[float], exact: list[float]) -> float:
        def model(array: np.ndarray) -> ir.Model:
            value = ir.Value(name="w", const_value=ir.Tensor(array, name="w"))
            graph = ir.Graph([], [], nodes=[], initializers=[value], name="g")
            return ir.Model(graph, ir_version=8)

        check = check_stored(
            model(np.array(stored).astype(dtype)), model(np.array(exact, dtype=np.float64))
        )
        assert check.figure is not None
        return check.figure

    assert pair(np.float16, [2.0**-24], [1.4 * 2.0**-24]) == pytest.approx(0.4)
    assert pair(np.float16, [0.0], [0.0]) == 0
    assert pair(ml_dtypes.bfloat16, [1.0], [1 + 2.0**-9]) == pytest.approx(0.25)
    assert pair(np.float32, [np.nan], [np.nan]) == 0


def test_constants_without_a_counterpart_are_not_judged() -> None:
    pair = mlp(1)
    other = ir.Model(ir.Graph([], [], nodes=[], name="empty"), ir_version=8)
    assert check_stored(pair.folded, other).status is Status.SKIPPED
