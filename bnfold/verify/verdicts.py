"""From what was measured to checks: each with its figure beside its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bnfold.verify.bounds import (
    DISCRETE,
    ORIGINAL_RMS,
    RUNTIME_NOISE_RMS,
    Measure,
    against_keras,
    against_noise,
    against_original,
    against_pair,
    reference_is_trusted,
)
from bnfold.verify.codes import Fault
from bnfold.verify.sampling import Samples
from bnfold.verify.tally import OutputTally
from bnfold.verify.types import Check, CheckKind, OutputComparison, Status

Judge = Callable[[OutputTally], list[Measure]]


def skipped(kind: CheckKind, reason: str) -> Check:
    """A check that could not be made, with the reason."""
    return Check(kind, Status.SKIPPED, None, None, "", reason)


def failed(kind: CheckKind, fault: Fault, detail: str, where: str = "") -> Check:
    """A check that failed without a figure."""
    return Check(kind, Status.FAILED, None, None, "", detail, fault.code, where)


def algebra_checks(samples: Samples, *, exact: bool) -> list[Check]:
    """The two float64 comparisons: unrounded constants where they are known, stored ones always."""
    if samples.float64_reason:
        return [skipped(CheckKind.ALGEBRA, samples.float64_reason)]
    if not samples.feeds:
        return [skipped(CheckKind.ALGEBRA, "no inputs could be run")]
    checks = []
    if exact:
        checks.append(
            _judged(
                samples,
                CheckKind.ALGEBRA,
                Fault.ALGEBRA,
                lambda tally: against_noise(tally, "exact", "fine"),
                "in float64 with unrounded constants",
            )
        )
    checks.append(
        _judged(
            samples,
            CheckKind.ALGEBRA,
            Fault.CONSTANTS if exact else Fault.ALGEBRA,
            lambda tally: against_noise(tally, "stored", "noise"),
            "in float64 with the stored constants; the bound is what rounding them can do",
        )
    )
    return checks


def end_to_end_checks(samples: Samples) -> list[Check]:
    """The two models in the runtime, against the reference or, failing that, one another."""
    kind = CheckKind.END_TO_END
    if samples.runtime_fault:
        return [failed(kind, Fault.DOES_NOT_RUN, samples.runtime_fault)]
    checks = _faults(samples)
    if checks:
        return checks
    if samples.runtime_reason:
        return [skipped(kind, samples.runtime_reason)]
    if samples.float64_reason:
        reason = f"there is no bound without a float64 reference: {samples.float64_reason}"
        return [skipped(kind, reason)]
    if not samples.feeds:
        return [skipped(kind, "no inputs could be run")]
    distrusted = [t.name for t in samples.tallies.values() if not reference_is_trusted(t)]
    text = "in the runtime, against the original in float64"
    if distrusted:
        text = (
            "in the runtime, against the original there, because float64 evaluation and runtime "
            f"differ on the original itself (output '{distrusted[0]}')"
        )
    checks = [
        _judged(
            samples,
            kind,
            Fault.FARTHER,
            lambda tally: (
                against_original(tally) if reference_is_trusted(tally) else against_pair(tally)
            ),
            text,
        )
    ]
    return checks + _argmax(samples)


def keras_checks(samples: Samples, *, asked: bool) -> list[Check]:
    """The folded model in the runtime against Keras itself."""
    kind = CheckKind.KERAS
    if not asked:
        return []
    if samples.keras_reason:
        return [skipped(kind, samples.keras_reason)]
    if not all("keras-pair" in t.spreads or t.elements.get("keras-pair") for t in _all(samples)):
        return [skipped(kind, samples.runtime_reason or "not reached within the time budget")]
    if samples.float64_reason:
        return [skipped(kind, f"there is no bound without float64: {samples.float64_reason}")]
    check = _judged(samples, kind, Fault.KERAS, against_keras, "against Keras itself")
    if check.status is not Status.FAILED:
        return [check]
    unfolded = [
        measure
        for tally in _all(samples)
        for measure in against_keras(tally, "keras-original")
        if not measure.holds
    ]
    blame = (
        "; the unfolded ONNX differs from Keras as much, so the conversion is wrong, not the fold"
        if unfolded
        else "; the unfolded ONNX agrees with Keras, so the fold is wrong"
    )
    detail = check.detail + blame
    return [Check(kind, check.status, check.figure, check.bound, check.unit, detail, check.code)]


def _all(samples: Samples) -> Iterable[OutputTally]:
    return samples.tallies.values()


def _judged(samples: Samples, kind: CheckKind, fault: Fault, judge: Judge, text: str) -> Check:
    """The output and criterion with the largest figure over its bound decide."""
    found = [(measure, tally) for tally in _all(samples) for measure in judge(tally)]
    ranked = [(measure, tally) for measure, tally in found if not measure.idle]
    if not found:
        return skipped(kind, "the model has no output that could be compared")
    if not ranked:
        reason = "rounding alone moves every output by its own size: nothing can be shown"
        return skipped(kind, f"{text}: {reason}")
    worst, tally = max(ranked, key=lambda pair: (not pair[0].holds, _rank(pair[0].excess)))
    status = Status.PASSED if worst.holds else Status.FAILED
    detail = f"{text} ({worst.what})"
    idle = {t.name for _, t in found} - {t.name for _, t in ranked}
    if idle:
        detail += (
            f"; not shown for {', '.join(sorted(idle))}: rounding alone moves it by its own size"
        )
    if samples.feeds < samples.total_feeds:
        detail += f"; {samples.feeds} of {samples.total_feeds} inputs within the time budget"
    code = (Fault.DISCRETE if worst.what == DISCRETE else fault).code
    code = "" if worst.holds else code
    return Check(
        kind, status, worst.figure, worst.bound, worst.unit, detail, code, f"output {tally.name}"
    )


def _rank(excess: float) -> float:
    return excess if excess == excess else float("inf")


def _faults(samples: Samples) -> list[Check]:
    """Lost numbers, wrong shapes and types: one check per output and code."""
    seen: dict[tuple[str, Fault], str] = {}
    for tally in _all(samples):
        for fault, text, _ in tally.faults:
            seen.setdefault((tally.name, fault), text)
        if tally.hidden is not None:
            seen.setdefault((tally.name, Fault.FOUND_NUMBER), tally.hidden[1])
    return [
        failed(CheckKind.END_TO_END, fault, f"output '{name}': {text}", f"output {name}")
        for (name, fault), text in seen.items()
    ]


def _argmax(samples: Samples) -> list[Check]:
    """A row whose margin is larger than twice the allowed error must keep its argmax."""
    for tally in _all(samples):
        if not tally.rows or not reference_is_trusted(tally):
            continue
        bounds = [m.bound for m in against_original(tally) if m.what == "largest element"]
        largest = max(bounds, default=0.0)
        crossed = [margin for margin, _ in tally.margins if margin > 2.0 * largest]
        if crossed:
            detail = (
                f"{len(crossed)} of {tally.rows} rows of output '{tally.name}' name another class"
            )
            return [
                Check(
                    CheckKind.END_TO_END,
                    Status.FAILED,
                    max(crossed),
                    2.0 * largest,
                    "margin",
                    detail,
                    Fault.ARGMAX.code,
                    f"output {tally.name}",
                )
            ]
    return []


def compare_outputs(samples: Samples) -> tuple[OutputComparison, ...]:
    """The per-output figures of the report."""
    return tuple(_comparison(tally) for tally in _all(samples) if "pair" in tally.spreads)


def _comparison(tally: OutputTally) -> OutputComparison:
    pair, original, folded = (tally.spread(k) for k in ("pair", "original", "folded"))
    known = original.count > 0
    bound = next((m.bound for m in against_original(tally)), None) if known else None
    has_ulps = any(tally.ulps.counts)
    return OutputComparison(
        name=tally.name,
        max_abs=pair.largest,
        rmse_original=original.rms if known else None,
        rmse_folded=folded.rms if known else None,
        argmax_agreement=tally.agreeing / tally.rows if tally.rows else None,
        where=str(list(pair.where)) if pair.largest else "",
        ratio=folded.rms / original.rms if known and original.rms else None,
        bound=bound,
        bound_source=(
            f"{ORIGINAL_RMS:g} times the original's RMSE + {RUNTIME_NOISE_RMS:g} times the "
            "measured effect of rounding"
            if known
            else ""
        ),
        size=tally.size.rms,
        ulp_median=tally.ulps.quantile(0.5) if has_ulps else None,
        ulp_99=tally.ulps.quantile(0.99) if has_ulps else None,
        ulp_max=tally.ulps.largest if has_ulps else None,
        passed=None if bound is None else folded.rms <= bound,
    )


def offending_feed(samples: Samples) -> int:
    """Number of the feed that shows the fault best, -1 where nothing failed on inputs."""
    if samples.fault_feed >= 0:
        return samples.fault_feed
    for tally in _all(samples):
        if tally.faults:
            return tally.faults[0][2]
        if tally.hidden is not None:
            return tally.hidden[2]
    for judge in _JUDGES:
        for tally in _all(samples):
            for measure in judge(tally):
                if not measure.holds:
                    return max(0, measure.feed)
    return -1


def failing_outputs(samples: Samples) -> list[str]:
    """Names of the outputs that fail some criterion, in the model's order; all if none does."""
    failing = [
        tally.name
        for tally in _all(samples)
        if tally.faults
        or tally.hidden is not None
        or any(not m.holds for judge in _JUDGES for m in judge(tally))
    ]
    return failing or [tally.name for tally in _all(samples)]


_JUDGES: tuple[Judge, ...] = (
    lambda t: against_noise(t, "exact", "fine") if "exact" in t.spreads else [],
    lambda t: against_noise(t, "stored", "noise"),
    lambda t: against_original(t) if reference_is_trusted(t) else against_pair(t),
    against_keras,
)
