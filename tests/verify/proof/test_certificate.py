"""A certificate holds for its two models, and for no others; forged claims are rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.core.errors import InputError, OutputError
from bnfold.verify.proof import prove
from bnfold.verify.proof.certificate import (
    Validity,
    certificate,
    check_certificate,
    write_certificate,
)
from tests.verify.proof.cases import CASES, Pair

Forgery = Callable[[dict[str, Any]], None]


def models(name: str = "shift_back_scale_forward") -> tuple[Pair, ir.Model, ir.Model]:
    pair = CASES[name](np.random.default_rng(0))
    return pair, pair.original.model(), pair.folded.model()


def written(path: Path, original: ir.Model, folded: ir.Model) -> dict[str, Any]:
    write_certificate(path, prove(original, folded), original, folded)
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("name", CASES)
def test_holds_for_its_models(name: str, tmp_path: Path) -> None:
    _, original, folded = models(name)
    path = tmp_path / "fold.json"
    written(path, original, folded)
    check = check_certificate(path, original, folded)
    assert check.valid, check.reason
    assert check.validity is Validity.VALID


def test_says_what_the_fold_relied_on(tmp_path: Path) -> None:
    pair, original, folded = models()
    content = written(tmp_path / "fold.json", original, folded)
    assert {s for fold in content["folds"] for s in fold["sources"]} >= set(pair.folds)
    assert {t for fold in content["folds"] for t in fold["targets"]} >= set(pair.into)
    assert all(fold["max_ulps"] <= fold["bound_ulps"] for fold in content["folds"])
    relations = {(r["original"], r["folded"]): r["relation"] for r in content["relations"]}
    assert relations["z", "z"] == "identity"
    assert isinstance(relations["r", "r"], dict)
    needs = {(c["op"], c["op_type"]): c["needs"] for f in content["folds"] for c in f["conditions"]}
    assert needs.keys() == {("r_op", "Relu"), ("second", "Conv")}
    assert "scale > 0" in needs["r_op", "Relu"] and "no shift" in needs["second", "Conv"]
    assert content["conditions"] == []
    assert content["original"]["weights_sha256"]["v"] != content["folded"]["weights_sha256"]["v"]


def test_relation_is_the_one_of_the_algebra(tmp_path: Path) -> None:
    """relu(s x + t) = s relu(x + t / s): the original's Relu is s times the folded one."""
    pair, original, folded = models()
    content = written(tmp_path / "fold.json", original, folded)
    entry = next(r for r in content["relations"] if r["original"] == r["folded"] == "r")
    a, b, c = (np.reshape(entry["relation"][k]["data"], -1) for k in "abc")
    bn = pair.original.constants
    scale = bn["bn_gamma"] / np.sqrt(bn["bn_var"].astype(np.float64) + np.float32(1e-3))
    np.testing.assert_allclose(-b / a, scale, rtol=1e-6)
    np.testing.assert_allclose(c, 0.0, atol=1e-12)


def forge_scale(content: dict[str, Any]) -> None:
    entry = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    entry["relation"]["b"]["data"][0] *= 1.001


def forge_identity(content: dict[str, Any]) -> None:
    entry = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    entry["relation"] = "identity"


def forge_shape(content: dict[str, Any]) -> None:
    entry = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    entry["relation"]["a"]["shape"] = [1]


def forge_not_numbers(content: dict[str, Any]) -> None:
    entry = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    entry["relation"]["a"]["data"][0] = "1"


def forge_nan(content: dict[str, Any]) -> None:
    entry = next(r for r in content["relations"] if isinstance(r["relation"], dict))
    entry["relation"]["a"]["data"][0] = float("nan")


def forge_sources(content: dict[str, Any]) -> None:
    content["folds"][0]["sources"].append("another")


def forge_figure(content: dict[str, Any]) -> None:
    content["folds"][0]["max_ulps"] = 0.0


