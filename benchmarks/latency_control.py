"""Does the latency verdict hold what it promises?

    python -m benchmarks.latency_control

Two questions, answered on the machine at hand, with the budget that a fold uses:

- A model against itself: how often is a difference reported that is not there? The intervals are
  at 95 %, so at most 5 % of the comparisons may, give or take what chance allows.
- A net of 20 equal layers against one of 22: is a slowdown of 10 % found?
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from benchmarks import onnx_models
from benchmarks.nets import Net
from bnfold.bench.environment import describe_machine
from bnfold.bench.measure import benchmark_models
from bnfold.bench.types import Comparison, Verdict

RESULTS = Path(__file__).with_name("results")
COMMAND = "python -m benchmarks.latency_control"
CONFIDENCE = 0.95
LAYERS, SLOWER_LAYERS = 20, 22


def dense_chain(layers: int) -> onnx.ModelProto:
    """Equal layers Gemm -> Relu."""
    net = Net([256], norms=False, seed=1)
    x = "x"
    for _ in range(layers):
        x = net.op("Relu", net.gemm(x, 256, 256))
    return net.finish(x, 2)


def conv_chain(layers: int) -> onnx.ModelProto:
    """Equal layers Conv -> Relu."""
    net = Net([16, 16, 16], norms=False, seed=1)
    x = "x"
    for _ in range(layers):
        x = net.op("Relu", net.conv(x, 16, 16))
    return net.finish(x, 4)


#: Models compared with themselves: calls of some 10, 100 and 1000 microseconds.
SAME: dict[str, Callable[[], onnx.ModelProto]] = {
    "autoencoder": lambda: onnx_models.autoencoder(True),
    "mlp-3x256": lambda: onnx_models.mlp(True, depth=3, width=256),
    "dense chain": lambda: dense_chain(LAYERS),
    "conv chain": lambda: conv_chain(LAYERS),
}
CHAINS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "dense chain": dense_chain,
    "conv chain": conv_chain,
}


@dataclass(frozen=True)
class Trial:
    """One comparison: what it was and what came of it."""

    model: str
    planted: bool
    speedup: float
    low: float
    high: float
    control_low: float
    control_high: float
    pairs: int
    verdict: str
    resolution: float
    noisy: bool
    load: str

    @property
    def excludes_one(self) -> bool:
        """True when the interval alone, without the control, excludes equality."""
        return self.low > 1 or self.high < 1


def binomial_upper(trials: int, probability: float, level: float = 0.975) -> int:
    """The largest count that chance still explains: the `level` quantile of the binomial."""
    total, count = 0.0, -1
    while total < level:
        count += 1
        chance = probability**count * (1 - probability) ** (trials - count)
        total += math.comb(trials, count) * chance
    return count


def run(count: int, planted: int, seconds: float, seed: int) -> list[Trial]:
    """Make all comparisons, in random order."""
    jobs = [(name, False) for _, name in zip(range(count), _cycle(list(SAME)), strict=False)]
    jobs += [(name, True) for _, name in zip(range(planted), _cycle(list(CHAINS)), strict=False)]
    random.Random(seed).shuffle(jobs)
    trials = []
    for number, (name, slower) in enumerate(jobs):
        model = CHAINS[name](LAYERS) if slower else SAME[name]()
        other = CHAINS[name](SLOWER_LAYERS) if slower else model
        result = benchmark_models(
            ir.from_proto(model),
            ir.from_proto(other),
            budget_seconds=seconds,
            seed=seed + number,
            confidence=CONFIDENCE,
        )
        (row,) = result.comparisons
        trials.append(_trial(name, slower, row, result.environment.get("load average after", "")))
        what = "planted" if slower else "A/A"
        print(f"[{number + 1}/{len(jobs)}] {what} {name}: {row.sentence}", file=sys.stderr)
    return trials


def _cycle(names: Sequence[str]) -> Sequence[str]:
    return list(names) * 1000


def _trial(name: str, planted: bool, row: Comparison, load: str) -> Trial:
    return Trial(
        model=name,
        planted=planted,
        speedup=row.speedup,
        low=row.low,
        high=row.high,
        control_low=row.control_low,
        control_high=row.control_high,
        pairs=row.pairs,
        verdict=row.verdict.value,
        resolution=row.resolution,
        noisy=row.noisy,
        load=load,
    )


def summarize(trials: Sequence[Trial]) -> dict[str, float]:
    """The figures that answer the two questions."""
    same = [trial for trial in trials if not trial.planted]
    planted = [trial for trial in trials if trial.planted]
    return {
        "comparisons with itself": len(same),
        "false alarms": sum(t.verdict != Verdict.NO_DIFFERENCE.value for t in same),
        "false alarms that chance allows": binomial_upper(len(same), 1 - CONFIDENCE),
        "intervals that exclude 1": sum(t.excludes_one for t in same),
        "median resolution": statistics.median(t.resolution for t in same) if same else 0.0,
        "called noisy": sum(t.noisy for t in same),
        "planted slowdowns": len(planted),
        "found": sum(t.verdict == Verdict.SLOWER.value for t in planted),
        "found backwards": sum(t.verdict == Verdict.FASTER.value for t in planted),
        "missed and called noisy": sum(
            t.noisy and t.verdict == Verdict.NO_DIFFERENCE.value for t in planted
        ),
        "median slowdown measured": (
            statistics.median(1 / t.speedup for t in planted) if planted else 0.0
        ),
    }


def to_markdown(trials: Sequence[Trial], environment: dict[str, str], seconds: float) -> str:
    """Render the summary and every trial."""
    figures = summarize(trials)
    machine = ", ".join(f"{name} {value}" for name, value in environment.items())
    pairs = sorted(trial.pairs for trial in trials)
    lines = [
        "# Does the latency verdict hold?",
        "",
        f"Made by `{COMMAND}`: {seconds:g} seconds for each comparison, which were"
        f" {pairs[0]} to {pairs[-1]} launches, {CONFIDENCE:.0%} intervals. Machine: {machine}.",
        "",
        f"A model against itself, {figures['comparisons with itself']} times:"
        f" **{figures['false alarms']} of them with a false alarm**; at most"
        f" {figures['false alarms that chance allows']} are what a rate of"
        f" {1 - CONFIDENCE:.0%} explains. The bare interval, without the A/A control, excludes 1 in"
        f" {figures['intervals that exclude 1']}. Median resolution:"
        f" {figures['median resolution']:.1%}."
        f" The machine was called noisy in {figures['called noisy']}.",
        "",
        f"{SLOWER_LAYERS} layers against {LAYERS}, {figures['planted slowdowns']} times:"
        f" **found in {figures['found']}**, median {figures['median slowdown measured']:.3f} times"
        f" the time; said to be faster in {figures['found backwards']};"
        f" of those not found, {figures['missed and called noisy']} were called noisy.",
        "",
        "| model | what | time ratio | 95 % interval | A/A control | launches | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for trial in sorted(trials, key=lambda trial: (trial.planted, trial.model)):
        noisy = ", noisy" if trial.noisy else ""
        lines.append(
            f"| {trial.model} | {'10 % slower' if trial.planted else 'itself'}"
            f" | {1 / trial.speedup:.3f} | {1 / trial.high:.3f} to {1 / trial.low:.3f}"
            f" | {1 / trial.control_high:.3f} to {1 / trial.control_low:.3f} | {trial.pairs}"
            f" | {trial.verdict}{noisy} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run and write results/latency_control.json and .md; 1 when the rate is too high."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--same", type=int, default=48, help="comparisons of a model with itself")
    parser.add_argument("--planted", type=int, default=24, help="planted slowdowns")
    parser.add_argument("--seconds", type=float, default=5.0, help="budget of each comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    environment = describe_machine()
    trials = run(options.same, options.planted, options.seconds, options.seed)
    figures = summarize(trials)
    options.out.mkdir(parents=True, exist_ok=True)
    data = {
        "environment": environment,
        "seconds": options.seconds,
        "confidence": CONFIDENCE,
        "summary": figures,
        "trials": [asdict(trial) for trial in trials],
    }
    text = json.dumps(data, indent=1) + "\n"
    (options.out / "latency_control.json").write_text(text, encoding="utf-8")
    page = to_markdown(trials, environment, options.seconds)
    (options.out / "latency_control.md").write_text(page, encoding="utf-8")
    for name, value in figures.items():
        print(f"{name}: {value:.4g}")
    return int(figures["false alarms"] > figures["false alarms that chance allows"])


if __name__ == "__main__":
    sys.exit(main())
