"""The tables of figures on the pages are those that the benchmarks wrote."""

from __future__ import annotations

import json

import pytest

from tests.docs.pages import ROOT

RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("page", "mark", "results"),
    [
        ("verification.md", "rates", "verify_rates.md"),
        ("keras.md", "families", "keras_families.md"),
    ],
)
def test_the_tables_are_those_of_the_results(page: str, mark: str, results: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    shown = text.partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(lines) > 15
    assert set(lines) <= set((RESULTS / results).read_text("utf-8").splitlines())


def test_no_right_fold_fails_and_no_fault_above_the_noise_passes() -> None:
    data = json.loads((RESULTS / "verify_rates.json").read_text("utf-8"))
    assert all(not tally["alarms"] and tally["failed"] == 0 for tally in data["right"])
    assert all(tally["refuted"] == 0 for tally in data["right"])
    assert all(not tally["missed"] for tally in data["faults"])
    assert all(tally["pairs"] == tally["failed"] + tally["equivalent"] for tally in data["faults"])
    assert all(proof["proved"] and max(proof["seconds"]) <= 2 for proof in data["proofs"])
