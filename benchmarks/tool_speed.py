"""How long the tool itself takes, beside its peers and beside copying the file.

    python -m benchmarks.tool_speed

Whole processes are measured from start to end, imports included, in turn, round after round; the
first round only warms the caches. Every section can be run alone. `benchmarks.large_model` does
the same for a model of gigabytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import onnx

from benchmarks.large_model import Run, measure
from benchmarks.onnx_models import mlp
from benchmarks.suite import tool_versions
from bnfold.bench.environment import describe_machine

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "sample_models"
COMMAND = "python -m benchmarks.tool_speed"
UNCHECKED = ["--no-verify", "--no-bench", "--quiet", "--force"]
#: Node counts of the chains; the time per node must not grow.
SIZES = (1_000, 10_000, 100_000)
#: Width of the two hidden layers that make the sample net one of 290 MB.
WIDE = 8192

# Loading a Keras model and converting it, without bnfold.
_TF2ONNX_ALONE = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", TF_ENABLE_ONEDNN_OPTS="0")
import keras, tensorflow as tf, tf2onnx
model = keras.models.load_model(sys.argv[1], compile=False)
call = tf.function(lambda x: model(x, training=False))
signature = [tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32, name="x")]
tf2onnx.convert.from_function(call, signature, opset=17, output_path=sys.argv[2])
"""
_BY_TF2ONNX = """
import sys, bnfold
bnfold.fold(sys.argv[1], converter="tf2onnx", verify=False).save(sys.argv[2], force=True)
"""
_VERIFY = """
import sys, bnfold
print(bnfold.fold(sys.argv[1]).verification.seconds)
"""


@dataclass(frozen=True)
class Entrant:
    """A command, and how its name reads in the tables."""

    name: str
    command: list[str]


@dataclass(frozen=True)
class Figure:
    """What came of one entrant.

    Attributes:
        section, name: where it stands.
        seconds, fastest: wall time of its process, median and least.
        cpu: median processor time, which other work on the machine touches less.
        private_mb: largest peak of private memory.
        against: name of the entrant of the same rounds that the ratio refers to, or "".
        ratio, cpu_ratio: median over the rounds of this time divided by that one's.
        problem: "" or why there are no figures.
    """

    section: str
    name: str
    seconds: float = 0.0
    fastest: float = 0.0
    cpu: float = 0.0
    private_mb: float = 0.0
    against: str = ""
    ratio: float = 0.0
    cpu_ratio: float = 0.0
    problem: str = ""


def take_turns(
    section: str,
    entrants: Sequence[Entrant],
    rounds: int,
    folder: Path,
    against: str = "",
    warm: bool = True,
) -> list[Figure]:
    """Run every entrant once to warm up, unless told not to, then ``rounds`` times in turn."""
    runs: dict[str, list[Run]] = {entrant.name: [] for entrant in entrants}
    problems: dict[str, str] = {}
    for turn in range(0 if warm else 1, rounds + 1):
        for entrant in entrants:
            if entrant.name in problems:
                continue
            try:
                run = measure(entrant.command, folder)
            except FileNotFoundError:
                problems[entrant.name] = "not installed"
                continue
            if run.problem:
                problems[entrant.name] = run.problem[:200]
            elif turn:
                runs[entrant.name].append(run)
                print(f"{section}, {entrant.name}: {run.seconds:.2f} s", file=sys.stderr)
    base = [] if against in problems else runs.get(against, [])
    return [
        Figure(section, name, problem=problems[name])
        if name in problems
        else _figure(section, name, found, base, against)
        for name, found in runs.items()
    ]


def _figure(
    section: str, name: str, runs: Sequence[Run], base: Sequence[Run], against: str
) -> Figure:
    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 3)

    compared = bool(base) and name != against
    return Figure(
        section,
        name,
        seconds=median(run.seconds for run in runs),
        fastest=round(min(run.seconds for run in runs), 3),
        cpu=median(run.cpu for run in runs),
        private_mb=round(max(run.private_mb for run in runs), 1),
        against=against if compared else "",
        ratio=median(a.seconds / b.seconds for a, b in zip(runs, base, strict=True))
        if compared
        else 0.0,
        cpu_ratio=median(a.cpu / max(b.cpu, 1e-3) for a, b in zip(runs, base, strict=True))
        if compared
        else 0.0,
    )


def bnfold_command(python: str, source: Path, target: Path) -> list[str]:
    """The command line, told to check and to print nothing."""
    return [python, "-m", "bnfold", str(source), "-o", str(target), *UNCHECKED]


