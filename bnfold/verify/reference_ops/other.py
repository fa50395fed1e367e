"""Operators whose onnx.reference version is wrong for some opset, or keeps to float32."""

from __future__ import annotations

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call, ints


def batch_normalization(call: Call) -> tuple[Array, ...]:
    """BatchNormalization of every opset.

    Before opset 14 a node with one output is in inference mode (onnx.reference takes opset 9 for
    training). spatial = 0 (opsets 1 to 8) has parameters of the shape of one whole sample.

    Raises:
        NotImplementedError: in training mode before opset 14.
    """
    x, scale, bias, mean, var = (call.array(i) for i in range(5))
    epsilon = float(call.get("epsilon", 1e-5))
    training = call.opset >= 14 and bool(call.get("training_mode", 0))
    if call.opset < 14 and call.outputs > 1:
        raise NotImplementedError("BatchNormalization with its training outputs, before opset 14")
    extra: tuple[Array, ...] = ()
    if training:
        momentum = float(call.get("momentum", 0.9))
        axes = tuple(a for a in range(x.ndim) if a != 1)
        seen_mean, seen_var = x.mean(axis=axes), x.var(axis=axes)
        extra = (
            mean * momentum + seen_mean * (1 - momentum),
            var * momentum + seen_var * (1 - momentum),
        )
        mean, var = seen_mean, seen_var
    if mean.ndim == 1:
        mean, var, scale, bias = (
            p.reshape(-1, *([1] * (x.ndim - 2))) for p in (mean, var, scale, bias)
        )
    y = scale * ((x - mean) / np.sqrt(var + epsilon)) + bias
    return (y, *extra)[: call.outputs]


def _rows(call: Call) -> tuple[Array, int]:
    """The input as the op sees it and its axis: before opset 13 everything from axis on is one."""
    x = call.array(0)
    if call.opset >= 13:
        return x, int(call.attributes["axis"] if "axis" in call.given else -1)
    axis = int(call.attributes["axis"] if "axis" in call.given else 1) % max(x.ndim, 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1), 1


def softmax(call: Call) -> tuple[Array, ...]:
    """Softmax of every opset."""
    x, axis = _rows(call)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return ((e / e.sum(axis=axis, keepdims=True)).reshape(call.array(0).shape),)


def log_softmax(call: Call) -> tuple[Array, ...]:
    """LogSoftmax of every opset."""
    x, axis = _rows(call)
    x = x - x.max(axis=axis, keepdims=True)
    y = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
    return (y.reshape(call.array(0).shape),)


def hardmax(call: Call) -> tuple[Array, ...]:
    """Hardmax of every opset: 1 at the first maximum."""
    x, axis = _rows(call)
    y = np.zeros_like(x)
    np.put_along_axis(y, x.argmax(axis=axis, keepdims=True), 1.0, axis=axis)
    return (y.reshape(call.array(0).shape),)


def lrn(call: Call) -> tuple[Array, ...]:
    """LRN over neighbouring channels (onnx.reference visits only the first N channels)."""
    x = call.array(0)
    size = int(call.get("size"))
    alpha, beta = float(call.get("alpha", 1e-4)), float(call.get("beta", 0.75))
    before, behind = (size - 1) // 2, size // 2
    square = np.pad(x * x, [(0, 0), (before, behind)] + [(0, 0)] * (x.ndim - 2))
    total = sum(square[:, k : k + x.shape[1]] for k in range(size))
    return (x / (float(call.get("bias", 1.0)) + alpha / size * total) ** beta,)


def group_normalization(call: Call) -> tuple[Array, ...]:
    """GroupNormalization: parameters per group at opset 18, per channel from 21 on."""
    x, scale, bias = call.array(0), call.array(1), call.array(2)
    groups = int(call.get("num_groups"))
    flat = x.reshape(x.shape[0], groups, -1)
    centred = flat - flat.mean(axis=2, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=2, keepdims=True) + call.get("epsilon", 1e-5))
    y = (centred / deviation).reshape(x.shape)
    if scale.size == groups != x.shape[1]:
        scale, bias = (np.repeat(p, x.shape[1] // groups) for p in (scale, bias))
    shape = (-1, *([1] * (x.ndim - 2)))
    return (y * scale.reshape(shape) + bias.reshape(shape),)


def mean_variance_normalization(call: Call) -> tuple[Array, ...]:
    """MeanVarianceNormalization; the 1e-9 is the schema's own."""
    x = call.array(0)
    axes = tuple(ints(call.get("axes"), [0, 2, 3]))
    centred = x - x.mean(axis=axes, keepdims=True)
    return (centred / (np.sqrt((centred**2).mean(axis=axes, keepdims=True)) + 1e-9),)


def dequantize_linear(call: Call) -> tuple[Array, ...]:
    """DequantizeLinear of every opset, exact: (x - zero point) * scale in float64."""
    x, scale, zero = call.array(0), call.array(1), call.optional(2)
    axis, block = int(call.get("axis", 1)), int(call.get("block_size", 0))
    y = x.astype(np.float64)
    if zero is not None:
        y = y - _spread(zero.astype(np.float64), x.shape, axis, block)
    return (y * _spread(scale.astype(np.float64), x.shape, axis, block),)


def _spread(parameter: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """A quantization parameter, broadcastable to `shape`."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis %= len(shape)
    if block:
        return np.repeat(parameter, block, axis=axis)[tuple(slice(0, n) for n in shape[: axis + 1])]
    return parameter.reshape([-1 if a == axis else 1 for a in range(len(shape))])


def pad(call: Call) -> tuple[Array, ...]:
    """Pad of every opset; negative pads crop (onnx.reference refuses them)."""
    x = call.array(0)
    if call.opset < 11:
        pads = ints(call.get("pads", call.get("paddings")), [])
        axes = list(range(x.ndim))
        value = call.get("value", 0.0)
    else:
        pads = ints(call.array(1), [])
        given, some = call.optional(2), call.optional(3)
        value = 0.0 if given is None or given.size == 0 else given.ravel()[0]
        axes = list(range(x.ndim)) if some is None else [int(a) % x.ndim for a in some]
    widths, crop = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for index, axis in enumerate(axes):
        head, tail = pads[index], pads[len(axes) + index]
        crop[axis] = slice(max(0, -head), x.shape[axis] - max(0, -tail))
        widths[axis] = (max(0, head), max(0, tail))
    mode = call.get("mode", "constant")
    x = x[tuple(crop)]
    if mode == "constant":
        return (np.pad(x, widths, constant_values=value),)
    return (np.pad(x, widths, mode=mode),)


def legacy_broadcast(call: Call) -> Array:
    """The second operand, unsqueezed as the `axis` of opsets before 7 demands."""
    a, b = call.array(0), call.array(1)
    axis = call.attributes.get("axis")
    if call.opset >= 7 or not call.get("broadcast", 0) or axis is None:
        return b
    return b.reshape(*b.shape, *([1] * (a.ndim - int(axis) % a.ndim - b.ndim)))


def dropout(call: Call) -> tuple[Array, ...]:
    """Dropout at inference: the identity and a mask of True.

    Raises:
        NotImplementedError: in training mode, which is random.
    """
    x, training = call.array(0), call.optional(2)
    if training is not None and bool(training.ravel()[0]):
        raise NotImplementedError("Dropout in training mode")
    return (x, np.ones(x.shape, dtype=bool))[: call.outputs]
