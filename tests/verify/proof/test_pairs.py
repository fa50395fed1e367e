"""Every correct fold made by hand is proved, within one rounding of each constant."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.verify.proof import ProofStatus, prove
from tests.verify.proof.cases import CASES, Builder

SEEDS = (0, 1, 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("builder", CASES.values(), ids=CASES.keys())
def test_is_proved(builder: Builder, seed: int) -> None:
    pair = builder(np.random.default_rng(seed))
    proof = prove(pair.original.model(), pair.folded.model())
    assert proof.status is ProofStatus.PROVED, (proof.refutations, proof.notes)
    assert proof.share_proved == 1.0
    # The ulp of a scale is at most twice as coarse, relatively, as that of its product.
    assert proof.max_ulps <= (1.0 if builder is CASES["quantized_weight"] else 0.5001)
    assert not proof.refutations


@pytest.mark.parametrize("builder", CASES.values(), ids=CASES.keys())
def test_says_what_went_where(builder: Builder) -> None:
    pair = builder(np.random.default_rng(3))
    proof = prove(pair.original.model(), pair.folded.model())
    gone = {op for group in proof.groups for op in group.ops}
    into = {op for group in proof.groups for op in group.into}
    assert set(pair.folds) <= gone
    assert set(pair.into) <= into
    assert all(group.status is ProofStatus.PROVED for group in proof.groups)
    assert all(group.max_ulps <= group.bound for group in proof.groups)
    assert proof.share_groups_proved == 1.0


@pytest.mark.parametrize("builder", CASES.values(), ids=CASES.keys())
def test_a_model_is_equal_to_itself(builder: Builder) -> None:
    pair = builder(np.random.default_rng(0))
    for net in (pair.original, pair.folded):
        proof = prove(net.model(), net.model())
        assert proof.status is ProofStatus.PROVED
        assert proof.max_ulps == 0.0
        assert proof.groups == ()


@pytest.mark.parametrize("builder", CASES.values(), ids=CASES.keys())
def test_holds_in_the_other_direction(builder: Builder) -> None:
    """Equality is symmetric: the folded model as the one to trust, the original as a stranger's.

    The statistics of the stranger are exact then, and a zero gamma in them cannot bring back the
    row of the kernel that was lost: what is left is not proved, but never refuted either.
    """
    pair = builder(np.random.default_rng(0))
    proof = prove(pair.folded.model(), pair.original.model())
    assert proof.status in (ProofStatus.PROVED, ProofStatus.UNKNOWN)


def test_the_models_stay_as_they_are() -> None:
    pair = CASES["conv_bn"](np.random.default_rng(0))
    original, folded = pair.original.model(), pair.folded.model()
    before = [str(original.graph), str(folded.graph)]
    prove(original, folded)
    assert [str(original.graph), str(folded.graph)] == before
