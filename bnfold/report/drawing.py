"""Drawings of the HTML report, as inline SVG: the graph, intervals, error bars."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from html import escape

from bnfold.bench.types import Benchmark
from bnfold.report import wording
from bnfold.report.graphview import Box, GraphNode, GraphView, layered
from bnfold.report.model import AffineRow, Outcome
from bnfold.verify.types import OutputComparison

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 168, 34, 22, 22


def graph_svg(view: GraphView, title: str, rows: Sequence[AffineRow], *, after: bool) -> str:
    """The graph, affines and the ops that took them marked.

    Args:
        view: the graph.
        title: said to screen readers.
        rows: the affines of the report.
        after: the folded graph, in which the affines' own ops may be gone.
    """
    sources = {op: row for row in rows for op in row.ops}
    targets = {p.op for row in rows for p in row.into}
    boxes = layered(view)
    if not boxes:
        return ""
    left = min(box.column for box in boxes)
    width = int((max(b.column for b in boxes) - left + 1) * (_WIDTH + _GAP_X) + _GAP_X)
    height = (max(b.row for b in boxes) + 1) * (_HEIGHT + _GAP_Y) + _GAP_Y
    points = [_corner(box, left) for box in boxes]
    parts = [
        f'<svg class="graph" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" xmlns="http://www.w3.org/2000/svg"><title>{_text(title)}</title>'
    ]
    for number, node in enumerate(view.nodes):
        parts += [_edge(points[i], points[number]) for i in node.inputs]
    if not after:
        parts += _moves(view, points, rows)
    for point, node in zip(points, view.nodes, strict=True):
        parts.append(_node(point, node, sources.get(node.name), node.name in targets))
    parts.append("</svg>")
    return "".join(parts)


def _corner(box: Box, left: float) -> tuple[float, float]:
    return (
        _GAP_X + (box.column - left) * (_WIDTH + _GAP_X),
        _GAP_Y + box.row * (_HEIGHT + _GAP_Y),
    )


def _edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + _WIDTH / 2, start[1] + _HEIGHT
    x2, y2 = end[0] + _WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    curve = f"M{x1:g} {y1:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    return f'<path class="edge" d="{curve}"/>'


def _moves(
    view: GraphView, points: Sequence[tuple[float, float]], rows: Sequence[AffineRow]
) -> list[str]:
    """An arrow from each affine to every op that took it."""
    place = {node.name: points[number] for number, node in enumerate(view.nodes)}
    arrows: list[str] = []
    for row in rows:
        start = next((place[op] for op in row.ops if op in place), None)
        for target in row.into:
            end = place.get(target.op)
            if start is None or end is None or start == end:
                continue
            x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
            x2, y2 = end[0] + _WIDTH, end[1] + _HEIGHT / 2
            bow = max(x1, x2) + 14
            arrows.append(
                f'<path class="move" d="M{x1:g} {y1:g} C{bow:g} {y1:g} {bow:g} {y2:g} '
                f'{x2 + 5:g} {y2:g}"/><path class="tip" d="M{x2 + 1:g} {y2:g} l7 -4 v8 z"/>'
            )
    return arrows


def _node(point: tuple[float, float], node: GraphNode, row: AffineRow | None, target: bool) -> str:
    kind, note = "op", ""
    if row is not None:
        kind = {Outcome.FOLDED: "gone", Outcome.PARTLY: "part", Outcome.KEPT: "kept"}[row.outcome]
        note = f": affine {row.name}, {row.outcome.value}"
    elif target:
        kind, note = "took", ": took an affine"
    x, y = point
    weights = f", weights {', '.join(node.weights)}" if node.weights else ""
    shape = f", gives {node.output}" if node.output else ""
    op_type, name = _text(_short(node.op_type, 22)), _text(_short(node.name, 27))
    label = f"{node.op_type} {node.name}{note}{weights}{shape}"
    return (
        f'<g class="{kind}" tabindex="0"><title>{_text(label)}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text x="{x + 8:g}" y="{y + 14:g}" class="type">{op_type}</text>'
        f'<text x="{x + 8:g}" y="{y + 27:g}" class="name">{name}</text></g>'
    )


def _text(value: str) -> str:
    return escape(wording.printable(value))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]


def latency_svg(benchmark: Benchmark) -> str:
    """Intervals of the speedup, with the A/A control as a band behind each."""
    rows = benchmark.comparisons
    if not rows:
        return ""
    values = [v for c in rows for v in (c.low, c.high, c.control_low, c.control_high, 1.0)]
    finite = [v for v in values if math.isfinite(v) and v > 0]
    low, high = min(finite) * 0.97, max(finite) * 1.03
    left, width, step = 190.0, 420.0, 44
    height = step * len(rows) + 34

    def x(value: float) -> float:
        inside = min(max(value, low), high)
        return left + width * math.log(inside / low) / math.log(high / low)

    parts = [
        f'<svg class="plot" role="img" viewBox="0 0 {left + width + 20:g} {height}" '
        'xmlns="http://www.w3.org/2000/svg"><title>Speedup with its interval; the band is the '
        "original against itself</title>",
        f'<path class="axis" d="M{x(1):g} 6 V{height - 24}"/>',
        f'<text class="tick" x="{x(1):g}" y="{height - 8}" text-anchor="middle">1x</text>',
    ]
    for number, c in enumerate(rows):
        y = 22 + step * number
        tone = c.verdict.name.lower()
        parts += [
            f'<text class="label" x="{left - 12:g}" y="{y + 4}" text-anchor="end">'
            f"{_text(wording.setting(c))}</text>",
            f'<rect class="control" x="{x(c.control_low):g}" y="{y - 9}" '
            f'width="{max(1.0, x(c.control_high) - x(c.control_low)):g}" height="18"/>',
            f'<path class="interval {tone}" d="M{x(c.low):g} {y} H{x(c.high):g}"/>',
            f'<circle class="{tone}" cx="{x(c.speedup):g}" cy="{y}" r="5"/>',
            f'<text class="value" x="{x(c.high) + 8:g}" y="{y - 8}">{c.speedup:.2f}x</text>',
        ]
    parts.append("</svg>")
    return "".join(parts)


def error_svg(outputs: Collection[OutputComparison]) -> str:
    """RMSE of both models from float64 and the bound, on one logarithmic scale."""
    rows = [
        (o, [v for v in (o.rmse_original, o.rmse_folded, o.bound) if v is not None and v > 0])
        for o in outputs
    ]
    values = [v for _, found in rows for v in found]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    left, width, step = 190.0, 420.0, 44
    height = step * len(rows) + 34

    def x(value: float) -> float:
        return left + width * (math.log10(value) - low) / (high - low)

    parts = [
        f'<svg class="plot" role="img" viewBox="0 0 {left + width + 20:g} {height}" '
        'xmlns="http://www.w3.org/2000/svg"><title>Distance from float64: original, folded, '
        "bound</title>"
    ]
    for power in range(low, high + 1):
        parts.append(
            f'<path class="grid" d="M{x(10.0**power):g} 6 V{height - 24}"/><text class="tick" '
            f'x="{x(10.0**power):g}" y="{height - 8}" text-anchor="middle">1e{power}</text>'
        )
    for number, (output, _) in enumerate(rows):
        y = 22 + step * number
        parts.append(
            f'<text class="label" x="{left - 12:g}" y="{y + 4}" text-anchor="end">'
            f"{_text(_short(output.name, 24))}</text>"
        )
        marks = (
            ("before", output.rmse_original, -6),
            ("after", output.rmse_folded, 6),
        )
        for tone, value, shift in marks:
            if value is not None and value > 0:
                parts.append(f'<path class="bar {tone}" d="M{left:g} {y + shift} H{x(value):g}"/>')
        if output.bound is not None and output.bound > 0:
            parts.append(f'<path class="bound" d="M{x(output.bound):g} {y - 14} v28"/>')
    parts.append("</svg>")
    return "".join(parts)
