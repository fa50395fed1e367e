"""--certificate: a fold writes what its proof relied on, verify derives it from the two models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bnfold as package
from bnfold.core.errors import VerificationError
from bnfold.verify.types import CheckKind, Status
from tests.cli.conftest import Bnfold, dense_bn
from tests.cli.test_files import snapshot
from tests.conftest import SAMPLE_MODELS

Content = dict[str, Any]


@pytest.fixture
def certified(bnfold: Bnfold, foldable: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A model, its fold and the certificate."""
    out, certificate = tmp_path / "out.onnx", tmp_path / "fold.json"
    done = bnfold(foldable, "-o", out, "--certificate", certificate, "--no-bench", "-q")
    assert (done.code, done.err) == (0, "")
    return foldable, out, certificate


def checked(bnfold: Bnfold, *arguments: object) -> tuple[int, Content]:
    done = bnfold("verify", *arguments, "--json")
    checks = json.loads(done.out)["verification"]["checks"]
    return done.code, next(check for check in checks if check["kind"] == "certificate")


def test_holds_for_the_files_that_were_written(
    bnfold: Bnfold, certified: tuple[Path, Path, Path]
) -> None:
    original, out, certificate = certified
    code, check = checked(bnfold, original, out, "--certificate", certificate)
    assert (code, check["status"], check["code"]) == (0, "passed", "")
    content = json.loads(certificate.read_text())
    fold = content["folds"][0]
    assert (fold["sources"], fold["targets"]) == (["bn"], ["dense"])
    assert fold["max_ulps"] <= fold["bound_ulps"] == 4
    before, after = (content[name]["weights_sha256"] for name in ("original", "folded"))
    assert before["W"] != after["W"]
    assert "gamma" in before and "gamma" not in after


def forged(content: Content) -> None:
    relation = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    relation["relation"]["a"]["data"][0] += 0.5


def other_bound(content: Content) -> None:
    content["folds"][0]["bound_ulps"] = 1e6


def other_target(content: Content) -> None:
    content["folds"][0]["targets"] = ["softmax"]


@pytest.mark.parametrize("forge", [forged, other_bound, other_target])
def test_a_forged_claim_fails(
    bnfold: Bnfold, certified: tuple[Path, Path, Path], forge: Callable[[Content], None]
) -> None:
    original, out, certificate = certified
    content = json.loads(certificate.read_text())
    forge(content)
    certificate.write_text(json.dumps(content))
    code, check = checked(bnfold, original, out, "--certificate", certificate)
    assert (code, check["status"], check["code"]) == (1, "failed", "BNV125")


@pytest.mark.parametrize("which", ["original", "folded"])
def test_a_changed_weight_fails(
    bnfold: Bnfold, certified: tuple[Path, Path, Path], which: str
) -> None:
    original, out, certificate = certified
    path = {"original": original, "folded": out}[which]
    model = onnx.load(path)
    weight = next(item for item in model.graph.initializer if item.name == "W")
    array = np.nextafter(numpy_helper.to_array(weight), np.float32(9))
    weight.CopyFrom(numpy_helper.from_array(array, "W"))
    onnx.save(model, path)
    code, check = checked(bnfold, original, out, "--certificate", certificate)
    assert (code, check["code"]) == (1, "BNV124")
    assert which in check["detail"] and "'W'" in check["detail"]


