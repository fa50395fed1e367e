"""Both models on the same inputs, in every way that the checks need, feed by feed.

Labels of the differences that are summed up, against the original in float64 if nothing is said:

- ``exact``: the folded model with unrounded constants, in float64;
- ``stored``: the folded model with the constants that are in the file, in float64;
- ``noise``: original and folded model with every rounding of their own types random, each against
  itself without;
- ``fine``: the original with roundings 128 times those of float64, likewise;
- ``original``, ``folded``: both models in the runtime;
- ``keras``: what Keras computes.

Against one another: ``pair`` (folded, original in the runtime), ``keras-pair`` (folded in the
runtime, Keras) and ``keras-original`` (original in the runtime, Keras).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.codes import Fault
from bnfold.verify.dataflow import UNIT_ROUNDOFF, Rounding
from bnfold.verify.evaluate import BudgetError, EvaluationError, Float64Model
from bnfold.verify.inputs import Feed, rows_of
from bnfold.verify.noise import Perturbed
from bnfold.verify.runtime import RuntimeUnavailableError, Session, one_line
from bnfold.verify.tally import OutputTally

Array = NDArray[Any]
Reference = Callable[[list[Array]], Sequence[Array]]
Results = Mapping[str, Any]

logger = logging.getLogger(__name__)

# The unrounded pair must agree as closely as if each value were rounded 128 times more coarsely
# than float64 rounds: room for the accumulation of contractions thousands of terms long.
FINE_LEVEL = 128 * UNIT_ROUNDOFF[ir.DataType.DOUBLE]

# Past this share of the time until the deadline, no more than this many rows are run.
_ENOUGH_ROWS = 12
_EARLY = 0.25

OUT_OF_TIME = "one row in float64 takes longer than the time budget"

# Draws of the noise for the first feeds and for the later ones; even draws move the original's
# roundings, odd ones the folded model's.
_DRAWS_FIRST = 8
_DRAWS_LATER = 2
_FEEDS_WITH_MANY_DRAWS = 2


@dataclass
class Runners:
    """The two models in all forms.

    Attributes:
        original, stored: both in float64, with the constants that they store; None where float64
            cannot be had (`reason` says why).
        exact: the folded model with unrounded constants, if they are known.
        original_rounding, stored_rounding: where each rounds.
        runtime_original, runtime_folded: loaded in the runtime, or None.
        keras: runs Keras on the inputs in order.
        keras_inputs: names of the inputs in that order.
    """

    original: Float64Model | None
    stored: Float64Model | None
    exact: Float64Model | None
    original_rounding: Rounding
    stored_rounding: Rounding
    runtime_original: Session | SimulatedSession | None
    runtime_folded: Session | SimulatedSession | None
    keras: Reference | None
    keras_inputs: Sequence[str]


class SimulatedSession:
    """A model run in float64 with every result rounded to its own type.

    Stands in for the runtime where that cannot run the model.
    """

    def __init__(self, model: Float64Model, rounding: Rounding) -> None:
        self._model = model
        self._rounding = rounding

    def run(self, feeds: Feed) -> dict[str, Any]:
        """The outputs by name.

        Raises:
            RuntimeUnavailableError: if the model cannot be evaluated.
        """

        def value(name: str, array: Array) -> Array:
            roundoff = self._rounding.values.get(name)
            return array if roundoff is None else round_to(array, roundoff)

        try:
            return dict(self._model.run(feeds, value=value))
        except EvaluationError as error:
            raise RuntimeUnavailableError(one_line(error)) from error


def round_to(array: Array, roundoff: float) -> Array:
    """A float64 array rounded to the type with that unit roundoff, still as float64."""
    types = {2.0**-24: np.float32, 2.0**-11: np.float16}
    if array.dtype.kind != "f" or roundoff not in types:
        return array
    return np.asarray(array.astype(types[roundoff])).astype(np.float64)


@dataclass(frozen=True)
class Waiting:
    """The outputs of one feed, by name, that Keras is still to be compared with."""

    number: int
    feed: Feed
    reference: Results | None
    original: Results
    folded: Results


@dataclass
class Samples:
    """What came out.

    Attributes:
        tallies: by output name.
        rows, feeds: how many were run; `total_feeds` is how many there were.
        float64_reason, runtime_reason, keras_reason: why something could not be run, "" if it was.
        runtime_fault: why the folded model does not run where the original does, "" if it does.
        seconds_float64: of one evaluation of the original, per row.
        waiting: what `keras_runs.run_keras` still has to do.
    """

    tallies: dict[str, OutputTally]
    rows: int = 0
    feeds: int = 0
    total_feeds: int = 0
    float64_reason: str = ""
    runtime_reason: str = ""
    runtime_fault: str = ""
    keras_reason: str = ""
    seconds_float64: float = 0.0
    fault_feed: int = -1
    waiting: list[Waiting] = field(default_factory=list)


def sample(
    runners: Runners,
    feeds: Sequence[Feed],
    outputs: Sequence[str],
    *,
    seed: int,
    deadline: float,
    observe: Callable[[str, Array], Array] | None = None,
    known: tuple[str, str, str] = ("", "", ""),
    progress: Callable[[float], None] | None = None,
) -> Samples:
    """Run everything but Keras on the feeds until the deadline; the first feed is always begun.

    Args:
        runners: the models.
        feeds: the inputs.
        outputs: names of the outputs to compare.
        seed: of the random roundings.
        deadline: on the clock of `time.monotonic`.
        observe: sees each value of the original in float64.
        known: reasons why there is no float64, why no runtime, and why the folded model does not
            load in it, "" where there are none.
        progress: is told the share of the feeds that have been run, 0 to 1.
    """
    coarse = runners.original_rounding.coarsest > UNIT_ROUNDOFF[ir.DataType.FLOAT]
    tallies = {name: OutputTally(name, coarse=coarse) for name in outputs}
    result = Samples(tallies, total_feeds=len(feeds))
    result.float64_reason, result.runtime_reason, result.runtime_fault = known
    rng = np.random.default_rng([seed, 1])
    early = time.monotonic() + _EARLY * (deadline - time.monotonic())
    for number, feed in enumerate(feeds):
        if number and time.monotonic() > (early if result.rows >= _ENOUGH_ROWS else deadline):
            break
        reference = _float64(runners, feed, number, result, rng, deadline, observe)
        if reference is None and result.float64_reason == OUT_OF_TIME and number:
            result.float64_reason = ""
            break
        original, folded = _runtime(runners, feed, number, result, reference)
        if runners.keras is not None and original is not None and folded is not None:
            result.waiting.append(Waiting(number, feed, reference, original, folded))
        result.rows += rows_of(feed)
        result.feeds += 1
        if progress is not None:
            progress(result.feeds / len(feeds))
        if result.runtime_fault:
            break
    return result


def _float64(
    runners: Runners,
    feed: Feed,
    number: int,
    result: Samples,
    rng: np.random.Generator,
    deadline: float,
    observe: Callable[[str, Array], Array] | None,
) -> Results | None:
    """The original's outputs in float64; the candidates and the noise are tallied."""
    if runners.original is None or result.float64_reason:
        return None
    start = time.monotonic()
    try:
        reference = runners.original.run(feed, value=observe, deadline=deadline)
    except BudgetError:
        result.float64_reason = OUT_OF_TIME
        return None
    except EvaluationError as error:
        result.float64_reason = one_line(error)
        return None
    took = time.monotonic() - start
    result.seconds_float64 = took / max(1, rows_of(feed))
    for name, tally in result.tallies.items():
        _see_size(tally, reference[name], number)
    stored = None
    for label, model in (("exact", runners.exact), ("stored", runners.stored)):
        if model is None:
            continue
        try:
            stored = model.run(feed)
        except EvaluationError as error:
            result.runtime_fault = result.runtime_fault or f"in float64: {one_line(error)}"
            result.fault_feed = number
            return reference
        for name, tally in result.tallies.items():
            tally.compare(label, reference[name], stored[name], number, report=True)
    left = max(0.0, deadline - time.monotonic())
    if stored is not None:
        _noise(runners, feed, number, result, rng, (reference, stored), left, took)
    return reference


