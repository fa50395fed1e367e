"""One small model per layer and way of using it, for both generations of Keras.

A row is a name and a function of the Keras module. Rows that only one generation has stand in
their own tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Row = Callable[[Any], Any]
IMAGE = (7, 9, 4)
SERIES = (11, 4)
VOLUME = (5, 6, 7, 2)
VECTOR = (6,)


def on(shape: tuple[int | None, ...], make: Callable[[Any], Any], dtype: str = "float32") -> Row:
    """A model of one layer on an input of this shape (without the batch)."""

    def build(K: Any) -> Any:
        x = K.layers.Input(shape, name="x", dtype=dtype)
        return K.Model(x, make(K.layers)(x), name="row")

    return build


def chain(shape: tuple[int | None, ...], make: Callable[[Any], list[Any]]) -> Row:
    """A model of layers one after the other."""

    def build(K: Any) -> Any:
        x = start = K.layers.Input(shape, name="x")
        for layer in make(K.layers):
            x = layer(x)
        return K.Model(start, x, name="row")

    return build


def of_two(
    first: tuple[int, ...], second: tuple[int, ...], make: Callable[[Any, Any, Any], Any]
) -> Row:
    """A model of two inputs."""

    def build(K: Any) -> Any:
        a, b = K.layers.Input(first, name="a"), K.layers.Input(second, name="b")
        return K.Model([a, b], make(K.layers, a, b), name="row")

    return build


DENSE: dict[str, Row] = {
    "dense": on(VECTOR, lambda L: L.Dense(5)),
    "dense_no_bias": on(VECTOR, lambda L: L.Dense(5, use_bias=False)),
    "dense_relu": on(VECTOR, lambda L: L.Dense(5, activation="relu")),
    "dense_rank3": on(SERIES, lambda L: L.Dense(5, activation="tanh")),
    "dense_rank4": on(IMAGE, lambda L: L.Dense(5)),
    "dense_square": on(VECTOR, lambda L: L.Dense(6)),
    "dense_layer_activation": on(VECTOR, lambda L: L.Dense(5, activation=L.LeakyReLU())),
    "einsum_dense": on(
        (4, 6), lambda L: L.EinsumDense("abc,cde->abde", output_shape=(None, 3, 2), bias_axes="de")
    ),
    "einsum_dense_matrix": on(
        VECTOR, lambda L: L.EinsumDense("ab,bc->ac", output_shape=5, bias_axes="c")
    ),
    "einsum_dense_dots": on(
        (4, 6), lambda L: L.EinsumDense("...x,xy->...y", output_shape=5, bias_axes="y")
    ),
    "conv_flatten_dense": chain(
        IMAGE, lambda L: [L.Conv2D(3, 2), L.Flatten(), L.Dense(4, activation="relu"), L.Dense(2)]
    ),
    "conv_flatten_bn_dense": chain(
        IMAGE,
        lambda L: [
            L.Conv2D(3, 2),
            L.Flatten(),
            L.BatchNormalization(),
            L.ReLU(),
            L.Dropout(0.5),
            L.Dense(4),
        ],
    ),
    "conv_flatten": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Flatten()]),
    "conv_flatten_softmax": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Flatten(), L.Softmax()]),
    "conv_reshape_dense": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Reshape((48, 3)), L.Dense(2)]),
    "conv_reshape_other": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Reshape((36, 4))]),
    "conv_dense_conv": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Dense(5), L.Conv2D(2, 1)]),
}

CONVOLUTIONS: dict[str, Row] = {
    # Pads columns and channels of what the convolution takes for channels last.
    "pad_first_conv_last": chain(
        IMAGE,
        lambda L: [
            L.ZeroPadding2D(((1, 0), (0, 2)), data_format="channels_first"),
            L.Conv2D(3, (2, 1)),
        ],
    ),
    "pad_first_separable_last": chain(
        IMAGE,
        lambda L: [
            L.ZeroPadding2D(((1, 0), (0, 2)), data_format="channels_first"),
            L.SeparableConv2D(3, 1),
        ],
    ),
    "conv1d": on(SERIES, lambda L: L.Conv1D(3, 2)),
    "conv1d_same_stride": on(SERIES, lambda L: L.Conv1D(3, 4, strides=3, padding="same")),
    "conv1d_causal": on(SERIES, lambda L: L.Conv1D(3, 3, padding="causal", dilation_rate=2)),
    "conv1d_groups": on(SERIES, lambda L: L.Conv1D(6, 3, groups=2)),
    "conv2d": on(IMAGE, lambda L: L.Conv2D(3, 3)),
    "conv2d_same": on(IMAGE, lambda L: L.Conv2D(3, 3, padding="same", activation="relu")),
    "conv2d_even": on(IMAGE, lambda L: L.Conv2D(3, (2, 4), padding="same")),
    "conv2d_stride": on(IMAGE, lambda L: L.Conv2D(3, 3, strides=2, padding="same")),
    "conv2d_stride_odd": on(IMAGE, lambda L: L.Conv2D(3, (2, 3), strides=(3, 2), padding="same")),
    "conv2d_stride_valid": on(IMAGE, lambda L: L.Conv2D(3, 2, strides=3)),
    "conv2d_dilated": on(IMAGE, lambda L: L.Conv2D(3, 3, dilation_rate=(2, 3), padding="same")),
    "conv2d_dilated_valid": on(IMAGE, lambda L: L.Conv2D(3, 2, dilation_rate=3)),
    "conv2d_no_bias": on(IMAGE, lambda L: L.Conv2D(3, 3, use_bias=False)),
    "conv2d_groups": on(IMAGE, lambda L: L.Conv2D(6, 3, groups=2, padding="same")),
    "conv2d_as_depthwise": on(IMAGE, lambda L: L.Conv2D(8, 3, groups=4)),
    "conv3d": on(VOLUME, lambda L: L.Conv3D(3, 2)),
    "conv3d_same_stride": on(VOLUME, lambda L: L.Conv3D(3, 3, strides=2, padding="same")),
    "depthwise1d": on(SERIES, lambda L: L.DepthwiseConv1D(3, depth_multiplier=2)),
    "depthwise2d": on(IMAGE, lambda L: L.DepthwiseConv2D(3)),
    "depthwise2d_multiplier": on(
        IMAGE, lambda L: L.DepthwiseConv2D(3, depth_multiplier=3, padding="same", strides=2)
    ),
    "depthwise2d_dilated": on(IMAGE, lambda L: L.DepthwiseConv2D(3, dilation_rate=2)),
    "separable1d": on(SERIES, lambda L: L.SeparableConv1D(3, 3, depth_multiplier=2)),
    "separable2d": on(
        IMAGE, lambda L: L.SeparableConv2D(3, 3, padding="same", strides=2, activation="relu")
    ),
    "separable2d_dilated": on(IMAGE, lambda L: L.SeparableConv2D(3, 3, dilation_rate=2)),
    "transpose1d": on(SERIES, lambda L: L.Conv1DTranspose(3, 3, strides=2)),
    "transpose1d_same": on(SERIES, lambda L: L.Conv1DTranspose(3, 4, strides=3, padding="same")),
    "transpose2d": on(IMAGE, lambda L: L.Conv2DTranspose(3, 3)),
    "transpose2d_stride": on(IMAGE, lambda L: L.Conv2DTranspose(3, (2, 3), strides=(3, 2))),
    "transpose2d_same": on(IMAGE, lambda L: L.Conv2DTranspose(3, 3, strides=2, padding="same")),
    "transpose2d_same_wide": on(
        IMAGE, lambda L: L.Conv2DTranspose(3, 2, strides=3, padding="same", activation="relu")
    ),
    "transpose2d_same_even": on(
        IMAGE, lambda L: L.Conv2DTranspose(3, 4, strides=1, padding="same")
    ),
    "transpose2d_output_padding": on(
        IMAGE, lambda L: L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1)
    ),
    "transpose2d_output_padding_valid": on(
        IMAGE, lambda L: L.Conv2DTranspose(3, 3, strides=2, output_padding=1)
    ),
    "transpose3d": on(VOLUME, lambda L: L.Conv3DTranspose(3, 3, strides=2, padding="same")),
    "conv_chain": chain(
        IMAGE,
        lambda L: [
            L.Conv2D(4, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.DepthwiseConv2D(3, padding="same"),
            L.BatchNormalization(scale=False),
            L.MaxPooling2D(2),
            L.Conv2D(3, 1),
        ],
    ),
}

NORMALIZATIONS: dict[str, Row] = {
    "batch_norm_2": on(VECTOR, lambda L: L.BatchNormalization()),
    "batch_norm_3": on(SERIES, lambda L: L.BatchNormalization(epsilon=0.01)),
    "batch_norm_4": on(IMAGE, lambda L: L.BatchNormalization(scale=False)),
    "batch_norm_axis_1": on(IMAGE, lambda L: L.BatchNormalization(axis=1, center=False)),
    "batch_norm_axis_2": on(IMAGE, lambda L: L.BatchNormalization(axis=-2)),
    "batch_norm_bare": on(VECTOR, lambda L: L.BatchNormalization(center=False, scale=False)),
    "layer_norm": on(SERIES, lambda L: L.LayerNormalization()),
    "layer_norm_vector": on(VECTOR, lambda L: L.LayerNormalization(epsilon=1e-6)),
    "layer_norm_axis_1": on(IMAGE, lambda L: L.LayerNormalization(axis=1)),
    "layer_norm_axes": on(IMAGE, lambda L: L.LayerNormalization(axis=[2, 3])),
    "layer_norm_no_scale": on(SERIES, lambda L: L.LayerNormalization(scale=False)),
    "layer_norm_no_center": on(SERIES, lambda L: L.LayerNormalization(center=False)),
    "layer_norm_in_conv": chain(
        IMAGE, lambda L: [L.Conv2D(4, 3), L.LayerNormalization(), L.Conv2D(3, 1)]
    ),
    "group_norm": on(IMAGE, lambda L: L.GroupNormalization(groups=2)),
    "group_norm_instance": on(SERIES, lambda L: L.GroupNormalization(groups=-1)),
    "group_norm_one": on(IMAGE, lambda L: L.GroupNormalization(groups=1, scale=False)),
    "group_norm_axis_1": on((4, 5, 3), lambda L: L.GroupNormalization(groups=2, axis=1)),
    "group_norm_in_conv": chain(
        IMAGE, lambda L: [L.Conv2D(6, 3), L.GroupNormalization(groups=3), L.Conv2D(3, 1)]
    ),
    "unit_norm": on(SERIES, lambda L: L.UnitNormalization()),
    "unit_norm_axes": on(IMAGE, lambda L: L.UnitNormalization(axis=[1, 2])),
    "normalization": on(
        VECTOR, lambda L: L.Normalization(mean=[1.0, 2, 3, 4, 5, 6], variance=[1.0, 4, 9, 2, 3, 5])
    ),
    "normalization_image": on(
        IMAGE, lambda L: L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 2])
    ),
    "normalization_scalar": on(IMAGE, lambda L: L.Normalization(axis=None, mean=2.0, variance=9.0)),
    "normalization_inverse": on(
        VECTOR,
        lambda L: L.Normalization(mean=[3.0] * 6, variance=[1.0, 4, 9, 2, 3, 5], invert=True),
    ),
    "normalization_zero_variance": on(
        VECTOR, lambda L: L.Normalization(mean=[1.0] * 6, variance=[0.0, 4, 9, 2, 3, 5])
    ),
    "rescaling": on(IMAGE, lambda L: L.Rescaling(1 / 127.5, offset=-1)),
    "rescaling_list": on(IMAGE, lambda L: L.Rescaling([0.5, 2, 3, 4], offset=[1, -1, 0, 2])),
}

SHAPES: dict[str, Row] = {
    "flatten": on(IMAGE, lambda L: L.Flatten()),
    "flatten_vector": on(VECTOR, lambda L: L.Flatten()),
    "flatten_channels_first": on(IMAGE, lambda L: L.Flatten(data_format="channels_first")),
    "reshape": on(IMAGE, lambda L: L.Reshape((9, 28))),
    "reshape_minus_one": on(IMAGE, lambda L: L.Reshape((-1, 4))),
    "reshape_vector": on(VECTOR, lambda L: L.Reshape((1, 1, 6))),
    "permute": on(IMAGE, lambda L: L.Permute((3, 1, 2))),
    "permute_in_conv": chain(
        IMAGE, lambda L: [L.Conv2D(3, 2), L.Permute((2, 1, 3)), L.Conv2D(2, 2)]
    ),
    "repeat_vector": on(VECTOR, lambda L: L.RepeatVector(3)),
    "cropping1d": on(SERIES, lambda L: L.Cropping1D((1, 2))),
    "cropping2d": on(IMAGE, lambda L: L.Cropping2D(((1, 0), (2, 3)))),
    "cropping2d_conv": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Cropping2D(1), L.Conv2D(2, 2)]),
    "cropping3d": on(VOLUME, lambda L: L.Cropping3D(((0, 1), (1, 0), (1, 2)))),
    "padding1d": on(SERIES, lambda L: L.ZeroPadding1D((1, 2))),
    "padding2d": on(IMAGE, lambda L: L.ZeroPadding2D(((1, 0), (2, 3)))),
    "padding2d_number": on(IMAGE, lambda L: L.ZeroPadding2D(2)),
    "padding2d_conv": chain(
        IMAGE, lambda L: [L.Conv2D(3, 2), L.ZeroPadding2D((1, 2)), L.Conv2D(2, 2)]
    ),
    "padding3d": on(VOLUME, lambda L: L.ZeroPadding3D(((0, 1), (1, 0), (1, 2)))),
    "upsampling1d": on(SERIES, lambda L: L.UpSampling1D(3)),
    "upsampling2d": on(IMAGE, lambda L: L.UpSampling2D((2, 3))),
    "upsampling2d_bilinear": on(IMAGE, lambda L: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "upsampling3d": on(VOLUME, lambda L: L.UpSampling3D((2, 1, 3))),
    "max_pool1d": on(SERIES, lambda L: L.MaxPooling1D(3)),
    "max_pool2d": on(IMAGE, lambda L: L.MaxPooling2D((2, 3))),
    "max_pool2d_same": on(IMAGE, lambda L: L.MaxPooling2D(3, strides=2, padding="same")),
    "max_pool3d": on(VOLUME, lambda L: L.MaxPooling3D(2, strides=1, padding="same")),
    "average_pool1d": on(SERIES, lambda L: L.AveragePooling1D(2, padding="same")),
    "average_pool2d": on(IMAGE, lambda L: L.AveragePooling2D(2)),
    "average_pool2d_same": on(IMAGE, lambda L: L.AveragePooling2D(3, strides=2, padding="same")),
    "average_pool3d": on(VOLUME, lambda L: L.AveragePooling3D(2)),
    "global_average1d": on(SERIES, lambda L: L.GlobalAveragePooling1D()),
    "global_average2d": on(IMAGE, lambda L: L.GlobalAveragePooling2D()),
    "global_average2d_keep": on(IMAGE, lambda L: L.GlobalAveragePooling2D(keepdims=True)),
    "global_average_conv": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.GlobalAveragePooling2D()]),
    "global_average3d": on(VOLUME, lambda L: L.GlobalAveragePooling3D()),
    "global_max1d": on(SERIES, lambda L: L.GlobalMaxPooling1D(keepdims=True)),
    "global_max2d": on(IMAGE, lambda L: L.GlobalMaxPooling2D()),
    "global_max_conv": chain(
        IMAGE, lambda L: [L.Conv2D(3, 2), L.GlobalMaxPooling2D(keepdims=True), L.Conv2D(2, 1)]
    ),
    "global_max3d": on(VOLUME, lambda L: L.GlobalMaxPooling3D()),
    "dropout": chain(
        IMAGE,
        lambda L: [
            L.Dropout(0.5),
            L.SpatialDropout2D(0.5),
            L.GaussianNoise(1.0),
            L.GaussianDropout(0.5),
            L.ActivityRegularization(0.1),
            L.ReLU(),
        ],
    ),
}


def _two(name: str) -> Row:
    return of_two(IMAGE, IMAGE, lambda L, a, b: getattr(L, name)()([a, b]))


def _squeeze_excite(L: Any, a: Any, b: Any) -> Any:
    x = L.Conv2D(6, 3, padding="same")(a)
    s = L.GlobalAveragePooling2D()(x)
    s = L.Reshape((1, 1, 6))(s)
    s = L.Conv2D(2, 1, activation="relu")(s)
    s = L.Conv2D(6, 1, activation="sigmoid")(s)
    y = L.Multiply()([x, s])
    return L.Add()([y, L.Conv2D(6, 1)(b)])


MERGES: dict[str, Row] = {
    **{
        name.lower(): _two(name)
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "concatenate_axis": of_two((3, 4), (5, 4), lambda L, a, b: L.Concatenate(axis=1)([a, b])),
    "concatenate_convs": of_two(
        IMAGE, IMAGE, lambda L, a, b: L.Concatenate()([L.Conv2D(3, 2)(a), L.Conv2D(2, 2)(b)])
    ),
    "add_layouts": of_two(IMAGE, IMAGE, lambda L, a, b: L.Add()([L.Conv2D(4, 1)(a), b])),
    "add_broadcast": of_two((3, 4), (1, 4), lambda L, a, b: L.Add()([a, b])),
    "dot": of_two(VECTOR, VECTOR, lambda L, a, b: L.Dot(axes=1)([a, b])),
    "dot_normalized": of_two(VECTOR, VECTOR, lambda L, a, b: L.Dot(1, normalize=True)([a, b])),
    "dot_matrices": of_two((3, 5), (5, 4), lambda L, a, b: L.Dot(axes=(2, 1))([a, b])),
    "dot_transposed": of_two((5, 3), (4, 5), lambda L, a, b: L.Dot(axes=(1, 2))([a, b])),
    "dot_same_axis": of_two((3, 5), (4, 5), lambda L, a, b: L.Dot(axes=2)([a, b])),
    "dot_vector": of_two((3, 5), (5,), lambda L, a, b: L.Dot(axes=(2, 1))([a, b])),
    "squeeze_excite": of_two(IMAGE, IMAGE, _squeeze_excite),
}


def _rnn(name: str, **options: Any) -> Row:
    return on(SERIES, lambda L: getattr(L, name)(5, **options))


RECURRENT: dict[str, Row] = {
    f"{name.lower()}_{title}": _rnn(name, **options)
    for name in ("LSTM", "GRU", "SimpleRNN")
    for title, options in {
        "last": {},
        "sequence": {"return_sequences": True},
        "backwards": {"go_backwards": True, "return_sequences": True},
        "backwards_last": {"go_backwards": True},
        "no_bias": {"use_bias": False},
        "relu": {"activation": "relu"},
        "state": {"return_state": True, "return_sequences": True},
    }.items()
} | {
    "lstm_hard_sigmoid": _rnn("LSTM", recurrent_activation="hard_sigmoid"),
    "gru_reset_before": _rnn("GRU", reset_after=False),
    "lstm_stack": chain(
        SERIES,
        lambda L: [
            L.LSTM(5, return_sequences=True),
            L.BatchNormalization(),
            L.GRU(4, return_sequences=True),
            L.Dense(3),
            L.SimpleRNN(2),
        ],
    ),
    "bidirectional": on(SERIES, lambda L: L.Bidirectional(L.LSTM(3))),
    "bidirectional_sequence": on(
        SERIES, lambda L: L.Bidirectional(L.GRU(3, return_sequences=True))
    ),
    "bidirectional_sum": on(
        SERIES, lambda L: L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode="sum")
    ),
    "bidirectional_ave": on(SERIES, lambda L: L.Bidirectional(L.LSTM(3), merge_mode="ave")),
    "bidirectional_mul": on(SERIES, lambda L: L.Bidirectional(L.LSTM(3), merge_mode="mul")),
    "bidirectional_none": on(SERIES, lambda L: L.Bidirectional(L.LSTM(3), merge_mode=None)),
    "bidirectional_state": on(SERIES, lambda L: L.Bidirectional(L.LSTM(3, return_state=True))),
    "time_distributed_dense": on(SERIES, lambda L: L.TimeDistributed(L.Dense(3, "relu"))),
    "time_distributed_conv": on(
        (3, 6, 5, 2), lambda L: L.TimeDistributed(L.Conv2D(3, 2, padding="same"))
    ),
    "time_distributed_pool": on((3, 6, 5, 2), lambda L: L.TimeDistributed(L.GlobalMaxPooling2D())),
    "time_distributed_norm": on(SERIES, lambda L: L.TimeDistributed(L.BatchNormalization())),
    "time_distributed_free": on((None, 6, 4), lambda L: L.TimeDistributed(L.Conv1D(3, 2))),
}


def _initial_state(L: Any, a: Any, b: Any) -> Any:
    _, h, c = L.LSTM(5, return_state=True)(a)
    return L.LSTM(5, return_sequences=True)(b, initial_state=[h, c])


def _mha(L: Any, a: Any, b: Any) -> Any:
    return L.MultiHeadAttention(2, 3)(a, b)


ATTENTION: dict[str, Row] = {
    "initial_state": of_two(SERIES, (3, 4), _initial_state),
    "multi_head": of_two(SERIES, (3, 4), _mha),
    "multi_head_self": on(
        SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3, value_dim=5)(x, x)
    ),
    "multi_head_key": of_two(
        (3, 4), (3, 6), lambda L, a, b: L.MultiHeadAttention(2, 3, use_bias=False)(a, b, a)
    ),
    "multi_head_causal": on(
        SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    ),
    "multi_head_scores": on(
        SERIES, lambda L: lambda x: L.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)
    ),
    "attention": of_two(SERIES, (3, 4), lambda L, a, b: L.Attention()([a, b])),
    "attention_scaled": of_two(SERIES, (3, 4), lambda L, a, b: L.Attention(True)([a, b])),
    "attention_concat": of_two(
        SERIES, (3, 4), lambda L, a, b: L.Attention(score_mode="concat")([a, b])
    ),
    "attention_key": of_two((3, 5), (3, 4), lambda L, a, b: L.Attention()([b, a, b])),
    "additive": of_two(SERIES, (3, 4), lambda L, a, b: L.AdditiveAttention()([a, b])),
    "additive_plain": of_two(
        SERIES, (3, 4), lambda L, a, b: L.AdditiveAttention(use_scale=False)([a, b])
    ),
}


def _embedding(K: Any) -> Any:
    x = K.layers.Input((7,), name="x", dtype="int32")
    y = K.layers.Embedding(11, 4)(x)
    return K.Model(x, K.layers.Conv1D(3, 2)(y), name="row")


def _embedding_float(K: Any) -> Any:
    x = K.layers.Input((7,), name="tokens")
    return K.Model(x, K.layers.Embedding(11, 4)(x), name="row")


def _masked_mean(K: Any) -> Any:
    x = K.layers.Input((7,), name="x", dtype="int32")
    y = K.layers.Embedding(11, 4, mask_zero=True)(x)
    y = K.layers.SpatialDropout1D(0.2)(y)
    return K.Model(x, K.layers.GlobalAveragePooling1D()(y), name="row")


TOKENS: dict[str, Row] = {
    "embedding": _embedding,
    "embedding_float": _embedding_float,
    "masked_mean": _masked_mean,
}

ACTIVATION_LAYERS: dict[str, Row] = {
    "relu_layer": on(IMAGE, lambda L: L.ReLU()),
    "relu_max": on(IMAGE, lambda L: L.ReLU(max_value=1.5)),
    "relu_slope": on(IMAGE, lambda L: L.ReLU(negative_slope=0.3, max_value=1.5)),
    "relu_threshold": on(IMAGE, lambda L: L.ReLU(threshold=0.7, max_value=1.5, negative_slope=0.2)),
    "leaky_relu_layer": on(IMAGE, lambda L: L.LeakyReLU()),
    "elu_layer": on(IMAGE, lambda L: L.ELU(0.7)),
    "prelu": on(IMAGE, lambda L: L.PReLU()),
    "prelu_shared": on(IMAGE, lambda L: L.PReLU(shared_axes=[1, 2])),
    "prelu_vector": on(VECTOR, lambda L: L.PReLU()),
    "prelu_conv": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.PReLU(), L.Conv2D(2, 1)]),
    "prelu_flat": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Flatten(), L.PReLU(), L.Dense(2)]),
    "softmax_layer": on(IMAGE, lambda L: L.Softmax(axis=1)),
    "softmax_conv": chain(IMAGE, lambda L: [L.Conv2D(3, 2), L.Softmax(), L.Conv2D(2, 1)]),
    "activation_layer": on(IMAGE, lambda L: L.Activation("tanh")),
}

KERAS2_ONLY: dict[str, Row] = {
    "thresholded_relu": on(IMAGE, lambda L: L.ThresholdedReLU(0.7)),
    "batch_norm_axes": on(IMAGE, lambda L: L.BatchNormalization(axis=[1, 3])),
    "separable1d_causal": on(SERIES, lambda L: L.SeparableConv1D(3, 3, padding="causal")),
    "sync_batch_norm": on(IMAGE, lambda L: L.BatchNormalization(synchronized=True, renorm=False)),
    "renorm": on(VECTOR, lambda L: L.BatchNormalization(renorm=True)),
}

KERAS3_ONLY: dict[str, Row] = {
    "rms_norm": on(SERIES, lambda L: L.RMSNormalization()),
    "spectral": on(VECTOR, lambda L: L.SpectralNormalization(L.Dense(5))),
    "upsampling2d_bicubic": on(IMAGE, lambda L: L.UpSampling2D(2, interpolation="bicubic")),
    "identity": chain(VECTOR, lambda L: [L.Identity(), L.Dense(3)]),
    "renorm": on(VECTOR, lambda L: L.BatchNormalization(renorm=True)),
}

COMMON: dict[str, Row] = {
    **DENSE,
    **CONVOLUTIONS,
    **NORMALIZATIONS,
    **SHAPES,
    **MERGES,
    **RECURRENT,
    **ATTENTION,
    **TOKENS,
    **ACTIVATION_LAYERS,
}

ACTIVATIONS_2 = (
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "selu",
    "sigmoid",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
)
ACTIVATIONS_3: tuple[str, ...] = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh",
    "tanh_shrink",
)


def _both(make: Callable[[Any, str], Any]) -> Callable[[str], Row]:
    """Layers that take a data format, on an image of 4 channels in that format."""
    shapes = {"channels_first": (4, 7, 9), "channels_last": (7, 9, 4)}
    return lambda order: chain(shapes[order], lambda L: make(L, order))


# Keras has no kernels on the CPU for most of these: the same weights in channels-last are the
# reference, with input and output transposed.
DATA_FORMATS: dict[str, Callable[[str], Row]] = {
    "conv2d": _both(lambda L, f: [L.Conv2D(3, 3, data_format=f)]),
    "conv2d_stride": _both(lambda L, f: [L.Conv2D(3, 3, 2, padding="same", data_format=f)]),
    "conv2d_groups": _both(lambda L, f: [L.Conv2D(6, 3, groups=2, data_format=f)]),
    "depthwise": _both(lambda L, f: [L.DepthwiseConv2D(3, data_format=f)]),
    "separable": _both(lambda L, f: [L.SeparableConv2D(3, 3, data_format=f)]),
    "transpose": _both(lambda L, f: [L.Conv2DTranspose(3, 3, strides=2, data_format=f)]),
    "max_pool": _both(lambda L, f: [L.MaxPooling2D(2, data_format=f)]),
    "average_pool": _both(lambda L, f: [L.AveragePooling2D(2, padding="same", data_format=f)]),
    "global_average": _both(lambda L, f: [L.GlobalAveragePooling2D(data_format=f)]),
    "global_max": _both(lambda L, f: [L.GlobalMaxPooling2D(data_format=f, keepdims=True)]),
    "padding": _both(lambda L, f: [L.ZeroPadding2D(((1, 0), (2, 3)), data_format=f)]),
    "cropping": _both(lambda L, f: [L.Cropping2D(((1, 0), (2, 3)), data_format=f)]),
    "upsampling": _both(lambda L, f: [L.UpSampling2D(2, data_format=f)]),
    "flatten": _both(lambda L, f: [L.Conv2D(3, 3, data_format=f), L.Flatten(data_format=f)]),
    "chain": _both(
        lambda L, f: [
            L.Conv2D(3, 3, data_format=f),
            L.BatchNormalization(axis=1 if f == "channels_first" else -1),
            L.ReLU(),
            L.MaxPooling2D(2, data_format=f),
            L.Flatten(data_format=f),
            L.Dense(2),
        ]
    ),
}


def inputs_for(model: Any, rng: np.random.Generator, batch: int = 3) -> list[np.ndarray]:
    """Random inputs of a model; free sizes become 5; integers below 11."""
    found = []
    for tensor in model.inputs:
        shape = tuple(batch if i == 0 else (d or 5) for i, d in enumerate(tensor.shape))
        dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
        if dtype.startswith(("int", "uint")) or tensor.name.startswith("tokens"):
            found.append(rng.integers(0, 11, shape).astype(dtype))
        elif dtype == "bool":
            found.append(rng.integers(0, 2, shape).astype(dtype))
        else:
            found.append(rng.normal(size=shape).astype(dtype))
    return found
