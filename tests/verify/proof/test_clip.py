"""Clip and HardSigmoid: an affine passes with the bounds, and with no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bnfold.verify.proof import Proof, ProofStatus, prove
from tests.verify.proof.cases import conv_scaled
from tests.verify.proof.nets import Array, Net, Norm, norm, normal, rounded

CHANNELS = 6


@dataclass
class Weights:
    """Two convolutions and the BN before them."""

    bn: Norm
    w: Array
    b: Array
    v: Array
    c: Array


def weights(seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    bn = norm(rng, CHANNELS)
    w, v = normal(rng, CHANNELS, 3, 3, 3), normal(rng, 4, CHANNELS, 3, 3)
    return Weights(bn, w, normal(rng, CHANNELS), v, normal(rng, 4))


def head(net: Net, kernel: Array, bias: Array) -> Net:
    """A padded convolution, which passes no shift, and a Tanh."""
    net.const(v=kernel, c=bias).add("Conv", "a v c", "y", name="second", pads=[1, 1, 1, 1])
    return net.add("Tanh", "y", "z").output("z", ["N", 4, 6, 6])


def stem(kernel: Array, bias: Array, name: str = "h") -> Net:
    net = Net().input("x", ["N", 3, 8, 8]).const(w=kernel, b=bias)
    return net.add("Conv", "x w b", name, name="first")


def hard_swish_net(u: Weights) -> Net:
    """Conv, BN, then x * clip(x + 3, 0, 6) / 6 spelled out, as converters do."""
    net = stem(u.w, u.b)
    u.bn.node(net, "h", "n")
    net.const(three=np.float32(3), low=np.float32(0), six=np.float32(6), sixth=np.float32(1 / 6))
    net.add("Add", "n three", "m").add("Clip", "m low six", "k").add("Mul", "k sixth", "g")
    return head(net.add("Mul", "n g", "a", name="gate"), u.v, u.c)


def hard_swish_fold(u: Weights, *, width: float = 6.0, low: float = 0.0) -> Net:
    """The BN is in the first convolution, the sixth in the second."""
    net = stem(rounded(conv_scaled(u.w, u.bn.scale)), rounded(u.b * u.bn.scale + u.bn.shift), "n")
    net.const(three=np.float32(3), low=np.float32(low), six=np.float32(width))
    net.add("Add", "n three", "m").add("Clip", "m low six", "k")
    net.add("Mul", "n k", "a", name="gate")
    return head(net, rounded(u.v.astype(np.float64) * np.float32(1 / 6)), u.c)


def two_sided(u: Weights, low: float, high: float) -> Net:
    net = stem(u.w, u.b).const(low=np.float32(low), high=np.float32(high), s=np.float32(2.5))
    net.add("Clip", "h low high", "k", name="clip").add("Mul", "k s", "a", name="scale")
    return head(net, u.v, u.c)


def two_sided_fold(u: Weights, low: float, high: float, factor: float = 2.5) -> Net:
    net = stem(rounded(u.w * np.float64(factor)), rounded(u.b * np.float64(factor)))
    net.const(low=np.float32(low), high=np.float32(high))
    return head(net.add("Clip", "h low high", "a", name="clip"), u.v, u.c)


def refuted(proof: Proof, *named: str) -> None:
    assert proof.status is ProofStatus.REFUTED, (proof.outputs, proof.notes)
    assert proof.refutations[0].op in named, proof.refutations


@pytest.mark.parametrize("seed", range(3))
def test_a_hard_swish_net_is_proved(seed: int) -> None:
    u = weights(seed)
    proof = prove(hard_swish_net(u).model(), hard_swish_fold(u).model())
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    assert proof.max_ulps <= 0.5001


@pytest.mark.parametrize(
    "wrong", [{"width": 6.001}, {"width": 1.0}, {"low": -0.5}], ids=["width", "unscaled", "low"]
)
def test_a_hard_swish_net_with_another_bound_is_refuted(wrong: dict[str, float]) -> None:
    u = weights(0)
    proof = prove(hard_swish_net(u).model(), hard_swish_fold(u, **wrong).model())
    refuted(proof, "k_op")
    assert "bound" in proof.refutations[0].reason


@pytest.mark.parametrize("seed", range(3))
def test_the_sixth_goes_into_the_bounds(seed: int) -> None:
    """clip(x + 3, 0, 6) / 6 = clip(x / 6 + 1 / 2, 0, 1) = HardSigmoid(x)."""
    u = weights(seed)
    sixth = np.float64(np.float32(1 / 6))
    kernel, bias = conv_scaled(u.w, u.bn.scale), u.b * u.bn.scale + u.bn.shift
    gate = stem(rounded(kernel * sixth), rounded(bias * sixth + 3 * sixth), "m")
    gate.const(k=rounded(kernel), d=rounded(bias), low=np.float32(0), one=np.float32(1))
    gate.add("Conv", "x k d", "n", name="again").add("Clip", "m low one", "g")
    head(gate.add("Mul", "n g", "a", name="gate"), u.v, u.c)
    whole = stem(rounded(kernel), rounded(bias), "n")
    whole.add("HardSigmoid", "n", "g", alpha=1 / 6, beta=0.5)
    head(whole.add("Mul", "n g", "a", name="gate"), u.v, u.c)
    short = stem(rounded(kernel), rounded(bias), "n").add("HardSwish", "n", "a")
    head(short, u.v, u.c)
    for net in (gate, whole, short):
        proof = prove(hard_swish_net(u).model(), net.model())
        assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    off = stem(rounded(kernel), rounded(bias), "n").add("HardSigmoid", "n", "g", alpha=0.2)
    head(off.add("Mul", "n g", "a", name="gate"), u.v, u.c)
    assert prove(hard_swish_net(u).model(), off.model()).status is ProofStatus.REFUTED


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.0, 6.0), (0.5, np.inf), (-np.inf, 1.0)])
def test_bounds_go_with_the_scale(low: float, high: float) -> None:
    u = weights(1)
    original = two_sided(u, low, high).model()
    right = two_sided_fold(u, low * 2.5, high * 2.5)
    assert prove(original, right.model()).status is ProofStatus.PROVED
    wrong = [(low, high), (low * 2.5 + 1e-3, high * 2.5), (low * 2.5, high * 2.5 - 1e-3)]
    for bounds in wrong:
        if bounds != (low * 2.5, high * 2.5):
            refuted(prove(original, two_sided_fold(u, *bounds).model()), "clip")


def test_a_falling_scale_swaps_the_bounds() -> None:
    u = weights(2)
    original = two_sided(u, -1.0, 2.0).const(s=np.float32(-2.5)).model()
    proof = prove(original, two_sided_fold(u, -5.0, 2.5, -2.5).model())
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    refuted(prove(original, two_sided_fold(u, -2.5, 5.0, -2.5).model()), "clip")


def test_bounds_are_compared_within_their_rounding() -> None:
    u = weights(3)
    original = two_sided(u, -1.0, 0.3).model()
    exact = np.float32(np.float64(np.float32(0.3)) * 2.5)
    near = float(exact + 3 * np.spacing(exact))
    proof = prove(original, two_sided_fold(u, -2.5, near).model())
    assert proof.status is ProofStatus.PROVED
    assert proof.max_ulps <= 4.0
    far = float(exact) * (1 + 1e-5)
    refuted(prove(original, two_sided_fold(u, -2.5, far).model()), "clip")


def test_the_largest_number_is_no_bound() -> None:
    """Converters write it where there is none; no fold scales it."""
    u = weights(4)
    largest = float(np.finfo(np.float32).max)
    original = two_sided(u, 0.0, largest).model()
    assert prove(original, two_sided_fold(u, 0.0, largest).model()).status is ProofStatus.PROVED
    assert prove(original, two_sided_fold(u, 0.0, np.inf).model()).status is ProofStatus.PROVED


def test_channels_of_both_signs_and_none() -> None:
    """Behind the BN some channels fall and one is constant: the bounds stay as they are."""
    u = weights(5)
    original = stem(u.w, u.b).const(low=np.float32(-0.5), high=np.float32(1))
    u.bn.node(original, "h", "n").add("Clip", "n low high", "a", name="clip")
    head(original, u.v, u.c)

    def folded(low: float, high: float) -> Net:
        net = stem(
            rounded(conv_scaled(u.w, u.bn.scale)), rounded(u.b * u.bn.scale + u.bn.shift), "n"
        ).const(low=np.float32(low), high=np.float32(high))
        return head(net.add("Clip", "n low high", "a", name="clip"), u.v, u.c)

    assert u.bn.gamma.min() < 0 < u.bn.gamma.max() and not u.bn.gamma.all()
    proof = prove(original.model(), folded(-0.5, 1.0).model())
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    refuted(prove(original.model(), folded(-0.5, 1.0001).model()), "clip")
    refuted(prove(original.model(), folded(-1.0, 0.5).model()), "clip")


def test_bounds_as_attributes_are_the_same() -> None:
    u = weights(6)
    older = Net(10).input("x", ["N", 3, 8, 8]).const(w=u.w, b=u.b)
    older.add("Conv", "x w b", "h", name="first").add("Clip", "h", "a", min=0.0, max=6.0)
    head(older, u.v, u.c)
    newer = stem(u.w, u.b).const(low=np.float32(0), high=np.float32(6))
    head(newer.add("Clip", "h low high", "a"), u.v, u.c)
    assert prove(older.model(), newer.model()).status is ProofStatus.PROVED


@pytest.mark.parametrize("bounds", [("2", "1"), ("nan", "1")], ids=["crossed", "nan"])
def test_bounds_that_are_none_say_nothing(bounds: tuple[str, str]) -> None:
    """What a Clip does with them is not carried through an affine, nor called a fault."""
    u = weights(7)
    low, high = map(float, bounds)
    original = two_sided(u, low, high).model()
    assert prove(original, original).status is ProofStatus.PROVED
    fold = two_sided_fold(u, low * 2.5, high * 2.5).model()
    assert prove(original, fold).status is ProofStatus.UNKNOWN


def test_computed_bounds_are_equal_values() -> None:
    def net(bound: str) -> Net:
        made = Net().input("x", ["N", 4]).input("t", []).const(low=np.float32(0))
        made.add("Abs", "t", "t2").add("Exp", "t", "t3")
        return made.add("Clip", f"x low {bound}", "z", name="clip").output("z", ["N", 4])

    assert prove(net("t2").model(), net("t2").model()).status is ProofStatus.PROVED
    assert prove(net("t2").model(), net("t3").model()).status is not ProofStatus.PROVED
