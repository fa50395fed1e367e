"""``bnfold diff A B``."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.report.jsonform import schema
from tests.cli.conftest import Bnfold
from tests.cli.test_usage import one_line


def changed(path: Path, name: str, factor: float) -> Path:
    """A copy in which one weight is scaled."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    target = path.with_name("changed.onnx")
    onnx.save(model, target)
    return target


def test_no_difference_is_exit_0(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold("diff", foldable, foldable)
    assert (done.code, done.err) == (0, "")
    assert done.out == "no difference: same interface, nodes and weights\n"


def test_a_difference_is_shown_and_exit_1(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold("diff", foldable, changed(foldable, "W", 1.5))
    assert (done.code, done.err) == (1, "")
    assert "the interface is the same" in done.out
    assert "1 weight changed" in done.out
    assert "W FLOAT[5, 4]" in done.out


def test_a_fold_is_shown(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> None:
    folded = tmp_path / "folded.onnx"
    assert bnfold(foldable, "-o", folded, "--no-verify", "--no-bench", "-q").code == 0
    done = bnfold("diff", foldable, folded)
    assert done.code == 1
    assert "BatchNormalization: 1 -> 0" in done.out
    assert "  - BatchNormalization bn" in done.out


@pytest.mark.parametrize("factor", [1.0, 1.5, np.inf, np.nan])
def test_json_is_valid_whatever_the_figures(bnfold: Bnfold, foldable: Path, factor: float) -> None:
    done = bnfold("diff", foldable, changed(foldable, "W", factor), "--json")
    data = json.loads(done.out, parse_constant=lambda word: pytest.fail(word))
    jsonschema.Draft202012Validator(schema("diff")).validate(data)
    assert data["is_empty"] is (factor == 1.0)
    assert done.code == (0 if factor == 1.0 else 1)
    assert data["interface_changed"] is False


def test_an_interface_that_changed_is_said(bnfold: Bnfold, foldable: Path) -> None:
    model = onnx.load(foldable)
    model.graph.input[0].name = model.graph.node[0].input[0] = "renamed"
    other = foldable.with_name("other.onnx")
    onnx.save(model, other)
    done = bnfold("diff", foldable, other, "--json")
    data = json.loads(done.out)
    jsonschema.Draft202012Validator(schema("diff")).validate(data)
    assert (done.code, data["interface_changed"]) == (1, True)
    assert "input removed: x" in bnfold("diff", foldable, other).out


def test_an_unusable_model_is_exit_2(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold("diff", foldable, foldable.with_name("gone.onnx"))
    assert (done.code, one_line(done)) == (2, True)
