"""Layers around layers: TimeDistributed, Pipeline, and what does nothing at inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bnfold.convert.direct.layout import dynamic_shape, reshape, value
from bnfold.convert.direct.ops import cast, reduce
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor, plain
from bnfold.formats.keras.graph import Layer
from bnfold.formats.keras.masking import OWN_MASKS

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
    mask = site.mask(x, 2)
    batch, time = x.shape[0], x.shape[1]
    merged: Dim = site.emitter.fresh_dim()
    if isinstance(batch, int) and isinstance(time, int):
        merged = batch * time
    steps = reshape(site, x, (merged, *x.shape[2:]))
    if mask is not None and mask.rank > 2:
        steps = replace(steps, mask=reshape(site, mask, (merged, *mask.shape[2:])))
    elif mask is not None and _heeds_masks(inner):
        raise site.unsupported("gives its layer a mask of whole steps")
    y = emit(site, inner, steps)
    result = _apart(site, x, y)
    result.mask = _mask_of(site, x, y, mask)
    return result


def _apart(site: Site, x: Tensor, y: Tensor) -> Tensor:
    """Batch and time of ``x`` again, which are one axis of ``y``."""
    batch, time = x.shape[0], x.shape[1]
    shape = (batch, time, *y.shape[1:])
    if isinstance(time, int) or isinstance(batch, int):
        return reshape(site, y, shape)
    start = value(site, x, plain(x.rank))
    known = [dim if isinstance(dim, int) else None for dim in y.shape[1:]]
    operand = dynamic_shape(site, start, x.shape, (batch, time, *known))
    made = site.node("Reshape", [value(site, y, plain(y.rank)), operand], (y.dtype, shape))
    return Tensor(shape, y.dtype, {plain(len(shape)): made})


def _heeds_masks(layer: Layer) -> bool:
    return not layer.is_own or layer.graph is not None or layer.class_name in _HEED


_HEED = OWN_MASKS | {"GlobalAveragePooling1D", "Softmax"}


def _mask_of(site: Site, x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor | None:
    """Keras 3 hands the mask on as it is; Keras 2 what the layer makes of it, or whole steps."""
    if mask is None or site.generation == 3 or mask.rank == 2:
        return mask
    if y.mask is not None:
        return _apart(site, x, y.mask)
    numbers = cast(site, mask, site.dtype)
    return cast(site, reduce(site, "ReduceMax", numbers, list(range(2, mask.rank)), False), "bool")


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
