"""The report as GitHub workflow commands: annotations in a job's log."""

from __future__ import annotations

from bnfold.report import wording
from bnfold.report.model import Outcome, Report
from bnfold.verify.types import Status


def render_github(report: Report) -> str:
    """One annotation per failed check and per affine that stays, and one that sums up.

    The syntax is that of GitHub's "workflow commands".
    """
    lines = []
    for check in () if report.verification is None else report.verification.checks:
        if check.status is Status.FAILED:
            parts = (check.where, wording.figure(check), check.detail)
            text = "; ".join(part for part in parts if part)
            lines.append(_command("error", f"{check.code} {check.kind.value}".strip(), text))
    for row in report.affines:
        if row.outcome is not Outcome.FOLDED:
            text = "; ".join(wording.stop(stop) for stop in row.stops)
            hints = " ".join(dict.fromkeys(stop.hint for stop in row.stops))
            lines.append(_command("notice", f"{row.name} {row.outcome.value}", f"{text}. {hints}"))
    level = "notice" if report.passed else "error"
    text = "\n".join((wording.headline(report), *wording.failure_notes(report)))
    lines.append(_command(level, "bnfold", text))
    return "".join(f"{line}\n" for line in lines)


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
