"""The report as one HTML file that needs nothing else: no network, no font, no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from bnfold.bench.types import Benchmark, Verdict
from bnfold.report import wording
from bnfold.report.drawing import graph_pair, marked_ops
from bnfold.report.graphview import GraphView
from bnfold.report.layout import collapsed
from bnfold.report.model import AffineRow, Outcome, Report, ReportKind, Stop
from bnfold.report.plots import error_svg, meter, shares_svg, speedup_svg, times_svg
from bnfold.report.routes import routes
from bnfold.verify.types import Check, Status, Verification

_TONE = {Status.PASSED: "good", Status.FAILED: "bad", Status.SKIPPED: "dim"}
_VERDICT = {Verdict.FASTER: "good", Verdict.SLOWER: "bad"}
_OUTCOME = {Outcome.FOLDED: "good", Outcome.PARTLY: "some", Outcome.KEPT: "dim"}
# Above this many ops the graph starts with the runs between folds collapsed.
_WHOLE_GRAPH = 40
# Above this many affines those that are folded start closed: what stays is what is looked for.
_SHORT_TABLE = 24
_MOST_BARS = 16
_SECTIONS = {
    "affines": "Affines", "graph": "Graph", "checks": "Verification", "latency": "Latency",
    "ops": "Ops", "made": "Made with",
}  # fmt: skip


def render_html(report: Report) -> str:
    """The whole page."""
    style = (files("bnfold.report") / "report.css").read_text(encoding="utf-8")
    script = (files("bnfold.report") / "report.js").read_text(encoding="utf-8")
    title = f"bnfold: {wording.headline(report)}"
    sections = "\n".join(
        part
        for section in (
            _affines(report),
            _graphs(report),
            _verification(report),
            _benchmark(report.benchmark),
            _models(report),
        )
        for part in section
    )
    body = "\n".join([*_verdict(report), *_contents(sections), sections])
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


def _contents(sections: str) -> Iterator[str]:
    """Links to the sections that are there."""
    there = [name for name in _SECTIONS if f'<h2 id="{name}">' in sections]
    links = "".join(f'<li><a href="#{name}">{_SECTIONS[name]}</a></li>' for name in there)
    yield f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if links else ""


def _verdict(report: Report) -> Iterator[str]:
    tone, mark = _tone(report)
    yield f'<header class="{tone}"><p class="brand">bnfold {_text(report.version)}</p>'
    yield f'<h1><span class="mark" aria-hidden="true">{mark}</span> {_sentence(report)}</h1>'
    if report.original is not None:
        target = f" → {_text(report.output)}" if report.output else ""
        by = _text(wording.via(report))
        yield f'<p class="model">{_text(wording.model_line(report.original))}{by}{target}</p>'
    yield '<dl class="figures">'
    for name, value, note in _figures(report):
        small = f"<small>{_text(note)}</small>" if note else ""
        yield f"<div><dt>{_text(name)}</dt><dd>{_text(value)}{small}</dd></div>"
    yield "</dl></header>"
    if report.notes:
        yield "<ul class='notes'>" + "".join(f"<li>{_text(n)}</li>" for n in report.notes) + "</ul>"


def _tone(report: Report) -> tuple[str, str]:
    if not report.passed:
        return "bad", "✗"
    if report.verification is None and report.kind is not ReportKind.BENCH:
        return "plain", "•"
    return "good", "✓"


def _sentence(report: Report) -> str:
    """The headline; what was folded is said together with whether it is right."""
    text = wording.headline(report)
    if report.affines and report.verification is not None:
        text = f"{text}; {wording.verdict(report.verification)}"
    return _text(text[:1].upper() + text[1:])


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    """Name, value and small print of each figure on top."""
    if report.affines:
        done = report.count(Outcome.FOLDED)
        word = "affines to fold" if report.kind is ReportKind.INSPECT else "affines folded"
        yield word, f"{done} of {len(report.affines)}", ""
    verification = report.verification
    if verification is not None:
        done = sum(check.status is Status.PASSED for check in verification.checks)
        samples = wording.plural(verification.samples, "sample")
        note = f"{wording.plural(done, 'check')} passed, {samples}"
        yield "verification", "passed" if verification.passed else "FAILED", note
    if report.benchmark is not None and report.benchmark.comparisons:
        first = report.benchmark.comparisons[0]
        note = f"{wording.setting(first)}: {first.sentence}"
        yield "latency", wording.times(first).replace("->", "→"), note
    before, after = report.original, report.folded
    if before is not None and after is not None:
        less = wording.change(before.bytes, after.bytes)
        yield "size", f"{wording.size(before.bytes)} → {wording.size(after.bytes)}", less
        less = wording.change(before.nodes, after.nodes)
        yield before.unit, f"{before.nodes} → {after.nodes}", less


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells are HTML already."""
    yield f'<div class="wide"><table><caption>{_text(caption)}</caption><thead><tr>'
    yield "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    yield "</tr></thead><tbody>"
    for first, *rest in rows:
        # On a narrow screen each cell stands on a line of its own, behind its column's name.
        named = zip(head[1:], rest, strict=True)
        cells = "".join(f'<td data-name="{_text(name)}">{cell}</td>' for name, cell in named)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _badge(tone: str, text: str) -> str:
    return f'<span class="badge {tone}">{_text(text)}</span>'


