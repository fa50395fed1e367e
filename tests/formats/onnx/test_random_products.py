"""Products of random shape between random affines: any op with a kernel, any side, any broadcast.

What a rule declares of the axes of data, kernel and result is wrong for some shape before it is
wrong for the usual ones: batches that are broadcast, vectors, letters that only one operand has,
coinciding sizes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from onnx import ModelProto

from tests.formats.onnx.support.build import Weight, feeds_of, model
from tests.formats.onnx.support.check import (
    assert_same,
    assert_settled,
    assert_well_formed,
    fold,
    is_valid,
    run_float64,
)

QUICK, SLOW = 150, 3000


@dataclass
class Product:
    """One node that reads {x} and a kernel K."""

    node: str
    data: list[int]
    kernel: list[int]
    result: tuple[int, ...]
    weights: dict[str, Weight] = field(default_factory=dict)


def _dim(choose: random.Random) -> int:
    return choose.choice([2, 3, 3, 3])


def matmul(choose: random.Random) -> Product:
    """Ranks 1 to 4, leading axes broadcast, the kernel on either side."""
    inner, batch = _dim(choose), [_dim(choose) for _ in range(2)]

    def leading(rank: int) -> list[int]:
        return [d if choose.random() < 0.6 else 1 for d in batch[2 - max(rank - 2, 0) :]]

    ranks = choose.randint(1, 4), choose.randint(1, 4)
    a = [*leading(ranks[0]), _dim(choose), inner] if ranks[0] > 1 else [inner]
    b = [*leading(ranks[1]), inner, _dim(choose)] if ranks[1] > 1 else [inner]
    result = np.matmul(np.ones(a), np.ones(b)).shape
    if choose.random() < 0.3:
        return Product("MatMul(K, {x})", b, a, result)
    return Product("MatMul({x}, K)", a, b, result)


def einsum(choose: random.Random) -> Product:
    """Letters that stand in any of the three terms."""
    x = choose.sample("abcde", choose.randint(1, 4))
    w = choose.sample("abcde", choose.randint(1, 3))
    letters = sorted({*x, *w})
    y = choose.sample(letters, choose.randint(1, len(letters)))
    size = {letter: _dim(choose) for letter in letters}
    shapes = [[size[letter] for letter in term] for term in (x, w, y)]
    terms, operands = [x, w], "{x}, K"
    if choose.random() < 0.3:
        terms, operands = [w, x], "K, {x}"
    equation = ",".join("".join(term) for term in terms) + "->" + "".join(y)
    node = f'Einsum<equation="{equation}">({operands})'
    return Product(node, shapes[0], shapes[1], tuple(shapes[2]))


def gemm(choose: random.Random) -> Product:
    """All attributes, all shapes of C."""
    m, k, n = _dim(choose), _dim(choose), _dim(choose)
    a, b = choose.randint(0, 1), choose.randint(0, 1)
    weights: dict[str, Weight] = {}
    if choose.random() < 0.6:
        weights["C"] = choose.choice([(), (1,), (n,), (1, n), (m, 1), (m, n)])
    alpha, beta = choose.choice([1.0, -0.5]), choose.choice([1.0, 2.0, 0.0])
    node = f"Gemm<transA={a}, transB={b}, alpha={alpha}, beta={beta}>({{x}}, K{_and_c(weights)})"
    data, kernel = ([k, m] if a else [m, k]), ([n, k] if b else [k, n])
    return Product(node, data, kernel, (m, n), weights)


def conv(choose: random.Random) -> Product:
    """Groups, strides, padding, one or two axes of space."""
    groups, c, o, space, window, stride = _convolution(choose)
    pad = choose.choice([0, 0, 1])
    weights: dict[str, Weight] = {"C": (groups * o,)} if choose.random() < 0.5 else {}
    settings = f"group={groups}, strides={[stride] * len(space)}, pads={[pad] * 2 * len(space)}"
    out = [(s + 2 * pad - k) // stride + 1 for s, k in zip(space, window, strict=True)]
    batch = choose.choice([1, 3])
    return Product(
        f"Conv<{settings}>({{x}}, K{_and_c(weights)})",
        [batch, groups * c, *space],
        [groups * o, c, *window],
        (batch, groups * o, *out),
        weights,
    )


def conv_transpose(choose: random.Random) -> Product:
    """Groups stand on the other axis."""
    groups, c, o, space, window, stride = _convolution(choose)
    weights: dict[str, Weight] = {"C": (groups * o,)} if choose.random() < 0.5 else {}
    settings = f"group={groups}, strides={[stride] * len(space)}"
    out = [(s - 1) * stride + k for s, k in zip(space, window, strict=True)]
    batch = choose.choice([1, 3])
    return Product(
        f"ConvTranspose<{settings}>({{x}}, K{_and_c(weights)})",
        [batch, groups * c, *space],
        [groups * c, o, *window],
        (batch, groups * o, *out),
        weights,
    )


def _convolution(choose: random.Random) -> tuple[int, int, int, list[int], list[int], int]:
    rank = choose.choice([1, 2])
    space, window = [choose.choice([3, 4])] * rank, [choose.choice([1, 2])] * rank
    channels, filters = choose.choice([1, 2]), choose.choice([1, 2, 3])
    return choose.choice([1, 1, 2, 3]), channels, filters, space, window, choose.choice([1, 2])


def _and_c(weights: dict[str, Weight]) -> str:
    return ", C" if "C" in weights else ""


PRODUCTS: tuple[Callable[[random.Random], Product], ...] = (
    matmul,
    einsum,
    gemm,
    conv,
    conv_transpose,
)


def _affine(
    choose: random.Random, value: str, shape: tuple[int, ...], weights: dict[str, Weight]
) -> tuple[str, str]:
    """Nodes of a scale, a shift or both, each varying along some axes; the last value's name."""
    nodes = ""
    for op, chance in (("Mul", 0.8), (choose.choice(["Add", "Sub"]), 0.7)):
        if choose.random() < chance:
            tail = shape[len(shape) - choose.randint(0, len(shape)) :]
            name = f"c{len(weights)}"
            weights[name] = tuple(d if choose.random() < 0.6 else 1 for d in tail)
            nodes += f"  {value}{name} = {op}({value}, {name})"
            value += name
    return nodes, value


