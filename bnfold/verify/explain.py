"""When a check failed: where the models part, and the inputs that show it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bnfold.core.errors import OutputError
from bnfold.verify.evaluate import EvaluationError
from bnfold.verify.inputs import Feed, save_feed
from bnfold.verify.matching import bisect, match_values
from bnfold.verify.prepare import Prepared, perturbed
from bnfold.verify.sampling import Samples
from bnfold.verify.verdicts import failing_outputs, offending_feed

logger = logging.getLogger(__name__)


def explain(prepared: Prepared, samples: Samples, feeds: Sequence[Feed], *, seed: int) -> str:
    """The first op where the models differ, in words; "" where nothing differs on the inputs."""
    runners = prepared.runners
    noisy = perturbed(runners)
    if noisy is None or runners.stored is None:
        return ""
    number = max(0, offending_feed(samples))
    try:
        matching = match_values(
            noisy,
            runners.stored,
            feeds[number],
            seed=seed,
        )
    except EvaluationError as error:
        logger.debug("no bisection: %s", error)
        return ""
    for output in failing_outputs(samples):
        parting = bisect(matching, prepared.folded, output)
        if parting is not None:
            return str(parting)
    return ""


def save_counterexample(
    samples: Samples, feeds: Sequence[Feed], path: str | Path | None
) -> Path | None:
    """Write the inputs that show the fault best; None without a path or such inputs.

    Raises:
        OutputError: if the file cannot be written.
    """
    number = offending_feed(samples)
    if path is None or number < 0:
        return None
    try:
        return save_feed(feeds[number], Path(path))
    except OSError as error:
        raise OutputError(f"{path}: the offending inputs cannot be written ({error}).") from error
