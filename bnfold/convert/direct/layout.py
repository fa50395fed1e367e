"""Moving values between forms, and the ops that only move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import (
    Dim,
    Form,
    Shape,
    Tensor,
    channels_first,
    permuted,
    plain,
    size,
)
from bnfold.formats.keras.graph import AnyArray


def value(site: Site, tensor: Tensor, form: Form | None = None) -> ir.Value:
    """The ONNX value that holds ``tensor`` in ``form`` (the one it was made in by default)."""
    form = form or tensor.form
    found = tensor.forms.get(form)
    if found is None:
        if tensor.const is not None:
            found = site.constant(arranged(tensor.const, form), "constant")
        elif form in tensor.pending:
            found = tensor.pending.pop(form)()
        else:
            found = _relayout(site, tensor, form)
        tensor.forms[form] = found
    return found


def constant(array: AnyArray) -> Tensor:
    """A constant tensor."""
    return Tensor(array.shape, array.dtype.name, const=array)


def arranged(array: AnyArray, form: Form) -> AnyArray:
    """An array in Keras's order, or one that broadcasts against it, in the order of ``form``."""
    if array.ndim == 0:
        return array
    full: AnyArray = array.reshape((1,) * (len(form.perm) - array.ndim) + array.shape)
    if form.flat and full.shape[-1] != 1:
        lead = full.shape[:-1]
        shaped = full.reshape((*lead, *form.flat))
        full = np.moveaxis(shaped, -1, len(lead)).reshape(full.shape)
    moved: AnyArray = full.transpose(form.perm)
    return moved


def _relayout(site: Site, tensor: Tensor, form: Form) -> ir.Value:
    source = tensor.form
    if source.flat and not form.flat:
        return _unflatten(site, tensor, source, form)
    if form.flat:
        raise AssertionError("no op asks for channels-first flat elements that were not made so")
    start = value(site, tensor, source)
    before, after = permuted(tensor.shape, source), permuted(tensor.shape, form)
    moved = [source.perm.index(axis) for axis in form.perm]
    order = [axis for axis in moved if before[axis] != 1]
    if order == sorted(order):
        target = reshape_target(before, after)
        if target is not None:
            shape = site.integers(target, "shape")
            return site.node("Reshape", [start, shape], (tensor.dtype, after))
    return site.node("Transpose", [start], (tensor.dtype, after), perm=moved)


def _unflatten(site: Site, tensor: Tensor, source: Form, form: Form) -> ir.Value:
    """From elements flattened channels first to Keras's own order."""
    *space, channels = source.flat
    lead = tensor.shape[:-1]
    shaped = Tensor((*lead, *space, channels), tensor.dtype)
    count = len(lead)
    first = Form((*range(count), shaped.rank - 1, *range(count, shaped.rank - 1)))
    target = reshape_target(tensor.shape, permuted(shaped.shape, first))
    if target is None:
        raise site.unsupported("flattens sizes that are not known")
    shaped.forms[first] = site.node(
        "Reshape",
        [value(site, tensor, source), site.integers(target, "shape")],
        (tensor.dtype, permuted(shaped.shape, first)),
    )
    back = reshape_target(shaped.shape, tensor.shape)
    if back is None:
        raise site.unsupported("flattens sizes that are not known")
    flat = site.node(
        "Reshape",
        [value(site, shaped, plain(shaped.rank)), site.integers(back, "shape")],
        (tensor.dtype, tensor.shape),
    )
    tensor.forms[plain(tensor.rank)] = flat
    return value(site, Tensor(tensor.shape, tensor.dtype, {plain(tensor.rank): flat}), form)


def reshape_target(before: Sequence[Dim], after: Sequence[Dim]) -> list[int] | None:
    """The constant operand of a Reshape; None where the sizes do not determine it."""
    target: list[int] = []
    for axis, dim in enumerate(after):
        if isinstance(dim, int):
            target.append(dim)
        elif axis < len(before) and _same(before[axis], dim) and -1 not in target:
            target.append(0)
        else:
            target.append(-1)
    if target.count(-1) > 1:
        return None
    if 0 in after:
        return None
    return target


def _same(left: Dim, right: Dim) -> bool:
    # Two free sizes without names may differ; at the same axis they are taken for the same by
    # those callers only that pass the object on.
    return left == right and (left is not None)


def transpose(site: Site, tensor: Tensor, perm: Sequence[int]) -> Tensor:
    """Keras's axes in another order. No node: the form says it all."""
    shape = tuple(tensor.shape[axis] for axis in perm)
    if tensor.const is not None:
        return constant(tensor.const.transpose(perm))
    form = tensor.form if not tensor.form.flat else plain(tensor.rank)
    made = value(site, tensor, form)
    turned = Form(tuple(list(perm).index(axis) for axis in form.perm))
    return Tensor(shape, tensor.dtype, {turned: made})


