"""What convolutions and pools share: padding, output sizes and strided views of each tap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bnfold.verify.reference_ops.call import Array, Call, ints


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes of [N, C, *spatial].

    Attributes:
        kernel, strides, dilations: one int per spatial axis.
        head, tail: padding before and behind, per spatial axis.
        out: output size per spatial axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    head: tuple[int, ...]
    tail: tuple[int, ...]
    out: tuple[int, ...]

    def pad(self, x: Array, value: float) -> Array:
        """`x` padded with `value` so that every tap of every window lies inside."""
        widths, crop = [(0, 0), (0, 0)], [slice(None), slice(None)]
        for size, k, s, d, head, out in zip(
            x.shape[2:],
            self.kernel,
            self.strides,
            self.dilations,
            self.head,
            self.out,
            strict=True,
        ):
            reach = (out - 1) * s + (k - 1) * d + 1
            widths.append((max(0, head), max(0, reach - size - head)))
            crop.append(slice(max(0, -head), None))
        x = x[tuple(crop)]
        if not any(before or behind for before, behind in widths):
            return x
        return np.pad(x, widths, constant_values=value)

    def taps(self, padded: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Each kernel position with the view [N, C, *out] of what it meets."""
        for offset in itertools.product(*(range(k) for k in self.kernel)):
            slices = [slice(None), slice(None)]
            for o, s, d, n in zip(offset, self.strides, self.dilations, self.out, strict=True):
                slices.append(slice(o * d, o * d + (n - 1) * s + 1, s))
            yield offset, padded[tuple(slices)]


def window_of(call: Call, spatial: Sequence[int], kernel: Sequence[int], *, pool: bool) -> Window:
    """The window that the attributes describe, by the rules of onnxruntime.

    A pool leaves the dilation out of SAME padding and may round its output size up (ceil_mode).
    """
    rank = len(spatial)
    strides = ints(call.get("strides"), [1] * rank)
    dilations = ints(call.get("dilations"), [1] * rank)
    pads = ints(call.get("pads"), [0] * (2 * rank))
    auto_pad = call.get("auto_pad", "NOTSET")
    ceil_mode = bool(call.get("ceil_mode", 0)) and pool
    head, tail, out = [], [], []
    for axis in range(rank):
        size, k, s, d = spatial[axis], kernel[axis], strides[axis], dilations[axis]
        reach = (k - 1) * d + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            target = (size + s - 1) // s
            needed = (target - 1) * s + (k if pool else reach) - size
            needed = needed if pool else max(0, needed)
            # Rounded towards zero: a stride beyond the kernel needs less than no padding.
            before = int((needed + (auto_pad == "SAME_LOWER")) / 2)
            behind = needed - before
        elif auto_pad == "VALID":
            before, behind = 0, 0
        else:
            before, behind = pads[axis], pads[rank + axis]
        span = size + before + behind - reach
        count = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (count - 1) * s >= size + before:
            count -= 1  # the last window must start inside the image or its head padding
        head.append(before)
        tail.append(behind)
        out.append(count)
    return Window(
        tuple(kernel), tuple(strides), tuple(dilations), tuple(head), tuple(tail), tuple(out)
    )
