"""RNNs of cells and ConvLSTMs against Keras: as they are, between norms, and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import UnsupportedLayerError, convert, read
from bnfold.core.diagnostics import Reason
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.folded import fold_keras
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.onnx.fold import fold_model
from tests.convert.direct import layer_rows
from tests.convert.direct.recurrent_rows import FILM, ROWS, SERIES, STATES
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize


@pytest.mark.parametrize("row", {**ROWS, **STATES})
def test_recurrent(keras: Any, row: str) -> None:
    model = randomize({**ROWS, **STATES}[row](keras))
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    assert_equal(run_onnx(convert(model).model, arrays), run_keras(model, arrays), 5e-6)


def _behind_a_norm(keras: Any, row: str) -> Any:
    inner = ROWS[row](keras)
    (given,) = inner.inputs
    start = keras.layers.Input(tuple(given.shape[1:]), name="start")
    model = keras.Model(start, inner(keras.layers.BatchNormalization(name="norm")(start)))
    return randomize(model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "row",
    [
        "rnn_lstm_sequence",
        "rnn_stack",
        "rnn_stack_of_stacks",
        "rnn_bidirectional",
        "rnn_bidirectional_stack",
        "conv_lstm_dilated",
        "conv_lstm_bidirectional",
    ],
)
def test_norm_is_folded_in_a_file(keras: Any, row: str, suffix: str, tmp_path: Path) -> None:
    """The input's kernel is found where the file keeps it, and written back, with a bias."""
    model = _behind_a_norm(keras, row)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    want = run_keras(model, arrays)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    folded = fold_keras(path)
    assert [item.source for item in folded.folds] == ["norm"]
    again = keras.models.load_model(str(folded.model), compile=False)
    assert_equal(run_keras(again, arrays), want, 2e-5)
    assert_equal(run_keras(fold_live(model).model, arrays), want, 2e-5)


def test_padding_keeps_the_shift(keras3: Any) -> None:
    model = _behind_a_norm(keras3, "conv_lstm_same")
    assert not fold_graph(read(model)).folds
    (kept,) = fold_graph(read(model)).kept
    assert Reason.PADDING_SHIFT in {refusal.reason for refusal in kept.refusals}


@pytest.mark.parametrize("opset", [13, 18, 24])
@pytest.mark.parametrize("row", ["rnn_stack", "lstm_gelu", "conv_lstm_same", "conv_lstm_free"])
def test_recurrent_at_opset(keras3: Any, row: str, opset: int) -> None:
    model = randomize(ROWS[row](keras3))
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    got = run_onnx(convert(model, opset=opset).model, arrays)
    assert_equal(got, run_keras(model, arrays), 5e-6)


@pytest.mark.parametrize("row", ["rnn_stack", "rnn_bidirectional", "conv_lstm_same"])
def test_half_precision(keras: Any, row: str) -> None:
    mixed = keras.mixed_precision
    before = (mixed.global_policy if hasattr(mixed, "global_policy") else mixed.dtype_policy)()
    mixed.set_global_policy("mixed_float16")
    try:
        model = randomize(ROWS[row](keras))
    finally:
        mixed.set_global_policy(before)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    assert_equal(run_onnx(convert(model).model, arrays), run_keras(model, arrays), 5e-3)


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}, {"return_state": True}])
def test_channels_first_films(keras3: Any, options: dict[str, Any]) -> None:
    """Channels first gives what channels last gives of the same weights, transposed."""

    def build(order: str) -> Any:
        first = order == "channels_first"
        shape = (5, 3, 7, 6) if first else FILM
        L = keras3.layers
        x = start = L.Input(shape)
        x = L.BatchNormalization(axis=2 if first else -1, name="norm")(x)
        return keras3.Model(start, L.ConvLSTM2D(4, 2, data_format=order, **options)(x))

    last = randomize(build("channels_last"))
    first = build("channels_first")
    first.set_weights(last.get_weights())
    (film,) = layer_rows.inputs_for(last, np.random.default_rng(7))
    want = [np.moveaxis(one, -1, -3) for one in run_keras(last, [film])]
    given = np.ascontiguousarray(np.moveaxis(film, -1, 2))
    assert_equal(run_onnx(convert(first).model, [given]), want, 5e-6)
    folded = fold_graph(read(first))
    assert [item.source for item in folded.folds] == ["norm"]
    assert_equal(run_onnx(convert(folded.graph).model, [given]), want, 2e-5)


