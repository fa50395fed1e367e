"""Time and memory of folding a model of gigabytes, beside copying it and beside onnxscript.

    python -m benchmarks.large_model

A stack of Gemm and BatchNormalization layers with its weights in external data is made in a
temporary folder (twice its size must be free there), folded without checks by every entrant in a
process of its own, and deleted. Peak memory is private memory (RssAnon), sampled; pages of mapped
files belong to the system's cache and are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
from onnx import TensorProto

HERE = Path(__file__).resolve().parent
_BN = ("scale", "shift", "mean", "var")
_SAMPLE_SECONDS = 0.005
_LIMIT_SECONDS = 1800

# What runs in a process of its own, given the paths of input and output.
_PROGRAMS = {
    "bnfold": (
        "import sys, bnfold\n"
        "result = bnfold.fold(sys.argv[1], verify=False)\n"
        "result.save(sys.argv[2])\n"
    ),
    "bnfold, open and save only": (
        "import sys\n"
        "from bnfold.formats.onnx.open import open_onnx\n"
        "from bnfold.formats.onnx.save import save_onnx\n"
        "save_onnx(open_onnx(sys.argv[1]), sys.argv[2])\n"
    ),
    "onnxscript": (
        "import sys\n"
        "import onnxscript.optimizer, onnxscript.rewriter\n"
        "from onnxscript import ir\n"
        "model = ir.load(sys.argv[1])\n"
        "onnxscript.optimizer.optimize(model)\n"
        "model = onnxscript.rewriter.rewrite(model)\n"
        "ir.save(model, sys.argv[2], external_data='out.data')\n"
    ),
}
_COPY = "cp"


@dataclass(frozen=True)
class Figure:
    """One entrant.

    Attributes:
        name: of the tool.
        seconds: median wall time of its process, start to end.
        fastest: the shortest of them.
        cpu: median processor time of all its threads, which other work on the machine touches less.
        private_mb: largest peak of private memory.
        normalizations: BatchNormalization nodes left.
        error: largest difference of the output, relative to its largest value, from the original
            computed in float64; None where nothing was computed.
        problem: "" or why there are no figures.
    """

    name: str
    seconds: float = 0.0
    fastest: float = 0.0
    cpu: float = 0.0
    private_mb: float = 0.0
    normalizations: int = 0
    error: float | None = None
    problem: str = ""


def make_model(folder: Path, layers: int, width: int) -> Path:
    """Write `layers` Gemm+BN pairs of `width` x `width` float32 weights with external data."""
    rng = np.random.default_rng(5)
    nodes, weights, offset = [], [], 0
    path = folder / "model.onnx"
    with (folder / "model.data").open("wb") as data:
        for index in range(layers):
            arrays = {
                "w": rng.standard_normal((width, width), np.float32) / np.float32(width**0.5),
                "b": rng.standard_normal(width, np.float32),
                "scale": rng.standard_normal(width, np.float32),
                "shift": rng.standard_normal(width, np.float32),
                "mean": rng.standard_normal(width, np.float32),
                "var": rng.uniform(0.1, 3, width).astype(np.float32),
            }
            for name, array in arrays.items():
                tensor = TensorProto(
                    name=f"{name}{index}",
                    data_type=TensorProto.FLOAT,
                    dims=array.shape,
                    data_location=TensorProto.EXTERNAL,
                )
                place = {"location": "model.data", "offset": offset, "length": array.nbytes}
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))
                weights.append(tensor)
                data.write(array.tobytes())
                offset += array.nbytes
            x, h, y = f"x{index}", f"h{index}", f"x{index + 1}"
            parameters = [f"{part}{index}" for part in _BN]
            nodes.append(oh.make_node("Gemm", [x, f"w{index}", f"b{index}"], [h], name=f"g{index}"))
            nodes.append(
                oh.make_node("BatchNormalization", [h, *parameters], [y], name=f"bn{index}")
            )
    graph = oh.make_graph(
        nodes,
        "large",
        [oh.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", width])],
        [oh.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["N", width])],
        weights,
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@dataclass(frozen=True)
class Run:
    """One process: wall and processor seconds, peak of private memory, and what went wrong."""

    seconds: float
    cpu: float
    private_mb: float
    problem: str


def measure(command: list[str], folder: Path) -> Run:
    """Run a command to its end."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles all modules each time
    log = folder / "stderr"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, cwd=folder
        )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _private_kb(process.pid))
        if time.monotonic() - started > _LIMIT_SECONDS:
            process.kill()
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lines = log.read_text(errors="replace").strip().splitlines()
    problem = (lines or ["failed"])[-1] if process.returncode else ""
    return Run(seconds, cpu, peak / 1000, problem)


