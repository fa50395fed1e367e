"""Where the boxes of a graph's drawing stand, and which ops share a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from bnfold.report.graphview import GraphNode, GraphView


@dataclass(frozen=True)
class Box:
    """A node's place: column and row of the layout."""

    column: float
    row: int


def layered(view: GraphView) -> tuple[Box, ...]:
    """A place for each node: its row is the longest way from an input, its column its turn there.

    A column is chosen near the mean of the columns of the nodes it reads, which keeps chains
    straight (the barycentre rule of Sugiyama's layered drawings, one pass).
    """
    rows: list[int] = []
    for node in view.nodes:
        rows.append(1 + max((rows[i] for i in node.inputs), default=-1))
    taken: dict[int, set[int]] = {}
    boxes: list[Box] = []
    for node, row in zip(view.nodes, rows, strict=True):
        columns = [boxes[i].column for i in node.inputs]
        wanted = round(sum(columns) / len(columns)) if columns else 0
        boxes.append(Box(_free(taken.setdefault(row, set()), wanted), row))
    return tuple(boxes)


def _free(used: set[int], wanted: int) -> int:
    """The free column nearest to the wanted one, which is then taken."""
    offset = 0
    while wanted + offset in used:
        offset = -offset if offset > 0 else 1 - offset
    used.add(wanted + offset)
    return wanted + offset


def aligned(view: GraphView, before: GraphView, places: Sequence[Box]) -> tuple[Box, ...]:
    """Places for the folded graph: what is in both graphs stands where it stood.

    Where that cannot be (an edge would run upwards), the graph gets a layout of its own.
    """
    known = {n.name: box for n, box in zip(before.nodes, places, strict=True) if n.name}
    used: dict[int, set[int]] = {}
    for node in view.nodes:
        if node.name in known:
            used.setdefault(known[node.name].row, set()).add(round(known[node.name].column))
    boxes: list[Box] = []
    for node in view.nodes:
        above = max((boxes[i].row for i in node.inputs), default=-1)
        box = known.get(node.name)
        if box is None:
            wanted = round(boxes[node.inputs[0]].column) if node.inputs else 0
            box = Box(_free(used.setdefault(above + 1, set()), wanted), above + 1)
        if box.row <= above:
            return layered(view)
        boxes.append(box)
    return tuple(boxes)


def collapsed(view: GraphView, marked: Collection[str]) -> GraphView:
    """The graph with each connected run of unmarked ops drawn as one.

    A run is cut out of the topological order, so no edge leads back into it.
    """
    group: dict[int, int] = {}
    for run in _runs(view, marked):
        for number in sorted(run):
            linked = [i for i in view.nodes[number].inputs if i in run]
            group[number] = number
            for i in linked:
                _join(group, i, number)
    roots = {number: _root(group, number) for number in group}
    members: dict[int, list[int]] = {}
    for number in range(len(view.nodes)):
        members.setdefault(roots.get(number, number), []).append(number)
    # A run's members may lie between each other; each stands where the last of it stood.
    order = sorted(members, key=lambda root: members[root][-1] if root in roots else root)
    place = {root: position for position, root in enumerate(order)}
    nodes = []
    for root in order:
        inside = set(members[root])
        read = [i for number in members[root] for i in view.nodes[number].inputs]
        outside = dict.fromkeys(place[roots.get(i, i)] for i in read if i not in inside)
        nodes.append(
            replace(_merged([view.nodes[n] for n in members[root]]), inputs=tuple(outside))
        )
    return replace(view, nodes=tuple(nodes))


def _runs(view: GraphView, marked: Collection[str]) -> Iterator[set[int]]:
    run: set[int] = set()
    for number, node in enumerate(view.nodes):
        if node.name in marked:
            yield run
            run = set()
        else:
            run.add(number)
    yield run


def _root(group: dict[int, int], number: int) -> int:
    while group[number] != number:
        group[number] = group[group[number]]
        number = group[number]
    return number


def _join(group: dict[int, int], one: int, other: int) -> None:
    first, second = sorted((_root(group, one), _root(group, other)))
    group[second] = first


def _merged(nodes: Sequence[GraphNode]) -> GraphNode:
    if len(nodes) == 1:
        return nodes[0]
    counts = Counter(node.op_type for node in nodes).most_common(3)
    kinds = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts)
    return GraphNode(
        name=nodes[0].name,
        op_type=f"{len(nodes)} ops: {kinds}",
        inputs=(),
        output=nodes[-1].output,
        members=tuple(f"{node.op_type} {node.name}" for node in nodes),
    )
