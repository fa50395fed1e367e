"""Laws of the ops that multiply by a constant kernel: Gemm, MatMul, Einsum, Conv, ...

With an operand ``s * b + t`` the product with a kernel K is ``(K * s) b + K t``: a kernel of its
own on the shared value b, and a constant.
"""

from __future__ import annotations

import string
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import (
    Base,
    Form,
    Shape,
    UnfitError,
    align,
    multiple,
    of_base,
    peak_over,
    varies,
)
from bnfold.verify.proof.kernel_table import Place
from bnfold.verify.proof.kernels import Kernel
from bnfold.verify.proof.normal_forms import add, framed, passing, reducible
from bnfold.verify.proof.padding import padding
from bnfold.verify.proof.rounding import EXACT, Array, Grain
from bnfold.verify.proof.source import Known, Op
from bnfold.verify.proof.space import Space


@dataclass(frozen=True)
class Labels:
    """The axes of operand, kernel and result of a product, one letter each."""

    x: str
    k: str
    y: str


def weight(known: Known | None) -> Const:
    """A constant kernel of finite floats."""
    if not isinstance(known, Const) or not known.floating or not known.finite:
        raise UnfitError("no constant kernel")
    return known


def operand(space: Space, known: Known | None) -> Form:
    """A computed operand of known rank, as it is known to both models; its base may be None."""
    if not isinstance(known, Form) or known.shape is None:
        raise UnfitError("no computed operand of known rank")
    return space.snap(known)


def biased(form: Form, bias: Known | None, gain: float, space: Space) -> Form:
    """The result with the op's own bias added."""
    if bias is None:
        return form
    if isinstance(bias, Form):
        return add(space, form, bias.times(np.full((1,) * (bias.rank or 0), gain), EXACT))
    if not bias.floating or not bias.finite or form.rank is None:
        raise UnfitError("bias is no finite constant")
    values = align(bias.real * gain, form.rank)
    return form.plus(
        values,
        np.abs(values),
        abs(gain) * align(bias.grain.spacing(bias.real), form.rank),
        bias.grain,
    )


