"""Each rewritten part on its own: original against folded on the same input, within rounding.

A part is what lies between values that are equal in both models. Local, because a bound that is
propagated through a whole net is uselessly loose. Two questions for each part: in the runtime, is
the difference within the rounding bounds of both; and in float64, does any channel differ by more
than the rounding of the constants explains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.bounds import CHANNEL_NOISE
from bnfold.verify.codes import Fault
from bnfold.verify.dataflow import UNIT_ROUNDOFF, rounding_of
from bnfold.verify.evaluate import EvaluationError, Float64Model, Hook
from bnfold.verify.inputs import Feed, rows_of
from bnfold.verify.matching import EVALUATIONS, Matching, match_values
from bnfold.verify.noise import Perturbed
from bnfold.verify.parts import Part, find_parts
from bnfold.verify.prepare import Prepared, perturbed
from bnfold.verify.running_error import NoBoundError, error_bounds
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.types import Check, CheckKind, Status

Array = NDArray[Any]

# Draws of the noise of a part, and the slack for float64's own rounding, relative to the channel.
_DRAWS = 6
_FLOAT64_SLACK = 2.0**-43

Share = Callable[[Part, Mapping[str, Array]], float]


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
    affordable = [f for f in feeds[:4] if rows_of(f) * seconds_per_row * EVALUATIONS < left]
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
    if isinstance(ground, str):
        return [_skip(ground)]
    parts, uncut = ground.parts()
    if not parts and not uncut:
        return [_skip("no part was rewritten")]
    try:
        values = ground.values(parts)
    except EvaluationError as error:
        return [_skip(str(error))]
    rng = np.random.default_rng([seed, 4])
    by_chance: set[str] = set()

    def channels(part: Part, seen: Mapping[str, Array]) -> float:
        share = channel_share(part, seen, rng)
        if share > 1.0 and not matters(ground, part):
            by_chance.add(part.label)
            raise NoBoundError("equal to the original's only within the noise")
        return share

    def runtime(part: Part, seen: Mapping[str, Array]) -> float:
        if part.label in by_chance:
            raise NoBoundError("equal to the original's only within the noise")
        return _runtime_share(part, seen)

    runtime_unit, channel_unit = "of the rounding bound", "of what rounding does to the channel"
    late, bad = ground.deadline, Fault.LOCAL_ROUNDING
    by_channel = _worst(parts, uncut, values, channels, late, Fault.CONSTANTS, channel_unit)
    return [_worst(parts, uncut, values, runtime, late, bad, runtime_unit), by_channel]


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


def _worst(
    parts: Sequence[Part],
    uncut: Sequence[str],
    values: Mapping[str, Array],
    share: Share,
    deadline: float,
    fault: Fault,
    unit: str,
) -> Check:
    worst: tuple[float, str] | None = None
    done, reasons = 0, list(uncut)
    for part in parts:
        if time.monotonic() > deadline:
            reasons.append("the time budget was used up")
            break
        try:
            figure = share(part, values)
        except (NoBoundError, EvaluationError, RuntimeUnavailableError) as error:
            reasons.append(str(error))
            continue
        done += 1
        if worst is None or not figure <= worst[0]:
            worst = (figure, part.label)
    total = len(parts) + len(uncut)
    if worst is None:
        return _skip(f"none of {total} rewritten parts: {reasons[0]}")
    detail = f"{done} of {total} rewritten parts, each on the same input"
    if reasons:
        detail += f"; the others: {'; '.join(dict.fromkeys(reasons))}"
    held = worst[0] <= 1.0
    status = Status.PASSED if held else Status.FAILED
    code = "" if held else fault.code
    return Check(CheckKind.LOCAL, status, worst[0], 1.0, unit, detail, code, worst[1])


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


def _part_feeds(part: Part, values: Mapping[str, Array]) -> tuple[Feed, Feed]:
    """The same input for both regions, rounded to the type that the value has in the model."""
    feeds: tuple[Feed, Feed] = ({}, {})
    for (before, after), first, second in zip(
        part.inputs, part.original.graph.inputs, part.folded.graph.inputs, strict=True
    ):
        array = values[before]
        dtype = first.dtype.numpy() if first.dtype is not None else array.dtype
        feeds[0][first.name or before] = array.astype(dtype)
        feeds[1][second.name or after] = array.astype(dtype)
    return feeds


def _runtime_share(part: Part, values: Mapping[str, Array]) -> float:
    """Largest |original - folded| in the runtime over the sum of both rounding bounds."""
    results, bounds = [], []
    sides = zip((part.original, part.folded), _part_feeds(part, values), part.output, strict=True)
    for model, feed, output in sides:
        results.append(np.asarray(Session(model).run(feed)[output], dtype=np.float64))
        u = max(rounding_of(model).coarsest, UNIT_ROUNDOFF[ir.DataType.DOUBLE])
        rounded = model is part.folded
        bounds.append(error_bounds(Float64Model(model), feed, u, rounded=rounded)[output])
    allowed = bounds[0] + bounds[1]
    difference = np.abs(results[0] - results[1])
    finite = np.isfinite(results[0])
    if not np.isfinite(results[1][finite]).all():
        return float("inf")
    difference, allowed = difference[finite], np.broadcast_to(allowed, finite.shape)[finite]
    over = np.where(difference > 0, difference / np.maximum(allowed, np.finfo(float).tiny), 0.0)
    return float(over.max(initial=0.0))


def channel_share(
    part: Part,
    values: Mapping[str, Array],
    rng: np.random.Generator,
    change: Callable[[str, Array], Array] | None = None,
) -> float:
    """Largest root mean square difference of a channel in float64 over what its bound allows.

    Every axis but the first is tried as the channel axis. The bound is the effect of moving every
    constant and value of both regions by one rounding.

    Args:
        part: the two regions.
        values: the original's values, by name.
        rng: draws the roundings.
        change: replaces constants of the folded region, to plant an error.
    """
    feeds = _part_feeds(part, values)
    models = Float64Model(part.original), Float64Model(part.folded)
    still = [m.run(f)[o] for m, f, o in zip(models, feeds, part.output, strict=True)]
    other = still[1] if change is None else models[1].run(feeds[1], constant=change)[part.output[1]]
    if still[0].shape != other.shape:
        return float("inf")
    if still[0].dtype.kind != "f":
        return 0.0 if np.array_equal(still[0], other) else float("inf")
    noise = np.zeros(still[0].shape)
    for index, (ir_model, model) in enumerate(
        zip((part.original, part.folded), models, strict=True)
    ):
        moving = Perturbed(model, rounding_of(ir_model))
        for _ in range(_DRAWS):
            moved = moving.run(feeds[index], rng)[part.output[index]]
            noise += (moved - still[index]) ** 2 / _DRAWS
    squares = (other - still[0]) ** 2
    allowed = CHANNEL_NOISE**2 * noise + (_FLOAT64_SLACK * np.abs(still[0])) ** 2
    finite = np.isfinite(squares) & np.isfinite(allowed)
    if not np.isfinite(other[np.isfinite(still[0])]).all():
        return float("inf")
    squares, allowed = np.where(finite, squares, 0.0), np.where(finite, allowed, 0.0)
    return max((_marginal(squares, allowed, axis) for axis in range(1, squares.ndim)), default=0.0)


def _marginal(squares: Array, allowed: Array, axis: int) -> float:
    """Largest ratio of the two sums over everything but one axis, as root mean squares."""
    rest = tuple(a for a in range(squares.ndim) if a != axis)
    above, below = squares.sum(axis=rest), allowed.sum(axis=rest)
    ratio = np.where(above > 0, above / np.maximum(below, np.finfo(float).tiny), 0.0)
    return float(np.sqrt(ratio.max(initial=0.0)))