def _affines(report: Report) -> Iterator[str]:
    if not report.affines:
        return
    yield '<section aria-labelledby="affines"><h2 id="affines">Affines</h2>'
    parts: list[tuple[str, Sequence[AffineRow]]] = [
        ("Every affine of the model and what became of it", report.affines)
    ]
    if len(report.affines) > _SHORT_TABLE:
        folded = [row for row in report.affines if row.outcome is Outcome.FOLDED]
        others = [row for row in report.affines if row.outcome is not Outcome.FOLDED]
        parts = [("Affines that stay, whole or in part", others), ("Folded affines", folded)]
    for caption, rows in parts:
        folds_away = len(parts) > 1 and caption == parts[-1][0]
        if folds_away:
            yield f"<details><summary>{wording.plural(len(rows), 'folded affine')}</summary>"
        if rows:
            yield from _affine_table(caption, rows, report)
        if folds_away:
            yield "</details>"
    if report.verification is not None and report.verification.parts:
        yield (
            '<p class="legend">error: what the rewritten part around the affine differs by, as a '
            "share of what rounding allows; above 100 % it fails</p>"
        )
    yield "</section>"


def _affine_table(caption: str, rows: Iterable[AffineRow], report: Report) -> Iterator[str]:
    ways, verification = routes(report), report.verification
    known = verification is not None and bool(verification.parts)
    head = ("affine", "op", "channels", "outcome", "where it went, or why it stayed")
    yield from _table(
        caption,
        (*head, "error") if known else head,
        (
            (
                _in_graph(row, report),
                _text(row.op_type),
                str(row.channels),
                _badge(_OUTCOME[row.outcome], row.outcome.value),
                _story(row, ways.get(row.ops, ())),
                *((_error(row, verification),) if verification and known else ()),
            )
            for row in rows
        ),
    )


def _in_graph(row: AffineRow, report: Report) -> str:
    name = _text(row.name)
    if report.graphs is None or report.graphs[0].omitted or not row.ops:
        return name
    return f'<a href="#graph" data-shows="{_text(row.ops[0])}">{name}</a>'


def _story(row: AffineRow, ways: Sequence[Sequence[str]]) -> str:
    parts = []
    if row.into:
        parts.append(f"<p>{_text(wording.placements(row.into))}</p>")
        parts += [f'<p class="formula">{line}</p>' for line in _formulas(row)]
        parts += [f'<p class="path">path: {_path(way)}</p>' for way in ways]
    if row.left_as:
        parts.append(f"<p>{_text(wording.left(row))}</p>")
    parts += [_stop(item) for item in row.stops]
    return "".join(parts)


def _path(names: Iterable[str]) -> str:
    return " → ".join(_text(name) for name in names)


def shares_of(row: AffineRow, verification: Verification) -> tuple[float | None, float | None]:
    """Largest share of the rounding bound, in the runtime and by channel, where the affine went."""
    targets = {place.op for place in row.into}
    parts = [part for part in verification.parts if targets.intersection(part.ops)]
    rounding = [part.rounding for part in parts if part.rounding is not None]
    return max(rounding, default=None), max((part.channel for part in parts), default=None)


