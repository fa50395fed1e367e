"""What a fold needed of the ops that its affine passed, and of no others."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.verify.proof import prove
from tests.verify.proof.cases import CASES

# Case to the ops that read something else than the original's do.
PASSED = {
    "gemm_bn": set(),
    "conv_bn": set(),
    "bn_gemm": {"fc"},
    "bn_flatten_gemm": {"f_op", "fc"},
    "bn_lstm": {"lstm"},
    "conv_relu_pool_bn": {"r_op", "p_op"},
    "shift_back_scale_forward": {"r_op", "second"},
    "residual_add": {"h_op"},
    "three_readers": {"q", "k", "v"},
    "transpose_between": {"n_op"},
}


@pytest.mark.parametrize("name", PASSED)
def test_conditions_are_those_of_the_ops_on_the_way(name: str) -> None:
    pair = CASES[name](np.random.default_rng(0))
    proof = prove(pair.original.model(), pair.folded.model())
    assert {condition.op for condition in proof.conditions} == PASSED[name]
    assert all(condition.groups == (0,) for condition in proof.conditions)
    assert len(proof.groups) == 1
