"""The report for a terminal."""

from __future__ import annotations

import re

import pytest

from bnfold.core.diagnostics import Fold
from bnfold.report import wording
from bnfold.report.build import build_report
from bnfold.report.model import ReportKind
from bnfold.report.text import render_text
from bnfold.verify.types import Verification
from tests.report import samples

EXPECTED = """\
bnfold {version}: model.h5 (Keras 3, HDF5), converted by tf2onnx

2 of 4 affines folded, 1 went in part, 1 kept
  batch_normalization   784 ch  forward into dense
  bn_after_relu          32 ch  stays
      BNF204 activation, backward at relu_3 (Elu)
      BNF203 padding-blocks-shift, forward at block/conv (Conv): pads 1,1,1,1
  shared_norm            64 ch  forward into q, k, v
  half                   16 ch  scale backward into conv_5; the rest stays (Add
                                left)
      BNF102 graph-output, forward at the graph's output

What could be done (bnfold explain CODE says more)
  BNF102  Drop that output if nobody needs it, then fold again.
  BNF203  Use padding 'valid', or place the normalization behind the
          convolution.
  BNF204  Place the normalization before the activation, next to its Dense or
          convolution.

Equivalent: every check passed (64 samples, seed 7, 1.23 s)
  ok      weights     0.48 <= 1 ulp
  ok      algebra     1.8e-15 <= 1e-12 relative
  skipped keras       the source is ONNX
  output probabilities: largest difference 2.4e-07, same argmax in 100 % of rows

Latency in onnxruntime (1 thread, 12 pairs of processes, 95 % interval)
  batch 1                 41.2 us -> 30.1 us  1.37x faster (1.31 to 1.44)
  batch 1, optimizer off  41.2 us -> 40.8 us  no difference larger than 3.1 %
  load time               3.10 ms -> 2.00 ms

Size   4.12 MB -> 4.11 MB (-0.2 %)
Nodes  14 -> 8

Note: the weights were shared
Wrote model.onnx
"""


def test_the_report_of_a_fold() -> None:
    report = samples.fold_report()
    assert render_text(report) == EXPECTED.format(version=report.version)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("verification", [samples.PASSING, samples.FAILING])
def test_lines_fit_the_width(width: int, verbose: bool, verification: Verification) -> None:
    text = render_text(samples.fold_report(verification), width=width, verbose=verbose)
    assert max(map(len, text.splitlines())) <= width


def test_a_long_name_is_neither_cut_nor_allowed_to_widen_the_column() -> None:
    name = "/".join(["functional_1", *(["block_with_a_long_name"] * 4), "batch_normalization_17"])
    long = Fold(name, ("op",), "Mul", 8, samples.FOLDS[0].into)
    text = render_text(build_report(ReportKind.FOLD, folds=(*samples.FOLDS, long)))
    lines = text.splitlines()
    assert f"  {name}" in lines
    assert "  batch_normalization   784 ch  forward into net/dense/MatMul" in lines


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_only_on_request_and_the_words_stay_the_same(
    monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    report = samples.fold_report()
    plain, coloured = render_text(report), render_text(report, color=True)
    assert "\x1b" not in plain
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_failure_names_check_figure_place_and_inputs() -> None:
    text = render_text(samples.fold_report(samples.FAILING))
    assert "Not equivalent: 1 check failed" in text
    assert "FAILED  end-to-end  BNV301 dense_1; 2.5 > 1.2 ratio of RMSE; 100% of rows" in text
    assert "offending inputs: counterexample.npz" in text
    assert "first difference: dense_1 (Gemm)" in text


def test_strength_planted_faults_and_notes_are_told() -> None:
    text = " ".join(render_text(samples.fold_report(samples.THOROUGH)).split())
    assert "would have caught any of 38 kernel columns scaled by 1 + 3.2e-06" in text
    assert "298 of 300 activation inputs saw both signs" in text
    assert "of 3 planted faults 1 caught, 1 below the rounding noise, 1 missed" in text
    assert "note: the Loop was not evaluated in float64" in text


def test_verbose_adds_paths_ops_and_versions() -> None:
    text = render_text(samples.fold_report(), verbose=True)
    assert "walked drop_1" in text
    assert "0.48 <= 1 ulp; 4 constants recomputed" in text
    assert "BatchNormalization: net/bn/mul, net/bn/add" in text
    assert "onnxruntime " in text.splitlines()[-3] + text.splitlines()[-2]


def test_names_from_a_file_cannot_drive_the_terminal() -> None:
    text = render_text(samples.hostile_report("bn\x1b[2J\r\n\u202egnp"), color=False)
    assert not set(text) & {"\x1b", "\r", "\u202e"}
    assert "\\x1b[2J" in text


def test_an_inspection_says_would() -> None:
    report = build_report(ReportKind.INSPECT, folds=samples.FOLDS, kept=samples.KEPT)
    assert "2 of 4 affines can be folded, 1 can go in part, 1 would stay" in render_text(report)


def test_an_unverified_fold_is_called_that() -> None:
    assert "Not verified, as asked" in render_text(samples.fold_report(None))
    assert "Not verified" not in render_text(build_report(ReportKind.INSPECT))


def test_nothing_to_fold_is_said() -> None:
    assert "no affine found" in render_text(build_report(ReportKind.FOLD))


def test_a_verification_where_nothing_ran_is_no_pass() -> None:
    text = render_text(build_report(ReportKind.VERIFY, verification=Verification(())))
    assert "Not verified: no check could run" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4.12e-5, "41.2 us"),
        (9.996e-4, "1.00 ms"),
        (1.37e-3, "1.37 ms"),
        (2.1, "2.10 s"),
        (75.0, "75.0 s"),
        (0.0, "0 us"),
        (float("nan"), "unknown"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert wording.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (2_147_483_648, "2.15 GB"),
    ],
)
def test_size(value: int, text: str) -> None:
    assert wording.size(value) == text
