"""`bnfold.verify` and `bnfold.benchmark` on pairs of models, whoever made them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bnfold
from bnfold import api
from bnfold.core.errors import InputError
from bnfold.report.model import ReportKind
from tests.cli.conftest import dense_bn
from tests.report import samples


def scaled(model: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    """A copy in which the first column of one initializer is scaled."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            array = numpy_helper.to_array(tensor).copy()
            array[..., 0] *= np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return copy


def test_a_model_and_its_fold_are_equivalent(rng: np.random.Generator) -> None:
    model = dense_bn(rng)
    assert bnfold.verify(model, bnfold.fold(model, verify=False).model).passed


def test_a_scaled_kernel_column_is_not(rng: np.random.Generator) -> None:
    model = dense_bn(rng)
    assert not bnfold.verify(model, scaled(model, "W", 1.001)).passed


def test_given_inputs_are_used(rng: np.random.Generator) -> None:
    model = dense_bn(rng)
    inputs = rng.normal(size=(7, 5)).astype(np.float32)
    for form in (inputs, [inputs], {"x": inputs}):
        verification = bnfold.verify(model, model, inputs=form)
        assert verification.passed
        assert verification.samples == 7


def test_inputs_of_the_wrong_name_are_refused(rng: np.random.Generator) -> None:
    model = dense_bn(rng)
    with pytest.raises(InputError):
        bnfold.verify(model, model, inputs={"wrong": np.zeros((1, 5), np.float32)})


def test_a_comparison_as_a_report(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    seen: list[object] = []

    def measured(*args: object, **kwargs: object) -> object:
        seen.append(kwargs)
        return samples.BENCHMARK

    monkeypatch.setattr(api, "benchmark_opened", measured)
    model = dense_bn(rng)
    report = api.compare(model, model, verify=True)
    assert report.kind is ReportKind.VERIFY
    assert report.passed
    assert report.benchmark is None
    report = api.compare(model, model, benchmark=True, benchmark_options={"threads": 2})
    assert report.kind is ReportKind.BENCH
    assert report.benchmark is samples.BENCHMARK
    assert seen == [{"inputs": None, "threads": 2}]


def test_a_benchmark_measures_both(rng: np.random.Generator) -> None:
    model = dense_bn(rng)
    figures = bnfold.benchmark(
        model, bnfold.fold(model, verify=False).model, budget_seconds=0.5, batches=(2,)
    )
    assert [item.batch for item in figures.comparisons] == [2]
    assert figures.baseline_nodes == 4
    assert figures.candidate_nodes < 4
