"""ONNX ops on values in whatever form they have: elementwise, reductions, slices, products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from bnfold.convert.direct.emitter import Attribute, onnx_type
from bnfold.convert.direct.layout import arranged, constant, reshape, value
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Form, Shape, Tensor, permuted, plain
from bnfold.formats.keras.graph import AnyArray, float_dtype

_MAX_INT = 2**31 - 1


def unary(
    site: Site,
    op: str,
    x: Tensor,
    *operands: AnyArray | None,
    dtype: str = "",
    name: str = "",
    attributes: Mapping[str, Attribute | None] | None = None,
) -> Tensor:
    """An elementwise op, in the form that ``x`` has; constants as further (scalar) operands."""
    form = x.form
    extra = [None if array is None else site.constant(array, name or op) for array in operands]
    out = dtype or x.dtype
    made = site.node(
        op,
        [value(site, x, form), *extra],
        (out, permuted(x.shape, form)),
        name,
        **(attributes or {}),
    )
    return Tensor(x.shape, out, {form: made}, mask=x.mask)


def cast(site: Site, x: Tensor, dtype: str) -> Tensor:
    """``x`` as ``dtype``; the same tensor where it is that already."""
    if x.dtype == dtype:
        return x
    if x.const is not None:
        return constant(x.const.astype(float_dtype(dtype)))
    return unary(site, "Cast", x, dtype=dtype, attributes={"to": int(onnx_type(dtype))})


def broadcast(site: Site, *shapes: Shape) -> Shape:
    """The shape of an elementwise result."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        dims = [shape[axis] for shape in shapes if -axis <= len(shape)]
        wide = [dim for dim in dims if dim != 1]
        known = {dim for dim in wide if isinstance(dim, int)}
        if len(known) > 1:
            raise site.unsupported(f"combines shapes that do not match: {shapes}")
        result.append(next(iter(known)) if known else wide[0] if wide else 1)
    return tuple(result)


def elementwise(
    site: Site,
    op: str,
    *tensors: Tensor,
    dtype: str = "",
    name: str = "",
    attributes: Mapping[str, Attribute | None] | None = None,
) -> Tensor:
    """An op of several operands that broadcast; laid out as most of them are."""
    shape = broadcast(site, *(tensor.shape for tensor in tensors))
    form = _common_form(tensors, len(shape))
    made = [_broadcastable(site, tensor, form, len(shape)) for tensor in tensors]
    out = dtype or tensors[0].dtype
    mask = next((tensor.mask for tensor in tensors if tensor.mask is not None), None)
    node = site.node(op, made, (out, permuted(shape, form)), name, **(attributes or {}))
    return Tensor(shape, out, {form: node}, mask=mask)


def _common_form(tensors: Sequence[Tensor], rank: int) -> Form:
    """The form that costs the fewest elements moved; the first one's on a tie."""
    full = [tensor for tensor in tensors if tensor.rank == rank and tensor.const is None]
    candidates = list(dict.fromkeys(tensor.form for tensor in full))
    # Computed values with fewer axes cannot be flattened as a convolution's result is.
    computed = [tensor for tensor in tensors if tensor.const is None]
    candidates = [
        form
        for form in candidates
        if not form.flat or all(tensor in full and tensor.has(form) for tensor in computed)
    ] or [plain(rank)]

    def cost(form: Form) -> tuple[int, int]:
        moved = [tensor for tensor in full if not tensor.has(form)]
        heavy = sum(any(dim != 1 for dim in tensor.shape[1:-1]) for tensor in moved)
        return heavy, len(moved)

    return min(candidates, key=cost)


def _broadcastable(site: Site, tensor: Tensor, form: Form, rank: int) -> ir.Value:
    if tensor.const is not None:
        array = tensor.const
        if array.ndim == 0:
            return site.constant(array, "constant")
        if form.is_plain:
            return site.constant(array, "constant")
        return site.constant(arranged(array, form), "constant")
    if tensor.rank == rank:
        return value(site, tensor, form)
    if form.is_plain:
        return value(site, tensor, plain(tensor.rank))
    wide = reshape(site, tensor, (1,) * (rank - tensor.rank) + tensor.shape)
    return value(site, wide, form)


