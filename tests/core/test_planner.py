"""The planner on neutral graphs: what goes where, what stays and why; no framework."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bnfold.core.diagnostics import Direction, Kept, Reason
from bnfold.core.graph import Graph, Use
from bnfold.core.plan import Plan
from bnfold.core.planner import plan
from bnfold.core.transfer import Form, Opaque

from .nets import BATCH, Net, evaluate

# Batch, channels and width coincide on purpose: equal sizes must prove nothing.
SIZE = BATCH


@pytest.fixture
def net(rng: np.random.Generator) -> Net:
    made = Net(rng)
    made.value("x", SIZE)
    return made


def planned(net: Net, outputs: Sequence[str], captured: Sequence[str] = ()) -> tuple[Graph, Plan]:
    """Plan, and hold the plan to the values of the graph."""
    graph = net.graph(outputs, captured)
    result = plan(graph)
    feeds = {
        name: net.rng.normal(size=(BATCH, *graph.shapes[name][1:]))  # type: ignore[arg-type]
        for name in graph.inputs
    }
    before = evaluate(net, graph, feeds)
    after = evaluate(net, graph, feeds, result)
    for name in outputs:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9, atol=1e-9)
    return graph, result


def codes(kept: Kept) -> list[tuple[Direction, Reason]]:
    return [(refusal.direction, refusal.reason) for refusal in kept.refusals]


def test_backward_into_dense(net: Net) -> None:
    y = net.norm("bn", net.dense("d", "x", SIZE))
    _, result = planned(net, [y])
    (fold,) = result.folds
    assert fold.into[0].op == "d" and fold.into[0].direction is Direction.BACKWARD
    assert not result.kept


def test_forward_into_dense_with_gamma_zero(net: Net) -> None:
    y = net.dense("d", net.elu("elu", net.norm("bn", "x")), 3)
    y = net.dense("e", net.norm("bn2", net.elu("elu2", y)), 3)
    _, result = planned(net, [y])
    assert [fold.source for fold in result.folds] == ["bn2"]
    assert result.folds[0].into[0].direction is Direction.FORWARD
    assert codes(result.kept[0]) == [
        (Direction.BACKWARD, Reason.GRAPH_INPUT),
        (Direction.FORWARD, Reason.ACTIVATION),
    ]


def test_a_created_bias_takes_a_later_scale(net: Net) -> None:
    y = net.dense("d", net.norm("bn", "x"), SIZE, bias=False)
    y = net.affine("mul", y, 3.0, 0.0, Form.MUL)
    _, result = planned(net, [y])
    assert not result.kept


def test_another_reader_of_the_producer(net: Net) -> None:
    d = net.dense("d", "x", SIZE)
    y = net.norm("bn", d)
    _, result = planned(net, [net.elu("a", y), net.elu("b", d)])
    assert codes(result.kept[0])[0] == (Direction.BACKWARD, Reason.OTHER_READER)


def test_producer_is_an_output(net: Net) -> None:
    d = net.dense("d", "x", SIZE)
    _, result = planned(net, [net.norm("bn", d), d])
    assert codes(result.kept[0]) == [
        (Direction.BACKWARD, Reason.GRAPH_OUTPUT),
        (Direction.FORWARD, Reason.GRAPH_OUTPUT),
    ]


def test_producer_is_read_in_a_subgraph(net: Net) -> None:
    d = net.dense("d", "x", SIZE)
    _, result = planned(net, [net.norm("bn", d)], captured=[d])
    assert codes(result.kept[0])[0] == (Direction.BACKWARD, Reason.OUTER_SCOPE)


def test_all_consumers_or_none(net: Net) -> None:
    n = net.norm("bn", "x")
    heads = [net.dense(name, n, 3) for name in ("q", "k", "v")]
    _, result = planned(net, heads)
    assert {taken.op for taken in result.folds[0].into} == {"q", "k", "v"}

    other = Net(net.rng)
    other.value("x", SIZE)
    n = other.norm("bn", "x")
    heads = [other.dense("q", n, 3), other.elu("elu", n)]
    _, result = planned(other, heads)
    assert not result.folds
    assert not result.edits
    assert codes(result.kept[0])[1] == (Direction.FORWARD, Reason.ACTIVATION)


def test_relu_passes_the_scale_and_the_shift_goes_on(net: Net) -> None:
    r = net.relu("relu", net.dense("d", "x", SIZE))
    y = net.elu("elu", net.affine("mul", r, 2.0, 0.0, Form.MUL))
    _, result = planned(net, [y])
    assert result.folds[0].into[0].op == "d"

    other = Net(net.rng)
    other.value("x", SIZE)
    r = other.relu("relu", other.dense("d", "x", SIZE))
    y = other.elu("elu", other.norm("bn", r, positive=True))
    _, result = planned(other, [y])
    (kept,) = result.kept
    assert kept.left_as == ("Add",)
    assert [taken.part for taken in kept.into] == ["scale"]


def test_negative_scale_stops_at_relu(net: Net) -> None:
    r = net.relu("relu", net.dense("d", "x", SIZE))
    y = net.elu("elu", net.affine("mul", r, -2.0, 0.0, Form.MUL))
    _, result = planned(net, [y])
    assert codes(result.kept[0])[0] == (Direction.BACKWARD, Reason.NEGATIVE_SCALE)


def test_sum_takes_all_branches_or_none(net: Net) -> None:
    both = net.add("add", net.dense("a", "x", SIZE), net.dense("b", "x", SIZE))
    _, result = planned(net, [net.norm("bn", both)])
    assert not result.kept
    assert len({t.op for t in result.folds[0].into}) == 2

    other = Net(net.rng)
    other.value("x", SIZE)
    both = other.add("add", other.dense("a", "x", SIZE), "x")
    _, result = planned(other, [other.norm("bn", both)])
    assert not result.edits
    assert codes(result.kept[0])[0] == (Direction.BACKWARD, Reason.OTHER_READER)


def test_concat_splits_backward_and_assembles_forward(net: Net) -> None:
    both = net.concat("cat", net.dense("a", "x", 3), net.dense("b", "x", 4))
    _, result = planned(net, [net.norm("bn", both)])
    assert not result.kept

    other = Net(net.rng)
    other.value("x", SIZE)
    both = other.concat("cat", other.norm("bn", "x"), other.elu("elu", "x"))
    _, result = planned(other, [other.dense("d", both, 3)])
    assert not result.kept


def test_neighbours_merge_and_go_together(net: Net) -> None:
    y = net.norm("bn2", net.affine("mul", net.norm("bn1", net.elu("elu", "x")), 2.0, 0, Form.MUL))
    _, result = planned(net, [net.elu("elu2", y)])
    assert sum(s.form is not Form.NONE for s in result.standing.values()) == 1
    assert [k.source for k in result.kept] + [f.source for f in result.folds]


def test_an_identity_disappears(net: Net) -> None:
    y = net.affine("one", net.elu("elu", "x"), 1.0, 0.0, Form.MUL)
    _, result = planned(net, [y])
    assert [fold.source for fold in result.folds] == ["one"]


def test_an_identity_between_input_and_output_stays(net: Net) -> None:
    y = net.affine("one", "x", 1.0, 0.0, Form.MUL)
    _, result = planned(net, [y])
    assert not result.folds
    assert codes(result.kept[0]) == [] or result.kept[0].left_as


def test_wrong_axis_is_refused_though_sizes_coincide(net: Net) -> None:
    net.value("z", SIZE, SIZE)
    scale = net.rng.uniform(0.5, 2.0, size=(SIZE, 1))
    m = net.mean("mean", net.affine("mul", "z", scale.T, 0.0, Form.MUL))
    _, result = planned(net, [net.dense("d", m, 3)])
    assert codes(result.kept[0])[1] == (Direction.FORWARD, Reason.MIXES_CHANNELS)

    other = Net(net.rng)
    other.value("z", SIZE, SIZE)
    m = other.mean("mean", other.affine("mul", "z", scale, 0.0, Form.MUL))
    _, result = planned(other, [other.dense("d", m, 3)])
    assert not result.kept


def test_a_constant_that_does_not_fit_is_left_alone(net: Net) -> None:
    y = net.norm("bn", net.dense("d", "x", SIZE))
    graph = net.graph([y])
    result = plan(graph, {Use(0, 1): Reason.OVERFLOW})
    assert not result.folds
    assert codes(result.kept[0])[0] == (Direction.BACKWARD, Reason.OVERFLOW)


def test_not_finite_parameters_stay(net: Net) -> None:
    y = net.affine("mul", net.dense("d", "x", SIZE), np.nan, 0.0, Form.MUL)
    graph = net.graph([y])
    result = plan(graph)
    assert result.is_empty
    assert codes(result.kept[0]) == [(Direction.HERE, Reason.NOT_FINITE)]


def test_candidates_are_reported(net: Net) -> None:
    opaque = Opaque(Reason.TRAINING_MODE, candidate=True)
    y = net.op("bn", ["x"], opaque, lambda v: v, SIZE)
    result = plan(net.graph([y]))
    assert codes(result.kept[0]) == [(Direction.HERE, Reason.TRAINING_MODE)]


def test_planning_is_deterministic(net: Net) -> None:
    y = net.norm("bn2", net.relu("r", net.norm("bn", net.dense("d", "x", SIZE))))
    graph = net.graph([y])
    first, second = plan(graph), plan(graph)
    assert first.folds == second.folds and first.kept == second.kept
    assert list(first.edits) == list(second.edits)


def test_a_chain_of_thousands_of_ops_is_no_deep_recursion(net: Net) -> None:
    y = net.dense("d", "x", SIZE)
    for number in range(5000):
        y = net.relu(f"relu_{number}", y)
    y = net.affine("mul", y, 2.0, 0.0, Form.MUL)
    result = plan(net.graph([y]))
    assert not result.kept
