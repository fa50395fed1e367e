"""The response of a kernel to a shift is the same, in one part or in many."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.core import labels as module
from bnfold.core.labels import Labels, parse_axes

CASES = {
    "dense": ("n i", "i o", "n o", (7, 5), (1, 7), lambda k, s: s @ k),
    "transposed": ("n i", "o i", "n o", (5, 7), (1, 7), lambda k, s: s @ k.T),
    "one for all": ("n i", "i o", "n o", (7, 5), (1, 1), lambda k, s: s * k.sum(0)[None]),
    "depthwise": ("n c *", "c *", "n c *", (6, 1), (1, 6, 1), lambda k, s: s * k[None]),
}


@pytest.mark.parametrize("chunk", [1, 3, 12, 1 << 20])
@pytest.mark.parametrize("name", CASES)
def test_parts_do_not_matter(
    name: str, chunk: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    x, w, y, kernel_shape, shift_shape, expected = CASES[name]
    letters = {"n": 2, "i": 7, "o": 5, "c": 6}
    labels = Labels(parse_axes(x), parse_axes(w), parse_axes(y), sizes=letters)
    kernel, shift = rng.normal(size=kernel_shape), rng.normal(size=shift_shape)
    found = labels.response(kernel, shift)
    np.testing.assert_allclose(
        np.broadcast_to(found, np.broadcast_shapes(found.shape, expected(kernel, shift).shape)),
        expected(kernel, shift),
        rtol=1e-14,
    )
