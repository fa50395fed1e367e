"""``bnfold MODEL`` from end to end: what is printed, written, and how it ends."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest

from bnfold import folding
from bnfold.report.jsonform import schema
from tests.cli.conftest import Bnfold
from tests.cli.test_files import snapshot
from tests.report import samples


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every verification fail."""
    monkeypatch.setattr(folding, "verify_opened", lambda *_, **__: samples.FAILING)


def test_a_fold_prints_the_report_and_writes_the_model(
    bnfold: Bnfold, foldable: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.onnx"
    done = bnfold(foldable, "-o", output, "--bench-seconds", "0.5")
    assert (done.code, done.err) == (0, "")
    for words in (
        "1 of 1 affine folded",
        "backward into dense",
        "Equivalent: every check passed",
        "Latency in onnxruntime",
        "Nodes  4 -> ",
        "Wrote",
        str(output),
    ):
        assert words in done.out
    assert "\x1b" not in done.out
    assert "BatchNormalization" not in [node.op_type for node in onnx.load(output).graph.node]


def test_options_may_stand_before_the_model_and_the_command_may_be_named(
    bnfold: Bnfold, foldable: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    assert bnfold("-o", first, "--no-bench", "-q", foldable).code == 0
    assert bnfold("fold", foldable, "--output", second, "--no-bench").code == 0
    assert first.read_bytes() == second.read_bytes()


def test_without_o_the_chosen_name_is_said(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold(foldable, "--no-bench")
    assert done.code == 0
    chosen = foldable.parent / "foldable.folded.onnx"
    assert chosen.is_file()
    joined = " ".join(done.out.split())
    assert f"no -o was given, so the name {chosen} was chosen" in joined


def test_an_affine_that_stays_is_no_failure(bnfold: Bnfold, stuck: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    done = bnfold(stuck, "-o", output, "--no-bench")
    assert done.code == 0
    assert "0 of 1 affine folded, 1 kept" in done.out
    assert "BNF204 activation, backward at act (Elu)" in done.out
    assert output.is_file()


def test_no_verify_and_no_bench(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> None:
    done = bnfold(foldable, "-o", tmp_path / "o.onnx", "--no-verify", "--no-bench", "--json")
    data = json.loads(done.out)
    assert (data["verification"], data["benchmark"]) == (None, None)
    assert bnfold(foldable, "-o", tmp_path / "p.onnx", "--no-verify", "--no-bench").out.count(
        "Not verified"
    )


@pytest.mark.parametrize("command", ["fold", "inspect", "verify"])
def test_json_is_the_whole_output_and_valid(
    bnfold: Bnfold, foldable: Path, tmp_path: Path, command: str
) -> None:
    arguments = {
        "fold": [foldable, "-o", tmp_path / "o.onnx", "--no-bench"],
        "inspect": [foldable],
        "verify": [foldable, foldable],
    }[command]
    done = bnfold(command, *arguments, "--json")
    assert (done.code, done.err) == (0, "")
    data = json.loads(done.out)
    jsonschema.Draft202012Validator(schema()).validate(data)
    assert data["kind"] == command


def test_report_files_by_suffix(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> None:
    names = ["r.txt", "r.json", "r.md", "r.xml"]
    flags = [item for name in names for item in ("--report", tmp_path / name)]
    done = bnfold(foldable, "-o", tmp_path / "o.onnx", "--no-bench", "-q", *flags)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert "1 of 1 affine folded" in (tmp_path / "r.txt").read_text()
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["output"] == str(tmp_path / "o.onnx")
    assert (tmp_path / "r.md").read_text().startswith("## ")
    assert ElementTree.parse(tmp_path / "r.xml").getroot().tag == "testsuites"


@pytest.mark.usefixtures("wrong")
def test_a_failed_check_writes_no_model_and_exits_1(
    bnfold: Bnfold, foldable: Path, tmp_path: Path
) -> None:
    report = tmp_path / "r.xml"
    done = bnfold(foldable, "-o", tmp_path / "out.onnx", "--report", report)
    assert done.code == 1
    assert "Not equivalent" in done.out
    assert "Wrote" not in done.out
    assert done.err.startswith("bnfold: NOT equivalent")
    assert done.err.count("\n") == 1
    assert sorted(snapshot(tmp_path)) == ["foldable.onnx", "r.xml"]
    assert ElementTree.parse(report).find(".//failure") is not None


@pytest.mark.usefixtures("wrong")
def test_a_failed_check_leaves_the_old_output(
    bnfold: Bnfold, foldable: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.onnx"
    output.write_bytes(b"precious")
    assert bnfold(foldable, "-o", output, "--force").code == 1
    assert output.read_bytes() == b"precious"


def test_force_replaces_the_output_even_if_it_is_the_input(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold(foldable, "-o", foldable, "--force", "--no-bench")
    assert done.code == 0
    assert "BatchNormalization" not in [node.op_type for node in onnx.load(foldable).graph.node]


def test_github_annotations(bnfold: Bnfold, stuck: Path) -> None:
    done = bnfold("inspect", stuck, "--github")
    assert done.out.startswith("::notice title=bn kept::BNF")


def test_verbose_tells_more(bnfold: Bnfold, stuck: Path) -> None:
    brief, full = bnfold("inspect", stuck), bnfold("inspect", stuck, "-v")
    assert "onnxruntime 1" not in brief.out
    assert "onnxruntime 1" in full.out
    assert "reading" in full.err


def test_a_run_leaves_the_logging_of_the_process_alone(bnfold: Bnfold, stuck: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("bnfold", "py.warnings")]
    before = [(item.handlers, item.level, item.propagate) for item in loggers]
    assert bnfold("inspect", stuck, "-v").code == 0
    assert [(item.handlers, item.level, item.propagate) for item in loggers] == before


def test_inputs_of_the_user_are_used(
    bnfold: Bnfold, foldable: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    np.savez(tmp_path / "in.npz", x=rng.normal(size=(9, 5)).astype(np.float32))
    done = bnfold("verify", foldable, foldable, "--inputs", tmp_path / "in.npz", "--json")
    assert json.loads(done.out)["verification"]["samples"] == 9


def test_verify_exits_1_when_models_differ(bnfold: Bnfold, foldable: Path, stuck: Path) -> None:
    done = bnfold("verify", foldable, stuck)
    assert done.code == 1
    assert "FAILED" in done.out
    assert "Traceback" not in done.err


def test_bench_compares_two_files(bnfold: Bnfold, foldable: Path) -> None:
    done = bnfold("bench", foldable, foldable, "--bench-seconds", "0.5", "--batch", "4", "--json")
    assert done.code == 0
    assert [item["batch"] for item in json.loads(done.out)["benchmark"]["comparisons"]] == [4]
