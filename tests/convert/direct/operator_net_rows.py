"""Graphs of one operator each on images [7, 9, 4] of `keras.ops`, `ops.nn` and `ops.image`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Row = Callable[[Any, Any], Any]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).normal(size=shape).astype(np.float32)


def _bytes(ops: Any, x: Any) -> Any:
    return ops.cast(ops.clip(ops.abs(x) * 90.0, 0.0, 255.0), "uint8")


NETS: dict[str, Row] = {
    "average_pool": lambda ops, x: [
        ops.average_pool(x, 2),
        ops.average_pool(x, (3, 2), strides=2, padding="same"),
        ops.average_pool(x[:, 0], 3, padding="same"),
        ops.max_pool(x, 3, strides=1),
        ops.max_pool(x, 2, padding="same", data_format="channels_first"),
    ],
    "batch_normalization": lambda ops, x: [
        ops.batch_normalization(x, _normal(4), np.abs(_normal(4)), -1, _normal(4), -_normal(4)),
        ops.batch_normalization(x, _normal(7), np.abs(_normal(7)), 1, _normal(7), -_normal(7)),
        ops.batch_normalization(
            x, ops.mean(x[0], (0, 1)), ops.var(x[0], (0, 1)), 3, _normal(4), _normal(4), 0.1
        ),
    ],
    "conv": lambda ops, x: [
        ops.conv(x, _normal(3, 2, 4, 5)),
        ops.conv(x, _normal(3, 3, 4, 4), strides=2, padding="same"),
        ops.conv(x, _normal(2, 2, 4, 6), dilation_rate=2, padding="valid"),
        ops.conv(x[:, 0], _normal(3, 4, 2), padding="same"),
    ],
    "conv_computed": lambda ops, x: [
        ops.conv(x, ops.reshape(x[0, :3, :3], (3, 3, 4, 1)) * _normal(5), padding="same"),
        ops.depthwise_conv(x, x[0, :3, :3, :, None] * _normal(2)),
    ],
    "depth_to_space": lambda ops, x: [
        ops.depth_to_space(x, 2),
        ops.space_to_depth(x[:, :6, :8], 2),
        ops.depth_to_space(ops.concatenate([x, x], 1)[:, :8], 2, "channels_first"),
    ],
    "depthwise_conv": lambda ops, x: [
        ops.depthwise_conv(x, _normal(3, 2, 4, 2), padding="same"),
        ops.depthwise_conv(x[:, 0], _normal(3, 4, 1), strides=2),
    ],
    "dot_product_attention": lambda ops, x: [
        ops.dot_product_attention(x, x * 0.5, x + 1.0),
        ops.dot_product_attention(x, x[:, :5, :3], x[:, :5, :3] + 1.0, scale=0.3, is_causal=True),
        ops.dot_product_attention(
            x, x, x, bias=_normal(1, 9, 7, 7), mask=np.tril(np.ones((1, 1, 7, 7), bool), 1)
        ),
    ],
    "fold": lambda ops, x: [
        ops.fold(ops.reshape(x, (-1, 36, 7)), (8, 2), 2),
        ops.fold(ops.reshape(x, (-1, 36, 7))[..., :6], (4, 5), (3, 2), padding=1, stride=2),
    ],
    "layer_normalization": lambda ops, x: [
        ops.layer_normalization(x, _normal(4), _normal(4)),
        ops.layer_normalization(x, axis=-1, epsilon=0.1),
        ops.layer_normalization(x, gamma=_normal(9, 4), axis=(2, 3)),
        ops.layer_normalization(x, beta=_normal(7), axis=1),
        ops.layer_normalization(x, gamma=x[0, 0, 0]),
    ],
    "rms_normalization": lambda ops, x: [
        ops.rms_normalization(x, _normal(4)),
        ops.rms_normalization(x, axis=(1, 2)),
        ops.rms_normalization(x, x[0, 0, 0], epsilon=0.1),
    ],
    "separable_conv": lambda ops, x: [
        ops.separable_conv(x, _normal(3, 3, 4, 2), _normal(1, 1, 8, 5), padding="same"),
        ops.separable_conv(x[:, 0], _normal(3, 4, 1), _normal(1, 4, 3)),
    ],
    "unfold": lambda ops, x: [
        ops.unfold(x, 2),
        ops.unfold(x, (3, 2), dilation=(2, 1), padding=1, stride=2),
    ],
}

IMAGES: dict[str, Row] = {
    "crop_images": lambda ops, x: [
        ops.image.crop_images(x, 1, 2, 0, 3),
        ops.image.crop_images(x, 1, 2, target_height=3, target_width=4),
        ops.image.crop_images(
            x, bottom_cropping=1, right_cropping=0, target_height=6, target_width=4
        ),
    ],
    "extract_patches": lambda ops, x: [
        ops.image.extract_patches(x, 3),
        ops.image.extract_patches(x, (2, 3), strides=1, padding="same"),
        ops.image.extract_patches(x, 2, strides=1, dilation_rate=2),
        ops.image.extract_patches(x[0], 2),
        ops.image.extract_patches(x[..., :1], 2),
    ],
    "gaussian_blur": lambda ops, x: [
        ops.image.gaussian_blur(x),
        ops.image.gaussian_blur(x, (3, 5), (0.7, 2.0)),
    ],
    "hsv": lambda ops, x: [
        ops.image.rgb_to_hsv(ops.sigmoid(x[..., :3])),
        ops.image.rgb_to_hsv(ops.round(ops.sigmoid(x[..., 1:]))),
        ops.image.hsv_to_rgb(ops.sigmoid(x[0, ..., :3])),
    ],
    "pad_images": lambda ops, x: [
        ops.image.pad_images(x, 1, 2, 0, 3),
        ops.image.pad_images(x[0], 1, 2, target_height=9, target_width=12),
    ],
    "resize": lambda ops, x: [
        *(ops.image.resize(x, (5, 12), interpolation=how) for how in ("bilinear", "nearest")),
        *(ops.image.resize(x, (5, 12), interpolation=how) for how in ("bicubic", "lanczos3")),
        ops.image.resize(x, (3, 9), antialias=True),
        ops.image.resize(x[0], (7, 9)),
        ops.image.resize(ops.cast(x, "float16"), (14, 3)) * 0.0,
        ops.image.resize(_bytes(ops, x), (14, 9), interpolation="nearest"),
        ops.image.resize(_bytes(ops, x), (13, 5)),
    ],
    "rgb_to_grayscale": lambda ops, x: [
        ops.image.rgb_to_grayscale(x[..., :3]),
        ops.image.rgb_to_grayscale(x[0, ..., 1:]),
        ops.image.rgb_to_grayscale(_bytes(ops, x)[..., 1:]),
        ops.image.rgb_to_grayscale(x[..., :1]),
    ],
    "sobel_edges": lambda ops, x: [
        ops.image.sobel_edges(x),
        ops.image.sobel_edges(x, data_format="channels_first"),
    ],
}
