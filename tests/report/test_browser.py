"""The HTML report in a real browser: it stands, it can be used, and it is alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest

from bnfold import api
from bnfold.report.html import render_html
from bnfold.report.model import Report
from tests.report import samples
from tests.report.browser import Browser, find_chromium, started

SAMPLES = Path(__file__).parents[2] / "sample_models"
SIZES = {"desktop": (1280, 900, False), "phone": (390, 844, True)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        # Where a browser was promised, its absence is a failure.
        assert os.environ.get("BNFOLD_CHROMIUM") is None
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with started(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def report() -> Report:
    """A real fold with every section; the latency figures are made up."""
    made = api.fold(SAMPLES / "autoencoder.onnx").report
    return dataclasses.replace(made, benchmark=samples.BENCHMARK, notes=("a note",))


@pytest.fixture
def page(browser: Browser, report: Report, tmp_path: Path) -> Iterator[Browser]:
    path = tmp_path / "report with spaces & umlauts ä.html"
    path.write_text(render_html(report), encoding="utf-8")
    browser.view(1280, 900)
    browser.open(path)
    yield browser
    assert browser.complaints == []
    assert [address for address in browser.requests if address != path.as_uri()] == []


def test_the_verdict_comes_first_and_every_section_is_there(page: Browser, report: Report) -> None:
    read = page.shown_to_screen_readers()
    headings = [name for role, name in read if role == "heading"]
    assert headings[0].endswith("5 of 5 affines folded; equivalent: every check passed")
    wanted = ["Affines", "The graph, before and after", "Verification", "Latency", "Ops"]
    assert [name for name in headings if name in wanted] == wanted
    roles = {role for role, _ in read}
    assert {"main", "navigation", "table", "columnheader", "rowheader", "toolbar"} <= roles
    assert {"caption", "meter", "figure"} <= {role.lower() for role in roles}
    names = [name for role, name in read if role in ("image", "img")]
    for row in report.affines:
        assert any(f"affine {row.name}, folded" in name for name in names)
    assert all(name for role, name in read if role in ("button", "link", "image", "img"))


def test_links_lead_to_sections(page: Browser) -> None:
    broken = """[...document.querySelectorAll('a[href^="#"]')]
        .filter(link => !document.getElementById(link.hash.slice(1))).length"""
    assert page.evaluate("document.querySelectorAll('nav a').length") == 6
    assert page.evaluate(broken) == 0


def focused(page: Browser, attribute: str) -> str:
    return page.evaluate(f"document.activeElement.getAttribute('{attribute}')") or ""


def test_the_keyboard_reaches_everything(page: Browser) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    seen = set()
    for _ in range(60):
        page.press("Tab")
        text = "document.activeElement.textContent.trim().slice(0, 40)"
        seen.add(focused(page, "aria-label") or page.evaluate(text))
    assert {"smaller", "larger", "fit", "Before, scrollable", "After, scrollable"} <= seen
    assert {"Verification", "Latency"} <= seen


def scale(page: Browser) -> float:
    found = "document.querySelector('[data-drawing]:not([hidden]) .graph')"
    return float(page.evaluate(f"{found}.getAttribute('width') / {found}.viewBox.baseVal.width"))


def test_the_keyboard_zooms(page: Browser) -> None:
    page.evaluate("document.querySelector('.canvas').focus()")
    page.press("0")
    fitted = scale(page)
    page.press("+")
    assert scale(page) == pytest.approx(1.25 * fitted, rel=1e-3)
    page.press("-")
    page.press("-")
    assert scale(page) == pytest.approx(0.8 * fitted, rel=1e-3)
    page.press("0")
    assert scale(page) == pytest.approx(fitted, rel=1e-3)


def test_a_row_shows_its_affine_in_the_graph(page: Browser, report: Report) -> None:
    page.evaluate("document.querySelectorAll('a[data-shows]')[2].focus()")
    page.press("Enter")
    assert focused(page, "data-op") == report.affines[2].ops[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_it_is_legible(page: Browser, size: tuple[int, int, bool], dark: bool) -> None:
    width, height, phone = size
    page.view(width, height, dark=dark, phone=phone)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(item =>
            !item.closest('.canvas, .wide, .skip, thead') &&
            item.getBoundingClientRect().right > innerWidth + 1).map(item => item.outerHTML)"""
    )
    assert wide == []
    assert float(page.evaluate(_CONTRAST)) >= 4.5
    # Nothing that is read is drawn smaller than this, in pixels of the screen.
    assert float(page.evaluate(_SMALLEST)) >= 9


