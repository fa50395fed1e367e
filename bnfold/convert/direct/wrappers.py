"""Layers around layers: TimeDistributed, Pipeline, and what does nothing at inference."""

from __future__ import annotations

from collections.abc import Callable

from bnfold.convert.direct.layout import dynamic_shape, reshape, value
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.graph import Layer

Inner = Callable[[Site, Layer, Tensor], Tensor]

# What acts on each step alone even when all are given at once.
_STEPWISE = frozenset(
    {"Activation", "Dense", "Dropout", "ELU", "GaussianNoise", "LeakyReLU", "ReLU", "Rescaling"}
)


def time_distributed(site: Site, emit: Inner) -> Tensor:
    """TimeDistributed: time is taken into the batch while the inner layer runs."""
    x = site.input
    inner = site.layer.parts.get("layer")
    if inner is None:
        raise site.unsupported("wraps nothing that can be read")
    if x.rank < 3:
        raise site.unsupported(f"is given a value with {x.rank} axes")
    if inner.is_own and inner.class_name in _STEPWISE:
        y = emit(site, inner, x)
        y.mask = x.mask
        return y
    batch, time = x.shape[0], x.shape[1]
    merged: Dim = site.emitter.fresh_dim()
    if isinstance(batch, int) and isinstance(time, int):
        merged = batch * time
    y = emit(site, inner, reshape(site, x, (merged, *x.shape[2:])))
    shape = (batch, time, *y.shape[1:])
    if isinstance(time, int) or isinstance(batch, int):
        result = reshape(site, y, shape)
    else:
        start = value(site, x, plain(x.rank))
        known = [dim if isinstance(dim, int) else None for dim in y.shape[1:]]
        operand = dynamic_shape(site, start, x.shape, (batch, time, *known))
        made = site.node("Reshape", [value(site, y, plain(y.rank)), operand], (y.dtype, shape))
        result = Tensor(shape, y.dtype, {plain(len(shape)): made})
    result.mask = x.mask
    return result


def transparent(site: Site, emit: Inner) -> Tensor:
    """SpectralNormalization: its kernel has been normalized while training."""
    inner = site.layer.parts.get("layer")
    if inner is None:
        raise site.unsupported("wraps nothing that can be read")
    return emit(site, inner, site.input)


def pipeline(site: Site, emit: Inner) -> Tensor:
    """Pipeline: its layers one after the other."""
    if not site.layer.parts:
        raise site.unsupported("holds nothing that can be read")
    x = site.input
    for part in site.layer.parts.values():
        x = emit(site, part, x)
    return x
