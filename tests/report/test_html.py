"""The HTML report: whole, self-contained, safe against hostile names, and drawn by a browser."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnfold import api
from bnfold.report.graphview import MAX_NODES, GraphNode, GraphView, graph_view
from bnfold.report.html import render_html
from bnfold.report.layout import aligned, collapsed, layered
from bnfold.report.model import Report
from bnfold.report.render import form_of, render
from tests.report import samples

VOID = {"meta", "br", "hr", "img", "input", "link"}
# Closed by themselves in SVG.
SELF_CLOSED = {"path", "rect", "circle"}


class Page(HTMLParser):
    """Checks that tags nest, and notes what is where."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def report(sample_models: Path) -> Report:
    return api.fold(sample_models / "autoencoder.onnx").report


def test_the_page_is_whole_and_self_contained(report: Report) -> None:
    page = parsed(render_html(report))
    text = "".join(page.text)
    for row in report.affines:
        assert row.name in text
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object")
        assert "src" not in attributes
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", render_html(report))


def test_what_a_screen_reader_needs(report: Report) -> None:
    page = parsed(render_html(report))
    tags = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags
    assert tags.count("h1") == 1 and tags.count("caption") == tags.count("table")
    assert all("scope" in a for tag, a in page.tags if tag == "th")
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert {a.get("role") for a in drawings} == {"img", "group"}
    assert all(a.get("aria-label") for a in drawings)
    boxes = [a for tag, a in page.tags if tag == "g" and a.get("class") != "ghost"]
    assert boxes and all(a.get("role") == "img" and a.get("aria-label") for a in boxes)
    headings = [tag for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1" and "h2" in headings


def test_both_graphs_are_drawn(report: Report) -> None:
    html = render_html(report)
    assert report.graphs is not None
    before, after = report.graphs
    whole = [part for part in html.split("data-drawing=")[1:] if part.startswith('"all"')]
    assert [part.count('class="type"') for part in whole] == [len(before.nodes), len(after.nodes)]
    gone = sum(len(row.ops) for row in report.affines)
    assert whole[0].count('class="gone"') == whole[1].count('class="ghost"') == gone
    assert whole[0].count('class="move"') >= len(report.affines)
    assert 'class="move"' not in whole[1]


def test_each_affine_has_its_formula_its_way_and_its_errors(report: Report) -> None:
    assert report.verification is not None and report.verification.parts
    text = "".join(parsed(render_html(report)).text)
    for row in report.affines:
        for place in row.into:
            assert re.search(rf"path: {re.escape(row.name)} → .*{re.escape(place.op)}", text)
    assert len(re.findall(r"W′ = ", text)) >= len(report.affines)
    html = render_html(report)
    assert len(re.findall(r"<p>(?:runtime|channel) <meter", html)) == 2 * len(report.affines)
    assert "as a share of its rounding bound</h3>" in html


def test_distributions_of_latency_are_drawn() -> None:
    spread = (40e-6, 41e-6, 42e-6, 44e-6, 50e-6)
    rows = [
        dataclasses.replace(
            row, speedups=(1.3, 1.4, 1.41), baseline_spread=spread, candidate_spread=spread
        )
        for row in samples.BENCHMARK.comparisons
    ]
    report = dataclasses.replace(samples.fold_report(), benchmark=samples.benchmark(*rows))
    html = render_html(report)
    assert html.count('class="launch"') == 6
    assert html.count('class="box before"') == html.count('class="box after"') == 2
    assert html.count('class="interval faster"') == 1


def test_hostile_names_stay_text(report: Report) -> None:
    evil = "</title><script>alert(1)</script>\"'\x1b[31m"
    row = dataclasses.replace(report.affines[0], name=evil, ops=(evil,))
    view = GraphView((GraphNode(evil, evil, ()),), (evil,), (evil,))
    hostile = dataclasses.replace(
        report, affines=(row,), graphs=(view, view), output=evil, notes=(evil,)
    )
    html = render_html(hostile)
    assert "\x1b" not in html
    page = parsed(html)
    assert [tag for tag, _ in page.tags].count("script") == 1


def test_parts_that_nobody_asked_for_are_left_out(report: Report) -> None:
    bare = dataclasses.replace(
        report, affines=(), verification=None, benchmark=None, graphs=None, folded=None
    )
    page = parsed(render_html(bare))
    assert "svg" not in [tag for tag, _ in page.tags]


def test_the_suffix_asks_for_it(report: Report) -> None:
    assert render(report, form_of("report.html")) == render_html(report)


def test_layers_follow_the_edges(sample_models: Path) -> None:
    view = graph_view(ir.load(sample_models / "autoencoder.onnx"))
    boxes = layered(view)
    assert len({(box.column, box.row) for box in boxes}) == len(boxes)
    for node, box in zip(view.nodes, boxes, strict=True):
        assert all(boxes[i].row < box.row for i in node.inputs)


def chain(*names: str) -> GraphView:
    nodes = [GraphNode(n, n[0], (i - 1,) if i else ()) for i, n in enumerate(names)]
    return GraphView(tuple(nodes), ("x",), ("y",))


def test_what_is_in_both_graphs_stands_side_by_side() -> None:
    before, after = chain("c1", "b1", "r1", "c2", "b2"), chain("c1", "r1", "c2", "new")
    places = layered(before)
    others = aligned(after, before, places)
    assert [box.row for box in others] == [0, 2, 3, 4]
    # Upside down there is nothing to align.
    turned = chain("c2", "r1", "c1")
    assert aligned(turned, before, places) == layered(turned)


def test_runs_of_untouched_ops_collapse_and_nothing_else() -> None:
    view = chain("r1", "p1", "c1", "b1", "r2", "p2", "s2", "c2")
    small = collapsed(view, {"c1", "b1", "c2"})
    assert [node.members for node in small.nodes] == [
        ("r r1", "p p1"), (), (), ("r r2", "p p2", "s s2"), (),
    ]  # fmt: skip
    assert [node.inputs for node in small.nodes] == [(), (0,), (1,), (2,), (3,)]


@given(st.data())
def test_a_collapsed_graph_has_the_same_ways(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 14))
    nodes = []
    for number in range(count):
        inputs = data.draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        nodes.append(GraphNode(f"n{number}", "Op", tuple(sorted(inputs))))
    view = GraphView(tuple(nodes), (), ())
    marked = data.draw(st.sets(st.sampled_from([node.name for node in nodes])))
    small = collapsed(view, marked)
    homes = {}
    for place, node in enumerate(small.nodes):
        assert all(i < place for i in node.inputs)
        for member in node.members or (f"Op {node.name}",):
            homes[member.removeprefix("Op ")] = place
    assert sorted(homes) == sorted(node.name for node in nodes)
    for node in nodes:
        for i in node.inputs:
            ends = homes[f"n{i}"], homes[node.name]
            assert ends[0] == ends[1] or ends[0] in small.nodes[ends[1]].inputs
    assert all(
        node.name in marked or not node.members for node in small.nodes if node.name in marked
    )


def test_a_graph_too_large_to_draw_is_said_to_be() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    nodes, value = [], x
    for _ in range(MAX_NODES + 1):
        nodes.append(ir.node("Relu", [value]))
        value = nodes[-1].outputs[0]
    graph = ir.Graph([x], [value], nodes=nodes, opset_imports={"": 17})
    view = graph_view(ir.Model(graph, ir_version=8))
    assert view.omitted == MAX_NODES + 1 and not view.nodes
