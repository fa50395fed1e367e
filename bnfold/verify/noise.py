"""How far rounding alone moves a model's outputs, measured instead of guessed.

Each constant and each computed value is moved by about one unit roundoff of its own type, at
random, while everything else is exact; what that does to the outputs is the effect of one rounding
of everything (Monte Carlo arithmetic: Parker, 1997). To first order this is the sum over all
roundings of sensitivity times roundoff: the quantity that a forward error analysis bounds, but for
this net, this input and without the looseness of a worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.dataflow import Rounding
from bnfold.verify.evaluate import Float64Model, Hook

Array = NDArray[Any]


# Numbers drawn at most for one array; a larger array repeats them. A prime, so that no axis of it
# sees the same number along its whole length.
_POOL = 262_139


# Roundings inside an op that only the runtime can evaluate, in float32: whatever it sums up there
# is rounded for real, so its result is moved by the square root of a thousand terms.
_INSIDE = 32.0


def jiggle(array: Array, roundoff: float, rng: np.random.Generator) -> Array:
    """Each element times 1 ± [0.5, 1.5] roundoff.

    The magnitude is kept away from zero, so that a few draws never miss an element.
    """
    if array.dtype.kind != "f":
        return array
    draw = rng.random(min(array.size, _POOL))
    draw -= 0.5
    draw *= 2.0
    draw += np.copysign(0.5, draw)
    draw *= roundoff
    draw += 1.0
    return array * (draw if draw.size == array.size else np.resize(draw, array.size)).reshape(
        array.shape
    )


@dataclass(frozen=True)
class Perturbed:
    """A model whose every rounding is random.

    Attributes:
        model: evaluated in float64.
        rounding: where it rounds.
    """

    model: Float64Model
    rounding: Rounding

    def run(
        self,
        feeds: Mapping[str, Array],
        rng: np.random.Generator,
        *,
        level: float | None = None,
        observe: Hook | None = None,
        deadline: float | None = None,
    ) -> dict[str, Array]:
        """The outputs of one draw.

        Args:
            feeds: the inputs.
            rng: draws the roundings.
            level: one unit roundoff for everything, instead of each value's own.
            observe: sees each computed value as it was moved.
            deadline: on the clock of `time.monotonic`.

        Raises:
            EvaluationError, BudgetError: as `Float64Model.run`.
        """
        low = dict.fromkeys(self.model.in_float32, _INSIDE * 2.0**-24)

        def constant(name: str, array: Array) -> Array:
            roundoff = self.rounding.constants.get(name)
            return array if roundoff is None else jiggle(array, level or roundoff, rng)

        def value(name: str, array: Array) -> Array:
            roundoff = self.rounding.values.get(name, self.rounding.constants.get(name))
            if roundoff is not None and level is not None:
                roundoff = level
            roundoff = max(low.get(name, 0.0), roundoff or 0.0)
            moved = jiggle(array, roundoff, rng) if roundoff else array
            return moved if observe is None else observe(name, moved)

        return self.model.run(feeds, constant=constant, value=value, deadline=deadline)
