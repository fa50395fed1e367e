"""The result of a latency measurement, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What the interval allows to be said."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"


@dataclass(frozen=True)
class Comparison:
    """Folded against original in one runtime mode and batch size.

    Attributes:
        mode: "ENABLE_ALL" or "DISABLE_ALL" (onnxruntime's graph optimization level).
        batch: rows per call.
        threads: intra-op threads.
        baseline_seconds, candidate_seconds: median time per call of original and folded.
        speedup: baseline / candidate, from the median of the pairs' log-ratios.
        low, high: confidence interval of `speedup` over pairs.
        confidence: its level, such as 0.95.
        pairs: number of fresh process pairs.
        control_low, control_high: the same interval for original against itself (A/A).
        verdict: what may be said; "faster" only when the interval clears 1 and the A/A spread.
        resolution: the largest difference, as a ratio - 1, that the run cannot exclude.
    """

    mode: str
    batch: int
    threads: int
    baseline_seconds: float
    candidate_seconds: float
    speedup: float
    low: float
    high: float
    confidence: float
    pairs: int
    control_low: float
    control_high: float
    verdict: Verdict
    resolution: float


@dataclass(frozen=True)
class Benchmark:
    """All comparisons of one pair of models, and what was measured beside latency.

    Attributes:
        comparisons: one per mode and batch.
        baseline_load_seconds, candidate_load_seconds: median session creation time.
        baseline_bytes, candidate_bytes: size of the serialized models.
        baseline_nodes, candidate_nodes: number of nodes.
        environment: CPU, runtime version, threads, load: name to text.
        seconds: wall time of the measurement.
    """

    comparisons: tuple[Comparison, ...]
    baseline_load_seconds: float
    candidate_load_seconds: float
    baseline_bytes: int
    candidate_bytes: int
    baseline_nodes: int
    candidate_nodes: int
    environment: dict[str, str]
    seconds: float
