"""How often the verifier is wrong: false alarms on right folds, misses of planted faults.

    python -m benchmarks.verify_rates
    python -m benchmarks.verify_rates --folds 100 --faults 100 --no-files

Four sets of right folds: random nets, the sample models, the onnx package's own models, and what
onnxruntime's offline optimization makes of the random nets (a stranger's folds). Each random net
gets one fault; it is caught, or not. One that is not caught counts as below the noise only if its
effect on every output is smaller than that of rounding (see `bnfold.verify.mutate.is_below_noise`).
Everything is judged twice: with all checks, and as a stranger's pair by what runs alone, without
the proof and without the unrounded constants. Beside it stands what two fixed tolerances say of
the same pairs on the same inputs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.random_nets import random_net
from bnfold.bench.environment import describe_machine
from bnfold.formats.onnx.apply import apply_plan
from bnfold.formats.onnx.fold import fold_model
from bnfold.formats.onnx.open import open_onnx
from bnfold.verify.compare import verify_models
from bnfold.verify.inputs import Feed, generate_inputs
from bnfold.verify.lift import lift_to_float64
from bnfold.verify.mutate import (
    KINDS,
    NoPlaceError,
    Planted,
    is_below_noise,
    plant_any,
    plant_column,
)
from bnfold.verify.prepare import prepare
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.types import Status, Verification

RESULTS = Path(__file__).with_name("results")
TOLERANCES = ((1e-3, 1e-5), (1e-5, 1e-5))
SAMPLES = 48
ROOT = Path(__file__).parent.parent


@dataclass
class Tally:
    """Verdicts on one set of pairs.

    Attributes:
        name: of the set.
        pairs: how many there were.
        failed: how many the verifier failed, with all checks.
        failed_alone: how many it failed by what runs alone.
        open, open_alone: of how many nothing could be shown.
        allclose: by tolerance, how many pairs differed by more.
        equivalent: faults only: not caught, and shown to be below the noise, with all checks.
        equivalent_alone: the same by what runs alone.
        missed, missed_alone: descriptions of what was neither.
        alarms: descriptions of right folds that failed.
        seconds: wall time.
    """

    name: str
    pairs: int = 0
    failed: int = 0
    failed_alone: int = 0
    open: int = 0
    open_alone: int = 0
    allclose: list[int] = field(default_factory=lambda: [0] * len(TOLERANCES))
    equivalent: int = 0
    equivalent_alone: int = 0
    missed: list[str] = field(default_factory=list)
    missed_alone: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    seconds: float = 0.0


def _differ(original: ir.Model, candidate: ir.Model, feeds: list[Feed]) -> list[bool]:
    """For each tolerance, whether numpy.allclose fails on some output of some feed."""
    try:
        sessions = Session(original), Session(candidate)
        results = [tuple(s.run(feed) for s in sessions) for feed in feeds]
    except RuntimeUnavailableError:
        return [False] * len(TOLERANCES)
    return [
        any(
            not np.allclose(after[name], value, rtol=rtol, atol=atol, equal_nan=True)
            for before, after in results
            for name, value in before.items()
        )
        for rtol, atol in TOLERANCES
    ]


def _failed(result: Verification) -> bool:
    """Some check failed; a result of which nothing could be shown has neither passed nor failed."""
    return any(check.status is Status.FAILED for check in result.checks)


def _codes(result: Verification) -> str:
    found = [c for c in result.checks if c.status is Status.FAILED]
    return "; ".join(f"{c.code} {c.figure} > {c.bound} {c.unit} {c.where}" for c in found)


def _feeds(model: ir.Model, seed: int) -> list[Feed]:
    runs = prepare(model, model, None, None).runs
    return generate_inputs(model, samples=SAMPLES, seed=seed, accepts=runs)


def _right(
    tally: Tally,
    label: str,
    original: ir.Model,
    candidate: ir.Model,
    lifted: tuple[ir.Model, ir.Model] | None,
    seed: int,
    samples: int = SAMPLES,
) -> None:
    """Judge one right fold."""
    tally.pairs += 1
    whole = verify_models(original, candidate, lifted=lifted, seed=seed, samples=samples)
    alone = verify_models(original, candidate, seed=seed, samples=samples, prove=False)
    for result, how in ((whole, "all checks"), (alone, "alone")):
        if _failed(result):
            tally.alarms.append(f"{label}, {how}: {_codes(result)}")
    tally.failed += _failed(whole)
    tally.failed_alone += _failed(alone)
    tally.open += not whole.passed and not _failed(whole)
    tally.open_alone += not alone.passed and not _failed(alone)
    feeds = generate_inputs(original, samples=samples, seed=seed)
    for index, differs in enumerate(_differ(original, candidate, feeds)):
        tally.allclose[index] += differs


def random_folds(count: int) -> Tally:
    """bnfold's folds of random nets."""
    tally = Tally("random nets, folded by bnfold")
    for seed in _progress(range(count), tally.name):
        model = random_net(seed)
        fold = fold_model(model)
        exact = lift_to_float64(model)
        lifted = (exact, apply_plan(exact, fold.plan, double=True))
        _right(tally, f"net {seed}", model, fold.model, lifted, seed)
    return tally


