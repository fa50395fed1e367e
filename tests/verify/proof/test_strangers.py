"""Pairs that another tool made: proved where the algebra reaches, else neither way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.proof import ProofStatus, prove
from tests.verify.proof.cases import CASES
from tests.verify.proof.nets import Array, Net, Norm, norm, normal, rounded

WIDTH = 24


def two_gemms(rng: np.random.Generator) -> tuple[Net, Array, Array, Norm]:
    """Two Gemms and a BN with nothing between them, and what they amount to."""
    w, b = normal(rng, WIDTH, WIDTH), normal(rng, WIDTH)
    v, c, bn = normal(rng, WIDTH, WIDTH), normal(rng, WIDTH), norm(rng, WIDTH)
    net = Net().input("x", ["N", WIDTH]).const(w=w, b=b, v=v, c=c)
    net.add("Gemm", "x w b", "g", name="first").add("Gemm", "g v c", "h", name="second")
    bn.node(net, "h", "y").add("Tanh", "y", "z").output("z", ["N", WIDTH])
    wide = v.astype(np.float64)
    return net, (w @ wide) * bn.scale, (b @ wide + c) * bn.scale + bn.shift, bn


def one_gemm(kernel: Array, bias: Array) -> Net:
    net = Net().input("x", ["N", WIDTH]).const(w=rounded(kernel), b=rounded(bias))
    net.add("Gemm", "x w b", "y", name="first").add("Tanh", "y", "z")
    return net.output("z", ["N", WIDTH])


def test_collapsed_products_are_proved_with_their_probability() -> None:
    original, kernel, bias, _ = two_gemms(np.random.default_rng(0))
    proof = prove(original.model(), one_gemm(kernel, bias).model())
    assert proof.status is ProofStatus.PROVED, proof.notes
    assert "probability" in proof.outputs[0].argument


@pytest.mark.parametrize("seed", range(8))
def test_collapsed_products_with_a_fault_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    original, kernel, bias, bn = two_gemms(rng)
    live = rng.choice(np.flatnonzero(bn.gamma))
    kernel[np.abs(kernel[:, live]).argmax(), live] *= 1 + 1e-4
    proof = prove(original.model(), one_gemm(kernel, bias).model())
    assert proof.status is not ProofStatus.PROVED


def test_a_wrong_partner_of_the_same_shape_is_not_called_a_fault() -> None:
    """The collapsed kernel has the name and shape of the first one, and is no multiple of it."""
    original, kernel, bias, _ = two_gemms(np.random.default_rng(1))
    hidden = Net().input("x", ["N", WIDTH]).const(w=rounded(kernel), b=rounded(bias))
    # The product is written as a convolution, which no law compares with a Gemm.
    hidden.const(k=rounded(kernel).T.reshape(WIDTH, WIDTH, 1), three=np.array([0, WIDTH, 1]))
    hidden.add("Reshape", "x three", "x3").add("Conv", "x3 k b", "y3", name="first")
    hidden.const(two=np.array([0, WIDTH])).add("Reshape", "y3 two", "y")
    hidden.add("Tanh", "y", "z").output("z", ["N", WIDTH])
    assert prove(original.model(), hidden.model()).status is ProofStatus.UNKNOWN


def test_a_redundant_activation_may_go() -> None:
    original = Net().input("x", ["N", 4]).add("Relu", "x", "a").add("Relu", "a", "b")
    original.add("Softmax", "b", "z").output("z", ["N", 4])
    shorter = Net().input("x", ["N", 4]).add("Relu", "x", "b", name="a_op")
    shorter.add("Softmax", "b", "z").output("z", ["N", 4])
    assert prove(original.model(), shorter.model()).status is not ProofStatus.REFUTED


def test_transposes_that_undo_each_other_may_go() -> None:
    original = Net().input("x", ["N", 4, 5, 6]).add("Transpose", "x", "a", perm=[0, 2, 3, 1])
    original.add("Transpose", "a", "b", perm=[0, 3, 1, 2]).add("Tanh", "b", "z")
    shorter = Net().input("x", ["N", 4, 5, 6]).add("Tanh", "x", "z")
    for net in (original, shorter):
        net.output("z", ["N", 4, 5, 6])
    assert prove(original.model(), shorter.model()).status is ProofStatus.PROVED


def test_softmax_ignores_a_common_shift() -> None:
    rng = np.random.default_rng(2)
    w = normal(rng, 4, 4)
    shifted = Net().input("x", ["N", 4]).const(w=w, b=np.full(4, 3.0, np.float32))
    shifted.add("Gemm", "x w b", "y", name="fc").add("Softmax", "y", "z").output("z", ["N", 4])
    plain = Net().input("x", ["N", 4]).const(w=w).add("Gemm", "x w", "y", name="fc")
    plain.add("Softmax", "y", "z").output("z", ["N", 4])
    assert prove(shifted.model(), plain.model()).status is not ProofStatus.REFUTED


def test_random_ops_are_no_constants() -> None:
    def net(name: str) -> Net:
        made = Net().input("x", ["N", 4]).add("RandomNormalLike", "x", "r", name=name)
        return made.add("Add", "x r", "z").output("z", ["N", 4])

    assert prove(net("a").model(), net("a").model()).status is ProofStatus.PROVED
    assert prove(net("a").model(), net("b").model()).status is not ProofStatus.PROVED


def test_float32_arithmetic_of_another_tool() -> None:
    """A few roundings instead of one: proved, with the figure that says so."""
    rng = np.random.default_rng(3)
    pair = CASES["conv_bn"](rng)
    bn, w, b = pair.extras["bn"], pair.extras["w"], pair.extras["b"]
    scale = bn.gamma / np.sqrt(bn.var + np.float32(bn.epsilon))
    pair.folded.const(w=w * scale.reshape(-1, 1, 1, 1))
    pair.folded.const(b=rounded(b * bn.scale + bn.shift))
    proof = prove(pair.original.model(), pair.folded.model())
    assert proof.status is ProofStatus.PROVED, (proof.notes, proof.refutations)
    assert 0.5 < proof.max_ulps <= 4.0


@pytest.mark.parametrize("name", ["conv_bn", "grouped_conv_bn", "depthwise_conv_bn"])
def test_folds_and_fusions_of_a_runtime(name: str, tmp_path: Path) -> None:
    """What onnxruntime's offline optimization makes of a net, its own fused ops included."""
    import onnxruntime

    pair = CASES[name](np.random.default_rng(6))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(pair.original.proto().SerializeToString(), options)
    rewritten = ir.load(tmp_path / "optimized.onnx")
    assert any(node.domain == "com.microsoft" for node in rewritten.graph)
    proof = prove(pair.original.model(), rewritten)
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)


def test_out_of_time_is_unknown() -> None:
    pair = CASES["conv_bn"](np.random.default_rng(4))
    proof = prove(pair.original.model(), pair.folded.model(), budget_seconds=0.0)
    assert proof.status is ProofStatus.UNKNOWN
    assert "budget" in proof.notes[0]
