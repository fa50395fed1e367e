"""One fold from source to verdict: open, fold, verify, measure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.core.errors import InputError
from bnfold.result import FoldResult
from bnfold.sources import DEFAULT_OPSET, Opened, open_source, origin_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.bench.types import Benchmark
    from bnfold.formats.keras.folded import FoldedKeras
    from bnfold.formats.onnx.apply import OnnxPlan
    from bnfold.verify.types import Verification

Progress = Callable[[str], None]
"""Is told in a word what begins: "reading", "folding", "verifying", "measuring"."""

MODES = ("ENABLE_ALL", "DISABLE_ALL")
"""The two settings of onnxruntime that a fold is measured in: its default, and as written."""

FORMS = ("onnx", "keras")
"""What a fold can make."""


def attempt(
    source: object,
    *,
    to: str = "onnx",
    verify: bool = True,
    benchmark: bool = False,
    inputs: object | None = None,
    fold_overridable: bool = False,
    collapse: bool = False,
    verify_options: Mapping[str, Any] | None = None,
    benchmark_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **loading: Any,
) -> FoldResult:
    """`bnfold.api.fold` that hands over a result whose verification failed, for its report.

    Such a result still refuses to be saved. A failed verification is not followed by a benchmark.

    Args:
        loading: `opset`, `custom_objects`, `unsafe_load`, `converter`, as `open_source` takes them.
    """
    tell = progress or silent
    tell("reading")
    if to not in FORMS:
        raise InputError(f"cannot fold to {to!r}: choose {' or '.join(FORMS)}.")
    if isinstance(source, str | os.PathLike):
        source = Path(source)
    checked: dict[str, Any] = {
        "verify": verify,
        "benchmark": benchmark,
        "inputs": inputs,
        "verify_options": verify_options or {},
        "benchmark_options": benchmark_options or {},
    }
    if to == "keras":
        result, opened = _as_keras(source, tell, loading, checked=verify or benchmark)
        lifted = None
    else:
        from bnfold.formats.onnx.fold import FoldOptions

        options = FoldOptions(fold_overridable=fold_overridable, collapse=collapse)
        result, opened, plan = _as_onnx(source, tell, loading, options)
        lifted = partial(_lifted, opened.model, plan)
        if opened.converter:
            again = partial(attempt, source, to="keras", verify=verify, inputs=inputs, **loading)
            result = replace(result, again=again)
    if opened is None:
        return result
    return _checked(result, opened, tell, lifted, overrides=not fold_overridable, **checked)


def _as_onnx(
    source: object, tell: Progress, loading: Mapping[str, Any], options: Any
) -> tuple[FoldResult, Opened, OnnxPlan]:
    from bnfold.formats.onnx.fold import fold_model

    opened = open_source(source, **loading)
    tell("folding")
    folded = fold_model(opened.model, labels=opened.labels, steps=opened.steps, options=options)
    result = FoldResult(
        folds=tuple(folded.folds),
        kept=tuple(folded.kept),
        source=opened,
        pair=(opened.model, folded.model),
        labels=opened.labels,
        given=source,
    )
    return result, opened, folded.plan


def _as_keras(
    source: object, tell: Progress, loading: Mapping[str, Any], *, checked: bool
) -> tuple[FoldResult, Opened | None]:
    """Fold layer by layer; both models are seen as ONNX where they are to be checked."""
    from bnfold.formats.keras.folded import fold_keras
    from bnfold.formats.keras.write import CANNOT_TRAIN

    origin = origin_of(source)
    if not origin.format.startswith("Keras"):
        raise InputError(f"{origin.name} is no Keras model: it can be folded to ONNX only.")
    tell("folding")
    folded = fold_keras(source)
    notes = (*origin.notes, CANNOT_TRAIN)
    result = FoldResult(
        folds=folded.folds,
        kept=folded.kept,
        source=replace(origin, notes=notes),
        keras=folded,
        given=source,
    )
    if not checked:
        return result, None
    tell("converting")
    try:
        opened, candidate = _pair(source, folded, loading)
    except InputError as error:
        hint = "Or leave the checks out: verify=False (--no-verify --no-bench)."
        raise type(error)(f"{error} {hint}") from error
    shown = replace(origin, converter=opened.converter, notes=(*opened.notes, CANNOT_TRAIN))
    return replace(result, pair=(opened.model, candidate), source=shown), opened


def _pair(
    source: object, folded: FoldedKeras, loading: Mapping[str, Any]
) -> tuple[Opened, ir.Model]:
    """The original and the very model that will be handed over, converted alike."""
    from bnfold.convert.roads import convert_by

    opened = open_source(source, **loading)
    given = {**loading, "converter": opened.converter}
    given["opset"] = given.get("opset") or DEFAULT_OPSET
    return opened, convert_by(folded.model, **given).model


def _checked(
    result: FoldResult,
    opened: Opened,
    tell: Progress,
    lifted: Callable[[], tuple[ir.Model, ir.Model] | None] | None,
    *,
    overrides: bool,
    verify: bool,
    benchmark: bool,
    inputs: object | None,
    verify_options: Mapping[str, Any],
    benchmark_options: Mapping[str, Any],
) -> FoldResult:
    """The result with its verdict and its latency."""
    candidate = replace(opened, model=result.onnx)
    if inputs is not None:
        inputs = feeds_for(opened, inputs)
    if verify:
        tell("verifying")
        verification = verify_opened(
            opened,
            candidate,
            inputs=inputs,
            lifted=lifted() if lifted is not None else None,
            overrides=overrides,
            **verify_options,
        )
        result = replace(result, verification=verification)
    if benchmark and (result.verification is None or result.verification.passed):
        tell("measuring")
        options = {"modes": MODES, **benchmark_options}
        result = replace(
            result, benchmark=benchmark_opened(opened, candidate, inputs=inputs, **options)
        )
    return result


def _lifted(original: ir.Model, plan: OnnxPlan) -> tuple[ir.Model, ir.Model] | None:
    """Both models in float64, folded constants unrounded; None where there is no such thing."""
    from bnfold.formats.onnx.apply import apply_plan
    from bnfold.verify.lift import NotLiftableError, lift_to_float64

    try:
        exact = lift_to_float64(original)
    except NotLiftableError:
        return None
    return exact, apply_plan(exact, plan, double=True)


def verify_opened(
    reference: Opened,
    candidate: Opened,
    *,
    inputs: object | None = None,
    against_keras: bool = True,
    **options: Any,
) -> Verification:
    """`bnfold.api.verify` for models that are open already."""
    from bnfold.verify.compare import verify_models
    from bnfold.verify.types import CheckKind
    from bnfold.verify.verdicts import skipped

    keras = reference.reference if against_keras else None
    found = verify_models(
        reference.model, candidate.model, inputs=inputs, reference=keras, **options
    )
    if not reference.converter or keras is not None:
        return found
    why = "Keras is not installed" if against_keras else "Keras was not asked for"
    absent = skipped(CheckKind.KERAS, f"{why}: compared with the unfolded conversion alone")
    return replace(found, checks=(*found.checks, absent))


def benchmark_opened(
    original: Opened, folded: Opened, *, inputs: object | None = None, **options: Any
) -> Benchmark:
    """`bnfold.api.benchmark` for models that are open already."""
    from bnfold.bench.measure import benchmark_models

    # One set of arrays: latency is measured on the first.
    feeds = None if inputs is None else feeds_for(original, inputs)
    return benchmark_models(
        original.model, folded.model, inputs=feeds[0] if feeds else None, **options
    )


def feeds_for(opened: Opened, inputs: object) -> list[dict[str, Any]]:
    """Given inputs, read once: an iterable may serve only one of verification and benchmark."""
    from bnfold.verify.inputs import load_inputs

    return load_inputs(inputs, opened.model)


def silent(stage: str) -> None:
    """The progress of nobody who watches."""
