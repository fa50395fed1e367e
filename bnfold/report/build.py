"""Makes a `Report` from the results of the other layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from bnfold import __version__
from bnfold.core.diagnostics import Absorption, Fold, Kept, Refusal
from bnfold.report.graphview import GraphView
from bnfold.report.model import (
    AffineRow,
    ModelFacts,
    Outcome,
    Placement,
    Report,
    ReportKind,
    Stop,
)

if TYPE_CHECKING:
    from bnfold.bench.types import Benchmark
    from bnfold.verify.types import Verification

_PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "keras",
    "tf-keras",
    "tensorflow",
    "tf2onnx",
)


def build_report(
    kind: ReportKind,
    *,
    original: ModelFacts | None = None,
    folded: ModelFacts | None = None,
    folds: Sequence[Fold] = (),
    kept: Sequence[Kept] = (),
    labels: Mapping[str, str] | None = None,
    order: Mapping[str, int] | None = None,
    verification: Verification | None = None,
    benchmark: Benchmark | None = None,
    converter: str = "",
    output: str = "",
    notes: Sequence[str] = (),
    graphs: tuple[GraphView, GraphView] | None = None,
) -> Report:
    """Compose a report.

    Args:
        kind: what was asked for.
        original, folded: facts of the two models.
        folds, kept: what the planner said of every affine.
        labels: op name to layer name; names that it lacks stand for themselves.
        order: op name to position in the graph; rows are sorted by it. Without it folds come
            first.
        verification, benchmark: the results, where there are any.
        converter: what turned Keras into ONNX.
        output: the file that was written.
        notes: lines that a reader should know.
        graphs: both graphs, for a drawing.
    """
    names = labels or {}
    rows = [_fold_row(fold, names) for fold in folds] + [_kept_row(item, names) for item in kept]
    if order is not None:
        rows.sort(key=lambda row: min((order.get(op, len(order)) for op in row.ops), default=0))
    return Report(
        kind=kind,
        version=__version__,
        original=original,
        folded=folded,
        affines=tuple(rows),
        verification=verification,
        benchmark=benchmark,
        converter=converter,
        output=output,
        environment=_Environment(),
        notes=tuple(notes),
        graphs=graphs,
    )


def environment() -> dict[str, str]:
    """Versions of what bears on the figures, read without importing any of it."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class _Environment(Mapping[str, str]):
    """What `environment` gives, when somebody looks: it takes longer than a small fold."""

    @cached_property
    def _found(self) -> dict[str, str]:
        return environment()

    def __getitem__(self, name: str) -> str:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _fold_row(fold: Fold, labels: Mapping[str, str]) -> AffineRow:
    return AffineRow(
        name=fold.source,
        op_type=fold.op_type,
        ops=fold.ops,
        channels=fold.channels,
        outcome=Outcome.FOLDED,
        into=tuple(_placement(item, labels) for item in fold.into),
    )


def _kept_row(kept: Kept, labels: Mapping[str, str]) -> AffineRow:
    return AffineRow(
        name=kept.source,
        op_type=kept.op_type,
        ops=kept.ops,
        channels=kept.channels,
        outcome=Outcome.PARTLY if kept.into else Outcome.KEPT,
        into=tuple(_placement(item, labels) for item in kept.into),
        stops=tuple(_stop(item, labels) for item in kept.refusals),
        left_as=kept.left_as,
    )


def _placement(item: Absorption, labels: Mapping[str, str]) -> Placement:
    return Placement(
        target=labels.get(item.op, item.op),
        op=item.op,
        op_type=item.op_type,
        direction=item.direction.value,
        part=item.part,
    )


def _stop(refusal: Refusal, labels: Mapping[str, str]) -> Stop:
    reason = refusal.reason
    return Stop(
        code=reason.code,
        title=reason.title,
        why=reason.why,
        hint=reason.hint,
        direction=refusal.direction.value,
        at=labels.get(refusal.op, refusal.op),
        op=refusal.op,
        op_type=refusal.op_type,
        detail=refusal.detail,
        path=refusal.path,
    )