def tiny(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """An ONNX file of 1 MB, without checks"""
    source, target = SAMPLES / "autoencoder.onnx", folder / "out.onnx"
    scripts = Path(sys.executable).parent
    entrants = [
        Entrant("cp", ["cp", str(source), str(target)]),
        Entrant("bnfold", bnfold_command(sys.executable, source, target)),
        Entrant("onnxslim", [str(scripts / "onnxslim"), str(source), str(target)]),
        Entrant("onnxsim", [str(scripts / "onnxsim"), str(source), str(target)]),
        Entrant("importing onnx-ir", [sys.executable, "-c", "import onnx_ir"]),
    ]
    return take_turns("tiny", entrants, 2 * options.rounds, folder, against="onnxslim")


def graphs(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """Chains of Gemm, BatchNormalization and Relu, without checks"""
    figures = []
    for size in SIZES:
        source = folder / f"{size}.onnx"
        onnx.save(mlp(True, depth=size // 3, width=8), source)
        command = bnfold_command(sys.executable, source, folder / "out.onnx")
        entrants = [Entrant(f"bnfold, {size} nodes", command)]
        last = size == SIZES[-1]
        rounds = min(options.rounds, 2) if last else options.rounds
        figures += take_turns("graphs", entrants, rounds, folder, warm=not last)
    return figures


def keras(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """Keras files on the direct road, without checks"""
    wide = folder / "wide.h5"
    make_wide(SAMPLES / "post_activation.h5", wide)
    target = folder / "out.onnx"
    figures = []
    for name, source in (("1 MB", SAMPLES / "post_activation.keras"), ("290 MB", wide)):
        entrants = [
            Entrant(f"cp, {name}", ["cp", str(source), str(target)]),
            Entrant(f"bnfold, {name}", bnfold_command(sys.executable, source, target)),
        ]
        figures += take_turns("keras", entrants, options.rounds, folder)
    return figures


def by_tf2onnx(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """Keras by way of tf2onnx, without checks, beside loading and converting alone"""
    figures = []
    for name in ("post_activation.keras", "conv.keras"):
        files = [str(SAMPLES / name), str(folder / "out.onnx")]
        alone = f"Keras and tf2onnx alone, {name}"
        entrants = [
            Entrant(alone, [options.keras_python, "-c", _TF2ONNX_ALONE, *files]),
            Entrant(f"bnfold, {name}", [options.keras_python, "-c", _BY_TF2ONNX, *files]),
        ]
        figures += take_turns("by_tf2onnx", entrants, options.rounds, folder, against=alone)
    return figures


def verification(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """Reading, folding and verifying a classic net"""
    pythons = {"": sys.executable}
    if options.keras_python != sys.executable:
        pythons[", Keras compared too"] = options.keras_python
    entrants = [
        Entrant(f"{name}{how}", [python, "-c", _VERIFY, str(SAMPLES / name)])
        for name in ("post_activation.keras", "pre_activation.keras", "autoencoder.onnx")
        for how, python in pythons.items()
    ]
    return take_turns("verification", entrants, options.rounds, folder)


SECTIONS: dict[str, Callable[[argparse.Namespace, Path], list[Figure]]] = {
    section.__name__: section for section in (tiny, graphs, keras, by_tf2onnx, verification)
}


def make_wide(sample: Path, target: Path) -> None:
    """Write the sample net with hidden layers of `WIDE` units, without needing Keras."""
    rng = np.random.default_rng(11)
    sizes = {300: WIDE, 100: WIDE}
    with h5py.File(sample) as source, h5py.File(target, "w") as made:

        def put(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                shape = [sizes.get(size, size) for size in item.shape]
                values = rng.uniform(0.5, 1.5, shape) / (shape[0] if len(shape) > 1 else 1)
                made.create_dataset(name, data=values.astype(np.float32))
            else:
                made.require_group(name).attrs.update(item.attrs)

        source.visititems(put)
        made.attrs.update(source.attrs)
        config = json.loads(source.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if "units" in layer["config"]:
                units = layer["config"]["units"]
                layer["config"]["units"] = sizes.get(units, units)
            layer.pop("build_config", None)
        made.attrs["model_config"] = json.dumps(config)


def to_markdown(figures: Sequence[Figure], facts: dict[str, str], command: str) -> str:
    """A table for each section, and where it was measured."""
    lines = [
        "# How long the tool itself takes",
        "",
        f"Made by `{command}`. {facts['machine']}.",
        f"Versions: {facts['versions']}.",
        "",
        "Whole processes, imports included, in turn; medians. Processor time is that of all",
        "threads; on a machine that does other work meanwhile it says more than the wall time. The",
        "ratios are medians over the rounds of the times of both in the same round.",
    ]
    for name, section in SECTIONS.items():
        found = [figure for figure in figures if figure.section == name]
        if not found:
            continue
        lines += ["", f"## {(section.__doc__ or name).splitlines()[0]}", ""]
        lines += ["| | median s | fastest s | processor s | peak private MB | ratio |"]
        lines += ["|---|---:|---:|---:|---:|---|"]
        for each in found:
            if each.problem:
                lines.append(f"| {each.name} | {each.problem} | | | | |")
                continue
            ratio = ""
            if each.against:
                ratio = f"{each.ratio:.2f} ({each.cpu_ratio:.2f} processor) of {each.against}"
            lines.append(
                f"| {each.name} | {each.seconds:.2f} | {each.fastest:.2f} | {each.cpu:.2f} "
                f"| {each.private_mb:.0f} | {ratio} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write results/tool_speed.json and .md; sections not asked for stay as written."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--keras-python",
        default=sys.executable,
        help="a Python that has TensorFlow, if this one has not: the direct road needs none",
    )
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args(arguments)
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown sections: {', '.join(sorted(unknown))}")
    chosen = options.sections or list(SECTIONS)
    written = options.out / "tool_speed.json"
    figures: list[Figure] = []
    if written.exists():
        before = json.loads(written.read_text(encoding="utf-8"))["figures"]
        figures = [Figure(**each) for each in before if each["section"] not in chosen]
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="bnfold-speed-") as folder:
            figures += SECTIONS[name](options, Path(folder))
    described = describe_machine().items()
    versions = {k: v for k, v in tool_versions().items() if v != "not installed"}
    facts = {
        "machine": "Machine: " + ", ".join(f"{name} {value}" for name, value in described),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    content = {"facts": facts, "figures": [asdict(each) for each in figures]}
    written.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    shown = [
        COMMAND,
        *(["--rounds", str(options.rounds)] if options.rounds != 5 else []),
        *([] if options.keras_python == sys.executable else ["--keras-python", "PYTHON"]),
    ]
    page = to_markdown(figures, facts, " ".join(shown))
    (options.out / "tool_speed.md").write_text(page, encoding="utf-8")
    return int(any(each.problem and each.name.startswith("bnfold") for each in figures))


if __name__ == "__main__":
    sys.exit(main())
