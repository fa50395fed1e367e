"""Interfaces: every kind of difference has its own code."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from bnfold.verify.codes import Fault
from bnfold.verify.interface import check_interface, feedable, required
from bnfold.verify.types import Status

BASE = "float[N, 4] x, int64[M] i", "float[N, 3] y, float[N] z"


def model(inputs: str, outputs: str, *, version: int = 8, weights: str = "") -> ir.Model:
    text = (
        f'<ir_version: {version}, opset_import: ["" : 17]> m ({inputs}) => ({outputs}) {weights}'
        " { unused = Constant <value_int: int = 1> () }"
    )
    return ir.from_onnx_text(text)


def codes(before: tuple[str, str], after: tuple[str, str]) -> list[str]:
    checks = check_interface(model(*before), model(*after))
    return [check.code for check in checks if check.status is Status.FAILED]


@pytest.mark.parametrize(
    ("inputs", "outputs", "fault"),
    [
        (BASE[0], "float[N, 3] y", Fault.MISSING_OUTPUT),
        (BASE[0], BASE[1] + ", float[N] more", Fault.EXTRA_OUTPUT),
        (BASE[0], "float[N, 3] y, float[N] other", Fault.RENAMED_OUTPUT),
        (BASE[0], "float[N] z, float[N, 3] y", Fault.OUTPUT_ORDER),
        (BASE[0], "float[N, 3] y, float16[N] z", Fault.OUTPUT_TYPE),
        (BASE[0], "float[N, 4] y, float[N] z", Fault.OUTPUT_SHAPE),
        (BASE[0], "float[N, 3, 1] y, float[N] z", Fault.OUTPUT_SHAPE),
        ("float[N, 4] x", BASE[1], Fault.MISSING_INPUT),
        (BASE[0] + ", float w", BASE[1], Fault.EXTRA_INPUT),
        ("float[N, 4] x, int64[M] j", BASE[1], Fault.RENAMED_INPUT),
        ("int64[M] i, float[N, 4] x", BASE[1], Fault.INPUT_ORDER),
        ("float[N, 4] x, int32[M] i", BASE[1], Fault.INPUT_TYPE),
        ("float[N, 5] x, int64[M] i", BASE[1], Fault.INPUT_SHAPE),
        ("float[1, 4] x, int64[M] i", BASE[1], Fault.INPUT_SHAPE),
    ],
)
def test_each_difference_has_its_code(inputs: str, outputs: str, fault: Fault) -> None:
    assert codes(BASE, (inputs, outputs)) == [fault.code]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        BASE,
        ("float[batch, 4] x, int64[K] i", BASE[1]),  # other symbols
        (BASE[0], "float[7, 3] y, float[N] z"),  # an output's size became known
    ],
)
def test_what_callers_cannot_notice_is_no_difference(inputs: str, outputs: str) -> None:
    assert codes(BASE, (inputs, outputs)) == []


def test_several_differences_are_all_reported() -> None:
    found = codes(BASE, ("float[N, 5] x, int64[M] i", "float[N, 3] y"))
    assert found == [Fault.INPUT_SHAPE.code, Fault.MISSING_OUTPUT.code]


def test_an_overridable_initializer_is_an_input_that_must_stay() -> None:
    weights = "<float[2] w = {1, 2}>"
    before = model("float[N, 4] x, float[2] w", "float[N] y", weights=weights)
    after = model("float[N, 4] x", "float[N] y", weights=weights)
    assert [v.name for v in required(before)] == ["x"]
    assert [v.name for v in feedable(before)] == ["x", "w"]
    (check,) = check_interface(before, after)
    assert check.code == Fault.MISSING_INPUT.code


def test_an_initializer_of_ir_version_3_is_no_input() -> None:
    weights = "<float[2] w = {1, 2}>"
    before = model("float[N, 4] x, float[2] w", "float[N] y", version=3, weights=weights)
    after = model("float[N, 4] x", "float[N] y", weights=weights)
    (check,) = check_interface(before, after)
    assert check.status is Status.PASSED


def test_codes_are_unique_and_explained() -> None:
    codes = [fault.code for fault in Fault]
    assert len(set(codes)) == len(codes)
    for fault in Fault:
        assert fault.code == f"BNV{fault.number}" and 100 <= fault.number < 200
        assert fault.why.endswith(".") and fault.hint.endswith(".")
        assert fault.title == fault.title.lower() and " " not in fault.title
