"""One rewritten part in float64: does any channel differ by more than rounding explains?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.bounds import CHANNEL_NOISE
from bnfold.verify.dataflow import rounding_of
from bnfold.verify.evaluate import Float64Model, Hook
from bnfold.verify.inputs import Feed
from bnfold.verify.noise import Perturbed
from bnfold.verify.parts import Part

Array = NDArray[Any]

# Draws of the noise of a part, and the slack for float64's own rounding, relative to the channel.
DRAWS = 4
_FLOAT64_SLACK = 2.0**-43


def part_feeds(part: Part, values: Mapping[str, Array]) -> tuple[Feed, Feed]:
    """The same input for both regions, rounded to the type that the value has in the model."""
    feeds: tuple[Feed, Feed] = ({}, {})
    for (before, after), first, second in zip(
        part.inputs, part.original.graph.inputs, part.folded.graph.inputs, strict=True
    ):
        array = values[before]
        dtype = first.dtype.numpy() if first.dtype is not None else array.dtype
        feeds[0][first.name or before] = array.astype(dtype)
        feeds[1][second.name or after] = array.astype(dtype)
    return feeds


class ChannelCheck:
    """Both regions of a part on one input, with the noise that rounding makes of them.

    Args:
        part: the two regions.
        values: the original's values, by name.
        rng: draws the roundings.

    Raises:
        EvaluationError: if a region cannot be evaluated.
    """

    def __init__(self, part: Part, values: Mapping[str, Array], rng: np.random.Generator) -> None:
        self._output = part.output
        self._feeds = part_feeds(part, values)
        self._models = Float64Model(part.original), Float64Model(part.folded)
        self._still = [
            model.run(feed)[name]
            for model, feed, name in zip(self._models, self._feeds, part.output, strict=True)
        ]
        self._noise = np.zeros(self._still[0].shape)
        if self._still[0].dtype.kind != "f" or self._still[0].shape != self._still[1].shape:
            return
        for index, region in enumerate((part.original, part.folded)):
            moving = Perturbed(self._models[index], rounding_of(region))
            for _ in range(DRAWS):
                moved = moving.run(self._feeds[index], rng)[part.output[index]]
                self._noise += (moved - self._still[index]) ** 2 / DRAWS

    def share(self, change: Hook | None = None) -> float:
        """Largest root mean square difference of a channel over what its bound allows.

        Every axis but the first is tried as the channel axis. The bound is the effect of moving
        every constant and value of both regions by one rounding.

        Args:
            change: replaces constants of the folded region, to plant an error.
        """
        base, other = self._still
        if change is not None:
            other = self._models[1].run(self._feeds[1], constant=change)[self._output[1]]
        if base.shape != other.shape:
            return float("inf")
        if base.dtype.kind != "f":
            return 0.0 if np.array_equal(base, other) else float("inf")
        if not np.isfinite(other[np.isfinite(base)]).all():
            return float("inf")
        squares = (other - base) ** 2
        allowed = CHANNEL_NOISE**2 * self._noise + (_FLOAT64_SLACK * np.abs(base)) ** 2
        finite = np.isfinite(squares) & np.isfinite(allowed)
        squares, allowed = np.where(finite, squares, 0.0), np.where(finite, allowed, 0.0)
        ratios = (_marginal(squares, allowed, axis) for axis in range(1, squares.ndim))
        return max(ratios, default=0.0)


def _marginal(squares: Array, allowed: Array, axis: int) -> float:
    """Largest ratio of the two sums over everything but one axis, as root mean squares."""
    rest = tuple(a for a in range(squares.ndim) if a != axis)
    above, below = squares.sum(axis=rest), allowed.sum(axis=rest)
    with np.errstate(over="ignore"):
        ratio = np.where(above > 0, above / np.maximum(below, np.finfo(float).tiny), 0.0)
    return float(np.sqrt(ratio.max(initial=0.0)))
