"""How often the verifier is wrong: false alarms on right folds, misses of planted faults.

    python -m benchmarks.verify_rates --jobs 2
    python -m benchmarks.verify_rates --folds 100 --faults 100 --no-files

Right folds: random nets of many depths and types, the sample models, small nets of
`keras.applications`, the onnx package's own models, all folded by bnfold; and what onnxruntime's
offline optimization makes of the random nets (a stranger's folds). Each random net gets one fault;
it is caught, or not. One that is not caught counts as below the noise only if its effect on every
output is smaller than that of rounding (see `bnfold.verify.mutate.is_below_noise`). Everything is
judged twice: with all checks, and as a stranger's pair by what runs alone, without the proof and
without the unrounded constants. Beside it stands what two fixed tolerances say of the same pairs
on the same inputs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.nets import Net
from benchmarks.random_nets import random_net
from benchmarks.rates import TOLERANCES, Speed, Tally, markdown
from bnfold.bench.environment import describe_machine
from bnfold.formats.onnx.apply import apply_plan
from bnfold.formats.onnx.fold import fold_model
from bnfold.formats.onnx.open import open_onnx
from bnfold.verify.compare import verify_models
from bnfold.verify.inputs import Feed, generate_inputs
from bnfold.verify.lift import NotLiftableError, lift_to_float64
from bnfold.verify.mutate import (
    KINDS,
    NoPlaceError,
    Planted,
    is_below_noise,
    plant_any,
    plant_column,
)
from bnfold.verify.prepare import prepare
from bnfold.verify.proof import Proof, ProofStatus, prove
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.types import Status, Verification

Lifted = tuple[ir.Model, ir.Model]

RESULTS = Path(__file__).with_name("results")
SAMPLES = 24
CHUNK = 25
# For one pair, in seconds: on a busy machine no proof is to be cut short.
BUDGET = 120.0
ROOT = Path(__file__).parent.parent
# Each some megabytes; those with hundreds of layers take minutes.
APPLICATIONS = (
    "DenseNet121",
    "EfficientNetB0",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50V2",
)


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
    lifted: Lifted | None,
    seed: int,
    samples: int = SAMPLES,
) -> None:
    """Judge one right fold."""
    tally.pairs += 1
    drawn: dict[str, Any] = {"seed": seed, "samples": samples, "budget_seconds": BUDGET}
    whole = verify_models(original, candidate, lifted=lifted, **drawn)
    alone = verify_models(original, candidate, prove=False, **drawn)
    for result, how in ((whole, "all checks"), (alone, "alone")):
        if _failed(result):
            tally.alarms.append(f"{label}, {how}: {_codes(result)}")
    tally.failed += _failed(whole)
    tally.failed_alone += _failed(alone)
    tally.open += not whole.passed and not _failed(whole)
    tally.open_alone += not alone.passed and not _failed(alone)
    tally.count(whole.proof)
    if whole.proof is not None and whole.proof.status is not ProofStatus.PROVED:
        reasons = [*(r.reason for r in whole.proof.refutations), *whole.proof.notes]
        tally.unproved.append(f"{label}: {'; '.join(reasons)}")
    feeds = generate_inputs(original, samples=samples, seed=seed)
    for index, differs in enumerate(_differ(original, candidate, feeds)):
        tally.allclose[index] += differs


def _own_fold(model: ir.Model) -> tuple[ir.Model, Lifted | None]:
    """bnfold's fold, and both models in float64 where there is such a thing."""
    fold = fold_model(model)
    try:
        exact = lift_to_float64(model)
    except NotLiftableError:
        return fold.model, None
    return fold.model, (exact, apply_plan(exact, fold.plan, double=True))


def random_folds(seeds: range) -> Tally:
    """bnfold's folds of random nets."""
    tally = Tally("random nets, folded by bnfold")
    for seed in seeds:
        model = random_net(seed)
        _right(tally, f"net {seed}", model, *_own_fold(model), seed)
    return tally


def file_folds(name: str, paths: list[Path], samples: int) -> Tally:
    """bnfold's folds of model files."""
    tally = Tally(name)
    for path in paths:
        model = open_onnx(path)
        _right(tally, path.name, model, *_own_fold(model), 0, samples)
    return tally


def keras_folds(paths: list[Path]) -> Tally:
    """bnfold's folds of Keras files, converted first."""
    from bnfold.api import convert

    tally = Tally("sample models in Keras formats")
    for path in paths:
        model = convert(path)
        _right(tally, path.name, model, *_own_fold(model), 0)
    return tally


def application_folds(names: Sequence[str]) -> Tally:
    """bnfold's folds of keras.applications without weights, their statistics made up."""
    import keras

    from benchmarks.applications import build
    from bnfold.api import convert

    tally = Tally("keras.applications")
    for name in names:
        model = convert(build(keras, name))
        _right(tally, name, model, *_own_fold(model), 0, 4)
    return tally


def runtime_folds(seeds: range) -> Tally:
    """Random nets as onnxruntime's offline optimization rewrites them, where it folds anything."""
    import onnxruntime as ort

    tally = Tally("random nets, rewritten by onnxruntime")
    for seed in seeds:
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


def planted_faults(name: str, seeds: range, dtype: str | None, plant: Planter) -> Tally:
    """Random nets, folded, with a fault in the folded model."""
    tally = Tally(name)
    for seed in seeds:
        model = random_net(seed, dtype)
        folded, lifted = _own_fold(model)
        planted = plant(folded, np.random.default_rng(seed), seed)
        if planted is None:
            continue
        tally.pairs += 1
        feeds = _feeds(model, seed)
        whole = verify_models(model, planted.model, lifted=lifted, seed=seed, samples=SAMPLES)
        alone = verify_models(model, planted.model, seed=seed, samples=SAMPLES, prove=False)
        tally.failed += _failed(whole)
        tally.failed_alone += _failed(alone)
        tally.count(whole.proof)
        tally.named += whole.proof is not None and _names(whole.proof, planted, folded)
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


