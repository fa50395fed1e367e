"""The report as JSON. The form is versioned and described by `report.schema.json`."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from importlib import resources
from pathlib import PurePath
from typing import Any

from bnfold.report.model import Outcome, Report


def to_data(report: Report) -> dict[str, Any]:
    """The report as dicts, lists, strings, numbers, booleans and None.

    NaN and infinities, which JSON has no numbers for, become the strings "NaN", "Infinity" and
    "-Infinity".
    """
    data: dict[str, Any] = _plain(dataclasses.replace(report, graphs=None))
    del data["graphs"]  # for drawings; whoever reads JSON has the models
    data["summary"] = {
        "affines": len(report.affines),
        "folded": report.count(Outcome.FOLDED),
        "partly_folded": report.count(Outcome.PARTLY),
        "kept": report.count(Outcome.KEPT),
        "passed": None if report.verification is None else report.verification.passed,
    }
    verification = report.verification
    if verification is not None:
        data["verification"]["passed"] = verification.passed
        if verification.mutation is not None:
            for name in ("caught", "below_noise", "missed"):
                data["verification"]["mutation"][name] = getattr(verification.mutation, name)
    return data


def render_json(report: Report) -> str:
    """The report as indented JSON text."""
    return json.dumps(to_data(report), indent=2, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `render_json` writes."""
    text = resources.files("bnfold.report").joinpath("report.schema.json").read_text("utf-8")
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
    if isinstance(value, dict):
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
