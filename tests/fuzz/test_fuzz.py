"""A few hundred random graphs; thousands in scripts/fuzz_graphs.py."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .graphs import random_model
from .invariants import CannotRun, check_fold


class Drawn:
    """Choices that hypothesis can shrink."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_random_graphs(data: st.DataObject) -> None:
    model = random_model(Drawn(data))
    try:
        check_fold(model)
    except CannotRun:
        return