def product(
    space: Space, op: Op, x: Form, kernel: Const, labels: Labels, gain: float = 1.0
) -> Form:
    """The product of a value with a constant kernel, summed over the labels y lacks."""
    assert x.shape is not None
    alone = tuple(
        i for i, label in enumerate(labels.x) if label not in labels.k and label not in labels.y
    )
    if alone:
        x = _summed_away(space, x, alone)
        kept = "".join(label for i, label in enumerate(labels.x) if i not in alone)
        return product(space, op, x, kernel, replace(labels, x=kept), gain)
    summed = [label for label in labels.x if label in labels.k and label not in labels.y]
    if any(label not in labels.y and label not in labels.x for label in labels.k):
        raise UnfitError("sums over the kernel alone")
    rows = [label for label in labels.y if label in labels.k]
    order = [labels.k.index(label) for label in rows + summed]
    stored = kernel.value.transpose(order)
    sizes = dict(zip(labels.k, kernel.shape, strict=True))
    for label, dim in zip(labels.x, x.shape or (), strict=True):
        if label in sizes and isinstance(dim, int) and dim not in (1, sizes[label]):
            raise UnfitError("sizes do not fit")
    loose = [i for i, label in enumerate(labels.x) if label not in labels.k]
    shared = [i for i, label in enumerate(labels.x) if label in labels.k]
    outer = np.ones((1,) * len(labels.x))
    doubt = np.zeros((1,) * len(labels.x))
    if x.base is not None:
        # A scale along the kernel's axes goes into the kernel, one along others passes.
        frame = framed(space, x, [tuple(loose), tuple(shared)], shift="all")
        inner = frame.factors[0]
        units = np.abs(inner) * peak_over(frame.doubt, inner)
        x = replace(x, base=frame.base, coef=inner, scale_unit=units)
        outer = frame.factors[1]
        doubt = peak_over(frame.doubt, outer)
    if not rows:
        stored = stored[np.newaxis]

    def on_kernel(array: Array) -> Array:
        """An array of the operand's axes brought to the axes of ``stored``."""
        picked = [labels.x.index(label) for label in rows + summed if label in labels.x]
        dense = array.transpose(picked + loose).reshape([array.shape[i] for i in picked])
        spread = dense.reshape(
            [
                array.shape[labels.x.index(label)] if label in labels.x else 1
                for label in rows + summed
            ]
        )
        return np.asarray(spread if rows else spread[np.newaxis])

    def place(array: NDArray[Any]) -> NDArray[Any]:
        shape = [sizes.get(label, 1) for label in labels.y]
        return np.asarray(array.reshape(shape))

    def passed(array: Array) -> Array:
        """An array along axes that the kernel does not have, on the result's axes."""
        left = [label for label in labels.y if label not in labels.k]
        dense = array.transpose([labels.x.index(label) for label in left] + shared)
        sizes_left = iter(dense.shape[: len(left)])
        return np.asarray(
            dense.reshape([1 if label in labels.k else next(sizes_left) for label in labels.y])
        )

    here = {label: i for i, label in enumerate(labels.x)}
    key = (
        "product",
        x.base.id if x.base else -1,
        len(labels.x),
        stored.shape,
        tuple(here.get(label, -1) for label in labels.y),
        tuple(here[label] for label in summed),
        tuple(labels.y.index(label) for label in rows),
    )
    matrix = Kernel(
        stored, max(1, len(rows)), on_kernel(x.coef) * gain, kernel.grain, on_kernel(x.doubt)
    )
    x_shape = x.shape or ()
    dims: Shape = tuple(
        sizes[label] if label in sizes else x_shape[here[label]] for label in labels.y
    )
    ends = labels.x[-1:] + labels.y[-1:]
    plain = (
        labels.x[:-1] == labels.y[:-1]
        and labels.k in (ends, ends[::-1])
        and not varies(outer, tuple(range(len(labels.x))))
    )
    form = contracted(space, op, key, matrix, op.shape_as(dims), place, x, plain)
    coef = form.coef * passed(outer)
    units = form.scale_unit * np.abs(passed(outer)) + np.abs(coef) * passed(doubt)
    form = replace(form, coef=coef, scale_unit=units)
    if not np.any(x.const):
        return form
    parts = (x.const, x.mag, x.unit)
    if not any(varies(part, tuple(loose)) for part in parts):
        total, mag, unit = matrix.weigh(
            on_kernel(x.const) * gain, on_kernel(x.mag) * abs(gain), on_kernel(x.unit) * abs(gain)
        )
        return form.plus(place(total), place(mag), place(unit), EXACT)
    total = _whole(x.const, kernel.real, labels, sizes) * gain
    mag = _whole(x.mag, np.abs(kernel.real), labels, sizes) * abs(gain)
    unit = _whole(x.unit, np.abs(kernel.real), labels, sizes) * abs(gain)
    return form.plus(total, mag, unit + kernel.grain.eps * mag, EXACT)


def _summed_away(space: Space, x: Form, axes: tuple[int, ...]) -> Form:
    """The operand summed over axes that neither kernel nor result has."""
    x = reducible(space, x, axes, mean=False)
    shape = tuple(dim for i, dim in enumerate(x.shape or ()) if i not in axes)
    key = ("ReduceSum", axes, False, x.base.id if x.base is not None else -1)
    base = space.intern(key, shape, x.dtype) if x.base is not None else None
    return x.moved(base, shape, lambda array: np.squeeze(array, axes))


def _whole(array: Array, kernel: Array, labels: Labels, sizes: dict[str, int]) -> Array:
    """The product of an array that varies along axes the kernel does not have."""
    shape = [
        sizes[label] if label in sizes and label not in labels.y else size
        for label, size in zip(labels.x, array.shape, strict=True)
    ]
    spread = np.broadcast_to(array, shape)
    # Axes of size 1 that stand for a whole row axis broadcast with the kernel's.
    subscripts = {label: i for i, label in enumerate(dict.fromkeys(labels.x + labels.k))}
    ones = [
        i
        for i, label in enumerate(labels.x)
        if label in sizes and spread.shape[i] == 1 and sizes[label] != 1
    ]
    x_labels = [label for i, label in enumerate(labels.x) if i not in ones]
    lists = (x_labels, list(labels.k), list(labels.y))
    x_axes, k_axes, y_axes = ([subscripts[label] for label in part] for part in lists)
    operands: tuple[Any, ...] = (spread.squeeze(tuple(ones)), x_axes, kernel, k_axes, y_axes)
    return np.asarray(np.einsum(*operands, optimize=True))


