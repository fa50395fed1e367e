"""Operators that multiply and add: products of matrices, contractions, transforms by matrices."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.audio import taper
from bnfold.convert.direct.expressions import Expr, Options, Rule, formula
from bnfold.convert.direct.layout import constant, reshape, transpose, unsqueeze
from bnfold.convert.direct.operators_reduce import flat
from bnfold.convert.direct.ops import broadcast, einsum, gather, matmul, pad, slices
from bnfold.convert.direct.promotion import alone, operands
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Shape, Tensor
from bnfold.formats.keras.graph import AnyArray


def contract(
    site: Site, left: Tensor, right: Tensor, axes: Sequence[int], others: Sequence[int]
) -> Tensor:
    """The sum over pairs of axes; what is left of ``left`` stands before what is left of
    ``right``. A MatMul where it is one."""
    axes = [axis % left.rank for axis in axes]
    others = [axis % right.rank for axis in others]
    if len(axes) != len(others):
        raise site.unsupported("sums over another number of axes of each operand")
    if axes == [left.rank - 1] and others == [0] and left.rank > 1 and right.rank == 2:
        return matmul(site, left, right)
    names = string.ascii_letters
    first = list(names[: left.rank])
    second = list(names[left.rank : left.rank + right.rank])
    for axis, other in zip(axes, others, strict=True):
        second[other] = first[axis]
    kept = [axis for axis in range(left.rank) if axis not in axes]
    also = [axis for axis in range(right.rank) if axis not in others]
    out = [*(first[axis] for axis in kept), *(second[axis] for axis in also)]
    shape = (*(left.shape[axis] for axis in kept), *(right.shape[axis] for axis in also))
    equation = f"{''.join(first)},{''.join(second)}->{''.join(out)}"
    return einsum(site, equation, [left, right], shape)


def _product(
    places: Callable[[Tensor, Tensor, Options], tuple[Sequence[int], Sequence[int]]],
) -> Rule:
    """A contraction over the axes that a function names; a plain product with a scalar."""

    def rule(site: Site, args: list[Any], options: Options) -> Tensor:
        left, right = operands(site, args[:2])
        if min(left.rank, right.rank) == 0:
            return (Expr(site, left) * Expr(site, right)).tensor
        return contract(site, left, right, *places(left, right, options))

    return rule


def _tensordot_axes(
    left: Tensor, right: Tensor, options: Options
) -> tuple[Sequence[int], Sequence[int]]:
    axes = options.get("axes", 2)
    if isinstance(axes, int):
        return range(left.rank - axes, left.rank), range(axes)
    first, second = ([one] if isinstance(one, int) else [int(i) for i in one] for one in axes)
    return first, second


def _matmul(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = operands(site, args[:2])
    if right.rank == 1 and left.rank:
        return contract(site, left, right, [-1], [0])
    if left.rank == 1 and right.rank:
        return contract(site, left, right, [0], [-2])
    if min(left.rank, right.rank) < 2:
        raise site.unsupported("multiplies a scalar as if it were a matrix")
    for key in ("adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"):
        if options.get(key):
            raise site.unsupported(f"multiplies with {key}")
    if options.get("transpose_a"):
        left = _turned(site, left)
    if options.get("transpose_b"):
        right = _turned(site, right)
    return matmul(site, left, right)


def _turned(site: Site, x: Tensor) -> Tensor:
    return transpose(site, x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _einsum(site: Site, args: list[Any], options: Options) -> Tensor:
    equation = str(options.get("subscripts") or options.get("equation") or "").replace(" ", "")
    tensors = operands(site, args)
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise site.unsupported(f"has the equation {equation!r}")
    if not arrow:
        once = {one for one in left if one.isalpha() and left.count(one) == 1}
        out = ("..." if "." in left else "") + "".join(sorted(once))
    sizes: dict[str, Dim] = {}
    lead: list[Shape] = []
    for term, tensor in zip(terms, tensors, strict=True):
        before, dots, after = term.partition("...")
        count = tensor.rank - len(before) - len(after)
        if count < 0 or (count and not dots):
            raise site.unsupported(f"has the equation {equation!r} for other shapes")
        lead.append(tensor.shape[len(before) : len(before) + count])
        rest = tensor.shape[len(before) + count :]
        for letter, dim in zip(before + after, (*tensor.shape[: len(before)], *rest), strict=True):
            if sizes.get(letter, 1) in (1, None):
                sizes[letter] = dim
    inside = broadcast(site, *lead)
    shape: list[Dim] = []
    before, dots, after = out.partition("...")
    shape += [sizes[letter] for letter in before]
    shape += inside if dots else ()
    shape += [sizes[letter] for letter in after]
    return einsum(site, f"{left}->{out}", tensors, tuple(shape))


def _outer(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = (flat(site, one) for one in operands(site, args[:2]))
    return contract(site, left, right, [], [])


def _vdot(site: Site, args: list[Any], options: Options) -> Tensor:
    left, right = (flat(site, one) for one in operands(site, args[:2]))
    return contract(site, left, right, [0], [0])


def _kron(site: Site, args: list[Any], options: Options) -> Tensor:
    """Each element of the first times the whole second."""
    left, right = operands(site, args[:2])
    rank = max(left.rank, right.rank)
    left, right = (
        unsqueeze(site, one, range(rank - one.rank)) if one.rank < rank else one
        for one in (left, right)
    )
    wide = Expr(site, left).spread(*range(1, 2 * rank, 2))
    made = wide * Expr(site, right).spread(*range(0, 2 * rank, 2))
    shape = [_times(site, a, b) for a, b in zip(left.shape, right.shape, strict=True)]
    return reshape(site, made.tensor, shape)


def _times(site: Site, a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return a if b == 1 else b if a == 1 else site.emitter.fresh_dim()


def _cross(site: Site, args: list[Any], options: Options) -> Tensor:
    """The vector product; a missing third coordinate counts as zero."""
    pair, count = [], []
    for one, key in zip(operands(site, args[:2]), ("axisa", "axisb"), strict=True):
        axis = options.get("axis")
        axis = int(options.get(key, -1) if axis is None else axis) % one.rank
        order = [*(place for place in range(one.rank) if place != axis), axis]
        last = transpose(site, one, order)
        count.append(last.shape[-1])
        if last.shape[-1] == 2:
            last = pad(site, last, [(0, 0)] * (last.rank - 1) + [(0, 1)])
        pair.append(last)
    if any(one not in (2, 3) for one in count):
        raise site.unsupported("multiplies vectors of unknown size")
    (a1, b1), (a2, b2) = (
        [
            Expr(site, gather(site, one, constant(np.asarray(index, dtype=np.int64)), -1))
            for one in pair
        ]
        for index in ([1, 2, 0], [2, 0, 1])
    )
    made = (a1 * b2 - a2 * b1).tensor
    if count == [2, 2]:
        return gather(site, made, constant(np.asarray(2, dtype=np.int64)), -1)
    axis = options.get("axis")
    axis = int(options.get("axisc", -1) if axis is None else axis) % made.rank
    order = list(range(made.rank - 1))
    order.insert(axis, made.rank - 1)
    return transpose(site, made, order)


def _distances(x: Expr, y: Expr) -> Expr:
    difference = x.spread(-2) - y.spread(-3)
    return (difference * difference).over("ReduceSum", [-1]).apply("Sqrt")


# -- Fourier transforms of known length ----------------------------------------------------


def _length(site: Site, x: Tensor, wanted: Any) -> tuple[Tensor, int]:
    """The last axis cut or filled with zeros to the length of the transform."""
    dim = x.shape[-1]
    if not isinstance(dim, int):
        raise site.unsupported("transforms a size that is free")
    length = dim if wanted is None else int(wanted)
    if length < dim:
        x = slices(site, x, {-1: (None, length, 1)})
    elif length > dim:
        x = pad(site, x, [(0, 0)] * (x.rank - 1) + [(0, length - dim)])
    return x, length


def _waves(length: int, count: int, dtype: str) -> tuple[AnyArray, AnyArray]:
    """Cosines and sines [length, count], each angle reduced before it is rounded."""
    turns = np.outer(np.arange(length), np.arange(count)) % length
    angles = 2.0 * np.pi * turns / length
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _rfft(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    x, length = _length(site, alone(site, args[0]), options.get("fft_length"))
    cosine, sine = _waves(length, length // 2 + 1, x.dtype)
    return [_by(site, x, cosine), _by(site, x, -sine)]


def _by(site: Site, x: Tensor, matrix: AnyArray) -> Tensor:
    if x.rank == 1:
        return contract(site, x, constant(matrix), [0], [0])
    return matmul(site, x, constant(matrix))


def _fft(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    real, imaginary = operands(site, args[0])
    real, length = _length(site, real, None)
    cosine, sine = _waves(length, length, real.dtype)

    def by(x: Tensor, matrix: AnyArray) -> Expr:
        return Expr(site, _by(site, x, matrix))

    return [
        (by(real, cosine) + by(imaginary, sine)).tensor,
        (by(imaginary, cosine) - by(real, sine)).tensor,
    ]


def _irfft(site: Site, args: list[Any], options: Options) -> Tensor:
    """A real signal from half of its spectrum; the other half mirrors it."""
    real, imaginary = operands(site, args[0])
    stated, dim = options.get("fft_length"), real.shape[-1]
    if stated is None and not isinstance(dim, int):
        raise site.unsupported("transforms a size that is free")
    length = 2 * (int(dim) - 1) if stated is None else int(stated)  # type: ignore[arg-type]
    half = length // 2 + 1
    real, _ = _length(site, real, half)
    imaginary, _ = _length(site, imaginary, half)
    cosine, sine = (one.T for one in _waves(length, half, "float64"))
    weight = np.full((half, 1), 2.0 / length)
    weight[0] /= 2.0
    if length % 2 == 0:
        weight[-1] /= 2.0
    parts = [
        Expr(site, _by(site, x, (matrix * weight).astype(x.dtype)))
        for x, matrix in ((real, cosine), (imaginary, -sine))
    ]
    return (parts[0] + parts[1]).tensor


def _stft(site: Site, args: list[Any], options: Options) -> list[Tensor]:
    """Spectra of windows one behind the other: the window is part of the matrices."""
    x, total = alone(site, args[0]), int(options["fft_length"])
    length, step = int(options["sequence_length"]), int(options["sequence_stride"])
    if options.get("center", True):
        x = pad(site, x, [(0, 0)] * (x.rank - 1) + [(total // 2, total // 2)], "reflect")
    size = x.shape[-1]
    if not isinstance(size, int) or x.dtype not in ("float32", "float64"):
        raise site.unsupported("transforms a size that is free, or half floats")
    index = np.arange(0, size - total + 1, step)[:, None] + np.arange(total)
    frames = gather(site, x, constant(index.astype(np.int64)), -1)
    weights = taper(site, options.get("window", "hann"), total, length)[:, None]
    cosine, sine = _waves(total, total // 2 + 1, "float64")
    pair = (weights * cosine, -weights * sine)
    return [matmul(site, frames, constant(one.astype(x.dtype))) for one in pair]


PRODUCTS: Mapping[str, Rule] = {
    "CDist": formula(_distances),
    "Cross": _cross,
    "Dot": _product(lambda left, right, options: ([-1], [-1 if right.rank == 1 else -2])),
    "Einsum": _einsum,
    "FFT": _fft,
    "IRFFT": _irfft,
    "Inner": _product(lambda left, right, options: ([-1], [-1])),
    "Kron": _kron,
    "Matmul": _matmul,
    "Outer": _outer,
    "RFFT": _rfft,
    "STFT": _stft,
    "Tensordot": _product(_tensordot_axes),
    "Vdot": _vdot,
}
