"""The proof for all inputs, turned into checks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from bnfold.verify.codes import Fault
from bnfold.verify.runtime import one_line
from bnfold.verify.types import Check, CheckKind, Status

if TYPE_CHECKING:
    from bnfold.verify.proof.types import GroupProof, OutputProof, Proof

logger = logging.getLogger(__name__)


def attempted(
    original: ir.Model, folded: ir.Model, budget_seconds: float
) -> tuple[Proof | None, str]:
    """The proof, or None and why there is none."""
    from bnfold.verify.proof import prove

    try:
        return prove(original, folded, budget_seconds=budget_seconds), ""
    except Exception as error:  # a prover that fails proves nothing; the samples still decide
        logger.warning("the proof failed", exc_info=True)
        return None, f"the proof failed: {type(error).__name__}: {one_line(error)}"


def proof_checks(proof: Proof | None, reason: str) -> list[Check]:
    """WEIGHTS and ALGEBRA, by translation validation; skipped where nothing could be proved."""
    if proof is None:
        return [_skipped(CheckKind.WEIGHTS, reason), _skipped(CheckKind.ALGEBRA, reason)]
    return [_weights(proof), _algebra(proof)]


def certificate_check(
    claimed: Mapping[str, Any], proof: Proof | None, original: ir.Model, folded: ir.Model
) -> Check:
    """Whether a certificate is for these models, and everything in it derived from them anew."""
    from bnfold.verify.proof.certificate import (
        CertificateCheck,
        Validity,
        compare_certificate,
        stale_part,
    )

    kind = CheckKind.CERTIFICATE
    stale = stale_part(claimed, original, folded)
    found = (
        CertificateCheck(Validity.STALE, stale)
        if stale
        else compare_certificate(claimed, proof, original, folded)
    )
    if found.valid:
        text = f"all {found.relations} relations and {found.folds} folds derived anew"
        return Check(kind, Status.PASSED, None, None, "", text)
    fault = (
        Fault.STALE_CERTIFICATE if found.validity is Validity.STALE else Fault.FORGED_CERTIFICATE
    )
    return Check(kind, Status.FAILED, None, None, "", found.reason, fault.code)


def _skipped(kind: CheckKind, reason: str) -> Check:
    return Check(kind, Status.SKIPPED, None, None, "", reason)


def _weights(proof: Proof) -> Check:
    """Every stored constant is what the relation demands, rounded."""
    kind = CheckKind.WEIGHTS
    groups = list(proof.groups)
    refuted = [group for group in groups if group.status.value == "refuted"]
    proved = [group for group in groups if group.status.value == "proved"]
    if refuted and proof.status.value == "refuted":
        worst = max(refuted, key=lambda group: float(group.max_ulps))
        where = ", ".join(worst.into)
        text = f"{len(refuted)} of {len(groups)} groups of constants: {worst.argument}"
        return Check(
            kind,
            Status.FAILED,
            float(worst.max_ulps),
            float(worst.bound),
            "ulp",
            text,
            Fault.WEIGHTS.code,
            where,
        )
    if proved:
        worst = max(proved, key=lambda group: float(group.max_ulps))
        text = f"{len(proved)} of {len(groups)} groups of constants are the demanded ones, rounded"
        # A bias whose terms cancel may be many units of its last place off and yet be right.
        bound = float(worst.bound) if worst.max_ulps <= worst.bound else None
        return Check(kind, Status.PASSED, float(worst.max_ulps), bound, "ulp", text)
    if groups:
        return _skipped(kind, f"none of {len(groups)} groups could be judged: {_why(proof)}")
    if proof.status.value == "proved":
        return Check(kind, Status.PASSED, 0.0, 0.0, "ulp", "no constant was changed")
    return _skipped(kind, f"no group of changed constants was found: {_why(proof)}")


def _algebra(proof: Proof) -> Check:
    """The two models compute the same function of real numbers."""
    kind = CheckKind.ALGEBRA
    if proof.status.value == "refuted":
        if proof.refutations:
            first = proof.refutations[0]
            text = f"{first.op_type} {first.reason}".strip()
            return Check(kind, Status.FAILED, None, None, "", text, Fault.REFUTED.code, first.op)
        return Check(kind, Status.FAILED, None, None, "", _why(proof), Fault.REFUTED.code)
    if proof.status.value == "proved":
        many = len(proof.outputs)
        which = "the output is" if many == 1 else f"all {many} outputs are"
        how = "; ".join(dict.fromkeys(o.argument for o in proof.outputs if o.argument))
        text = f"{which} proved equal for every input" + (f": {how}" if how else "")
        if proof.groups:
            text += f"; {_share(proof.groups, 'folded group')} proved"
        return Check(kind, Status.PASSED, None, None, "", text)
    share = f"{_share(proof.outputs, 'output')}, {_share(proof.groups, 'folded group')} proved"
    return _skipped(kind, f"not proved for every input ({share}): {_why(proof)}")


def _share(parts: Sequence[OutputProof] | Sequence[GroupProof], noun: str) -> str:
    """How many are proved: ``2 of 3 outputs``."""
    proved = sum(part.status.value == "proved" for part in parts)
    return f"{proved} of {len(parts)} {noun}{'s' * (len(parts) != 1)}"


def _why(proof: Proof) -> str:
    notes = [*proof.notes, *(o.argument for o in proof.outputs if o.status.value != "proved")]
    return "; ".join(dict.fromkeys(note for note in notes if note)) or "no reason given"