def scalar(site: Site, number: float, x: Tensor) -> Tensor:
    """A scalar constant of the dtype of ``x``."""
    return constant(site.number(number, x.dtype))


def scale_shift(
    site: Site, x: Tensor, scale: AnyArray | None, shift: AnyArray | None, name: str = ""
) -> Tensor:
    """``scale * x + shift`` with constants in Keras's axes; None leaves a step out."""
    wanted = float_dtype(x.dtype)
    if scale is not None:
        x = elementwise(site, "Mul", x, constant(np.asarray(scale).astype(wanted)), name=name)
    if shift is not None:
        x = elementwise(site, "Add", x, constant(np.asarray(shift).astype(wanted)), name=name)
    return x


_AXES_ATTRIBUTE_UNTIL = {"ReduceSum": 12}


def reduce(site: Site, op: str, x: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """A reduction over Keras axes; over none of them nothing happens."""
    if not axes:
        return x
    axes = sorted({axis % x.rank for axis in axes})
    form = x.form if not x.form.flat else plain(x.rank)
    places = sorted(form.axis(axis) for axis in axes)
    if keepdims:
        shape = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape))
        new = form
    else:
        kept = [axis for axis in range(x.rank) if axis not in axes]
        shape = tuple(x.shape[axis] for axis in kept)
        new = Form(tuple(kept.index(axis) for axis in form.perm if axis in kept))
    start = value(site, x, form)
    out = (x.dtype, permuted(shape, new))
    if site.opset > _AXES_ATTRIBUTE_UNTIL.get(op, 17):
        operand = site.integers(places, "axes")
        made = site.node(op, [start, operand], out, keepdims=int(keepdims))
    else:
        made = site.node(op, [start], out, axes=places, keepdims=int(keepdims))
    return Tensor(shape, x.dtype, {new: made})


def softmax(site: Site, x: Tensor, axis: int, op: str = "Softmax") -> Tensor:
    """Softmax or LogSoftmax over one Keras axis."""
    if x.form.flat:
        value(site, x, plain(x.rank))
        x = Tensor(x.shape, x.dtype, {plain(x.rank): x.forms[plain(x.rank)]}, mask=x.mask)
    return unary(site, op, x, attributes={"axis": x.form.axis(axis)})


