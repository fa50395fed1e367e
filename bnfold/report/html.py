"""The report as one HTML file that needs nothing else: no network, no font, no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from bnfold.bench.types import Benchmark
from bnfold.report import wording
from bnfold.report.drawing import error_svg, graph_svg, latency_svg
from bnfold.report.model import AffineRow, Outcome, Report, Stop
from bnfold.verify.types import Check, Status

_TONE = {Status.PASSED: "good", Status.FAILED: "bad", Status.SKIPPED: "dim"}
_OUTCOME = {Outcome.FOLDED: "good", Outcome.PARTLY: "some", Outcome.KEPT: "dim"}
# Above this many ops the graphs start closed: they are there, but not in the way.
_OPEN_GRAPH = 60


def render_html(report: Report) -> str:
    """The whole page."""
    style = (files("bnfold.report") / "report.css").read_text(encoding="utf-8")
    script = (files("bnfold.report") / "report.js").read_text(encoding="utf-8")
    title = f"bnfold: {wording.headline(report)}"
    body = "\n".join(
        part
        for section in (
            _verdict(report),
            _affines(report),
            _graphs(report),
            _verification(report),
            _benchmark(report.benchmark),
            _models(report),
        )
        for part in section
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{_text(title)}</title><style>{style}</style></head><body>\n"
        '<a class="skip" href="#main">Skip to the report</a>\n'
        f'<main id="main">\n{body}\n</main>\n<script>{script}</script></body></html>\n'
    )


def _text(value: object) -> str:
    return escape(wording.printable(str(value)))


def _verdict(report: Report) -> Iterator[str]:
    tone = "good" if report.passed else "bad"
    yield f'<header class="{tone}"><p class="brand">bnfold {_text(report.version)}</p>'
    yield f"<h1>{_text(wording.headline(report))}</h1>"
    if report.original is not None:
        target = f" → {_text(report.output)}" if report.output else ""
        yield f"<p>{_text(wording.model_line(report.original))}{target}</p>"
    yield '<dl class="figures">'
    for name, value in _figures(report):
        yield f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>"
    yield "</dl></header>"
    if report.notes:
        yield "<ul class='notes'>" + "".join(f"<li>{_text(n)}</li>" for n in report.notes) + "</ul>"


def _figures(report: Report) -> Iterator[tuple[str, str]]:
    if report.affines:
        done = report.count(Outcome.FOLDED)
        yield "affines folded", f"{done} of {len(report.affines)}"
    before, after = report.original, report.folded
    if before is not None and after is not None:
        yield before.unit, f"{before.nodes} → {after.nodes}"
        yield "size", f"{wording.size(before.bytes)} → {wording.size(after.bytes)}"
    if report.verification is not None:
        yield "verification", "passed" if report.verification.passed else "FAILED"
    if report.benchmark is not None and report.benchmark.comparisons:
        first = report.benchmark.comparisons[0]
        yield "latency", wording.times(first)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells are HTML already."""
    yield f'<div class="wide"><table><caption>{_text(caption)}</caption><thead><tr>'
    yield "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    yield "</tr></thead><tbody>"
    for first, *rest in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _badge(tone: str, text: str) -> str:
    return f'<span class="badge {tone}">{_text(text)}</span>'


def _affines(report: Report) -> Iterator[str]:
    if not report.affines:
        return
    yield '<section aria-labelledby="affines"><h2 id="affines">Affines</h2>'
    yield from _table(
        "Every affine of the model and what became of it",
        ("affine", "op", "channels", "outcome", "where it went, or why it stayed"),
        (
            (
                _text(row.name),
                _text(row.op_type),
                str(row.channels),
                _badge(_OUTCOME[row.outcome], row.outcome.value),
                _story(row),
            )
            for row in report.affines
        ),
    )
    yield "</section>"


def _story(row: AffineRow) -> str:
    parts = []
    if row.into:
        parts.append(f"<p>{_text(wording.placements(row.into))}</p>")
        parts += [f'<p class="formula">{line}</p>' for line in _formulas(row)]
    if row.left_as:
        parts.append(f"<p>{_text(wording.left(row))}</p>")
    parts += [_stop(item) for item in row.stops]
    return "".join(parts)


def _formulas(row: AffineRow) -> list[str]:
    """What the constants became, by direction."""
    lines = []
    ways = dict.fromkeys(p.direction for p in row.into)
    if "backward" in ways:
        lines.append("W&prime; = s·W, &nbsp; b&prime; = s·b + t")
    if "forward" in ways:
        lines.append("W&prime; = W·s, &nbsp; b&prime; = b + Σ W·t")
    if "here" in ways:
        lines.append(
            "taken up by a neighbouring affine: s&prime; = s₂·s, &nbsp; t&prime; = s₂·t + t₂"
        )
    return lines


def _stop(item: Stop) -> str:
    path = f"<p>path: {_text(' → '.join(item.path))}</p>" if item.path else ""
    return (
        f"<details><summary>{_text(wording.stop(item))}</summary>"
        f"<p>{_text(item.why)}</p><p>{_text(item.hint)}</p>{path}</details>"
    )