def _names(proof: Proof, planted: Planted, folded: ir.Model) -> bool:
    """Whether the refutations point at the op with the fault; at a removed one's reader."""
    told = {
        name
        for r in proof.refutations
        for name in (r.op, r.counterpart, *r.removed, *r.holders)
        if name
    }
    meant = {planted.op, "planted"}
    if planted.kind == "activation":
        gone = [node for node in folded.graph if node.name == planted.op]
        meant |= {reader.name for node in gone for reader in node.outputs[0].consumers()}
    return bool(meant & told)


def proof_speeds() -> list[Speed]:
    """A hundred layers and a million weights, dense and convolutional."""
    dense, conv = (Net(shape, norms=True, seed=1) for shape in ([100], [32, 16, 16]))
    x = y = "x"
    for _ in range(100):
        x = dense.op("Relu", dense.norm(dense.gemm(x, 100, 100), 100))
        y = conv.op("Relu", conv.norm(conv.conv(y, 32, 32), 32))
    nets = {"100 x Gemm, BN, Relu": dense.finish(x, 2), "100 x Conv, BN, Relu": conv.finish(y, 4)}
    found = []
    for name, net in nets.items():
        model = open_onnx(net)
        folded = fold_model(model).model
        proofs, seconds = [], []
        for _ in range(5):
            start = time.process_time()  # on a busy machine the clock on the wall says little
            proofs.append(prove(model, folded, budget_seconds=BUDGET))
            seconds.append(round(time.process_time() - start, 3))
        found.append(
            Speed(
                name,
                sum(value.const_value.size for value in model.graph.initializers.values()),
                len(proofs[0].groups),
                all(proof.status is ProofStatus.PROVED for proof in proofs),
                tuple(seconds),
            )
        )
    return found


Task = tuple[Callable[..., Tally], tuple[object, ...]]


def tasks(options: argparse.Namespace) -> tuple[list[Task], list[Task]]:
    """Right folds and faults, each in pieces that may be done side by side."""
    rights: list[Task] = [
        *((random_folds, (seeds,)) for seeds in _chunks(options.folds)),
        *((runtime_folds, (seeds,)) for seeds in _chunks(options.folds)),
    ]
    if not options.no_files:
        light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
        files = sorted((ROOT / "sample_models").iterdir())
        rights += [
            (file_folds, ("sample models in ONNX", [path], SAMPLES))
            for path in files
            if path.suffix == ".onnx"
        ]
        rights += [
            (file_folds, ("models of the onnx package", [path], 1))
            for path in sorted(light.glob("*.onnx"))
        ]
        if importlib.util.find_spec("keras") is None:
            print("Keras is not installed: its models are left out", file=sys.stderr)
        else:
            keras = [path for path in files if path.suffix in (".h5", ".keras")]
            rights += [(keras_folds, ([path],)) for path in keras]
            rights += [(application_folds, ([name],)) for name in APPLICATIONS]
    faults: list[Task] = []
    for name, count, first, dtype, plant in (
        ("eight kinds, float32", options.faults, 0, "float32", any_fault),
        ("a column x (1 + 1e-4), float32", options.columns, 50_000, "float32", smallest_fault),
        ("eight kinds, all types", options.others, 100_000, None, any_fault),
    ):
        faults += [(planted_faults, (name, seeds, dtype, plant)) for seeds in _chunks(count, first)]
    return rights, faults


def _chunks(count: int, first: int = 0) -> list[range]:
    seeds = range(first, first + count)
    return [seeds[start : start + CHUNK] for start in range(0, count, CHUNK)]


def _run(task: Task) -> Tally:
    function, arguments = task
    start = time.monotonic()
    tally = function(*arguments)
    tally.seconds = time.monotonic() - start
    return tally


def _done(work: Sequence[Task], jobs: int) -> list[Tally]:
    """All tasks run, and the tallies of one set added up; what is done is told on the way."""
    found: dict[str, Tally] = {}
    spawn = multiprocessing.get_context("spawn")  # runtimes start threads; a fork would hang
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        for number, tally in enumerate(pool.map(_run, work)):
            if tally.name in found:
                found[tally.name].add(tally)
            else:
                found[tally.name] = tally
            print(f"{number + 1} of {len(work)}: {tally.name}", file=sys.stderr, flush=True)
    return list(found.values())


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write results/verify_rates.md and .json; 1 if any verdict was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=600, help="random nets to fold, twice")
    parser.add_argument("--faults", type=int, default=500, help="faults in float32 nets")
    parser.add_argument("--columns", type=int, default=400, help="columns times 1 + 1e-4")
    parser.add_argument("--others", type=int, default=200, help="faults in nets of all types")
    parser.add_argument("--no-files", action="store_true", help="leave the model files out")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    speeds = proof_speeds()
    rights, faults = (_done(work, options.jobs) for work in tasks(options))
    page = markdown(rights, faults, speeds, "python -m benchmarks.verify_rates")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "verify_rates.md").write_text(page, encoding="utf-8")
    data = {
        "machine": describe_machine(),
        "right": [asdict(t) for t in rights],
        "faults": [asdict(t) for t in faults],
        "proofs": [asdict(s) for s in speeds],
    }
    (options.out / "verify_rates.json").write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    print(page)
    return int(any(t.alarms for t in rights) or any(t.missed for t in faults))


if __name__ == "__main__":
    raise SystemExit(main())
