"""The report as data. Its JSON form is versioned: see `report.schema.json` beside this file."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.bench.types import Benchmark
    from bnfold.report.graphview import GraphView
    from bnfold.verify.types import Verification

SCHEMA_VERSION = 1


class ReportKind(enum.Enum):
    """What was asked for."""

    FOLD = "fold"
    INSPECT = "inspect"
    VERIFY = "verify"
    BENCH = "bench"


class Outcome(enum.Enum):
    """What became of an affine."""

    FOLDED = "folded"
    PARTLY = "partly folded"
    KEPT = "kept"


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without running it.

    Attributes:
        name: file name, or what kind of object it was.
        format: "ONNX", "Keras 3 HDF5", ...
        nodes: number of ops, bodies of If, Loop and Scan included.
        bytes: size of the ONNX model in bytes, weights included; of a Keras model its weights'.
        opset: version of the default ONNX domain; None where it has none.
        op_counts: op type to number of ops.
        unit: what `nodes` and `op_counts` count: "nodes", or "layers" of a Keras model.
    """

    name: str
    format: str
    nodes: int
    bytes: int
    opset: int | None
    op_counts: dict[str, int] = field(default_factory=dict)
    unit: str = "nodes"


@dataclass(frozen=True)
class Placement:
    """Where an affine, or a part of it, went.

    Attributes:
        target: the layer where one is known, else the op.
        op: name of the op in the graph.
        op_type: its type.
        direction: "backward", "forward" or "here".
        part: "scale", "shift" or "scale and shift".
    """

    target: str
    op: str
    op_type: str
    direction: str
    part: str


@dataclass(frozen=True)
class Stop:
    """Why a walk ended.

    Attributes:
        code, title, why, hint: of the reason, such as "BNF204" and "activation".
        direction: "backward", "forward" or "here".
        at: the layer where one is known, else the op; "" at the border of the graph.
        op, op_type: the op itself.
        detail: the particulars; may be "".
        path: names of the ops walked through before the stop, nearest first.
    """

    code: str
    title: str
    why: str
    hint: str
    direction: str
    at: str
    op: str
    op_type: str
    detail: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class AffineRow:
    """One affine of the model and what became of it.

    Attributes:
        name: the layer where one is known, else the op.
        op_type: "BatchNormalization", "Mul", "Mul+Add", or the layer class.
        ops: names of the graph's ops that made it up.
        channels: number of pairs of scale and shift.
        outcome: folded, partly folded or kept.
        into: where it went, as far as it went.
        stops: why it stayed, as far as it stayed.
        left_as: op types that it costs now; () when it is folded.
    """

    name: str
    op_type: str
    ops: tuple[str, ...]
    channels: int
    outcome: Outcome
    into: tuple[Placement, ...] = ()
    stops: tuple[Stop, ...] = ()
    left_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything a rendering needs; what was not asked for is None or empty.

    Attributes:
        kind: what was asked for.
        version: of bnfold.
        original: the model as it came, seen as ONNX.
        folded: the model that came out, or the candidate of a comparison.
        affines: in the order of the graph.
        verification: the verdict, None when it was not asked for.
        benchmark: the latency figures, None when they were not asked for.
        converter: what turned Keras into ONNX; "" for an ONNX source.
        output: the file that was written; "" when none was.
        environment: name to text: Python, onnx, onnxruntime, platform.
        notes: lines that a reader should know, such as a default that was chosen.
        again: the command that shows a failure again; "" where nothing failed.
        graphs: both graphs for a drawing; None where nobody asked for one. Not in the JSON form.
        schema_version: of the JSON form.
    """

    kind: ReportKind
    version: str
    original: ModelFacts | None = None
    folded: ModelFacts | None = None
    affines: tuple[AffineRow, ...] = ()
    verification: Verification | None = None
    benchmark: Benchmark | None = None
    converter: str = ""
    output: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    again: str = ""
    graphs: tuple[GraphView, GraphView] | None = None
    schema_version: int = SCHEMA_VERSION

    def count(self, outcome: Outcome) -> int:
        """The number of affines with this outcome."""
        return sum(row.outcome is outcome for row in self.affines)

    def layers(self) -> dict[str, tuple[AffineRow, ...]]:
        """The affines by name; a layer that is called twice has two."""
        groups: dict[str, tuple[AffineRow, ...]] = {}
        for row in self.affines:
            groups[row.name] = (*groups.get(row.name, ()), row)
        return groups

    @property
    def passed(self) -> bool:
        """False when a check failed."""
        return self.verification is None or self.verification.passed

    def _repr_html_(self) -> str:
        """The headline, every affine and the checks, for notebooks."""
        from bnfold.formats.htmltable import html_table
        from bnfold.report import wording

        rows = [
            (
                row.name,
                row.op_type,
                str(row.channels),
                row.outcome.value,
                "; ".join(
                    part
                    for part in (wording.placements(row.into), *map(wording.stop, row.stops))
                    if part
                ),
            )
            for row in self.affines
        ]
        head = ("affine", "op", "channels", "outcome", "where it went, or why it stayed")
        parts = [html_table(wording.headline(self), head, rows)]
        for figures in (self.verification, self.benchmark):
            if figures is not None:
                parts.append(figures._repr_html_())
        return "".join(parts)
