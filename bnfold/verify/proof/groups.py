"""Which changed constants took up which affines, gathered from what the folded model matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from bnfold.verify.proof.base_table import Landing
from bnfold.verify.proof.kernel_table import KernelHit
from bnfold.verify.proof.rounding import FLOAT32
from bnfold.verify.proof.types import GroupProof, ProofStatus


@dataclass(eq=False)
class _Group:
    ops: set[str] = field(default_factory=set)
    into: set[str] = field(default_factory=set)
    kernels: int = 0
    kernel_ulps: float = 0.0
    shift_ulps: float = 0.0
    bound: float = FLOAT32.limit
    failed: bool = False


class Union:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, names: Iterable[str]) -> None:
        roots = [self.find(name) for name in names]
        for root in roots[1:]:
            self._parent[root] = self.find(roots[0])


def grouped(
    hits: Collection[KernelHit],
    misses: Collection[KernelHit],
    landings: Collection[Landing],
    proved: bool,
    refuted: Collection[str],
) -> tuple[GroupProof, ...]:
    """The groups, in the order of the folded model's ops.

    Args:
        hits: kernels found, changed or not.
        misses: kernels that are not what the relation demands.
        landings: values found to be the original's, up to rounding.
        proved: whether all outputs are proved; a group is not proved by itself.
        refuted: ops of the folded model that surely hold wrong constants.
    """
    makers: dict[int, list[str]] = defaultdict(list)
    for hit in [*hits, *misses]:
        makers[hit.entry.number].append(hit.op)
    union = Union()
    links: list[tuple[set[str], set[str], KernelHit | Landing]] = []
    for hit in [*hits, *misses]:
        if hit.removed or not hit.match.identical:
            links.append((set(hit.removed), {hit.op}, hit))
    for landing in landings:
        traces = landing.base.traces if landing.base is not None else ()
        into = {op for trace in traces for k in trace.kernels for op in makers.get(k, ())}
        if landing.removed:
            links.append((set(landing.removed), into, landing))
        elif into and landing.gap.size > 0:
            links.append((set(), into, landing))
    for removed, into, _ in links:
        union.join([*(f"-{name}" for name in removed), *(f"+{name}" for name in into)])
    found: dict[str, _Group] = {}
    failed = {miss.op for miss in misses} & set(refuted)
    for removed, into, event in links:
        names = [*(f"-{name}" for name in sorted(removed)), *(f"+{n}" for n in sorted(into))]
        if not names:
            continue
        group = found.setdefault(union.find(names[0]), _Group())
        group.ops |= removed
        group.into |= into
        group.failed |= bool(into & failed)
        if isinstance(event, KernelHit):
            group.kernels += not event.match.identical
            group.kernel_ulps = max(group.kernel_ulps, event.match.ulps)
            group.bound = event.entry.kernel.grain.limit
        else:
            group.shift_ulps = max(group.shift_ulps, event.gap.size)
    return tuple(_described(group, proved) for group in found.values())


def _described(group: _Group, proved: bool) -> GroupProof:
    status = (
        ProofStatus.PROVED
        if proved
        else (ProofStatus.REFUTED if group.failed else ProofStatus.UNKNOWN)
    )
    ulps = max(group.kernel_ulps, group.shift_ulps)
    if group.kernels:
        what = f"{group.kernels} kernel{'s' * (group.kernels > 1)} and the biases"
    else:
        what = "the biases"
    argument = (
        f"{what} are, element by element, what the relation demands of them, rounded"
        if status is ProofStatus.PROVED
        else f"{what} compared element by element: {ulps:.3g} ulp off"
    )
    return GroupProof(
        tuple(sorted(group.ops)), tuple(sorted(group.into)), status, argument, ulps, group.bound
    )