def _graphs(report: Report) -> Iterator[str]:
    if report.graphs is None:
        return
    before, after = report.graphs
    yield '<section aria-labelledby="graph"><h2 id="graph">The graph, before and after</h2>'
    if before.omitted:
        yield f"<p>The graph has {before.omitted} nodes, too many to draw.</p></section>"
        return
    yield (
        '<p class="legend"><span class="key gone">folded affine</span> '
        '<span class="key part">partly folded</span> <span class="key kept">affine that stays'
        '</span> <span class="key took">took an affine</span> '
        "<span>dotted arrows: where it went</span></p>"
    )
    yield (
        '<p class="zoom" hidden><button type="button" data-zoom="0.8">smaller</button> '
        '<button type="button" data-zoom="1.25">larger</button> '
        '<button type="button" data-zoom="0">fit</button></p>'
    )
    opened = " open" if len(before.nodes) <= _OPEN_GRAPH else ""
    yield f"<details{opened}><summary>{len(before.nodes)} ops before, {len(after.nodes)} after"
    yield '</summary><div class="pair">'
    for view, name in ((before, "Before"), (after, "After")):
        yield f'<figure><figcaption>{name}</figcaption><p class="ports">{_ports(view.inputs)}</p>'
        yield '<div class="canvas" tabindex="0">'
        yield graph_svg(view, f"{name} folding", report.affines, after=view is after)
        yield f'</div><p class="ports">{_ports(view.outputs)}</p></figure>'
    yield "</div></details></section>"


def _ports(names: Iterable[str]) -> str:
    return ", ".join(_text(name) for name in names)


def _verification(report: Report) -> Iterator[str]:
    verification = report.verification
    if verification is None:
        return
    yield '<section aria-labelledby="checks"><h2 id="checks">Verification</h2>'
    yield f"<p>{_text(wording.verdict(verification))}</p>"
    yield from _table(
        "Each check with its figure beside its bound",
        ("check", "", "figure and bound", "used of the bound", "detail"),
        (
            (
                _text(check.kind.value),
                _badge(_TONE[check.status], check.status.value),
                _text(wording.figure(check)),
                _meter(check),
                _text(" ".join(filter(None, (check.code, check.where, check.detail)))),
            )
            for check in verification.checks
        ),
    )
    if verification.outputs:
        yield "<h3>Distance from the float64 reference, by output</h3>"
        yield error_svg(verification.outputs)
        yield (
            '<p class="legend"><span class="key before">original</span> '
            '<span class="key after">folded</span> <span class="key bound">bound</span></p>'
        )
        yield from (f"<p>{_text(wording.output(item))}</p>" for item in verification.outputs)
    yield from (f"<p>{_text(line)}</p>" for line in wording.remarks(verification))
    if report.again:
        yield f"<p>To see it again:</p><pre>{_text(report.again)}</pre>"
    yield "</section>"


def _meter(check: Check) -> str:
    if check.figure is None or not check.bound or check.figure != check.figure:
        return ""
    share = check.figure / check.bound
    return (
        f'<meter min="0" max="1" value="{min(share, 1):.4f}">{share:.2g}</meter> '
        f"{_text(f'{100 * share:.2g} %')}"
    )


def _benchmark(benchmark: Benchmark | None) -> Iterator[str]:
    if benchmark is None:
        return
    yield '<section aria-labelledby="latency"><h2 id="latency">Latency</h2>'
    yield latency_svg(benchmark)
    yield from _table(
        "Folded against original, in fresh processes",
        ("setting", "original", "folded", "speedup", "interval", "A/A control", "verdict"),
        (
            (
                _text(wording.setting(c)),
                _text(wording.seconds(c.baseline_seconds)),
                _text(wording.seconds(c.candidate_seconds)),
                f"{c.speedup:.3f}x",
                f"{c.low:.3f} to {c.high:.3f} ({100 * c.confidence:g} %)",
                f"{c.control_low:.3f} to {c.control_high:.3f}",
                _badge("good" if c.verdict.name == "FASTER" else "dim", c.verdict.value),
            )
            for c in benchmark.comparisons
        ),
    )
    yield "</section>"


def _models(report: Report) -> Iterator[str]:
    before, after = report.original, report.folded
    if before is not None and after is not None:
        names = sorted({*before.op_counts, *after.op_counts})
        yield '<section aria-labelledby="ops"><h2 id="ops">Ops</h2>'
        yield from _table(
            "Number of each op",
            ("op", "before", "after"),
            (
                (
                    _text(name),
                    str(before.op_counts.get(name, 0)),
                    _changed(before.op_counts.get(name, 0), after.op_counts.get(name, 0)),
                )
                for name in names
            ),
        )
        yield "</section>"
    if report.environment:
        yield '<section aria-labelledby="made"><h2 id="made">Made with</h2><p>'
        yield ", ".join(f"{_text(k)} {_text(v)}" for k, v in report.environment.items())
        yield "</p></section>"


def _changed(before: int, after: int) -> str:
    return str(after) if before == after else f"<strong>{after}</strong>"
