"""The report as JUnit XML: one test case per check and per affine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from bnfold.report import wording
from bnfold.report.model import AffineRow, Outcome, Report
from bnfold.verify.types import Check, Status

# What XML 1.0 has no way to write, escaped or not (production 2, Char).
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """The report as JUnit XML.

    A failed check is a failure; a check that could not run, and an affine that stays, are skipped
    test cases whose message is the reason.
    """
    root = ElementTree.Element("testsuites", {"name": "bnfold"})
    more = wording.failure_notes(report)
    cases = [_check(check, more) for check in _checks(report)]
    _suite(root, "verification", cases, _seconds(report))
    _suite(root, "affines", [_affine(row) for row in report.affines], 0.0)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _checks(report: Report) -> tuple[Check, ...]:
    return () if report.verification is None else report.verification.checks


def _seconds(report: Report) -> float:
    return 0.0 if report.verification is None else report.verification.seconds


def _suite(
    root: ElementTree.Element, name: str, cases: list[ElementTree.Element], took: float
) -> None:
    attributes = {
        "name": f"bnfold.{name}",
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{took:.3f}",
    }
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    suite.extend(cases)


def _check(check: Check, more: Sequence[str]) -> ElementTree.Element:
    case = _case("verification", check.kind.value + (f" {check.where}" if check.where else ""))
    text = "; ".join(part for part in (wording.figure(check), check.detail) if part)
    if check.status is Status.FAILED:
        failure = ElementTree.SubElement(case, "failure", {"message": _legal(text)})
        failure.set("type", _legal(check.code or check.kind.value))
        failure.text = _legal("\n".join((text, *more)))
    elif check.status is Status.SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": _legal(text)})
    else:
        _output(case, text)
    return case


def _affine(row: AffineRow) -> ElementTree.Element:
    case = _case("affines", row.name)
    if row.outcome is Outcome.FOLDED:
        _output(case, wording.placements(row.into))
    else:
        message = "; ".join(wording.stop(stop) for stop in row.stops)
        ElementTree.SubElement(case, "skipped", {"message": _legal(message)})
        _output(case, wording.placements(row.into))
    return case


def _case(suite: str, name: str) -> ElementTree.Element:
    return ElementTree.Element(
        "testcase", {"classname": f"bnfold.{suite}", "name": _legal(name), "time": "0"}
    )


def _output(case: ElementTree.Element, text: str) -> None:
    if text:
        ElementTree.SubElement(case, "system-out").text = _legal(text)


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
