"""Fused ops stand for the ops that they are short for, and for no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.proof import Proof, ProofStatus, prove
from bnfold.verify.proof.certificate import certificate
from tests.verify.proof.cases import conv_scaled
from tests.verify.proof.nets import Array, Net, Norm, norm, normal, rounded

MICROSOFT = {"domain": "com.microsoft"}
# An activation as an op of its own, and as a fused op's settings, in order.
ACTIVATIONS: dict[str, dict[str, float]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "LeakyRelu": {"alpha": 0.3},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Clip": {"min": -0.5, "max": 2.0},
    "Elu": {"alpha": 0.7},
}


def model(net: Net) -> ir.Model:
    made = net.model()
    made.graph.opset_imports["com.microsoft"] = 1
    return made


def proof_of(original: Net, fused: Net) -> Proof:
    return prove(model(original), model(fused))


def assert_proved(original: Net, fused: Net) -> None:
    proof = proof_of(original, fused)
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes, proof.outputs)


def activated(net: Net, name: str, x: str, y: str) -> Net:
    settings = ACTIVATIONS[name]
    if name != "Clip":
        return net.add(name, x, y, **settings)
    net.const(low=np.float32(settings["min"]), high=np.float32(settings["max"]))
    return net.add("Clip", f"{x} low high", y)


def conv_net(rng: np.random.Generator) -> tuple[Array, Array, Norm, Array]:
    return normal(rng, 4, 3, 3, 3), normal(rng, 4), norm(rng, 4), normal(rng, 5, 4)


def tail(net: Net, head: Array) -> Net:
    """What follows has to know the rank of what the fused op gives."""
    net.add("GlobalAveragePool", "a", "p").add("Flatten", "p", "f").const(head=head)
    return net.add("MatMul", "f head", "z").output("z", ["N", 5])


def plain_conv(parts: tuple[Array, Array, Norm, Array], name: str) -> Net:
    w, b, bn, head = parts
    net = Net().input("x", ["N", 3, 8, 8]).const(w=w, b=b)
    net.add("Conv", "x w b", "h", name="conv", pads=[1, 1, 1, 1])
    bn.node(net, "h", "n")
    return tail(activated(net, name, "n", "a"), head.T.copy())


def fused_conv(
    parts: tuple[Array, Array, Norm, Array], name: str, scale: float = 1.0, **settings: Any
) -> Net:
    w, b, bn, head = parts
    net = Net().input("x", ["N", 3, 8, 8])
    net.const(w=rounded(conv_scaled(w, bn.scale) * scale), b=rounded(b * bn.scale + bn.shift))
    params = list(ACTIVATIONS.get(name, {}).values())
    given = {"activation_params": params} if params else {}
    given |= {"activation": name, "pads": [1, 1, 1, 1], **settings}
    net.add("FusedConv", "x w b", "a", name="conv", **given, **MICROSOFT)
    return tail(net, head.T.copy())


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "Elu"])
def test_fused_conv(name: str) -> None:
    parts = conv_net(np.random.default_rng(0))
    assert_proved(plain_conv(parts, name), fused_conv(parts, name))
    wrong = proof_of(plain_conv(parts, name), fused_conv(parts, name, scale=1 + 1e-4))
    assert wrong.status is ProofStatus.REFUTED
    assert wrong.refutations[0].op == "conv" or "conv" in wrong.refutations[0].holders


@pytest.mark.parametrize(
    ("name", "params"),
    [("Clip", [-0.5, 2.1]), ("LeakyRelu", [0.31]), ("HardSigmoid", [0.3, 0.5]), ("Relu", None)],
)
def test_another_setting_is_refuted(name: str, params: list[float] | None) -> None:
    parts = conv_net(np.random.default_rng(1))
    settings = {"activation_params": params} if params else {"activation": "Tanh"}
    proof = proof_of(plain_conv(parts, name), fused_conv(parts, name, **settings))
    assert proof.status is ProofStatus.REFUTED, (proof.outputs, proof.notes)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "Clip"])
def test_fused_gemm(name: str) -> None:
    rng = np.random.default_rng(2)
    w, b, bn = normal(rng, 6, 8), normal(rng, 8), norm(rng, 8)
    plain = Net().input("x", ["N", 6]).const(w=w, b=b).add("Gemm", "x w b", "h", name="fc")
    bn.node(plain, "h", "n")
    activated(plain, name, "n", "z").output("z", ["N", 8])

    def fused(factor: float) -> Net:
        made = Net().input("x", ["N", 6])
        made.const(w=rounded(w * bn.scale * factor).T.copy(), b=rounded(b * bn.scale + bn.shift))
        given = {f"activation_{key}": value for key, value in ACTIVATIONS[name].items()}
        given |= {"activation": name, "transB": 1}
        made.add("FusedGemm", "x w b", "z", name="fused fc", **given, **MICROSOFT)
        return made.output("z", ["N", 8])

    assert_proved(plain, fused(1.0))
    assert proof_of(plain, fused(1 + 1e-4)).status is ProofStatus.REFUTED


def test_a_sum_within_a_fused_conv() -> None:
    rng = np.random.default_rng(3)
    w, b = normal(rng, 4, 4, 1, 1), normal(rng, 4)
    plain = Net().input("x", ["N", 4, 5, 5]).const(w=w, b=b).add("Conv", "x w b", "h")
    plain.add("Add", "h x", "s").add("Relu", "s", "z").output("z", ["N", 4, 5, 5])
    fused = Net().input("x", ["N", 4, 5, 5]).const(w=w, b=b)
    fused.add("FusedConv", "x w b x", "z", activation="Relu", **MICROSOFT)
    assert_proved(plain, fused.output("z", ["N", 4, 5, 5]))


def test_a_fused_matmul_transposes_and_scales() -> None:
    rng = np.random.default_rng(4)
    w = normal(rng, 8, 6)
    plain = Net().input("x", ["N", 3, 6]).const(w=rounded(w.T * np.float64(0.5)))
    plain.add("MatMul", "x w", "z").output("z", ["N", 3, 8])
    fused = Net().input("x", ["N", 3, 6]).const(w=w)
    fused.add("FusedMatMul", "x w", "z", transB=1, alpha=0.5, **MICROSOFT)
    assert_proved(plain, fused.output("z", ["N", 3, 8]))


def gelu(net: Net, x: str, y: str) -> Net:
    """As exporters spell it."""
    net.const(root=np.float32(np.sqrt(2)), one=np.float32(1), half=np.float32(0.5))
    net.add("Div", f"{x} root", "d").add("Erf", "d", "e").add("Add", "e one", "r")
    return net.add("Mul", f"{x} r", "t").add("Mul", "t half", y)


@pytest.mark.parametrize("op", ["Gelu", "BiasGelu", "QuickGelu"])
def test_gates(op: str) -> None:
    rng = np.random.default_rng(5)
    b = normal(rng, 6)
    plain, fused = (Net().input("x", ["N", 6]) for _ in range(2))
    if op == "QuickGelu":
        plain.add("Sigmoid", "x", "s").add("Mul", "x s", "z")
        fused.add(op, "x", "z", alpha=1.0, **MICROSOFT)
    elif op == "Gelu":
        gelu(plain, "x", "z")
        fused.add(op, "x", "z", **MICROSOFT)
    else:
        gelu(plain.const(b=b).add("Add", "x b", "s"), "s", "z")
        fused.const(b=b).add(op, "x b", "z", **MICROSOFT)
    for net in (plain, fused):
        net.output("z", ["N", 6])
    assert_proved(plain, fused)


def test_what_is_not_known_stays_as_it_is() -> None:
    """An activation that nobody knows is equal to itself alone."""
    parts = conv_net(np.random.default_rng(6))
    one, other = fused_conv(parts, "Bend"), fused_conv(parts, "Bow")
    assert_proved(one, one)
    assert proof_of(one, other).status is not ProofStatus.PROVED


def test_a_certificate_speaks_of_values_that_the_models_have() -> None:
    parts = conv_net(np.random.default_rng(7))
    models = model(plain_conv(parts, "Relu")), model(fused_conv(parts, "Relu"))
    proof = prove(*models)
    content = certificate(proof, *models)
    names = [{v.name for node in m.graph for v in node.outputs} for m in models]
    assert content["relations"]
    for relation in content["relations"]:
        assert relation["original"] in names[0] and relation["folded"] in names[1]
    assert content["folds"][0]["targets"] == ["conv"]
    assert content["folds"][0]["sources"] == ["bn"]


def test_no_name_is_taken_twice() -> None:
    """A value that is called as a part of the fused op would be is not mixed up with it."""
    rng = np.random.default_rng(8)
    w = normal(rng, 4, 4)
    net = Net().input("x", ["N", 4]).const(w=w).add("Transpose", "x", "z#Gemm", perm=[1, 0])
    net.add("FusedGemm", "x w", "z", activation="Relu", **MICROSOFT).add("Tanh", "z#Gemm", "y")
    net.output("z", ["N", 4]).output("y", [4, "N"])
    plain = Net().input("x", ["N", 4]).const(w=w).add("Transpose", "x", "t", perm=[1, 0])
    plain.add("Gemm", "x w", "h").add("Relu", "h", "z").add("Tanh", "t", "y")
    assert_proved(plain.output("z", ["N", 4]).output("y", [4, "N"]), net)
