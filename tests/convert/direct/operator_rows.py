"""One small graph per operator of `keras.ops` and way of using it, by theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Row = Callable[[Any, Any], Any]
_SIX = np.asarray([1.5, -0.5, 0.25, 2.0, -1.0, 0.75], np.float32)


def _whole(ops: Any, x: Any) -> Any:
    """Whole numbers of both signs."""
    return ops.cast(ops.round(x * 3.0), "int32")


def _holed(ops: Any, x: Any) -> Any:
    """Some elements are no numbers, none of a row whole."""
    places = np.zeros((4, 6), bool)
    places[0, 1] = places[2, 4] = places[3, 1] = True
    return ops.where(places, np.float32(np.nan), x)


def _as_number(ops: Any, flags: Any) -> Any:
    return ops.cast(flags, "int32")


ELEMENTWISE: dict[str, Row] = {
    "activations": lambda ops, x: [
        ops.glu(x, axis=1),
        ops.hard_silu(x) + ops.hard_tanh(x) + ops.log_sigmoid(x) + ops.selu(x),
        ops.softsign(x) + ops.sparse_plus(x) + ops.sparse_sigmoid(x) + ops.tanh_shrink(x),
    ],
    "functions": lambda ops, x: [
        ops.cosh(x) + ops.sinh(x) + ops.tan(x) + ops.erf(x) + ops.reciprocal(ops.abs(x) + 0.1),
        ops.real(x) + ops.conj(x) + ops.conjugate(x) + ops.divide(x, 3) + ops.array(x),
    ],
    "comparisons": lambda ops, x: [
        ops.equal(_whole(ops, x), 1),
        ops.logical_or(ops.less(x, -0.3), ops.less_equal(1.0, x)),
        ops.greater(x, _whole(ops, x)),
    ],
    "arccos": lambda ops, x: ops.arccos(ops.tanh(x)) + ops.arcsin(ops.tanh(x)),
    "arccosh": lambda ops, x: ops.arccosh(ops.abs(x) + 1.5) + ops.arcsinh(x),
    "arctan": lambda ops, x: ops.arctan(x) + ops.arctanh(ops.tanh(x) * 0.9),
    "arctan2": lambda ops, x: ops.arctan2(x, ops.flip(x, axis=2)),
    "arctan2_zeros": lambda ops, x: ops.arctan2(
        (ops.abs(x) + 0.1) * np.asarray([0.0, -0.0, 0.0, -0.0, 1.0, -1.0], np.float32),
        (ops.abs(x) + 0.1) * np.asarray([1.0, -1.0, -1.0, 0.0, 0.0, -0.0], np.float32),
    ),
    "add_float64": lambda ops, x: x + np.arange(6) / 7.0,
    "add_int_array": lambda ops, x: _whole(ops, x) + np.arange(6),
    "add_small_ints": lambda ops, x: ops.cast(_whole(ops, x), "int8") + np.asarray([3], np.int16),
    "array_first": lambda ops, x: ops.subtract(_SIX, x),
    "bitwise": lambda ops, x: [
        ops.bitwise_and(_whole(ops, x), np.asarray([[5]])),
        ops.bitwise_or(_whole(ops, x), np.asarray([5], np.int32)),
        ops.bitwise_xor(_whole(ops, x), ops.flip(_whole(ops, x), 1)),
        ops.bitwise_not(_whole(ops, x)),
        ops.bitwise_invert(_whole(ops, x)),
    ],
    "cbrt": lambda ops, x: ops.cbrt(x),
    "ceil_int": lambda ops, x: ops.ceil(_whole(ops, x)),
    "clip_int": lambda ops, x: ops.clip(_whole(ops, x), -1, 2),
    "clip_tensor": lambda ops, x: ops.minimum(ops.maximum(x, ops.min(x, 1, keepdims=True)), 0.5),
    "cos_int": lambda ops, x: ops.cos(_whole(ops, x)),
    "deg2rad": lambda ops, x: ops.deg2rad(x) + ops.rad2deg(x),
    "deg2rad_int": lambda ops, x: ops.deg2rad(_whole(ops, x)),
    "divide_int": lambda ops, x: _whole(ops, x) / 3,
    "divide_no_nan": lambda ops, x: ops.divide_no_nan(x, ops.relu(x)),
    "erfc": lambda ops, x: ops.erfc(x),
    "exp2": lambda ops, x: ops.exp2(x) + ops.exp(_whole(ops, x)),
    "expm1": lambda ops, x: ops.expm1(x),
    "fabs": lambda ops, x: ops.fabs(_whole(ops, x)) + ops.abs(x),
    "floor_divide_int": lambda ops, x: _whole(ops, x) // 2 + 7 // (_whole(ops, x) * 2 + 1),
    "fmax": lambda ops, x: ops.fmax(_holed(ops, x), 0.1) + ops.fmin(0.2, _holed(ops, x)),
    "fmod": lambda ops, x: ops.fmod(x, 0.37) + ops.fmod(x, -0.37),
    "hard_shrink": lambda ops, x: ops.hard_shrink(x, 0.4) + ops.soft_shrink(x, 0.3),
    "heaviside": lambda ops, x: (
        ops.heaviside(_whole(ops, x), np.float32([0.5])) + ops.heaviside(x, x)
    ),
    "hypot": lambda ops, x: ops.hypot(x, ops.relu(x)) + ops.hypot(ops.relu(x), ops.relu(-x) * 0.0),
    "isclose": lambda ops, x: _as_number(ops, ops.isclose(x, ops.round(x), 0.1, 0.2)),
    "isclose_nan": lambda ops, x: [
        ops.isclose(_holed(ops, x), _holed(ops, x) + 1e-9, equal_nan=flag) for flag in (True, False)
    ],
    "isfinite": lambda ops, x: [
        function(1.0 / ops.relu(_holed(ops, x)) * ops.sign(ops.flip(x, 2)))
        for function in (ops.isfinite, ops.isinf, ops.isposinf, ops.isneginf, ops.isnan)
    ],
    "ldexp": lambda ops, x: ops.ldexp(x, _whole(ops, x)),
    "log10": lambda ops, x: ops.log10(ops.abs(x) + 0.1) + ops.log2(ops.abs(x) + 0.1),
    "logaddexp": lambda ops, x: (
        ops.logaddexp(x, np.float32([0.3])) + ops.logaddexp2(x, ops.flip(x, 1))
    ),
    "logical": lambda ops, x: [
        ops.logical_xor(x > 0, ops.flip(x, 1) > 0),
        ops.logical_and(ops.relu(x), ops.flip(x, 1) > 0),
        ops.logical_not(ops.relu(x)),
    ],
    "mod": lambda ops, x: ops.mod(x, 0.37) + x % -0.41,
    "mod_int": lambda ops, x: ops.mod(_whole(ops, x), 3) + _whole(ops, x) % -4,
    "nan_to_num": lambda ops, x: ops.nan_to_num(_holed(ops, x), nan=0.5),
    "nan_to_num_inf": lambda ops, x: ops.nan_to_num(1.0 / ops.relu(x), posinf=7.0, neginf=-3.0),
    "nan_to_num_max": lambda ops, x: ops.nan_to_num(-1.0 / ops.relu(x)) / 1e38,
    "not_equal": lambda ops, x: ops.not_equal(_whole(ops, x), 1),
    "power_int": lambda ops, x: ops.power(_whole(ops, x), 2),
    "promoted": lambda ops, x: [
        _whole(ops, x) * 2.5,
        ops.cast(x, "float16") + x,
        ops.cast(_whole(ops, x), "int64") - _whole(ops, x),
        ops.maximum(_whole(ops, x), x),
    ],
    "round": lambda ops, x: ops.round(x, 1) + ops.round(x * 100.0, -1) + ops.round(x),
    "round_int": lambda ops, x: ops.round(_whole(ops, x) * 7, -1) + ops.round(_whole(ops, x), 2),
    "saturate_cast": lambda ops, x: [
        ops.cast(ops.saturate_cast(x * 300.0, dtype), "int32") for dtype in ("uint8", "int8")
    ],
    "saturate_cast_int32": lambda ops, x: ops.saturate_cast(x * 1e10, "int32"),
    "saturate_cast_wide": lambda ops, x: ops.saturate_cast(_whole(ops, x), "int64"),
    "select": lambda ops, x: ops.select([x > 0.5, x > -0.5], [x * 2.0, x * 3.0], 42.0),
    "shifts": lambda ops, x: [
        ops.left_shift(_whole(ops, x), 3),
        ops.right_shift(_whole(ops, x) * 11, 2),
        ops.bitwise_left_shift(_whole(ops, x), np.asarray([0, 1, 2, 3, 4, 5], np.int32)),
        ops.bitwise_right_shift(_whole(ops, x) * 11, 1),
    ],
    "sign": lambda ops, x: [ops.signbit(x), ops.signbit(-ops.relu(x)), ops.signbit(_whole(ops, x))],
    "sinc": lambda ops, x: ops.sinc(x) + ops.sinc(ops.relu(x)),
    "sparsemax": lambda ops, x: ops.sparsemax(x) + ops.sparsemax(x, axis=1),
    "sqrt_int": lambda ops, x: ops.sqrt(ops.abs(_whole(ops, x))),
    "square_int": lambda ops, x: ops.square(_whole(ops, x)),
    "squareplus": lambda ops, x: ops.squareplus(x, b=2) + ops.celu(x, 0.7),
    "threshold": lambda ops, x: ops.threshold(x, 0.2, -1.0),
    "trunc": lambda ops, x: ops.trunc(x * 2.0) + ops.trunc(_whole(ops, x)),
    "where_numbers": lambda ops, x: ops.where(x, x, 1),
    "where_ints": lambda ops, x: ops.where(x > 0, _whole(ops, x), 0.5),
}

REDUCED: dict[str, Row] = {
    "all": lambda ops, x: [ops.all(x > -1.0, axis=1), ops.any(x > 1.0, axis=(1, 2))],
    "all_numbers": lambda ops, x: [
        ops.all(ops.relu(x) - 0.0, axis=2, keepdims=True),
        ops.any(_whole(ops, x), axis=-1),
        ops.all(_whole(ops, x), axis=-1),
    ],
    "argmax": lambda ops, x: [ops.argmax(x, axis=1), ops.argmin(x, axis=-1, keepdims=True)],
    "argmax_all": lambda ops, x: [ops.argmax(x), ops.argmin(x, keepdims=True)],
    "average": lambda ops, x: [ops.average(x, axis=1), ops.average(_whole(ops, x))],
    "average_weighted": lambda ops, x: [
        ops.average(x, axis=2, weights=np.abs(_SIX)),
        ops.average(x, axis=1, weights=ops.abs(x)),
        ops.average(x, axis=-1, weights=np.arange(1, 7)),
    ],
    "count_nonzero": lambda ops, x: [
        ops.count_nonzero(ops.relu(x), axis=1),
        ops.count_nonzero(_whole(ops, x), axis=(1, 2)),
    ],
    "cumprod": lambda ops, x: [ops.cumprod(x, axis=1), ops.cumprod(_whole(ops, x), axis=2)],
    "cumsum": lambda ops, x: [
        ops.cumsum(x, axis=-1),
        ops.cumsum(x),
        ops.cumsum(_whole(ops, x), axis=1, dtype="float32"),
        ops.cumsum(x > 0, axis=1),
    ],
    "diff": lambda ops, x: [ops.diff(x), ops.diff(x, n=2, axis=1), ops.diff(x > 0, axis=1)],
    "extremes": lambda ops, x: [
        ops.max(x, axis=1, initial=0.5),
        ops.min(x, axis=(1, 2), initial=-3.0),
        ops.max(x > 0.5, axis=1),
        ops.min(x > -0.5, axis=(1, 2)),
        ops.amax(x, axis=-1),
        ops.amin(_whole(ops, x), axis=1, keepdims=True),
    ],
    "logsumexp": lambda ops, x: ops.logsumexp(x, axis=(1, 2), keepdims=True),
    "mean_all": lambda ops, x: [ops.mean(x), ops.sum(x, keepdims=True), ops.std(x)],
    "mean_int": lambda ops, x: [ops.mean(_whole(ops, x), axis=1), ops.var(_whole(ops, x), axis=2)],
    "mean_nothing": lambda ops, x: ops.mean(x, axis=()) + ops.sum(x, axis=[]),
    "median": lambda ops, x: [
        ops.median(x, axis=1),
        ops.median(x, axis=(1, 2), keepdims=True),
        ops.median(_whole(ops, x), axis=-1),
    ],
    "moments": lambda ops, x: [*ops.moments(x, axes=[1]), *ops.moments(x, [1, 2], keepdims=True)],
    "nan_sums": lambda ops, x: [
        ops.nansum(_holed(ops, x), axis=1),
        ops.nanmean(_holed(ops, x), axis=2),
        ops.nanprod(_holed(ops, x), axis=1, keepdims=True),
        ops.nanvar(_holed(ops, x), axis=(1, 2)),
        ops.nanstd(_holed(ops, x), axis=2),
        ops.nansum(_whole(ops, x), axis=1),
        ops.nanmean(_whole(ops, x), axis=1),
    ],
    "nan_extremes": lambda ops, x: [
        ops.nanmax(_holed(ops, x), axis=1),
        ops.nanmin(_holed(ops, x), axis=(1, 2), keepdims=True),
        ops.nanargmax(_holed(ops, x), axis=2),
        ops.nanargmin(_holed(ops, x), axis=1),
        ops.nanmax(_whole(ops, x), axis=1),
        ops.isnan(ops.nanmax(ops.where(x > -9.0, np.float32(np.nan), x), axis=1)),
    ],
    "nan_running": lambda ops, x: [
        ops.nancumsum(_holed(ops, x), axis=2),
        ops.nancumprod(_holed(ops, x), axis=1),
    ],
    "norm": lambda ops, x: [
        ops.norm(x, axis=1),
        ops.norm(x, ord=1, axis=-1, keepdims=True),
        ops.norm(x, ord=float("inf"), axis=2),
        ops.norm(x, ord=float("-inf"), axis=2),
        ops.norm(ops.relu(x), ord=0, axis=1),
        ops.norm(x, ord=3, axis=1),
    ],
    "norm_matrix": lambda ops, x: [
        ops.norm(x, axis=(1, 2)),
        ops.norm(x, ord="fro", axis=(1, 2), keepdims=True),
        ops.norm(x, ord=1, axis=(1, 2)),
        ops.norm(x, ord=-1, axis=(2, 1)),
        ops.norm(x, ord=float("inf"), axis=(1, 2), keepdims=True),
        ops.norm(x, ord=float("-inf"), axis=(2, 1)),
    ],
    "normalize": lambda ops, x: [
        ops.normalize(x),
        ops.normalize(ops.relu(x), axis=1, order=1),
        ops.normalize(x, axis=1, order=3, epsilon=1e-3),
        ops.normalize(ops.relu(x) * 0.0),
    ],
    "percentile": lambda ops, x: [
        ops.percentile(x, 30, axis=1),
        ops.percentile(x, np.asarray([10.0, 50.0, 90.0]), axis=-1),
    ],
    "prod": lambda ops, x: [ops.prod(_whole(ops, x), axis=1), ops.prod(x, axis=(1, 2))],
    "ptp": lambda ops, x: [ops.ptp(x, axis=1), ops.ptp(x, axis=-1, keepdims=True)],
    "quantile": lambda ops, x: [
        ops.quantile(x, 0.3, axis=1),
        ops.quantile(x, np.asarray([0.1, 0.5, 1.0]), axis=(1, 2), keepdims=True),
        ops.quantile(x, np.asarray([0.2, 0.7], np.float32), axis=1),
        ops.quantile(_whole(ops, x), 1, axis=2),
    ],
    "sum_small": lambda ops, x: [
        ops.sum(ops.cast(_whole(ops, x), "int8"), axis=1),
        ops.sum(x > 0, axis=-1),
    ],
    "trapezoid": lambda ops, x: [ops.trapezoid(x), ops.trapezoid(x, dx=0.5, axis=1)],
    "var_halves": lambda ops, x: [
        ops.cast(function(ops.cast(x, "float16"), axis=1), "float32") * 0.0
        for function in (ops.var, ops.mean)
    ],
}

ORDERED: dict[str, Row] = {
    "argsort": lambda ops, x: [ops.argsort(x), ops.argsort(x, axis=1), ops.argsort(x, axis=None)],
    "argsort_ties": lambda ops, x: [
        ops.argsort(ops.relu(x)),
        ops.argsort(_whole(ops, x), axis=1),
        ops.argsort(x > 0),
    ],
    "digitize": lambda ops, x: [
        ops.digitize(x, np.asarray([-0.5, 0.0, 0.7], np.float32)),
        ops.digitize(_whole(ops, x), np.asarray([-1.0, 0.0, 2.0])),
    ],
    "extract_sequences": lambda ops, x: ops.extract_sequences(x, 3, 2),
    "in_top_k": lambda ops, x: ops.in_top_k(np.asarray([0, 5, 2, 3]), x[0], k=3),
    "isin": lambda ops, x: [
        ops.isin(_whole(ops, x), np.asarray([[1, -2], [0, 5]], np.int32)),
        ops.isin(_whole(ops, x), [1, 2], invert=True),
    ],
    "searchsorted": lambda ops, x: [
        ops.searchsorted(np.asarray([-0.5, 0.0, 0.7], np.float32), x[0, 0]),
        ops.searchsorted(np.asarray([-1, 0, 0, 2], np.int32), _whole(ops, x)[0, 1], side="right"),
    ],
    "segments": lambda ops, x: [
        function(x[0], np.asarray([2, 0, -1, 2]), num_segments=4) * 1e-30
        for function in (ops.segment_max, ops.segment_sum, ops.segment_min, ops.segment_prod)
    ],
    "sort": lambda ops, x: [
        ops.sort(x),
        ops.sort(x, axis=1),
        ops.sort(x, axis=None),
        ops.sort(_whole(ops, x)),
        ops.sort(x > 0),
        ops.sort(ops.cast(_whole(ops, x), "int8"), axis=1),
    ],
    "top_k": lambda ops, x: [*ops.top_k(x, 3), *ops.top_k(_whole(ops, x), 2)],
    "top_k_ties": lambda ops, x: [
        *ops.top_k(ops.relu(x), 6),
        *ops.top_k(ops.cast(x, "float16"), 1),
    ],
}

PRODUCTS: dict[str, Row] = {
    "cdist": lambda ops, x: ops.cdist(x, x[:, :3] + 1.0),
    "cross": lambda ops, x: [
        ops.cross(x[..., :3], x[..., 3:]),
        ops.cross(x[..., :2], x[..., 3:]),
        ops.cross(x[..., :2], x[..., 4:]),
        ops.cross(x[:, :3], x[:, 1:] + 1.0, axis=1),
        ops.cross(x[:, :3, :4], x[:, :, 4:], axisa=1, axisc=1),
    ],
    "dot": lambda ops, x: [
        ops.dot(x, _SIX),
        ops.dot(x, np.stack([_SIX, _SIX * 2.0], 1)),
        ops.dot(x, 2.0),
        ops.dot(x[0], ops.transpose(x, (0, 2, 1))),
    ],
    "einsum_dots": lambda ops, x: ops.einsum("...ij,kj->...ik", x, np.stack([_SIX, -_SIX])),
    "einsum_implied": lambda ops, x: ops.einsum("bij,jk", x, np.stack([_SIX, -_SIX], 1)),
    "einsum_one": lambda ops, x: ops.einsum("bij->bji", x),
    "fft": lambda ops, x: [*ops.fft((x, x * 2.0 + 1.0)), *ops.rfft(x), *ops.rfft(x, fft_length=9)],
    "fft_short": lambda ops, x: [*ops.rfft(x, fft_length=4), *ops.rfft(x[:, :, :5])],
    "inner": lambda ops, x: [ops.inner(x, _SIX), ops.inner(x[0], x[1])],
    "stft": lambda ops, x: [
        *ops.stft(ops.reshape(x, (-1, 24)), 5, 3, 8),
        *ops.stft(x, 4, 1, 5, window="hamming", center=False),
        *ops.stft(x, 3, 2, 4, window=None),
    ],
    "irfft": lambda ops, x: [
        ops.irfft((x, x * 0.5)),
        ops.irfft((x, x * 0.5), fft_length=9),
        ops.irfft((x, x * 0.5), fft_length=20),
    ],
    "kron": lambda ops, x: ops.kron(x[0], np.asarray([[1.0, 2.0], [3.0, -1.0]], np.float32)),
    "kron_ranks": lambda ops, x: ops.kron(x, np.asarray([1.0, 2.0], np.float32)),
    "matmul_int": lambda ops, x: ops.matmul(
        _whole(ops, x), ops.transpose(_whole(ops, x), (0, 2, 1))
    ),
    "matmul_vector": lambda ops, x: [ops.matmul(x, _SIX), ops.matmul(_SIX[:4], x)],
    "matmul_constant": lambda ops, x: x @ np.ones((6, 3), np.float32),
    "outer": lambda ops, x: ops.outer(x[0, 0], x[0]),
    "tensordot": lambda ops, x: [
        ops.tensordot(x, np.ones((6, 4, 2), np.float32) * _SIX[:2], axes=[[1, 2], [1, 0]]),
        ops.tensordot(x, np.ones((4, 6, 2), np.float32) * _SIX[:2], axes=2),
        ops.tensordot(x, _SIX, axes=[[-1], [0]]),
    ],
    "vdot": lambda ops, x: ops.vdot(x[0], x[0] + 1.0),
}
