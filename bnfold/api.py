"""The Python API: `fold`, `inspect`, `convert`, `verify`, `benchmark`, `diff`.

Everything is also reachable as ``bnfold.fold`` and so on. Models go in as paths or objects; no
model that goes in is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bnfold.core.diagnostics import Fold, Kept
from bnfold.core.errors import VerificationError
from bnfold.report.build import build_report
from bnfold.report.facts import model_facts
from bnfold.report.graphview import graph_view
from bnfold.report.model import Report, ReportKind
from bnfold.sources import Opened, open_source

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from bnfold.bench.types import Benchmark
    from bnfold.formats.onnx.apply import OnnxPlan
    from bnfold.formats.onnx.diff import ModelDiff
    from bnfold.verify.types import Verification

Progress = Callable[[str], None]
"""Is told in a word what begins: "reading", "folding", "verifying", "measuring"."""

MODES = ("ENABLE_ALL", "DISABLE_ALL")
"""The two settings of onnxruntime that a fold is measured in: its default, and as written."""


@dataclass(frozen=True)
class FoldResult:
    """What `fold` found, made and checked.

    Attributes:
        model: the folded model.
        original: the same model before folding; for a Keras source its conversion.
        folds: the affines that are gone, in the order of the graph.
        kept: the affines that stay, with the reasons of both directions.
        labels: op name to Keras layer name; empty for an ONNX source.
        verification: the verdict with its figures; None when it was not asked for.
        benchmark: the latency figures; None when they were not asked for.
        source: the opened source.
    """

    model: ir.Model
    original: ir.Model
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    source: Opened = field(repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    verification: Verification | None = None
    benchmark: Benchmark | None = None

    @cached_property
    def report(self) -> Report:
        """The report of this fold, ready for `bnfold.report.render.render`."""
        return self._report(ReportKind.FOLD)

    def to_proto(self) -> onnx.ModelProto:
        """The folded model as an `onnx.ModelProto`.

        Raises:
            VerificationError: the model failed its verification.
        """
        import onnx_ir as ir

        self.check()
        return ir.to_proto(self.model)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write the folded model, whole or not at all.

        Args:
            path: the file to write.
            force: replace it if it exists.
            progress: is told how many bytes of how many are written.

        Raises:
            OutputError: it cannot be written; whatever stood there before still does.
            VerificationError: the model failed its verification; nothing is written.
        """
        from bnfold.formats.onnx.save import save_onnx

        self.check()
        save_onnx(self.model, path, force=force, progress=progress)

    def check(self) -> None:
        """Do nothing when the model was verified, or was not asked to be.

        Raises:
            VerificationError: a check failed, or none could run.
        """
        if self.verification is not None and not self.verification.passed:
            raise VerificationError(_failure(self.verification), self.verification)

    def __repr__(self) -> str:
        verdict = "not verified"
        if self.verification is not None:
            verdict = "verified" if self.verification.passed else "FAILED verification"
        return (
            f"FoldResult({self.source.name}: {len(self.folds)} folded, {len(self.kept)} kept, "
            f"{verdict})"
        )

    def _report(self, kind: ReportKind) -> Report:
        return build_report(
            kind,
            original=model_facts(self.original, self.source.name, self.source.format),
            folded=model_facts(self.model, "folded model", "ONNX"),
            folds=self.folds,
            kept=self.kept,
            labels=self.labels,
            order=_positions(self.original),
            verification=self.verification,
            benchmark=self.benchmark,
            converter=self.source.converter,
            notes=self.source.notes,
            graphs=(graph_view(self.original), graph_view(self.model)),
        )


