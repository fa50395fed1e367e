"""Running the command line within the test's process, and small models to run it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from bnfold.cli.main import run


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Bnfold = Callable[..., Done]


@pytest.fixture
def bnfold(capsys: pytest.CaptureFixture[str]) -> Bnfold:
    """Runs a command: ``bnfold("model.onnx", "-o", path)``."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def dense_bn(rng: np.random.Generator, *, elu_between: bool = False) -> onnx.ModelProto:
    """Gemm (-> Elu) -> BatchNormalization -> Softmax with statistics that can expose a bug.

    With the Elu between, the normalization can go nowhere: Softmax stands behind it.
    """
    between = "h = Elu(g)" if elu_between else "h = Identity(g)"
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]>
        net (float[batch, 5] x) => (float[batch, 4] y) {{
            g = Gemm(x, W, b)
            {between}
            n = BatchNormalization<epsilon: float = 0.001>(h, gamma, beta, mean, var)
            y = Softmax<axis: int = -1>(n)
        }}
    """)
    gamma = rng.normal(size=4)
    gamma[1] = 0.0
    weights = {
        "W": rng.normal(size=(5, 4)),
        "b": rng.normal(size=4),
        "gamma": gamma,
        "beta": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "var": rng.uniform(0.1, 3.0, size=4),
    }
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    names = ["dense", "act", "bn", "softmax"]
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    onnx.checker.check_model(model)
    return model


@pytest.fixture
def foldable(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A model whose only affine folds."""
    path = tmp_path / "foldable.onnx"
    onnx.save(dense_bn(rng), path)
    return path


@pytest.fixture
def stuck(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A model whose only affine stays."""
    path = tmp_path / "stuck.onnx"
    onnx.save(dense_bn(rng, elu_between=True), path)
    return path
