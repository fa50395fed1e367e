"""What a fold found, made and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.core.diagnostics import Fold, Kept
from bnfold.core.errors import InputError, OutputError, VerificationError
from bnfold.formats.sniff import KERAS_SUFFIXES
from bnfold.report.build import build_report
from bnfold.report.facts import model_facts
from bnfold.report.graphview import graph_view
from bnfold.report.model import Report, ReportKind
from bnfold.sources import Origin, is_keras_model

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto

    from bnfold.bench.types import Benchmark
    from bnfold.formats.keras.folded import FoldedKeras
    from bnfold.verify.types import Verification


@dataclass(frozen=True)
class FoldResult:
    """What `fold` found, made and checked.

    Attributes:
        folds: the affines that are gone, in the order of the graph.
        kept: the affines that stay, with the reasons of both directions.
        source: where the model came from.
        pair: the model as ONNX, before and after; None where a Keras model was folded unchecked
            and cannot be seen as ONNX.
        labels: op name to Keras layer name; empty for an ONNX source.
        keras: the folded Keras model where ``to="keras"`` was asked for.
        verification: the verdict with its figures; None when it was not asked for.
        benchmark: the latency figures; None when they were not asked for.
        given: the source itself.
        again: folds a Keras source as Keras, when that is asked of the result.
    """

    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    source: Origin = field(repr=False)
    pair: tuple[ir.Model, ir.Model] | None = field(default=None, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    keras: FoldedKeras | None = field(default=None, repr=False)
    verification: Verification | None = None
    benchmark: Benchmark | None = None
    given: object = field(default=None, repr=False)
    again: Callable[[], FoldResult] | None = field(default=None, repr=False, compare=False)

    @property
    def original(self) -> ir.Model:
        """The model before folding, as ONNX; for a Keras source its conversion."""
        return self._pair()[0]

    @property
    def onnx(self) -> ir.Model:
        """The folded model as ONNX, whatever was given."""
        return self._pair()[1]

    @property
    def model(self) -> Any:
        """The folded model: a new live Keras model where a live one was given, else ONNX.

        The live model is folded layer by layer and verified when it is first asked for; what was
        given stays as it is.

        Raises:
            InputError: the live model is subclassed: its computation is code, see `onnx`.
            VerificationError: it failed its verification.
        """
        return self._folded_keras().model if is_keras_model(self.given) else self.onnx

    @cached_property
    def report(self) -> Report:
        """The report of this fold, ready for `bnfold.report.render.render`."""
        return self.report_as(ReportKind.FOLD)

    def to_proto(self) -> ModelProto:
        """The folded model as an `onnx.ModelProto`.

        Raises:
            VerificationError: the model failed its verification.
        """
        import onnx_ir as ir

        self.check()
        return ir.to_proto(self.onnx)

    def certificate(self) -> dict[str, Any]:
        """What the proof of this fold relied on, as it goes to JSON.

        The relation of each pair of values; per fold its sources, targets, conditions and bounds;
        hashes of the weights before and after. `bnfold.verify` derives it again from the models.

        Raises:
            VerificationError: the fold is not proved for every input.
        """
        from bnfold.verify.proof.certificate import certificate, uncertified

        proof = None if self.verification is None else self.verification.proof
        reason = uncertified(proof)
        if proof is None or reason:
            raise VerificationError(f"no certificate was written: {reason}.", self.verification)
        self.check()
        return certificate(proof, *self._pair())

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        progress: Callable[[int, int], None] | None = None,
        certificate: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write the folded model, whole or not at all.

        Args:
            path: the file to write: ONNX, or for a Keras source a name that ends in .keras or .h5
                to get Keras back, in the format of the source.
            force: replace it if it exists.
            progress: is told how many bytes of how many are written.
            certificate: also write what the proof relied on; both files, or neither.

        Raises:
            InputError: Keras was asked for and the source cannot be folded as Keras.
            OutputError: it cannot be written; whatever stood there before still does.
            VerificationError: the model failed its verification, or a certificate is asked for and
                the fold is not proved; nothing is written.
        """
        self.check()
        if certificate is not None:
            from bnfold.verify.proof.certificate import written_with

            wants_keras = Path(path).suffix.lower() in KERAS_SUFFIXES and self.keras is None
            found = self._as_keras if wants_keras and self.again is not None else self
            with written_with(certificate, found.certificate(), force=force):
                found.save(path, force=force, progress=progress)
            return
        if Path(path).suffix.lower() in KERAS_SUFFIXES:
            self._folded_keras().save(path, force=force)
            return
        from bnfold.formats.onnx.save import save_onnx

        save_onnx(self.onnx, path, force=force, progress=progress)

    def check(self) -> None:
        """Do nothing when the model was verified, or was not asked to be.

        Raises:
            VerificationError: a check failed, or none could run.
        """
        if self.verification is not None and not self.verification.passed:
            raise VerificationError(_failure(self.verification), self.verification)

    def report_as(self, kind: ReportKind) -> Report:
        """The report under another heading."""
        facts, graphs, order = self._onnx_facts() if self.keras is None else self._keras_facts()
        return build_report(
            kind,
            original=facts[0],
            folded=facts[1],
            folds=self.folds,
            kept=self.kept,
            labels=self.labels,
            order=order,
            verification=self.verification,
            benchmark=self.benchmark,
            converter=self.source.converter,
            notes=self.source.notes,
            graphs=graphs,
        )

    def __repr__(self) -> str:
        verdict = "not verified"
        if self.verification is not None:
            verdict = "verified" if self.verification.passed else "FAILED verification"
        return (
            f"FoldResult({self.source.name}: {len(self.folds)} folded, {len(self.kept)} kept, "
            f"{verdict})"
        )

    def _repr_html_(self) -> str:
        """The report in short, for notebooks."""
        return self.report._repr_html_()

    def _pair(self) -> tuple[ir.Model, ir.Model]:
        if self.pair is None:
            raise InputError(f"{self.source.name} was folded as Keras only: it has no ONNX form.")
        return self.pair

    def _folded_keras(self) -> FoldedKeras:
        if self.keras is not None:
            self.check()
            return self.keras
        if self.again is None:
            raise OutputError("an ONNX model cannot be written as Keras: give a name in .onnx.")
        found = self._as_keras
        found.check()
        assert found.keras is not None
        return found.keras

    @cached_property
    def _as_keras(self) -> FoldResult:
        assert self.again is not None
        return self.again()

    def _onnx_facts(self) -> tuple[Any, Any, dict[str, int]]:
        original, folded = self._pair()
        facts = (
            model_facts(original, self.source.name, self.source.format),
            model_facts(folded, "folded model", "ONNX"),
        )
        return facts, (graph_view(original), graph_view(folded)), _positions(original)

    def _keras_facts(self) -> tuple[Any, Any, dict[str, int]]:
        from bnfold.formats.keras.graph import walk_layers
        from bnfold.report.kerasview import keras_facts, keras_view

        assert self.keras is not None
        original, folded = self.keras.original, self.keras.folded
        facts = (
            keras_facts(original, self.source.name, self.source.format),
            keras_facts(folded, "folded model", self.source.format),
        )
        order = {path: number for number, (path, _) in enumerate(walk_layers(original))}
        return facts, (keras_view(original), keras_view(folded)), order


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
