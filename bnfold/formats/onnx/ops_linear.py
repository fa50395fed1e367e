"""Rows of the table: ops with a kernel."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace

from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Axes, Labels
from bnfold.core.moves import Permute, Shape
from bnfold.core.transfer import (
    Bias,
    Commute,
    Contraction,
    Opaque,
    Rewrite,
    Sign,
    Transfer,
)
from bnfold.formats.onnx.rules import NodeView, rule

_UNKNOWN = Opaque(Reason.UNKNOWN_SHAPE, "the kernel's shape is not known")


def sizes_of(*pairs: tuple[Axes, Shape | None]) -> dict[str, int]:
    """Sizes of labels that stand alone on an axis of known size."""
    sizes: dict[str, int] = {}
    for axes, shape in pairs:
        for names, dim in zip(axes, shape or (), strict=False):
            if len(names) == 1 and isinstance(dim, int):
                sizes[names[0]] = dim
    return sizes


@rule("Gemm")
def gemm(view: NodeView) -> Transfer:
    """y = alpha * A' B' + beta * C."""
    x: Axes = (("k",), ("m",)) if view.attr_int("transA", 0) else (("m",), ("k",))
    w: Axes = (("n",), ("k",)) if view.attr_int("transB", 0) else (("k",), ("n",))
    y: Axes = (("m",), ("n",))
    present = view.operand(2) is not None and view.attr_float("beta", 1.0) != 0.0
    labels = Labels(x, w, y, sizes_of((x, view.shape(0)), (w, view.shape(1)), (y, view.out_shape)))
    bias = Bias(2, present, gain=view.attr_float("beta", 1.0) if present else 1.0)
    return _sided(view, Contraction(labels, bias=bias, gain=view.attr_float("alpha", 1.0)))


def _sided(view: NodeView, product: Contraction) -> Contraction:
    """The constant operand is the kernel; of two computed ones, the second."""
    if view.is_known(0) and not view.is_known(1):
        return replace(product, x=1, w=0, labels=product.labels.swapped())
    return product


@rule("MatMul")
def matmul(view: NodeView) -> Transfer:
    """y = A B with numpy's broadcasting of leading axes."""
    a, b = view.shape(0), view.shape(1)
    if a is None or b is None or not a or not b:
        return _UNKNOWN
    count = max(len(a), len(b), 2) - 2
    batch_a, batch_b = _batch_labels(a, count), _batch_labels(b, count)
    batch_y = tuple(p or q for p, q in zip(batch_a, batch_b, strict=True))
    row: Axes = (("m",),) if len(a) > 1 else ()
    column: Axes = (("n",),) if len(b) > 1 else ()
    x = (*batch_a[count + 2 - len(a) :], *row, ("k",)) if row else (("k",),)
    w = (*batch_b[count + 2 - len(b) :], ("k",), *column) if column else (("k",),)
    y = (*batch_y, *row, *column)
    labels = Labels(x, w, y, sizes_of((x, a), (w, b), (y, view.out_shape)))
    bias = None
    if len(a) == len(b) == 2 and view.is_float(0):
        bias = Bias(2, False, create=Rewrite.CHANGE_OP)
    return _sided(view, Contraction(labels, bias=bias))


def _batch_labels(shape: Shape, count: int) -> Axes:
    """A label per leading axis of the result; none where the operand is broadcast, or may be."""
    dims = shape[:-2]
    padded: Shape = (*((1,) * (count - len(dims))), *dims)
    return tuple(
        (f"b{axis}",) if isinstance(dim, int) and dim != 1 else ()
        for axis, dim in enumerate(padded)
    )


