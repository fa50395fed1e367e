"""The result of a latency measurement, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: An A/A spread (ratio - 1) beyond which the machine is called too noisy to judge.
NOISY_SPREAD = 0.05


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
        speedup: baseline / candidate, the geometric mean over the process pairs; each pair counts
            with the median ratio of its calls, and the baseline is the mean of two processes.
        low, high: confidence interval of `speedup` over pairs.
        confidence: its level, such as 0.95.
        pairs: number of launches, each of fresh processes of both models.
        control_low, control_high: the same interval for original against itself (A/A).
        verdict: what may be said; "faster" only when the interval clears 1 and the A/A spread.
        resolution: the largest difference, as a ratio - 1, that the run cannot exclude.
        speedups, control_speedups: what each launch says of `speedup` and of the control, in the
            order they ran; the intervals are over these.
        baseline_spread, candidate_spread: times per call at 5, 25, 50, 75 and 95 % of all rounds.
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
    speedups: tuple[float, ...] = ()
    control_speedups: tuple[float, ...] = ()
    baseline_spread: tuple[float, ...] = ()
    candidate_spread: tuple[float, ...] = ()

    @property
    def noisy(self) -> bool:
        """True when the original differs from itself by more than `NOISY_SPREAD`."""
        return max(self.control_high, 1 / self.control_low) > 1 + NOISY_SPREAD

    @property
    def sentence(self) -> str:
        """The verdict in words: "1.20x faster (1.17 to 1.23)", "no difference ... 2.1 %"."""
        if self.verdict is Verdict.NO_DIFFERENCE:
            size = 100 * self.resolution
            said = f"no difference larger than {f'{size:.2g}' if size < 99.5 else f'{size:.0f}'} %"
        elif self.verdict is Verdict.FASTER:
            said = f"{self.speedup:.2f}x faster ({self.low:.2f} to {self.high:.2f})"
        else:
            said = f"{1 / self.speedup:.2f}x slower ({1 / self.high:.2f} to {1 / self.low:.2f})"
        return f"{said}; the machine is noisy" if self.noisy else said


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
        baseline_peak_bytes, candidate_peak_bytes: memory that loading and running the model added
            to the peak of a fresh process (median); None where the system does not tell.
        baseline_flops, candidate_flops: floating point operations per call at the first batch
            size, estimated from the shapes; None where a shape is not known.
        inputs: what was fed, one line per input ("x: float32 [1, 784], generated").
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
    baseline_peak_bytes: int | None = None
    candidate_peak_bytes: int | None = None
    baseline_flops: int | None = None
    candidate_flops: int | None = None
    inputs: tuple[str, ...] = ()

    @property
    def noisy(self) -> bool:
        """True when any comparison's A/A control was too wide."""
        return any(comparison.noisy for comparison in self.comparisons)

    def _repr_html_(self) -> str:
        """Every comparison, for notebooks."""
        from bnfold.formats.htmltable import html_table

        rows = [
            (
                f"batch {item.batch}, {item.mode}",
                f"{1e6 * item.baseline_seconds:.3g}",
                f"{1e6 * item.candidate_seconds:.3g}",
                f"{item.speedup:.3f} ({item.low:.3f} to {item.high:.3f})",
                item.sentence,
            )
            for item in self.comparisons
        ]
        first = next(iter(self.comparisons), None)
        pairs = "" if first is None else f" ({first.pairs} pairs, {first.threads} threads)"
        head = ("setting", "original, µs", "folded, µs", "speedup", "verdict")
        return html_table(f"latency per call{pairs}", head, rows)