def file_folds(name: str, paths: list[Path], samples: int) -> Tally:
    """bnfold's folds of model files."""
    tally = Tally(name)
    for path in _progress(paths, name):
        model = open_onnx(path)
        fold = fold_model(model)
        exact = lift_to_float64(model)
        lifted = (exact, apply_plan(exact, fold.plan, double=True))
        _right(tally, path.name, model, fold.model, lifted, 0, samples)
    return tally


def keras_folds(paths: list[Path]) -> Tally:
    """bnfold's folds of Keras files, converted first."""
    from bnfold.convert.tf2onnx_road import convert_keras

    tally = Tally("sample models in Keras formats")
    for path in _progress(paths, tally.name):
        model = convert_keras(path).model
        fold = fold_model(model)
        exact = lift_to_float64(model)
        lifted = (exact, apply_plan(exact, fold.plan, double=True))
        _right(tally, path.name, model, fold.model, lifted, 0)
    return tally


def runtime_folds(count: int) -> Tally:
    """Random nets as onnxruntime's offline optimization rewrites them, where it folds anything."""
    import onnxruntime as ort

    tally = Tally("random nets, rewritten by onnxruntime")
    for seed in _progress(range(count), tally.name):
        model = random_net(seed)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimized.onnx"
            options.optimized_model_filepath = str(path)
            try:
                ort.InferenceSession(ir.to_proto(model).SerializeToString(), options)
            except Exception:  # no kernel for the type
                continue
            candidate = ir.from_proto(onnx.load(path))
        if len(list(candidate.graph)) < len(list(model.graph)):
            _right(tally, f"net {seed}", model, candidate, None, seed)
    return tally


Planter = Callable[[ir.Model, np.random.Generator, int], Planted | None]


def any_fault(folded: ir.Model, rng: np.random.Generator, seed: int) -> Planted | None:
    """A fault of the kind whose turn it is, or of another that has a place."""
    kinds = list(KINDS)
    return plant_any(folded, rng, kinds[seed % len(kinds)])


def smallest_fault(folded: ir.Model, rng: np.random.Generator, seed: int) -> Planted | None:
    """One kernel column scaled by 1 + 1e-4; a column of zeros has no such fault."""
    for _ in range(20):
        try:
            return plant_column(folded, rng, 1e-4)
        except NoPlaceError:
            continue
    return None


def planted_faults(name: str, count: int, dtype: str | None, first: int, plant: Planter) -> Tally:
    """Random nets, folded, with a fault in the folded model."""
    tally = Tally(name)
    for seed in _progress(range(first, first + count), name):
        model = random_net(seed, dtype)
        fold = fold_model(model)
        folded, exact = fold.model, lift_to_float64(model)
        lifted = (exact, apply_plan(exact, fold.plan, double=True))
        planted = plant(folded, np.random.default_rng(seed), seed)
        if planted is None:
            continue
        tally.pairs += 1
        feeds = _feeds(model, seed)
        whole = verify_models(model, planted.model, lifted=lifted, seed=seed, samples=SAMPLES)
        alone = verify_models(model, planted.model, seed=seed, samples=SAMPLES, prove=False)
        tally.failed += _failed(whole)
        tally.failed_alone += _failed(alone)
        for index, differs in enumerate(_differ(model, planted.model, feeds)):
            tally.allclose[index] += differs
        if _failed(whole) and _failed(alone):
            continue
        below = is_below_noise(folded, planted.model, feeds, seed=seed)
        text = f"net {seed}: {planted.kind} at {planted.op}: {planted.detail}"
        if not _failed(whole):
            tally.equivalent += below
            tally.missed += [] if below else [text]
        if not _failed(alone):
            tally.equivalent_alone += below
            tally.missed_alone += [] if below else [text]
    return tally


