"""Planted faults: each kind changes what it says, and the test counts them honestly."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnfold.verify.compare import verify_models
from bnfold.verify.evaluate import Float64Model
from bnfold.verify.inputs import generate_inputs
from bnfold.verify.mutate import (
    KINDS,
    NoPlaceError,
    is_below_noise,
    mutation_test,
    plant,
    plant_any,
)
from bnfold.verify.types import Check, CheckKind, Mutant, MutationTest, Status, Verification
from tests.verify.pairs import Graph, conv, forward, mlp


def bytes_of(model: ir.Model) -> bytes:
    return ir.to_proto(model).SerializeToString()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [mlp, conv, forward])
def test_a_mutant_is_valid_and_computes_something_else(make: object, kind: str, seed: int) -> None:
    model = make(seed).folded  # type: ignore[operator]
    before = bytes_of(model)
    try:
        planted = plant(model, kind, np.random.default_rng(seed))
    except NoPlaceError:
        assert (kind, make) in {("border", mlp), ("border", forward), ("shift", conv)}
        return
    assert bytes_of(model) == before
    assert planted.kind == kind and planted.op and planted.detail
    onnx.checker.check_model(ir.to_proto(planted.model), full_check=True)
    assert [v.name for v in planted.model.graph.outputs] == ["y"]
    feeds = generate_inputs(model, samples=60)
    same = all(
        np.allclose(Float64Model(model).run(f)["y"], Float64Model(planted.model).run(f)["y"], 1e-13)
        for f in feeds
    )
    assert not same or kind in {"column", "channels"}  # a column that nothing reads


def test_the_kinds_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    folded = mlp(0).folded
    axis = plant(folded, "axis", rng)
    changed = [
        name
        for name, value in folded.graph.initializers.items()
        if not np.array_equal(
            value.const_value.numpy(), axis.model.graph.initializers[name].const_value.numpy()
        )
    ]
    assert len(changed) == 1 and changed[0].startswith("W")
    relu = plant(folded, "relu", rng).model
    assert [n.op_type for n in relu.graph].count("Add") == 1
    border = plant(conv(0).folded, "border", rng).model
    assert "Pad" in [n.op_type for n in border.graph]
    fewer = plant(folded, "activation", rng).model
    assert len(list(fewer.graph)) == len(list(folded.graph)) - 1


def test_a_model_without_a_place_gets_another_kind_or_none() -> None:
    graph = Graph()
    graph.op("Sigmoid", "x", to="y")
    model = graph.model(np.float32, {"x": ["N", 2]}, {"y": ["N", 2]})
    assert plant_any(model, np.random.default_rng(0)) is None
    planted = plant_any(mlp(0).folded, np.random.default_rng(0), "border")
    assert planted is not None and planted.kind != "border"


def test_below_noise_means_smaller_than_rounding() -> None:
    folded = mlp(0).folded
    feeds = generate_inputs(folded, samples=12)

    def scaled(factor: float) -> ir.Model:
        copy = folded.clone()
        value = copy.graph.initializers["W0"]
        array = value.const_value.numpy() * np.float32(factor)
        value.const_value = ir.Tensor(array, name="W0")
        return copy

    assert is_below_noise(folded, folded.clone(), feeds)
    assert is_below_noise(folded, scaled(1 + 1.2e-7), feeds)
    assert not is_below_noise(folded, scaled(1 + 1e-4), feeds)


def test_a_mutation_test_counts_what_was_caught() -> None:
    def verify(mutant: ir.Model) -> Verification:
        status = Status.FAILED if len(list(mutant.graph)) != 6 else Status.PASSED
        code = "BNV122" if status is Status.FAILED else ""
        return Verification((Check(CheckKind.ALGEBRA, status, 1.0, 0.5, "", "", code),))

    result = mutation_test(mlp(0).folded, verify, lambda mutant: False, 16, seed=3)
    assert len(result.mutants) == 16
    assert {m.kind for m in result.mutants} >= {"column", "shift", "epsilon", "channels", "relu"}
    assert result.caught == sum(m.kind in ("relu", "activation") for m in result.mutants) > 0
    assert result.missed == 16 - result.caught and result.below_noise == 0
    assert all(m.by == ("BNV122" if m.caught else "") for m in result.mutants)


def test_counts() -> None:
    kinds = [(True, False), (False, True), (False, False), (True, True)]
    result = MutationTest(tuple(Mutant("column", "op", "", c, below_noise=b) for c, b in kinds))
    assert (result.caught, result.below_noise, result.missed) == (2, 1, 1)


def test_a_verification_with_a_mutation_test_catches_what_it_plants() -> None:
    pair = conv(1)
    result = verify_models(pair.original, pair.folded, mutations=8, samples=24)
    assert result.passed and result.mutation is not None
    assert len(result.mutation.mutants) == 8
    assert result.mutation.missed == 0
    assert result.mutation.caught >= 6
    broken = conv(1, fault="epsilon")
    assert verify_models(broken.original, broken.folded, mutations=8).mutation is None
