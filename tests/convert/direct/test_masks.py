"""Masked sequences: padding at the end, the start, in between, and samples of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import UnsupportedLayerError, convert
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.keras.read_config import parse_model
from bnfold.formats.onnx.fold import fold_model
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize

_TOKENS = np.asarray(
    [[3, 1, 4, 1, 5, 2], [2, 6, 0, 0, 0, 0], [0, 0, 5, 3, 0, 5], [0, 0, 0, 0, 0, 0]], np.int32
)


def _after_embedding(make: Callable[[Any], list[Any]]) -> Callable[[Any], Any]:
    def build(K: Any) -> Any:
        L = K.layers
        x = start = L.Input((6,), dtype="int32", name="tokens")
        x = L.Embedding(7, 4, mask_zero=True, name="embedding")(x)
        for layer in make(L):
            x = layer(x)
        return K.Model(start, x)

    return build


ROWS: dict[str, Callable[[Any], list[Any]]] = {
    "lstm": lambda L: [L.LSTM(5)],
    "lstm_sequence": lambda L: [L.LSTM(5, return_sequences=True)],
    "lstm_state": lambda L: [L.LSTM(5, return_state=True, return_sequences=True)],
    "lstm_backwards": lambda L: [L.LSTM(5, return_sequences=True, go_backwards=True)],
    "lstm_stack": lambda L: [L.LSTM(5, return_sequences=True), L.LSTM(3)],
    "lstm_through": lambda L: [
        L.SpatialDropout1D(0.3),
        L.BatchNormalization(),
        L.Dense(4, activation="relu"),
        L.LSTM(3),
    ],
    "lstm_hard": lambda L: [L.LSTM(5, recurrent_activation="hard_sigmoid", activation="relu")],
    "lstm_no_bias": lambda L: [L.LSTM(5, use_bias=False)],
    "gru": lambda L: [L.GRU(5)],
    "gru_reset_before": lambda L: [L.GRU(5, reset_after=False, return_sequences=True)],
    "gru_sequence": lambda L: [L.GRU(5, return_sequences=True)],
    "simple": lambda L: [L.SimpleRNN(5, return_sequences=True)],
    "bidirectional": lambda L: [L.Bidirectional(L.LSTM(3))],
    "bidirectional_sequence": lambda L: [
        L.Bidirectional(L.GRU(3, return_sequences=True)),
        L.Dense(2),
    ],
    "rnn": lambda L: [L.RNN(L.LSTMCell(5), return_sequences=True)],
    "rnn_stack": lambda L: [L.RNN([L.LSTMCell(5), L.GRUCell(3)], go_backwards=True)],
    "rnn_stack_states": lambda L: [L.RNN([L.LSTMCell(5), L.GRUCell(3)], return_state=True)],
    "rnn_zeros": lambda L: [
        L.RNN([L.GRUCell(3), L.GRUCell(4)], return_sequences=True, zero_output_for_mask=True)
    ],
    "bidirectional_states": lambda L: [
        L.Bidirectional(L.LSTM(3, return_sequences=True, return_state=True), merge_mode="sum")
    ],
    "bidirectional_rnn": lambda L: [
        L.Bidirectional(L.RNN([L.GRUCell(3), L.GRUCell(4)], return_sequences=True)),
        L.GRU(2),
    ],
    "mean": lambda L: [L.Dense(3), L.GlobalAveragePooling1D()],
    "max": lambda L: [L.GlobalMaxPooling1D()],
    "dropped": lambda L: [L.Conv1D(3, 2), L.LSTM(4)],
}


@pytest.mark.parametrize("row", ROWS)
def test_masked(keras: Any, row: str) -> None:
    model = randomize(_after_embedding(ROWS[row])(keras))
    tokens = _TOKENS[:3] if row == "mean" else _TOKENS
    want = run_keras(model, [tokens])
    converted = convert(model)
    assert_equal(run_onnx(converted.model, [tokens]), want, 5e-6)
    folded = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(folded.model, [tokens]), want, 1e-5)


def test_masking_layer(keras: Any) -> None:
    L = keras.layers
    start = L.Input((5, 3), name="x")
    x = L.Masking(mask_value=-1.0)(start)
    model = randomize(keras.Model(start, [x, L.LSTM(4)(x)]))
    values = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    values[0, 3:], values[1, :2] = -1.0, -1.0
    assert_equal(run_onnx(convert(model).model, [values]), run_keras(model, [values]), 5e-6)


def test_norm_before_a_masked_lstm_is_folded(keras3: Any) -> None:
    """Its input's kernel stands outside the loop."""
    model = randomize(
        _after_embedding(lambda L: [L.BatchNormalization(name="bn"), L.LSTM(3)])(keras3)
    )
    converted = convert(model)
    folds = fold_model(converted.model, labels=converted.labels).folds
    assert [item.source for item in folds] == ["bn"]