def _progress(items: object, name: str) -> Iterator[object]:
    total, start = list(items), time.monotonic()  # type: ignore[call-overload]
    for number, item in enumerate(total):
        if number % 50 == 0:
            took = time.monotonic() - start
            print(f"{name}: {number} of {len(total)}, {took:.0f} s", file=sys.stderr, flush=True)
        yield item


# ------------------------------------------------------------------------------ report


def markdown(rights: list[Tally], faults: list[Tally], command: str) -> str:
    """The table of both rates."""
    names = [f"allclose {rtol:g}/{atol:g}" for rtol, atol in TOLERANCES]
    lines = [
        "# How often the verifier is wrong",
        "",
        f"`{command}` on {describe_machine().get('cpu', 'a machine')}.",
        "",
        "## False alarms: right folds that fail",
        "",
        f"| right folds | pairs | bnfold, all checks | bnfold, no proof (nothing to show) | "
        f"{' | '.join(names)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for t in rights:
        alone = f"{t.failed_alone} ({t.open_alone})"
        cells = [t.name, t.pairs, t.failed, alone, *t.allclose]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "## Misses: planted faults that pass",
        "",
        "Below the noise: the fault moves every output by less than rounding everything once, so",
        "that no comparison of results can tell it from a right fold.",
        "",
        f"| faults | pairs | bnfold misses | of these below the noise | no proof: misses | of these"
        f" below the noise | {' | '.join(n + ' misses' for n in names)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for t in faults:
        cells = [
            t.name,
            t.pairs,
            t.pairs - t.failed,
            t.equivalent,
            t.pairs - t.failed_alone,
            t.equivalent_alone,
            *(t.pairs - n for n in t.allclose),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    wrong = [line for t in (*rights, *faults) for line in (*t.alarms, *t.missed)]
    if wrong:
        lines += ["", "## Every wrong verdict", "", *(f"- {line}" for line in wrong)]
    grey = [line for t in faults for line in t.missed_alone]
    if grey:
        lines += [
            "",
            "## Seen only by the proof",
            "",
            "Effects between the noise of two right models and the bound, three times the noise:",
            "",
            *(f"- {line}" for line in grey),
        ]
    return "\n".join(lines) + "\n"


def _timed(tally: Tally, start: float) -> Tally:
    tally.seconds = round(time.monotonic() - start, 1)
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write results/verify_rates.md and .json; 1 if any verdict was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=1000, help="random nets to fold")
    parser.add_argument("--faults", type=int, default=1000, help="faults in float32 nets")
    parser.add_argument("--others", type=int, default=300, help="faults of the other two sets")
    parser.add_argument("--no-files", action="store_true", help="leave the model files out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    samples = ROOT / "sample_models"
    rights, faults = [], []
    start = time.monotonic()
    rights.append(_timed(random_folds(options.folds), start))
    rights.append(_timed(runtime_folds(options.folds), time.monotonic()))
    if not options.no_files:
        rights.append(file_folds("sample models in ONNX", sorted(samples.glob("*.onnx")), SAMPLES))
        try:
            files = sorted(p for p in samples.iterdir() if p.suffix in (".h5", ".keras"))
            rights.append(keras_folds(files))
        except ImportError as error:
            print(f"Keras models left out: {error}", file=sys.stderr)
        rights.append(file_folds("models of the onnx package", sorted(light.glob("*.onnx")), 1))
    count, few = options.faults, options.others
    faults.append(planted_faults("eight kinds, float32", count, "float32", 0, any_fault))
    faults.append(
        planted_faults("a column x (1 + 1e-4), float32", few, "float32", 50_000, smallest_fault)
    )
    faults.append(planted_faults("eight kinds, all types", few, None, 100_000, any_fault))
    command = "python -m benchmarks.verify_rates"
    page = markdown(rights, faults, command)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "verify_rates.md").write_text(page, encoding="utf-8")
    data = {
        "machine": describe_machine(),
        "right": [asdict(t) for t in rights],
        "faults": [asdict(t) for t in faults],
    }
    (options.out / "verify_rates.json").write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    print(page)
    return int(any(t.alarms for t in rights) or any(t.missed for t in faults))


if __name__ == "__main__":
    raise SystemExit(main())
