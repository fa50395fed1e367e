"""The proof for all inputs, turned into checks."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import onnx_ir as ir

from bnfold.verify.codes import Fault
from bnfold.verify.runtime import one_line
from bnfold.verify.types import Check, CheckKind, Status

logger = logging.getLogger(__name__)


def proof_checks(original: ir.Model, folded: ir.Model) -> list[Check]:
    """WEIGHTS and ALGEBRA, by translation validation; skipped where nothing could be proved."""
    try:
        proof = importlib.import_module("bnfold.verify.proof").prove(original, folded)
    except (ImportError, AttributeError):
        reason = "no proof is available"
        return [_skipped(CheckKind.WEIGHTS, reason), _skipped(CheckKind.ALGEBRA, reason)]
    except Exception as error:  # a prover that fails proves nothing; the samples still decide
        logger.warning("the proof failed", exc_info=True)
        reason = f"the proof failed: {type(error).__name__}: {one_line(error)}"
        return [_skipped(CheckKind.WEIGHTS, reason), _skipped(CheckKind.ALGEBRA, reason)]
    return [_weights(proof), _algebra(proof)]


def _skipped(kind: CheckKind, reason: str) -> Check:
    return Check(kind, Status.SKIPPED, None, None, "", reason)


def _weights(proof: Any) -> Check:
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


def _algebra(proof: Any) -> Check:
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
        return Check(kind, Status.PASSED, None, None, "", text)
    share = f"{100 * proof.share_proved:.0f} % of the outputs are proved"
    return _skipped(kind, f"not proved for every input ({share}): {_why(proof)}")


def _why(proof: Any) -> str:
    notes = [*proof.notes, *(o.argument for o in proof.outputs if o.status.value != "proved")]
    return "; ".join(dict.fromkeys(note for note in notes if note)) or "no reason given"
