"""Lowering rule: layers with a kernel of its own at every place."""

from __future__ import annotations

import dataclasses
from math import prod

from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Chain, Regroup, Segment, Take
from bnfold.core.transfer import Commute, Opaque
from bnfold.formats.keras.geometry import spatial_count
from bnfold.formats.keras.local import local_of
from bnfold.formats.keras.lower_elementwise import activate
from bnfold.formats.keras.lower_linear import (
    UNKNOWN,
    channels_of,
    image_shape,
    product,
    sizes_of,
    space_of,
)
from bnfold.formats.keras.lower_view import Value, View


def locally_connected(view: View) -> Value:
    """LocallyConnected1D/2D: windows are gathered, and multiplied each with its own kernel.

    Only where Keras keeps the kernels as one array per place (implementation 1).
    """
    x, count = view.input, spatial_count(view.layer.class_name)
    if x.shape is None or len(x.shape) != count + 2:
        return view.op(UNKNOWN, [x], None)
    channels, filters = channels_of(view, x.shape), int(view.config["filters"])
    space = tuple(dim for dim in space_of(view, x.shape) if isinstance(dim, int))
    if len(space) < count or not isinstance(channels, int):
        return view.op(UNKNOWN, [x], None)
    local = local_of(view.config, space)
    shape = image_shape(view, x.shape[0], local.result, filters)
    if local.implementation != 1 or view.channels_first:
        return view.op(Opaque(detail="its kernels are one sparse matrix"), [x], shape)
    batch, places, width = x.shape[0], len(local.reads), local.taps * channels
    alone = Segment((batch,), (batch,))
    flat = Regroup((alone, Segment(space, (prod(space),)), Segment((channels,), (channels,))))
    take = Take(1, prod(space), local.indices.reshape(-1))
    read = places * local.taps
    windows = Regroup((alone, Segment((read, channels), (places, width))))
    move = Chain((flat, take, windows))
    rows = view.op(Commute(move), [x], (batch, places, width), suffix="windows")
    where = tuple(f"p{i}" for i in range(count))
    w: Axes = (where, ("k",), ("n",))
    y: Axes = ((), *((name,) for name in where), ("n",))
    sizes = sizes_of((w, (None, width, filters)), (y, shape))
    bias = dataclasses.replace(view.slot("bias", use_bias=True), shape=(*local.result, filters))
    out = product(view, rows, Labels(((), where, ("k",)), w, y, sizes), shape, bias=bias)
    return activate(view, out)
