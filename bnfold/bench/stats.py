"""Statistics of paired latency measurements: pure functions of numbers.

The unit of evidence is the process pair. Calls within one process share its memory layout and the
machine's mood, so they are summed up by one median and never counted as independent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnfold.bench.types import Verdict


@dataclass(frozen=True)
class Interval:
    """A mean of logarithms of ratios with its confidence interval, all in log units."""

    center: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """The largest |log ratio| inside the interval."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Judgement:
    """What may be said of a candidate.

    Attributes:
        verdict: faster, slower, or no difference.
        resolution: ratio - 1 of the largest difference that is not excluded.
    """

    verdict: Verdict
    resolution: float


def student_cdf(t: float, degrees: int) -> float:
    """P(T <= t) of Student's distribution with an integer number of degrees of freedom.

    Finite trigonometric sums of Abramowitz & Stegun, Handbook of Mathematical Functions (1964),
    26.7.3 and 26.7.4: exact up to rounding.
    """
    if degrees < 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {degrees}")
    theta = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(theta), math.sin(theta)
    term = cosine if degrees % 2 else 1.0
    first = 3 if degrees % 2 else 2
    total = term if degrees > 1 else 0.0
    for k in range(first, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2 / math.pi * (theta + sine * total) if degrees % 2 else sine * total
    return 0.5 + inside / 2


@functools.lru_cache(maxsize=256)
def student_quantile(probability: float, degrees: int) -> float:
    """The t with P(T <= t) = probability, by bisection; 0 < probability < 1."""
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, not {probability}")
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    high = 1.0
    while student_cdf(high, degrees) < probability:
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        if student_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def pair_log_ratio(baseline: Sequence[float], candidate: Sequence[float]) -> float:
    """Median over the lockstep rounds of one process pair of log(baseline / candidate).

    Args:
        baseline, candidate: seconds per call, one figure per round, of equal length; > 0.
    """
    first, second = np.asarray(baseline, np.float64), np.asarray(candidate, np.float64)
    if first.shape != second.shape or first.size == 0:
        raise ValueError("a pair needs the same, nonzero number of rounds on both sides")
    return float(np.median(np.log(first) - np.log(second)))


def candidate_log_ratio(
    baseline: Sequence[float], control: Sequence[float], candidate: Sequence[float]
) -> float:
    """log(baseline / candidate) of one launch, with both processes of the baseline averaged.

    That halves the baseline's share of the noise, and the result is uncorrelated with what the
    control says, log(baseline / control): Cov((b + c) / 2 - k, b - c) = 0 for b, c alike.

    Args:
        baseline, control: seconds per call in each round of the two processes of the same model.
        candidate: those of the other model.
    """
    return (pair_log_ratio(baseline, candidate) + pair_log_ratio(control, candidate)) / 2


def t_interval(log_ratios: Sequence[float], confidence: float) -> Interval:
    """Student's confidence interval of the mean log-ratio over process pairs.

    Args:
        log_ratios: one per process pair; at least two.
        confidence: such as 0.95.
    """
    values: NDArray[np.float64] = np.asarray(log_ratios, np.float64)
    if values.size < 2:
        raise ValueError("an interval needs at least two process pairs")
    center = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    half = student_quantile(0.5 + confidence / 2, int(values.size) - 1) * error
    return Interval(center, center - half, center + half)


def judge(candidate: Interval, control: Interval) -> Judgement:
    """Say "faster" or "slower" only when `candidate` clears both zero and `control`.

    Args:
        candidate: interval of log(baseline / candidate).
        control: interval of log(baseline / baseline) of the same run. What it reaches on either
            side is noise by construction, so it widens the zero on both sides.
    """
    noise = control.reach
    if candidate.low > noise:
        verdict = Verdict.FASTER
    elif candidate.high < -noise:
        verdict = Verdict.SLOWER
    else:
        verdict = Verdict.NO_DIFFERENCE
    return Judgement(verdict, math.expm1(max(candidate.reach, noise)))
