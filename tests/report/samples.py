"""Reports to render: one of every outcome, with names that try every escaping rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bnfold.bench.types import Benchmark, Comparison, Verdict
from bnfold.core.diagnostics import Absorption, Direction, Fold, Kept, Reason, Refusal
from bnfold.report.build import build_report
from bnfold.report.model import ModelFacts, Report, ReportKind
from bnfold.verify.types import (
    Check,
    CheckKind,
    Mutant,
    MutationTest,
    OutputComparison,
    Status,
    Strength,
    Verification,
)

BACK, FORTH = Direction.BACKWARD, Direction.FORWARD

FOLDS = (
    Fold(
        "batch_normalization",
        ("net/bn/mul", "net/bn/add"),
        "BatchNormalization",
        784,
        (Absorption("net/dense/MatMul", "Gemm", FORTH, "scale and shift"),),
    ),
    Fold(
        "shared_norm",
        ("n7",),
        "Mul",
        64,
        (
            Absorption("q", "MatMul", FORTH, "scale and shift"),
            Absorption("k", "MatMul", FORTH, "scale and shift"),
            Absorption("v", "MatMul", FORTH, "scale and shift"),
        ),
    ),
)
KEPT = (
    Kept(
        "bn_after_relu",
        ("n9",),
        "BatchNormalization",
        32,
        (
            Refusal(Reason.ACTIVATION, BACK, "relu_3", "Elu", "", ("drop_1",)),
            Refusal(Reason.PADDING_SHIFT, FORTH, "conv_4", "Conv", "pads 1,1,1,1"),
        ),
        ("BatchNormalization",),
    ),
    Kept(
        "half",
        ("n11",),
        "BatchNormalization",
        16,
        (Refusal(Reason.GRAPH_OUTPUT, FORTH, "", ""),),
        ("Add",),
        (Absorption("conv_5", "Conv", BACK, "scale"),),
    ),
)
ORDER = {"n7": 3, "net/bn/mul": 0, "net/bn/add": 1, "n9": 2, "n11": 4}
LABELS = {"net/dense/MatMul": "dense", "conv_4": "block/conv"}

PASSING = Verification(
    checks=(
        Check(CheckKind.WEIGHTS, Status.PASSED, 0.48, 1.0, "ulp", "4 constants recomputed"),
        Check(
            CheckKind.ALGEBRA, Status.PASSED, 1.8e-15, 1e-12, "relative", "2 of 2 outputs proved"
        ),
        Check(CheckKind.KERAS, Status.SKIPPED, None, None, "", "the source is ONNX"),
    ),
    outputs=(OutputComparison("probabilities", 2.4e-7, 1e-8, 1.1e-8, 1.0),),
    samples=64,
    seed=7,
    seconds=1.234,
)
FAILING = Verification(
    checks=(
        Check(CheckKind.WEIGHTS, Status.PASSED, 0.5, 1.0, "ulp", "4 constants recomputed"),
        Check(
            CheckKind.END_TO_END,
            Status.FAILED,
            2.5,
            1.2,
            "ratio of RMSE",
            "100% of rows, differ",
            "BNV301",
            "dense_1",
        ),
    ),
    outputs=(OutputComparison("y", float("nan"), None, float("inf"), None),),
    samples=8,
    seconds=0.5,
    counterexample=Path("counterexample.npz"),
    difference="dense_1 (Gemm)",
)
THOROUGH = replace(
    PASSING,
    strength=Strength(3.2e-6, 40, 2, 5, "dense_1", 300, 298),
    mutation=MutationTest(
        (
            Mutant("column", "dense", "column 3 scaled", True, "BNV201"),
            Mutant("shift", "dense", "shift dropped", False, "", True),
            Mutant("relu", "act", "relu crossed", False),
        ),
        seed=3,
    ),
    notes=("the Loop was not evaluated in float64",),
)


def comparison(verdict: Verdict, mode: str = "ENABLE_ALL", batch: int = 1) -> Comparison:
    """A comparison with the given verdict."""
    speedup = {Verdict.FASTER: 1.37, Verdict.SLOWER: 0.8, Verdict.NO_DIFFERENCE: 1.01}[verdict]
    return Comparison(
        mode=mode,
        batch=batch,
        threads=1,
        baseline_seconds=41.2e-6,
        candidate_seconds=41.2e-6 / speedup,
        speedup=speedup,
        low=speedup - 0.06,
        high=speedup + 0.07,
        confidence=0.95,
        pairs=12,
        control_low=0.98,
        control_high=1.02,
        verdict=verdict,
        resolution=0.031,
    )


def benchmark(*comparisons: Comparison) -> Benchmark:
    """A benchmark of the given comparisons."""
    return Benchmark(comparisons, 3.1e-3, 2.0e-3, 4120000, 4110000, 14, 8, {"cpu": "x"}, 4.9)


BENCHMARK = benchmark(
    comparison(Verdict.FASTER), comparison(Verdict.NO_DIFFERENCE, mode="DISABLE_ALL")
)
ORIGINAL = ModelFacts("model.h5", "Keras 3, HDF5", 14, 4_120_000, 17, {"Mul": 2})
FOLDED = ModelFacts("folded model", "ONNX", 8, 4_110_000, 17, {"Gemm": 3})


def fold_report(verification: Verification | None = PASSING) -> Report:
    """A fold with every outcome."""
    return build_report(
        ReportKind.FOLD,
        original=ORIGINAL,
        folded=FOLDED,
        folds=FOLDS,
        kept=KEPT,
        labels=LABELS,
        order=ORDER,
        verification=verification,
        benchmark=BENCHMARK,
        converter="tf2onnx",
        output="model.onnx",
        notes=("the weights were shared",),
    )


def hostile_report(name: str) -> Report:
    """A report in which a model file chose the names."""
    kept = Kept(
        name,
        (name,),
        name,
        3,
        (Refusal(Reason.OPAQUE_OP, FORTH, name, name, name, (name,)),),
        (name,),
        (Absorption(name, name, BACK, "scale"),),
    )
    failed = Check(CheckKind.LOCAL, Status.FAILED, None, None, name, name, "BNV1", name)
    return build_report(
        ReportKind.FOLD,
        original=ModelFacts(name, name, 1, 1, None, {name: 1}),
        folds=(),
        kept=(kept,),
        verification=Verification((failed,)),
        notes=(name,),
    )
