"""Words and units that the renderings for people share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bnfold.bench.types import Benchmark, Comparison
from bnfold.report.model import AffineRow, ModelFacts, Outcome, Placement, Report, ReportKind, Stop
from bnfold.verify.types import (
    Check,
    MutationTest,
    OutputComparison,
    Status,
    Strength,
    Verification,
)

_WHOLE = "scale and shift"
_BORDERS = {"backward": "the graph's input", "forward": "the graph's output", "here": "itself"}
# onnxruntime's default setting needs no word.
_MODES = {
    "ENABLE_ALL": "",
    "ENABLE_LAYOUT": "optimizer to layout",
    "ENABLE_EXTENDED": "optimizer extended",
    "ENABLE_BASIC": "optimizer basic",
    "DISABLE_ALL": "optimizer off",
}


def seconds(value: float) -> str:
    """A duration with three significant digits: ``41.2 us``, ``1.37 ms``, ``2.10 s``."""
    if not math.isfinite(value):
        return "unknown"
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if abs(value) * scale < 999.5:
            return f"{significant(value * scale)} {unit}"
    return f"{significant(value)} s"


def size(count: int) -> str:
    """A number of bytes in decimal units: ``812 B``, ``1.04 MB``."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    if count < 1000:
        return f"{count} B"
    for unit in units[1:]:
        value /= 1000
        if value < 999.5 or unit == units[-1]:
            return f"{significant(value)} {unit}"
    raise AssertionError("unreachable")


def significant(value: float) -> str:
    """A positive number below 1000 with three significant digits, zeros kept: ``1.50``."""
    if value == 0:
        return "0"
    # Rounded first: 0.9996 is 1.00, not 1.000.
    digits = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.3g}")))))
    return f"{value:.{min(digits, 6)}f}"


def number(value: float) -> str:
    """A figure of any magnitude, short: ``0.483``, ``1.8e-15``, ``1``."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def change(before: float, after: float) -> str:
    """A relative change: ``-12.5 %``; "" where nothing changed or there is nothing to compare."""
    if before <= 0 or before == after:
        return ""
    return f"{100 * (after / before - 1):+.1f} %"


def plural(count: int, noun: str) -> str:
    """``1 affine``, ``2 affines``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text with everything that a terminal might obey (escapes, bidi marks) spelled out.

    Names come from model files, which nobody vouches for.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def headline(report: Report) -> str:
    """One line that says how it went."""
    if report.kind in (ReportKind.FOLD, ReportKind.INSPECT):
        return _affines_headline(report)
    if report.verification is not None:
        return verdict(report.verification)
    return "latency compared"


def _affines_headline(report: Report) -> str:
    total = len(report.affines)
    if total == 0:
        return "no affine found: nothing to fold"
    would = report.kind is ReportKind.INSPECT
    folded, partly = report.count(Outcome.FOLDED), report.count(Outcome.PARTLY)
    verb = "can be folded" if would else "folded"
    text = f"{folded} of {plural(total, 'affine')} {verb}"
    if partly:
        text += f", {partly} {'can go' if would else 'went'} in part"
    kept = total - folded - partly
    return f"{text}, {kept} {'would stay' if would else 'kept'}" if kept else text


def verdict(verification: Verification) -> str:
    """The verdict in words."""
    if verification.passed:
        return "equivalent: every check passed"
    failed = [check for check in verification.checks if check.status is Status.FAILED]
    if not failed:
        return "not verified: no check could run"
    return f"NOT equivalent: {plural(len(failed), 'check')} failed"


