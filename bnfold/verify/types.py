"""The result of a verification, as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnfold.verify.proof.types import Proof


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
    CERTIFICATE = "certificate"


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
class PartFigures:
    """One rewritten part on its own, original against folded on the same input.

    Attributes:
        ops: names of the folded model's ops in it.
        rounding: largest difference in the runtime as a share of the rounding bounds of both; None
            where it could not be run or bounded.
        channel: largest root mean square difference of a channel in float64 as a share of what the
            rounding of the constants does to it.
    """

    ops: tuple[str, ...]
    rounding: float | None
    channel: float


@dataclass(frozen=True)
class OutputComparison:
    """One output of the two models, compared in the real runtime.

    Attributes:
        name: the output.
        max_abs: largest absolute difference, original against folded.
        rmse_original, rmse_folded: distance of each from the float64 reference.
        argmax_agreement: share of rows with the same argmax, None where that has no meaning.
        where: index of the element with the largest difference, "" where there is none.
        ratio: rmse_folded / rmse_original, None where either is unknown or the latter zero.
        bound: what rmse_folded must not exceed, None where there is no float64 reference.
        bound_source: where the bound comes from, one line.
        size: root mean square of the output itself.
        ulp_median, ulp_99, ulp_max: distance of folded from original in units of the last place,
            the first two rounded up to a power of two; None for other than floating point.
        passed: whether the folded model's error stays within the bound; None if not judged.
    """

    name: str
    max_abs: float
    rmse_original: float | None
    rmse_folded: float | None
    argmax_agreement: float | None
    where: str = ""
    ratio: float | None = None
    bound: float | None = None
    bound_source: str = ""
    size: float = 0.0
    ulp_median: float | None = None
    ulp_99: float | None = None
    ulp_max: float | None = None
    passed: bool | None = None


@dataclass(frozen=True)
class Strength:
    """How small an error the run would have caught, and what it has not seen.

    Attributes:
        column_error: one kernel column scaled by 1 + this would have failed the float64 check, for
            every column that was tried and reaches an output; None if none was tried.
        columns: how many columns were tried, spread over all kernels.
        unseen: how many of them reach no output on these inputs.
        kernels: how many kernels they were spread over.
        weakest: the kernel whose column is hardest to see.
        activation_channels: channels that run into an activation with a kink.
        both_signs: how many of these saw values of both signs.
    """

    column_error: float | None
    columns: int
    unseen: int
    kernels: int
    weakest: str = ""
    activation_channels: int = 0
    both_signs: int = 0


@dataclass(frozen=True)
class Mutant:
    """One planted fault.

    Attributes:
        kind: "column", "shift", "epsilon", "channels", "relu", "border" or "axis".
        op: the op that it was planted in.
        detail: what was changed, one line.
        caught: whether some check failed.
        by: the code of the first check that failed, "" if none did.
        below_noise: whether its effect on the outputs is smaller than rounding's, so that nothing
            could tell it from a correct model.
    """

    kind: str
    op: str
    detail: str
    caught: bool
    by: str = ""
    below_noise: bool = False


@dataclass(frozen=True)
class MutationTest:
    """Faults planted on purpose, and how many the verification caught.

    Attributes:
        mutants: in the order they were planted.
        seed: of the choice of faults.
        seconds: wall time.
    """

    mutants: tuple[Mutant, ...]
    seed: int = 0
    seconds: float = 0.0

    @property
    def caught(self) -> int:
        """How many were caught."""
        return sum(mutant.caught for mutant in self.mutants)

    @property
    def below_noise(self) -> int:
        """How many were not caught because their effect is below the rounding noise."""
        return sum(mutant.below_noise and not mutant.caught for mutant in self.mutants)

    @property
    def missed(self) -> int:
        """How many were neither caught nor below the noise."""
        return len(self.mutants) - self.caught - self.below_noise


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
        difference: the first op where the models differ, in words, "" where they do not.
        strength: how small an error would have been caught, None if not measured.
        mutation: faults planted on purpose, None if not asked for.
        notes: what was skipped or cut short and why, for people.
        parts: the figures of each rewritten part that was judged, in the order of the graph.
        proof: what is proved for every input, by which argument; None if it was not attempted.
    """

    checks: tuple[Check, ...]
    outputs: tuple[OutputComparison, ...] = ()
    samples: int = 0
    seed: int = 0
    seconds: float = 0.0
    counterexample: Path | None = None
    difference: str = ""
    strength: Strength | None = None
    mutation: MutationTest | None = None
    notes: tuple[str, ...] = ()
    parts: tuple[PartFigures, ...] = ()
    proof: Proof | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """True when no check failed and at least one beside the interface passed."""
        passed = {check.kind for check in self.checks if check.status is Status.PASSED}
        failed = any(check.status is Status.FAILED for check in self.checks)
        return not failed and bool(passed - {CheckKind.INTERFACE})

    def _repr_html_(self) -> str:
        """The verdict and every check, for notebooks."""
        from bnfold.formats.htmltable import html_table

        verdict = "equivalent" if self.passed else "NOT shown to be equivalent"
        rows = [
            (
                check.kind.value,
                check.status.value,
                "" if check.figure is None else f"{check.figure:.3g}",
                "" if check.bound is None else f"{check.bound:.3g}",
                check.unit,
                f"{check.code} {check.detail}".strip(),
            )
            for check in self.checks
        ]
        caption = f"{verdict} ({self.samples} samples, seed {self.seed}, {self.seconds:.1f} s)"
        head = ("check", "status", "figure", "bound", "unit", "detail")
        return html_table(caption, head, rows)
