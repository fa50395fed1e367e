"""The way of a folded affine through the graph: the ops between it and the op that took it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from bnfold.report.graphview import GraphView
from bnfold.report.model import Report

# Of an affine that went to many ops, the first few ways say it.
_MOST = 4


def routes(report: Report) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """For each affine, by its ops: the names on the way to each op that took it, both included."""
    if report.graphs is None:
        return {}
    view = report.graphs[0]
    numbers = {node.name: number for number, node in enumerate(view.nodes) if node.name}
    forward, backward = _links(view)
    either = {number: [*forward[number], *backward[number]] for number in forward}
    # An affine may turn round at a sum, so where no straight way leads there, any will do.
    ways = {"forward": (forward, either), "backward": (backward, either)}
    found: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in report.affines:
        starts = [numbers[op] for op in row.ops if op in numbers]
        for place in row.into[:_MOST]:
            end = numbers.get(place.op)
            if end is None:
                continue
            tried = (_way(links, starts, end) for links in ways.get(place.direction, (either,)))
            way = next(filter(None, tried), None)
            if way is not None and len(way) > 1:
                names = (row.name, *(view.nodes[n].name for n in way[1:]))
                found.setdefault(row.ops, []).append(names)
    return found


def _links(view: GraphView) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """The nodes behind each node, and those before it."""
    forward: dict[int, list[int]] = {number: [] for number in range(len(view.nodes))}
    for number, node in enumerate(view.nodes):
        for i in node.inputs:
            forward[i].append(number)
    return forward, {number: list(node.inputs) for number, node in enumerate(view.nodes)}


def _way(links: Mapping[int, Sequence[int]], starts: Sequence[int], end: int) -> list[int] | None:
    """The shortest way; ops of the affine itself are passed without being named twice."""
    before: dict[int, int | None] = dict.fromkeys(starts)
    queue = deque(starts)
    while queue:
        number = queue.popleft()
        if number == end:
            way = [number]
            while (last := before[way[-1]]) is not None:
                way.append(last)
            first, *rest = reversed(way)
            return [first, *(n for n in rest if n == end or n not in starts)]
        for other in links[number]:
            if other not in before:
                before[other] = number
                queue.append(other)
    return None