def concat(site: Site, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Side by side along a Keras axis."""
    if len(tensors) == 1:
        return tensors[0]
    rank = tensors[0].rank
    axis %= rank
    form = _common_form(tensors, rank)
    if form.flat:
        form = plain(rank)
    made = [value(site, tensor, form) for tensor in tensors]
    dims = [tensor.shape[axis] for tensor in tensors]
    shape = list(broadcast(site, *(_without(tensor.shape, axis) for tensor in tensors)))
    known = all(isinstance(dim, int) for dim in dims)
    total = sum(dim for dim in dims if isinstance(dim, int))
    shape.insert(axis, total if known else site.emitter.fresh_dim())
    out = permuted(shape, form)
    node = site.node("Concat", made, (tensors[0].dtype, out), axis=form.axis(axis))
    return Tensor(tuple(shape), tensors[0].dtype, {form: node})


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def slices(
    site: Site,
    x: Tensor,
    cuts: dict[int, tuple[int | None, int | None, int]],
) -> Tensor:
    """Slices along Keras axes: axis to (start, stop, step) as Python means them."""
    cuts = {axis % x.rank: cut for axis, cut in cuts.items() if cut != (None, None, 1)}
    if not cuts:
        return x
    form = x.form if not x.form.flat else plain(x.rank)
    shape = list(x.shape)
    starts, stops, places, steps = [], [], [], []
    for axis, (start, stop, step) in cuts.items():
        dim = shape[axis]
        shape[axis] = (
            len(range(*slice(start, stop, step).indices(dim)))
            if isinstance(dim, int)
            else site.emitter.fresh_dim()
        )
        starts.append(start if start is not None else (0 if step > 0 else _MAX_INT))
        stops.append(stop if stop is not None else (_MAX_INT if step > 0 else -_MAX_INT))
        places.append(form.axis(axis))
        steps.append(step)
    operands = [site.integers(starts, "starts"), site.integers(stops, "ends")]
    operands += [site.integers(places, "axes"), site.integers(steps, "steps")]
    made = site.node("Slice", [value(site, x, form), *operands], (x.dtype, permuted(shape, form)))
    return Tensor(tuple(shape), x.dtype, {form: made})


def pad(
    site: Site,
    x: Tensor,
    amounts: Sequence[tuple[int, int]],
    mode: str = "constant",
    fill: float = 0.0,
) -> Tensor:
    """Padding before and after each Keras axis."""
    if all(amount == (0, 0) for amount in amounts):
        return x
    form = x.form if not x.form.flat else plain(x.rank)
    shape = tuple(
        dim + sum(amount)
        if isinstance(dim, int)
        else dim
        if amount == (0, 0)
        else site.emitter.fresh_dim()
        for dim, amount in zip(x.shape, amounts, strict=True)
    )
    ordered = [amounts[axis] for axis in form.perm]
    flat = [before for before, _ in ordered] + [after for _, after in ordered]
    operands: list[ir.Value | None] = [value(site, x, form), site.integers(flat, "pads")]
    if fill:
        operands.append(site.constant(site.number(fill, x.dtype), "value"))
    made = site.node("Pad", operands, (x.dtype, permuted(shape, form)), mode=mode)
    return Tensor(shape, x.dtype, {form: made})


def gather(site: Site, x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Rows of ``x`` along a Keras axis, at integer ``indices``."""
    axis %= x.rank
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    # A list of places leaves the axes as they are, in whatever order they stand.
    stays = indices.rank == 1 and not x.form.flat
    form = x.form if stays else plain(x.rank)
    made = site.node(
        "Gather",
        [value(site, x, form), value(site, indices, plain(indices.rank))],
        (x.dtype, permuted(shape, form) if stays else shape),
        axis=form.axis(axis),
    )
    return Tensor(shape, x.dtype, {form if stays else plain(len(shape)): made})


def positions(site: Site, x: Tensor, axis: int) -> Tensor:
    """The integers from 0 to the size of a Keras axis."""
    dim = x.shape[axis]
    if isinstance(dim, int):
        return constant(np.arange(dim, dtype=np.int64))
    form = x.form if not x.form.flat else plain(x.rank)
    whole = site.node("Shape", [value(site, x, form)], ("int64", (x.rank,)))
    place = site.constant(np.asarray(form.axis(axis), dtype=np.int64), "axis")
    count = site.node("Gather", [whole, place], ("int64", ()), axis=0)
    ends = [site.constant(np.asarray(one, dtype=np.int64), "step") for one in (0, 1)]
    made = site.node("Range", [ends[0], count, ends[1]], ("int64", (dim,)))
    return Tensor((dim,), "int64", {plain(1): made})


def matmul(site: Site, left: Tensor, right: Tensor, name: str = "") -> Tensor:
    """NumPy's matmul of two tensors of rank 2 and more."""
    batch = broadcast(site, left.shape[:-2], right.shape[:-2]) if left.rank > 2 else ()
    if right.rank > 2 and left.rank <= 2:
        batch = right.shape[:-2]
    shape = (*batch, left.shape[-2], right.shape[-1])
    made = site.node(
        "MatMul",
        [value(site, left, plain(left.rank)), value(site, right, plain(right.rank))],
        (left.dtype, shape),
        name,
    )
    return Tensor(shape, left.dtype, {plain(len(shape)): made})


def einsum(site: Site, equation: str, tensors: Sequence[Tensor], shape: Shape) -> Tensor:
    """An Einsum whose result has ``shape``."""
    made = [value(site, tensor, plain(tensor.rank)) for tensor in tensors]
    node = site.node("Einsum", made, (tensors[0].dtype, shape), equation=equation)
    return Tensor(shape, tensors[0].dtype, {plain(len(shape)): node})


def split(site: Site, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """Cut along a Keras axis into these sizes."""
    form = x.form if not x.form.flat else plain(x.rank)
    axis %= x.rank
    shapes = [(*x.shape[:axis], count, *x.shape[axis + 1 :]) for count in sizes]
    made = site.nodes(
        "Split",
        [value(site, x, form), site.integers(sizes, "split")],
        [(x.dtype, permuted(shape, form)) for shape in shapes],
        axis=form.axis(axis),
    )
    return [Tensor(shape, x.dtype, {form: one}) for shape, one in zip(shapes, made, strict=True)]
