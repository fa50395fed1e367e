"""The decision rule, on numbers whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bnfold.bench.stats import (
    Interval,
    candidate_log_ratio,
    judge,
    pair_log_ratio,
    student_cdf,
    student_quantile,
    t_interval,
)
from bnfold.bench.types import Verdict

#: Two-sided 95 % points of Student's distribution (any printed table).
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 10: 2.228, 30: 2.042}


@pytest.mark.parametrize(("degrees", "quantile"), TABLE.items())
def test_quantile_is_the_table_s(degrees: int, quantile: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(quantile, abs=6e-4)
    assert student_quantile(0.025, degrees) == pytest.approx(-quantile, abs=6e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 8, 61, 120])
def test_cdf_is_the_integral_of_the_density(degrees: int) -> None:
    t = 1.3
    grid = np.linspace(0, t, 20_001)
    log_norm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    density = np.exp(log_norm - (degrees + 1) / 2 * np.log1p(grid**2 / degrees))
    density /= math.sqrt(degrees * math.pi)
    area = float(np.sum((density[1:] + density[:-1]) / 2 * np.diff(grid)))
    assert student_cdf(t, degrees) == pytest.approx(0.5 + area, abs=1e-8)
    assert student_cdf(-t, degrees) == pytest.approx(0.5 - area, abs=1e-8)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1])
def test_quantile_refuses_what_is_no_probability(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_quantile(bad, 3)


def test_pair_ratio_is_the_median_and_shrugs_off_an_outlier() -> None:
    baseline = [2.0, 2.2, 1.8, 2.0, 900.0]
    candidate = [1.0, 1.1, 0.9, 1.0, 1.0]
    assert pair_log_ratio(baseline, candidate) == pytest.approx(math.log(2))
    assert pair_log_ratio(candidate, baseline) == pytest.approx(-math.log(2))


def test_pair_ratio_follows_a_drift_that_hits_both() -> None:
    drift = np.linspace(1, 5, 9)
    assert pair_log_ratio(drift * 1.2, drift) == pytest.approx(math.log(1.2))


def test_both_processes_of_the_baseline_count_alike() -> None:
    ratio = candidate_log_ratio([2.0, 2.0], [8.0, 8.0], [1.0, 1.0])
    assert ratio == pytest.approx(math.log(4))
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.1, (4000, 3, 1)))
    ratios = [candidate_log_ratio(*launch) for launch in noise]
    controls = [pair_log_ratio(launch[0], launch[1]) for launch in noise]
    assert np.std(ratios) == pytest.approx(0.1 * math.sqrt(1.5), rel=0.05)
    assert abs(np.corrcoef(ratios, controls)[0, 1]) < 0.05


@pytest.mark.parametrize(("one", "other"), [([], []), ([1.0], [1.0, 2.0])])
def test_pair_ratio_refuses_unequal_rounds(one: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match="rounds"):
        pair_log_ratio(one, other)


def test_interval_by_hand() -> None:
    interval = t_interval([0.1, 0.2, 0.3], 0.95)
    assert interval.center == pytest.approx(0.2)
    assert interval.high - 0.2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)
    assert 0.2 - interval.low == pytest.approx(interval.high - 0.2)
    with pytest.raises(ValueError, match="two"):
        t_interval([0.1], 0.95)


@pytest.mark.parametrize("pairs", [3, 6, 15])
def test_interval_covers_the_truth_as_often_as_it_says(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    hits = 0
    for sample in rng.normal(0.05, 0.02, (3000, pairs)):
        interval = t_interval(sample, 0.9)
        hits += interval.low <= 0.05 <= interval.high
    assert hits / 3000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.05, 0.09, Verdict.FASTER),
        (-0.09, -0.05, Verdict.SLOWER),
        (0.01, 0.09, Verdict.NO_DIFFERENCE),  # clears zero, but not what A/A reaches
        (-0.09, -0.01, Verdict.NO_DIFFERENCE),
        (-0.01, 0.01, Verdict.NO_DIFFERENCE),
    ],
)
def test_verdict_must_clear_zero_and_the_control(low: float, high: float, verdict: Verdict) -> None:
    # The control's own sign means nothing: it is the same model on both sides.
    for control in (Interval(0.0, -0.01, 0.02), Interval(0.0, -0.02, 0.01)):
        judgement = judge(Interval((low + high) / 2, low, high), control)
        assert judgement.verdict is verdict


def test_resolution_is_the_largest_difference_not_excluded() -> None:
    quiet, loud = Interval(0.0, -0.01, 0.01), Interval(0.0, -0.2, 0.05)
    candidate = Interval(0.0, -0.03, 0.02)
    assert judge(candidate, quiet).resolution == pytest.approx(math.expm1(0.03))
    assert judge(candidate, loud).resolution == pytest.approx(math.expm1(0.2))


def simulated_verdicts(
    effect: float, pairs: int, noise: str, runs: int, seed: int
) -> list[Verdict]:
    """Verdicts over runs with a process-to-process spread of about 2 % around `effect`."""
    rng = np.random.default_rng(seed)
    shape = (runs, 3, pairs)
    spread = {
        "normal": lambda: rng.normal(0, 0.02, shape),
        # Now and then a neighbour wakes up and a process is slow for its whole life.
        "bursts": lambda: (
            rng.normal(0, 0.01, shape) + (rng.random(shape) < 0.1) * rng.exponential(0.15, shape)
        ),
        # Two memory layouts, one of them slower.
        "two-moded": lambda: rng.choice([0.0, 0.06], shape) + rng.normal(0, 0.003, shape),
    }[noise]()
    verdicts = []
    for original, again, folded in spread:
        control = t_interval(original - again, 0.95)
        ratios = [
            # Two rounds each, as times, for the whole way that a measurement goes.
            candidate_log_ratio([math.exp(o)] * 2, [math.exp(a)] * 2, [math.exp(f - effect)] * 2)
            for o, a, f in zip(original, again, folded, strict=True)
        ]
        candidate = t_interval(ratios, 0.95)
        verdicts.append(judge(candidate, control).verdict)
    return verdicts


@pytest.mark.parametrize("noise", ["normal", "bursts", "two-moded"])
@pytest.mark.parametrize("pairs", [3, 6, 12])
def test_no_more_false_alarms_than_the_confidence_allows(noise: str, pairs: int) -> None:
    verdicts = simulated_verdicts(0.0, pairs, noise, 2000, seed=pairs)
    false_alarms = sum(verdict is not Verdict.NO_DIFFERENCE for verdict in verdicts)
    assert false_alarms / 2000 <= 0.05


@pytest.mark.parametrize(("effect", "verdict"), [(0.1, Verdict.FASTER), (-0.1, Verdict.SLOWER)])
def test_ten_percent_is_found(effect: float, verdict: Verdict) -> None:
    verdicts = simulated_verdicts(effect, 7, "normal", 1000, seed=1)
    assert verdicts.count(verdict) / 1000 > 0.95
