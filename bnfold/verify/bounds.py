"""The bounds: what a difference must not exceed, and where the number comes from.

Three sources, none of them a fixed tolerance:

- *noise*: the measured effect of rounding everything once (see `noise`). Two correct models differ
  by one such effect each; the factors below allow for several roundings in place of one.
- *original*: the original's own distance from the float64 reference in the runtime.
- *gamma*: the probabilistic rounding bound of a contraction (Higham & Mary, 2019, theorem 2.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnfold.verify.tally import OutputTally

# A correct rewriting done in its own type rounds each constant a handful of times, and a draw of
# the noise has about twice the variance of one rounding to nearest. The figure that decides is a
# root mean square; for the largest element the tails of two different samples are compared.
NOISE_RMS = 3.0
NOISE_MAX = 12.0

# One channel of one rewritten part: a handful of roundings of few constants.
CHANNEL_NOISE = 3.0

# In the runtime both models round every operation once, in different orders.
ORIGINAL_RMS = 3.0
ORIGINAL_MAX = 6.0
RUNTIME_NOISE_RMS = 3.0
RUNTIME_NOISE_MAX = 12.0

# Keras has kernels of its own: its distance from the truth may be several times onnxruntime's.
KERAS = 10.0

# The float64 reference is trusted only while the original in the runtime stays this close to it.
REFERENCE_TRUST = 50.0

# What a measure of integer, boolean or string results is called.
DISCRETE = "discrete results"

# Probability that a bound of one operation fails (Ipsen & Zhou, 2020: lambda = sqrt(2 ln(2/p))).
GAMMA_FAILURE = 1e-2


def gamma(n: int, roundoff: float, failure: float = GAMMA_FAILURE) -> float:
    """Relative error of a sum of n products that holds with probability 1 - `failure`.

    exp(lambda sqrt(n) u + n u^2 / (1 - u)) - 1 with lambda = sqrt(2 ln(2 / failure)); for large
    n u this stays below the worst case n u / (1 - n u) by a factor of about sqrt(n).
    """
    n = max(1, n)
    factor = math.sqrt(2.0 * math.log(2.0 / failure))
    exponent = factor * math.sqrt(n) * roundoff + n * roundoff**2 / (1.0 - roundoff)
    return math.expm1(min(exponent, 50.0))


@dataclass(frozen=True)
class Measure:
    """A figure beside its bound.

    Attributes:
        figure, bound: in the same unit; the check holds when figure <= bound.
        unit: what they are.
        what: which of several criteria this is, for people.
        feed: number of the feed where the figure is largest.
        size: of the output itself in the same unit.
    """

    figure: float
    bound: float
    unit: str
    what: str
    feed: int = -1
    size: float = math.inf

    @property
    def idle(self) -> bool:
        """True where rounding alone may move the output by its own size: nothing can be shown."""
        return self.bound >= self.size > 0

    @property
    def holds(self) -> bool:
        """True when the figure does not exceed the bound; NaN never holds."""
        return self.figure <= self.bound

    @property
    def excess(self) -> float:
        """Figure over bound; infinite for a figure above a bound of zero."""
        if self.bound > 0:
            return self.figure / self.bound
        return 0.0 if self.figure <= 0 else math.inf


def against_noise(tally: OutputTally, label: str, noise: str) -> list[Measure]:
    """`label` must not differ from the reference by more than the noise under `noise` explains."""
    unit = tally.size.rms or 1.0
    base = tally.spread(noise)
    bounds = (NOISE_RMS * base.rms, NOISE_MAX * base.largest)
    measures = _two(tally, label, bounds, ("relative RMSE", "of the output's RMS"), unit)
    return measures + _discrete(tally, label, noise)


def against_original(tally: OutputTally) -> list[Measure]:
    """End to end: the folded model is no farther from the reference than the original allows."""
    original, noise = tally.spread("original"), tally.spread("noise")
    bounds = (
        ORIGINAL_RMS * original.rms + RUNTIME_NOISE_RMS * noise.rms,
        ORIGINAL_MAX * original.largest + RUNTIME_NOISE_MAX * noise.largest,
    )
    measures = _two(tally, "folded", bounds, ("RMSE from float64", "largest error"))
    return measures + _discrete(tally, "folded", "noise", also="original")


def against_pair(tally: OutputTally) -> list[Measure]:
    """The two models in the runtime against each other, where float64 is no reference."""
    noise = tally.spread("noise")
    bounds = (NOISE_RMS * noise.rms, NOISE_MAX * noise.largest)
    measures = _two(tally, "pair", bounds, ("RMSE", "largest difference"))
    return measures + _discrete(tally, "pair", "noise")


def against_keras(tally: OutputTally, label: str = "keras-pair") -> list[Measure]:
    """Keras and the folded model: both round in their own ways."""
    original, noise = tally.spread("original"), tally.spread("noise")
    bound = KERAS * (noise.rms + (original.rms if reference_is_trusted(tally) else 0.0))
    measures = _two(tally, label, (bound, math.inf), ("RMSE from Keras", ""))
    return measures[:1] + _discrete(tally, label, "noise", also="original")


def _two(
    tally: OutputTally,
    label: str,
    bounds: tuple[float, float],
    units: tuple[str, str],
    unit: float = 1.0,
) -> list[Measure]:
    """The root mean square and the largest element of a difference, both in units of `unit`."""
    spread, size = tally.spread(label), tally.size
    if not spread.count:
        return []
    figures, sizes = (spread.rms, spread.largest), (size.rms, size.largest)
    whats = ("root mean square", "largest element")
    return [
        Measure(figure / unit, bound / unit, name, what, spread.feed, own / unit)
        for figure, bound, name, what, own in zip(figures, bounds, units, whats, sizes, strict=True)
    ]


def reference_is_trusted(tally: OutputTally) -> bool:
    """False where the runtime and the float64 evaluation differ far beyond rounding.

    Then an operator means something else to each, and only the runtime's meaning counts.
    """
    original, noise = tally.spread("original"), tally.spread("noise")
    return original.rms <= REFERENCE_TRUST * noise.rms


def _discrete(tally: OutputTally, label: str, noise: str, also: str = "") -> list[Measure]:
    """Integer results may differ as often as rounding makes them differ.

    In types coarser than float32, where a flip is likely but may not have been seen, 3 in m more
    elements may differ when m were drawn (the rule of three).
    """
    count = tally.elements.get(label, 0)
    if not count:
        return []
    seen = max(tally.share(noise), tally.share(also) if also else 0.0)
    unseen = 3.0 / max(1, tally.elements.get(noise, 0)) if tally.coarse else 0.0
    bound = NOISE_RMS * seen + unseen
    return [Measure(tally.share(label), bound, "share of elements", DISCRETE, 0, 1.0)]
