"""More rows like those of `layer_rows`: attention, preprocessing, audio, augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.convert.direct.layer_rows import IMAGE, SERIES, VECTOR, VOLUME, Row, chain, of_two, on

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
    "mel_odd_window": on(
        (60,),
        lambda L: L.MelSpectrogram(
            fft_length=16,
            sequence_length=11,
            sequence_stride=5,
            num_mel_bins=4,
            sampling_rate=60,
            min_freq=1.0,
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


def _padded_for_two(L: Any) -> Any:
    def call(x: Any) -> Any:
        y = L.ZeroPadding2D(1)(x)
        return L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 3)(y)]), L.ReLU()(y)

    return call


ODD_CONVOLUTIONS: dict[str, Row] = {
    "conv1d_same_dilated": on(SERIES, lambda L: L.Conv1D(3, 4, dilation_rate=3, padding="same")),
    "conv1d_causal_stride": on(SERIES, lambda L: L.Conv1D(3, 4, strides=2, padding="causal")),
    "conv2d_one": on(IMAGE, lambda L: L.Conv2D(3, 1, strides=3, padding="same")),
    "conv2d_larger_than_image": on(IMAGE, lambda L: L.Conv2D(3, (9, 11), padding="same")),
    "conv2d_groups_stride": on(IMAGE, lambda L: L.Conv2D(6, 4, 3, "same", groups=2)),
    "conv3d_dilated": on(VOLUME, lambda L: L.Conv3D(3, 2, dilation_rate=2, padding="same")),
    "conv3d_groups": on(VOLUME, lambda L: L.Conv3D(4, (1, 2, 3), groups=2)),
    "conv3d_odd": on(VOLUME, lambda L: L.Conv3D(3, (2, 3, 4), (2, 1, 3), padding="same")),
    "depthwise1d_same": on(SERIES, lambda L: L.DepthwiseConv1D(4, strides=3, padding="same")),
    "depthwise2d_same_dilated": on(
        IMAGE, lambda L: L.DepthwiseConv2D((2, 3), dilation_rate=2, padding="same")
    ),
    "depthwise2d_no_bias": on(IMAGE, lambda L: L.DepthwiseConv2D(2, use_bias=False)),
    "separable1d_same": on(SERIES, lambda L: L.SeparableConv1D(3, 4, 2, padding="same")),
    "separable2d_multiplier": on(
        IMAGE, lambda L: L.SeparableConv2D(3, (2, 3), depth_multiplier=3, use_bias=False)
    ),
    "transpose1d_odd": on(SERIES, lambda L: L.Conv1DTranspose(3, 5, strides=2, padding="same")),
    "transpose1d_wide": on(SERIES, lambda L: L.Conv1DTranspose(3, 2, strides=4)),
    "transpose2d_no_bias": on(IMAGE, lambda L: L.Conv2DTranspose(3, 4, 2, use_bias=False)),
    "transpose3d_odd": on(VOLUME, lambda L: L.Conv3DTranspose(2, (2, 3, 4), (1, 2, 3))),
    "max_pool1d_same": on(SERIES, lambda L: L.MaxPooling1D(4, 3, padding="same")),
    "average_pool1d_stride": on(SERIES, lambda L: L.AveragePooling1D(4, 3)),
    "average_pool3d_same": on(VOLUME, lambda L: L.AveragePooling3D(3, 2, padding="same")),
    "max_pool3d_odd": on(VOLUME, lambda L: L.MaxPooling3D((1, 2, 3), 2, padding="same")),
    "padding_then_stride": chain(
        IMAGE, lambda L: [L.ZeroPadding2D(((1, 0), (2, 3))), L.Conv2D(3, 3, strides=2)]
    ),
    "padding_then_same": chain(
        IMAGE, lambda L: [L.ZeroPadding2D(1), L.Conv2D(3, 3, padding="same")]
    ),
    "padding_then_depthwise": chain(
        IMAGE,
        lambda L: [L.Conv2D(4, 1), L.ZeroPadding2D(((0, 1), (0, 1))), L.DepthwiseConv2D(3, 2)],
    ),
    "padding_then_pool": chain(IMAGE, lambda L: [L.ZeroPadding2D(2), L.MaxPooling2D(3)]),
    "padding_twice_read": on(IMAGE, _padded_for_two),
    "padding1d_number": on(SERIES, lambda L: L.ZeroPadding1D(2)),
    "cropping1d_number": on(SERIES, lambda L: L.Cropping1D(2)),
    "batch_norm_5": on(VOLUME, lambda L: L.BatchNormalization()),
    "layer_norm_image": on(IMAGE, lambda L: L.LayerNormalization(axis=[1, 2, 3])),
}

COMMON: dict[str, Row] = {**ATTENTION, **IMAGES, **CATEGORIES, **ODD_CONVOLUTIONS}
# Layers that take a data format: their shape with channels last, and the layers.
FORMATS: dict[str, tuple[tuple[int, ...], Callable[[Any, str], list[Any]]]] = {
    "conv1d": (SERIES, lambda L, f: [L.Conv1D(3, 3, data_format=f)]),
    "conv1d_same": (SERIES, lambda L, f: [L.Conv1D(3, 4, 3, "same", data_format=f)]),
    "conv2d_dilated": (
        IMAGE,
        lambda L, f: [L.Conv2D(3, 2, dilation_rate=(2, 3), padding="same", data_format=f)],
    ),
    "conv3d": (VOLUME, lambda L, f: [L.Conv3D(3, 2, data_format=f)]),
    "conv3d_same": (VOLUME, lambda L, f: [L.Conv3D(3, 3, 2, "same", data_format=f)]),
    "depthwise_same": (
        IMAGE,
        lambda L, f: [L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, data_format=f)],
    ),
    "separable1d": (SERIES, lambda L, f: [L.SeparableConv1D(3, 3, data_format=f)]),
    "transpose1d": (SERIES, lambda L, f: [L.Conv1DTranspose(3, 3, 2, data_format=f)]),
    "transpose2d_same": (
        IMAGE,
        lambda L, f: [L.Conv2DTranspose(3, 3, 2, padding="same", data_format=f)],
    ),
    "transpose3d": (VOLUME, lambda L, f: [L.Conv3DTranspose(3, 2, 2, data_format=f)]),
    "max_pool1d": (SERIES, lambda L, f: [L.MaxPooling1D(2, data_format=f)]),
    "max_pool3d_same": (VOLUME, lambda L, f: [L.MaxPooling3D(2, 2, "same", data_format=f)]),
    "average_pool1d": (SERIES, lambda L, f: [L.AveragePooling1D(3, 2, data_format=f)]),
    "average_pool3d": (VOLUME, lambda L, f: [L.AveragePooling3D(2, data_format=f)]),
    "global_average1d": (SERIES, lambda L, f: [L.GlobalAveragePooling1D(data_format=f)]),
    "global_average3d": (VOLUME, lambda L, f: [L.GlobalAveragePooling3D(data_format=f)]),
    "global_max1d": (SERIES, lambda L, f: [L.GlobalMaxPooling1D(data_format=f)]),
    "padding3d": (VOLUME, lambda L, f: [L.ZeroPadding3D(((0, 1), (1, 0), (1, 2)), data_format=f)]),
    "cropping3d": (VOLUME, lambda L, f: [L.Cropping3D(((0, 1), (1, 0), (1, 2)), data_format=f)]),
    "upsampling3d": (VOLUME, lambda L, f: [L.UpSampling3D((2, 1, 3), data_format=f)]),
    "resizing": (IMAGE, lambda L, f: [L.Resizing(5, 12, data_format=f)]),
    "center_crop": (IMAGE, lambda L, f: [L.CenterCrop(4, 5, data_format=f)]),
}

KERAS3_ONLY: dict[str, Row] = {
    **ATTENTION_3,
    **AUDIO_3,
    "training_dropout": on(VECTOR, lambda L: lambda x: L.Dropout(0.5)(x, training=True)),
    "training_norm": on(VECTOR, lambda L: lambda x: L.BatchNormalization()(x, training=True)),
}
