"""Each rewritten part on its own: original against folded on the same input, within rounding.

A part is what lies between values that are equal in both models. Local, because a bound that is
propagated through a whole net is uselessly loose. Two questions for each part: in the runtime, is
the difference within the rounding bounds of both; and in float64, does any channel differ by more
than the rounding of the constants explains.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.channels import DRAWS, ChannelCheck, part_feeds
from bnfold.verify.codes import Fault
from bnfold.verify.dataflow import UNIT_ROUNDOFF, rounding_of
from bnfold.verify.evaluate import EvaluationError, Float64Model, Hook
from bnfold.verify.inputs import Feed, rows_of
from bnfold.verify.matching import EVALUATIONS, Matching, match_values
from bnfold.verify.parts import Part, find_parts
from bnfold.verify.prepare import Prepared, perturbed
from bnfold.verify.running_error import NoBoundError, error_bounds
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.types import Check, CheckKind, PartFigures, Status

Array = NDArray[Any]

# Evaluations of the whole model that the matching and all channel checks cost together.
_COST = EVALUATIONS + 2 * (DRAWS + 1)


@dataclass(frozen=True)
class Ground:
    """What local checks stand on: one feed, the original's values on it, and which match.

    Attributes:
        prepared: the models.
        matching: equal values of the two.
        feed: the inputs.
        deadline: on the clock of `time.monotonic`.
    """

    prepared: Prepared
    matching: Matching
    feed: Feed
    deadline: float

    def parts(self, *, unchanged: bool = False) -> tuple[list[Part], list[str]]:
        """The rewritten parts (or all) and why some could not be cut out."""
        return find_parts(
            self.prepared.original, self.prepared.folded, self.matching, unchanged=unchanged
        )

    def values(self, parts: Sequence[Part]) -> dict[str, Array]:
        """The original's values before the parts, in float64.

        Raises:
            EvaluationError: if the original cannot be evaluated.
        """
        names = {original for part in parts for original, _ in part.inputs}
        return _values(self.prepared.runners.original, names, self.feed)


def find_ground(
    prepared: Prepared, feeds: Sequence[Feed], seconds_per_row: float, *, seed: int, deadline: float
) -> Ground | str:
    """Match the two models' values on the largest of the first feeds that time allows.

    Returns the reason in place of it where that cannot be done.
    """
    noisy = perturbed(prepared.runners)
    if noisy is None or prepared.runners.stored is None:
        return prepared.float64_reason or "there is no float64 evaluation"
    if not feeds:
        return "no inputs could be run"
    left = deadline - time.monotonic()
    affordable = [f for f in feeds[:4] if rows_of(f) * seconds_per_row * _COST < left]
    if not affordable:
        return "not within the time budget"
    feed = max(affordable, key=rows_of)
    try:
        matching = match_values(noisy, prepared.runners.stored, feed, seed=seed)
    except EvaluationError as error:
        return str(error)
    return Ground(prepared, matching, feed, deadline)


def check_local(ground: Ground | str, *, seed: int) -> list[Check]:
    """Both questions over all rewritten parts; the largest share of its bound decides each."""
    return local_figures(ground, seed=seed)[0]


def local_figures(
    ground: Ground | str, *, seed: int
) -> tuple[list[Check], tuple[PartFigures, ...]]:
    """The checks of `check_local`, and the figures of every part that was judged.

    Parts are visited in random order, so that a short time is spread over the whole model.
    """
    if isinstance(ground, str):
        return [_skip(ground)], ()
    parts, uncut = ground.parts()
    if not parts and not uncut:
        return [_skip("no part was rewritten")], ()
    figures: dict[int, PartFigures] = {}
    rng = np.random.default_rng([seed, 4])
    runtime = _Worst(len(parts) + len(uncut), list(uncut))
    channels = _Worst(len(parts) + len(uncut), list(uncut))
    try:
        values = ground.values(parts)
        for index in rng.permutation(len(parts)):
            if time.monotonic() > ground.deadline:
                for worst in (runtime, channels):
                    worst.reasons.append("the time budget was used up")
                break
            part = parts[index]
            share = ChannelCheck(part, values, rng).share()
            if share > 1.0 and not matters(ground, part):
                for worst in (runtime, channels):
                    worst.reasons.append("equal to the original's only within the noise")
                continue
            channels.add(share, part)
            rounding = None
            try:
                rounding = _runtime_share(part, values)
                runtime.add(rounding, part)
            except (NoBoundError, RuntimeUnavailableError) as error:
                runtime.reasons.append(str(error))
            figures[index] = PartFigures(part.ops, rounding, share)
    except EvaluationError as error:
        return [_skip(str(error))], ()
    checks = [
        runtime.check(Fault.LOCAL_ROUNDING, "of the rounding bound"),
        channels.check(Fault.CONSTANTS, "of what rounding does to the channel"),
    ]
    return checks, tuple(figures[index] for index in sorted(figures))


@dataclass
class _Worst:
    """The part with the largest share of its bound so far.

    Attributes:
        total: how many parts there are.
        reasons: why some were left out.
        done: how many were judged.
        share, label: of the worst.
    """

    total: int
    reasons: list[str]
    done: int = 0
    share: float = -1.0
    label: str = ""

    def add(self, share: float, part: Part) -> None:
        """Take in one part; NaN is worse than anything."""
        self.done += 1
        if not share <= self.share:
            self.share, self.label = share, part.label

    def check(self, fault: Fault, unit: str) -> Check:
        """The verdict."""
        others = "; ".join(dict.fromkeys(self.reasons))
        if not self.done:
            return _skip(f"none of {self.total} rewritten parts: {others}")
        detail = f"{self.done} of {self.total} rewritten parts, each on the same input"
        if others:
            detail += f"; the others: {others}"
        held = self.share <= 1.0
        status = Status.PASSED if held else Status.FAILED
        code = "" if held else fault.code
        return Check(CheckKind.LOCAL, status, self.share, 1.0, unit, detail, code, self.label)


# An error counts when at least this share of it is found in the outputs' own error, and when that
# stands out of the rest by this many standard deviations.
_FOUND = 0.5
_DEVIATIONS = 4.0


def matters(ground: Ground, part: Part) -> bool:
    """Whether putting the original part in the folded one's place mends the folded model's outputs.

    Two values can be equal within the noise by chance where the fold meant them to differ: a
    channel that is multiplied by zero later, or a scale close to one. Then the outputs stay as they
    were, or become worse. With d the change of the outputs and e their error, the share of d that
    is found in e is <d, e> / <d, d>: 1 for a fault, 0 where nothing was to be mended.
    """
    runners = ground.prepared.runners
    if runners.original is None or runners.stored is None:
        return True
    reference = runners.original.run(ground.feed)
    folded = runners.stored.run(ground.feed)
    mended = runners.stored.run(ground.feed, value=_replacing(part, ground.feed))
    found, power, left, count = 0.0, 0.0, 0.0, 0
    for name, value in reference.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        change, error = folded[name] - mended[name], folded[name] - value
        known = np.isfinite(change) & np.isfinite(error)
        change, error = change[known], error[known]
        size = float(np.linalg.norm(error)) or 1.0
        found += float(change @ error) / size**2
        power += float(change @ change) / size**2
        rest = error - change
        left += float(rest @ rest) / size**2
        count += change.size
    if power <= 0 or count == 0:
        return False
    deviation = np.sqrt(left / count / power)
    return bool(found / power > _FOUND + _DEVIATIONS * deviation)


def _replacing(part: Part, feed: Feed) -> Hook:
    """A hook that computes the part's output as the original does, from the folded model's data."""
    names = {after: before for before, after in part.inputs}
    seen: dict[str, Array] = {names[k]: np.asarray(v) for k, v in feed.items() if k in names}
    region = Float64Model(part.original)

    def value(name: str, array: Array) -> Array:
        if name == part.output[1]:
            return region.run(seen)[part.output[0]]
        if name in names:
            seen[names[name]] = array
        return array

    return value


def _skip(reason: str) -> Check:
    return Check(CheckKind.LOCAL, Status.SKIPPED, None, None, "", reason)


def _values(model: Float64Model | None, names: set[str], feed: Feed) -> dict[str, Array]:
    """These values of the original on a feed, in float64."""
    kept: dict[str, Array] = {k: np.asarray(v) for k, v in feed.items() if k in names}

    def value(name: str, array: Array) -> Array:
        if name in names:
            kept[name] = array
        return array

    if model is not None:
        model.run(feed, value=value)
    return kept


def _runtime_share(part: Part, values: Mapping[str, Array]) -> float:
    """Largest |original - folded| in the runtime over the sum of both rounding bounds."""
    results, bounds = [], []
    sides = zip((part.original, part.folded), part_feeds(part, values), part.output, strict=True)
    for model, feed, output in sides:
        results.append(
            np.asarray(Session(model, optimize=False).run(feed)[output], dtype=np.float64)
        )
        u = max(rounding_of(model).coarsest, UNIT_ROUNDOFF[ir.DataType.DOUBLE])
        rounded = model is part.folded
        bound = error_bounds(Float64Model(model), feed, u, rounded=rounded)
        bounds.append(bound.get(output, np.zeros(())))  # what no data reaches is not computed
    allowed = bounds[0] + bounds[1]
    difference = np.abs(results[0] - results[1])
    finite = np.isfinite(results[0])
    if not np.isfinite(results[1][finite]).all():
        return float("inf")
    difference, allowed = difference[finite], np.broadcast_to(allowed, finite.shape)[finite]
    with np.errstate(over="ignore"):
        over = np.where(difference > 0, difference / np.maximum(allowed, np.finfo(float).tiny), 0)
    return float(over.max(initial=0.0))
