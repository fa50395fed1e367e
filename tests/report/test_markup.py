"""Markdown, JUnit and GitHub annotations, each read back by a real reader of its syntax."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePath
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from bnfold.core.errors import OutputError
from bnfold.report.build import build_report
from bnfold.report.model import Report, ReportKind
from bnfold.report.render import FORMATS, form_of, render
from tests.report import samples

HOSTILE = [
    "a|b",
    "`x`",
    "<img src=x onerror=alert(1)>",
    "# h\n## h",
    "100%\r\n::error::x",
    "*_[x](y)_*",
    "\\|",
    "a,b:c",
    "]]>&amp;\x00\x1b\uffff\ud800",
]


def cells(markdown: str) -> list[list[str]]:
    """The rows of the tables in a Markdown text, as a reader would see them."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for index, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and tokens[index - 1].type in ("td_open", "th_open"):
            assert token.children is not None
            assert {child.type for child in token.children} <= {"text", "text_special"}
            rows[-1].append("".join(child.content for child in token.children))
    return rows


def test_markdown_tables_hold_every_affine_and_figure() -> None:
    rows = cells(render(samples.fold_report(), "markdown"))
    assert {len(row) for row in rows} <= {3, 4}
    by_name = {row[0]: row for row in rows}
    assert by_name["batch_normalization"][1:] == ["784", "folded", "forward into dense"]
    assert "BNF203 padding-blocks-shift" in by_name["bn_after_relu"][3]
    assert by_name["weights"] == ["weights", "✅", "0.48 <= 1 ulp", "4 constants recomputed"]
    assert by_name["nodes"] == ["nodes", "14", "8"]


def test_markdown_head_shows_a_failure() -> None:
    assert render(samples.fold_report(samples.FAILING), "markdown").startswith("## ❌ bnfold: ")
    assert render(samples.fold_report(), "markdown").startswith("## ✅ bnfold: ")


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_hostile_names_as_text(name: str) -> None:
    text = render(samples.hostile_report(name), "markdown")
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert set(re.findall(r"<(\w+)", html)) <= {
        *("h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "blockquote"),
    }
    assert len({len(row) for row in cells(text) if "partly folded" in row}) == 1


def suites(report: Report) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(render(report, "junit").encode("utf-8"))
    assert root.tag == "testsuites"
    return {suite.attrib["name"]: suite for suite in root}


REPORTS = {
    "passing": samples.fold_report(),
    "failing": samples.fold_report(samples.FAILING),
    "failing again": replace(samples.fold_report(samples.FAILING), again="bnfold verify 'a b' c"),
    "thorough": samples.fold_report(samples.THOROUGH),
    "unverified": samples.fold_report(None),
    "empty": build_report(ReportKind.INSPECT),
    **{f"hostile {number}": samples.hostile_report(name) for number, name in enumerate(HOSTILE)},
}


@pytest.mark.parametrize("name", REPORTS)
def test_junit_is_valid_by_its_schema(name: str) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    schema = xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))
    schema.validate(ElementTree.fromstring(render(REPORTS[name], "junit").encode("utf-8")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('tests="3"', 'tests="three"'),
        ('time="0"', 'time="NaN"'),
        ("<testcase ", "<case "),
        ('name="bnfold.affines"', 'name="bnfold.verification"'),
        ("<failure ", "<broken "),
    ],
)
def test_junit_that_readers_refuse_is_found(old: str, new: str) -> None:
    xmlschema = pytest.importorskip("xmlschema")
    schema = xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))
    text = render(samples.fold_report(samples.THOROUGH), "junit")
    text += render(samples.fold_report(samples.FAILING), "junit").partition("?>")[2]
    whole = f"<all>{text.partition('?>')[2]}</all>".replace(old, new)
    whole = whole.replace(f"</{old[1:-1]}>", f"</{new[1:-1]}>")
    assert old not in whole
    assert not all(schema.is_valid(part) for part in ElementTree.fromstring(whole))


@pytest.mark.parametrize("verification", [samples.PASSING, samples.FAILING, None])
def test_junit_counts_are_those_of_its_cases(verification: None) -> None:
    for suite in suites(samples.fold_report(verification)).values():
        cases = suite.findall("testcase")
        assert suite.attrib["tests"] == str(len(cases))
        for tag, attribute in (("failure", "failures"), ("skipped", "skipped")):
            count = sum(case.find(tag) is not None for case in cases)
            assert suite.attrib[attribute] == str(count)
        assert all(case.attrib["name"] and case.attrib["classname"] for case in cases)


def test_junit_failure_and_reasons() -> None:
    found = suites(samples.fold_report(samples.FAILING))
    failure = found["bnfold.verification"].find("testcase/failure")
    assert failure is not None
    assert failure.attrib["type"] == "BNV301"
    assert "2.5 > 1.2" in failure.attrib["message"]
    skipped = found["bnfold.affines"].find("testcase[@name='bn_after_relu']/skipped")
    assert skipped is not None
    assert "BNF204" in skipped.attrib["message"]


@pytest.mark.parametrize("name", HOSTILE)
def test_junit_stays_well_formed_whatever_the_names(name: str) -> None:
    assert suites(samples.hostile_report(name))["bnfold.affines"].attrib["tests"] == "1"


COMMAND = re.compile(r"^::(error|notice) title=([^:,\r\n]*)::([^\r\n]*)$")


def annotations(report: Report) -> list[tuple[str, str, str]]:
    found = []
    for line in render(report, "github").splitlines():
        match = COMMAND.match(line)
        assert match, line
        level, title, message = match.groups()
        for code, char in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            title, message = title.replace(code, char), message.replace(code, char)
        found.append((level, title, message))
    return found


def test_github_annotations() -> None:
    found = annotations(samples.fold_report(samples.FAILING))
    assert [level for level, _, _ in found] == ["error", "notice", "notice", "error"]
    assert found[0][1:] == (
        "BNV301 end-to-end",
        "dense_1; 2.5 > 1.2 ratio of RMSE; 100% of rows, differ",
    )
    assert found[1][1] == "bn_after_relu kept"
    assert "BNF204" in found[1][2]
    lines = found[-1][2].split("\n")
    assert lines[0].startswith("2 of 4 affines folded")
    assert lines[1] == "NOT equivalent: 1 check failed"
    assert lines[-1] == "offending inputs: counterexample.npz"


@pytest.mark.parametrize("name", HOSTILE)
def test_github_annotations_cannot_be_forged_by_names(name: str) -> None:
    assert len(annotations(samples.hostile_report(name))) == 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", list(ReportKind))
def test_every_kind_renders_in_every_format(form: str, kind: ReportKind) -> None:
    text = render(
        build_report(kind, verification=samples.PASSING, benchmark=samples.BENCHMARK), form
    )
    assert text.endswith("\n")
    assert text == text.strip("\n") + "\n"


def test_formats_go_by_suffix() -> None:
    assert form_of("a/b.JSON") == "json"
    assert form_of(PurePath("report.xml")) == "junit"
    with pytest.raises(OutputError, match=r"unknown kind of report.*\.md"):
        form_of("report.pdf")
    with pytest.raises(ValueError, match="no report format"):
        render(samples.fold_report(), "pdf")
