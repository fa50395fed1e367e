"""Keras on the inputs that both models have been run on.

It comes last: Keras takes seconds to start, which it may do in a process of its own while all else
is being checked.
"""

from __future__ import annotations

import time

import numpy as np

from bnfold.verify.runtime import one_line
from bnfold.verify.sampling import Runners, Samples, Waiting


def run_keras(runners: Runners, samples: Samples, deadline: float) -> None:
    """Compare Keras's outputs, which come in the order of the model's, with all that waits for it.

    Args:
        runners: the models.
        samples: what `sample` left; its tallies are added to.
        deadline: on the clock of `time.monotonic`; at least one feed is run.
    """
    waiting, samples.waiting = samples.waiting, []
    for place, one in enumerate(waiting):
        if samples.keras_reason or (place and time.monotonic() > deadline):
            return
        samples.keras_reason = _compared(runners, samples, one)


def _compared(runners: Runners, samples: Samples, one: Waiting) -> str:
    """Run Keras on one feed and tally the differences; why it could not be run, or ""."""
    if runners.keras is None:
        return ""
    try:
        arrays = list(runners.keras([one.feed[name] for name in runners.keras_inputs]))
    except Exception as error:
        return f"Keras does not run: {one_line(error)}"
    if len(arrays) != len(samples.tallies):
        return f"Keras gives {len(arrays)} outputs, not {len(samples.tallies)}"
    for (name, tally), array in zip(samples.tallies.items(), arrays, strict=True):
        value, number = np.asarray(array), one.number
        tally.compare("keras-pair", value, one.folded[name], number, report=True)
        tally.compare("keras-original", value, one.original[name], number, report=False)
        if one.reference is not None:
            tally.compare("keras", one.reference[name], value, number, report=False)
    return ""
