"""Proof that a folded model computes, for every input, what the original does.

Translation validation by affine relations: each value of either model is held as an affine
function of values that both models share. What was left alone is shared because op, attributes
and operands are equal; an affine passes an op by the op's law; a contraction's kernel and bias
are held, element by element, against what the relation demands of them. No input is sampled, and
none of the folder's code is used.
"""

from bnfold.verify.proof.prove import prove
from bnfold.verify.proof.types import (
    GroupProof,
    OutputProof,
    Proof,
    ProofStatus,
    Refutation,
    ValuePair,
)

__all__ = [
    "GroupProof",
    "OutputProof",
    "Proof",
    "ProofStatus",
    "Refutation",
    "ValuePair",
    "prove",
]
