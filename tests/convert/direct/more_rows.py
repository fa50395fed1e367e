"""More rows like those of `layer_rows`: attention, preprocessing, audio, augmentation."""

from __future__ import annotations

from typing import Any

from tests.convert.direct.layer_rows import IMAGE, SERIES, VECTOR, Row, chain, of_two, on

GRID = (3, 5, 6)


def _self(**options: Any) -> Row:
    return on(SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3)(x, x, **options))


def _given_mask(K: Any) -> Any:
    a = K.layers.Input((5, 4), name="a")
    b = K.layers.Input((5, 5), name="b", dtype="bool")
    return K.Model([a, b], K.layers.MultiHeadAttention(2, 3)(a, a, attention_mask=b), name="row")


ATTENTION: dict[str, Row] = {
    "multi_head_grid": on(GRID, lambda L: lambda x: L.MultiHeadAttention(2, 3)(x, x)),
    "multi_head_axis_1": on(
        GRID, lambda L: lambda x: L.MultiHeadAttention(2, 3, attention_axes=(1,))(x, x)
    ),
    "multi_head_axis_2": on(
        GRID, lambda L: lambda x: L.MultiHeadAttention(2, 3, attention_axes=(2,))(x, x)
    ),
    "multi_head_output_shape": on(
        SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3, output_shape=7)(x, x)
    ),
    "multi_head_output_axes": on(
        SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3, output_shape=(2, 5))(x, x)
    ),
    "multi_head_free_causal": on(
        (None, 4), lambda L: lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    ),
    "multi_head_given_mask": _given_mask,
    "multi_head_dropout_causal": on(
        SERIES,
        lambda L: lambda x: L.MultiHeadAttention(2, 3, dropout=0.3)(x, x, use_causal_mask=True),
    ),
    "attention_causal": on(SERIES, lambda L: lambda x: L.Attention()([x, x], use_causal_mask=True)),
}

ATTENTION_3: dict[str, Row] = {
    "grouped_query": on(SERIES, lambda L: lambda x: L.GroupQueryAttention(3, 4, 2)(x, x)),
    "grouped_query_one": of_two(
        SERIES, (3, 4), lambda L, a, b: L.GroupQueryAttention(3, 4, 1, use_bias=False)(a, b)
    ),
    "grouped_query_causal": on(
        (None, 4), lambda L: lambda x: L.GroupQueryAttention(3, 4, 2)(x, x, use_causal_mask=True)
    ),
    "grouped_query_scores": on(
        SERIES,
        lambda L: lambda x: L.GroupQueryAttention(3, 4, 2)(x, x, return_attention_scores=True),
    ),
}

IMAGES: dict[str, Row] = {
    "resizing": on(IMAGE, lambda L: L.Resizing(5, 12)),
    "resizing_nearest": on(IMAGE, lambda L: L.Resizing(14, 6, interpolation="nearest")),
    "resizing_free": on((None, None, 3), lambda L: L.Resizing(4, 6)),
    "resizing_same": on(IMAGE, lambda L: L.Resizing(7, 9)),
    "resizing_bytes": on(
        IMAGE, lambda L: L.Resizing(5, 12, interpolation="nearest"), dtype="uint8"
    ),
    "resizing_conv": chain(IMAGE, lambda L: [L.Resizing(8, 8), L.Conv2D(3, 2), L.ReLU()]),
    "conv_resizing": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Resizing(4, 4), L.Conv2D(2, 2)]),
    "center_crop": on(IMAGE, lambda L: L.CenterCrop(4, 5)),
    "center_crop_odd": on(IMAGE, lambda L: L.CenterCrop(5, 8)),
    "augmented": chain(
        IMAGE,
        lambda L: [L.RandomFlip(), L.RandomRotation(0.2), L.RandomZoom(0.1), L.Conv2D(3, 2)],
    ),
}


def _whole(shape: tuple[int, ...], make: Any) -> Row:
    return on(shape, make, dtype="int32")


CATEGORIES: dict[str, Row] = {
    "category_multi_hot": _whole((5,), lambda L: L.CategoryEncoding(11)),
    "category_one_hot": _whole((1,), lambda L: L.CategoryEncoding(11, output_mode="one_hot")),
    "category_count": _whole((5,), lambda L: L.CategoryEncoding(11, output_mode="count")),
    "discretization": on(VECTOR, lambda L: L.Discretization([-1.0, 0.0, 0.5, 2.0])),
    "discretization_one_hot": on(
        (1,), lambda L: L.Discretization([-1.0, 0.5], output_mode="one_hot")
    ),
    "integer_lookup": _whole((4,), lambda L: L.IntegerLookup(vocabulary=[3, 5, 8, 10])),
    "integer_lookup_mask": _whole(
        (4,), lambda L: L.IntegerLookup(vocabulary=[3, 5, 8], mask_token=0)
    ),
    "integer_lookup_hot": _whole(
        (4,), lambda L: L.IntegerLookup(vocabulary=[3, 5, 8], output_mode="multi_hot")
    ),
    "integer_lookup_embedding": _whole(
        (4,),
        lambda L: lambda x: L.Embedding(5, 3)(L.IntegerLookup(vocabulary=[3, 5, 8, 10])(x)),
    ),
}

AUDIO_3: dict[str, Row] = {
    f"stft_{mode}": on(
        (80, 2),
        lambda L, mode=mode: L.STFTSpectrogram(  # type: ignore[misc]
            mode=mode, frame_length=16, frame_step=8, fft_length=16
        ),
    )
    for mode in ("log", "magnitude", "psd", "real", "imag", "stft")
} | {
    "stft_axes": on(
        (80, 1),
        lambda L: L.STFTSpectrogram(
            frame_length=16, frame_step=5, fft_length=32, expand_dims=True, padding="same"
        ),
    ),
    "mel": on(
        (400,),
        lambda L: L.MelSpectrogram(
            fft_length=64, sequence_stride=32, num_mel_bins=12, sampling_rate=8000, max_freq=4000
        ),
    ),
    "mel_power": on(
        (400,),
        lambda L: L.MelSpectrogram(
            fft_length=64,
            sequence_stride=16,
            sequence_length=50,
            window="hamming",
            num_mel_bins=8,
            sampling_rate=8000,
            power_to_db=False,
            mag_exp=1.0,
        ),
    ),
}

COMMON: dict[str, Row] = {**ATTENTION, **IMAGES, **CATEGORIES}
KERAS3_ONLY: dict[str, Row] = {
    **ATTENTION_3,
    **AUDIO_3,
    "sparsemax": on((4, 6), lambda L: L.Activation("sparsemax")),
    "training_dropout": on(VECTOR, lambda L: lambda x: L.Dropout(0.5)(x, training=True)),
    "training_norm": on(VECTOR, lambda L: lambda x: L.BatchNormalization()(x, training=True)),
}