def forge_bound(content: dict[str, Any]) -> None:
    content["folds"][0]["bound_ulps"] = 1e9


def forge_conditions(content: dict[str, Any]) -> None:
    content["folds"][0]["conditions"].pop()


def forge_fewer_relations(content: dict[str, Any]) -> None:
    content["relations"].pop()


def forge_output(content: dict[str, Any]) -> None:
    content["outputs"][0]["name"] = "y"


FORGERIES = [
    forge_scale,
    forge_identity,
    forge_shape,
    forge_not_numbers,
    forge_nan,
    forge_sources,
    forge_figure,
    forge_bound,
    forge_conditions,
    forge_fewer_relations,
    forge_output,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_forged_claims_are_rejected(forge: Forgery, tmp_path: Path) -> None:
    _, original, folded = models()
    path = tmp_path / "fold.json"
    content = written(path, original, folded)
    forge(content)
    path.write_text(json.dumps(content))
    check = check_certificate(path, original, folded)
    assert not check.valid
    assert "does not hold" in check.reason


@pytest.mark.parametrize("which", ["original", "folded"])
def test_stale_for_other_weights(which: str, tmp_path: Path) -> None:
    pair, original, folded = models()
    path = tmp_path / "fold.json"
    written(path, original, folded)
    net = getattr(pair, which)
    net.const(c=np.nextafter(net.constants["c"], np.float32(9)))
    changed = {"original": original, "folded": folded, which: net.model()}
    check = check_certificate(path, changed["original"], changed["folded"])
    assert not check.valid
    assert which in check.reason
    assert "'c'" in check.reason


def test_stale_for_another_graph(tmp_path: Path) -> None:
    pair, original, folded = models()
    path = tmp_path / "fold.json"
    written(path, original, folded)
    node = next(n for n in pair.folded.nodes if n.op_type == "Tanh")
    node.op_type = "Sigmoid"
    check = check_certificate(path, original, pair.folded.model())
    assert not check.valid
    assert "graph" in check.reason


def test_hashes_alone_do_not_make_it_true(tmp_path: Path) -> None:
    """Hashes brought up to date for a broken fold: the proof itself is made again."""
    pair, original, folded = models()
    path = tmp_path / "fold.json"
    content = written(path, original, folded)
    kernel = pair.folded.constants["v"].copy()
    kernel.reshape(-1)[3] *= 1 + 1e-4
    pair.folded.const(v=kernel)
    broken = pair.folded.model()
    from bnfold.verify.proof.fingerprint import structure_hash, weight_hashes

    content["folded"] = {
        "structure_sha256": structure_hash(broken),
        "weights_sha256": weight_hashes(broken),
    }
    path.write_text(json.dumps(content))
    check = check_certificate(path, original, broken)
    assert not check.valid
    assert "not proved" in check.reason


def test_only_what_is_proved_is_certified(tmp_path: Path) -> None:
    pair, original, _ = models()
    pair.folded.const(b=pair.folded.constants["b"] + np.float32(1))
    broken = pair.folded.model()
    with pytest.raises(ValueError, match="proved"):
        certificate(prove(original, broken), original, broken)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "x"}',
        '{"format": "bnfold certificate"}',
        '{"format": "bnfold certificate", "version": 99}',
        '{"format": "bnfold certificate", "version": 1, "folds": 3}',
        "[" * 100_000,
    ],
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    _, original, folded = models()
    path = tmp_path / "fold.json"
    path.write_text(text)
    with pytest.raises(InputError):
        check_certificate(path, original, folded)
    with pytest.raises(InputError):
        check_certificate(tmp_path / "absent.json", original, folded)


def test_is_not_overwritten_unasked(tmp_path: Path) -> None:
    _, original, folded = models()
    path = tmp_path / "fold.json"
    written(path, original, folded)
    proof = prove(original, folded)
    with pytest.raises(OutputError):
        write_certificate(path, proof, original, folded)
    write_certificate(path, proof, original, folded, force=True)
