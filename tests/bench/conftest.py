"""Small models for the measurement's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

Builder = Callable[..., ir.Model]


def dense_bn(*, batch: int | str | None = "N", width: int = 8, seed: int = 0) -> ir.Model:
    """x [batch, width] -> Gemm -> BatchNormalization -> y, with random statistics."""
    rng = np.random.default_rng(seed)
    x = ir.Value(
        name="x",
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape([batch, width]),
    )
    arrays = {
        "w": rng.standard_normal((width, width)),
        "b": rng.standard_normal(width),
        "gamma": np.array([0.0, *rng.standard_normal(width - 1)]),
        "beta": rng.standard_normal(width),
        "mean": rng.standard_normal(width),
        "var": rng.uniform(0.1, 3, width),
    }
    constants = {
        name: ir.Value(name=name, const_value=ir.tensor(array.astype(np.float32), name=name))
        for name, array in arrays.items()
    }
    gemm = ir.node("Gemm", [x, constants["w"], constants["b"]], name="gemm")
    norm = ir.node(
        "BatchNormalization",
        [gemm.outputs[0], *(constants[name] for name in ("gamma", "beta", "mean", "var"))],
        name="bn",
    )
    norm.outputs[0].name = "y"
    norm.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x],
        [norm.outputs[0]],
        nodes=[gemm, norm],
        initializers=list(constants.values()),
        opset_imports={"": 17},
        name="g",
    )
    return ir.Model(graph, ir_version=8)


@pytest.fixture
def build() -> Builder:
    return dense_bn


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    ir.save(dense_bn(), path)
    return path


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def feeds_file(tmp_path: Path) -> Path:
    path = tmp_path / "inputs.npz"
    np.savez(path, **{"0": np.ones((2, 8), np.float32)})
    return path