# The lowest contrast (WCAG 2, relative luminance) of a text with what lies behind it.
_CONTRAST = """(() => {
    const parts = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = item => {
        const box = item.closest('svg') && item.parentElement.querySelector('rect');
        if (item.tagName === 'text' && box && item.parentElement.tagName === 'g')
            return parts(getComputedStyle(box).fill);
        for (; item; item = item.parentElement) {
            const color = parts(getComputedStyle(item).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    let least = 21;
    document.querySelectorAll('main *').forEach(item => {
        const own = [...item.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || item.tagName === 'title' || !item.getClientRects().length) return;
        const style = getComputedStyle(item);
        const front = parts(item.tagName === 'text' ? style.fill : style.color);
        const [a, b] = [light(front), light(behind(item))].sort((x, y) => y - x);
        least = Math.min(least, (a + 0.05) / (b + 0.05));
    });
    return least;
})()"""
_SMALLEST = """Math.min(...[...document.querySelectorAll('main *')].filter(item =>
    item.getClientRects().length && item.tagName !== 'title' &&
    [...item.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(item => {
        const svg = item.closest('svg');
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
        return parseFloat(getComputedStyle(item).fontSize) * scale;
    }))"""


def large_model(path: Path, blocks: int) -> None:
    """Residual blocks of six ops, with a BatchNormalization now and then that stays."""
    rng = np.random.default_rng(5)
    nodes, weights, x = [], [], "x"

    def weight(name: str, *shape: int) -> str:
        data = np.abs(rng.standard_normal(shape)) + 0.5 if name.endswith("var") else None
        data = rng.standard_normal(shape) / 5 if data is None else data
        weights.append(nh.from_array(data.astype(np.float32), name))
        return name

    def norm(source: str, name: str) -> str:
        four = [weight(f"{name}.{part}", 4) for part in ("gamma", "beta", "mean", "var")]
        nodes.append(oh.make_node("BatchNormalization", [source, *four], [name], name=name))
        return name

    for number in range(blocks):
        y = x
        for turn in "ab":
            conv = f"conv{number}{turn}"
            kernel = weight(f"{conv}.w", 4, 4, 3, 3)
            nodes.append(oh.make_node("Conv", [y, kernel], [conv], name=conv, pads=[1] * 4))
            y = norm(conv, f"bn{number}{turn}")
        nodes.append(oh.make_node("Add", [y, x], [f"sum{number}"], name=f"sum{number}"))
        nodes.append(oh.make_node("Relu", [f"sum{number}"], [f"y{number}"], name=f"relu{number}"))
        x = f"y{number}"
        if number % 10 == 9:
            x = norm(x, f"stays{number}")
    ports = [oh.make_tensor_value_info(name, 1, ["N", 4, 8, 8]) for name in ("x", x)]
    graph = oh.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    onnx.save(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8), path)


def test_a_large_graph_is_collapsed_and_opens(browser: Browser, tmp_path: Path) -> None:
    large_model(tmp_path / "large.onnx", 50)
    report = api.inspect(tmp_path / "large.onnx")
    assert report.graphs is not None and len(report.graphs[0].nodes) == 305
    path = tmp_path / "large.html"
    path.write_text(render_html(report), encoding="utf-8")
    browser.view(1280, 900)
    browser.open(path)
    boxes = "document.querySelectorAll('[data-drawing]:not([hidden]) .graph .type').length"
    few = int(browser.evaluate(boxes))
    browser.evaluate("document.querySelector('[data-shape=all]').click()")
    assert browser.evaluate(boxes) == sum(len(view.nodes) for view in report.graphs) > few
    pressed = "document.querySelector('[data-shape=all]').getAttribute('aria-pressed')"
    assert browser.evaluate(pressed) == "true"
    # Both drawings scroll as one.
    browser.evaluate("document.querySelectorAll('.canvas')[0].scrollTop = 900")
    wait = "new Promise(done => setTimeout(done, 300))"
    browser.evaluate(wait)
    assert browser.evaluate("document.querySelectorAll('.canvas')[1].scrollTop") == 900
    # What stays is in sight; the folded ones are a click away.
    assert browser.evaluate("document.querySelector('#affines ~ details').open") is False
    rows = "document.querySelectorAll('#affines ~ .wide tbody tr').length"
    assert browser.evaluate(rows) == 5
    assert browser.complaints == []