def test_another_model_fails(
    bnfold: Bnfold, certified: tuple[Path, Path, Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    original, _, certificate = certified
    other = tmp_path / "other.onnx"
    onnx.save(dense_bn(rng), other)
    code, check = checked(bnfold, original, other, "--certificate", certificate)
    assert (code, check["code"]) == (1, "BNV124")


def test_another_interface_fails(
    bnfold: Bnfold, certified: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    original, out, certificate = certified
    model = onnx.load(out)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"
    other = tmp_path / "other.onnx"
    onnx.save(model, other)
    code, check = checked(bnfold, original, other, "--certificate", certificate)
    assert (code, check["code"]) == (1, "BNV124")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"version": 1', '"version": 99'),
        lambda text: text.replace('"relations"', '"relation"'),
        lambda text: "[" * 100_000,
    ],
)
def test_what_is_no_certificate_is_unusable(
    bnfold: Bnfold, certified: tuple[Path, Path, Path], damage: Callable[[str], str]
) -> None:
    original, out, certificate = certified
    certificate.write_text(damage(certificate.read_text()))
    done = bnfold("verify", original, out, "--certificate", certificate)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1 and str(certificate) in done.err


def test_a_missing_certificate_is_unusable(
    bnfold: Bnfold, certified: tuple[Path, Path, Path]
) -> None:
    original, out, certificate = certified
    certificate.unlink()
    done = bnfold("verify", original, out, "--certificate", certificate)
    assert done.code == 2 and str(certificate) in done.err


def test_what_cannot_be_written_is_refused_before_any_work(
    bnfold: Bnfold, foldable: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "fold.json"
    taken.write_text("precious")
    out = tmp_path / "out.onnx"
    before = snapshot(tmp_path)
    for flags in (
        ["--certificate", taken],
        ["--certificate", out],
        ["--certificate", tmp_path / "no" / "fold.json"],
        ["--certificate", tmp_path / "new.json", "--report", tmp_path / "new.json"],
        ["--certificate", tmp_path / "new.json", "--no-verify"],
    ):
        done = bnfold(foldable, "-o", out, *flags)
        assert (done.code, done.out) == (2, ""), flags
    assert snapshot(tmp_path) == before


def test_is_for_one_model(bnfold: Bnfold, foldable: Path, stuck: Path, tmp_path: Path) -> None:
    done = bnfold(foldable, stuck, "-o", tmp_path / "to", "--certificate", tmp_path / "fold.json")
    assert done.code == 2 and "--certificate" in done.err


def test_nothing_is_written_without_a_proof(
    bnfold: Bnfold, foldable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnfold.verify.compare.attempted", lambda *_: (None, "no proof today"))
    out, certificate = tmp_path / "out.onnx", tmp_path / "fold.json"
    done = bnfold(foldable, "-o", out, "--no-bench", "--certificate", certificate)
    assert done.code == 1 and "--certificate" in done.err
    assert not out.exists() and not certificate.exists()


def test_from_python(tmp_path: Path, rng: np.random.Generator) -> None:
    original, out, certificate = (tmp_path / name for name in ("m.onnx", "out.onnx", "fold.json"))
    onnx.save(dense_bn(rng), original)
    result = package.fold(original)
    result.save(out, certificate=certificate)
    assert json.loads(certificate.read_text()) == json.loads(json.dumps(result.certificate()))
    found = package.verify(original, out, certificate=certificate)
    check = next(check for check in found.checks if check.kind is CheckKind.CERTIFICATE)
    assert check.status is Status.PASSED and found.passed
    with pytest.raises(VerificationError, match="no certificate"):
        package.fold(original, verify=False).save(tmp_path / "x.onnx", certificate=tmp_path / "c")
    assert not (tmp_path / "x.onnx").exists() and not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "name", sorted(path.name for path in SAMPLE_MODELS.iterdir() if path.suffix == ".onnx")
)
def test_every_sample_is_certified(bnfold: Bnfold, name: str, tmp_path: Path) -> None:
    out, certificate = tmp_path / "out.onnx", tmp_path / "fold.json"
    flags = ["--no-bench", "-q", "--samples", "4"]
    done = bnfold(SAMPLE_MODELS / name, "-o", out, "--certificate", certificate, *flags)
    assert (done.code, done.err) == (0, "")
    pair = (SAMPLE_MODELS / name, out)
    code, check = checked(bnfold, *pair, "--samples", "4", "--certificate", certificate)
    assert (code, check["status"]) == (0, "passed"), check


@pytest.mark.keras
@pytest.mark.parametrize("suffix", [".onnx", None])
@pytest.mark.parametrize("name", ["conv.keras", "post_activation.h5"])
def test_every_keras_sample_is_certified(
    bnfold: Bnfold, name: str, suffix: str | None, tmp_path: Path
) -> None:
    source = SAMPLE_MODELS / name
    out, certificate = tmp_path / f"out{suffix or source.suffix}", tmp_path / "fold.json"
    flags = ["--no-bench", "-q", "--samples", "4"]
    done = bnfold(source, "-o", out, "--certificate", certificate, *flags)
    assert (done.code, done.err) == (0, "")
    code, check = checked(bnfold, source, out, "--samples", "4", "--certificate", certificate)
    assert (code, check["status"]) == (0, "passed"), check
