"""Convolution and transposed convolution, vectorized, for every rank, group and dilation.

onnx.reference loops over output channels in Python and gets grouped ConvTranspose with more than
one channel per group wrong.
"""

from __future__ import annotations

import itertools

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call, ints
from bnfold.verify.reference_ops.windows import Window, window_of

# Values per patch matrix: bounds the memory that unfolding an image takes (256 MB in float64).
_PATCH_LIMIT = 1 << 25


def conv(call: Call) -> tuple[Array, ...]:
    """Conv: X [N, C, *spatial], W [M, C / group, *kernel], B [M] or absent."""
    x, kernel, bias = call.array(0), call.array(1), call.optional(2)
    group = int(call.get("group", 1))
    if x.ndim < 3 or x.shape[1] != kernel.shape[1] * group or kernel.shape[0] % group:
        raise ValueError(f"Conv of {x.shape} with a kernel {kernel.shape} in {group} groups")
    window = window_of(call, x.shape[2:], kernel.shape[2:], pool=False)
    padded = window.pad(x, 0.0)
    if kernel.shape[1] == 1:
        y = _depthwise(padded, kernel, window)
    else:
        y = _grouped(padded, kernel, window, group)
    return (_add_bias(y, bias),)


def _add_bias(y: Array, bias: Array | None) -> Array:
    if bias is None:
        return y
    return np.asarray(y + bias.reshape(-1, *([1] * (y.ndim - 2))))


def _depthwise(padded: Array, kernel: Array, window: Window) -> Array:
    """One input channel per group: M / C outputs for each channel."""
    channels = padded.shape[1]
    many = kernel.shape[0] // channels
    flat = kernel.reshape(kernel.shape[0], -1)
    ones = (1,) * len(window.out)
    y = np.zeros((padded.shape[0], kernel.shape[0], *window.out), dtype=padded.dtype)
    room = np.empty_like(y[:1])
    for image in range(len(padded)):  # one at a time, so that the work stays in the cache
        part = y[image : image + 1]
        for index, (_, tap) in enumerate(window.taps(padded[image : image + 1])):
            wide = tap if many == 1 else np.repeat(tap, many, axis=1)
            part += np.multiply(wide, flat[:, index].reshape(-1, *ones), out=room)
    return y


def _grouped(padded: Array, kernel: Array, window: Window, group: int) -> Array:
    """Patch matrices [group, C / group * taps, positions], a few images at a time."""
    images, channels = padded.shape[:2]
    taps, positions = int(np.prod(window.kernel)), int(np.prod(window.out))
    w = kernel.reshape(group, kernel.shape[0] // group, -1)
    y = np.empty((images, group, w.shape[1], positions), dtype=padded.dtype)
    step = max(1, _PATCH_LIMIT // max(1, channels * taps * positions))
    for start in range(0, images, step):
        part = padded[start : start + step]
        patches = np.stack([tap for _, tap in window.taps(part)], axis=2)
        shape = (len(part), group, channels // group * taps, positions)
        y[start : start + step] = np.matmul(w, patches.reshape(shape))
    return y.reshape(images, kernel.shape[0], *window.out)


def conv_transpose(call: Call) -> tuple[Array, ...]:
    """ConvTranspose: X [N, C, *spatial], W [C, M / group, *kernel], B [M] or absent."""
    x, kernel, bias = call.array(0), call.array(1), call.optional(2)
    group = int(call.get("group", 1))
    rank = x.ndim - 2
    strides = ints(call.get("strides"), [1] * rank)
    dilations = ints(call.get("dilations"), [1] * rank)
    head, out = _transposed_sizes(call, x.shape[2:], kernel.shape[2:], strides, dilations)
    full = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[2:], strides, kernel.shape[2:], dilations, strict=True)
    ]
    images, outputs = x.shape[0], kernel.shape[1] * group
    room = [max(f, h + o) for f, h, o in zip(full, head, out, strict=True)]
    y = np.zeros((images, outputs, *room), dtype=x.dtype)
    xs = x.reshape(images, group, x.shape[1] // group, -1)
    ws = kernel.reshape(group, x.shape[1] // group, kernel.shape[1], -1)
    offsets = itertools.product(*(range(k) for k in kernel.shape[2:]))
    for index, offset in enumerate(offsets):
        product = np.matmul(ws[..., index].transpose(0, 2, 1), xs)
        where = [slice(None), slice(None)]
        for o, d, s, n in zip(offset, dilations, strides, x.shape[2:], strict=True):
            where.append(slice(o * d, o * d + (n - 1) * s + 1, s))
        y[tuple(where)] += product.reshape(images, outputs, *x.shape[2:])
    crop = [slice(None), slice(None)]
    crop += [slice(h, h + o) for h, o in zip(head, out, strict=True)]
    return (_add_bias(y[tuple(crop)], bias),)


def _transposed_sizes(
    call: Call,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
) -> tuple[list[int], list[int]]:
    """Head padding and output size per axis."""
    rank = len(spatial)
    extra = ints(call.get("output_padding"), [0] * rank)
    wanted = ints(call.get("output_shape"), [])[-rank:]
    pads = ints(call.get("pads"), [0] * (2 * rank))
    auto_pad = call.get("auto_pad", "NOTSET")
    head, out = [], []
    for axis in range(rank):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        full = (spatial[axis] - 1) * strides[axis] + extra[axis] + reach
        if wanted or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            size = wanted[axis] if wanted else min(full, spatial[axis] * strides[axis])
            total = max(0, full - size)
            half = total // 2
            head.append(half if auto_pad == "SAME_UPPER" else total - half)
        elif auto_pad == "VALID":
            size = full
            head.append(0)
        else:
            size = full - pads[axis] - pads[rank + axis]
            head.append(pads[axis])
        out.append(size)
    return head, out
