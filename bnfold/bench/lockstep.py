"""Several models timed side by side in fresh processes, in lockstep.

One *launch* starts a fresh process for each model, in random order. Within a launch the processes
take turns, in a random order followed by its mirror image (AB/BA), so that a drift of the machine
hits all of them alike. What differs between launches (memory layout, neighbours) is what the
statistics over launches are about.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bnfold.bench.process import PATIENCE_SECONDS, Worker

#: A timed batch of calls lasts at least this long.
BATCH_SECONDS = 1e-3
#: Warm-up of each session and batch size.
WARM_SECONDS = 0.02
#: Fewest launches, whatever the budget: fewer give no usable interval.
MIN_LAUNCHES = 3
#: How many launches a budget is cut into, where the fixed cost of a launch allows.
TARGET_LAUNCHES = 7
#: Shortest and longest measurement of one setting within one launch, in seconds.
MIN_SLICE, MAX_SLICE = 0.04, 1.0
#: Rounds of a setting within one launch; even, for the mirror images.
MIN_ROUNDS, MAX_ROUNDS = 2, 200

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Setting:
    """One thing to time in every process.

    Attributes:
        level: name of a member of onnxruntime's GraphOptimizationLevel.
        inputs: an .npz with arrays "0", "1", ... in the order of `names`.
        names: the inputs' names.
    """

    level: str
    inputs: Path
    names: tuple[str, ...]


@dataclass(frozen=True)
class Entrant:
    """A model that takes part, under the label that error messages use."""

    label: str
    path: Path


@dataclass(frozen=True)
class Launch:
    """What one fresh process of each model measured.

    Attributes:
        seconds: [setting][entrant][round]: seconds per call.
        load_seconds: [entrant]: creation of the process's first session.
        peak_bytes: [entrant]: peak memory above that of the empty process, where known.
    """

    seconds: tuple[tuple[tuple[float, ...], ...], ...]
    load_seconds: tuple[float, ...]
    peak_bytes: tuple[int | None, ...]


@dataclass(frozen=True)
class Field:
    """All that stays the same from launch to launch.

    Attributes:
        entrants: the models, each in a process of its own; the same path may occur twice.
        settings: what to time, in this order; those of one level should stand together.
        threads: intra-op threads of every session.
        providers: execution providers of every session, best first.
        folder: an empty folder for the workers to run in.
        patience: seconds to wait for any one answer of a worker.
    """

    entrants: tuple[Entrant, ...]
    settings: tuple[Setting, ...]
    threads: int
    providers: tuple[str, ...]
    folder: Path
    patience: float = field(default=PATIENCE_SECONDS)


def run_launches(
    plan: Field, budget_seconds: float, rng: random.Random, progress: Progress | None = None
) -> list[Launch]:
    """Launch again and again until one more launch would lead further from the budget.

    Returns:
        at least `MIN_LAUNCHES` launches.

    Raises:
        WorkerError: a model cannot be loaded or run; no process is left behind.
    """
    start = time.perf_counter()
    launches: list[Launch] = []
    slice_seconds = MIN_SLICE
    while True:
        began = time.perf_counter()
        launches.append(_launch(plan, slice_seconds, rng))
        elapsed = time.perf_counter() - start
        took = elapsed - (began - start)
        if progress is not None:
            progress(min(1.0, len(launches) / MIN_LAUNCHES, elapsed / budget_seconds))
        if len(launches) >= MIN_LAUNCHES and elapsed + took / 2 > budget_seconds:
            return launches
        if len(launches) == 1:
            slice_seconds = choose_slice(budget_seconds, took, len(plan.settings))


def choose_slice(budget_seconds: float, first_launch_seconds: float, settings: int) -> float:
    """How long to time each setting within a launch.

    The spread between processes cannot be reduced by timing longer within one, so the budget goes
    into launches first, down to the point where starting them costs as much as timing them.
    """
    overhead = max(0.0, first_launch_seconds - MIN_SLICE * settings)
    share = budget_seconds / TARGET_LAUNCHES - overhead
    return min(MAX_SLICE, max(MIN_SLICE, min(overhead, share) / settings))


def calls_per_batch(estimates: Sequence[float]) -> int:
    """Calls that make a batch last `BATCH_SECONDS` for the fastest model; the same for all, so
    that whatever a batch costs once is shared out alike."""
    return max(1, math.ceil(BATCH_SECONDS / max(min(estimates), 1e-9)))


def turns(entrants: int, rounds: int, rng: random.Random) -> list[list[int]]:
    """The order of each round: a random one, then its mirror image, and so on."""
    orders: list[list[int]] = []
    while len(orders) < rounds:
        order = rng.sample(range(entrants), entrants)
        orders += [order, order[::-1]]
    return orders[:rounds]


def _launch(plan: Field, slice_seconds: float, rng: random.Random) -> Launch:
    count = len(plan.entrants)
    with ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for index in rng.sample(range(count), count):
            label = plan.entrants[index].label
            workers[index] = stack.enter_context(Worker(label, plan.folder, plan.patience))
        for worker in workers.values():
            # Nobody is timed while another is still importing.
            worker.ask(do="hello")
        first_loads: list[float] = []
        seconds: list[tuple[tuple[float, ...], ...]] = []
        level = None
        for setting in plan.settings:
            if setting.level != level:
                level = setting.level
                loads = _load(plan, workers, level, rng)
                first_loads = first_loads or loads
            seconds.append(_time_setting(workers, setting, slice_seconds, rng))
        peaks = tuple(workers[index].ask(do="memory")["peak"] for index in range(count))
    return Launch(tuple(seconds), tuple(first_loads), peaks)


def _load(plan: Field, workers: dict[int, Worker], level: str, rng: random.Random) -> list[float]:
    """Create a session in every process, one process at a time."""
    loads = [0.0] * len(workers)
    for index in rng.sample(range(len(workers)), len(workers)):
        answer = workers[index].ask(
            do="load",
            model=str(plan.entrants[index].path),
            level=level,
            threads=plan.threads,
            providers=list(plan.providers),
        )
        loads[index] = answer["seconds"]
    return loads


def _time_setting(
    workers: dict[int, Worker], setting: Setting, slice_seconds: float, rng: random.Random
) -> tuple[tuple[float, ...], ...]:
    """Time one setting in all processes, in turns; [entrant][round] in seconds per call."""
    count = len(workers)
    estimates = [0.0] * count
    for index in rng.sample(range(count), count):
        workers[index].ask(do="feed", inputs=str(setting.inputs), names=list(setting.names))
        estimates[index] = workers[index].ask(do="warm", seconds=WARM_SECONDS)["seconds"]
    calls = calls_per_batch(estimates)
    prelude = 1 if calls > 1 else 0
    round_seconds = sum(estimates) * (calls + prelude)
    wished = 2 * round(slice_seconds / round_seconds / 2)
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, wished))
    samples: list[list[float]] = [[] for _ in range(count)]
    for order in turns(count, rounds, rng):
        for index in order:
            answer = workers[index].ask(do="time", calls=calls, prelude=prelude)
            samples[index].append(answer["seconds"] / calls)
    return tuple(tuple(sample) for sample in samples)
