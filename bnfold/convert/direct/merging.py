"""Layers that merge several inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable

from bnfold.convert.direct.layout import squeeze, transpose, unsqueeze
from bnfold.convert.direct.masks import both, either
from bnfold.convert.direct.normalizations import unit
from bnfold.convert.direct.ops import concat, elementwise, matmul, reduce, scalar
from bnfold.convert.direct.promotion import is_float, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor


def _inputs(site: Site) -> list[Tensor]:
    """The inputs in one dtype and rank, as Keras does it: axes of 1 behind the batch axis."""
    tensors = operands(site, site.inputs)
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


# Keras 3 lets masked elements of these be without effect, whatever they are.
_CHANGE_VALUES = frozenset({"Maximum", "Minimum", "Multiply"})


def _mask(site: Site) -> Tensor | None:
    """Where all masks count in Keras 2; where any does in Keras 3, if all inputs have one."""
    carried = [tensor.mask for tensor in site.inputs]
    masks = list(dict.fromkeys(mask for mask in carried if mask is not None))
    if site.generation == 2:
        return functools.reduce(lambda a, b: both(site, a, b), masks) if masks else None
    if masks and site.layer.class_name in _CHANGE_VALUES:
        raise site.unsupported("merges masked values in a way that changes them")
    if not masks or None in carried:
        return None
    return functools.reduce(lambda a, b: either(site, a, b), masks)


def average(site: Site) -> Tensor:
    """Average: the sum divided by the number of inputs."""
    total = merge("Add")(site)
    if not is_float(total.dtype):
        raise site.unsupported("averages whole numbers")
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
    axis = int(site.config.get("axis", -1))
    y = concat(site, operands(site, site.inputs), axis)
    y.mask = _mask_of_joined(site, site.inputs, axis)
    return y


def _mask_of_joined(site: Site, tensors: list[Tensor], axis: int) -> Tensor | None:
    """Steps that count: in every input (Keras 2) or in any (Keras 3); joined along time."""
    carried = [tensor.mask for tensor in tensors]
    masks = list(dict.fromkeys(mask for mask in carried if mask is not None))
    if not masks:
        return None
    rank = tensors[0].rank
    if rank != 3 or axis % rank == 0:
        raise site.unsupported("concatenates masked values along another axis than their last")
    if axis % rank == 2:
        # An input without a mask counts throughout.
        if site.generation == 2:
            return functools.reduce(lambda a, b: both(site, a, b), masks)
        if None in carried:
            return None
        return functools.reduce(lambda a, b: either(site, a, b), masks)
    if None in carried:
        raise site.unsupported("joins sequences of which only some are masked")
    return concat(site, [mask for mask in carried if mask is not None], 1)


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
