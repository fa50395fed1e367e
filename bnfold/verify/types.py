"""The result of a verification, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class Status(enum.Enum):
    """Outcome of one check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class CheckKind(enum.Enum):
    """The questions a verification asks."""

    INTERFACE = "interface"
    WEIGHTS = "weights"
    ALGEBRA = "algebra"
    LOCAL = "local"
    END_TO_END = "end-to-end"
    KERAS = "keras"


@dataclass(frozen=True)
class Check:
    """One check with its figure beside its bound.

    Attributes:
        kind: which question.
        status: passed, failed, or skipped (then `detail` says why).
        figure: the measured figure, None where the check has none.
        bound: what the figure must not exceed; None where there is none.
        unit: what the two numbers are ("ulp", "relative", "ratio of RMSE", ...).
        detail: one line for people.
        code: stable code of the failure ("BNV101"...), "" when passed.
        where: the op, group or output that the figure belongs to.
    """

    kind: CheckKind
    status: Status
    figure: float | None
    bound: float | None
    unit: str
    detail: str
    code: str = ""
    where: str = ""


@dataclass(frozen=True)
class OutputComparison:
    """One output of the two models, compared in the real runtime.

    Attributes:
        name: the output.
        max_abs: largest absolute difference, original against folded.
        rmse_original, rmse_folded: distance of each from the float64 reference.
        argmax_agreement: share of rows with the same argmax, None where that has no meaning.
    """

    name: str
    max_abs: float
    rmse_original: float | None
    rmse_folded: float | None
    argmax_agreement: float | None


@dataclass(frozen=True)
class Verification:
    """The verdict on a pair of models.

    Attributes:
        checks: in the order they ran.
        outputs: end-to-end comparison of each output.
        samples: how many input rows were run.
        seed: seed of the generated inputs.
        seconds: wall time.
        counterexample: file with the offending inputs, where one was saved.
    """

    checks: tuple[Check, ...]
    outputs: tuple[OutputComparison, ...] = ()
    samples: int = 0
    seed: int = 0
    seconds: float = 0.0
    counterexample: Path | None = None

    @property
    def passed(self) -> bool:
        """True when at least one check passed and none failed."""
        statuses = [check.status for check in self.checks]
        return Status.PASSED in statuses and Status.FAILED not in statuses