def reshape(site: Site, tensor: Tensor, shape: Sequence[Dim]) -> Tensor:
    """Keras's Reshape. Channels that stay the last axis may stay first in ONNX.

    ``shape`` includes the batch axis and states every size that is known.
    """
    target = tuple(shape)
    if target == tensor.shape and None not in target:
        return tensor
    if tensor.const is not None:
        return constant(
            tensor.const.reshape([dim if isinstance(dim, int) else -1 for dim in target])
        )
    form = tensor.form
    keeps = tensor.rank > 1 and len(target) > 1 and tensor.shape[-1] == target[-1]
    keeps = keeps and isinstance(target[-1], int) and _same(tensor.shape[0], target[0])
    first, new_first = channels_first(tensor.rank), channels_first(len(target))
    result = Tensor(target, tensor.dtype)
    if keeps and form == first and form != plain(tensor.rank):
        operand = reshape_target(permuted(tensor.shape, first), permuted(target, new_first))
        if operand is not None:
            result.pending[new_first] = lambda: _reshaped(site, tensor, first, target, new_first)
            return result
    made_plain = plain(len(target))
    result.pending[made_plain] = lambda: _reshaped(
        site, tensor, plain(tensor.rank), target, made_plain
    )
    if keeps and tensor.rank == 2 and len(target) > 2 and all(dim == 1 for dim in target[1:-1]):
        # Where there is no space, channels are first and last at once.
        result.pending[new_first] = lambda: _reshaped(
            site, tensor, plain(tensor.rank), target, new_first
        )
    return result


def _reshaped(site: Site, tensor: Tensor, form: Form, target: Shape, new_form: Form) -> ir.Value:
    before, after = permuted(tensor.shape, form), permuted(target, new_form)
    start = value(site, tensor, form)
    operand = reshape_target(before, after)
    if operand is None:
        shape = dynamic_shape(site, start, before, after)
    else:
        shape = site.integers(operand, "shape")
    return site.node("Reshape", [start, shape], (tensor.dtype, after))


def dynamic_shape(
    site: Site, start: ir.Value, before: Sequence[Dim], after: Sequence[Dim]
) -> ir.Value:
    """A shape operand for more than one free size: those with a name are read from the value."""
    parts: list[ir.Value] = []
    whole: ir.Value | None = None
    guessed = False
    for dim in after:
        if isinstance(dim, int):
            parts.append(site.integers([dim], "size"))
        elif dim is not None and dim in before:
            if whole is None:
                whole = site.node("Shape", [start], ("int64", (len(before),)))
            index = site.integers([list(before).index(dim)], "index")
            parts.append(site.node("Gather", [whole, index], ("int64", (1,)), axis=0))
        elif not guessed:
            guessed = True
            parts.append(site.integers([-1], "size"))
        else:
            raise site.unsupported("reshapes to more than one size that is not known")
    return site.node("Concat", parts, ("int64", (len(parts),)), axis=0)


def flatten(site: Site, tensor: Tensor) -> Tensor:
    """All axes but the batch as one; left in channels-first order where that is how it stands."""
    if tensor.rank == 2 and isinstance(tensor.shape[1], int):
        return tensor
    count = size(tensor.shape[1:])
    shape: Shape = (tensor.shape[0], count if count is not None else None)
    form, first = tensor.form, channels_first(tensor.rank)
    result = Tensor(shape, tensor.dtype)
    if tensor.rank == 1:
        return reshape(site, tensor, (tensor.shape[0], 1))
    if form == first and not form.is_plain and count is not None:
        sizes = tuple(dim for dim in tensor.shape[1:] if isinstance(dim, int))
        trivial = sum(dim != 1 for dim in sizes[:-1]) == 0 or sizes[-1] == 1
        flat = plain(2) if trivial else Form((0, 1), sizes)
        result.pending[flat] = lambda: _flattened(site, tensor, first, shape)
    else:
        result.pending[plain(2)] = lambda: _flattened(site, tensor, plain(tensor.rank), shape)
    return result


def _flattened(site: Site, tensor: Tensor, form: Form, shape: Shape) -> ir.Value:
    return site.node("Flatten", [value(site, tensor, form)], (tensor.dtype, shape), axis=1)


def squeeze(site: Site, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Without these axes of size 1."""
    axes = sorted(axis % tensor.rank for axis in axes)
    kept = [axis for axis in range(tensor.rank) if axis not in axes]
    shape = tuple(tensor.shape[axis] for axis in kept)
    if tensor.const is not None:
        return constant(np.squeeze(tensor.const, tuple(axes)))
    form = tensor.form if not tensor.form.flat else plain(tensor.rank)
    new = Form(tuple(kept.index(axis) for axis in form.perm if axis in kept))
    operand = site.integers(sorted(form.axis(axis) for axis in axes), "axes")
    made = site.node(
        "Squeeze", [value(site, tensor, form), operand], (tensor.dtype, permuted(shape, new))
    )
    return Tensor(shape, tensor.dtype, {new: made})


def unsqueeze(site: Site, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """With new axes of size 1 at these places of the result."""
    rank = tensor.rank + len(axes)
    places = sorted(axis % rank for axis in axes)
    if tensor.const is not None:
        return constant(np.expand_dims(tensor.const, tuple(places)))
    old = [axis for axis in range(rank) if axis not in places]
    shape: list[Dim] = [1] * rank
    for axis, dim in zip(old, tensor.shape, strict=True):
        shape[axis] = dim
    operand = site.integers(places, "axes")
    start = value(site, tensor, plain(tensor.rank))
    made = site.node("Unsqueeze", [start, operand], (tensor.dtype, shape))
    return Tensor(tuple(shape), tensor.dtype, {plain(rank): made})
