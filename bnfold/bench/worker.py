"""One worker process: a fresh interpreter that holds sessions and times calls when told to.

`bnfold.bench.process` starts it (``python -m bnfold.bench.worker`` does too). One JSON object per
line comes in on stdin, one goes out on stdout for each:

    {"do": "hello"}                               -> {"onnxruntime": version, "providers": [...]}
    {"do": "load", "model": path, "level": "ORT_ENABLE_ALL", "threads": 1, "providers": [...]}
        -> {"seconds": session creation, "providers": [...]}
    {"do": "feed", "inputs": path of an .npz with arrays "0", "1", ..., "names": [...]}
        -> {}
    {"do": "warm", "seconds": 0.02}               -> {"seconds": per call, "calls": run}
    {"do": "time", "calls": n, "prelude": m}      -> {"seconds": of n calls, after m untimed ones}
    {"do": "memory"}                              -> {"peak": bytes since start, or null}

What goes wrong is answered with {"error": one line}. The end of stdin ends the process, so an
orphan never stays. Nothing but numpy and onnxruntime is imported: a worker is what a deployment is.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import onnxruntime as ort

Message = dict[str, Any]
#: Fewest warm-up calls, by how long one call takes: (seconds beyond which, calls).
WARM_CALLS = ((1.0, 1), (0.1, 2), (0.0, 5))


class Bench:
    """The session and inputs that the commands work on."""

    def __init__(self) -> None:
        self.session: Any = None
        self.feeds: dict[str, Any] = {}
        self.peak_at_start = peak_bytes()

    def hello(self, message: Message) -> Message:
        """Say that the imports are done."""
        return {"onnxruntime": ort.__version__, "providers": ort.get_available_providers()}

    def load(self, message: Message) -> Message:
        """Create the session, dropping the previous one first."""
        self.session = None
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, message["level"])
        options.intra_op_num_threads = int(message["threads"])
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # A session that spins after its call would steal time from the other worker's call.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        start = time.perf_counter()
        self.session = ort.InferenceSession(
            message["model"], options, providers=message["providers"]
        )
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "providers": self.session.get_providers()}

    def feed(self, message: Message) -> Message:
        """Read the inputs; the names in the archive are numbers, in the order of `names`."""
        with np.load(message["inputs"], allow_pickle=False) as archive:
            self.feeds = {name: archive[str(i)] for i, name in enumerate(message["names"])}
        return {}

    def warm(self, message: Message) -> Message:
        """Call until warm; the median of the second half of the calls is the estimate."""
        times: list[float] = []
        deadline = time.perf_counter() + float(message["seconds"])
        while True:
            times.append(self._call(1))
            enough = next(calls for seconds, calls in WARM_CALLS if times[-1] >= seconds)
            if len(times) >= enough and time.perf_counter() >= deadline:
                break
        return {"seconds": statistics.median(times[len(times) // 2 :]), "calls": len(times)}

    def time(self, message: Message) -> Message:
        """Time a batch of calls, after a prelude that brings the caches back."""
        self._call(int(message["prelude"]))
        return {"seconds": self._call(int(message["calls"]))}

    def memory(self, message: Message) -> Message:
        """How far the peak rose above that of the empty process."""
        peak = peak_bytes()
        if peak is None or self.peak_at_start is None:
            return {"peak": None}
        return {"peak": max(0, peak - self.peak_at_start)}

    def _call(self, calls: int) -> float:
        run, feeds = self.session.run, self.feeds
        start = time.perf_counter()
        for _ in range(calls):
            run(None, feeds)
        return time.perf_counter() - start


def peak_bytes() -> int | None:
    """Peak resident memory of this process, None where the system does not tell.

    Linux: VmHWM, which starts afresh in each program, unlike getrusage's figure, which a child
    inherits from its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answer one command per line until the lines end."""
    bench = Bench()
    commands: dict[str, Callable[[Message], Message]] = {
        "hello": bench.hello,
        "load": bench.load,
        "feed": bench.feed,
        "warm": bench.warm,
        "time": bench.time,
        "memory": bench.memory,
    }
    for line in lines:
        message = json.loads(line)
        try:
            answer = commands[message["do"]](message)
        except Exception as error:
            # onnxruntime raises many types, all of them about the model or its inputs.
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Speak the protocol on the real stdout; whatever else prints goes to stderr."""
    # Ctrl-C reaches the whole process group: the parent decides, the worker just ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    gc.disable()
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