def contracted(
    space: Space,
    op: Op,
    key: Hashable,
    kernel: Kernel,
    shape: Shape | None,
    place: Place,
    x: Form,
    plain: bool = False,
) -> Form:
    """The kernel's product without any constant; plain if it acts on the last axis alone."""
    if x.base is None:  # what is constant does not reach the tables of shared values
        zero = np.zeros((1,) * place(np.zeros(kernel.rows)).ndim)
        return multiple(None, shape, op.dtype(), zero, zero, EXACT, x.via)
    before, misses = len(space.hits), len(space.misses)
    base, factor = space.contract(
        key, kernel, shape, op.dtype(), place, via=x.via, through=x.base if plain else None
    )
    same = len(space.hits) > before and space.hits[-1].match.identical
    missed = space.misses[-1].match.bad if len(space.misses) > misses else None
    grain: Grain = EXACT if same or not space.folded else kernel.grain
    form = multiple(base, shape, op.dtype(), factor, np.abs(factor) * grain.eps, grain)
    if missed is None:
        return form
    # What a wrong row adds to the constants is anybody's guess.
    return replace(form, const=np.where(place(missed), np.nan, 0.0))


def matmul(space: Space, op: Op) -> list[Form]:
    """MatMul with a constant on either side."""
    left, right = op.input(0), op.input(1)
    if isinstance(right, Const) and isinstance(left, Form):
        kernel = _unit_axes_dropped(weight(right), 2)
        x = operand(space, left)
        x_batch, k_batch, y_batch = _batches(len(x.shape or ()), kernel.value.ndim)
        rows = "M" if len(x.shape or ()) > 1 else ""
        columns = "N" if kernel.value.ndim > 1 else ""
        labels = Labels(x_batch + rows + "K", k_batch + "K" + columns, y_batch + rows + columns)
    elif isinstance(left, Const) and isinstance(right, Form):
        kernel = _unit_axes_dropped(weight(left), 2)
        x = operand(space, right)
        x_batch, k_batch, y_batch = _batches(len(x.shape or ()), kernel.value.ndim)
        rows = "M" if kernel.value.ndim > 1 else ""
        columns = "N" if len(x.shape or ()) > 1 else ""
        labels = Labels(x_batch + "K" + columns, k_batch + rows + "K", y_batch + rows + columns)
    else:
        raise UnfitError("both operands are computed")
    return [product(space, op, x, kernel, labels)]


def _batches(x_rank: int, k_rank: int) -> tuple[str, str, str]:
    """Labels of the batch axes of operand, kernel and result, aligned from the right."""
    if x_rank < 1 or k_rank < 1:
        raise UnfitError("a scalar operand")
    most = max(x_rank, k_rank, 2) - 2
    names = string.ascii_lowercase[:most]
    return names[most - max(x_rank - 2, 0) :], names[most - max(k_rank - 2, 0) :], names


def _unit_axes_dropped(kernel: Const, keep: int) -> Const:
    """Leading axes of size 1 removed, which broadcast anyway."""
    value = kernel.value
    while value.ndim > keep and value.shape[0] == 1:
        value = value[0]
    return Const(value, kernel.dtype, kernel.grain)


def gemm(space: Space, op: Op) -> list[Form]:
    """Gemm: alpha * A' B' + beta * C with a constant A or B."""
    a, b = op.input(0), op.input(1)
    alpha, beta = op.real("alpha", 1.0), op.real("beta", 1.0)
    first = "im" if op.integer("transA", 0) else "mi"
    second = "ji" if op.integer("transB", 0) else "ij"
    if isinstance(b, Const) and isinstance(a, Form):
        form = product(space, op, operand(space, a), weight(b), Labels(first, second, "mj"), alpha)
    elif isinstance(a, Const) and isinstance(b, Form):
        form = product(space, op, operand(space, b), weight(a), Labels(second, first, "mj"), alpha)
    else:
        raise UnfitError("no constant kernel")
    return [biased(form, op.input(2), beta, space)]