def _random_model(seed: int) -> ModelProto:
    choose = random.Random(seed)
    product = choose.choice(PRODUCTS)(choose)
    weights: dict[str, Weight] = {**product.weights, "K": tuple(product.kernel)}
    before, data = _affine(choose, "x", tuple(product.data), weights)
    behind, result = _affine(choose, "h", product.result, weights)
    nodes = f"{before}  h = {product.node.format(x=data)}{behind}  y = Identity({result})"
    sizes = (",".join(map(str, shape)) for shape in (product.data, product.result))
    x, y = (f"T[{size}]" if size else "T" for size in sizes)
    return model(nodes, f"{x} x", f"{y} y", seed=seed, **weights)


@pytest.mark.parametrize(
    "seeds",
    [
        range(QUICK),
        pytest.param(range(QUICK, SLOW), marks=pytest.mark.slow),
    ],
    ids=["quick", "more"],
)
def test_products_between_affines(seeds: range) -> None:
    folded_whole = 0
    for seed in seeds:
        proto = _random_model(seed)
        assert is_valid(proto), seed
        result, folded = fold(proto)
        assert_well_formed(proto, folded)
        assert_settled(proto, folded, None)
        feeds = feeds_of(proto)
        assert_same(run_float64(proto, feeds), run_float64(folded, feeds), f"seed {seed}")
        folded_whole += bool(result.folds) and not result.kept
    assert folded_whole > len(seeds) / 5
