"""How launches are arranged."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnfold.bench import lockstep
from bnfold.bench.lockstep import (
    Entrant,
    Field,
    Launch,
    Setting,
    calls_per_batch,
    choose_slice,
    run_launches,
    turns,
)
from bnfold.bench.process import Worker, WorkerError


def field(entrants: list[Path], feeds: Path, folder: Path, levels: tuple[str, ...]) -> Field:
    return Field(
        entrants=tuple(Entrant(f"model {i}", path) for i, path in enumerate(entrants)),
        settings=tuple(Setting(level, feeds, ("x",)) for level in levels),
        threads=1,
        providers=("CPUExecutionProvider",),
        folder=folder,
        patience=60.0,
    )


def test_turns_mirror_each_other_and_use_every_order() -> None:
    orders = turns(3, 600, random.Random(0))
    assert len(orders) == 600
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        assert second == first[::-1]
    counts = Counter(tuple(order) for order in orders)
    assert len(counts) == 6
    assert min(counts.values()) > 60


def test_an_odd_number_of_turns_is_cut() -> None:
    assert len(turns(2, 3, random.Random(0))) == 3


@pytest.mark.parametrize(
    ("estimates", "calls"),
    [([1e-5, 1e-4], 100), ([3e-4, 5e-4], 4), ([0.5, 0.2], 1), ([0.0, 1.0], 1_000_000)],
)
def test_every_model_s_batch_lasts_a_millisecond(estimates: list[float], calls: int) -> None:
    assert calls_per_batch(estimates) == pytest.approx(calls, abs=1)


def test_a_slice_is_bounded_and_shared_between_settings() -> None:
    quick = choose_slice(5.0, 0.3, 1)
    assert lockstep.MIN_SLICE < quick <= 0.3
    assert choose_slice(5.0, 0.3, 4) < quick
    assert choose_slice(5.0, 20.0, 1) == lockstep.MIN_SLICE
    assert choose_slice(600.0, 20.0, 1) == lockstep.MAX_SLICE


@pytest.mark.parametrize(
    ("budget", "each", "launches"), [(5.0, 0.5, 10), (5.0, 2.0, 3), (0.1, 2.0, 3), (60.0, 1.0, 60)]
)
def test_as_many_launches_as_the_budget_holds_but_three_at_least(
    monkeypatch: pytest.MonkeyPatch, budget: float, each: float, launches: int
) -> None:
    clock = 0.0

    def launch(plan: Any, slice_seconds: float, rng: random.Random) -> Launch:
        nonlocal clock
        clock += each
        return Launch((), (), ())

    monkeypatch.setattr(lockstep, "_launch", launch)
    monkeypatch.setattr(lockstep, "time", SimpleNamespace(perf_counter=lambda: clock))
    monkeypatch.setattr(lockstep, "choose_slice", lambda *args: lockstep.MIN_SLICE)
    seen: list[float] = []
    plan = SimpleNamespace(settings=(None,))
    done = run_launches(plan, budget, random.Random(0), seen.append)  # type: ignore[arg-type]
    assert abs(len(done) - launches) <= 1 and len(done) >= 3
    assert seen == sorted(seen)
    assert all(0 < fraction <= 1 for fraction in seen)


def test_a_launch_measures_every_setting_of_every_model(
    model_file: Path, feeds_file: Path, run_folder: Path
) -> None:
    levels = ("ORT_ENABLE_ALL", "ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
    plan = field([model_file] * 3, feeds_file, run_folder, levels)
    launches = run_launches(plan, 0.01, random.Random(0))
    assert len(launches) == 3
    for launch in launches:
        assert len(launch.seconds) == 3
        for setting in launch.seconds:
            assert len(setting) == 3
            assert len({len(rounds) for rounds in setting}) == 1
            assert all(seconds > 0 for rounds in setting for seconds in rounds)
        assert all(seconds > 0 for seconds in launch.load_seconds)
        assert len(launch.peak_bytes) == 3


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """All workers that the test started."""
    workers: list[Worker] = []
    real = Worker.__init__

    def remember(self: Worker, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        workers.append(self)

    monkeypatch.setattr(Worker, "__init__", remember)
    return workers


def test_a_bad_model_is_named_and_nobody_is_left(
    model_file: Path, feeds_file: Path, run_folder: Path, tmp_path: Path, started: list[Worker]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    plan = field([model_file, broken], feeds_file, run_folder, ("ORT_ENABLE_ALL",))
    with pytest.raises(WorkerError) as caught:
        run_launches(plan, 1.0, random.Random(0))
    assert (caught.value.label, caught.value.what) == ("model 1", "load")
    assert len(started) == 2
    assert all(worker._process.poll() is not None for worker in started)


@pytest.mark.parametrize("what", [KeyboardInterrupt, WorkerError("model 1", "time", "died")])
def test_an_interruption_in_the_midst_leaves_nobody(
    monkeypatch: pytest.MonkeyPatch,
    model_file: Path,
    feeds_file: Path,
    run_folder: Path,
    started: list[Worker],
    what: BaseException,
) -> None:
    ask: Callable[..., dict[str, Any]] = Worker.ask

    def interrupted(self: Worker, **message: Any) -> dict[str, Any]:
        if message["do"] == "time" and self.label == "model 1":
            raise what
        return ask(self, **message)

    monkeypatch.setattr(Worker, "ask", interrupted)
    plan = field([model_file, model_file], feeds_file, run_folder, ("ORT_ENABLE_ALL",))
    with pytest.raises(what if isinstance(what, type) else type(what)):
        run_launches(plan, 1.0, random.Random(0))
    assert len(started) == 2
    assert all(worker._process.poll() is not None for worker in started)


def test_the_order_of_launching_varies(
    model_file: Path, feeds_file: Path, run_folder: Path, started: list[Worker]
) -> None:
    plan = field([model_file] * 3, feeds_file, run_folder, ("ORT_ENABLE_ALL",))
    run_launches(plan, 0.01, random.Random(1))
    orders = {tuple(w.label for w in started[i : i + 3]) for i in range(0, len(started), 3)}
    assert len(orders) > 1


class FakeWorker:
    """Answers as a worker whose calls all take `seconds` would."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.timed: list[int] = []

    def ask(self, **message: Any) -> dict[str, Any]:
        if message["do"] == "time":
            self.timed.append(message["calls"])
            return {"seconds": self.seconds * message["calls"]}
        return {"seconds": self.seconds}


@pytest.mark.parametrize(("fast", "slow", "calls"), [(1e-5, 3e-5, 100), (0.2, 0.3, 1)])
def test_a_sample_is_seconds_per_call_whatever_the_batch(
    feeds_file: Path, fast: float, slow: float, calls: int
) -> None:
    workers = {0: FakeWorker(slow), 1: FakeWorker(fast)}
    setting = Setting("ORT_ENABLE_ALL", feeds_file, ("x",))
    samples = lockstep._time_setting(workers, setting, 0.05, random.Random(0))  # type: ignore[arg-type]
    assert samples[0] == pytest.approx([slow] * len(samples[0]))
    assert samples[1] == pytest.approx([fast] * len(samples[0]))
    assert len(samples[0]) >= 2 and len(samples[0]) % 2 == 0
    assert set(workers[0].timed + workers[1].timed) == {calls}