_MASK = np.asarray([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize("options", [{}, {"return_sequences": True, "go_backwards": True}])
def test_masked_films(keras: Any, options: dict[str, Any]) -> None:
    L = keras.layers
    film, mask = L.Input(FILM), L.Input((5,), dtype="bool")
    alone = L.ConvLSTM2D(4, 2, **options)(film, mask=mask)
    whole = bool(options)
    both = L.Bidirectional(L.ConvLSTM2D(4, 2, return_sequences=whole))(film, mask=mask)
    model = randomize(keras.Model([film, mask], [alone, both]))
    arrays = [np.random.default_rng(7).normal(size=(3, *FILM)).astype(np.float32), _MASK]
    assert_equal(run_onnx(convert(model).model, arrays), run_keras(model, arrays), 5e-6)


@pytest.mark.parametrize("stated", [False, True], ids=["carried", "stated"])
@pytest.mark.parametrize("whole", [False, True])
def test_masked_from_a_state(keras: Any, whole: bool, stated: bool) -> None:
    """Keras 2 gives zero before the first step that counts; Keras 3 loses the mask, if carried."""
    L = keras.layers
    tokens, state, mask = L.Input((5,), dtype="int32"), L.Input((4,)), L.Input((5,), dtype="bool")
    x = L.Embedding(11, 3, mask_zero=True)(tokens)
    given = {"mask": mask} if stated else {}
    given["initial_state"] = state
    y, end = L.GRU(4, return_sequences=whole, return_state=True)(x, **given)
    given["initial_state"] = [state, state]
    both = L.Bidirectional(L.GRU(4, return_sequences=whole))(x, **given)
    model = keras.Model([tokens, state, mask], [y, end, both, L.GRU(4)(y) if whole else y])
    randomize(model)
    arrays = [
        np.where(_MASK, 7, 0).astype(np.int32),
        np.random.default_rng(7).normal(size=(3, 4)).astype(np.float32),
        _MASK,
    ]
    assert_equal(run_onnx(convert(model).model, arrays), run_keras(model, arrays), 5e-6)


def test_refused_cells(keras3: Any) -> None:
    """Cells of the user's own, and of another precision than the layer around them."""
    L = keras3.layers

    class Own(L.SimpleRNNCell):  # type: ignore[misc]
        pass

    for cell in (Own(4), L.GRUCell(4, dtype="float16")):
        start = L.Input(SERIES)
        x = L.BatchNormalization(name="norm")(start)
        model = keras3.Model(start, L.RNN(cell, name="loop")(x))
        with pytest.raises(UnsupportedLayerError, match=r"loop.*cell"):
            convert(model)
        assert not fold_graph(read(model)).folds


@pytest.mark.parametrize("both", [False, True], ids=["alone", "bidirectional"])
def test_states_kept_between_calls_are_refused(keras: Any, both: bool) -> None:
    L = keras.layers
    start = L.Input(batch_shape=(2, 5, 3))
    layer = L.GRU(4, stateful=True)
    model = keras.Model(start, (L.Bidirectional(layer) if both else layer)(start))
    with pytest.raises(UnsupportedLayerError, match="keeps its state between calls"):
        convert(model)


def test_norm_before_a_stack_is_folded_in_both(keras3: Any) -> None:
    model = _behind_a_norm(keras3, "rnn_bidirectional_stack")
    converted = convert(model)
    folds = fold_model(converted.model, labels=converted.labels).folds
    assert [item.source for item in folds] == ["norm"]
