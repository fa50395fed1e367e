"""The report as Markdown, for a job summary or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bnfold.bench.types import Benchmark
from bnfold.report import wording
from bnfold.report.model import AffineRow, Report
from bnfold.verify.types import Status, Verification

_MARK = {Status.PASSED: "✅", Status.FAILED: "❌", Status.SKIPPED: "skipped"}


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    blocks = [
        list(_head(report)),
        list(_affines(report)),
        list(_verification(report.verification)),
        list(_again(report.again)),
        list(_benchmark(report.benchmark)),
        list(_models(report)),
        [f"> {_cell(note)}" for note in report.notes],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _head(report: Report) -> Iterator[str]:
    mark = "✅" if report.passed else "❌"
    yield f"## {mark} bnfold: {_cell(wording.headline(report))}"
    original, folded = report.original, report.folded
    if original is not None:
        target = report.output or (folded.name if folded is not None else "")
        yield ""
        yield _cell(wording.model_line(original)) + (f" → {_cell(target)}" if target else "")


def _affines(report: Report) -> Iterator[str]:
    if not report.affines:
        return
    yield from _table(
        ("affine", "channels", "outcome", "where to, or why it stays"),
        ((row.name, str(row.channels), row.outcome.value, _story(row)) for row in report.affines),
    )


def _story(row: AffineRow) -> str:
    parts = [wording.placements(row.into), wording.left(row), *map(wording.stop, row.stops)]
    return "; ".join(part for part in parts if part)


def _verification(verification: Verification | None) -> Iterator[str]:
    if verification is None:
        return
    yield f"### {_cell(wording.verdict(verification).capitalize())}"
    yield ""
    yield from _table(
        ("check", "", "figure", "detail"),
        (
            (
                check.kind.value,
                _MARK[check.status],
                wording.figure(check),
                " ".join(part for part in (check.code, check.where, check.detail) if part),
            )
            for check in verification.checks
        ),
    )
    lines = [*map(wording.output, verification.outputs), *wording.remarks(verification)]
    if lines:
        yield ""
        yield from (f"- {_cell(line)}" for line in lines)


def _again(command: str) -> Iterator[str]:
    if command:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
        yield "To see it again:"
        yield ""
        yield from (f"{fence}sh", wording.printable(command), fence)


def _benchmark(benchmark: Benchmark | None) -> Iterator[str]:
    if benchmark is None:
        return
    yield "### Latency"
    yield ""
    yield from _table(
        ("onnxruntime", "before", "after", "verdict"),
        (
            (
                wording.setting(item),
                wording.seconds(item.baseline_seconds),
                wording.seconds(item.candidate_seconds),
                item.sentence,
            )
            for item in benchmark.comparisons
        ),
    )
    yield ""
    yield from _table(("", "before", "after"), wording.measured(benchmark))
    noise = wording.noise(benchmark)
    if noise:
        yield ""
        yield noise


def _models(report: Report) -> Iterator[str]:
    original, folded = report.original, report.folded
    if original is None or folded is None:
        return
    yield from _table(
        ("", "before", "after"),
        (
            ("size", wording.size(original.bytes), wording.size(folded.bytes)),
            (original.unit, str(original.nodes), str(folded.nodes)),
        ),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: names come from model files."""
    text = wording.printable(text)
    for char in "\\`*_[]<>|#":
        text = text.replace(char, f"\\{char}" if char not in "<>" else f"&{_ENTITY[char]};")
    return text


_ENTITY = {"<": "lt", ">": "gt"}
