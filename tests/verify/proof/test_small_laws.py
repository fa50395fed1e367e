"""Laws of ops that pass a scale in ways of their own: right folds proved, wrong ones not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnfold.verify.proof import ProofStatus, prove
from tests.verify.proof.nets import Net, normal, rounded

Build = Callable[[np.random.Generator, float], tuple[Net, Net]]


def start(*names: str, opset: int = 21) -> Net:
    net = Net(opset)
    for name in names:
        net.input(name, ["N", 4])
    return net


def reciprocal_of_a_constant(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """c / x * s = (c s) / x."""
    c, s = normal(rng, 4), normal(rng, 4)
    one = start("x").const(c=c, s=s).add("Exp", "x", "e").add("Div", "c e", "d")
    two = start("x").const(c=rounded(c.astype(np.float64) * s * fault)).add("Exp", "x", "e")
    return one.add("Mul", "d s", "y"), two.add("Div", "c e", "y")


def reciprocal_of_a_scale(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """1 / (s x) = (1 / s) / x."""
    s = rng.uniform(0.5, 2.0, 4).astype(np.float32)
    one = start("x").const(s=s).add("Exp", "x", "e").add("Mul", "e s", "d")
    two = start("x").const(s=rounded(fault / s.astype(np.float64))).add("Exp", "x", "e")
    two.add("Reciprocal", "e", "d").add("Mul", "d s", "y")
    return one.add("Reciprocal", "d", "y"), two


def mean_of_two(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """A shift of one operand counts by half."""
    t = normal(rng, 4)
    one = start("x", "u").const(t=t).add("Add", "x t", "s").add("Mean", "s u", "y")
    two = start("x", "u").const(t=rounded(t / 2 * fault)).add("Mean", "x u", "m")
    return one, two.add("Add", "m t", "y")


def norm_of_rows(op: str) -> Build:
    def build(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
        """A norm passes the size of a scale and not its sign."""
        s = np.float32(-1.7)
        one, two = (Net(21).input("x", ["N", 4, 5]) for _ in range(2))
        one.const(s=s, axes=np.array([2])).add("Mul", "x s", "d")
        one.add(op, "d axes", "y", keepdims=0)
        two.const(s=np.float32(1.7 * fault), axes=np.array([2])).add(op, "x axes", "d", keepdims=0)
        return one, two.add("Mul", "d s", "y")

    return build


def lp_pool(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """As any norm, with zeros around."""
    s = normal(rng, 4, 1, 1)
    one, two = (Net().input("x", ["N", 4, 6, 6]) for _ in range(2))
    settings = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}
    one.const(s=s).add("Mul", "x s", "d").add("LpPool", "d", "y", **settings)
    two.const(s=rounded(np.abs(s) * np.float64(fault))).add("LpPool", "x", "d", **settings)
    return one, two.add("Mul", "d s", "y")


def where_a_channel_is_constant(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """A scale of 0 leaves two constants to choose from; scale and shift pass there, too."""
    g, t, k = normal(rng, 4), normal(rng, 4), normal(rng, 4)
    g[1] = 0.0
    s, u = normal(rng, 4), normal(rng, 4)
    one, two = (Net().input("x", ["N", 4]).input("c", ["N", 4], np.bool_) for _ in range(2))
    one.const(g=g, t=t, k=k, s=s, u=u).add("Mul", "x g", "a").add("Add", "a t", "b")
    one.add("Where", "c b k", "w").add("Mul", "w s", "v").add("Add", "v u", "y")
    wide = s.astype(np.float64)
    moved = k * wide + u
    moved[1] *= fault
    two.const(g=rounded(g * wide), t=rounded(t * wide + u), k=rounded(moved))
    two.add("Mul", "x g", "a").add("Add", "a t", "b").add("Where", "c b k", "y")
    return one, two


def group_normalization(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """A scale behind it goes into its own."""
    g, b, s = normal(rng, 4), normal(rng, 4), normal(rng, 4, 1)
    one, two = (Net(21).input("x", ["N", 4, 5]) for _ in range(2))
    one.const(g=g, b=b, s=s).add("GroupNormalization", "x g b", "d", num_groups=2)
    wide = s.reshape(-1).astype(np.float64)
    two.const(g=rounded(g * wide * fault), b=rounded(b * wide))
    return one.add("Mul", "d s", "y"), two.add("GroupNormalization", "x g b", "y", num_groups=2)


def gemm_of_values(rng: np.random.Generator, fault: float) -> tuple[Net, Net]:
    """The product of two values takes a shift into its bias."""
    t = normal(rng, 4)
    one, two = (Net().input("x", ["N", 6]).input("w", [6, 4]) for _ in range(2))
    one.const(t=t).add("Gemm", "x w", "h", name="fc").add("Add", "h t", "y")
    two.const(t=rounded(t * np.float64(fault) / 2))
    return one, two.add("Gemm", "x w t", "y", name="fc", beta=2.0)


BUILDS: dict[str, Build] = {
    "constant over": reciprocal_of_a_constant,
    "reciprocal": reciprocal_of_a_scale,
    "mean": mean_of_two,
    "L1": norm_of_rows("ReduceL1"),
    "L2": norm_of_rows("ReduceL2"),
    "LpPool": lp_pool,
    "where": where_a_channel_is_constant,
    "group normalization": group_normalization,
    "gemm of values": gemm_of_values,
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS.keys())
def test_right_is_proved_and_wrong_is_not(build: Build) -> None:
    for fault in (1.0, 1 + 1e-4):
        one, two = build(np.random.default_rng(0), fault)
        for net in (one, two):
            net.add("Tanh", "y", "z").output("z")
        proof = prove(one.model(), two.model())
        if fault == 1.0:
            assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
        else:
            assert proof.status is ProofStatus.REFUTED, (proof.outputs, proof.notes)


def test_a_group_normalization_by_groups_stays_open() -> None:
    """Before version 21 scale and bias are one number per group."""
    rng = np.random.default_rng(1)
    g, b = normal(rng, 2), normal(rng, 2)
    one, two = (Net(20).input("x", ["N", 4, 5]) for _ in range(2))
    one.const(g=g, b=b, s=np.float32(2)).add("GroupNormalization", "x g b", "d", num_groups=2)
    one.add("Mul", "d s", "z").output("z", ["N", 4, 5])
    two.const(g=g * 2, b=b * 2).add("GroupNormalization", "x g b", "z", num_groups=2)
    two.output("z", ["N", 4, 5])
    assert prove(one.model(), one.model()).status is ProofStatus.PROVED
    assert prove(one.model(), two.model()).status is not ProofStatus.REFUTED