def _of_two(make: Callable[[Any, Any, Any], Any], norms: bool = False) -> Callable[[Any], Any]:
    """A model of two masked sequences, and, where it gives one, of what an LSTM makes of it."""

    def build(K: Any) -> Any:
        L = K.layers
        starts = [L.Input((6,), dtype="int32", name=name) for name in ("a", "b")]
        a, b = (L.Embedding(7, 4, mask_zero=True)(start) for start in starts)
        if norms:
            a, b = (L.BatchNormalization()(L.ReLU()(one)) for one in (a, b))
        y = make(L, a, b)
        y = L.BatchNormalization()(y) if norms else y
        return K.Model(starts, [L.ReLU()(y), L.LSTM(3)(y)])

    return build


PAIRS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda L, a, b: L.Add()([a, b]),
    "add_plain": lambda L, a, b: L.Add()([a, L.Conv1D(4, 1)(b)]),
    "average": lambda L, a, b: L.Average()([a, b]),
    "concatenate": lambda L, a, b: L.Concatenate()([a, b]),
    "concatenate_plain": lambda L, a, b: L.Concatenate()([a, L.Conv1D(4, 1)(b)]),
    "concatenate_time": lambda L, a, b: L.Concatenate(axis=1)([a, b]),
    "multi_head": lambda L, a, b: L.MultiHeadAttention(2, 3)(a, b),
    "multi_head_causal": lambda L, a, b: L.MultiHeadAttention(2, 3)(a, b, use_causal_mask=True),
    "multi_head_key": lambda L, a, b: L.MultiHeadAttention(2, 3)(a, b, key=b),
    "multi_head_self": lambda L, a, b: L.MultiHeadAttention(2, 3, dropout=0.2)(a, a),
    "attention": lambda L, a, b: L.Attention()([a, b]),
    "attention_self": lambda L, a, b: L.Attention(use_scale=True)([a, a]),
    "additive": lambda L, a, b: L.AdditiveAttention()([a, b]),
    "block": lambda L, a, b: L.LayerNormalization()(L.Add()([a, L.MultiHeadAttention(2, 3)(a, a)])),
}


@pytest.mark.parametrize("row", PAIRS)
def test_masked_pair(keras: Any, row: str) -> None:
    """Attention and merging of masked sequences, and the mask that they hand on."""
    model = randomize(_of_two(PAIRS[row])(keras))
    # Nobody can attend to a sequence of nothing: Keras 2 and 3 give the mean of all steps then.
    arrays = [_TOKENS, _TOKENS[[1, 2, 0, 3]]]
    want = run_keras(model, arrays)
    converted = convert(model)
    assert_equal(run_onnx(converted.model, arrays), want, 5e-6)
    folded = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(folded.model, arrays), want, 1e-5)