def computed_gemm(space: Space, op: Op) -> list[Form]:
    """Gemm of two computed values: its bias is added to what is left."""
    if any(isinstance(known, Const) for known in op.inputs[:2]):
        raise UnfitError("a constant operand")
    settings = (op.integer("transA", 0), op.integer("transB", 0), op.real("alpha", 1.0))
    operands = tuple(space.full(operand(space, known)).id for known in op.inputs[:2])
    base = space.intern(("Gemm", settings, operands), op.shape_of_rank(2), op.dtype())
    return [biased(of_base(base, op.dtype()), op.input(2), op.real("beta", 1.0), space)]


def einsum(space: Space, op: Op) -> list[Form]:
    """Einsum of one computed and one constant operand."""
    if len(op.inputs) != 2:
        raise UnfitError("not two operands")
    terms, arrow, result = op.text("equation", "").replace(" ", "").partition("->")
    sides = terms.split(",")
    if not arrow or len(sides) != 2:
        raise UnfitError("implicit result")
    which = 1 if isinstance(op.input(1), Const) else 0
    x, kernel = operand(space, op.input(1 - which)), weight(op.input(which))
    assert x.shape is not None
    ranks = (len(x.shape), kernel.value.ndim)
    x_labels, k_labels, y_labels = _spelled((sides[1 - which], sides[which], result), ranks)
    if any(len(set(labels)) != len(labels) for labels in (x_labels, k_labels, y_labels)):
        raise UnfitError("diagonal")
    return [product(space, op, x, kernel, Labels(x_labels, k_labels, y_labels))]


def _spelled(terms: tuple[str, str, str], ranks: tuple[int, int]) -> tuple[str, str, str]:
    """The terms of operand, kernel and result with their ellipses spelled out."""
    free = "".join(c for c in string.ascii_letters if not any(c in term for term in terms))
    dots = [
        rank - len(term.replace("...", "")) if "..." in term else 0
        for term, rank in zip(terms, ranks, strict=False)
    ]
    if any(len(t.replace("...", "")) + d != r for t, d, r in zip(terms, dots, ranks, strict=False)):
        raise UnfitError("equation does not fit the ranks")
    most = max(dots)
    spelled = [
        term.replace("...", free[most - count : most])
        for term, count in zip(terms, [*dots, most], strict=True)
    ]
    return spelled[0], spelled[1], spelled[2]


@dataclass(frozen=True)
class Window:
    """How a convolution slides.

    Attributes:
        sizes: kernel size per spatial axis.
        group: number of groups.
        key: strides, dilations, padding, hashable.
        blocked: whether a shift of the operand reaches the elements of the result unequally.
    """

    sizes: tuple[int, ...]
    group: int
    key: tuple[object, ...]
    blocked: bool


def _window(op: Op, kernel: Const) -> Window:
    sizes = kernel.shape[2:]
    x = op.input(0)
    dims = (x.shape or ())[2:] if isinstance(x, Form) else ()
    if len(dims) != len(sizes):
        raise UnfitError("rank does not fit the kernel")
    auto, pads = padding(op, sizes, dims)
    group = op.integer("group", 1)
    key = (*_steps(op, sizes), auto, pads, group)
    return Window(sizes, group, key, pads is None or any(pads))


def _transposed_window(op: Op, kernel: Const) -> Window:
    sizes = kernel.shape[2:]
    none = (0,) * (2 * len(sizes))
    auto = op.text("auto_pad", "NOTSET")
    pads = op.integers("pads") or none
    if auto == "VALID":
        auto, pads = "NOTSET", none
    extra = op.integers("output_padding") or (0,) * len(sizes)
    wanted = op.integers("output_shape")
    strides, dilations = _steps(op, sizes)
    group = op.integer("group", 1)
    key = (strides, dilations, auto, pads if auto == "NOTSET" else (), extra, wanted, group)
    pointwise = all(s == 1 for s in sizes + strides) and not any(extra) and not wanted
    return Window(sizes, group, key, not pointwise or any(pads) or auto != "NOTSET")


