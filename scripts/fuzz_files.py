#!/usr/bin/env python3
"""Throw damaged and hostile model files at bnfold and hold it to its promises.

For every file: it is folded or refused in one line; no crash, no hang, no more memory than stated;
nothing in it is executed; nothing outside of the output folder is written, and no file outside of
the model's folder is read.

    python scripts/fuzz_files.py                    # 10,000 files, some minutes
    python scripts/fuzz_files.py --count 300        # what the tests run
    python scripts/fuzz_files.py --road api --count 200 --only keras   # through bnfold.fold
    python scripts/fuzz_files.py --seed 3 --case 4711   # one file again, kept for a look

Exit code 0 when every promise held, 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from fuzzing import keras_damage, onnx_damage  # noqa: E402
from fuzzing.case import CANARY, SECRET, Case  # noqa: E402

# Kind, maker, and how many of a hundred files are of that kind.
KINDS: tuple[tuple[str, Callable[[random.Random], Case], int], ...] = (
    ("onnx-structure", onnx_damage.structural, 38),
    ("onnx-bytes", onnx_damage.broken_bytes, 20),
    ("onnx-external", onnx_damage.external, 6),
    ("keras-bytes", keras_damage.broken_bytes, 12),
    ("keras-config", keras_damage.odd_config, 10),
    ("keras-text", keras_damage.odd_text, 2),
    ("keras-payload", keras_damage.payload, 3),
    ("keras-hdf5", keras_damage.odd_hdf5, 4),
    ("keras-attributes", keras_damage.odd_attributes, 2),
    ("keras-archive", keras_damage.odd_archive, 1),
    ("junk", keras_damage.plain_junk, 2),
)


@dataclass
class Tally:
    """What happened to all files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    peak_mb: tuple[float, str] = (0.0, "")
    lock: threading.Lock = field(default_factory=threading.Lock)


class Worker:
    """A process that opens files, started again when it is lost."""

    def __init__(self, road: str, memory: int, timeout: float, home: Path) -> None:
        self._command = [
            sys.executable, str(HERE / "fuzzing" / "worker.py"),
            "--road", road, "--memory", str(memory),
        ]  # fmt: skip
        self._timeout = timeout
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent))),
            "BNFOLD_FUZZ_ROOT": str(home),
            "TMPDIR": str(home / "tmp"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        self._process: subprocess.Popen[str] | None = None
        self._home = home
        (home / "tmp").mkdir()

    def ask(self, root: Path, name: str) -> dict[str, Any]:
        """Have a file opened; a lost worker is an answer too."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"root": str(root), "name": name}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._line(self._timeout)
        if line:
            answer: dict[str, Any] = json.loads(line)
            if answer["wrong"].startswith("memory"):
                self.stop()  # a peak never falls: the next file deserves a fresh process
            return answer
        code = process.poll()
        self.stop()
        wrong = f"hang: no answer in {self._timeout:.0f} s"
        if code is not None:
            wrong = f"crash: the process ended with {code}"
        return {"outcome": "lost", "detail": "", "wrong": wrong, "seconds": 0, "peak_mb": 0}

    def _start(self) -> subprocess.Popen[str]:
        log = (self._home / "stderr").open("a")
        with contextlib.closing(log):
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                cwd=self._home,
            )
        if self._line(300) != "ready\n":
            self.stop()
            raise RuntimeError(f"the worker did not start: {(self._home / 'stderr').read_text()}")
        return self._process

    def _line(self, timeout: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                return ""
        return self._process.stdout.readline()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None


def make_case(seed: int, number: int, only: str) -> tuple[str, Case]:
    """Return the file of this number; the same for the same seed."""
    rng = random.Random(seed * 1_000_003 + number)
    kinds = [kind for kind in KINDS if only in kind[0]]
    kind, maker, _ = rng.choices(kinds, [weight for *_, weight in kinds])[0]
    return kind, maker(rng)


def judge(
    root: Path, case: Case, answer: dict[str, Any], before: dict[str, tuple[int, int]]
) -> str:
    """Say what promise was broken, "" when none was."""
    if answer["wrong"]:
        return str(answer["wrong"])
    if answer["outcome"] == "refused for memory":
        return "more memory than stated was asked for"
    if list(root.rglob(CANARY)):
        return "code in the file was executed"
    if fingerprint(root / "in") != before or len(list((root / "outside").iterdir())) != 1:
        return "something outside of the output folder was written"
    written = sorted((root / "out").iterdir())
    if answer["outcome"] != "folded" and written:
        return f"refused, and yet {written[0].name} was written"
    for file in written:
        if SECRET[:32] in file.read_bytes():
            return "bytes from outside of the model's folder came out"
    return ""


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def run(options: argparse.Namespace, home: Path, tally: Tally, share: int) -> None:
    """Take every n-th file."""
    place = home / f"worker{share}"
    place.mkdir()
    worker = Worker(options.road, options.memory, options.timeout, place)
    numbers = range(options.first + share, options.first + options.count, options.workers)
    try:
        for number in numbers if options.case is None else [options.case]:
            kind, case = make_case(options.seed, number, options.only)
            root = place / f"case{number}"
            case.lay_out(root)
            before = fingerprint(root / "in")
            answer = worker.ask(root, case.name)
            wrong = judge(root, case, answer, before)
            with tally.lock:
                tally.outcomes[f"{kind}: {answer['outcome']}"] += 1
                label = f"case {number} ({case.label[:100]})"
                tally.slowest = max(tally.slowest, (round(answer["seconds"], 2), label))
                # A process's peak never falls, so the first case to reach it is the one to name.
                if answer["peak_mb"] > tally.peak_mb[0] + 1:
                    tally.peak_mb = (round(answer["peak_mb"]), label)
                if wrong:
                    tally.failures.append((number, case.label, wrong))
                    print(f"case {number} ({case.label}): {wrong}", flush=True)
            if options.case is not None:
                print(f"{case.label}: {answer}\nkept in {root}")
            elif options.keep and wrong:
                shutil.copytree(
                    root, options.keep / f"case{number}", symlinks=True, dirs_exist_ok=True
                )
            if options.case is None:
                shutil.rmtree(root)
    finally:
        worker.stop()


def main() -> int:
    """Run all files; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="how many files")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--memory", type=int, default=1000, help="MB a worker may add to its start")
    parser.add_argument("--timeout", type=float, default=30, help="seconds per file")
    parser.add_argument("--road", choices=("data", "api"), default="data")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--case", type=int, help="this file alone; it is kept")
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a promise")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bnfold-fuzz-"))
    tally, started = Tally(), time.monotonic()
    shares = 1 if options.case is not None else options.workers
    threads = [
        threading.Thread(target=run, args=(options, home, tally, share)) for share in range(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if options.case is None:
        shutil.rmtree(home)
    done = sum(tally.outcomes.values())
    figures = {
        "files": done,
        "seed": options.seed,
        "road": options.road,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "broken promises": len(tally.failures),
        "seconds": round(time.monotonic() - started, 1),
        "slowest file, seconds": tally.slowest,
        "peak memory, MB": tally.peak_mb,
        "memory limit, MB beyond start": options.memory,
    }
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    expected = 1 if options.case is not None else options.count
    return 0 if done == expected and not tally.failures else 1


if __name__ == "__main__":
    sys.exit(main())
