"""The one exception by which pure algebra says that an affine cannot pass."""

from __future__ import annotations

from bnfold.core.diagnostics import Reason


class Blocked(Exception):  # noqa: N818 - a verdict, not an error; the walk turns it into a Refusal
    """An affine cannot pass or be absorbed here.

    Attributes:
        reason: the stable reason.
        detail: the particulars, for people.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.title}: {detail}")
        self.reason = reason
        self.detail = detail
