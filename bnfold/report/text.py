"""The report for a terminal: at most `width` columns where names allow it, colours on request."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bnfold.bench.types import Benchmark, Verdict
from bnfold.report import wording
from bnfold.report.model import AffineRow, Outcome, Report, ReportKind
from bnfold.verify.types import Check, Status

_INDENT = "  "
# The block of sizes has them, in every report.
_SAID_BELOW = ("file size", "nodes")
_NAME_WIDTH = 28
_STATUS = {Status.PASSED: "ok", Status.FAILED: "FAILED", Status.SKIPPED: "skipped"}
_STATUS_STYLE = {Status.PASSED: "green", Status.FAILED: "bold red", Status.SKIPPED: "dim"}
_OUTCOME_STYLE = {Outcome.FOLDED: "green", Outcome.PARTLY: "yellow", Outcome.KEPT: "yellow"}


@dataclass(frozen=True)
class _Line:
    text: str
    style: str = ""
    hang: int = 0
    """Columns by which a wrapped line's continuation is indented."""
    whole: bool = False
    """Never wrapped: it is there to be copied."""


def render_text(
    report: Report, *, width: int = 80, color: bool = False, verbose: bool = False
) -> str:
    """The report as text.

    Args:
        report: what to render.
        width: columns; lines break between words at this width.
        color: write ANSI colours.
        verbose: show the ops of every affine, the paths walked and the environment.
    """
    blocks = [
        list(_head(report)),
        list(_affines(report, verbose)),
        list(_hints(report)),
        list(_verification(report, verbose)),
        list(_benchmark(report.benchmark)),
        list(_sizes(report)),
        list(_foot(report, verbose)),
    ]
    lines: list[_Line] = []
    for block in blocks:
        if block:
            lines += [*([_Line("")] if lines else []), *block]
    return _paint(lines, width, color)


def _head(report: Report) -> Iterator[_Line]:
    original, folded = report.original, report.folded
    subject = wording.model_line(original) if original else ""
    if report.kind in (ReportKind.VERIFY, ReportKind.BENCH) and folded:
        subject += f" against {wording.model_line(folded)}"
    yield _Line(f"bnfold {report.version}: {subject}{wording.via(report)}", "bold", hang=2)


def _affines(report: Report, verbose: bool) -> Iterator[_Line]:
    if report.kind not in (ReportKind.FOLD, ReportKind.INSPECT):
        return
    yield _Line(wording.headline(report), "bold")
    names = [row.name for row in report.affines]
    column = max((len(name) for name in names if len(name) <= _NAME_WIDTH), default=0)
    for row in report.affines:
        yield from _affine(row, column, verbose)


def _affine(row: AffineRow, column: int, verbose: bool) -> Iterator[_Line]:
    indent, style = _INDENT * 3, _OUTCOME_STYLE[row.outcome]
    what = wording.placements(row.into)
    if row.outcome is Outcome.KEPT:
        what = "stays"
    elif row.outcome is Outcome.PARTLY:
        left = wording.left(row)
        what += f"; the rest stays{f' ({left})' if left else ''}"
    facts = f"{row.channels:>5} ch  {what}"
    if len(row.name) > column:
        yield _Line(f"{_INDENT}{row.name}", style)
        yield _Line(f"{_INDENT}{'':{column}} {facts}", style, hang=column + 13)
    else:
        yield _Line(f"{_INDENT}{row.name:{column}} {facts}", style, hang=column + 13)
    for stop in row.stops:
        yield _Line(f"{indent}{wording.stop(stop)}", hang=len(indent) + 2)
        if verbose and stop.path:
            yield _Line(f"{indent}  walked {' > '.join(stop.path)}", "dim", hang=len(indent) + 4)
    if verbose:
        yield _Line(f"{indent}{row.op_type}: {', '.join(row.ops)}", "dim", hang=len(indent) + 2)


def _hints(report: Report) -> Iterator[_Line]:
    stops = {stop.code: stop for row in report.affines for stop in row.stops}
    if not stops:
        return
    yield _Line("What could be done (bnfold explain CODE says more)", "bold")
    for code in sorted(stops):
        yield _Line(f"{_INDENT}{code}  {stops[code].hint}", hang=10)


