"""A failure names where its inputs were kept and the command that shows it again, which does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import Bnfold, dense_bn
from tests.cli.test_files import snapshot


@pytest.fixture
def broken(foldable: Path, tmp_path: Path) -> Path:
    """`foldable` with one column of its kernel scaled."""
    model = onnx.load(foldable)
    weight = next(item for item in model.graph.initializer if item.name == "W")
    array = numpy_helper.to_array(weight).copy()
    array[:, 0] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(array, "W"))
    path = tmp_path / "with a space.onnx"
    onnx.save(model, path)
    return path


def again(report: Path) -> list[str]:
    words = shlex.split(json.loads(report.read_text())["again"])
    assert words[0] == "bnfold"
    return words[1:]


def test_verify_keeps_the_inputs_and_says_how_to_see_it_again(
    bnfold: Bnfold, foldable: Path, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    report = tmp_path / "r.json"
    first = bnfold("verify", foldable, broken, "--samples", "9", "--report", report, "-q")
    assert first.code == 1
    (kept,) = tmp_path.glob("bnfold-offending-*.npz")
    words = again(report)
    assert words == ["verify", str(foldable), str(broken), "--inputs", str(kept)]
    second = bnfold(*words)
    assert second.code == 1
    line = next(line for line in second.out.splitlines() if "bnfold verify" in line)
    assert "--inputs" in shlex.split(line)


def test_without_inputs_the_seed_is_kept(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> None:
    model = onnx.load(foldable)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"
    other, report = tmp_path / "other.onnx", tmp_path / "r.json"
    onnx.save(model, other)
    flags = ["--seed", "3", "--samples", "9", "--report", report, "-q"]
    assert bnfold("verify", foldable, other, *flags).code == 1
    words = ["verify", str(foldable), str(other), "--samples", "9", "--seed", "3"]
    assert again(report) == words
    assert bnfold(*words).code == 1


def test_a_failed_fold_says_how_to_see_it_again(
    bnfold: Bnfold, foldable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnfold import folding

    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    whole = folding.verify_opened

    def sabotaged(reference: object, candidate: object, **options: object) -> object:
        rng = np.random.default_rng(5)
        other = onnx.load(foldable)
        other.graph.initializer[0].CopyFrom(dense_bn(rng).graph.initializer[0])
        import onnx_ir as ir

        broken = folding.replace(candidate, model=ir.from_proto(other))  # type: ignore[type-var]
        return whole(reference, broken, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(folding, "verify_opened", sabotaged)
    out, report = tmp_path / "out.onnx", tmp_path / "r.json"
    done = bnfold(foldable, "-o", out, "--no-bench", "--report", report, "-q")
    assert done.code == 1 and not out.exists()
    (kept,) = tmp_path.glob("bnfold-offending-*.npz")
    assert again(report) == ["fold", str(foldable), "--output", str(out), "--inputs", str(kept)]


def test_success_says_nothing_and_keeps_nothing(
    bnfold: Bnfold, foldable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    before = snapshot(tmp_path)
    done = bnfold("verify", foldable, foldable, "--json")
    assert (done.code, json.loads(done.out)["again"]) == (0, "")
    assert snapshot(tmp_path) == before


def test_nothing_is_replaced_unless_forced(
    bnfold: Bnfold, foldable: Path, broken: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "mine.npz"
    taken.write_bytes(b"precious")
    for name in (taken, taken.with_suffix("")):
        done = bnfold("verify", foldable, broken, "--counterexample", name)
        assert (done.code, done.out) == (2, "")
    assert taken.read_bytes() == b"precious"
    assert bnfold("verify", foldable, broken, "--counterexample", taken, "--force").code == 1
    assert np.load(taken)["x"].shape[1] == 5
