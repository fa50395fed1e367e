"""Whole models: live and from both file formats, by both generations of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert
from tests.convert import zoo
from tests.convert.direct import kinds
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx

_KINDS = {**zoo.KINDS, **kinds.KINDS}
# float16 has 11 bits; sums of some dozens of products lose a few of them.
RELATIVE = {"mixed_float16": 6e-3, "float64": 1e-14}


def inputs_of(model: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = []
    for tensor in model.inputs:
        sizes = [d or (5 if axis == 0 else 8 + axis) for axis, d in enumerate(tensor.shape)]
        dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
        if dtype.startswith(("int", "uint")):
            arrays.append(rng.integers(0, 7, sizes).astype(dtype))
        else:
            arrays.append(rng.normal(0.3, 1, sizes).astype(dtype))
    return arrays


@pytest.mark.parametrize("kind", _KINDS)
def test_kind(keras: Any, kind: str, tmp_path: Path) -> None:
    """Every way in gives what Keras gives."""
    model = zoo.randomize(_KINDS[kind](keras))
    arrays = inputs_of(model)
    want = run_keras(model, arrays)
    relative = RELATIVE.get(kind, 1e-5)
    sources: list[Any] = [model]
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        sources.append(path)
    for source in sources:
        converted = convert(source)
        assert_equal(run_onnx(converted.model, arrays), want, relative)


@pytest.mark.parametrize("opset", [13, 14, 21, 25])
@pytest.mark.parametrize("kind", ["residual", "free_time", "conv_mixed", "mixed_float16"])
def test_opset(keras3: Any, kind: str, opset: int) -> None:
    model = zoo.randomize(_KINDS[kind](keras3))
    arrays = inputs_of(model)
    converted = convert(model, opset=opset)
    assert converted.model.opset_imports[""] == opset
    relative = RELATIVE.get(kind, 1e-5)
    assert_equal(run_onnx(converted.model, arrays), run_keras(model, arrays), relative)
