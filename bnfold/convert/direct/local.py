"""LocallyConnected1D/2D: a product with a kernel of its own at every place."""

from __future__ import annotations

from math import prod

from bnfold.convert.direct.activations import activate
from bnfold.convert.direct.convolutions import channels_of, is_channels_first, space_of
from bnfold.convert.direct.layout import constant, reshape, transpose
from bnfold.convert.direct.ops import einsum, elementwise, gather
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.formats.keras.geometry import spatial_count
from bnfold.formats.keras.local import local_of


def locally_connected(site: Site) -> Tensor:
    """Windows are gathered, and multiplied each with its own kernel."""
    x, count = site.input, spatial_count(site.layer.class_name)
    if x.rank != count + 2:
        raise site.unsupported(f"is given a value with {x.rank} axes")
    channels, filters = channels_of(site, x.shape), int(site.config["filters"])
    space = tuple(dim for dim in space_of(site, x.shape) if isinstance(dim, int))
    if len(space) < count or not isinstance(channels, int):
        raise site.unsupported("is given images whose size is free")
    local = local_of(site.config, space)
    if min(local.result) < 1 or local.implementation not in (1, 2, 3):
        raise site.unsupported("has a kernel in no form that is known")
    stored = site.weight("kernel", local.kernel_shape(channels, filters))
    kernel = local.kernel(stored, channels, filters)
    if is_channels_first(site):
        x = transpose(site, x, (0, *range(2, x.rank), 1))
    batch, places = x.shape[0], len(local.reads)
    flat = reshape(site, x, (batch, prod(space), channels))
    windows = gather(site, flat, constant(local.indices), 1)
    rows = reshape(site, windows, (batch, places, local.taps * channels))
    y = einsum(site, "bpk,pkf->bpf", [rows, constant(kernel)], (batch, places, filters))
    y = reshape(site, y, (batch, *local.result, filters))
    if is_channels_first(site):
        y = transpose(site, y, (0, y.rank - 1, *range(1, y.rank - 1)))
    if site.config.get("use_bias", True):
        bias = site.weight("bias", (*local.result, filters))
        # Keras 2 takes its numbers as they stand for channels first.
        bias = bias.reshape(filters, *local.result) if is_channels_first(site) else bias
        y = elementwise(site, "Add", y, constant(bias))
    return activate(site, y, site.config.get("activation"))
