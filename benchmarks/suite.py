"""Builds every model, lets every tool rewrite it, and times all versions in the same launches."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.check import difference
from benchmarks.models import Case
from benchmarks.peers import PEERS, run_peer
from benchmarks.results import TWIN, UNFOLDED, CaseResult, Ratio, Timing, Variant
from bnfold.bench.inputs import make_feeds, slots_of
from bnfold.bench.lockstep import Entrant, Field, Launch, Setting, run_launches
from bnfold.bench.process import WorkerError
from bnfold.bench.stats import Interval, candidate_log_ratio, judge, pair_log_ratio, t_interval

CONFIDENCE = 0.95
SEED = 7
_CONTROL = "unfolded again"
_PACKAGES = ("bnfold", "onnxsim", "onnxslim", "onnxscript", "onnxruntime", "tf2onnx", "onnx")


def tool_versions() -> dict[str, str]:
    """Versions of all that takes part; "not installed" where it does not."""
    versions = {}
    for name in (*_PACKAGES, "tensorflow", "keras", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    if versions["bnfold"] == "not installed":
        import bnfold

        versions["bnfold"] = bnfold.__version__
    return versions


def run_case(
    case: Case, folder: Path, batches: Sequence[int], threads: Sequence[int], seconds: float
) -> CaseResult:
    """Build, rewrite, check and time one model; what fails becomes a row that says so.

    Args:
        folder: an empty folder for the model files.
        seconds: budget of the timing for each number of threads.
    """
    paths = {UNFOLDED: folder / "unfolded.onnx", TWIN: folder / "twin.onnx"}
    try:
        for name, norms in ((UNFOLDED, True), (TWIN, False)):
            onnx.save(case.build(norms), paths[name])
    except ModuleNotFoundError as missing:
        return CaseResult(case.name, case.what, f"cannot be built: no module {missing.name}")
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return CaseResult(case.name, case.what, f"cannot be built: {reason}")
    variants = [_described(Variant(UNFOLDED), paths[UNFOLDED])]
    for name in PEERS:
        target = folder / f"{name}.onnx"
        outcome = run_peer(name, paths[UNFOLDED], target)
        problem = outcome.problem or difference(paths[UNFOLDED], target)
        variant = Variant(name, problem, tool_seconds=outcome.seconds)
        if not problem:
            paths[name] = target
            variant = _described(variant, target)
        variants.append(variant)
    variants.append(_described(Variant(TWIN), paths[TWIN]))
    timings: list[Timing] = []
    loads: dict[str, list[float]] = {name: [] for name in paths}
    try:
        for count in threads:
            rows, launches, names = _time_all(paths, folder, batches, count, seconds)
            timings += rows
            for place, name in enumerate(names):
                if name in loads:
                    loads[name] += [launch.load_seconds[place] for launch in launches]
    except WorkerError as error:
        return CaseResult(case.name, case.what, f"{error.label}: {error}", tuple(variants))
    variants = [
        replace(variant, load_ms=1e3 * statistics.median(loads[variant.name]))
        if loads.get(variant.name)
        else variant
        for variant in variants
    ]
    return CaseResult(case.name, case.what, "", tuple(variants), tuple(timings))


def _described(variant: Variant, path: Path) -> Variant:
    model = ir.load(path)
    nodes = sum(1 for _ in model.graph.all_nodes())
    return replace(variant, nodes=nodes, bytes=path.stat().st_size)


def _time_all(
    paths: dict[str, Path], folder: Path, batches: Sequence[int], threads: int, seconds: float
) -> tuple[list[Timing], list[Launch], list[str]]:
    feeds = make_feeds(slots_of(ir.load(paths[UNFOLDED])), batches, {}, SEED)
    settings = []
    for number, feed in enumerate(feeds):
        archive = folder / f"inputs{number}.npz"
        np.savez(archive, **{str(i): array for i, array in enumerate(feed.arrays.values())})
        settings.append(Setting("ORT_ENABLE_ALL", archive, tuple(feed.arrays)))
    named = [(UNFOLDED, paths[UNFOLDED]), (_CONTROL, paths[UNFOLDED])]
    named += [(name, path) for name, path in paths.items() if name != UNFOLDED]
    empty = folder / "run"
    empty.mkdir(exist_ok=True)
    plan = Field(
        entrants=tuple(Entrant(name, path) for name, path in named),
        settings=tuple(settings),
        threads=threads,
        providers=("CPUExecutionProvider",),
        folder=empty,
    )
    launches = run_launches(plan, seconds, random.Random(SEED))
    names = [name for name, _ in named]
    rows = [
        _timing(feed.batch, threads, names, [launch.seconds[number] for launch in launches])
        for number, feed in enumerate(feeds)
    ]
    return rows, launches, names


def _timing(
    batch: int,
    threads: int,
    names: Sequence[str],
    rows: Sequence[Sequence[Sequence[float]]],
) -> Timing:
    """Sum up one setting; `rows` is [launch][entrant][round]."""

    def interval(over: str, under: str) -> Interval:
        first, second, again = names.index(over), names.index(under), names.index(_CONTROL)
        if over == UNFOLDED and under != _CONTROL:
            ratios = [candidate_log_ratio(row[first], row[again], row[second]) for row in rows]
        else:
            ratios = [pair_log_ratio(row[first], row[second]) for row in rows]
        return t_interval(ratios, CONFIDENCE)

    control = interval(UNFOLDED, _CONTROL)

    def ratio(over: str, under: str) -> Ratio:
        found = interval(over, under)
        judgement = judge(found, control)
        return Ratio(
            over,
            under,
            math.exp(found.center),
            math.exp(found.low),
            math.exp(found.high),
            judgement.verdict.value,
            judgement.resolution,
        )

    shown = [name for name in names if name != _CONTROL]
    ratios = [ratio(UNFOLDED, name) for name in shown if name != UNFOLDED]
    if "bnfold" in shown:
        ratios += [ratio(name, "bnfold") for name in shown if name not in ("bnfold", UNFOLDED)]
    micros = {
        name: 1e6 * statistics.median(statistics.median(row[names.index(name)]) for row in rows)
        for name in shown
    }
    return Timing(
        batch,
        threads,
        len(rows),
        micros,
        tuple(ratios),
        math.exp(control.low),
        math.exp(control.high),
    )


def losses(cases: Iterable[CaseResult]) -> list[tuple[str, Timing, Ratio]]:
    """Where bnfold's model is slower than the unfolded or another tool's, beyond doubt."""
    return [
        (case.name, timing, ratio)
        for case in cases
        for timing in case.timings
        for ratio in timing.ratios
        if ratio.under == "bnfold" and ratio.over != TWIN and ratio.verdict == "slower"
    ]
