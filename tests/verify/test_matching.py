"""Which values are equal, where two models part, and how they are cut into parts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.verify.dataflow import rounding_of
from bnfold.verify.evaluate import Float64Model
from bnfold.verify.inputs import Feed, generate_inputs
from bnfold.verify.matching import Matching, bisect, match_values
from bnfold.verify.noise import Perturbed
from bnfold.verify.parts import find_parts
from tests.verify.pairs import Graph, Pair, conv, forward, mlp


def match(original: ir.Model, folded: ir.Model, feed: Feed | None = None) -> Matching:
    feed = feed or generate_inputs(original, samples=8)[2 if original else 0]
    noisy = Perturbed(Float64Model(original), rounding_of(original))
    return match_values(noisy, Float64Model(folded), feed)


def test_a_fold_matches_at_every_value_it_kept() -> None:
    pair = mlp(1)
    assert match(pair.original, pair.folded).pairs == {
        name: name for name in ("n0", "h0", "n1", "h1", "n2", "y")
    }


def test_names_do_not_decide() -> None:
    """The product's result carries another value's name; it equals the normalized one."""
    pair = mlp(1)
    for node, name in zip(pair.folded.graph, ("d0", "a", "d1", "b", "d2"), strict=False):
        node.outputs[0].name = name
    pairs = match(pair.original, pair.folded).pairs
    assert pairs == {"d0": "n0", "a": "h0", "d1": "n1", "b": "h1", "d2": "n2", "y": "y"}


def test_an_activation_that_changes_nothing_is_not_taken_for_its_input() -> None:
    pair = mlp(1)
    pair.folded.graph.node(0).outputs[0].name = "d0"
    for weights in (pair.original, pair.folded):
        name = "n0_beta" if weights is pair.original else "B0"
        tensor = weights.graph.initializers[name].const_value.numpy() + np.float32(50)
        weights.graph.initializers[name].const_value = ir.Tensor(tensor, name=name)
    pairs = match(pair.original, pair.folded).pairs
    assert pairs["d0"] == "n0" and pairs["h0"] == "h0"


@pytest.mark.parametrize("family", [mlp, conv, forward])
def test_half_precision_noise_is_no_difference(family: object) -> None:
    pair: Pair = family(2, dtype=np.float16)  # type: ignore[operator]
    assert match(pair.original, pair.folded).pairs["y"] == "y"


@pytest.mark.parametrize("fault", ["epsilon", "column", "shift"])
def test_bisection_stops_at_the_first_op_that_differs(fault: str) -> None:
    pair = mlp(1, fault=fault)
    matching = match(pair.original, pair.folded)
    parting = bisect(matching, pair.folded, "y")
    assert parting is not None
    assert (parting.op, parting.op_type, parting.value) == ("gemm_n1", "Gemm", "n1")
    assert parting.behind == ("h0",) and parting.before == "y"
    assert "'h0' still equals" in str(parting) and "'gemm_n1' (Gemm)" in str(parting)


def test_bisection_of_equal_models_names_nothing_but_the_output() -> None:
    pair = mlp(1)
    parting = bisect(match(pair.original, pair.folded), pair.folded, "y")
    assert parting is not None and parting.value == "y"
    assert bisect(Matching({}, frozenset()), pair.folded, "y") is None


def test_parts_are_the_rewritten_regions() -> None:
    pair = mlp(1)
    parts, uncut = find_parts(pair.original, pair.folded, match(pair.original, pair.folded))
    assert not uncut
    assert [part.output for part in parts] == [("n0", "n0"), ("n1", "n1"), ("n2", "n2")]
    assert [part.inputs for part in parts] == [
        (("x", "x"),),
        (("h0", "h0"),),
        (("h1", "h1"),),
    ]
    assert [n.op_type for n in parts[1].original.graph] == ["Gemm", "BatchNormalization"]
    assert [n.op_type for n in parts[1].folded.graph] == ["Gemm"]
    assert parts[1].label == "gemm_n1"


def test_unchanged_ops_are_parts_only_when_asked_for() -> None:
    pair = conv(1)
    matching = match(pair.original, pair.folded)
    changed, _ = find_parts(pair.original, pair.folded, matching)
    every, _ = find_parts(pair.original, pair.folded, matching, unchanged=True)
    assert [part.output[1] for part in changed] == ["n"]
    assert [part.output[1] for part in every] == ["n", "r", "y"]


def test_a_changed_constant_or_attribute_makes_a_part() -> None:
    def model(alpha: float, weight: float) -> ir.Model:
        graph = Graph()
        graph.weight("w", np.full((4, 4), weight), np.float32)
        graph.op("LeakyRelu", "x", to="a", alpha=alpha)
        graph.op("MatMul", "a", "w", to="y")
        return graph.model(np.float32, {"x": ["N", 4]}, {"y": ["N", 4]})

    same = Matching({"a": "a", "y": "y"}, frozenset({"a", "y"}))
    for other, changed in (((0.1, 1.0), []), ((0.2, 1.0), ["a"]), ((0.1, 2.0), ["y"])):
        parts, _ = find_parts(model(0.1, 1.0), model(*other), same)
        assert [part.output[0] for part in parts] == changed
