"""``bnfold MODEL... -o FOLDER``: many models in one run."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest

from bnfold.report.jsonform import schema
from tests.cli.conftest import Bnfold, dense_bn
from tests.cli.test_usage import one_line


@pytest.fixture
def models(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    """Two models and, between them, a file that is none."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("a", "c"):
        onnx.save(dense_bn(rng, elu_between=name == "c"), folder / f"{name}.onnx")
    (folder / "b.onnx").write_bytes(b"not a model")
    return sorted(folder.iterdir())


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.*") if path.is_file())


def test_one_failure_among_many_is_one_line_and_the_others_go_on(
    bnfold: Bnfold, models: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = bnfold(*models, "-o", out, "--jobs", "1", "--no-verify")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("bnfold: ") and "b.onnx" in done.err
    assert done.err.count("b.onnx") == 1
    lines = done.out.splitlines()
    assert sorted(lines[:-1]) == [
        f"ok      {models[0]} -> {out / 'a.onnx'}: 1 folded, 0 kept, not verified",
        f"ok      {models[2]} -> {out / 'c.onnx'}: 0 folded, 1 kept, not verified",
    ]
    assert lines[-1] == "3 models: 2 done, 1 failed; 1 affine folded"
    assert results(out) == ["a.onnx", "c.onnx"]


def test_a_run_is_taken_up_again(bnfold: Bnfold, models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["-o", out, "-j", "1", "--no-verify"]
    assert bnfold(models[0], *flags).code == 0
    before = (out / "a.onnx").stat().st_mtime_ns
    done = bnfold(models[0], models[2], *flags)
    assert done.code == 0
    assert "not verified (done before)" in done.out
    assert (out / "a.onnx").stat().st_mtime_ns == before


def test_json_holds_every_row_in_the_order_given(
    bnfold: Bnfold, models: list[Path], tmp_path: Path
) -> None:
    done = bnfold(*models, "-o", tmp_path / "out", "-j", "1", "--json")
    assert done.code == 2
    data = json.loads(done.out)
    jsonschema.Draft202012Validator(schema("many")).validate(data)
    assert [row["source"] for row in data["models"]] == [str(path) for path in models]
    assert [row["outcome"] for row in data["models"]] == ["folded", "failed", "folded"]
    assert [row["exit_code"] for row in data["models"]] == [0, 2, 0]
    assert [row["verified"] for row in data["models"]] == [True, None, True]
    assert data["summary"] == {"models": 3, "failed": 1, "folded": 1}


@pytest.mark.parametrize("form", ["{}/", "{}"])
def test_one_model_into_a_folder(
    bnfold: Bnfold, models: list[Path], tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    if form == "{}":
        out.mkdir()
    assert bnfold(models[0], "-o", form.format(out), "--no-verify", "-q").code == 0
    assert results(out) == ["a.onnx"]


def test_names_that_collide_are_refused_before_anything_is_written(
    bnfold: Bnfold, models: list[Path], tmp_path: Path
) -> None:
    twin = tmp_path / "a.keras"
    twin.write_bytes(models[0].read_bytes())
    done = bnfold(models[0], twin, "-o", tmp_path / "out")
    assert (done.code, one_line(done)) == (2, True)
    assert "would both be written" in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_one_line(
    bnfold: Bnfold, models: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    done = bnfold(models[0], models[2], "-o", tmp_path / "out")
    assert (done.code, one_line(done)) == (2, True)
    assert (tmp_path / "out").read_bytes() == b"precious"


def test_results_of_others_need_force(bnfold: Bnfold, models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.onnx").write_bytes(b"precious")
    flags = ["-o", out, "-j", "1", "--no-verify", "-q"]
    done = bnfold(models[0], models[2], *flags)
    assert done.code == 2 and "exists" in done.err
    assert (out / "a.onnx").read_bytes() == b"precious"
    assert bnfold(models[0], models[2], *flags, "--force").code == 0
    assert (out / "a.onnx").read_bytes() != b"precious"