def _error(row: AffineRow, verification: Verification) -> str:
    rounding, channel = shares_of(row, verification)
    named = (("runtime", rounding), ("channel", channel))
    return "".join(f"<p>{name} {meter(share)}</p>" for name, share in named if share is not None)


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
    path = f'<p class="path">path: {_path(item.path)}</p>' if item.path else ""
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
    marked = marked_ops(report.affines)
    small = tuple(collapsed(view, marked) for view in report.graphs)
    drawn = {"all": report.graphs}
    if len(small[0].nodes) < len(before.nodes):
        drawn["folds"] = (small[0], small[1])
    start = "folds" if len(before.nodes) > _WHOLE_GRAPH and "folds" in drawn else "all"
    yield '<div class="tools" role="toolbar" aria-label="Drawing" hidden>'
    if len(drawn) > 1:
        for name, text in (("folds", "folds only"), ("all", "all ops")):
            pressed = str(name == start).lower()
            state = f'data-shape="{name}" aria-pressed="{pressed}"'
            yield f'<button type="button" {state}>{text}</button>'
    yield (
        '<button type="button" data-zoom="0.8" aria-label="smaller">&minus;</button>'
        '<button type="button" data-zoom="1.25" aria-label="larger">+</button>'
        '<button type="button" data-zoom="0">fit</button>'
        '<button type="button" data-zoom="1">actual size</button>'
        "<span>keys + &minus; 0 and arrows in a drawing</span></div>"
    )
    pairs = {name: graph_pair(*views, report.affines) for name, views in drawn.items()}
    yield f"<p>{_counted(before, after)}</p>"
    yield '<div class="pair">'
    for place, (view, name) in enumerate(((before, "Before"), (after, "After"))):
        yield f'<figure><figcaption>{name}</figcaption><p class="ports">{_ports(view.inputs)}</p>'
        yield f'<div class="canvas" tabindex="0" role="group" aria-label="{name}, scrollable">'
        for shape, pair in pairs.items():
            hidden = "" if shape == start else " hidden"
            yield f'<div data-drawing="{shape}"{hidden}>{pair[place]}</div>'
        yield f'</div><p class="ports">{_ports(view.outputs)}</p></figure>'
    yield "</div></section>"


def _counted(before: GraphView, after: GraphView) -> str:
    return f"{wording.plural(len(before.nodes), 'op')} before, {len(after.nodes)} after"


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
                _text(wording.figure(check).replace("<=", "≤")),
                _meter(check),
                _text(_detail(check)),
            )
            for check in verification.checks
        ),
    )
    yield '<div class="plots">'
    if verification.outputs:
        yield "<div><h3>Distance from the float64 reference, by output</h3>"
        yield error_svg(verification.outputs)
        yield (
            '<p class="legend"><span class="key before">original</span> '
            '<span class="key after">folded</span> <span class="key bound">bound</span></p>'
        )
        yield from (f"<p>{_text(wording.output(item))}</p>" for item in verification.outputs)
        yield "</div>"
    figures = [(row.name, *shares_of(row, verification)) for row in report.affines]
    worst = sorted(figures, key=lambda item: max(item[1] or 0.0, item[2] or 0.0))[-_MOST_BARS:]
    shares = shares_svg([item for item in figures if item in worst])
    if shares:
        which = "each fold" if len(worst) == len(figures) else f"the {len(worst)} worst folds"
        yield f"<div><h3>Error of {which}, as a share of its rounding bound</h3>"
        yield shares
        yield (
            '<p class="legend"><span class="key after">largest in the runtime</span> '
            '<span class="key before">by channel, in float64</span></p></div>'
        )
    yield "</div>"
    yield from (f"<p>{_text(line)}</p>" for line in wording.remarks(verification))
    if report.again:
        yield f"<p>To see it again:</p><pre>{_text(report.again)}</pre>"
    yield "</section>"


def _detail(check: Check) -> str:
    """What was compared; of the worst or wrong place the code and name."""
    failed = check.status is Status.FAILED
    place = f"{check.code} {check.where}".strip() if failed else check.where
    worst = f"{check.detail} (largest at {place})" if place else check.detail
    return ": ".join(filter(None, (place, check.detail))) if failed else worst


def _meter(check: Check) -> str:
    if check.figure is None or not check.bound or check.figure != check.figure:
        return ""
    return meter(check.figure / check.bound)


def _benchmark(benchmark: Benchmark | None) -> Iterator[str]:
    if benchmark is None:
        return
    yield '<section aria-labelledby="latency"><h2 id="latency">Latency</h2>'
    yield '<div class="plots">'
    times, speedups = times_svg(benchmark), speedup_svg(benchmark)
    if times:
        yield "<div><h3>Time per call</h3>"
        yield times
        yield (
            '<p class="legend"><span class="key before">original</span> <span class="key after">'
            "folded</span> box: middle half of all calls, line: 5 to 95 %</p></div>"
        )
    if speedups:
        yield "<div><h3>Speedup, launch by launch</h3>"
        yield speedups
        yield (
            '<p class="legend">small dots: launches; line: confidence interval; '
            '<span class="key control">original against itself</span></p></div>'
        )
    yield "</div>"
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
                _badge(_VERDICT.get(c.verdict, "dim"), c.sentence),
            )
            for c in benchmark.comparisons
        ),
    )
    noise = wording.noise(benchmark)
    if noise:
        yield f"<p>{_text(noise)}</p>"
    yield from _table(
        "Beside latency",
        ("", "original", "folded"),
        (tuple(map(_text, row)) for row in wording.measured(benchmark)),
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
