"""Which values of two models are equal, found by their data, and where the models part.

A folded model keeps most names but not all meanings: a kernel's output may carry the name of the
value before the normalization and the data of the one behind it. So values are matched by what
they hold on one input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.evaluate import Float64Model
from bnfold.verify.inputs import Feed
from bnfold.verify.noise import Perturbed

Array = NDArray[Any]

# Random projections per value. The root mean square of the projected differences estimates the
# norm of the difference (Johnson-Lindenstrauss); 4 suffice to tell equal from not equal.
_PROJECTIONS = 4
_DRAWS = 3
# Evaluations that a matching costs.
EVALUATIONS = _DRAWS + 2
# A value is equal to another up to this many times the noise that rounding makes of it.
_NOISE_FACTOR = 6.0
_FLOAT64_SLACK = 1e-12


@dataclass(frozen=True)
class Print:
    """What is kept of a value.

    Attributes:
        shape: of the array.
        norm: its Euclidean norm.
        projections: inner products with fixed random vectors.
    """

    shape: tuple[int, ...]
    norm: float
    projections: Array


class _Projector:
    """Fixed random vectors; a long value is split into rows, so that the vectors stay short."""

    _LENGTH = 4096

    def __init__(self) -> None:
        rng = np.random.default_rng(20_19)
        self._columns = rng.standard_normal((self._LENGTH, _PROJECTIONS))

    def __call__(self, array: Array) -> Print:
        flat = np.nan_to_num(array.astype(np.float64).ravel(), posinf=1e30, neginf=-1e30)
        rows = -(-flat.size // self._LENGTH)
        folded = np.zeros(self._LENGTH)
        signs = np.random.default_rng(rows).choice([-1.0, 1.0], rows)
        for row in range(rows):
            part = flat[row * self._LENGTH : (row + 1) * self._LENGTH]
            folded[: part.size] += signs[row] * part
        return Print(array.shape, float(np.linalg.norm(flat)), folded @ self._columns)


def fingerprints(model: Float64Model, feed: Feed) -> dict[str, Print]:
    """A print of every floating-point value that the model computes, in order."""
    project = _Projector()
    found: dict[str, Print] = {}

    def value(name: str, array: Array) -> Array:
        if array.dtype.kind == "f" and array.size:
            found[name] = project(array)
        return array

    model.run(feed, value=value)
    return found


def _noise(model: Perturbed, feed: Feed, exact: Mapping[str, Print], seed: int) -> dict[str, float]:
    """Per value, the root mean square projected difference that rounding makes."""
    rng = np.random.default_rng([seed, 2])
    total = dict.fromkeys(exact, 0.0)
    project = _Projector()

    def value(name: str, array: Array) -> Array:
        known = exact.get(name)
        if known is not None and known.shape == array.shape:
            total[name] += float(np.mean((project(array).projections - known.projections) ** 2))
        return array

    for _ in range(_DRAWS):
        model.run(feed, rng, observe=value)
    return {name: float(np.sqrt(t / _DRAWS)) for name, t in total.items()}


@dataclass(frozen=True)
class Matching:
    """Values of the folded model that equal values of the original.

    Attributes:
        pairs: folded value -> original value, in the folded model's order.
        computed: every value that the folded model computes and that could have matched.
    """

    pairs: Mapping[str, str]
    computed: frozenset[str]


def match_values(
    original: Perturbed,
    folded: Float64Model,
    feed: Feed,
    *,
    seed: int = 0,
) -> Matching:
    """Match the values of `folded` with those of `original` on one feed.

    Args:
        original, folded: the models, evaluated in float64.
        feed: the inputs.
        seed: of the random roundings.

    Raises:
        EvaluationError: if either cannot be evaluated.
    """
    ours = fingerprints(original.model, feed)
    noise = _noise(original, feed, ours, seed)
    theirs = fingerprints(folded, feed)
    pairs = _pair(ours, theirs, noise)
    return Matching(pairs, frozenset(theirs))


def _pair(
    ours: Mapping[str, Print], theirs: Mapping[str, Print], noise: Mapping[str, float]
) -> dict[str, str]:
    """Each folded value with the closest equal original value that no other one claims.

    The same name goes first, so that an activation that happens to change nothing is not taken for
    its own input.
    """
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, known in ours.items():
        by_shape.setdefault(known.shape, []).append(name)
    found = {
        name: name
        for name, seen in theirs.items()
        if name in ours and _distance(ours[name], seen, noise.get(name, 0.0)) <= 1.0
    }
    claimed = set(found)
    for name, seen in theirs.items():
        if name in found:
            continue
        rivals = [
            (_distance(ours[other], seen, noise.get(other, 0.0)), other)
            for other in by_shape.get(seen.shape, [])
            if other not in claimed
        ]
        nearest = min(rivals, key=lambda rival: rival[0], default=(np.inf, ""))
        if nearest[0] <= 1.0:
            found[name] = nearest[1]
            claimed.add(nearest[1])
    return {name: found[name] for name in theirs if name in found}


def _distance(a: Print, b: Print, noise: float) -> float:
    """How far apart two values are, as a share of what still counts as equal."""
    if a.shape != b.shape:
        return float("inf")
    distance = float(np.sqrt(np.mean((a.projections - b.projections) ** 2)))
    allowed = _NOISE_FACTOR * noise + _FLOAT64_SLACK * a.norm
    if allowed > 0:
        return distance / allowed
    return 0.0 if distance == 0 else float("inf")


@dataclass(frozen=True)
class Parting:
    """Where the two models stop being equal, on the way to one output.

    Attributes:
        op, op_type: the folded model's first op whose result equals nothing in the original.
        value: that result.
        behind: the last values that are equal.
        before: the next value after it that is equal again, or the output.
    """

    op: str
    op_type: str
    value: str
    behind: tuple[str, ...]
    before: str

    def __str__(self) -> str:
        known = ", ".join(f"'{name}'" for name in self.behind) or "the inputs"
        return (
            f"{known} still equal{'s' if len(self.behind) == 1 else ''} the original's; the first "
            f"difference on the way to '{self.before}' is at op '{self.op}' ({self.op_type})"
        )


def bisect(matching: Matching, folded: ir.Model, output: str) -> Parting | None:
    """Walk from an output back over values that match nothing, to the first op among them.

    None where nothing on the way differs.
    """
    producers = {out.name or "": node for node in folded.graph for out in node.outputs}
    order = {id(node): place for place, node in enumerate(folded.graph)}
    fed = {value.name or "" for value in folded.graph.inputs}
    first: tuple[int, ir.Node, str] | None = None
    behind: set[str] = set()
    waiting, seen = [output], {output}
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        known = name in matching.pairs and name != output
        if node is None or known:
            if known or name in fed:
                behind.add(name)
            continue
        place = order[id(node)]
        if name in matching.computed and (first is None or place < first[0]):
            first = (place, node, name)
        for value in node.inputs:
            if value is not None and (value.name or "") not in seen:
                seen.add(value.name or "")
                waiting.append(value.name or "")
    if first is None:
        return None
    _, node, name = first
    near = {value.name or "" for value in node.inputs if value is not None} & behind
    return Parting(node.name or name, node.op_type, name, tuple(sorted(near or behind)[:4]), output)
