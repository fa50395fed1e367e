"""One small graph per TensorFlow function that a Keras 2 model may call, and way of using it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Row = Callable[[Any, Any], Any]
_SIX = [1.5, -0.5, 0.25, 2.0, -1.0, 0.75]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).normal(size=shape).astype(np.float32)


def _whole(tf: Any, x: Any) -> Any:
    return tf.cast(tf.round(x * 3.0), tf.int32)


def _volume(tf: Any, x: Any) -> Any:
    return tf.reshape(x, (-1, 7, 3, 3, 4))


def _places(tf: Any, x: Any) -> Any:
    """Whole numbers from 0 to 3."""
    return tf.math.floormod(_whole(tf, x), 4)


VALUES: dict[str, Row] = {
    "arithmetic": lambda tf, x: [
        tf.add(tf.divide(x, 3.0), tf.math.ceil(x)) + tf.math.erf(x),
        tf.math.log(tf.abs(x) + 0.1) + tf.math.log1p(tf.abs(x)) + tf.math.reciprocal(x),
        tf.acosh(tf.abs(x) + 1.5) + tf.atanh(tf.tanh(x) * 0.9),
        tf.nn.selu(x) + tf.nn.softsign(x) + tf.ensure_shape(x, (None, 4, 6)),
        tf.math.accumulate_n([x, x]),
        tf.cast(tf.saturate_cast(x * 300.0, tf.uint8), tf.int32),
        tf.math.floordiv(x, 0.7),
    ],
    "argmax": lambda tf, x: [
        tf.argmax(x, axis=-1),
        tf.argmax(x),
        tf.argmin(x, 1, output_type=tf.int32),
    ],
    "argsort": lambda tf, x: [
        tf.argsort(x, axis=1),
        tf.argsort(tf.nn.relu(x), direction="DESCENDING"),
        tf.sort(x, direction="DESCENDING"),
        tf.sort(_whole(tf, x), axis=1),
    ],
    "atan2": lambda tf, x: tf.atan2(x, tf.reverse(x, [1])),
    "band_part": lambda tf, x: [
        tf.linalg.band_part(x, 1, 0),
        tf.linalg.band_part(x, -1, 2),
        tf.linalg.band_part(x, 0, -1),
    ],
    "bias_add": lambda tf, x: tf.nn.bias_add(x, np.float32(_SIX)),
    "bits": lambda tf, x: [
        tf.bitwise.bitwise_and(_whole(tf, x), 5),
        tf.bitwise.bitwise_or(_whole(tf, x), tf.bitwise.invert(_places(tf, x))),
        tf.bitwise.bitwise_xor(_whole(tf, x), 3),
        tf.bitwise.left_shift(_places(tf, x), 2),
        tf.bitwise.right_shift(_whole(tf, x) * 7, 1),
    ],
    "clip_by_norm": lambda tf, x: [tf.clip_by_norm(x, 1.5), tf.clip_by_norm(x, 1.5, axes=[1])],
    "clip_tensor": lambda tf, x: tf.clip_by_value(x, -0.5, tf.nn.relu(x) * 0.5),
    "count_nonzero": lambda tf, x: tf.math.count_nonzero(tf.nn.relu(x), axis=1, keepdims=True),
    "crelu": lambda tf, x: tf.nn.crelu(x),
    "cumsum": lambda tf, x: [
        tf.cumsum(x),
        tf.cumsum(x, axis=1),
        tf.cumsum(x, axis=-1, exclusive=True),
        tf.cumsum(x, axis=2, reverse=True),
        tf.math.cumprod(x, axis=1),
    ],
    "diag": lambda tf, x: [
        tf.linalg.diag(x),
        tf.linalg.diag_part(x),
        tf.linalg.trace(x),
        tf.linalg.diag_part(x, k=1),
    ],
    "divide_ints": lambda tf, x: _whole(tf, x) / 3,
    "euclidean": lambda tf, x: [
        tf.norm(x, axis=1),
        tf.norm(x),
        tf.norm(x, ord=1, axis=-1, keepdims=True),
        tf.norm(x, axis=[1, 2]),
        tf.math.reduce_euclidean_norm(x, axis=2),
    ],
    "flags": lambda tf, x: [
        tf.reduce_any(x > 1.0, axis=1),
        tf.reduce_all(x > -1.0, axis=-1),
        tf.math.logical_xor(x > 0.0, x < 1.0),
        tf.not_equal(_whole(tf, x), 1),
        tf.equal(_whole(tf, x), 1),
        tf.logical_or(x >= 1.0, x <= 0.5),
        ~(x > 0.0),
    ],
    "floats": lambda tf, x: [
        tf.math.is_nan(x),
        tf.math.is_finite(1.0 / tf.nn.relu(x)),
        tf.math.is_inf(1.0 / tf.nn.relu(x)),
    ],
    "floor_div": lambda tf, x: [x // 0.7, _whole(tf, x) // 2, x % 0.37, _whole(tf, x) % 3],
    "functions": lambda tf, x: (
        tf.tan(x)
        + tf.sinh(x)
        + tf.cosh(x)
        + tf.asinh(x)
        + tf.asin(tf.tanh(x))
        + tf.acos(tf.tanh(x))
        + tf.atan(x)
        + tf.math.expm1(x)
        + tf.math.erfc(x)
    ),
    "gather": lambda tf, x: [
        tf.gather(x, [2, 0], axis=1),
        tf.gather(x, 1, axis=-1),
        tf.gather(x, _places(tf, x)[:, 0, :3], batch_dims=1),
        tf.gather(x, _places(tf, x)[:, :, :3], axis=2, batch_dims=2),
        tf.gather(_normal(4, 3), _places(tf, x)),
    ],
    "gather_nd": lambda tf, x: [
        tf.gather_nd(x, _places(tf, x)[:, :, :1], batch_dims=1),
        tf.gather_nd(x, _places(tf, x)[0, :, :2] // 2),
    ],
    "in_top_k": lambda tf, x: tf.math.in_top_k(_places(tf, x)[:, 0, 0], x[:, 1], 3),
    "l2_normalize": lambda tf, x: [tf.nn.l2_normalize(x, axis=-1), tf.math.l2_normalize(x, [1, 2])],
    "log_sigmoid": lambda tf, x: tf.math.log_sigmoid(x) + tf.nn.log_softmax(x),
    "lookup": lambda tf, x: tf.nn.embedding_lookup(_normal(4, 3), _places(tf, x)),
    "moments": lambda tf, x: [
        *tf.nn.moments(x, axes=[1]),
        *tf.nn.moments(x, [1, 2], keepdims=True),
    ],
    "no_nan": lambda tf, x: [
        tf.math.divide_no_nan(x, tf.nn.relu(x)),
        tf.math.multiply_no_nan(1.0 / tf.nn.relu(x), tf.nn.relu(x)),
        tf.math.reciprocal_no_nan(tf.nn.relu(x)),
    ],
    "batch_normalization": lambda tf, x: tf.nn.batch_normalization(
        x, np.float32(_SIX), np.abs(np.float32(_SIX)), None, np.float32(_SIX), 1e-3
    ),
    "one_hot": lambda tf, x: [
        tf.one_hot(_whole(tf, x), 3),
        tf.one_hot(_places(tf, x), 4, on_value=2.0, off_value=-1.0, axis=1),
        tf.one_hot(_places(tf, x), 4, dtype=tf.int32),
        tf.one_hot(_places(tf, x), 4, on_value=3, off_value=1),
    ],
    "pad": lambda tf, x: [
        tf.pad(x, [[0, 0], [1, 1], [0, 2]]),
        tf.pad(x, [[0, 0], [1, 2], [3, 0]], "REFLECT"),
        tf.pad(x, [[0, 0], [1, 2], [3, 0]], mode="SYMMETRIC"),
        tf.pad(x, [[0, 0], [1, 1], [0, 2]], constant_values=2.5),
    ],
    "products": lambda tf, x: [
        tf.linalg.matvec(x, np.float32(_SIX)),
        tf.tensordot(x, _normal(6, 2), axes=1),
        tf.tensordot(x, _normal(4, 6, 2), axes=[[1, 2], [0, 1]]),
        tf.matmul(x, x, adjoint_b=True),
        tf.matmul(tf.linalg.matrix_transpose(x), x),
    ],
    "reductions": lambda tf, x: [
        tf.reduce_logsumexp(x, axis=1),
        tf.reduce_prod(x, axis=[1, 2], keepdims=True),
        tf.math.reduce_std(x, axis=-1),
        tf.math.reduce_variance(x),
    ],
    "repeat": lambda tf, x: [
        tf.repeat(x, 2, axis=1),
        tf.repeat(x, repeats=[1, 0, 2, 3], axis=1),
        tf.roll(x, 1, axis=1),
        tf.roll(x, shift=[1, -2], axis=[1, 2]),
        tf.reverse(x, [1, 2]),
    ],
    "reshape_by_shape": lambda tf, x: [
        tf.reshape(x, [tf.shape(x)[0], -1]),
        tf.reshape(x, (tf.shape(x)[0], 2, 12)),
        tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], 3, 2]),
        tf.reshape(x, tf.concat([tf.shape(x)[:1], [3, -1]], axis=0)),
        tf.reshape(x, tf.shape(tf.transpose(x, [0, 2, 1]))),
    ],
    "rounds": lambda tf, x: tf.math.rint(x) + tf.round(x * 3.0),
    "scatter": lambda tf, x: [
        tf.scatter_nd([[1], [3], [1]], x[0, :3], [5, 6]),
        tf.tensor_scatter_nd_update(x[0], [[1, 0], [3, 2]], x[1, 0, :2]),
        tf.tensor_scatter_nd_add(x[0], [[1, 0], [1, 0]], x[1, 0, :2]),
    ],
    "segments": lambda tf, x: [
        function(x[0], [2, 0, -1, 2], 4) * 1e-30
        for function in (
            tf.math.unsorted_segment_sum,
            tf.math.unsorted_segment_max,
            tf.math.unsorted_segment_min,
            tf.math.unsorted_segment_prod,
        )
    ],
    "sequence_mask": lambda tf, x: [
        tf.sequence_mask(_places(tf, x)[:, 0, 0], 3),
        tf.sequence_mask(_places(tf, x)[:, 0], 5, dtype=tf.float32),
    ],
    "shapes": lambda tf, x: [tf.size(x), tf.rank(x) + tf.shape(x)[1], tf.shape(x)],
    "shape_as_number": lambda tf, x: x / tf.cast(tf.shape(x)[1], tf.float32),
    "slice": lambda tf, x: [
        tf.slice(x, [0, 1, 0], [-1, 2, -1]),
        tf.slice(x, [0, 0, 2], [-1, 4, 3]),
        x[:, :, tf.newaxis, 1],
    ],
    "squared_difference": lambda tf, x: tf.math.squared_difference(x, 1.0) + tf.add_n([x, x, x]),
    "stack": lambda tf, x: [
        tf.stack(tf.unstack(x, axis=1), axis=2),
        tf.zeros_like(x) + tf.ones_like(x),
        tf.identity(tf.stop_gradient(x)),
    ],
    "tile": lambda tf, x: [tf.tile(x, [1, 2, 3]), tf.broadcast_to(x[:1, :1], [2, 4, 6])],
    "top_k": lambda tf, x: [*tf.math.top_k(x, k=3), *tf.nn.top_k(tf.nn.relu(x), 6, sorted=True)],
    "where": lambda tf, x: tf.where(x > 0.0, x, tf.zeros_like(x)),
}

IMAGES: dict[str, Row] = {
    "blocks": lambda tf, x: [tf.nn.depth_to_space(x, 2), tf.nn.space_to_depth(x[:, :6, :8], 2)],
    "boxes": lambda tf, x: [
        tf.image.crop_to_bounding_box(x, 1, 2, 3, 5),
        tf.image.pad_to_bounding_box(x, 1, 2, 9, 12),
    ],
    "colours": lambda tf, x: [
        tf.image.rgb_to_grayscale(x[:, :, :, :3]),
        tf.image.rgb_to_hsv(tf.sigmoid(x[:, :, :, :3])),
        tf.image.hsv_to_rgb(tf.sigmoid(x[:, :, :, 1:])),
    ],
    "conv2d": lambda tf, x: [
        tf.nn.conv2d(x, _normal(3, 3, 4, 2), strides=1, padding="SAME"),
        tf.nn.conv2d(x, _normal(3, 2, 4, 5), strides=[1, 2, 2, 1], padding="VALID"),
        tf.nn.conv2d(x, _normal(2, 2, 4, 5), 1, "VALID", dilations=2),
        tf.nn.conv1d(x[:, 0], _normal(3, 4, 2), stride=2, padding="SAME"),
    ],
    "depthwise": lambda tf, x: tf.nn.depthwise_conv2d(
        x, _normal(3, 3, 4, 2), strides=[1, 1, 1, 1], padding="SAME"
    ),
    "lrn": lambda tf, x: [
        tf.nn.local_response_normalization(x),
        tf.nn.lrn(x, depth_radius=1, bias=2.0, alpha=0.3, beta=0.75),
    ],
    "patches": lambda tf, x: tf.image.extract_patches(
        x, [1, 2, 3, 1], [1, 2, 1, 1], [1, 1, 1, 1], "VALID"
    ),
    "pools": lambda tf, x: [
        tf.nn.max_pool2d(x, 2, 2, "VALID"),
        tf.nn.avg_pool2d(x, [3, 2], [1, 1], "SAME"),
        tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME"),
        tf.nn.avg_pool(x[:, 0], 2, 2, "VALID"),
    ],
    "resize": lambda tf, x: [
        tf.image.resize(x, (5, 12)),
        tf.image.resize(x, [14, 3], method="nearest"),
        tf.image.resize(x, [3, 11], method="bicubic"),
        tf.image.resize(x, [3, 11], method="lanczos5", antialias=True),
        tf.image.resize(tf.cast(x * 50.0, tf.int32), [14, 3]),
    ],
    "volumes": lambda tf, x: [
        tf.nn.conv3d(_volume(tf, x), _normal(2, 2, 3, 4, 2), [1, 2, 1, 1, 1], "SAME"),
        tf.nn.convolution(_volume(tf, x), _normal(2, 2, 2, 4, 2), padding="VALID"),
        tf.nn.max_pool3d(_volume(tf, x), 2, 2, "SAME"),
        tf.nn.avg_pool3d(_volume(tf, x), [1, 2, 2, 2, 1], [1, 1, 1, 1, 1], "VALID"),
        tf.nn.max_pool1d(x[:, 0], 2, 2, "VALID"),
        tf.nn.avg_pool1d(x[:, 0], 2, 1, "SAME"),
    ],
    "turns": lambda tf, x: [
        tf.image.flip_left_right(x),
        tf.image.flip_up_down(x[0]),
        tf.image.rot90(x),
        tf.image.rot90(x, k=3),
        tf.image.transpose(x),
    ],
    "standardization": lambda tf, x: tf.image.per_image_standardization(x),
    "sobel": lambda tf, x: tf.image.sobel_edges(x),
}