@pytest.mark.parametrize("row", PAIRS)
def test_masked_pair_between_norms(keras3: Any, row: str) -> None:
    """What is folded, as Keras and as ONNX, is the same where all or nothing is masked."""
    model = randomize(_of_two(PAIRS[row], norms=True)(keras3))
    arrays = [_TOKENS, _TOKENS[[1, 2, 0, 3]]]
    want = run_keras(model, arrays)
    assert_equal(run_keras(fold_live(model).model, arrays), want, 2e-5)
    converted = convert(model)
    folded = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(folded.model, arrays), want, 2e-5)


@pytest.mark.parametrize("distributed", [False, True], ids=["", "behind TimeDistributed"])
@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum"])
def test_merges_that_masks_change(keras: Any, name: str, distributed: bool) -> None:
    """Keras 3 leaves masked elements out of these: no affine passes, and tf2onnx converts them."""
    L = keras.layers
    starts = [L.Input((6,), dtype="int32", name=one) for one in ("a", "b")]
    a, b = (L.Embedding(7, 4, mask_zero=True)(start) for start in starts)
    a = L.TimeDistributed(L.Dense(4))(a) if distributed else a
    a = L.BatchNormalization(name="bn_a", center=False)(a)
    b = L.TimeDistributed(L.Dense(4))(b) if distributed else L.Dense(4)(b)
    y = getattr(L, name)()([a, b])
    y = L.BatchNormalization(name="bn_y", center=False)(y)
    last = L.Activation("tanh") if distributed else L.Conv1D(3, 2)
    model = keras.Model(starts, last(y))
    for variable in randomize(model).weights:
        if "moving_mean" in getattr(variable, "path", variable.name):
            variable.assign(np.zeros(variable.shape))
        if "gamma" in getattr(variable, "path", variable.name):
            variable.assign(np.abs(variable) + 0.3)
    arrays = [_TOKENS, _TOKENS[[1, 2, 0, 3]]]
    want = run_keras(model, arrays)
    assert_equal(run_keras(fold_live(model).model, arrays), want, 1e-5)
    if keras.__version__.startswith("3"):
        with pytest.raises(UnsupportedLayerError, match="masked"):
            convert(model)
    else:
        assert_equal(run_onnx(convert(model).model, arrays), want, 5e-6)


@pytest.mark.parametrize("make", [lambda x: x * 2.0, lambda x: x + x, lambda x: x[:, 1:]])
def test_operators_lose_masks(keras: Any, make: Callable[[Any], Any]) -> None:
    """Also those that are called like a layer that hands masks on."""
    L = keras.layers
    start = L.Input((6,), dtype="int32")
    x = make(L.Embedding(7, 4, mask_zero=True)(start))
    model = randomize(keras.Model(start, L.LSTM(3)(x)))
    assert_equal(run_onnx(convert(model).model, [_TOKENS]), run_keras(model, [_TOKENS]), 5e-6)


@pytest.mark.parametrize("name", ["relu", "softmax", "add"])
def test_functions_lose_masks(keras3: Any, name: str) -> None:
    L = keras3.layers
    start = L.Input((6,), dtype="int32")
    x = L.Embedding(7, 4, mask_zero=True)(start)
    y = keras3.ops.add(x, x) if name == "add" else getattr(keras3.ops, name)(x)
    model = randomize(keras3.Model(start, L.LSTM(3)(y)))
    assert_equal(run_onnx(convert(model).model, [_TOKENS]), run_keras(model, [_TOKENS]), 5e-6)


def test_unrolled_zeros_backwards_are_refused(keras: Any) -> None:
    """Keras takes the mask for its zeros from the wrong end there; forwards all is well."""
    rows = (
        lambda L: L.Bidirectional(L.GRU(3, return_sequences=True, unroll=True)),
        lambda L: L.GRU(
            3, return_sequences=True, unroll=True, zero_output_for_mask=True, go_backwards=True
        ),
    )
    for row in rows:
        model = _after_embedding(lambda L, row=row: [row(L)])(keras)
        with pytest.raises(UnsupportedLayerError, match="unrolled, runs backwards"):
            convert(model)
    forward = _after_embedding(
        lambda L: [L.GRU(3, return_sequences=True, unroll=True, zero_output_for_mask=True)]
    )
    model = randomize(forward(keras))
    assert_equal(run_onnx(convert(model).model, [_TOKENS]), run_keras(model, [_TOKENS]), 5e-6)


