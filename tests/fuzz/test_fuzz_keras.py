"""Some random Keras nets of either generation; thousands in scripts/fuzz_keras.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .invariants import CannotRun
from .keras_nets.grow import random_recipe
from .keras_nets.invariants import check_recipe

# Where they start makes them other nets than those that the script begins with.
FIRST = 500_000


@pytest.fixture(scope="session")
def keras_of() -> dict[int, Any]:
    """Both generations of Keras."""
    pytest.importorskip("tf2onnx")
    pytest.importorskip("tf_keras")
    from bnfold.formats.keras import runtime

    return {3: runtime.import_keras(), 2: runtime.import_tf_keras()}


def _check(count: int, first: int, keras_of: dict[int, Any], folder: Path) -> None:
    """Hold ``count`` nets to every invariant; most of them must be nets that can be run."""
    counts: Counter[str] = Counter()
    broken = {}
    for seed in range(first, first + count):
        recipe = random_recipe(seed)
        try:
            checked = check_recipe(recipe, keras_of[recipe.generation], folder)
        except CannotRun:
            continue
        except Exception as error:
            broken[seed] = f"{type(error).__name__}: {error}"
            continue
        counts["run"] += 1
        counts["folds"] += checked.folds
        counts["refused"] += bool(checked.refused)
    assert not broken, "see them with scripts/fuzz_keras.py --only SEED"
    assert counts["run"] > 0.7 * count
    assert counts["folds"] > 0.5 * count
    assert counts["refused"] < 0.1 * count


@pytest.mark.keras
def test_random_nets(keras_of: dict[int, Any], tmp_path: Path) -> None:
    _check(25, FIRST, keras_of, tmp_path)


@pytest.mark.keras
@pytest.mark.slow
def test_many_random_nets(keras_of: dict[int, Any], tmp_path: Path) -> None:
    _check(200, FIRST + 25, keras_of, tmp_path)
