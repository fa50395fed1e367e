"""The suite's figures as data that goes to JSON and comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The entrant that everything is compared with, and the limit.
UNFOLDED, TWIN = "unfolded", "bn-free twin"
#: A ratio - 1 that is not excluded, above which a ratio without a verdict says nothing.
USELESS_RESOLUTION = 0.15


@dataclass(frozen=True)
class Variant:
    """One model file of a case.

    Attributes:
        name: a tool, `UNFOLDED` or `TWIN`.
        problem: "" or why it does not take part.
        nodes, bytes: of the file.
        tool_seconds: wall time of the tool's process.
        load_ms: median session creation, ENABLE_ALL.
    """

    name: str
    problem: str = ""
    nodes: int = 0
    bytes: int = 0
    tool_seconds: float = 0.0
    load_ms: float = 0.0


@dataclass(frozen=True)
class Ratio:
    """`over` divided by `under` in time: above 1, `under` is the faster.

    Attributes:
        low, high: 95 % interval over launches.
        verdict: "faster", "slower", "no difference", said of `under`; beside an A/A control.
        resolution: ratio - 1 of the largest difference not excluded.
    """

    over: str
    under: str
    value: float
    low: float
    high: float
    verdict: str
    resolution: float

    @property
    def useless(self) -> bool:
        """True when the run could not tell even a large difference: noise, no figure."""
        return self.verdict == "no difference" and self.resolution > USELESS_RESOLUTION


@dataclass(frozen=True)
class Timing:
    """One case at one batch size and number of threads.

    Attributes:
        micros: variant to median microseconds per call.
        ratios: unfolded over every variant, then every peer and the twin over bnfold.
        control_low, control_high: interval of unfolded over itself.
    """

    batch: int
    threads: int
    launches: int
    micros: dict[str, float]
    ratios: tuple[Ratio, ...]
    control_low: float
    control_high: float

    def ratio(self, over: str, under: str) -> Ratio | None:
        """The ratio of two variants, where it was taken."""
        for ratio in self.ratios:
            if (ratio.over, ratio.under) == (over, under):
                return ratio
        return None


@dataclass(frozen=True)
class CaseResult:
    """All that was measured of one model."""

    name: str
    what: str
    problem: str = ""
    variants: tuple[Variant, ...] = ()
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True)
class SuiteResult:
    """One run of the suite."""

    environment: dict[str, str]
    versions: dict[str, str]
    seconds_per_model: float
    cases: tuple[CaseResult, ...] = field(default=())


def save(result: SuiteResult, path: Path) -> None:
    """Write as JSON."""
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> SuiteResult:
    """Read what `save` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return SuiteResult(**{**data, "cases": _cases(data["cases"])})


def save_partial(path: Path, settings: dict[str, Any], cases: Sequence[CaseResult]) -> None:
    """Write the models that are done, for a run that is taken up again."""
    data = {"settings": settings, "cases": [asdict(case) for case in cases]}
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(data) + "\n", encoding="utf-8")
    beside.replace(path)


def load_partial(path: Path, settings: dict[str, Any]) -> list[CaseResult]:
    """The models that an interrupted run with the same settings has done."""
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    return list(_cases(data["cases"])) if data["settings"] == settings else []


def _cases(data: Sequence[dict[str, Any]]) -> tuple[CaseResult, ...]:
    cases = []
    for case in data:
        timings = tuple(
            Timing(**{**row, "ratios": tuple(Ratio(**ratio) for ratio in row["ratios"])})
            for row in case["timings"]
        )
        variants = tuple(Variant(**row) for row in case["variants"])
        cases.append(CaseResult(**{**case, "timings": timings, "variants": variants}))
    return tuple(cases)
