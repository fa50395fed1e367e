"""The Python API: `fold`, `inspect`, `convert`, `verify`, `benchmark`, `diff`.

Everything is also reachable as ``bnfold.fold`` and so on. Models go in as paths or objects; no
model that goes in is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bnfold.folding import (
    Progress,
    attempt,
    benchmark_opened,
    feeds_for,
    silent,
    verify_opened,
)
from bnfold.report.build import build_report
from bnfold.report.facts import model_facts
from bnfold.report.model import Report, ReportKind
from bnfold.result import FoldResult
from bnfold.sources import Opened, open_source

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnfold.bench.types import Benchmark
    from bnfold.formats.onnx.diff import ModelDiff
    from bnfold.verify.types import Verification

__all__ = [
    "FoldResult",
    "attempt",
    "benchmark",
    "compare",
    "convert",
    "diff",
    "fold",
    "inspect",
    "verify",
]


def fold(
    source: object,
    *,
    to: str = "onnx",
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
        to: "onnx", or "keras" to fold a Keras model layer by layer into a Keras model of the same
            format; see `FoldResult.save` and `FoldResult.model`. The latter is checked and
            measured as ONNX, converted from the very model that is handed over.
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
        to=to,
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
    to: str = "onnx",
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
        to=to,
        opset=opset,
        verify=False,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        converter=converter,
        fold_overridable=fold_overridable,
        collapse=collapse,
        progress=progress,
    )
    return result.report_as(ReportKind.INSPECT)


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
    tell = progress or silent
    tell("reading")
    opened, other = _open_pair(reference, candidate, custom_objects, unsafe_load, converter)
    if inputs is not None:
        inputs = feeds_for(opened, inputs)
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
