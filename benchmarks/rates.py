"""Verdicts counted, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from bnfold.bench.environment import describe_machine
from bnfold.verify.proof import Proof, ProofStatus

TOLERANCES = ((1e-3, 1e-5), (1e-5, 1e-5))


@dataclass
class Tally:
    """Verdicts on one set of pairs.

    Attributes:
        name: of the set.
        pairs: how many there were.
        failed: how many the verifier failed, with all checks.
        failed_alone: how many it failed by what runs alone.
        open, open_alone: of how many nothing could be shown.
        proved, refuted: of how many the proof says so.
        groups, groups_proved: folded groups of constants.
        named: faults only: refuted, and the op with the fault is among those named.
        allclose: by tolerance, how many pairs differed by more.
        equivalent: faults only: not caught, and shown to be below the noise, with all checks.
        equivalent_alone: the same by what runs alone.
        missed, missed_alone: descriptions of what was neither.
        unproved: right folds that are not proved, with the reason.
        alarms: descriptions of right folds that failed.
        seconds: wall time.
    """

    name: str
    pairs: int = 0
    failed: int = 0
    failed_alone: int = 0
    open: int = 0
    open_alone: int = 0
    proved: int = 0
    refuted: int = 0
    groups: int = 0
    groups_proved: int = 0
    named: int = 0
    allclose: list[int] = field(default_factory=lambda: [0] * len(TOLERANCES))
    equivalent: int = 0
    equivalent_alone: int = 0
    missed: list[str] = field(default_factory=list)
    missed_alone: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, proof: Proof | None) -> None:
        """Take in one proof."""
        if proof is None:
            return
        self.proved += proof.status is ProofStatus.PROVED
        self.refuted += proof.status is ProofStatus.REFUTED
        self.groups += len(proof.groups)
        self.groups_proved += sum(g.status is ProofStatus.PROVED for g in proof.groups)

    def add(self, other: Tally) -> None:
        """Take in the counts of another tally."""
        for item in fields(self):
            mine, its = getattr(self, item.name), getattr(other, item.name)
            if item.name == "allclose":
                self.allclose = [a + b for a, b in zip(mine, its, strict=True)]
            elif item.name != "name":
                setattr(self, item.name, mine + its)


@dataclass(frozen=True)
class Speed:
    """How long the proof of one large fold took.

    Attributes:
        name: what was folded.
        weights: how many numbers it holds.
        folds: how many affines were folded.
        proved: whether it is proved.
        seconds: of the processor, of each repetition.
    """

    name: str
    weights: int
    folds: int
    proved: bool
    seconds: tuple[float, ...]


def markdown(
    rights: Sequence[Tally], faults: Sequence[Tally], speeds: Sequence[Speed], command: str
) -> str:
    """The page of both rates."""
    blocks = [
        ["# How often the verifier is wrong"],
        [f"`{command}` on {describe_machine().get('cpu', 'a machine')}."],
        list(_alarms(rights)),
        list(_misses(faults)),
        list(_proofs(rights, faults)),
        list(_speeds(speeds)),
        list(_listed("Every wrong verdict", [x for t in (*rights, *faults) for x in _wrong(t)])),
        list(_listed("Right folds that are not proved", [x for t in rights for x in t.unproved])),
        list(_listed("Seen only by the proof", [x for t in faults for x in t.missed_alone])),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _wrong(tally: Tally) -> list[str]:
    return [*tally.alarms, *tally.missed]


def _alarms(rights: Sequence[Tally]) -> Iterator[str]:
    names = [f"allclose {rtol:g}/{atol:g}" for rtol, atol in TOLERANCES]
    yield "## False alarms: right folds that fail"
    yield ""
    yield from _table(
        (
            "right folds",
            "pairs",
            "bnfold, all checks",
            "bnfold, no proof (nothing to show)",
            *names,
        ),
        [
            (t.name, t.pairs, t.failed, f"{t.failed_alone} ({t.open_alone})", *t.allclose)
            for t in (*rights, _sum(rights))
        ],
    )


def _misses(faults: Sequence[Tally]) -> Iterator[str]:
    names = [f"allclose {rtol:g}/{atol:g} misses" for rtol, atol in TOLERANCES]
    yield "## Misses: planted faults that pass"
    yield ""
    yield "Below the noise: the fault moves every output by less than rounding everything once, so"
    yield "that no comparison of results can tell it from a right fold."
    yield ""
    yield from _table(
        (
            "faults",
            "pairs",
            "bnfold misses",
            "of these below the noise",
            "no proof: misses",
            "of these below the noise",
            *names,
        ),
        [
            (
                t.name,
                t.pairs,
                t.pairs - t.failed,
                t.equivalent,
                t.pairs - t.failed_alone,
                t.equivalent_alone,
                *(t.pairs - n for n in t.allclose),
            )
            for t in (*faults, _sum(faults))
        ],
    )


def _proofs(rights: Sequence[Tally], faults: Sequence[Tally]) -> Iterator[str]:
    yield "## What is proved for every input"
    yield ""
    yield from _table(
        ("right folds", "pairs", "proved", "refuted", "folded groups proved"),
        [
            (t.name, t.pairs, t.proved, t.refuted, f"{t.groups_proved} of {t.groups}")
            for t in rights
        ],
    )
    yield ""
    yield from _table(
        ("faults", "pairs", "proved equal", "refuted", "op named"),
        [(t.name, t.pairs, t.proved, t.refuted, t.named) for t in faults],
    )
    yield ""
    yield "A fault in what nothing reads, such as a channel that a gamma of zero follows, is proved"
    yield "equal: it is. One that is neither is seen, or not, by the checks that run."


def _speeds(speeds: Sequence[Speed]) -> Iterator[str]:
    if not speeds:
        return
    yield "## How long the proof of a large fold takes"
    yield ""
    yield from _table(
        ("net", "weights", "affines folded", "proved", "seconds of processor"),
        [
            (
                speed.name,
                f"{speed.weights:,}",
                speed.folds,
                "yes" if speed.proved else "no",
                f"{min(speed.seconds):.2f} to {max(speed.seconds):.2f}",
            )
            for speed in speeds
        ],
    )


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield f"## {title}"
    yield ""
    yield from (f"- {line}" for line in lines)


def _sum(tallies: Sequence[Tally]) -> Tally:
    total = Tally("all")
    for tally in tallies:
        total.add(tally)
    return total


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| --- |{' ---: |' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