def _private_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def evaluate(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compute Gemms, Adds and BatchNormalizations in float64, one weight in memory at a time."""
    model = onnx.load(path, load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def read(name: str) -> np.ndarray[Any, Any]:
        tensor = tensors[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(tensor).astype(np.float64)
        entry = {e.key: e.value for e in tensor.external_data}
        count = int(np.prod(tensor.dims))
        place = path.parent / entry["location"]
        flat = np.fromfile(place, np.float32, count, offset=int(entry.get("offset", 0)))
        return flat.reshape(tensor.dims).astype(np.float64)

    for node in model.graph.node:
        constants = [read(name) for name in node.input if name in tensors]
        if node.op_type == "Gemm":
            attributes = {a.name: a for a in node.attribute}
            kernel = constants[0].T if "transB" in attributes else constants[0]
            x = x @ kernel + (constants[1] if len(constants) > 1 else 0)
        elif node.op_type == "MatMul":
            x = x @ constants[0]
        elif node.op_type == "Add":
            x = x + constants[0]
        elif node.op_type == "BatchNormalization":
            scale, shift, mean, variance = constants
            x = (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
        else:
            raise ValueError(f"unexpected {node.op_type}")
    return x


def _commands(source: Path, target: Path, peers: str) -> Iterator[tuple[str, list[str]]]:
    yield _COPY, ["cp", str(source), str(source.with_name("model.data")), str(target.parent)]
    for name, program in _PROGRAMS.items():
        python = peers if name == "onnxscript" else sys.executable
        yield name, [python, "-c", program, str(source), str(target)]


def compare(folder: Path, layers: int, width: int, rounds: int, peers: str) -> list[Figure]:
    """Measure every entrant `rounds` times, in turn."""
    source = make_model(folder, layers, width)
    x = np.random.default_rng(6).standard_normal((3, width))
    truth = evaluate(source, x)
    names = [name for name, _ in _commands(source, source, peers)]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    figures: dict[str, Figure] = {}
    for turn in range(rounds):
        for name in names:
            if name in figures and figures[name].problem:
                continue
            place = folder / "out"
            place.mkdir()
            target = place / "model.onnx"
            command = dict(_commands(source, target, peers))[name]
            os.sync()  # what the one before left to write is not the next one's time
            run = measure(command, place)
            if run.problem:
                figures[name] = Figure(name, problem=run.problem)
            elif turn == 0:
                figures[name] = _examine(name, target, x, truth)
            runs[name].append(run)
            shutil.rmtree(place)
            print(f"{name}: {run}", flush=True)
    return [_with_runs(figures[name], runs[name]) for name in names]


def _examine(
    name: str, target: Path, x: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]
) -> Figure:
    nodes = onnx.load(target, load_external_data=False).graph.node
    left = sum(node.op_type == "BatchNormalization" for node in nodes)
    error = float(np.abs(evaluate(target, x) - truth).max() / np.abs(truth).max())
    wrong = "" if error < 1e-4 else "it computes something else"
    return Figure(name, normalizations=left, error=error, problem=wrong)


def _with_runs(figure: Figure, runs: list[Run]) -> Figure:
    if figure.problem:
        return figure
    return replace(
        figure,
        seconds=round(statistics.median(run.seconds for run in runs), 3),
        fastest=round(min(run.seconds for run in runs), 3),
        cpu=round(statistics.median(run.cpu for run in runs), 3),
        private_mb=round(max(run.private_mb for run in runs), 1),
    )


def as_markdown(figures: list[Figure], facts: dict[str, str]) -> str:
    """The table, and where it was measured."""
    lines = [
        "# A model of gigabytes",
        "",
        "Made by `python -m benchmarks.large_model`: "
        + ", ".join(f"{name} {value}" for name, value in facts.items())
        + ".",
        "",
        "| | median s | fastest s | processor s | peak private MB | BN left | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in figures:
        if each.problem:
            lines.append(f"| {each.name} | {each.problem} | | | | | |")
            continue
        error = "" if each.error is None else f"{each.error:.1e}"
        lines.append(
            f"| {each.name} | {each.seconds:.2f} | {each.fastest:.2f} | {each.cpu:.2f} "
            f"| {each.private_mb:.0f} | {each.normalizations} | {error} |"
        )
    lines += [
        "",
        "The error is the largest difference of the output from the original's, both computed in",
        "float64 from the stored weights, relative to the largest output. Processes are measured "
        "from",
        "start to end, imports included; what a copy leaves in the system's cache is warm for all.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, write results/large_model.json and .md; exit code 1 when bnfold failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096, help="a layer has width^2 weights")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=sys.executable, help="Python that has onnxscript")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--folder", type=Path, help="where to make the model (default: temporary)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bnfold-large-", dir=options.folder))
    try:
        figures = compare(folder, options.layers, options.width, options.rounds, options.peers)
    finally:
        shutil.rmtree(folder)
    total = options.layers * options.width**2 * 4
    facts = {
        "weights": f"{total / 1e9:.2f} GB in {options.layers} layers of {options.width}",
        "rounds": str(options.rounds),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "onnx": onnx.__version__,
    }
    options.out.mkdir(exist_ok=True)
    content = {"facts": facts, "figures": [asdict(each) for each in figures]}
    (options.out / "large_model.json").write_text(json.dumps(content, indent=2) + "\n")
    (options.out / "large_model.md").write_text(as_markdown(figures, facts))
    return int(any(each.problem and each.name.startswith("bnfold") for each in figures))


if __name__ == "__main__":
    sys.exit(main())
