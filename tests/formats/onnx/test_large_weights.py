"""Weights that are large or lie beside the model: computed slice by slice, when written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto

from bnfold.core.diagnostics import Reason
from bnfold.formats.onnx.fold import fold_model
from bnfold.formats.onnx.open import open_onnx
from bnfold.formats.onnx.save import save_onnx
from tests.formats.onnx.support.build import Norm, Positive, feeds_of, model
from tests.formats.onnx.support.check import (
    assert_same,
    assert_settled,
    assert_well_formed,
    fold,
    left_in,
    reasons,
    run_float64,
    run_onnxruntime,
)

SIZE = 300  # 90,000 elements: above the size that is computed at once


def _gemm_norm(dtype: str = "float", **weights: object) -> ModelProto:
    return model(
        "h = Gemm<transB=1>(x, W, b)  y = BN(h, a)",
        f"T[2,{SIZE}] x",
        dtype=dtype,
        **{"W": (SIZE, SIZE), "b": (SIZE,), "a": Norm(SIZE), **weights},
    )


@pytest.mark.parametrize(
    ("nodes", "inputs", "weights"),
    [
        ("h = Gemm<transB=1>(x, W, b)  y = BN(h, a)", "T[2,300] x", {"W": (SIZE, SIZE)}),
        ("h = BN(x, a)  y = Gemm(h, W, b)", "T[2,300] x", {"W": (SIZE, SIZE)}),
        ("h = Gather(W, i)  g = Mul(h, s)  y = Add(g, b)", "int64[4] i", {"W": (SIZE, SIZE)}),
        (
            "h = ConvTranspose<group=2>(x, W)  y = BN(h, a)",
            "T[1,200,3,3] x",
            {"W": (200, 150, 2, 2), "b": (1,)},
        ),
        ("h = MatMul(x, W)  y = Mul(h, s)", "T[2,3,4,60] x", {"W": (3, 60, SIZE)}),
    ],
    ids=["rows", "columns", "table", "grouped", "batch"],
)
def test_a_large_kernel_is_what_the_algebra_says(
    nodes: str, inputs: str, weights: dict[str, tuple[int, ...]]
) -> None:
    extra = {"b": (SIZE,), "a": Norm(SIZE), "s": (SIZE,), **weights}
    proto = model(nodes, inputs, dtype="double", **extra)
    result, folded = fold(proto)
    assert result.kept == ()
    assert_well_formed(proto, folded)
    assert_settled(proto, folded, None)
    feeds = feeds_of(proto)
    assert_same(run_float64(proto, feeds), run_float64(folded, feeds))


def test_a_large_kernel_that_would_overflow_stays() -> None:
    weights = {"W": np.full((SIZE, SIZE), 300.0)}
    proto = model(
        "h = Gemm(x, W, b)  y = Mul(h, s)",
        f"T[2,{SIZE}] x",
        dtype="float16",
        b=(SIZE,),
        s=np.where(np.arange(SIZE) == 7, 400.0, 1.5),
        **weights,
    )
    result, folded = fold(proto)
    assert left_in(folded) == "Gemm Mul"
    assert f"backward {Reason.OVERFLOW.code}" in reasons(result.kept)


def test_half_precision_is_rounded_once() -> None:
    proto = model(
        "h = MatMul(x, W)  y = Mul(h, s)",
        f"T[2,{SIZE}] x",
        dtype="float16",
        W=(SIZE, SIZE),
        s=Positive((SIZE,)),
    )
    given = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    _, folded = fold(proto)
    (kernel,) = folded.graph.initializer
    exact = given["W"].astype(np.float64) * given["s"].astype(np.float64)
    assert np.array_equal(onnx.numpy_helper.to_array(kernel), exact.astype(np.float16))


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    proto = _gemm_norm()
    path = tmp_path / "model.onnx"
    beside = ModelProto()
    beside.CopyFrom(proto)
    onnx.save_model(
        beside, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    opened = open_onnx(path)
    result = fold_model(opened)
    assert left_in(ir.to_proto(result.model)) == "Gemm"
    target = tmp_path / "out" / "folded.onnx"
    target.parent.mkdir()
    save_onnx(result.model, target)
    feeds = feeds_of(proto)
    folded = onnx.load(str(target))
    assert_same(run_onnxruntime(proto, feeds), run_onnxruntime(folded, feeds))
    beside_or_within = [
        {t.name: onnx.numpy_helper.to_array(t).tobytes() for t in model_.graph.initializer}
        for model_ in (folded, fold(proto)[1])
    ]
    assert beside_or_within[0] == beside_or_within[1]


def test_the_original_is_not_touched() -> None:
    proto = _gemm_norm()
    original = ir.from_proto(proto)
    before = ir.to_proto(original).SerializeToString()
    ir.to_proto(fold_model(original).model)
    assert ir.to_proto(original).SerializeToString() == before