_PAGES = np.asarray(
    [
        [[1, 2, 0, 0], [3, 4, 5, 0], [0, 0, 0, 0]],
        [[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[5, 0, 3, 0], [1, 0, 0, 0], [2, 2, 2, 0]],
    ],
    np.int32,
)


def _words_apart(K: Any, x: Any) -> Any:
    words = K.Sequential([K.layers.Input((4, 3)), K.layers.LSTM(4)])
    return K.layers.TimeDistributed(words)(x)


# What is done to words [sentences, words, features] of pages, padded words masked.
NESTED: dict[str, Callable[[Any, Any], Any]] = {
    "lstm": lambda K, x: K.layers.TimeDistributed(K.layers.LSTM(4))(x),
    "both ways": lambda K, x: K.layers.TimeDistributed(
        K.layers.Bidirectional(K.layers.GRU(3, return_sequences=True))
    )(x),
    "mean": lambda K, x: K.layers.TimeDistributed(K.layers.GlobalAveragePooling1D())(x),
    "dense": lambda K, x: K.layers.TimeDistributed(K.layers.LSTM(4))(
        K.layers.TimeDistributed(K.layers.Dense(4))(K.layers.Dense(3)(x))
    ),
    "model": _words_apart,
}


@pytest.mark.parametrize("row", NESTED)
def test_masks_of_words_in_sentences(keras: Any, row: str) -> None:
    """TimeDistributed gives its layer the mask of each step."""
    start = keras.layers.Input((3, 4), dtype="int32")
    x = keras.layers.Embedding(7, 3, mask_zero=True)(start)
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = randomize(keras.Model(start, NESTED[row](keras, x)))
    # The mean of no words is undefined.
    pages = np.where(np.arange(4) == 0, np.maximum(_PAGES, 1), _PAGES) if row == "mean" else _PAGES
    arrays = [pages.astype(np.int32)]
    want = run_keras(model, arrays)
    converted = convert(model)
    assert_equal(run_onnx(converted.model, arrays), want, 5e-6)
    folded = fold_model(converted.model, labels=converted.labels)
    assert_equal(run_onnx(folded.model, arrays), want, 2e-5)
    assert_equal(run_keras(fold_live(model).model, arrays), want, 2e-5)


def test_sentences_without_words(keras2: Any) -> None:
    """In Keras 2 a sentence of no words does not count for what reads the sentences."""
    L = keras2.layers
    start = L.Input((3, 4), dtype="int32")
    x = L.Embedding(7, 3, mask_zero=True)(start)
    x = L.LSTM(3)(L.TimeDistributed(L.LSTM(4))(x))
    model = randomize(keras2.Model(start, x))
    assert_equal(run_onnx(convert(model).model, [_PAGES]), run_keras(model, [_PAGES]), 5e-6)


@pytest.mark.parametrize("generation", [2, 3])
def test_mask_of_whole_sentences(request: pytest.FixtureRequest, generation: int) -> None:
    """A mask that lacks the axis that the inner layer runs along is refused."""
    keras = request.getfixturevalue(f"keras{generation}")
    L = keras.layers
    start, mask = L.Input((3, 4, 2)), L.Input((3,), dtype="bool")
    layer = L.TimeDistributed(L.Bidirectional(L.GRU(3)), name="words")
    serialized = json.loads(keras.Model([start, mask], [layer(start), mask]).to_json())
    graph = parse_model(serialized, generation)
    calls = [
        replace(call, kwargs={**call.kwargs, "mask": graph.inputs[1]})
        if call.layer == "words"
        else call
        for call in graph.calls
    ]
    with pytest.raises(UnsupportedLayerError, match="mask of whole steps"):
        convert(replace(graph, calls=tuple(calls)))
