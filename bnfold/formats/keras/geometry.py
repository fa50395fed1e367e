"""Sizes and paddings of windows that move over space, and the forms Keras writes them in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Dim = int | str | None


def tuple_of(value: Any, count: int) -> tuple[int, ...]:
    """A config's number or list as ``count`` numbers."""
    if isinstance(value, (list, tuple)):
        numbers = tuple(int(item) for item in value)
        return numbers if len(numbers) == count else numbers * count
    return (int(value),) * count


@dataclass(frozen=True)
class Window:
    """How a kernel moves over space.

    Attributes:
        kernel, strides, dilations: one each per spatial axis.
        padding: "valid", "same" or "causal".
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str

    @property
    def reach(self) -> tuple[int, ...]:
        """Sizes of the dilated kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def pads(self, space: Sequence[Dim]) -> list[tuple[int, int]] | None:
        """Padding of each axis; None where it depends on sizes that are free."""
        found = []
        for dim, reach, stride in zip(space, self.reach, self.strides, strict=True):
            if self.padding == "valid":
                found.append((0, 0))
            elif self.padding == "causal":
                found.append((reach - 1, 0))
            else:
                if isinstance(dim, int):
                    total = max((-(-dim // stride) - 1) * stride + reach - dim, 0)
                elif stride == 1 or reach == 1:
                    total = reach - 1
                else:
                    return None
                found.append((total // 2, total - total // 2))
        return found

    def may_crop(self, space: Sequence[Dim]) -> bool:
        """Whether padding "same" may come to less than nothing along an axis of free size.

        Keras pads by nothing then; runtimes cut, or fail. A window of one element is never padded.
        """
        rows = zip(space, self.reach, self.strides, strict=True)
        return self.padding == "same" and any(
            not isinstance(dim, int) and stride > reach > 1 for dim, reach, stride in rows
        )

    def result(self, space: Sequence[Dim], fresh: Callable[[], Dim]) -> tuple[Dim, ...]:
        """Sizes of the result; ``fresh`` names one that is not known. Below 1: no result."""
        sizes: list[Dim] = []
        for dim, reach, stride in zip(space, self.reach, self.strides, strict=True):
            if isinstance(dim, int):
                extra = 0 if self.padding == "valid" else reach - 1
                sizes.append(
                    -(-dim // stride)
                    if self.padding == "same"
                    else (dim + extra - reach) // stride + 1
                )
            elif (stride == 1 and self.padding != "valid") or (stride == 1 and reach == 1):
                sizes.append(dim)
            else:
                sizes.append(fresh())
        return tuple(sizes)

    def attributes(self, space: Sequence[Dim]) -> dict[str, Any]:
        """ONNX attributes for strides and padding (dilations are the caller's)."""
        pads = self.pads(space)
        found: dict[str, Any] = {"strides": list(self.strides)}
        if pads is None:
            found["auto_pad"] = "SAME_UPPER"
        elif any(pad != (0, 0) for pad in pads):
            found["pads"] = [before for before, _ in pads] + [after for _, after in pads]
        return found


def window_of(config: Mapping[str, Any], count: int) -> Window:
    """The window of a convolution's config, with ``count`` spatial axes."""
    return Window(
        tuple_of(config["kernel_size"], count),
        tuple_of(config.get("strides", 1), count),
        tuple_of(config.get("dilation_rate", 1), count),
        str(config.get("padding", "valid")).lower(),
    )


def pool_window_of(config: Mapping[str, Any], count: int) -> Window:
    """The window of a pooling layer's config."""
    kernel = tuple_of(config["pool_size"], count)
    strides = config.get("strides")
    steps = kernel if strides is None else tuple_of(strides, count)
    return Window(kernel, steps, (1,) * count, str(config.get("padding", "valid")).lower())


def transposed_axis(window: Window, axis: int, output_padding: int | None) -> tuple[int, int, int]:
    """Padding before and after and output padding of one axis, as TensorFlow cuts the result.

    The transpose of a convolution with padding "same" cuts off what that padding had added; the
    size of the result is then ``stride * size``, or, with an output padding,
    ``(size - 1) * stride + kernel - 2 * (kernel // 2) + output_padding``.
    """
    stride, reach = window.strides[axis], window.reach[axis]
    same = window.padding == "same"
    if output_padding is None:
        surplus = reach - stride
    else:
        surplus = 2 * (reach // 2) - output_padding if same else -output_padding
    cut = max(surplus, 0) if same else 0
    return cut // 2, cut - cut // 2, max(-surplus, 0)


def transposed_result(
    window: Window,
    space: Sequence[Dim],
    paddings: Sequence[tuple[int, int, int]],
    fresh: Callable[[], Dim],
) -> tuple[Dim, ...]:
    """Sizes of the result of a transposed convolution."""
    return tuple(
        (dim - 1) * window.strides[axis] + window.reach[axis] - before - after + more
        if isinstance(dim, int)
        else fresh()
        for axis, (dim, (before, after, more)) in enumerate(zip(space, paddings, strict=True))
    )


def pairs_of(stated: Any, count: int) -> list[tuple[int, int]]:
    """Amounts before and after each axis, from the forms that Keras allows."""
    if isinstance(stated, int):
        return [(stated, stated)] * count
    if count == 1 and all(isinstance(one, int) for one in stated):
        return [(int(stated[0]), int(stated[1]))]
    return [
        (int(one), int(one)) if isinstance(one, int) else (int(one[0]), int(one[1]))
        for one in stated
    ]


def axes_of(axis: Any, rank: int) -> list[int]:
    """A config's axis or list of axes, counted from 0."""
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return [int(one) % rank for one in axes]


def spatial_count(class_name: str) -> int:
    """How many spatial axes a layer's class speaks of: "Conv2D" has 2; 0 where it says none."""
    return next((n for text, n in _DIMENSIONS.items() if text in class_name), 0)


_DIMENSIONS = {"1D": 1, "2D": 2, "3D": 3}


def fill_reshape(
    shape: Sequence[Dim], target: Sequence[int], fresh: Callable[[], Dim]
) -> tuple[Dim, ...]:
    """The target of a reshape with its -1 replaced by what is left, a name where that is free."""
    if -1 not in target:
        return tuple(target)
    known = [one for one in shape if isinstance(one, int)]
    free = [one for one in shape if not isinstance(one, int)]
    total = math.prod(known)
    rest = math.prod(one for one in target if one != -1)
    missing: Dim
    if not free and rest:
        missing = total // rest
    else:
        missing = free[0] if len(free) == 1 and total == rest else fresh()
    return tuple(missing if one == -1 else one for one in target)


def reshape_result(
    shape: Sequence[Dim], target: Sequence[Any], fresh: Callable[[], Dim]
) -> tuple[Dim, ...]:
    """The shape that a reshape of the whole value, its batch axis included, gives.

    Args:
        shape: the value's.
        target: numbers; -1 or None for what is left; names of free sizes.
        fresh: names a size that is not known.
    """
    names = [one for one in target if isinstance(one, str)]
    sizes = [-1 if one is None else int(one) for one in target if not isinstance(one, str)]
    rest = list(shape)
    for name in names:
        if name in rest:
            rest.remove(name)
    if names or not sizes or not shape:
        filled = iter(fill_reshape(rest, sizes, fresh))
        return tuple(one if isinstance(one, str) else next(filled) for one in target)
    batch, inner = shape[0], sizes[1:]
    if sizes[0] == -1 and not isinstance(batch, int):
        known = [one for one in shape[1:] if isinstance(one, int)]
        same = len(known) == len(shape) - 1 and math.prod(known) == math.prod(inner)
        return (batch if same else fresh(), *inner)
    if sizes[0] == batch:
        return (batch, *fill_reshape(shape[1:], inner, fresh))
    return fill_reshape(shape, sizes, fresh)
