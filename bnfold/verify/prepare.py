"""A pair of models, loaded in every form that the checks need."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bnfold.verify.dataflow import Rounding, rounding_of
from bnfold.verify.evaluate import EvaluationError, Float64Model
from bnfold.verify.inputs import Feed
from bnfold.verify.interface import required
from bnfold.verify.lift import random_op
from bnfold.verify.noise import Perturbed
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.sampling import Reference, Runners, SimulatedSession


@dataclass(frozen=True)
class Prepared:
    """A pair of models in every form.

    Attributes:
        original, folded: the models.
        runners: both in float64 and in the runtime.
        float64_reason: why there is no float64 evaluation, "" if there is.
        runtime_reason: why there is no runtime, "" if there is (or a stand-in).
        runtime_fault: why the folded model does not load where the original does, "" if it does.
        notes: for people.
    """

    original: ir.Model
    folded: ir.Model
    runners: Runners
    float64_reason: str = ""
    runtime_reason: str = ""
    runtime_fault: str = ""
    notes: tuple[str, ...] = ()

    def runs(self, feed: Feed) -> bool:
        """Whether the original runs on a feed, in whatever can run it."""
        session = self.runners.runtime_original
        try:
            if session is not None:
                session.run(feed)
            elif self.runners.original is not None:
                self.runners.original.run(feed)
        except (RuntimeUnavailableError, EvaluationError):
            return False
        return True


def prepare(
    original: ir.Model,
    folded: ir.Model,
    lifted: tuple[ir.Model, ir.Model] | None,
    reference: Reference | None,
) -> Prepared:
    """Load both models; whatever cannot be loaded is None, with the reason."""
    notes: list[str] = []
    allowed = rounding_of(original)
    rounding = allowed, rounding_of(folded).no_coarser_than(allowed.coarsest)
    random = random_op(original) or random_op(folded)
    float64: list[Float64Model | None] = [None, None, None]
    reason = random
    if not random:
        try:
            float64[0] = Float64Model(original)
            float64[1] = Float64Model(folded)
            float64[2] = Float64Model(lifted[1]) if lifted is not None else None
        except EvaluationError as error:
            reason, float64 = str(error), [None, None, None]
    sessions, runtime_reason, fault = _sessions(original, folded, float64, rounding, notes)
    if random:
        sessions, runtime_reason = (None, None), random
    names = [value.name or "" for value in required(original)]
    runners = Runners(float64[0], float64[1], float64[2], *rounding, *sessions, reference, names)
    return Prepared(original, folded, runners, reason, runtime_reason, fault, tuple(notes))


Sessions = tuple[Session | SimulatedSession | None, Session | SimulatedSession | None]


def _sessions(
    original: ir.Model,
    folded: ir.Model,
    float64: list[Float64Model | None],
    rounding: tuple[Rounding, Rounding],
    notes: list[str],
) -> tuple[Sessions, str, str]:
    """Both in onnxruntime; if it cannot load the original, both with every result rounded."""
    try:
        first = Session(original)
    except RuntimeUnavailableError as error:
        if float64[0] is None or float64[1] is None:
            return (None, None), f"onnxruntime does not load the original: {error}", ""
        notes.append(
            f"onnxruntime does not load the original ({error}); in its place both models are "
            "evaluated with every result rounded to its own type."
        )
        pair = tuple(
            SimulatedSession(model, how)
            for model, how in zip(float64[:2], rounding, strict=True)
            if model is not None
        )
        return (pair[0], pair[1]), "", ""
    try:
        return (first, Session(folded)), "", ""
    except RuntimeUnavailableError as error:
        return (first, None), "", str(error)


def perturbed(runners: Runners) -> Perturbed | None:
    """The original with random roundings, None where there is no float64 evaluation."""
    if runners.original is None:
        return None
    return Perturbed(runners.original, runners.original_rounding)
