"""Latency of a folded model against its original, measured so that it holds on noisy machines.

Three fresh processes per launch: the original, the original again (the A/A control), and the
folded model, in lockstep (see `bnfold.bench.lockstep`). The interval is over launches.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnfold.bench.environment import (
    available_memory,
    cpu_count,
    describe_machine,
    load_average,
)
from bnfold.bench.flops import estimate_flops
from bnfold.bench.inputs import Feeds, given_feeds, make_feeds, slots_of
from bnfold.bench.lockstep import Entrant, Field, Launch, Setting, run_launches
from bnfold.bench.process import WorkerError
from bnfold.bench.stats import candidate_log_ratio, judge, pair_log_ratio, t_interval
from bnfold.bench.types import Benchmark, Comparison
from bnfold.core.errors import BnfoldError, InputError

if TYPE_CHECKING:
    import onnx_ir as ir

#: The modes that can be asked for: onnxruntime's GraphOptimizationLevel without the prefix.
MODES = ("ENABLE_ALL", "ENABLE_LAYOUT", "ENABLE_EXTENDED", "ENABLE_BASIC", "DISABLE_ALL")
#: Above this many bytes of constants a temporary model gets external data (protobuf ends at 2 GB).
EXTERNAL_DATA_BYTES = 1 << 30
#: Memory of a session per byte of constants: the runtime keeps a second, packed copy of kernels.
SESSION_BYTES_PER_BYTE = 2
_BASELINE, _CONTROL, _CANDIDATE = 0, 1, 2
# What a distribution of times is drawn from.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class _OnDisk:
    """A model where a worker can read it."""

    model: ir.Model
    path: Path
    size: int
    nodes: int


def benchmark_models(
    original: ir.Model | Path,
    folded: ir.Model | Path,
    *,
    batches: Sequence[int] = (1,),
    threads: int = 1,
    modes: Sequence[str] = ("ENABLE_ALL",),
    budget_seconds: float = 5.0,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    dims: Mapping[str, int] | None = None,
    providers: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> Benchmark:
    """Compare the latency of two models with the same interface in onnxruntime.

    Args:
        original, folded: models, or paths of ONNX files (which saves writing a copy).
        batches: sizes for the first dimension of the inputs, where it is symbolic.
        threads: intra-op threads; 0 means all cores.
        modes: of `MODES`.
        budget_seconds: wall time to spend, all in all. At least three launches are made, so a
            large model takes longer.
        inputs: arrays by input name, instead of generated ones; then `batches` has no meaning.
        dims: sizes of symbolic dimensions other than the batch.
        providers: execution providers, best first, as "CPUExecutionProvider" or "cpu".
        progress: called with the fraction done, 0 to 1.
        seed: of the generated inputs and of all random orders.
        confidence: of the intervals.

    Raises:
        InputError: an option or input that does not fit the models.
        BnfoldError: a model cannot be loaded or run; the text is one line.
    """
    start = time.perf_counter()
    _check_options(batches, threads, modes, budget_seconds, confidence)
    chosen_threads = threads or cpu_count()
    environment = describe_machine()
    with tempfile.TemporaryDirectory(prefix="bnfold-bench-") as name:
        folder = Path(name)
        models = _open(original), _open(folded)
        _check_memory(*models)
        first = _put_on_disk(models[0], original, folder / "original.onnx")
        second = _put_on_disk(models[1], folded, folder / "folded.onnx")
        feeds = _choose_feeds(first.model, second.model, batches, inputs, dims or {}, seed)
        run_folder = folder / "run"
        run_folder.mkdir()
        plan = Field(
            entrants=(
                Entrant("original model", first.path),
                Entrant("original model", first.path),
                Entrant("folded model", second.path),
            ),
            settings=_settings(modes, feeds, folder),
            threads=chosen_threads,
            providers=_providers(providers),
            folder=run_folder,
        )
        rng = random.Random(seed)
        try:
            remaining = budget_seconds - (time.perf_counter() - start)
            launches = run_launches(plan, max(remaining, 0.1), rng, progress)
        except WorkerError as error:
            raise _explain(error, feeds[0], inputs is not None) from error
        shapes = {key: array.shape for key, array in feeds[0].arrays.items()}
        environment |= _runtime_facts(plan)
        environment["load average after"] = f"{load_average() or 0.0:.2f}"
        return Benchmark(
            comparisons=_compare_all(launches, modes, feeds, chosen_threads, confidence),
            baseline_load_seconds=_median_load(launches, (_BASELINE, _CONTROL)),
            candidate_load_seconds=_median_load(launches, (_CANDIDATE,)),
            baseline_bytes=first.size,
            candidate_bytes=second.size,
            baseline_nodes=first.nodes,
            candidate_nodes=second.nodes,
            environment=environment,
            seconds=time.perf_counter() - start,
            baseline_peak_bytes=_median_peak(launches, (_BASELINE, _CONTROL)),
            candidate_peak_bytes=_median_peak(launches, (_CANDIDATE,)),
            baseline_flops=estimate_flops(first.model, shapes),
            candidate_flops=estimate_flops(second.model, shapes),
            inputs=feeds[0].lines,
        )


def _check_options(
    batches: Sequence[int],
    threads: int,
    modes: Sequence[str],
    budget_seconds: float,
    confidence: float,
) -> None:
    if not batches or any(batch < 1 for batch in batches):
        raise InputError("batch sizes must be at least 1")
    if threads < 0:
        raise InputError(f"threads must be 0 (all cores) or more, not {threads}")
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"unknown runtime mode {mode!r} (known: {', '.join(MODES)})")
    if not modes:
        raise InputError("at least one runtime mode is needed")
    if not budget_seconds > 0:
        raise InputError(f"the time budget must be positive, not {budget_seconds}")
    if not 0 < confidence < 1:
        raise InputError(f"the confidence must lie between 0 and 1, not {confidence}")


def _open(model: ir.Model | Path) -> ir.Model:
    import onnx_ir as ir

    return ir.load(model) if isinstance(model, Path) else model


def _constants(model: ir.Model) -> list[ir.TensorProtocol]:
    return [
        value.const_value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]


def _constant_bytes(model: ir.Model) -> int:
    return sum(tensor.nbytes for tensor in _constants(model))


def _check_memory(original: ir.Model, folded: ir.Model) -> None:
    """Refuse what would drive the machine into swapping: such figures would mean nothing."""
    needed = 2 * _constant_bytes(original) + _constant_bytes(folded)
    needed *= SESSION_BYTES_PER_BYTE
    available = available_memory()
    if available is not None and needed > available:
        raise BnfoldError(
            f"latency cannot be measured here: three sessions need about {needed / 2**30:.1f} GiB"
            f" of memory and {available / 2**30:.1f} GiB are free"
        )


def _put_on_disk(model: ir.Model, source: ir.Model | Path, target: Path) -> _OnDisk:
    import onnx_ir as ir

    path = target
    if isinstance(source, Path):
        path = source.resolve()
    else:
        external = any(isinstance(tensor, ir.ExternalTensor) for tensor in _constants(model))
        large = _constant_bytes(model) > EXTERNAL_DATA_BYTES
        # References to external data are relative, so they would not hold in another folder.
        data = f"{target.name}.data" if external or large else None
        try:
            ir.save(model, path, external_data=data)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BnfoldError(f"cannot write a temporary copy of the model: {reason}") from error
    nodes = sum(1 for _ in model.graph.all_nodes())
    return _OnDisk(model, path, _size(model, path), nodes)


def _size(model: ir.Model, path: Path) -> int:
    """Bytes of the file and of the data outside it."""
    import onnx_ir as ir

    size = path.stat().st_size
    data = path.with_name(f"{path.name}.data")
    if data.exists():
        return size + data.stat().st_size
    outside = {
        Path(tensor.path) for tensor in _constants(model) if isinstance(tensor, ir.ExternalTensor)
    }
    return size + sum(file.stat().st_size for file in outside if file.exists())


def _choose_feeds(
    original: ir.Model,
    folded: ir.Model,
    batches: Sequence[int],
    inputs: Mapping[str, NDArray[Any]] | None,
    dims: Mapping[str, int],
    seed: int,
) -> list[Feeds]:
    slots, others = slots_of(original), slots_of(folded)
    if [slot.name for slot in slots] != [slot.name for slot in others]:
        raise InputError("the two models have different inputs, so they cannot be compared")
    if inputs is not None:
        return [given_feeds(slots, inputs)]
    return make_feeds(slots, list(dict.fromkeys(batches)), dims, seed)


def _settings(modes: Sequence[str], feeds: Sequence[Feeds], folder: Path) -> tuple[Setting, ...]:
    settings = []
    for number, feed in enumerate(feeds):
        archive = folder / f"inputs{number}.npz"
        arrays = {str(i): array for i, array in enumerate(feed.arrays.values())}
        np.savez(archive, **arrays)  # type: ignore[arg-type]
    for mode in modes:
        for number, feed in enumerate(feeds):
            archive = folder / f"inputs{number}.npz"
            settings.append(Setting(f"ORT_{mode}", archive, tuple(feed.arrays)))
    return tuple(settings)


def _providers(names: Sequence[str] | None) -> tuple[str, ...]:
    """Full names of the providers, each of which the runtime must have."""
    if names is None:
        return ("CPUExecutionProvider",)
    import onnxruntime as ort

    available = {
        full.lower().removesuffix("executionprovider"): full
        for full in ort.get_available_providers()
    }
    chosen = []
    for name in names:
        full = available.get(name.lower().removesuffix("executionprovider"))
        if full is None:
            choice = ", ".join(available)
            raise InputError(f"this onnxruntime has no provider {name!r} (it has: {choice})")
        chosen.append(full)
    return tuple(chosen)


def _runtime_facts(plan: Field) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    facts = {"threads": str(plan.threads), "providers": ", ".join(plan.providers)}
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return {"onnxruntime": version(name), **facts}
        except PackageNotFoundError:
            continue
    return facts


def _explain(error: WorkerError, feeds: Feeds, given: bool) -> BnfoldError:
    """One line for the user: which model, at which step, and what to do."""
    reason = str(error).removeprefix("[ONNXRuntimeError] : ")
    reason = reason if len(reason) <= 300 else reason[:297] + "..."
    if error.what == "load":
        return BnfoldError(f"onnxruntime cannot load the {error.label}: {reason}")
    if error.what == "warm":
        what = "the given inputs" if given else f"generated inputs ({'; '.join(feeds.lines)})"
        hint = "" if given else "; give inputs or dimensions that fit"
        return BnfoldError(f"the {error.label} does not run on {what}: {reason}{hint}")
    return BnfoldError(reason)


def _compare_all(
    launches: Sequence[Launch],
    modes: Sequence[str],
    feeds: Sequence[Feeds],
    threads: int,
    confidence: float,
) -> tuple[Comparison, ...]:
    labels = [(mode, feed.batch) for mode in modes for feed in feeds]
    comparisons = []
    for number, (mode, batch) in enumerate(labels):
        rows = [launch.seconds[number] for launch in launches]
        controls = [pair_log_ratio(row[_BASELINE], row[_CONTROL]) for row in rows]
        ratios = [candidate_log_ratio(*row) for row in rows]
        control, candidate = t_interval(controls, confidence), t_interval(ratios, confidence)
        judgement = judge(candidate, control)
        comparisons.append(
            Comparison(
                mode=mode,
                batch=batch,
                threads=threads,
                baseline_seconds=_median_call(rows, (_BASELINE, _CONTROL)),
                candidate_seconds=_median_call(rows, (_CANDIDATE,)),
                speedup=float(np.exp(candidate.center)),
                low=float(np.exp(candidate.low)),
                high=float(np.exp(candidate.high)),
                confidence=confidence,
                pairs=len(rows),
                control_low=float(np.exp(control.low)),
                control_high=float(np.exp(control.high)),
                verdict=judgement.verdict,
                resolution=judgement.resolution,
                speedups=tuple(math.exp(ratio) for ratio in ratios),
                control_speedups=tuple(math.exp(ratio) for ratio in controls),
                baseline_spread=_spread(rows, (_BASELINE, _CONTROL)),
                candidate_spread=_spread(rows, (_CANDIDATE,)),
            )
        )
    return tuple(comparisons)


def _median_call(rows: Sequence[Sequence[Sequence[float]]], entrants: Sequence[int]) -> float:
    return statistics.median(statistics.median(row[who]) for row in rows for who in entrants)


def _spread(
    rows: Sequence[Sequence[Sequence[float]]], entrants: Sequence[int]
) -> tuple[float, ...]:
    """Quantiles of the times per call over all launches and rounds."""
    times = np.concatenate([np.asarray(row[who]) for row in rows for who in entrants])
    return tuple(float(value) for value in np.quantile(times, _QUANTILES))


def _median_load(launches: Sequence[Launch], entrants: Sequence[int]) -> float:
    return statistics.median(launch.load_seconds[who] for launch in launches for who in entrants)


def _median_peak(launches: Sequence[Launch], entrants: Sequence[int]) -> int | None:
    peaks = [launch.peak_bytes[who] for launch in launches for who in entrants]
    known = [peak for peak in peaks if peak is not None]
    return int(statistics.median(known)) if known else None
