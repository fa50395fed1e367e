"""Every family of keras.applications: bnfold's folded model beside what tf2onnx and onnxslim make.

    python -m benchmarks.keras_families [FAMILY ...] [--seconds 40] [--onnxslim COMMAND]

Each family at the smallest size that it builds, without weights, its normalizations with gammas of
both signs and the statistics of what comes in. Both models are compared with Keras before they are
timed: pairs of fresh processes, batch 1, one thread. Writes results/keras_families.json and .md;
where families are named, their rows replace those that stand there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnfold.bench.environment import describe_machine

RESULTS = Path(__file__).with_name("results")
_NORMS = ("BatchNormalization", "Normalization", "Rescaling")


@dataclass(frozen=True)
class Family:
    """One family's figures.

    Attributes:
        name, size: its function, and height and width of its input.
        nodes: of the direct conversion, of it folded, of tf2onnx, of that after onnxslim (0 where
            it is not installed).
        seconds: of the direct conversion and folding, and of tf2onnx.
        folded, kept: normalization layers that go and that leave something behind.
        codes: why they stay.
        error, other_error: largest difference from Keras, relative to the largest output.
        latency: what the measurement says of bnfold's model against the other.
    """

    name: str
    size: int
    nodes: tuple[int, int, int, int]
    seconds: tuple[float, float]
    folded: int
    kept: int
    codes: tuple[str, ...]
    error: float
    other_error: float
    latency: str


def measure(name: str, seconds: float, slim: str | None) -> Family:
    """Build one family, convert it both ways, compare and time."""
    import keras
    import onnx_ir as ir

    import bnfold
    from benchmarks.applications import SIZES, build, image
    from bnfold.convert.direct import convert
    from bnfold.convert.tf2onnx_road import convert_keras
    from bnfold.formats.onnx.fold import fold_model

    keras.backend.clear_session()
    model = build(keras, name)
    start = time.perf_counter()
    converted = convert(model)
    before = len(list(converted.model.graph))
    folded = fold_model(converted.model, labels=converted.labels)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    other = convert_keras(model).model
    theirs = time.perf_counter() - start
    count = len(list(other.graph))
    images = image(name)
    want = np.asarray(model(images, training=False))
    with tempfile.TemporaryDirectory(prefix="bnfold-families-") as folder:
        mine, plain, slimmed = (Path(folder) / f"{one}.onnx" for one in ("mine", "plain", "slim"))
        ir.save(folded.model, mine)
        ir.save(other, plain)
        if slim:
            subprocess.run([slim, str(plain), str(slimmed)], check=True, capture_output=True)
        rival = slimmed if slim else plain
        rival_nodes = len(list(ir.load(rival).graph)) if slim else 0
        errors = [_error(path, images, want) for path in (mine, rival)]
        said = ""
        if seconds:
            timed = bnfold.benchmark(
                rival, mine, budget_seconds=seconds, batches=(1,), modes=("ENABLE_ALL",), threads=1
            )
            said = timed.comparisons[0].sentence
    gone = {one.source for one in folded.folds if _is_norm(model, one.source)}
    left = [one for one in folded.kept if _is_norm(model, one.source)]
    codes = sorted({refusal.reason.code for one in left for refusal in one.refusals})
    return Family(
        name,
        SIZES[name],
        (before, len(list(folded.model.graph)), count, rival_nodes),
        (ours, theirs),
        len(gone),
        len({one.source for one in left}),
        tuple(codes),
        errors[0],
        errors[1],
        said,
    )


def _is_norm(model: Any, path: str) -> bool:
    for name in path.split("/"):
        found = [layer for layer in getattr(model, "layers", ()) if layer.name == name]
        if not found:
            return False
        model = found[0]
    return type(model).__name__ in _NORMS


def _error(path: Path, images: np.ndarray, want: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: images})
    return float(np.abs(got - want).max() / np.abs(want).max())


def page(families: list[Family], machine: dict[str, str], command: str) -> str:
    """The figures as Markdown."""
    lines = [
        "# keras.applications",
        "",
        f"`{command}`",
        "",
        "Direct conversion and folding against tf2onnx and onnxslim of the same net. *Nodes*:",
        "direct, folded; tf2onnx, then onnxslim. *Seconds*: to convert and fold; by tf2onnx alone.",
        "*Error*: of bnfold's model and of the other against Keras, by the largest output.",
        "*Latency*: of bnfold's model against the other, batch 1, one thread.",
        "",
        "| family | size | nodes | tf2onnx, slim | seconds | tf2onnx | norms folded | left | codes "
        "| error | other's | latency |",
        "|---" * 12 + "|",
    ]
    for one in families:
        rival = f"{one.nodes[2]}, {one.nodes[3] or 'not installed'}"
        lines.append(
            f"| {one.name} | {one.size} | {one.nodes[0]}, {one.nodes[1]} | {rival} "
            f"| {one.seconds[0]:.1f} | {one.seconds[1]:.1f} | {one.folded} | {one.kept} "
            f"| {' '.join(one.codes)} | {one.error:.0e} | {one.other_error:.0e} | {one.latency} |"
        )
    lines += ["", *(f"- {key}: {text}" for key, text in machine.items()), ""]
    return "\n".join(lines)


def _written(folder: Path) -> dict[str, Family]:
    """The rows that an earlier run wrote."""
    path = folder / "keras_families.json"
    if not path.exists():
        return {}
    rows = json.loads(path.read_text("utf-8"))["families"]
    lists = ("nodes", "seconds", "codes")
    return {
        row["name"]: Family(**{k: tuple(v) if k in lists else v for k, v in row.items()})
        for row in rows
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen families and write the page."""
    from bnfold.formats.keras import runtime

    parser = argparse.ArgumentParser(prog="python -m benchmarks.keras_families")
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--seconds", type=float, default=40.0, help="of timing per family; 0: none")
    parser.add_argument("--onnxslim", default="onnxslim", help="its command")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    runtime.import_keras()
    from benchmarks.applications import SIZES

    slim = shutil.which(options.onnxslim)
    rows = _written(options.out) if options.families else {}
    for name in options.families or SIZES:
        rows[name] = measure(name, options.seconds, slim)
        print(rows[name], file=sys.stderr, flush=True)
    done = [rows[name] for name in SIZES if name in rows]
    options.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    command = "python -m benchmarks.keras_families"
    given = {"machine": machine, "families": [asdict(one) for one in done]}
    text = json.dumps(given, indent=2) + "\n"
    (options.out / "keras_families.json").write_text(text, encoding="utf-8")
    (options.out / "keras_families.md").write_text(page(done, machine, command), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
