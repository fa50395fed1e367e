"""LocallyConnected1D/2D of Keras 2: a kernel of its own at every place.

Keras keeps the kernels in one of three ways. Here they are [places, taps * channels, filters], with
the input's places that each result's place reads; where a window reaches beyond the data its
weights are zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bnfold.formats.keras.geometry import tuple_of
from bnfold.formats.keras.graph import AnyArray


@dataclass(frozen=True)
class Local:
    """The geometry of a locally connected layer.

    Attributes:
        space: sizes of the input.
        result: sizes of the result.
        reads: for each place of the result, those of the input that it reads, in order; fewer at
            borders.
        taps: how many it reads where it reads most.
        channels_first: the data format.
        implementation: how Keras keeps the kernel: 1, 2 or 3.
    """

    space: tuple[int, ...]
    result: tuple[int, ...]
    reads: tuple[tuple[int, ...], ...]
    taps: int
    channels_first: bool
    implementation: int

    @property
    def indices(self) -> AnyArray:
        """The input's places that each place reads [places, taps]."""
        found = np.zeros((len(self.reads), self.taps), dtype=np.int64)
        for place, read in enumerate(self.reads):
            found[place, : len(read)] = read
        return found

    def kernel_shape(self, channels: int, filters: int) -> tuple[int, ...]:
        """The shape in which Keras keeps the kernel."""
        if self.implementation == 1:
            return (len(self.reads), self.taps * channels, filters)
        if self.implementation == 2 and self.channels_first:
            return (channels, *self.space, filters, *self.result)
        if self.implementation == 2:
            return (*self.space, channels, *self.result, filters)
        return (sum(map(len, self.reads)) * channels * filters,)

    def kernel(self, stored: AnyArray, channels: int, filters: int) -> AnyArray:
        """From Keras's array to [places, taps * channels, filters], channels running fastest."""
        places = len(self.reads)
        if self.implementation == 1:
            if not self.channels_first:
                return stored
            # Windows were flattened as they stand, channels first.
            moved = stored.reshape(places, channels, self.taps, filters).swapaxes(1, 2)
            return np.ascontiguousarray(moved).reshape(stored.shape)
        full = np.zeros((places, self.taps, channels, filters), dtype=stored.dtype)
        if self.implementation == 2:
            whole = self._matrix(stored, channels, filters)
            for place, read in enumerate(self.reads):
                full[place, : len(read)] = whole[list(read), :, place]
        else:
            self._unpack(stored, full)
        return full.reshape(places, self.taps * channels, filters)

    def _matrix(self, stored: AnyArray, channels: int, filters: int) -> AnyArray:
        """[input's places, channels, places, filters]."""
        size, places = prod(self.space), len(self.reads)
        if not self.channels_first:
            return stored.reshape(size, channels, places, filters)
        whole: AnyArray = stored.reshape(channels, size, filters, places).transpose(1, 0, 3, 2)
        return whole

    def _unpack(self, stored: AnyArray, full: AnyArray) -> None:
        """The weights of a sparse matrix, in the order of its rows (results) and columns."""
        places, _, channels, filters = full.shape
        if not self.channels_first:
            rows = [(place, f) for place in range(places) for f in range(filters)]
        else:
            rows = [(place, f) for f in range(filters) for place in range(places)]
        at = 0
        for place, f in rows:
            count = len(self.reads[place])
            block = stored[at : at + count * channels]
            if not self.channels_first:
                full[place, :count, :, f] = block.reshape(count, channels)
            else:
                full[place, :count, :, f] = block.reshape(channels, count).T
            at += count * channels


def local_of(config: Mapping[str, Any], space: Sequence[int]) -> Local:
    """The geometry of a layer's config on an input of these sizes."""
    count = len(space)
    kernel, strides = tuple_of(config["kernel_size"], count), tuple_of(config["strides"], count)
    same = str(config.get("padding", "valid")).lower() == "same"
    result = tuple(
        -(-dim // step) if same else (dim - size) // step + 1
        for dim, size, step in zip(space, kernel, strides, strict=True)
    )
    axes = [
        [_window(i * step, dim, size, same) for i in range(out)]
        for out, dim, size, step in zip(result, space, kernel, strides, strict=True)
    ]
    reads = tuple(
        tuple(int(np.ravel_multi_index(one, tuple(space))) for one in itertools.product(*ranges))
        for ranges in itertools.product(*axes)
    )
    first = config.get("data_format") == "channels_first"
    way = int(config.get("implementation") or 1)
    return Local(tuple(space), result, reads, prod(kernel), first, way)


def _window(start: int, dim: int, size: int, same: bool) -> range:
    """What a window reads of one axis: "same" centres it on the place it begins at otherwise."""
    start -= size // 2 if same else 0
    return range(max(start, 0), min(start + size, dim))
