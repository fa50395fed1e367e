"""The HTML report: whole, self-contained, safe against hostile names, and drawn by a browser."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import onnx_ir as ir
import pytest

from bnfold import api
from bnfold.report.graphview import MAX_NODES, GraphNode, GraphView, graph_view, layered
from bnfold.report.html import render_html
from bnfold.report.model import Report
from bnfold.report.render import form_of, render

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
    assert all(a.get("role") == "img" for tag, a in page.tags if tag == "svg")
    headings = [tag for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1" and "h2" in headings


def test_both_graphs_are_drawn(report: Report) -> None:
    html = render_html(report)
    assert report.graphs is not None
    before, after = report.graphs
    assert html.count('class="type"') == len(before.nodes) + len(after.nodes)
    assert html.count('class="gone"') == sum(len(row.ops) for row in report.affines)
    assert html.count('class="move"') >= len(report.affines)


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


def test_a_graph_too_large_to_draw_is_said_to_be() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    nodes, value = [], x
    for _ in range(MAX_NODES + 1):
        nodes.append(ir.node("Relu", [value]))
        value = nodes[-1].outputs[0]
    graph = ir.Graph([x], [value], nodes=nodes, opset_imports={"": 17})
    view = graph_view(ir.Model(graph, ir_version=8))
    assert view.omitted == MAX_NODES + 1 and not view.nodes


def test_a_browser_draws_it(report: Report, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    path = tmp_path / "report.html"
    path.write_text(render_html(report), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=2000", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # The script has run: the zoom buttons, hidden without it, are there.
    assert '<p class="zoom">' in done.stdout
    assert "blocked" not in done.stderr.lower()
