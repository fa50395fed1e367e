"""RNNs of cells, ConvLSTMs and what runs step by step, for both generations of Keras."""

from __future__ import annotations

from typing import Any

from tests.convert.direct.layer_rows import Row, chain, of_two, on

SERIES = (6, 4)
LINES = (5, 9, 3)
FILM = (5, 7, 6, 3)
VOLUMES = (3, 4, 5, 6, 2)


def _cell(name: str, cell: dict[str, Any], **options: Any) -> Row:
    return on(SERIES, lambda L: L.RNN(getattr(L, f"{name}Cell")(4, **cell), **options))


def _stack(*options: Any, **settings: Any) -> Row:
    return on(
        SERIES,
        lambda L: L.RNN([L.LSTMCell(5), L.GRUCell(4), L.SimpleRNNCell(3)], *options, **settings),
    )


def _film(**options: Any) -> Row:
    return on(FILM, lambda L: L.ConvLSTM2D(3, **{"kernel_size": 2, **options}))


CELLS: dict[str, Row] = {
    "rnn_lstm": _cell("LSTM", {}),
    "rnn_lstm_sequence": _cell("LSTM", {"use_bias": False}, return_sequences=True, unroll=True),
    "rnn_gru_state": _cell("GRU", {}, return_sequences=True, return_state=True),
    "rnn_gru_reset_before": _cell("GRU", {"reset_after": False}, return_sequences=True),
    "rnn_simple_backwards": _cell(
        "SimpleRNN", {"activation": "relu"}, go_backwards=True, return_sequences=True
    ),
    "rnn_stack": _stack(),
    "rnn_stack_backwards": _stack(go_backwards=True, return_sequences=True),
    "rnn_stack_of_one": on(SERIES, lambda L: L.RNN(L.StackedRNNCells([L.GRUCell(4)]))),
    "rnn_stack_of_stacks": on(
        SERIES,
        lambda L: L.RNN(
            L.StackedRNNCells([L.StackedRNNCells([L.GRUCell(4), L.GRUCell(3)]), L.SimpleRNNCell(4)])
        ),
    ),
    "rnn_bidirectional": on(
        SERIES, lambda L: L.Bidirectional(L.RNN(L.LSTMCell(4), return_sequences=True))
    ),
    "rnn_bidirectional_stack": on(
        SERIES,
        lambda L: L.Bidirectional(
            L.RNN([L.LSTMCell(4), L.GRUCell(4)], return_sequences=True), merge_mode="ave"
        ),
    ),
    "rnn_bidirectional_sum": on(
        SERIES, lambda L: L.Bidirectional(L.RNN([L.GRUCell(4), L.GRUCell(4)]), merge_mode="sum")
    ),
    "rnn_bidirectional_mul": on(
        SERIES, lambda L: L.Bidirectional(L.RNN([L.GRUCell(4), L.GRUCell(4)]), merge_mode="mul")
    ),
    "rnn_bidirectional_none": on(
        SERIES, lambda L: L.Bidirectional(L.RNN([L.GRUCell(4), L.GRUCell(4)]), merge_mode=None)
    ),
    "rnn_in_a_chain": chain(
        SERIES,
        lambda L: [
            L.Dense(3),
            L.BatchNormalization(),
            L.RNN([L.GRUCell(4), L.LSTMCell(4)], return_sequences=True),
            L.BatchNormalization(),
            L.LSTM(3),
        ],
    ),
    "lstm_gelu": on(SERIES, lambda L: L.LSTM(5, activation="gelu", return_sequences=True)),
    "gru_swish": on(SERIES, lambda L: L.GRU(4, activation="swish", go_backwards=True)),
}

CONVOLUTIONAL: dict[str, Row] = {
    "conv_lstm": _film(kernel_size=3),
    "conv_lstm_same": _film(
        kernel_size=(3, 2), padding="same", strides=(2, 1), return_sequences=True
    ),
    "conv_lstm_dilated": _film(dilation_rate=2, use_bias=False, return_sequences=True),
    "conv_lstm_backwards": _film(go_backwards=True, return_sequences=True),
    "conv_lstm_hard": _film(
        recurrent_activation="hard_sigmoid", activation="relu", go_backwards=True
    ),
    "conv_lstm_sigmoid": _film(recurrent_activation="sigmoid", activation="softmax"),
    "conv_lstm_state": _film(return_state=True, return_sequences=True),
    "conv_lstm_free": on((None, 7, 6, 3), lambda L: L.ConvLSTM2D(4, 3, return_sequences=True)),
    "conv_lstm1d": on(LINES, lambda L: L.ConvLSTM1D(3, 2, strides=2, return_sequences=True)),
    "conv_lstm3d": on(VOLUMES, lambda L: L.ConvLSTM3D(3, 2)),
    "conv_lstm_bidirectional": on(
        FILM, lambda L: L.Bidirectional(L.ConvLSTM2D(3, 2, return_sequences=True))
    ),
    "conv_lstm_bidirectional_none": on(
        FILM, lambda L: L.Bidirectional(L.ConvLSTM2D(3, 2), merge_mode=None)
    ),
    "conv_lstm_distributed": on(
        (2, *FILM), lambda L: L.TimeDistributed(L.ConvLSTM2D(3, 2, return_sequences=True))
    ),
    "conv_lstm_chain": chain(
        FILM,
        lambda L: [
            L.ConvLSTM2D(3, 2, return_sequences=True),
            L.BatchNormalization(),
            L.ConvLSTM2D(4, 2),
            L.BatchNormalization(),
            L.Conv2D(2, 1),
        ],
    ),
}

ROWS = {**CELLS, **CONVOLUTIONAL}


def _stack_from_states(L: Any, a: Any, b: Any) -> Any:
    first = L.RNN([L.LSTMCell(5), L.GRUCell(4)], return_state=True, return_sequences=True)
    _, one, two = first(a)
    return L.RNN([L.LSTMCell(5), L.GRUCell(4)])(b, initial_state=[one, two])


def _both_from_states(L: Any, a: Any, b: Any) -> Any:
    both = L.Bidirectional(L.GRU(4, return_state=True, return_sequences=True))
    y, forward, backward = both(a)
    return L.Bidirectional(L.GRU(4))(b, initial_state=[forward, backward]), y


def _film_from_states(L: Any, a: Any, b: Any) -> Any:
    _, h, c = L.ConvLSTM2D(3, 2, return_state=True)(a)
    return L.ConvLSTM2D(3, 2, return_sequences=True)(b, initial_state=[h, c])


# What Keras itself states a wrong shape for cannot stand between norms.
STATES: dict[str, Row] = {
    "rnn_stack_state": _stack(return_state=True, go_backwards=True),
    "rnn_bidirectional_state": on(
        SERIES,
        lambda L: L.Bidirectional(
            L.RNN([L.LSTMCell(4), L.GRUCell(4)], return_state=True), merge_mode=None
        ),
    ),
    "two_kinds": on(
        SERIES,
        lambda L: L.Bidirectional(
            L.LSTM(4, return_sequences=True),
            backward_layer=L.GRU(3, return_sequences=True, go_backwards=True),
        ),
    ),
    "rnn_stack_from_states": of_two(SERIES, (3, 4), _stack_from_states),
    "both_from_states": of_two(SERIES, (3, 4), _both_from_states),
    "conv_lstm_from_states": of_two(FILM, (3, 7, 6, 2), _film_from_states),
}
