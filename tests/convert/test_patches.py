"""Every change made to a library has an effect with the installed version, and is undone."""

from __future__ import annotations

from typing import Any

import pytest

from bnfold.convert import patches
from bnfold.convert.patches import PATCHES, Patch, installed, patched

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.apply.__name__)
def test_patch_is_in_effect_and_undone(keras3: Any, patch: Patch) -> None:
    from tf2onnx import utils
    from tf2onnx.graph import Graph
    from tf2onnx.optimizer import back_to_back_optimizer as back_to_back

    utils.INTERNAL_NAME = 4711

    def state() -> tuple[Any, ...]:
        key = ("Conv", "BatchNormalization")
        handler = back_to_back._func_map.get(key)
        return utils.INTERNAL_NAME, Graph.extract_sub_graph_nodes, handler

    before = state()
    undo = patch.apply()
    changed = [a is not b for a, b in zip(before, state(), strict=True)]
    undo()
    assert changed.count(True) == 1, "each row changes one thing"
    assert state() == before


def test_all_rows_fit_the_installed_versions(keras3: Any) -> None:
    with patched() as active:
        assert active == PATCHES


def test_everything_is_undone_after_an_error(keras3: Any) -> None:
    from tf2onnx.graph import Graph

    before = Graph.extract_sub_graph_nodes
    with pytest.raises(RuntimeError), patched():
        raise RuntimeError
    assert Graph.extract_sub_graph_nodes is before


@pytest.mark.parametrize(
    ("since", "before", "in_effect"),
    [((0,), (1000,), True), ((1000,), (1001,), False), ((0,), (0, 1), False)],
)
def test_versions_outside_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, since: Any, before: Any, in_effect: bool
) -> None:
    calls: list[str] = []

    def apply() -> Any:
        calls.append("applied")
        return lambda: calls.append("undone")

    monkeypatch.setattr(patches, "PATCHES", (Patch("onnx", since, before, "test", apply),))
    with patched() as active:
        assert bool(active) is in_effect
    assert calls == (["applied", "undone"] if in_effect else [])


def test_a_target_that_is_gone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply() -> Any:
        raise AttributeError("no such thing any more")

    monkeypatch.setattr(patches, "PATCHES", (Patch("onnx", (0,), (1000,), "test", apply),))
    with patched() as active:
        assert active == ()


def test_versions_as_numbers() -> None:
    assert installed("onnx") >= (1, 17)
    assert installed("no-such-distribution") == ()