def fold(
    source: object,
    *,
    opset: int | None = None,
    verify: bool = True,
    benchmark: bool = False,
    inputs: object | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    fold_overridable: bool = False,
    collapse: bool = False,
    verify_options: Mapping[str, Any] | None = None,
    benchmark_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> FoldResult:
    """Fold every per-channel affine of a model that can be folded exactly.

    Args:
        source: path to a `.h5`, `.keras` or `.onnx` model (told by its bytes, not by its name), a
            `keras.Model`, an `onnx.ModelProto` or an `onnx_ir.Model`. It is not changed.
        opset: opset of the result. None: 17 from Keras, the model's own from ONNX.
        verify: compare the folded model with the original; see `verify`.
        benchmark: measure the latency of both; see `benchmark`. Takes some seconds.
        inputs: what to verify and measure with: arrays by name, a list of arrays in the order of
            the inputs, one array, the path of an .npz, .npy or ONNX test_data_set folder, or an
            iterable of these (the first is measured with). Generated when None.
        custom_objects: custom Keras classes and functions by name.
        unsafe_load: allow code in a Keras file (Lambda layers) to run.
        converter: what turns Keras into ONNX: "direct" (the model is read as data, without
            TensorFlow), "tf2onnx", or "auto" (direct where every layer is known).
        fold_overridable: treat initializers that are also inputs of the graph as constants.
        collapse: make one matrix product of two in a row where that is smaller.
        verify_options, benchmark_options: more keyword arguments for `verify` and `benchmark`.
        progress: is told what begins.

    Returns:
        The folded model with what was folded, what was kept and why. With `verify` it has passed.

    Raises:
        InputError: the source cannot be used.
        MissingExtraError: it needs a package that is not installed.
        VerificationError: the folded model differs from the original, so it is withheld; the
            figures are in its attribute `verification`.
    """
    result = attempt(
        source,
        opset=opset,
        verify=verify,
        benchmark=benchmark,
        inputs=inputs,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        converter=converter,
        fold_overridable=fold_overridable,
        collapse=collapse,
        verify_options=verify_options,
        benchmark_options=benchmark_options,
        progress=progress,
    )
    result.check()
    return result


def inspect(
    source: object,
    *,
    opset: int | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    fold_overridable: bool = False,
    collapse: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Say what `fold` would do and why, without checking, measuring or writing anything.

    Args and errors are those of `fold`.
    """
    result = attempt(
        source,
        opset=opset,
        verify=False,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        converter=converter,
        fold_overridable=fold_overridable,
        collapse=collapse,
        progress=progress,
    )
    return result._report(ReportKind.INSPECT)


def convert(
    source: object,
    *,
    opset: int | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
) -> ir.Model:
    """Convert a Keras model to ONNX as it is, without folding anything.

    Args are those of `fold`. An ONNX source is opened and given back.

    Raises:
        InputError: the source cannot be used or holds layers that cannot be converted.
        MissingExtraError: TensorFlow, Keras or tf2onnx is not installed.
    """
    return open_source(
        source,
        opset=opset,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        converter=converter,
    ).model


def verify(
    reference: object,
    candidate: object,
    *,
    inputs: object | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    **options: Any,
) -> Verification:
    """Check whether two models compute the same, whoever made them.

    Args:
        reference, candidate: models as in `fold`, with the same inputs and outputs.
        inputs: arrays to compare on, as in `fold`; generated when None.
        custom_objects, unsafe_load, converter: as in `fold`.
        options: more keyword arguments of `bnfold.verify.compare.verify_models`: `samples`,
            `seed`, `budget_seconds`, `counterexample`, `mutations`, `progress`; and
            `against_keras` (False: a Keras reference is compared as its conversion only, so that
            TensorFlow is not needed).

    Returns:
        The verdict in `passed` and the figures of every check. A failed check raises nothing.

    Raises:
        InputError: one of the two cannot be used.
    """
    opened, other = _open_pair(reference, candidate, custom_objects, unsafe_load, converter)
    return verify_opened(opened, other, inputs=inputs, **options)


def benchmark(
    original: object,
    folded: object,
    *,
    inputs: object | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    **options: Any,
) -> Benchmark:
    """Measure the latency of two models in onnxruntime, in pairs of fresh processes.

    Args:
        original, folded: models as in `fold`.
        inputs: arrays to run on, as in `fold`; generated when None.
        custom_objects, unsafe_load, converter: as in `fold`.
        options: more keyword arguments of `bnfold.bench.measure.benchmark_models`: `batches`,
            `threads`, `dims`, `providers`, `modes`, `budget_seconds` (seconds), `progress`.

    Returns:
        Times in seconds and speed-ups with their confidence intervals.

    Raises:
        InputError: one of the two cannot be used.
    """
    baseline, other = _open_pair(original, folded, custom_objects, unsafe_load, converter)
    return benchmark_opened(baseline, other, inputs=inputs, **options)


def compare(
    reference: object,
    candidate: object,
    *,
    verify: bool = False,
    benchmark: bool = False,
    inputs: object | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    verify_options: Mapping[str, Any] | None = None,
    benchmark_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """`verify` and `benchmark` of one pair of models as a report.

    Args and errors are those of `fold`. A failed check raises nothing: see `Report.passed`.
    """
    tell = progress or _silent
    tell("reading")
    opened, other = _open_pair(reference, candidate, custom_objects, unsafe_load, converter)
    if inputs is not None:
        inputs = _feeds(opened, inputs)
    verification = figures = None
    if verify:
        tell("verifying")
        verification = verify_opened(opened, other, inputs=inputs, **(verify_options or {}))
    if benchmark:
        tell("measuring")
        figures = benchmark_opened(opened, other, inputs=inputs, **(benchmark_options or {}))
    return build_report(
        ReportKind.VERIFY if verify else ReportKind.BENCH,
        original=model_facts(opened.model, opened.name, opened.format),
        folded=model_facts(other.model, other.name, other.format),
        verification=verification,
        benchmark=figures,
        converter=opened.converter or other.converter,
        notes=opened.notes + other.notes,
    )


def diff(
    before: object,
    after: object,
    *,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
) -> ModelDiff:
    """Say what differs between two models: interface, nodes, weights.

    Args:
        before, after: models as in `fold`; those of Keras are compared as ONNX.
        custom_objects, unsafe_load, converter: as in `fold`.

    Raises:
        InputError: one of the two cannot be used.
    """
    from bnfold.formats.onnx.diff import diff_models

    one, other = _open_pair(before, after, custom_objects, unsafe_load, converter)
    return diff_models(one.model, other.model)


def attempt(
    source: object,
    *,
    opset: int | None = None,
    verify: bool = True,
    benchmark: bool = False,
    inputs: object | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
    converter: str = "auto",
    fold_overridable: bool = False,
    collapse: bool = False,
    verify_options: Mapping[str, Any] | None = None,
    benchmark_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> FoldResult:
    """`fold` that hands over a result whose verification failed, for its report.

    Such a result still refuses to be saved. A failed verification is not followed by a benchmark.
    """
    from bnfold.formats.onnx.fold import FoldOptions, fold_model

    tell = progress or _silent
    tell("reading")
    opened = open_source(
        source,
        opset=opset,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        converter=converter,
    )
    if inputs is not None:
        inputs = _feeds(opened, inputs)
    tell("folding")
    folded = fold_model(
        opened.model,
        labels=opened.labels,
        options=FoldOptions(fold_overridable=fold_overridable, collapse=collapse),
    )
    result = FoldResult(
        model=folded.model,
        original=opened.model,
        folds=tuple(folded.folds),
        kept=tuple(folded.kept),
        source=opened,
        labels=opened.labels,
    )
    if verify:
        tell("verifying")
        verification = verify_opened(
            opened,
            replace(opened, model=folded.model),
            inputs=inputs,
            lifted=_lifted(opened.model, folded.plan),
            overrides=not fold_overridable,
            **(verify_options or {}),
        )
        result = replace(result, verification=verification)
    if benchmark and (result.verification is None or result.verification.passed):
        tell("measuring")
        options = {"modes": MODES, **(benchmark_options or {})}
        figures = benchmark_opened(
            opened, replace(opened, model=result.model), inputs=inputs, **options
        )
        result = replace(result, benchmark=figures)
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
    """`verify` for models that are open already."""
    from bnfold.verify.compare import verify_models

    return verify_models(
        reference.model,
        candidate.model,
        inputs=inputs,
        reference=reference.reference if against_keras else None,
        **options,
    )


def benchmark_opened(
    original: Opened, folded: Opened, *, inputs: object | None = None, **options: Any
) -> Benchmark:
    """`benchmark` for models that are open already."""
    from bnfold.bench.measure import benchmark_models

    return benchmark_models(
        original.model,
        folded.model,
        inputs=None if inputs is None else _feeds(original, inputs)[0],
        **options,
    )


def _open_pair(
    one: object,
    other: object,
    custom_objects: Mapping[str, object] | None,
    unsafe_load: bool,
    converter: str,
) -> tuple[Opened, Opened]:
    first, second = (
        open_source(
            source, custom_objects=custom_objects, unsafe_load=unsafe_load, converter=converter
        )
        for source in (one, other)
    )
    return first, second


def _feeds(opened: Opened, inputs: object) -> list[dict[str, Any]]:
    """Given inputs, read once: an iterable may serve only one of verification and benchmark."""
    from bnfold.verify.inputs import load_inputs

    return load_inputs(inputs, opened.model)


def _silent(stage: str) -> None:
    """The progress of nobody who watches."""


def _positions(model: ir.Model) -> dict[str, int]:
    import onnx_ir.traversal as traversal

    nodes = traversal.RecursiveGraphIterator(model.graph)
    return {node.name or "": place for place, node in enumerate(nodes)}


def _failure(verification: Verification) -> str:
    from bnfold.report import wording
    from bnfold.verify.types import Status

    failed = [check for check in verification.checks if check.status is Status.FAILED]
    text = wording.verdict(verification)
    if failed:
        first = failed[0]
        parts = (first.code, first.kind.value, wording.figure(first), first.detail)
        text += f" ({'; '.join(part for part in parts if part)})"
    return f"{text}; nothing was written."
