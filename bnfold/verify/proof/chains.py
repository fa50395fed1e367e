"""A kernel held against the product of several, without multiplying them out.

Two linear maps that agree on random vectors are the same but for a tiny chance (Freivalds 1977).
With Gaussian vectors a row that is off by d differs on each of them by a normal variate of size
d, so the chance that all of them overlook it is easily bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnfold.verify.proof.kernels import Kernel, Match, nearest
from bnfold.verify.proof.rounding import NOISE, Array

#: Random vectors per comparison.
VECTORS = 16
#: What a comparison vouches for, in words.
PROMISE = (
    f"on {VECTORS} random vectors: a row off by 100 ulp of its size would be overlooked with a "
    "probability below 1e-20"
)


def compare_chain(factors: Sequence[Kernel], new: Kernel, candidates: Array) -> Match:
    """Find each row's factor against a product of kernels, and how far the row is off.

    Args:
        factors: the kernels in the order in which they act.
        new: one kernel, as many columns as the first and rows as the last.
        candidates: as for `kernels.compare`.

    Returns:
        The match; its ulps are those of a row's size. No element is told apart: column is 0.
    """
    rng = np.random.default_rng(20240229)
    vectors = rng.standard_normal((new.columns, VECTORS))
    target, bulk = vectors, np.abs(vectors)
    for factor in factors:
        target = _applied(factor, target)
        bulk = _applied(factor, bulk, absolute=True)
    product = _applied(new, vectors)
    size = np.sqrt(_applied(new, vectors**2, squared=True))
    with np.errstate(all="ignore"):
        energy = (target * target).sum(axis=1)
        estimate = np.where(energy > 0, (target * product).sum(axis=1) / energy, 0.0)
        ratio = nearest(estimate, candidates, new.grain)
        apart = np.abs(product - ratio[:, None] * target) - NOISE * np.abs(ratio)[:, None] * bulk
        off = np.maximum(apart, 0.0) / (new.grain.eps * size)
        off = np.where((apart <= 0) | (off >= 0), np.where(apart <= 0, 0.0, off), np.inf)
    peaks = off.max(axis=1, initial=0.0)
    bad = ~(peaks <= new.grain.limit)
    worst = int(peaks.argmax()) if peaks.size else 0
    return Match(
        ratio,
        float(peaks.max(initial=0.0)),
        worst,
        0,
        float(product[worst, 0]) if peaks.size else 0.0,
        float((ratio[:, None] * target)[worst, 0]) if peaks.size else 0.0,
        bad=bad if bad.any() else None,
    )


def _applied(
    kernel: Kernel, vectors: Array, *, absolute: bool = False, squared: bool = False
) -> Array:
    """The kernel (or its absolute or squared elements) times vectors of shape (columns, n)."""
    found = np.zeros((kernel.rows, vectors.shape[1]))
    for span, rows in kernel.spans():
        matrix = kernel.matrix(kernel.stored, span) * kernel.vector(kernel.gain, span)
        matrix = np.abs(matrix) if absolute else matrix**2 if squared else matrix
        found[rows] = matrix @ vectors
    return found
