"""`auto_pad` and the pads that it stands for are one and the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnfold.verify.proof import ProofStatus, prove
from tests.verify.proof.nets import Net, normal

# auto_pad, spatial dims, kernel, strides, and the pads that it comes to.
SAME: list[tuple[str, Any, list[int], list[int], list[int]]] = [
    ("SAME_UPPER", [8, 7], [3, 3], [1, 1], [1, 1, 1, 1]),
    ("SAME_UPPER", [8, 7], [3, 3], [2, 2], [0, 1, 1, 1]),
    ("SAME_LOWER", [8, 7], [3, 3], [2, 2], [1, 1, 0, 1]),
    ("SAME_UPPER", [9, 8], [2, 4], [1, 2], [0, 1, 1, 1]),
    ("SAME_LOWER", [9, 9], [2, 2], [1, 1], [1, 1, 0, 0]),
    ("SAME_UPPER", ["H", "W"], [3, 3], [1, 1], [1, 1, 1, 1]),
    ("SAME_UPPER", ["H", "W"], [1, 1], [2, 2], [0, 0, 0, 0]),
    ("SAME_UPPER", [9, 6], [2, 2], [3, 3], [0, 0, 0, 0]),
    ("VALID", ["H", "W"], [3, 3], [2, 2], [0, 0, 0, 0]),
]


def net(op: str, dims: Any, sizes: list[int], **attributes: Any) -> Net:
    made = Net().input("x", ["N", 3, *dims])
    if op == "Conv":
        made.const(w=normal(np.random.default_rng(0), 4, 3, *sizes)).add(
            op, "x w", "y", **attributes
        )
    else:
        made.add(op, "x", "y", kernel_shape=sizes, **attributes)
    return made.add("Relu", "y", "z").output("z")


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
@pytest.mark.parametrize(("auto", "dims", "sizes", "strides", "pads"), SAME)
def test_both_ways_are_one(
    op: str,
    auto: str,
    dims: Any,
    sizes: list[int],
    strides: list[int],
    pads: list[int],
) -> None:
    rest = {"strides": strides}
    one, two = (
        net(op, dims, sizes, auto_pad=auto, **rest),
        net(op, dims, sizes, pads=pads, **rest),
    )
    proof = prove(one.model(), two.model())
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    assert prove(two.model(), one.model()).status is ProofStatus.PROVED
    for place in range(4):
        other = [p + (i == place) for i, p in enumerate(pads)]
        if max(other) < min(sizes):  # what a pool demands
            wrong = net(op, dims, sizes, pads=other, **rest)
            assert prove(one.model(), wrong.model()).status is not ProofStatus.PROVED


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_padding_is_as_the_runtime_pads(op: str) -> None:
    """The table above, held against onnxruntime."""
    import onnxruntime

    rng = np.random.default_rng(1)
    for auto, dims, sizes, strides, pads in SAME:
        if op != "Conv" and max(strides) > min(sizes) and auto != "VALID":
            continue  # the runtime refuses what would be negative pads
        size = [8 if isinstance(dim, str) else dim for dim in dims]
        feed = {"x": normal(rng, 2, 3, *size)}
        rest = {"strides": strides}
        results = []
        for made in (
            net(op, dims, sizes, auto_pad=auto, **rest),
            net(op, dims, sizes, pads=pads, **rest),
        ):
            session = onnxruntime.InferenceSession(made.proto().SerializeToString())
            results.append(session.run(None, feed)[0])
        assert np.array_equal(*results), (auto, dims, sizes, strides)


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_what_depends_on_an_unknown_size_stays_open(op: str) -> None:
    attributes: dict[str, Any] = {"strides": [2, 2]}
    one = net(op, ["H", "W"], [3, 3], auto_pad="SAME_UPPER", **attributes)
    two = net(op, ["H", "W"], [3, 3], pads=[0, 0, 1, 1], **attributes)
    assert prove(one.model(), one.model()).status is ProofStatus.PROVED
    assert prove(one.model(), two.model()).status is not ProofStatus.PROVED


@pytest.mark.parametrize("op", ["Conv", "MaxPool"])
def test_a_dilated_window_stays_open(op: str) -> None:
    """Runtimes do not agree on it: some refuse it, some pad as if there were no dilation."""
    one = net(op, [9, 9], [3, 3], auto_pad="SAME_UPPER", dilations=[2, 2])
    assert prove(one.model(), one.model()).status is ProofStatus.PROVED
    for pads in ([1, 1, 1, 1], [2, 2, 2, 2]):
        two = net(op, [9, 9], [3, 3], pads=pads, dilations=[2, 2])
        assert prove(one.model(), two.model()).status is not ProofStatus.PROVED


def test_defaults_of_a_pool_may_be_written_out() -> None:
    short = net("MaxPool", [8, 8], [2, 2])
    long = net(
        "MaxPool",
        [8, 8],
        [2, 2],
        strides=[1, 1],
        dilations=[1, 1],
        pads=[0] * 4,
        storage_order=1,
        auto_pad="NOTSET",
    )
    assert prove(short.model(), long.model()).status is ProofStatus.PROVED
    rounded_up = net("MaxPool", [8, 7], [2, 2], strides=[2, 2], ceil_mode=1)
    down = net("MaxPool", [8, 7], [2, 2], strides=[2, 2])
    assert prove(rounded_up.model(), down.model()).status is not ProofStatus.PROVED
