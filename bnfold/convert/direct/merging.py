"""Layers that merge several inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable

from bnfold.convert.direct.layout import squeeze, transpose, unsqueeze
from bnfold.convert.direct.masks import both
from bnfold.convert.direct.normalizations import unit
from bnfold.convert.direct.ops import concat, elementwise, matmul, reduce, scalar
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor


def _inputs(site: Site) -> list[Tensor]:
    """The inputs, brought to one rank as Keras does: axes of 1 behind the batch axis."""
    tensors = site.inputs
    rank = max(tensor.rank for tensor in tensors)
    return [
        tensor
        if tensor.rank == rank
        else unsqueeze(site, tensor, list(range(1, 1 + rank - tensor.rank)))
        for tensor in tensors
    ]


def merge(op: str) -> Callable[[Site], Tensor]:
    """Inputs joined two by two by an ONNX op."""

    def emit(site: Site) -> Tensor:
        tensors = _inputs(site)
        y = functools.reduce(lambda left, right: elementwise(site, op, left, right), tensors)
        y.mask = _mask(site)
        return y

    return emit


def _mask(site: Site) -> Tensor | None:
    """Where all masks count. Keras 3 also changes the values that are merged."""
    masks = [tensor.mask for tensor in site.inputs if tensor.mask is not None]
    if masks and site.generation == 3:
        raise site.unsupported("merges masked values")
    found: Tensor | None = None
    for mask in masks:
        found = mask if found is None or found is mask else both(site, found, mask)
    return found


def average(site: Site) -> Tensor:
    """Average: the sum divided by the number of inputs."""
    total = merge("Add")(site)
    y = elementwise(site, "Mul", total, scalar(site, 1.0 / len(site.inputs), total))
    y.mask = total.mask
    return y


def custom_scale(site: Site) -> Tensor:
    """CustomScaleLayer of InceptionResNetV2: the first input plus a multiple of the second."""
    left, right = site.inputs
    factor = scalar(site, float(site.config.get("scale", 1.0)), right)
    return elementwise(site, "Add", left, elementwise(site, "Mul", right, factor))


def subtract(site: Site) -> Tensor:
    """Subtract: the first minus the second."""
    if len(site.inputs) != 2:
        raise site.unsupported(f"subtracts {len(site.inputs)} inputs")
    return merge("Sub")(site)


def concatenate(site: Site) -> Tensor:
    """Concatenate along one axis."""
    tensors = site.inputs
    axis = int(site.config.get("axis", -1))
    y = concat(site, tensors, axis)
    if any(tensor.mask is not None for tensor in tensors):
        raise site.unsupported("concatenates masked values")
    return y


def dot(site: Site) -> Tensor:
    """Dot: contraction of one axis of each of two inputs, sample by sample."""
    if len(site.inputs) != 2:
        raise site.unsupported("takes the product of other than two inputs")
    left, right = site.inputs
    axes = site.config.get("axes", -1)
    pair = list(axes) if isinstance(axes, (list, tuple)) else [axes, axes]
    first, second = int(pair[0]) % left.rank, int(pair[1]) % right.rank
    if site.config.get("normalize"):
        left, right = unit(site, left, [first]), unit(site, right, [second])
    if left.rank == 2 and right.rank == 2:
        return reduce(site, "ReduceSum", elementwise(site, "Mul", left, right), [1], True)
    if max(left.rank, right.rank) > 3 or 0 in (first, second):
        raise site.unsupported("contracts values with more than three axes")
    wide_left = left if left.rank == 3 else unsqueeze(site, left, [1])
    wide_right = right if right.rank == 3 else unsqueeze(site, right, [2])
    if left.rank == 3 and first == 1:
        wide_left = transpose(site, left, (0, 2, 1))
    if right.rank == 3 and second == 2:
        wide_right = transpose(site, right, (0, 2, 1))
    y = matmul(site, wide_left, wide_right)
    if left.rank == 2:
        return squeeze(site, y, [1])
    return squeeze(site, y, [2]) if right.rank == 2 else y
