"""The report as JSON. The form is versioned and described by `report.schema.json`."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from bnfold import __version__
from bnfold.report.model import SCHEMA_VERSION, Outcome, Report
from bnfold.report.rows import Row

if TYPE_CHECKING:
    from bnfold.formats.onnx.diff import ModelDiff
    from bnfold.verify.proof.types import Proof

#: Fields of a proof that have no place in a report.
CERTIFIED = frozenset({"pairs", "conditions"})


def to_data(report: Report) -> dict[str, Any]:
    """The report as dicts, lists, strings, numbers, booleans and None.

    NaN and infinities, which JSON has no numbers for, become the strings "NaN", "Infinity" and
    "-Infinity".
    """
    verification = report.verification
    bare = None if verification is None else dataclasses.replace(verification, proof=None)
    data: dict[str, Any] = _plain(dataclasses.replace(report, graphs=None, verification=bare))
    del data["graphs"]  # for drawings; whoever reads JSON has the models
    data["summary"] = {
        "affines": len(report.affines),
        "folded": report.count(Outcome.FOLDED),
        "partly_folded": report.count(Outcome.PARTLY),
        "kept": report.count(Outcome.KEPT),
        "passed": None if report.verification is None else report.verification.passed,
    }
    if verification is not None:
        data["verification"]["passed"] = verification.passed
        data["verification"]["proof"] = _proof(verification.proof)
        if verification.mutation is not None:
            for name in ("caught", "below_noise", "missed"):
                data["verification"]["mutation"][name] = getattr(verification.mutation, name)
    return data


def _proof(proof: Proof | None) -> dict[str, Any] | None:
    """What is proved and how; the relations themselves are a certificate's."""
    if proof is None:
        return None
    names = [item.name for item in dataclasses.fields(proof) if item.name not in CERTIFIED]
    return {name: _plain(getattr(proof, name)) for name in names}


def render_json(report: Report) -> str:
    """The report as indented JSON text."""
    return json.dumps(to_data(report), indent=2, allow_nan=False) + "\n"


def render_rows_json(rows: Sequence[Row]) -> str:
    """The result of many models as indented JSON text."""
    failed = sum(row.outcome.value == "failed" for row in rows)
    summary = {"models": len(rows), "failed": failed, "folded": sum(row.folded for row in rows)}
    return _text("many", {"models": _plain(tuple(rows)), "summary": summary})


def render_diff_json(diff: ModelDiff) -> str:
    """What differs between two models as indented JSON text."""
    verdicts = {"is_empty": diff.is_empty, "interface_changed": diff.interface_changed}
    return _text("diff", {**verdicts, **_plain(diff)})


def _text(kind: str, data: dict[str, Any]) -> str:
    head = {"kind": kind, "version": __version__, "schema_version": SCHEMA_VERSION}
    return json.dumps({**head, **data}, indent=2, allow_nan=False) + "\n"


def schema(kind: str = "report") -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a "report", of a "diff", or of "many" models."""
    text = resources.files("bnfold.report").joinpath(f"{kind}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _plain(value: object) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if hasattr(value, "item"):  # a numpy scalar
        return _plain(value.item())
    raise TypeError(f"a report holds {type(value).__name__}, which has no JSON form")


def _finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
