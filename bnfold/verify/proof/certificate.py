"""A certificate of a fold: what the proof relied on, to be checked again by anyone.

The file is JSON. Whoever checks it needs the two models and this package's prover, nothing that
folded them: the models are read again, every claimed relation is derived anew, and the hashes
tie the file to these very weights.
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.core.errors import InputError
from bnfold.formats.atomic import atomic_output
from bnfold.verify.proof.fingerprint import structure_hash, weight_hashes
from bnfold.verify.proof.prove import prove
from bnfold.verify.proof.types import Condition, Proof, ProofStatus, ValuePair

FORMAT = "bnfold certificate"
VERSION = 1
#: Largest certificate that is read, in bytes.
MAX_BYTES = 1 << 30
#: How far a relation may be from the claimed one, relatively: the noise of float64 sums.
AGREEMENT = 1e-9
#: How far a figure in ulps may be from the claimed one.
FIGURE = 1e-3


class Validity(enum.Enum):
    """The verdict on a certificate."""

    VALID = "valid"
    STALE = "stale"  # made for other models
    FORGED = "forged"  # claims what cannot be derived from the two models


@dataclass(frozen=True)
class CertificateCheck:
    """The verdict on a certificate.

    Attributes:
        validity: whether everything in it holds for the two models.
        reason: what does not hold, one line; "" if all does.
        relations: how many pairs of values it ties.
        folds: how many groups of folded constants it speaks of.
    """

    validity: Validity
    reason: str = ""
    relations: int = 0
    folds: int = 0

    @property
    def valid(self) -> bool:
        """Whether everything in it holds."""
        return self.validity is Validity.VALID


def certificate(proof: Proof, original: ir.Model, folded: ir.Model) -> dict[str, Any]:
    """The content of a certificate, ready for JSON.

    Raises:
        ValueError: the proof does not prove the fold.
    """
    if uncertified(proof):
        raise ValueError("only a proved fold can be certified")
    return {
        "format": FORMAT,
        "version": VERSION,
        "original": _identity(original),
        "folded": _identity(folded),
        "outputs": [{"name": o.name, "argument": o.argument} for o in proof.outputs],
        "folds": [
            {
                "sources": list(group.ops),
                "targets": list(group.into),
                "argument": group.argument,
                "max_ulps": group.max_ulps,
                "bound_ulps": group.bound,
                "conditions": [_condition(c) for c in proof.conditions if number in c.groups],
            }
            for number, group in enumerate(proof.groups)
        ],
        "conditions": [_condition(c) for c in proof.conditions if not c.groups],
        "relations": [_relation(pair) for pair in proof.pairs],
    }


def uncertified(proof: Proof | None) -> str:
    """Why a proof certifies nothing, one line; "" if it proves the fold."""
    if proof is None:
        return "the fold was not verified, or its proof failed"
    if proof.status is ProofStatus.PROVED:
        return ""
    parts = (*(r.reason for r in proof.refutations), *proof.notes)
    return "; ".join((f"the fold is not proved for every input ({proof.status.value})", *parts))


@contextmanager
def written_with(
    path: str | os.PathLike[str], content: Mapping[str, Any], *, force: bool = False
) -> Iterator[None]:
    """Write a certificate that appears when the block, which writes the model, has succeeded.

    Raises:
        OutputError: the file cannot be written, or exists and `force` is not given.
    """
    with atomic_output(path, force=force) as file:
        file.write(json.dumps(content, indent=1).encode())
        yield


def write_certificate(
    path: str | os.PathLike[str],
    proof: Proof,
    original: ir.Model,
    folded: ir.Model,
    *,
    force: bool = False,
) -> None:
    """Write a certificate, whole or not at all.

    Raises:
        ValueError: the proof does not prove the fold.
        OutputError: the file cannot be written, or exists and `force` is not given.
    """
    with written_with(path, certificate(proof, original, folded), force=force):
        pass


def check_certificate(
    path: str | os.PathLike[str],
    original: ir.Model,
    folded: ir.Model,
    *,
    budget_seconds: float = 60.0,
) -> CertificateCheck:
    """Check a certificate against the two models, from the models alone.

    Raises:
        InputError: the file is no certificate of a version that is known here.
    """
    claimed = read_certificate(path)
    stale = stale_part(claimed, original, folded)
    if stale:
        return CertificateCheck(Validity.STALE, stale)
    proof = prove(original, folded, budget_seconds=budget_seconds)
    return compare_certificate(claimed, proof, original, folded)


def stale_part(claimed: Mapping[str, Any], original: ir.Model, folded: ir.Model) -> str:
    """What shows that a certificate was made for other models; "" if nothing does."""
    for name, model in (("original", original), ("folded", folded)):
        reason = _identity_difference(claimed[name], _identity(model))
        if reason:
            return f"the certificate is for another {name} model: {reason}"
    return ""


def compare_certificate(
    claimed: Mapping[str, Any], proof: Proof | None, original: ir.Model, folded: ir.Model
) -> CertificateCheck:
    """Hold what a certificate claims against a proof that was made anew."""
    if proof is None or proof.status is not ProofStatus.PROVED:
        return CertificateCheck(Validity.FORGED, f"nothing is derived: {uncertified(proof)}")
    fresh = json.loads(json.dumps(certificate(proof, original, folded)))
    for part in ("outputs", "conditions", "folds", "relations"):
        reason = _difference(claimed[part], fresh[part], part)
        if reason:
            text = f"the certificate claims what does not hold: {reason}"
            return CertificateCheck(Validity.FORGED, text)
    return CertificateCheck(
        Validity.VALID, relations=len(fresh["relations"]), folds=len(fresh["folds"])
    )


def _identity(model: ir.Model) -> dict[str, Any]:
    return {"structure_sha256": structure_hash(model), "weights_sha256": weight_hashes(model)}


def _condition(condition: Condition) -> dict[str, str]:
    return {
        "op": condition.op,
        "op_type": condition.op_type,
        "value": condition.value,
        "original": condition.original,
        "needs": condition.needs,
    }


def _relation(pair: ValuePair) -> dict[str, Any]:
    if pair.relation is None:
        return {"original": pair.original, "folded": pair.folded, "relation": "identity"}
    a, b, c = (
        {"shape": list(array.shape), "data": array.ravel().tolist()}
        for array in map(np.asarray, pair.relation)
    )
    return {"original": pair.original, "folded": pair.folded, "relation": {"a": a, "b": b, "c": c}}


_PARTS: Mapping[str, type] = {
    "original": dict,
    "folded": dict,
    "outputs": list,
    "folds": list,
    "conditions": list,
    "relations": list,
}


def read_certificate(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a certificate, of the right form but not checked.

    Raises:
        InputError: the file is no certificate of a version that is known here.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: too large for a certificate.")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a certificate of bnfold (no JSON).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: is not a certificate of bnfold.")
    if content.get("version") != VERSION:
        raise InputError(
            f"{path}: is a certificate of version {content.get('version')!r}; this bnfold knows "
            f"version {VERSION}."
        )
    for part, kind in _PARTS.items():
        if not isinstance(content.get(part), kind):
            raise InputError(f"{path}: is a damaged certificate: {part!r} is missing.")
    return content


def _identity_difference(claimed: Mapping[str, Any], fresh: Mapping[str, Any]) -> str:
    if claimed.get("structure_sha256") != fresh["structure_sha256"]:
        return "its graph differs"
    weights = claimed.get("weights_sha256")
    if not isinstance(weights, dict):
        return "the hashes of its weights are missing"
    for name, value in fresh["weights_sha256"].items():
        if weights.get(name) != value:
            return f"weight {name!r} differs"
    if len(weights) != len(fresh["weights_sha256"]):
        return "it has other weights"
    return ""


def _difference(claimed: Any, fresh: Any, where: str) -> str:
    """The first place where two JSON values differ, numbers beyond the noise; "" if none."""
    if isinstance(fresh, dict) and isinstance(claimed, dict):
        if fresh.keys() == {"a", "b", "c"}:
            return _relation_difference(claimed, fresh, where)
        if claimed.keys() != fresh.keys():
            return where
        return next(
            filter(None, (_difference(claimed[k], fresh[k], f"{where}.{k}") for k in fresh)), ""
        )
    if isinstance(fresh, list) and isinstance(claimed, list):
        if len(fresh) != len(claimed):
            return f"{where}: {len(claimed)} entries where there are {len(fresh)}"
        pairs = enumerate(zip(claimed, fresh, strict=True))
        return next(filter(None, (_difference(c, f, f"{where}[{i}]") for i, (c, f) in pairs)), "")
    if isinstance(fresh, float) and isinstance(claimed, float | int):
        return "" if abs(claimed - fresh) <= FIGURE else where
    return "" if type(claimed) is type(fresh) and claimed == fresh else where


def _relation_difference(claimed: Mapping[str, Any], fresh: Mapping[str, Any], where: str) -> str:
    """Whether three arrays are those that were derived anew, each within the noise of all."""
    size = max(float(np.abs(part["data"]).max(initial=0.0)) for part in fresh.values())
    for name, part in fresh.items():
        given = claimed.get(name)
        if not isinstance(given, dict) or given.get("shape") != part["shape"]:
            return f"{where}.{name}"
        data = given.get("data")
        if not isinstance(data, list) or len(data) != len(part["data"]):
            return f"{where}.{name}"
        if not all(isinstance(value, float | int) for value in data):
            return f"{where}.{name}"
        apart = np.abs(np.asarray(data, np.float64) - np.asarray(part["data"], np.float64))
        if not np.all(apart <= AGREEMENT * size):
            return f"{where}.{name}"
    return ""
