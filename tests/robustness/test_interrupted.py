"""Killing the command at any moment leaves the old file or the new one, whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

OLD = b"the output of an earlier run"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen Gemm+BN pairs of some megabytes, so that writing takes a while."""
    rng = np.random.default_rng(3)
    width, nodes, weights = 300, [], []
    for index in range(12):
        names = [f"{part}{index}" for part in ("w", "b", "scale", "shift", "mean", "var")]
        nodes.append(oh.make_node("Gemm", [f"x{index}", *names[:2]], [f"h{index}"]))
        nodes.append(
            oh.make_node("BatchNormalization", [f"h{index}", *names[2:]], [f"x{index + 1}"])
        )
        shapes = [(width, width)] + [(width,)] * 5
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        arrays[-1] = np.abs(arrays[-1]) + np.float32(0.1)
        weights += [nh.from_array(a, name) for a, name in zip(arrays, names, strict=True)]
    graph = oh.make_graph(
        nodes,
        "g",
        [oh.make_tensor_value_info("x0", 1, ["N", width])],
        [oh.make_tensor_value_info("x12", 1, ["N", width])],
        weights,
    )
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx.save(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8), path)
    return path


def command(model: Path, target: Path) -> list[str]:
    return [
        sys.executable, "-m", "bnfold", str(model), "-o", str(target),
        "--force", "--no-verify", "--no-bench",
    ]  # fmt: skip


def run_whole(model: Path, target: Path) -> tuple[bytes, float]:
    """Run to the end; return the output and how long it took."""
    started = time.monotonic()
    run = subprocess.run(command(model, target), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    return target.read_bytes(), time.monotonic() - started


def interrupt(
    model: Path, target: Path, after: float, how: signal.Signals
) -> subprocess.CompletedProcess[bytes]:
    process = subprocess.Popen(
        command(model, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(after)
    process.send_signal(how)
    out, error = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, out, error)


def check_moments(model: Path, folder: Path, rng: np.random.Generator, count: int) -> None:
    target = folder / "out.onnx"
    whole, seconds = run_whole(model, folder / "first.onnx")
    (folder / "first.onnx").unlink()
    for turn in range(count):
        existed = turn % 2 == 0
        target.unlink(missing_ok=True)
        if existed:
            target.write_bytes(OLD)
        how = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[turn % 3]
        # The end of the run is where it writes.
        after = seconds * (rng.uniform(0, 1.1) if turn % 4 else rng.uniform(0.8, 1.0))
        run = interrupt(model, target, after, how)
        left = target.read_bytes() if target.exists() else None
        assert left in (whole, OLD if existed else None), f"turn {turn}: {how} after {after} s"
        if run.returncode == 0:
            assert left == whole
        if how is signal.SIGINT:
            assert [entry.name for entry in folder.iterdir()] in ([], ["out.onnx"])
            # Before its first line runs, Python itself answers with a traceback.
            if run.returncode == 130:
                assert run.stderr.splitlines()[-1] == b"bnfold: interrupted."


def test_at_random_moments(model: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    check_moments(model, tmp_path, rng, 6)


@pytest.mark.slow
def test_at_many_random_moments(model: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    check_moments(model, tmp_path, rng, 100)


def test_concurrent_runs_on_one_target(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    whole, _ = run_whole(model, tmp_path / "first.onnx")
    (tmp_path / "first.onnx").unlink()
    runs = [subprocess.Popen(command(model, target), stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert target.read_bytes() == whole
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.onnx"]
