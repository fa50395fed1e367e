"""The graph before and after folding, as a pair of inline SVGs whose rows stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bnfold.report import wording
from bnfold.report.graphview import GraphNode, GraphView
from bnfold.report.layout import Box, aligned, layered
from bnfold.report.model import AffineRow, Outcome

_WIDTH, _LINE, _PAD, _GAP_X, _GAP_Y, _MARGIN = 184, 13, 8, 34, 20, 46
_KINDS = {Outcome.FOLDED: "gone", Outcome.PARTLY: "part", Outcome.KEPT: "kept"}


@dataclass(frozen=True)
class _Marks:
    """What the report says of each op, by name."""

    affines: Mapping[str, AffineRow]
    takers: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Frame:
    """Where the columns and rows of both drawings lie."""

    left: float
    tops: Sequence[float]
    heights: Sequence[float]
    width: float

    def corner(self, box: Box) -> tuple[float, float]:
        """The top left corner of a box."""
        x = _MARGIN + (box.column - self.left) * (_WIDTH + _GAP_X)
        return x, self.tops[box.row]

    @property
    def height(self) -> float:
        """Of the drawing."""
        return self.tops[-1] + self.heights[-1] + _GAP_Y


def marked_ops(rows: Sequence[AffineRow]) -> frozenset[str]:
    """Names of the ops that are affines or took one."""
    return frozenset(name for row in rows for name in (*row.ops, *(p.op for p in row.into)))


def graph_pair(before: GraphView, after: GraphView, rows: Sequence[AffineRow]) -> tuple[str, str]:
    """Both graphs; what is in both stands at the same height.

    Args:
        before, after: the graphs.
        rows: the affines of the report, which are marked, with arrows to where they went.
    """
    takers: dict[str, list[str]] = {}
    for row in rows:
        for place in row.into:
            if row.name not in takers.setdefault(place.op, []):
                takers[place.op].append(row.name)
    marks = _Marks({op: row for row in rows for op in row.ops}, takers)
    places = layered(before)
    others = aligned(after, before, places)
    first, second = (_frame(v, b, marks) for v, b in ((before, places), (after, others)))
    rows_alike = len(second.tops) <= len(first.tops)
    frame = first if rows_alike else second
    shared = _Frame(first.left, frame.tops, frame.heights, first.width)
    own = _Frame(second.left, frame.tops, frame.heights, second.width)
    ghosts = _ghosts(before, places, after, others, marks)
    return (
        _svg(before, places, shared, marks, _moves(before, places, shared, rows), "Before folding"),
        _svg(
            after, others, own if ghosts is None else shared, marks, ghosts or [], "After folding"
        ),
    )


def _frame(view: GraphView, boxes: Sequence[Box], marks: _Marks) -> _Frame:
    if not boxes:
        return _Frame(0, (_GAP_Y,), (0,), 2 * _MARGIN)
    heights = [0.0] * (max(box.row for box in boxes) + 1)
    for node, box in zip(view.nodes, boxes, strict=True):
        heights[box.row] = max(heights[box.row], _height(node, marks))
    tops, top = [], float(_GAP_Y)
    for height in heights:
        tops.append(top)
        top += (height or 2 * _PAD + 2 * _LINE) + _GAP_Y
    left = min(box.column for box in boxes)
    columns = max(box.column for box in boxes) - left + 1
    return _Frame(left, tops, heights, 2 * _MARGIN + columns * (_WIDTH + _GAP_X) - _GAP_X)


def _height(node: GraphNode, marks: _Marks) -> float:
    return 2 * _PAD + (3 if node.name in marks.takers else 2) * _LINE


def _svg(
    view: GraphView,
    boxes: Sequence[Box],
    frame: _Frame,
    marks: _Marks,
    extras: Sequence[str],
    title: str,
) -> str:
    if not boxes:
        return ""
    points = [frame.corner(box) for box in boxes]
    size = f'width="{frame.width:g}" height="{frame.height:g}"'
    parts = [
        f'<svg class="graph" role="group" aria-label="{title}: {len(view.nodes)} boxes" '
        f'viewBox="0 0 {frame.width:g} {frame.height:g}" {size} '
        'xmlns="http://www.w3.org/2000/svg">'
    ]
    full = {(box.column, box.row) for box in boxes}
    for number, node in enumerate(view.nodes):
        for i in node.inputs:
            bottom = points[i][1] + _height(view.nodes[i], marks)
            parts.append(_edge(boxes[i], boxes[number], points[i][0], bottom, points[number], full))
    parts += extras
    for point, node in zip(points, view.nodes, strict=True):
        parts.append(_node(point, node, marks))
    parts.append("</svg>")
    return "".join(parts)


def _edge(
    start: Box,
    end: Box,
    x: float,
    bottom: float,
    to: tuple[float, float],
    full: set[tuple[float, int]],
) -> str:
    x1, y1, x2, y2 = x + _WIDTH / 2, bottom, to[0] + _WIDTH / 2, to[1]
    hidden = start.column == end.column and any(
        (start.column, row) in full for row in range(start.row + 1, end.row)
    )
    if hidden:  # past the boxes between, at their left
        far = x - 8 - min(30, 4 * (end.row - start.row))
        curve = (
            f"M{x1 - 30:g} {y1:g} C{far:g} {y1 + 18:g} {far:g} {y1 + 18:g} {far:g} {y1 + 40:g} "
            f"V{y2 - 40:g} C{far:g} {y2 - 18:g} {far:g} {y2 - 18:g} {x2 - 30:g} {y2:g}"
        )
    else:
        middle = (y1 + y2) / 2
        curve = f"M{x1:g} {y1:g} C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    return f'<path class="edge" d="{curve}"/>'


def _moves(
    view: GraphView, boxes: Sequence[Box], frame: _Frame, rows: Sequence[AffineRow]
) -> list[str]:
    """An arrow from each affine to every op that took it."""
    place = {node.name: frame.corner(box) for node, box in zip(view.nodes, boxes, strict=True)}
    arrows: list[str] = []
    for row in rows:
        start = next((place[op] for op in row.ops if op in place), None)
        for target in row.into:
            end = place.get(target.op)
            if start is None or end is None or start == end:
                continue
            x1, y1 = start[0] + _WIDTH, start[1] + _PAD + _LINE
            x2, y2 = end[0] + _WIDTH, end[1] + _PAD + 1.5 * _LINE
            bow = max(x1, x2) + min(_MARGIN - 6, 22 + abs(y2 - y1) / 12)
            arrows.append(
                f'<path class="move" d="M{x1:g} {y1:g} C{bow:g} {y1:g} {bow:g} {y2:g} '
                f'{x2 + 7:g} {y2:g}"/><path class="tip" d="M{x2 + 1:g} {y2:g} l8 -4.5 v9 z"/>'
            )
    return arrows


def _ghosts(
    before: GraphView,
    places: Sequence[Box],
    after: GraphView,
    others: Sequence[Box],
    marks: _Marks,
) -> list[str] | None:
    """Outlines where affines stood; None where the two layouts have nothing in common."""
    there = {node.name for node in after.nodes}
    spots = {node.name: box for node, box in zip(before.nodes, places, strict=True)}
    now = {node.name: box for node, box in zip(after.nodes, others, strict=True)}
    if any(spots[name] != now[name] for name in spots.keys() & now.keys()):
        return None
    frame = _frame(before, places, marks)
    taken = set(others)
    found = []
    for name, box in spots.items():
        row = marks.affines.get(name)
        if row is None or name in there or box in taken:
            continue
        x, y = frame.corner(box)
        height = 2 * _PAD + 2 * _LINE
        where = _text(_short(", ".join(dict.fromkeys(p.target for p in row.into)), 24))
        found.append(
            f'<g class="ghost"><rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{height}" '
            f'rx="6"/><text x="{x + _WIDTH / 2:g}" y="{y + height / 2 + 4:g}" '
            f'text-anchor="middle">now in {where}</text></g>'
        )
    return found


def _node(point: tuple[float, float], node: GraphNode, marks: _Marks) -> str:
    kind, note = "many" if node.members else "op", ""
    row, taken = marks.affines.get(node.name), marks.takers.get(node.name, ())
    if row is not None:
        kind = _KINDS[row.outcome]
        note = f": affine {row.name}, {row.outcome.value}"
    elif taken:
        kind, note = "took", f": took {', '.join(taken)}"
    x, y = point
    weights = f", weights {', '.join(node.weights)}" if node.weights else ""
    shape = f", gives {node.output}" if node.output else ""
    label = f"{node.op_type} {node.name}{note}{weights}{shape}"
    if node.members:
        shown = node.members[:40]
        rest = f" and {len(node.members) - len(shown)} more" if len(node.members) > 40 else ""
        label = f"{node.op_type}: {', '.join(shown)}{rest}"
    side = _short(node.weights[0] if node.weights else "", 14)
    head, line = _headline(node, side), y + _PAD + _LINE - 3
    parts = [
        f'<g class="{kind}" role="img" aria-label="{_text(label)}" tabindex="-1" '
        f'data-op="{_text(node.name)}"><title>{_text(label)}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_height(node, marks):g}" rx="6"/>'
        f'<text x="{x + 9:g}" y="{line:g}" class="type">{_text(head[0])}</text>'
        f'<text x="{x + _WIDTH - 9:g}" y="{line:g}" class="size" text-anchor="end">'
        f"{_text(side)}</text>"
        f'<text x="{x + 9:g}" y="{line + _LINE:g}" class="name">{_text(head[1])}</text>'
    ]
    if taken:
        text = _short(f"takes {', '.join(taken)}", 30)
        parts.append(
            f'<text x="{x + 9:g}" y="{line + 2 * _LINE:g}" class="takes">{_text(text)}</text>'
        )
    return "".join([*parts, "</g>"])


def _headline(node: GraphNode, side: str) -> tuple[str, str]:
    if node.members:
        count, _, kinds = node.op_type.partition(": ")
        return count, _start(kinds, 30)
    return _short(node.op_type, 26 - len(side)), _short(node.name, 30)


def _text(value: str) -> str:
    return escape(wording.printable(value))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[-(length - 1) :]


def _start(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
