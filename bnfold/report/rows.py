"""The result of many models as data: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """What became of one model."""

    FOLDED = "folded"
    DONE_BEFORE = "done before"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One model of many.

    Attributes:
        source, output: paths; ``output`` was written only if the outcome is not FAILED.
        outcome: what became of it.
        folded, kept: number of affines.
        verified: whether the verification passed; None if there was none.
        seconds: wall time in the worker.
        error: one line, "" where nothing failed.
        exit_code: what the command line would have returned for this model alone.
    """

    source: str
    output: str
    outcome: Outcome
    folded: int = 0
    kept: int = 0
    verified: bool | None = None
    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
