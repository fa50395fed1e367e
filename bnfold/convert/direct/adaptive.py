"""AdaptiveAveragePooling and AdaptiveMaxPooling: windows cut so that a stated size comes out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from bnfold.convert.direct.convolutions import (
    channels_of,
    is_channels_first,
    keras_shape,
    space_of,
    spatial_form,
)
from bnfold.convert.direct.layout import value
from bnfold.convert.direct.ops import concat, reduce, slices
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, permuted
from bnfold.formats.keras.geometry import spatial_count, tuple_of


def adaptive_pooling(op: str, reduction: str) -> Callable[[Site], Tensor]:
    """Adaptive pooling of 1 to 3 axes whose sizes are known.

    Where all windows of an axis are equal it is ordinary pooling; elsewhere each window is cut out.
    """

    def emit(site: Site) -> Tensor:
        x = site.input
        count = spatial_count(site.layer.class_name)
        if x.rank != count + 2:
            raise site.unsupported(f"is given a value with {x.rank} axes")
        targets = tuple_of(site.config["output_size"], count)
        kernel, strides = [1] * count, [1] * count
        first = 2 if is_channels_first(site) else 1
        for place, (dim, target) in enumerate(zip(space_of(site, x.shape), targets, strict=True)):
            if not isinstance(dim, int):
                raise site.unsupported("pools sizes that are free into stated ones")
            windows = _windows(dim, target)
            step = _equal(windows)
            if step is None:
                x = _window_by_window(site, x, first + place, windows, reduction)
            else:
                kernel[place], strides[place] = windows[0][1], step
        return x if set(kernel) == {1} else _pool(site, x, op, kernel, strides)

    return emit


def _windows(size: int, count: int) -> list[tuple[int, int]]:
    """Where each window begins and ends: as far apart as whole numbers allow."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _equal(windows: list[tuple[int, int]]) -> int | None:
    """The distance of windows of one size and one distance; None where they have none."""
    if len({stop - start for start, stop in windows}) > 1:
        return None
    steps = {two[0] - one[0] for one, two in itertools.pairwise(windows)}
    if len(steps) > 1 or 0 in steps:
        return None
    return next(iter(steps), 1)


def _window_by_window(
    site: Site, x: Tensor, axis: int, windows: list[tuple[int, int]], reduction: str
) -> Tensor:
    parts = [
        reduce(site, reduction, slices(site, x, {axis: (start, stop, 1)}), [axis], True)
        for start, stop in windows
    ]
    return concat(site, parts, axis)


def _pool(site: Site, x: Tensor, op: str, kernel: list[int], strides: list[int]) -> Tensor:
    space = tuple(
        (dim - size) // step + 1
        for dim, size, step in zip(space_of(site, x.shape), kernel, strides, strict=True)
        if isinstance(dim, int)
    )
    form = spatial_form(site, x.rank)
    shape = keras_shape(site, x.shape[0], channels_of(site, x.shape), space)
    made = site.node(
        op,
        [value(site, x, form)],
        (x.dtype, permuted(shape, form)),
        kernel_shape=kernel,
        strides=strides,
    )
    return Tensor(shape, x.dtype, {form: made})