def _see_size(tally: OutputTally, reference: Any, number: int) -> None:
    for array in reference if isinstance(reference, list) else [reference]:
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            tally.not_finite += int(array.size - finite.sum())
            tally.size.add(np.where(finite, array, 0.0), number)


def _noise(
    runners: Runners,
    feed: Feed,
    number: int,
    result: Samples,
    rng: np.random.Generator,
    still: tuple[Results, Results],
    left: float,
    took: float,
) -> None:
    """Tally the effect of random roundings; fewer draws where time is short, at least one.

    `still` holds the results of both models without them.
    """
    if runners.original is None or runners.stored is None:
        return
    both = (
        Perturbed(runners.original, runners.original_rounding),
        Perturbed(runners.stored, runners.stored_rounding),
    )
    draws = _DRAWS_FIRST if number < _FEEDS_WITH_MANY_DRAWS else _DRAWS_LATER
    affordable = int(0.5 * left / took) if took > 0 else draws
    draws = max(1, min(draws, affordable))
    plan: list[tuple[str, float | None, int]] = [("noise", None, d % 2) for d in range(draws)]
    if runners.exact is not None:
        plan += [("fine", FINE_LEVEL, 0)] * max(1, draws // 2)
    for label, level, which in plan:
        try:
            moved = both[which].run(feed, rng, level=level)
        except EvaluationError as error:
            logger.debug("a draw of the noise failed: %s", error)
            continue
        for name, tally in result.tallies.items():
            tally.compare(label, still[which][name], moved[name], number, report=False)


def _runtime(
    runners: Runners, feed: Feed, number: int, result: Samples, reference: Results | None
) -> tuple[Results | None, Results | None]:
    """Both models in the runtime; tallied against the reference and one another."""
    if runners.runtime_original is None or runners.runtime_folded is None:
        return None, None
    try:
        original = runners.runtime_original.run(feed)
    except RuntimeUnavailableError as error:
        result.runtime_reason = str(error)
        return None, None
    try:
        folded = runners.runtime_folded.run(feed)
    except RuntimeUnavailableError as error:
        result.runtime_fault = str(error)
        result.fault_feed = number
        return original, None
    for name, tally in result.tallies.items():
        before, after = original[name], folded[name]
        _same_type(tally, before, after, number)
        tally.compare("pair", before, after, number, report=True)
        if _alike(before, after):
            tally.ulps.add(before, after)
        if reference is None:
            continue
        tally.compare("original", reference[name], before, number, report=False)
        tally.compare("folded", reference[name], after, number, report=False)
        if isinstance(reference[name], np.ndarray) and isinstance(before, np.ndarray):
            tally.see_argmax(reference[name], before, np.asarray(after), number)
    return original, folded


def _same_type(tally: OutputTally, before: Any, after: Any, number: int) -> None:
    arrays = isinstance(before, np.ndarray) and isinstance(after, np.ndarray)
    if arrays and before.dtype != after.dtype:
        text = f"{after.dtype} instead of {before.dtype}"
        tally.faults.append((Fault.RUN_TYPE, text, number))


_WITH_ULPS = frozenset(np.dtype(t) for t in (np.float16, np.float32, np.float64))


def _alike(before: Any, after: Any) -> bool:
    return (
        isinstance(before, np.ndarray)
        and isinstance(after, np.ndarray)
        and before.dtype in _WITH_ULPS
        and before.dtype == after.dtype
        and before.shape == after.shape
    )
