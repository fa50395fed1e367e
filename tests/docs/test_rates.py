"""What the page on verification says of the rates is what the benchmark wrote."""

from __future__ import annotations

import json

from tests.docs.pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def test_the_tables_are_those_of_the_results() -> None:
    page = (ROOT / "docs" / "verification.md").read_text("utf-8")
    shown = page.partition("<!-- rates -->")[2].partition("<!-- /rates -->")[0]
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(lines) > 15
    assert set(lines) <= set((RESULTS / "verify_rates.md").read_text("utf-8").splitlines())


def test_no_right_fold_fails_and_no_fault_above_the_noise_passes() -> None:
    data = json.loads((RESULTS / "verify_rates.json").read_text("utf-8"))
    assert all(not tally["alarms"] and tally["failed"] == 0 for tally in data["right"])
    assert all(tally["refuted"] == 0 for tally in data["right"])
    assert all(not tally["missed"] for tally in data["faults"])
    assert all(tally["pairs"] == tally["failed"] + tally["equivalent"] for tally in data["faults"])
    assert all(proof["proved"] and max(proof["seconds"]) <= 2 for proof in data["proofs"])