def _steps(op: Op, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations."""
    once = (1,) * len(sizes)
    return op.integers("strides") or once, op.integers("dilations") or once


def conv(space: Space, op: Op) -> list[Form]:
    """Conv, grouped or not, of any rank."""
    kernel = weight(op.input(1))
    window = _window(op, kernel)
    outputs, each = kernel.shape[:2]
    groups = window.group
    if groups < 1 or outputs % groups:
        raise UnfitError("groups do not fit")
    stored = kernel.value.reshape(groups, outputs // groups, each, *window.sizes)
    return [_convolved(space, op, kernel, window, stored, groups * each)]


def conv_transpose(space: Space, op: Op) -> list[Form]:
    """ConvTranspose, grouped or not, of any rank."""
    kernel = weight(op.input(1))
    window = _transposed_window(op, kernel)
    channels, each = kernel.shape[:2]
    groups = window.group
    if groups < 1 or channels % groups:
        raise UnfitError("groups do not fit")
    stored = kernel.value.reshape(groups, channels // groups, each, *window.sizes)
    return [_convolved(space, op, kernel, window, stored.swapaxes(1, 2), channels)]


def _convolved(
    space: Space, op: Op, kernel: Const, window: Window, stored: NDArray[Any], channels: int
) -> Form:
    """A convolution with a kernel of axes (group, output, input, spatial...)."""
    x = operand(space, op.input(0))
    assert x.shape is not None
    rank = len(x.shape)
    if rank != 2 + len(window.sizes):
        raise UnfitError("rank does not fit the kernel")
    x = _per_channel(space, x, window.blocked)

    def on_kernel(array: Array) -> Array:
        flat = np.broadcast_to(array.reshape(-1), (channels,)) if array.size > 1 else array
        groups, each = (window.group, channels // window.group) if array.size > 1 else (1, 1)
        return flat.reshape(groups, 1, each, *(1,) * len(window.sizes))

    def place(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(1, -1, *(1,) * len(window.sizes))

    matrix = Kernel(stored, 2, on_kernel(x.coef), kernel.grain, on_kernel(x.doubt))
    key = (op.op_type, x.base.id if x.base else -1, stored.shape, window.key)
    form = contracted(space, op, key, matrix, op.shape_of_rank(rank), place, x)
    if np.any(x.const):
        total, mag, unit = matrix.weigh(on_kernel(x.const), on_kernel(x.mag), on_kernel(x.unit))
        form = form.plus(place(total), place(mag), place(unit), EXACT)
    bias = op.input(2)
    if isinstance(bias, Const):
        bias = Const(place(bias.value), bias.dtype, bias.grain)
    elif bias is not None:
        raise UnfitError("computed bias")
    return biased(form, bias, 1.0, space)


def _per_channel(space: Space, x: Form, blocked: bool) -> Form:
    """The operand with coef and const that the convolution can take.

    Where the window pads with zeros only a scale passes: ``s * b + t = s * (b + t / s)``, and
    ``b + t / s`` becomes the value that is padded.
    """
    others = (0, *range(2, len(x.coef.shape)))
    return passing(space, x, others, shift="none" if blocked else "fixed")


def gather_rows(space: Space, op: Op) -> list[Form]:
    """Gather of rows of a constant table: an embedding."""
    table = weight(op.input(0))
    index = op.input(1)
    if not isinstance(index, Form) or index.shape is None or op.integer("axis", 0) != 0:
        raise UnfitError("no table of rows")
    base: Base = space.full(index)
    rank, tail = len(index.shape), table.shape[1:]

    def place(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape((1,) * rank + tail)

    stored = table.value.reshape(table.shape[0], -1).T
    kernel = Kernel(stored, 1, np.ones((1, 1)), table.grain, np.zeros((1, 1)))
    shape = op.shape_as(index.shape + tail)
    key = ("table", base.id, rank, table.shape)
    found = space.look_up(key, kernel, shape, op.dtype(), place)
    return [
        Form(
            shape,
            op.dtype(),
            found.base,
            place(found.ratio),
            place(found.shift),
            place(found.mag),
            place(found.unit),
            np.abs(place(found.ratio)) * found.grain.eps,
            found.grain,
        )
    ]