@rule("Conv", "ConvTranspose", "DeformConv")
def convolution(view: NodeView) -> Transfer:
    """Grouped convolutions of any number of spatial axes, and their transposes.

    The channels of the data are "g c", those of the result "g o"; a convolution's kernel is
    "(g o) c *k", a transposed one's "(g c) o *k".
    """
    shape = view.shape(1)
    if shape is None or len(shape) < 3:
        return _UNKNOWN
    groups = view.attr_int("group", 1)
    transposed = view.op_type == "ConvTranspose"
    first, second = shape[0], shape[1]
    if not isinstance(first, int) or not isinstance(second, int) or first % groups:
        return _UNKNOWN
    window: Axes = tuple((f"k{i}",) for i in range(len(shape) - 2))
    space: Axes = ((),) * len(window)
    sizes = {"g": groups, "o": first // groups, "c": second}
    w: Axes = (("g", "o"), ("c",), *window)
    if transposed:
        sizes = {"g": groups, "c": first // groups, "o": second}
        w = (("g", "c"), ("o",), *window)
    sizes.update(sizes_of((w, shape)))
    labels = Labels(((), ("g", "c"), *space), w, ((), ("g", "o"), *space), sizes)
    slot = 3 if view.op_type == "DeformConv" else 2
    blocked, detail = None, ""
    if transposed and not _is_pointwise(view, shape):
        blocked = Reason.PADDING_SHIFT
        detail = "a transposed convolution reaches its borders with fewer taps"
    elif view.op_type == "DeformConv":
        blocked, detail = Reason.PADDING_SHIFT, "taps that are moved outside read zeros"
    elif not transposed and _pads(view, shape):
        blocked, detail = Reason.PADDING_SHIFT, "the convolution pads with zeros"
    return Contraction(
        labels,
        bias=Bias(slot, view.operand(slot) is not None, axis=1),
        shift_blocked=blocked,
        blocked_detail=detail,
    )


def _is_pointwise(view: NodeView, kernel: Shape) -> bool:
    """Whether each result has one tap: no window, no stride, nothing added or cut at the border."""
    ones = all(dim == 1 for dim in kernel[2:]) and set(view.attr_ints("strides") or ()) <= {1}
    border = any(any(view.attr_ints(name) or ()) for name in ("pads", "output_padding"))
    return ones and not border and not view.has("output_shape")


def _pads(view: NodeView, kernel: Shape) -> bool:
    """Whether zeros may be added around the data."""
    auto = view.attr_string("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        # A window of one element never reaches over the border.
        return any(dim != 1 for dim in kernel[2:])
    return auto != "VALID" and any(view.attr_ints("pads") or ())


@rule("Einsum")
def einsum(view: NodeView) -> Transfer:
    """Two operands, one letter per axis, none repeated within an operand; or one, transposed."""
    given = view.attr_string("equation", "").replace(" ", "")
    equation = _spelled_out(given, [view.rank(i) for i in range(len(view.node.inputs))])
    if equation is None:
        return Opaque(detail=f"Einsum {given}")
    *terms, right = equation
    if any(len(set(term)) < len(term) for term in equation) or len(terms) > 2:
        return Opaque(detail=f"Einsum {given}")
    if len(terms) == 1:
        if sorted(terms[0]) != sorted(right):
            return Opaque(detail=f"Einsum {given}")
        return Commute(Permute(tuple(terms[0].index(letter) for letter in right)))
    x, w, y = (tuple((letter,) for letter in term) for term in (*terms, right))
    if set(right) - set("".join(terms)) or [view.rank(0), view.rank(1)] != [len(x), len(w)]:
        return _UNKNOWN
    sizes = sizes_of((x, view.shape(0)), (w, view.shape(1)), (y, view.out_shape))
    # An axis of size 1 may be broadcast against a larger one of the same letter.
    shapes = zip((*x, *w), (*(view.shape(0) or ()), *(view.shape(1) or ())), strict=True)
    if any(isinstance(dim, int) and dim != sizes.get(names[0], dim) for names, dim in shapes):
        return Opaque(detail=f"Einsum {given} with broadcasting")
    return _sided(view, Contraction(Labels(x, w, y, sizes)))


def _spelled_out(equation: str, ranks: Sequence[int | None]) -> list[str] | None:
    """The terms and the result, with letters for each "..." and for a result that is not given."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    covered = ""
    for index, term in enumerate(terms):
        if "..." not in term:
            continue
        rank = ranks[index] if index < len(ranks) else None
        count = -1 if rank is None else rank - len(term) + 3
        if not 0 <= count <= len(free):
            return None
        letters = "".join(free[:count][::-1])  # aligned from the right
        terms[index] = term.replace("...", letters)
        covered = max(covered, letters, key=len)
    if not arrow:
        every = "".join(terms)
        once = sorted(c for c in set(every) - set(covered) if every.count(c) == 1)
        right = covered + "".join(once)
    return [*terms, right.replace("...", covered)]


@rule("LSTM", "GRU", "RNN")
def recurrent(view: NodeView) -> Transfer:
    """The input weights take an affine on the data; nothing passes the recurrence.

    W is [directions, gates*hidden, input]; B holds the input's bias, then the recurrent one.
    """
    shape = view.shape(1)
    if shape is None or not all(isinstance(dim, int) for dim in shape) or len(shape) != 3:
        return _UNKNOWN
    w: Axes = (("d",), ("h",), ("i",))
    labels = Labels(((), (), ("i",)), w, (("d",), ("h",)), sizes_of((w, shape)))
    return Contraction(
        labels,
        bias=Bias(3, view.operand(3) is not None, pad=int(shape[1] or 0)),
        output_blocked=Reason.CROSSES_TIME,
        blocked_detail="the result feeds back into the next step",
    )


@rule("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization")
def normalization(view: NodeView) -> Transfer:
    """The affine at the end of the op takes one behind it; nothing passes the statistics."""
    rank, parameters = view.rank(0), view.shape(1)
    if rank is None or parameters is None or view.is_used(1):
        return Opaque(Reason.ACTIVATION, "it divides by statistics of its input")
    free: Axes = ((),) * rank
    bias: Bias | None = None
    if view.op_type in ("LayerNormalization", "RMSNormalization"):
        axis = view.attr_int("axis", -1) % rank
        named = tuple((f"a{i}",) if i >= axis else () for i in range(rank))
        w = named[rank - len(parameters) :]
        if view.op_type == "LayerNormalization":
            bias = Bias(2, view.operand(2) is not None)
    else:
        if view.op_type == "GroupNormalization" and view.opset < 21:
            return Opaque(Reason.ACTIVATION, "its scale is per group")
        named = tuple(("c",) if i == 1 else () for i in range(rank))
        w, bias = (("c",),), Bias(2, True, axis=1)
    return Contraction(
        Labels(free, w, named, sizes_of((w, parameters))),
        bias=bias,
        input_blocked=Reason.ACTIVATION,
        blocked_detail="it divides by statistics of its input",
    )


@rule("QuantizeLinear", "DynamicQuantizeLinear")
def quantized(view: NodeView) -> Transfer:
    """Rounding to integers: a changed scale would round other values."""
    return Opaque(Reason.QUANTIZED, f"{view.op_type} rounds to integers")


@rule("DequantizeLinear")
def dequantize(view: NodeView) -> Transfer:
    """y = (x - zero point) * scale: the scale takes a factor, the integers stay."""
    rank, scale = view.rank(0), view.shape(1)
    if rank is None or scale is None or view.attr_int("block_size", 0):
        return Opaque(Reason.QUANTIZED)
    axis = view.attr_int("axis", 1) % rank if rank else 0
    w: Axes = (("c",),) if scale else ()
    named = tuple(("c",) if scale and i == axis else () for i in range(rank))
    if scale and scale[0] == 1:
        w, named = ((),), ((),) * rank
    labels = Labels(named, w, named, sizes_of((w, scale)))
    # Runtimes divide by the scale: onnxruntime, to quantize the bias of the Conv that reads it.
    return Contraction(
        labels, sign=Sign.NOT_ZERO, blocked_detail="integers", input_blocked=Reason.QUANTIZED
    )