def placements(items: Iterable[Placement]) -> str:
    """Where an affine went: ``forward into q, k, v`` or ``scale backward into conv; shift ...``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        targets = groups.setdefault((item.part, item.direction), [])
        if item.target not in targets:
            targets.append(item.target)
    texts = []
    for (part, direction), targets in groups.items():
        what = "" if part == _WHOLE else f"{part} "
        way = "" if direction == "here" else f"{direction} "
        texts.append(f"{what}{way}into {', '.join(targets)}")
    return "; ".join(texts)


def stop(item: Stop) -> str:
    """Why a walk ended: ``BNF204 activation, forward at relu_3: detail``."""
    place = item.at or _BORDERS.get(item.direction, "")
    kind = f" ({item.op_type})" if item.op_type not in ("", place) else ""
    detail = f": {item.detail}" if item.detail else ""
    return f"{item.code} {item.title}, {item.direction} at {place}{kind}{detail}"


def left(row: AffineRow) -> str:
    """What an affine still costs: ``Mul, Add left``; "" when nothing is."""
    return f"{', '.join(row.left_as)} left" if row.left_as else ""


def figure(check: Check) -> str:
    """The figure of a check beside its bound: ``0.48 <= 1 ulp``; "" when it has none."""
    if check.figure is None:
        return ""
    text = number(check.figure)
    if check.bound is not None:
        holds = check.figure <= check.bound
        text += f" {'<=' if holds else '>'} {number(check.bound)}"
    return f"{text} {check.unit}".rstrip()


def output(item: OutputComparison) -> str:
    """How the two models differ in one output, in the runtime."""
    text = f"output {item.name}: largest difference {number(item.max_abs)}"
    if item.argmax_agreement is not None:
        text += f", same argmax in {100 * item.argmax_agreement:.4g} % of rows"
    return text


def remarks(verification: Verification) -> list[str]:
    """What a verification says beside its checks: strength, place of a difference, notes."""
    lines = [strength(verification.strength)] if verification.strength else []
    if verification.mutation is not None:
        lines.append(mutation(verification.mutation))
    lines += _where(verification)
    return [*(line for line in lines if line), *(f"note: {note}" for note in verification.notes)]


def failure_notes(report: Report) -> list[str]:
    """For a failed verification: the verdict, where it differs, on which inputs, how to see it."""
    verification = report.verification
    if verification is None or verification.passed:
        return []
    lines = [verdict(verification), *_where(verification)]
    if report.again:
        lines.append(f"to see it again: {report.again}")
    return lines


def _where(verification: Verification) -> list[str]:
    lines = []
    if verification.difference:
        lines.append(f"first difference: {verification.difference}")
    if verification.counterexample is not None:
        lines.append(f"offending inputs: {verification.counterexample}")
    return lines


def strength(item: Strength) -> str:
    """How small a fault would have been caught: ``would have caught a column scaled by ...``."""
    if item.column_error is None:
        return ""
    text = f"would have caught any of {plural(item.columns - item.unseen, 'kernel column')}"
    text += f" scaled by 1 + {number(item.column_error)}"
    if item.activation_channels:
        text += (
            f"; {item.both_signs} of {item.activation_channels} activation inputs saw both signs"
        )
    return text


def mutation(item: MutationTest) -> str:
    """How many planted faults were caught."""
    text = f"of {plural(len(item.mutants), 'planted fault')} {item.caught} caught"
    if item.below_noise:
        text += f", {item.below_noise} below the rounding noise"
    return f"{text}, {item.missed} missed"


def setting(comparison: Comparison) -> str:
    """Batch size and mode of a comparison: ``batch 1``, ``batch 32, optimizer off``."""
    mode = _MODES.get(comparison.mode, comparison.mode)
    return f"batch {comparison.batch}" + (f", {mode}" if mode else "")


def times(comparison: Comparison) -> str:
    """Time per call before and after: ``41.2 us -> 30.1 us``."""
    before, after = comparison.baseline_seconds, comparison.candidate_seconds
    return f"{seconds(before)} -> {seconds(after)}"


def via(report: Report) -> str:
    """How a Keras model became ONNX: ``, converted by tf2onnx``; "" where it did not."""
    ways = {"direct": ", read as data", "tf2onnx": ", converted by tf2onnx"}
    return ways.get(report.converter, "")


def measured(benchmark: Benchmark) -> list[tuple[str, str, str]]:
    """What was measured beside latency: what, before, after; only what is known."""
    rows = [
        (
            "load time",
            seconds(benchmark.baseline_load_seconds),
            seconds(benchmark.candidate_load_seconds),
        )
    ]
    peaks = benchmark.baseline_peak_bytes, benchmark.candidate_peak_bytes
    if peaks[0] is not None and peaks[1] is not None:
        rows.append(("peak memory", size(peaks[0]), size(peaks[1])))
    rows.append(("file size", size(benchmark.baseline_bytes), size(benchmark.candidate_bytes)))
    rows.append(("nodes", str(benchmark.baseline_nodes), str(benchmark.candidate_nodes)))
    flops = benchmark.baseline_flops, benchmark.candidate_flops
    if flops[0] is not None and flops[1] is not None:
        rows.append(("operations per call", operations(flops[0]), operations(flops[1])))
    return rows


def operations(count: int) -> str:
    """Floating point operations: ``12``, ``1.07 MFLOP``."""
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}FLOP"
    return f"{count} FLOP"


def noise(benchmark: Benchmark) -> str:
    """What to think of figures from a noisy machine, and what to do; "" where it was quiet."""
    if not benchmark.noisy:
        return ""
    worst = max(max(c.control_high, 1 / c.control_low) for c in benchmark.comparisons)
    return (
        f"The machine was too noisy for fine differences: the original differed from itself by up "
        f"to {100 * (worst - 1):.2g} %. Stop other programs, or give it more --bench-seconds."
    )


def model_line(facts: ModelFacts) -> str:
    """``model.h5 (Keras 3 HDF5)``."""
    return f"{facts.name} ({facts.format})" if facts.format else facts.name
