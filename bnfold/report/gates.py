"""Conditions that a pipeline sets on a fold, beyond its being correct."""

from __future__ import annotations

from dataclasses import dataclass

from bnfold.bench.types import Verdict
from bnfold.report.model import Outcome, Report
from bnfold.report.wording import plural


@dataclass(frozen=True)
class Gates:
    """What must hold for the run to succeed; None asks for nothing.

    Attributes:
        max_remaining: how many affines may stay, in whole or in part.
        require_speedup: the least ratio original / folded that must be shown: the lower end of
            the interval reaches it, in the runtime's default setting, at every batch size.
        max_size_growth: how much larger the model may become, in percent (0: not at all).
    """

    max_remaining: int | None = None
    require_speedup: float | None = None
    max_size_growth: float | None = None

    @property
    def needs_benchmark(self) -> bool:
        """Whether latency must be measured for them."""
        return self.require_speedup is not None


def failed_gates(report: Report, gates: Gates, *, certificate: bool = False) -> tuple[str, ...]:
    """One line for each condition that does not hold.

    Args:
        certificate: whether one is to be written, for which the fold must be proved.
    """
    found = [_remaining(report, gates), _speedup(report, gates), _growth(report, gates)]
    if certificate and report.passed:
        found.append(_certificate(report))
    return tuple(line for line in found if line)


def _certificate(report: Report) -> str:
    from bnfold.verify.proof.certificate import uncertified

    proof = None if report.verification is None else report.verification.proof
    reason = uncertified(proof)
    return f"--certificate: {reason}" if reason else ""


def _remaining(report: Report, gates: Gates) -> str:
    stay = len(report.affines) - report.count(Outcome.FOLDED)
    if gates.max_remaining is None or stay <= gates.max_remaining:
        return ""
    verb = "remains" if stay == 1 else "remain"
    return f"{plural(stay, 'affine')} {verb}, and --max-remaining allows {gates.max_remaining}"


def _speedup(report: Report, gates: Gates) -> str:
    wanted = gates.require_speedup
    if wanted is None:
        return ""
    if report.benchmark is None:
        return f"--require-speedup {wanted:g} was asked for, but latency was not measured"
    rows = [c for c in report.benchmark.comparisons if c.mode == "ENABLE_ALL"]
    for row in rows or report.benchmark.comparisons:
        # Only what the interval shows counts; a lucky median does not.
        if row.low < wanted or (wanted > 1 and row.verdict is not Verdict.FASTER):
            return (
                f"--require-speedup {wanted:g}: at batch {row.batch} the interval shows only "
                f"{row.low:.3f} to {row.high:.3f} ({row.verdict.value})"
            )
    return ""


def _growth(report: Report, gates: Gates) -> str:
    before, after = report.original, report.folded
    if gates.max_size_growth is None or before is None or after is None or not before.bytes:
        return ""
    growth = 100.0 * (after.bytes / before.bytes - 1.0)
    if growth <= gates.max_size_growth:
        return ""
    return (
        f"the model grew by {growth:.2f} %, and --max-size-growth allows {gates.max_size_growth:g}"
    )
