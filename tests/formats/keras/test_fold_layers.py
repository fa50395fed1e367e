"""Every layer between two BatchNormalizations: whatever is folded, the result stays the same.

The same net, converted first and folded as ONNX, folds the same layers; where it does not, the
table at the top says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import convert, read
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.onnx.fold import fold_model
from tests.convert.direct import layer_rows, more_rows, recurrent_rows, vision_rows
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize

# Rows whose first input holds no numbers that an affine could act on.
_NO_NUMBERS = frozenset({"embedding", "embedding_float", "masked_mean", "resizing_bytes"})
_NO_NUMBERS |= {"multi_head_given_mask"}


def _between(row: layer_rows.Row, K: Any) -> Any:
    """Input, BatchNormalization, the row's layers, BatchNormalization, ReLU."""
    L = K.layers
    inner = row(K)
    starts = [L.Input(tuple(one.shape[1:]), name=f"in_{i}") for i, one in enumerate(inner.inputs)]
    given = [L.BatchNormalization(name=f"before_{i}")(one) for i, one in enumerate(starts)]
    results = inner(given if len(given) > 1 else given[0])
    results = results if isinstance(results, (list, tuple)) else [results]
    ends = [
        L.ReLU(name=f"relu_{i}")(L.BatchNormalization(name=f"behind_{i}")(one))
        for i, one in enumerate(results)
    ]
    return K.Model(starts, ends, name="between")


# How many norms go from the Keras model and how many from its ONNX conversion, where that differs.
# Behind a channels-last value ONNX has Mul and Add for one layer, either of which may be what is
# left of two layers; Keras has a layer more or less.
_MERGED = ("batch_norm_3", "batch_norm_4", "group_norm", "normalization_image", "rescaling_list")
_MERGED += ("normalization_scalar", "rescaling", "add", "subtract", "average", "add_broadcast")
_MERGED += ("group_norm_one", "resizing_same", "batch_norm_5", "solarization", "mix_up", "cut_mix")
_MERGED += ("adaptive_average_as_it_is", "adaptive_average_both", "adaptive_average_volume")
# In ONNX kernels of every form are arrays of their own, and an Einsum has no bias.
_LOCAL = [f"local{n}d{same}_{i}" for n in (1, 2) for same in ("", "_same") for i in (2, 3)]
_FIRST = [f"local{n}d_first_{i}" for n in (1, 2) for i in (1, 2, 3)]
_DIFFER: dict[str, tuple[int, int] | None] = {
    **dict.fromkeys(_MERGED, (1, 0)),
    **dict.fromkeys(_LOCAL, (0, 2)),
    **dict.fromkeys(_FIRST, (0, 1)),
    "local1d_bare": (1, 0),
    # Keras 3 does nothing here, as above; Keras 2 resizes.
    "random_crop": None,
    "random_crop_larger": None,
    # The same, with two layers in front.
    "concatenate_axis": (1, 2),
    # A factor alone may go through a product; a layer that keeps the shift is still a layer, and
    # in ONNX the product's bias.
    "dot_matrices": (0, 1),
    "dot_transposed": (0, 1),
    "dot_same_axis": (0, 1),
    "dot_vector": (0, 1),
    "embedding_reversed": (1, 2),
    # No rule lets an affine into the weighted means of these two.
    "attention_key": (0, 1),
    "multi_head_scores": (0, 2),
}


_ALL = {**layer_rows.COMMON, **more_rows.ATTENTION, **more_rows.IMAGES}
_ALL |= {**more_rows.ODD_CONVOLUTIONS, **recurrent_rows.ROWS, **vision_rows.ROWS}
_ROWS = [row for row in _ALL if row not in _NO_NUMBERS]
_ALL |= {**vision_rows.ROWS_2, **vision_rows.ROWS_3}


@pytest.mark.parametrize("row", _ROWS)
def test_between_norms(keras3: Any, row: str) -> None:
    _check(keras3, row)


@pytest.mark.parametrize("row", vision_rows.ROWS_3)
def test_between_norms_in_keras3(keras3: Any, row: str) -> None:
    _check(keras3, row)


@pytest.mark.parametrize("row", vision_rows.ROWS_2)
def test_between_norms_in_keras2(keras2: Any, row: str) -> None:
    _check(keras2, row)


@pytest.mark.slow
@pytest.mark.parametrize("row", _ROWS)
def test_between_norms_of_keras2(keras2: Any, row: str) -> None:
    _check(keras2, row)


# Keras states a wrong shape for what glu gives.
_ACTIVATIONS = [(3, name) for name in layer_rows.ACTIVATIONS_3 if name != "glu"]
_ACTIVATIONS += [(2, name) for name in layer_rows.ACTIVATIONS_2]


@pytest.mark.parametrize(("generation", "name"), _ACTIVATIONS)
def test_activation_between_norms(
    request: pytest.FixtureRequest, generation: int, name: str
) -> None:
    """As a layer, and as part of a Dense."""
    keras = request.getfixturevalue(f"keras{generation}")
    for make in (
        lambda L: [L.Dense(6), L.BatchNormalization(), L.Activation(name)],
        lambda L: [L.Dense(6, activation=name)],
    ):
        _check_row(keras, layer_rows.chain((4, 6), make), None)


def _check(keras: Any, row: str) -> None:
    _check_row(keras, _ALL[row], _DIFFER.get(row, (0, 0)))


def _check_row(keras: Any, row: layer_rows.Row, differ: tuple[int, int] | None) -> None:
    check_model(_between(row, keras), differ)


def check_model(model: Any, differ: tuple[int, int] | None) -> None:
    """Folded as Keras and as ONNX it computes the same, and folds as many of its norms.

    Args:
        model: its norms are called before_0, behind_0, and so on.
        differ: how many of them each of the two folds, (0, 0) for as many, None for any.
    """
    model = randomize(model)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(11))
    graph = read(model)
    folded = fold_graph(graph)
    want = run_keras(model, arrays)
    assert_equal(run_onnx(convert(folded.graph).model, arrays), want, 2e-5)
    converted = convert(graph)
    as_onnx = fold_model(converted.model, labels=converted.labels)
    ours = {item.source for item in folded.folds if "_" in item.source}
    theirs = {item.source for item in as_onnx.folds}
    norms = {f"{place}_{i}" for place in ("before", "behind") for i in range(3)}
    counts = len(ours & norms), len(theirs & norms)
    # Of two norms that become one either may go.
    assert differ is None or counts == differ or (differ == (0, 0) and counts[0] == counts[1])
