"""The JSON form against its schema, and the schema against the dataclasses."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import jsonschema
import numpy as np
import pytest

from bnfold.bench.types import Benchmark, Comparison
from bnfold.formats.onnx.diff import ModelDiff, NodeChange, Port, WeightChange
from bnfold.report import model
from bnfold.report.build import build_report
from bnfold.report.jsonform import render_json, schema, to_data
from bnfold.report.model import Report, ReportKind
from bnfold.report.rows import Row
from bnfold.verify.proof.types import (
    Condition,
    GroupProof,
    OutputProof,
    Proof,
    ProofStatus,
    Refutation,
    ValuePair,
)
from bnfold.verify.types import (
    Check,
    Mutant,
    MutationTest,
    OutputComparison,
    Strength,
    Verification,
)
from tests.report import samples

HEAD = {"kind", "version", "schema_version"}
VALIDATOR = jsonschema.Draft202012Validator(schema())

REPORTS = [
    samples.fold_report(),
    samples.fold_report(None),
    samples.fold_report(samples.FAILING),
    samples.fold_report(samples.THOROUGH),
    build_report(ReportKind.INSPECT),
    build_report(ReportKind.VERIFY, verification=samples.FAILING),
    build_report(ReportKind.BENCH, benchmark=samples.BENCHMARK),
    samples.hostile_report('"\\\x00\x1b\ud800'),
]


@pytest.mark.parametrize("report", REPORTS, ids=range(len(REPORTS)))
def test_every_report_is_valid(report: Report) -> None:
    VALIDATOR.check_schema(schema())
    VALIDATOR.validate(json.loads(render_json(report)))


@pytest.mark.parametrize(
    ("definition", "kind", "derived"),
    [
        ("", Report, {"summary"}),
        ("model", model.ModelFacts, set()),
        ("affine", model.AffineRow, set()),
        ("placement", model.Placement, set()),
        ("stop", model.Stop, set()),
        ("verification", Verification, {"passed"}),
        ("check", Check, set()),
        ("output", OutputComparison, set()),
        ("strength", Strength, set()),
        ("mutant", Mutant, set()),
        ("mutation_test", MutationTest, {"caught", "below_noise", "missed"}),
        ("proved_output", OutputProof, set()),
        ("proved_group", GroupProof, set()),
        ("refutation", Refutation, set()),
        ("benchmark", Benchmark, set()),
        ("comparison", Comparison, set()),
    ],
)
def test_the_schema_names_every_field(definition: str, kind: Any, derived: set[str]) -> None:
    part = schema()["$defs"][definition] if definition else schema()
    fields = {field.name for field in dataclasses.fields(kind)} - {"graphs"} | derived
    assert set(part["properties"]) == fields
    assert set(part["required"]) == fields


@pytest.mark.parametrize(
    ("name", "definition", "kind", "extra"),
    [
        ("diff", "", ModelDiff, HEAD | {"is_empty", "interface_changed"}),
        ("diff", "port", Port, set()),
        ("diff", "node", NodeChange, set()),
        ("diff", "weight", WeightChange, set()),
        ("many", "row", Row, set()),
    ],
)
def test_the_other_schemas_name_every_field(
    name: str, definition: str, kind: Any, extra: set[str]
) -> None:
    whole = schema(name)
    jsonschema.Draft202012Validator.check_schema(whole)
    part = whole["$defs"][definition] if definition else whole
    fields = {field.name for field in dataclasses.fields(kind)} | extra
    assert set(part["properties"]) == set(part["required"]) == fields


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("affines", 0, "outcome"), "gone"),
        (("affines", 1, "stops", 0, "code"), "204"),
        (("verification", "checks", 0, "status"), "maybe"),
        (("verification", "checks", 0, "figure"), "small"),
        (("original", "nodes"), -1),
        (("benchmark", "comparisons", 0, "speedup"), None),
    ],
)
def test_the_schema_refuses_wrong_values(path: tuple[Any, ...], value: object) -> None:
    data: Any = json.loads(render_json(samples.fold_report()))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(VALIDATOR.iter_errors(data))


def test_a_proof_is_shown_without_its_relations() -> None:
    proof = Proof(
        ProofStatus.UNKNOWN,
        (OutputProof("y", ProofStatus.PROVED, "affine relations"),),
        (GroupProof(("bn",), ("fc",), ProofStatus.REFUTED, "1 kernel", math.inf, 4.0),),
        (Refutation("fc", "Gemm", "kernel channel 0"),),
        pairs=(ValuePair("h", "h", (np.ones(3), np.ones(3), np.zeros(3))),),
        conditions=(Condition("r", "Relu", "h", "scale > 0"),),
        arguments={"affine relations": 1},
    )
    report = samples.fold_report(dataclasses.replace(samples.PASSING, proof=proof))
    data = json.loads(render_json(report))
    VALIDATOR.validate(data)
    shown = data["verification"]["proof"]
    assert (shown["status"], shown["groups"][0]["max_ulps"]) == ("unknown", "Infinity")
    fields = {field.name for field in dataclasses.fields(Proof)} - {"pairs", "conditions"}
    assert set(shown) == set(schema()["$defs"]["proof"]["properties"]) == fields
    assert set(schema()["$defs"]["proof"]["required"]) == fields


def test_nan_and_infinity_are_strings() -> None:
    output = to_data(samples.fold_report(samples.FAILING))["verification"]["outputs"][0]
    assert (output["max_abs"], output["rmse_folded"]) == ("NaN", "Infinity")
    assert output["rmse_original"] is None


def test_summary_and_verdict_are_stated() -> None:
    data = to_data(samples.fold_report(samples.FAILING))
    assert data["summary"] == {
        "affines": 4,
        "folded": 2,
        "partly_folded": 1,
        "kept": 1,
        "passed": False,
    }
    assert data["verification"]["passed"] is False
    assert data["verification"]["counterexample"] == "counterexample.npz"
    assert to_data(samples.fold_report(None))["summary"]["passed"] is None


def test_two_renderings_are_the_same_text() -> None:
    assert render_json(samples.fold_report()) == render_json(samples.fold_report())
