"""What is compared: every tool reads one ONNX file and writes another, in a process of its own.

    python -m benchmarks.peers NAME INPUT OUTPUT

Exit code 3 means that the tool is not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOT_INSTALLED = 3
LIMIT_SECONDS = 300


def _bnfold(source: Path, target: Path) -> None:
    import bnfold

    bnfold.fold(source, verify=False).save(target)


def _onnxsim(source: Path, target: Path) -> None:
    import onnx
    import onnxsim

    model, sound = onnxsim.simplify(str(source))
    if not sound:
        raise RuntimeError("its own check failed")
    onnx.save(model, target)


def _onnxslim(source: Path, target: Path) -> None:
    import onnxslim

    onnxslim.slim(str(source), str(target))


def _onnxscript(source: Path, target: Path) -> None:
    import onnxscript.optimizer
    import onnxscript.rewriter
    from onnxscript import ir

    model = ir.load(source)
    onnxscript.optimizer.optimize(model)
    ir.save(onnxscript.rewriter.rewrite(model), target)


def _ort_offline(source: Path, target: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # What lies above is bound to the machine, and every run applies it at load anyway.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _tf2onnx(source: Path, target: Path) -> None:
    import onnx
    from tf2onnx.graph import GraphUtil

    onnx.save(GraphUtil.optimize_model_proto(onnx.load(source), catch_errors=False), target)


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "bnfold": _bnfold,
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
    "ort-offline": _ort_offline,
    "tf2onnx": _tf2onnx,
}


@dataclass(frozen=True)
class Outcome:
    """What came of one tool on one model.

    Attributes:
        path: the file written, None where there is none.
        problem: "" or why there is none, in one line.
        seconds: wall time of the process, imports included.
    """

    path: Path | None
    problem: str
    seconds: float


def run_peer(name: str, source: Path, target: Path) -> Outcome:
    """Run one tool in a fresh process, which may crash, hang or be absent."""
    start = time.perf_counter()
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", name, str(source), str(target)],
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, **quiet},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, f"gave up after {LIMIT_SECONDS} s", time.perf_counter() - start)
    seconds = time.perf_counter() - start
    if done.returncode == NOT_INSTALLED:
        return Outcome(None, "not installed", seconds)
    if done.returncode or not target.exists():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else f"exit code {done.returncode}, no file written"
        return Outcome(None, f"failed: {reason}", seconds)
    return Outcome(target, "", seconds)


def main(arguments: list[str]) -> int:
    """Run one tool here."""
    name, source, target = arguments
    try:
        PEERS[name](Path(source), Path(target))
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        return NOT_INSTALLED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
