"""Affines, labelled contractions and moves against numpy, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.core.affine import Affine, simplify
from bnfold.core.blocked import Blocked
from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Labels, parse_axes
from bnfold.core.moves import Chain, Keep, Move, Permute, Reduce, Regroup, Segment, Take


def test_simplify_drops_constant_axes() -> None:
    array = np.broadcast_to(np.array([1.0, 2.0]).reshape(1, 2, 1), (3, 2, 4))
    assert simplify(array).shape == (1, 2, 1)


def test_composition_is_function_composition(rng: np.random.Generator) -> None:
    f = Affine.of(rng.normal(size=(4, 1)), rng.normal(size=(1, 3)))
    g = Affine.of(rng.normal(size=(1, 3)), 2.0)
    x = rng.normal(size=(4, 3))
    both = f.after(g)
    expected = f.scale * (g.scale * x + g.shift) + f.shift
    np.testing.assert_allclose(both.scale * x + both.shift, expected)


def test_inner_shift(rng: np.random.Generator) -> None:
    f = Affine.of([2.0, -1.0, 0.0], [1.0, 3.0, 0.0])
    inner = f.inner_shift()
    assert inner is not None
    x = rng.normal(size=3)
    np.testing.assert_allclose(f.scale * (x + inner.shift), f.scale * x + f.shift)
    assert Affine.of([2.0, 0.0], [1.0, 1.0]).inner_shift() is None


def test_labels_of_a_grouped_convolution(rng: np.random.Generator) -> None:
    """As a product over one window, against a loop over groups."""
    groups, per_in, per_out = 2, 3, 2
    labels = Labels(
        parse_axes("* (g c) *"),
        parse_axes("(g o) c k"),
        parse_axes("* (g o) *"),
        {"g": groups, "c": per_in, "o": per_out, "k": 1},
    )
    kernel = rng.normal(size=(groups * per_out, per_in, 1))
    scale, shift = rng.normal(size=(1, 6, 1)), rng.normal(size=(1, 6, 1))
    x = rng.normal(size=(1, 6, 1))

    def run(w: np.ndarray, v: np.ndarray) -> np.ndarray:
        parts = v.reshape(groups, per_in)
        return np.concatenate([w.reshape(groups, per_out, per_in)[g] @ parts[g] for g in (0, 1)])

    new = kernel * labels.x_to_w(scale)
    bias = labels.response(kernel, shift).reshape(-1)
    np.testing.assert_allclose(run(new, x) + bias, run(kernel, scale * x + shift))
    out = rng.normal(size=(1, 4, 1))
    np.testing.assert_allclose(run(kernel * labels.y_to_w(out), x), out.ravel() * run(kernel, x))


def test_labels_refuse_another_axis(rng: np.random.Generator) -> None:
    labels = Labels(parse_axes("b m k"), parse_axes("k n"), parse_axes("b m n"), {"m": 4, "n": 4})
    with pytest.raises(Blocked) as caught:
        labels.y_to_w(rng.normal(size=(1, 4, 1)))
    assert caught.value.reason is Reason.AXIS_MISMATCH


MOVES: list[tuple[str, Move, tuple[int, ...], object]] = [
    ("permute", Permute((0, 3, 1, 2)), (2, 3, 4, 5), lambda v: v.transpose(0, 3, 1, 2)),
    ("flatten", Regroup.between((2, 3, 4), (2, 12)), (2, 3, 4), lambda v: v.reshape(2, 12)),
    ("unflatten", Regroup.between((2, 12), (2, 3, 4)), (2, 12), lambda v: v.reshape(2, 3, 4)),
    ("mixed", Regroup.between((2, 6, 4), (2, 4, 6)), (2, 6, 4), lambda v: v.reshape(2, 4, 6)),
    ("take", Take(1, 4, np.array([3, 0])), (2, 4, 3), lambda v: v[:, [3, 0]]),
    ("tile", Take(1, 2, np.array([0, 1, 0, 1])), (2, 2, 3), lambda v: np.tile(v, (1, 2, 1))),
    ("reduce", Reduce((2,), 3, False), (2, 4, 3), lambda v: v.mean(axis=2)),
    ("squeeze", Regroup((Segment((2,), (2,)), Segment((1,), ()), Segment((3,), (3,)))),
     (2, 1, 3), lambda v: v[:, 0]),
    ("chain", Chain((Permute((0, 2, 1)), Keep((2,)))), (2, 3, 4), lambda v: v.transpose(0, 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "move", "shape", "run"), MOVES, ids=[m[0] for m in MOVES])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_moves_in_both_directions(
    name: str, move: Move, shape: tuple[int, ...], run: object, axis: int, rng: np.random.Generator
) -> None:
    assert callable(run)
    x = rng.normal(size=shape)
    if axis < len(shape):
        sizes = [size if i == axis else 1 for i, size in enumerate(shape)]
        given = Affine.of(rng.normal(size=sizes), rng.normal(size=sizes))
        try:
            moved = move.forward(given)
        except Blocked as blocked:
            assert blocked.reason is Reason.MIXES_CHANNELS
        else:
            np.testing.assert_allclose(
                run(given.scale * x + given.shift), moved.scale * run(x) + moved.shift
            )
    out = run(x)
    if axis < out.ndim:
        sizes = [size if i == axis else 1 for i, size in enumerate(out.shape)]
        wanted = Affine.of(rng.normal(size=sizes), rng.normal(size=sizes))
        try:
            back = move.backward(wanted)
        except Blocked as blocked:
            assert blocked.reason is Reason.MIXES_CHANNELS
            assert name in ("tile", "chain")
        else:
            np.testing.assert_allclose(
                run(back.scale * x + back.shift), wanted.scale * out + wanted.shift
            )


def test_reshape_with_free_sizes_is_matched_from_both_ends() -> None:
    regroup = Regroup.between(("N", 3, 4), (None, 12))
    given = Affine.of(np.arange(12.0).reshape(1, 3, 4), 0.0)
    np.testing.assert_array_equal(regroup.forward(given).scale, np.arange(12.0).reshape(1, 12))


def test_reshape_that_hides_the_axis_is_refused() -> None:
    regroup = Regroup.between(("N", "T", 4), (None, 4, None))
    with pytest.raises(Blocked) as caught:
        regroup.forward(Affine.of(np.arange(4.0).reshape(1, 1, 4), 0.0))
    assert caught.value.reason is Reason.UNKNOWN_SHAPE


def test_constant_border_keeps_its_value() -> None:
    pad = Take(1, 2, np.array([-1, 0, 1, -1]))
    moved = pad.forward(Affine.of([[2.0, 3.0]], [[1.0, 1.0]]))
    np.testing.assert_array_equal(moved.scale, [[1.0, 2.0, 3.0, 1.0]])
    with pytest.raises(Blocked) as caught:
        pad.backward(Affine.of(1.0, 5.0, 2))
    assert caught.value.reason is Reason.PADDING_SHIFT
