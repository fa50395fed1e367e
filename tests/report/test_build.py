"""What a report holds, and in which order."""

from __future__ import annotations

import sys
from importlib import metadata

from bnfold import __version__
from bnfold.report.build import build_report, environment
from bnfold.report.model import Outcome, ReportKind
from tests.report import samples


def test_rows_stand_in_the_order_of_the_graph() -> None:
    names = [row.name for row in samples.fold_report().affines]
    assert names == ["batch_normalization", "bn_after_relu", "shared_norm", "half"]


def test_without_an_order_folds_come_first() -> None:
    report = build_report(ReportKind.FOLD, folds=samples.FOLDS, kept=samples.KEPT)
    names = [row.name for row in report.affines]
    assert names == ["batch_normalization", "shared_norm", "bn_after_relu", "half"]


def test_outcomes_are_told_apart() -> None:
    report = samples.fold_report()
    assert [report.count(outcome) for outcome in Outcome] == [2, 1, 1]
    outcomes = {row.name: row.outcome for row in report.affines}
    assert outcomes["half"] is Outcome.PARTLY
    assert outcomes["bn_after_relu"] is Outcome.KEPT


def test_ops_are_named_by_their_layer_where_it_is_known() -> None:
    rows = {row.name: row for row in samples.fold_report().affines}
    assert rows["batch_normalization"].into[0].target == "dense"
    assert rows["batch_normalization"].into[0].op == "net/dense/MatMul"
    assert [stop.at for stop in rows["bn_after_relu"].stops] == ["relu_3", "block/conv"]


def test_a_refusal_keeps_its_code_hint_detail_and_path() -> None:
    stop = samples.fold_report().affines[1].stops[0]
    reason = samples.KEPT[0].refusals[0].reason
    assert (stop.code, stop.title, stop.why, stop.hint) == (
        reason.code,
        reason.title,
        reason.why,
        reason.hint,
    )
    assert stop.path == ("drop_1",)
    assert samples.fold_report().affines[1].stops[1].detail == "pads 1,1,1,1"


def test_a_layer_called_twice_has_two_rows() -> None:
    twice = (samples.FOLDS[0], samples.FOLDS[0])
    groups = build_report(ReportKind.FOLD, folds=twice).layers()
    assert [len(rows) for rows in groups.values()] == [2]


def test_environment_states_installed_versions_without_importing() -> None:
    before = set(sys.modules)
    found = environment()
    assert found["onnxruntime"] == metadata.version("onnxruntime")
    assert samples.fold_report().version == __version__
    assert not {"onnxruntime", "tensorflow", "keras"} & (set(sys.modules) - before)


def test_passed_is_false_only_after_a_failed_check() -> None:
    assert samples.fold_report().passed
    assert samples.fold_report(None).passed
    assert not samples.fold_report(samples.FAILING).passed