def _verification(report: Report, verbose: bool) -> Iterator[_Line]:
    verification = report.verification
    if verification is None:
        if report.kind is ReportKind.FOLD:
            yield _Line("Not verified, as asked", "yellow")
        return
    style = "bold green" if verification.passed else "bold red"
    facts = f"{wording.plural(verification.samples, 'sample')}, seed {verification.seed}"
    took = wording.seconds(verification.seconds)
    yield _Line(f"{wording.verdict(verification).capitalize()} ({facts}, {took})", style, hang=2)
    for check in verification.checks:
        yield _check(check, verbose)
    for output in verification.outputs:
        yield _Line(f"{_INDENT}{wording.output(output)}", hang=4)
    if not verification.passed:
        yield _Line(f"{_INDENT}bnfold explain CODE says more about a failed check")
    for line in wording.remarks(verification):
        yield _Line(f"{_INDENT}{line}", "" if verification.passed else "bold", hang=4)
    if report.again:
        yield _Line(f"{_INDENT}to see it again:", "bold")
        yield _Line(f"{_INDENT * 2}{report.again}", "bold", whole=True)


def _check(check: Check, verbose: bool) -> _Line:
    parts = [wording.figure(check), check.detail]
    if check.status is Status.FAILED:
        parts.insert(0, " ".join(part for part in (check.code, check.where) if part))
    elif check.status is Status.PASSED and parts[0] and not verbose:
        parts.pop()  # the figure beside its bound says it
    text = "; ".join(part for part in parts if part)
    label = f"{_INDENT}{_STATUS[check.status]:8}{check.kind.value:12}"
    return _Line(f"{label}{text}", _STATUS_STYLE[check.status], hang=len(label))


def _benchmark(benchmark: Benchmark | None) -> Iterator[_Line]:
    if benchmark is None:
        return
    first = benchmark.comparisons[0] if benchmark.comparisons else None
    if first is not None:
        pairs = f"{first.pairs} pairs of processes, {100 * first.confidence:g} % interval"
        threads = wording.plural(first.threads, "thread")
        yield _Line(f"Latency in onnxruntime ({threads}, {pairs})", "bold", hang=2)
    beside = wording.measured(benchmark)
    names = [wording.setting(x) for x in benchmark.comparisons] + [row[0] for row in beside]
    column = max(map(len, names))
    for item in benchmark.comparisons:
        text = f"{wording.setting(item):{column}}  {wording.times(item):18}  {item.sentence}"
        style = {Verdict.FASTER: "green", Verdict.SLOWER: "red"}.get(item.verdict, "")
        yield _Line(f"{_INDENT}{text}", style, hang=4)
    for name, before, after in beside:
        if name not in _SAID_BELOW:
            yield _Line(f"{_INDENT}{name:{column}}  {before} -> {after}", hang=4)
    noise = wording.noise(benchmark)
    if noise:
        yield _Line(f"{_INDENT}{noise}", "yellow", hang=4)


def _sizes(report: Report) -> Iterator[_Line]:
    original, folded = report.original, report.folded
    if original is None or folded is None:
        return
    change = wording.change(original.bytes, folded.bytes)
    text = f"{wording.size(original.bytes)} -> {wording.size(folded.bytes)}"
    yield _Line(f"Size   {text}{f' ({change})' if change else ''}")
    unit = original.unit.capitalize()
    yield _Line(f"{unit:6} {original.nodes} -> {folded.nodes}")


def _foot(report: Report, verbose: bool) -> Iterator[_Line]:
    for note in report.notes:
        yield _Line(f"Note: {note}", "yellow", hang=6)
    if verbose:
        versions = ", ".join(f"{name} {text}" for name, text in report.environment.items())
        yield _Line(versions, "dim", hang=2)
    if report.output:
        yield _Line(f"Wrote {report.output}", "bold", hang=2)


def _paint(lines: list[_Line], width: int, color: bool) -> str:
    clean = [replace(line, text=wording.printable(line.text)) for line in lines]
    wrapped = [(part, line.style) for line in clean for part in _wrap(line, width)]
    if not color:
        return "".join(f"{text}\n" for text, _ in wrapped)
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=True,
        color_system="standard",
        width=max(width, *(len(text) for text, _ in wrapped)),
        highlight=False,
        legacy_windows=False,
        no_color=False,  # the caller has decided, whatever the environment says
    )
    for text, style in wrapped:
        console.print(Text(text, style=style), soft_wrap=True)
    return stream.getvalue()


def _wrap(line: _Line, width: int) -> list[str]:
    if line.whole or len(line.text) <= width:
        return [line.text]
    body = line.text.lstrip()
    # A long name is never broken or shortened: it may be searched for.
    return textwrap.wrap(
        body,
        width,
        initial_indent=" " * (len(line.text) - len(body)),
        subsequent_indent=" " * min(line.hang, width // 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
