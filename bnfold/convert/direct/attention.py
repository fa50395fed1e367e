"""Attention layers: projections as MatMul, scores as MatMul, no Einsum."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnfold.convert.direct.dense import last_axis_product
from bnfold.convert.direct.layout import constant, reshape, transpose, unsqueeze
from bnfold.convert.direct.masks import both
from bnfold.convert.direct.ops import (
    cast,
    elementwise,
    matmul,
    positions,
    reduce,
    scalar,
    softmax,
    unary,
)
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Dim, Tensor

# Added to scores, it takes them out of the softmax; where all are out they are equal again.
_VERY_NEGATIVE = {"float16": -3e4}


@dataclass(frozen=True)
class _Heads:
    """How the features of the projections are parted.

    Attributes:
        query: heads of the queries: (number,), or (groups, heads that share keys and values).
        content: heads of the keys and values, which broadcast against those of the queries.
        size: width of a query or key.
        depth: width of a value.
    """

    query: tuple[int, ...]
    content: tuple[int, ...]
    size: int
    depth: int


def multi_head(site: Site) -> Tensor | list[Tensor]:
    """MultiHeadAttention: over time, or over other axes of values with more of them."""
    config = site.config
    heads, size = int(config["num_heads"]), int(config["key_dim"])
    depth = int(config.get("value_dim") or size)
    return _attend(site, _Heads((heads,), (heads,), size, depth))


def grouped_query(site: Site) -> Tensor | list[Tensor]:
    """GroupedQueryAttention: several heads of the queries share keys and values."""
    config = site.config
    heads, groups = int(config["num_query_heads"]), int(config["num_key_value_heads"])
    size = int(config["head_dim"])
    return _attend(site, _Heads((groups, heads // groups), (groups, 1), size, size))


def _attend(site: Site, heads: _Heads) -> Tensor | list[Tensor]:
    query, content, key = _operands(site)
    order = _attended_last(site, query)
    if content.rank != query.rank or key.rank != query.rank:
        raise site.unsupported("attends between values with different numbers of axes")
    if query.rank != 3:
        _refuse_masks(site)
    allowed = _allowed(site, query, content, key) if query.rank == 3 else None
    merged = _Merged.of(site, query, order)
    x, c, k = (_Merged.of(site, one, order).tensor for one in (query, content, key))
    queries = _project(site, "query", x, heads.query, heads.size)
    keys = _project(site, "key", k, heads.content, heads.size)
    values = _project(site, "value", c, heads.content, heads.depth)
    lead, spread = query.rank - 2 - (len(order) - 1), len(heads.query)
    # [*lead, time, *heads, size] to [*lead, *heads, time, size]
    inner = [*range(lead), *range(lead + 1, lead + 1 + spread), lead, lead + 1 + spread]
    across = [*inner[:-2], inner[-1], inner[-2]]
    q = transpose(site, queries, inner)
    factor = 1.0 / math.sqrt(heads.size)
    # Keras 3 makes a float32 of it first, in float64 too.
    factor = float(np.float32(factor)) if site.generation == 3 else factor
    q = elementwise(site, "Mul", q, scalar(site, factor, q))
    scores = matmul(site, q, transpose(site, keys, across), "Scores")
    if allowed is not None:
        grouped = spread > 1 and allowed.rank == 4
        flags = unsqueeze(site, allowed, [1]) if grouped else allowed
        low = scalar(site, _VERY_NEGATIVE.get(scores.dtype, -1e9), scores)
        scores = elementwise(site, "Where", flags, scores, low, dtype=scores.dtype)
    weights = softmax(site, scores, -1)
    if allowed is not None and _zeroes(site):
        zero = scalar(site, 0.0, weights)
        weights = elementwise(site, "Where", flags, weights, zero, dtype=weights.dtype)
    mixed = matmul(site, weights, transpose(site, values, inner), "Mix")
    back = [inner.index(axis) for axis in range(len(inner))]
    width = math.prod(heads.query) * heads.depth
    wide = reshape(site, transpose(site, mixed, back), (*x.shape[:-1], width))
    if site.config.get("use_gate"):
        flat = _flat_projection(site, "gate", x)
        wide = elementwise(site, "Mul", wide, unary(site, "Sigmoid", flat))
    y = merged.restored(site, _output(site, wide, heads))
    y.mask = site.argument_mask("query_mask", query)
    if not site.argument(_place(site, "return_attention_scores"), "return_attention_scores"):
        return y
    if query.rank != 3:
        raise site.unsupported("returns the scores over other axes than one of time")
    total = math.prod(heads.query)
    return [y, reshape(site, weights, (query.shape[0], total, *weights.shape[-2:]))]


def _zeroes(site: Site) -> bool:
    """Whether a query that may attend to nothing gets zeros, not the mean of all values.

    Keras 3 has two ways of computing attention, which differ in this.
    """
    wants = site.argument(_place(site, "return_attention_scores"), "return_attention_scores")
    apart = bool(float(site.config.get("dropout") or 0.0)) or bool(wants)
    return site.generation == 3 and apart


_ARGUMENTS_2 = ("query", "value", "key", "attention_mask", "return_attention_scores", "training")
_ARGUMENTS_3 = (*_ARGUMENTS_2[:3], "query_mask", "value_mask", "key_mask", *_ARGUMENTS_2[3:])


def _place(site: Site, name: str) -> int:
    """The position of a call's argument; past all others where it has none."""
    names = (*(_ARGUMENTS_2 if site.generation == 2 else _ARGUMENTS_3), "use_causal_mask")
    return names.index(name) if name in names else len(names)


def _operands(site: Site) -> tuple[Tensor, Tensor, Tensor]:
    query = site.argument(0, "query")
    content = site.argument(1, "value")
    key = site.argument(2, "key")
    found = [query, content, content if key is None else key]
    if not all(isinstance(one, Tensor) for one in found) or query.rank < 3:
        raise site.unsupported("is called with something else than query, value and key")
    return found[0], found[1], found[2]


def _attended_last(site: Site, query: Tensor) -> list[int]:
    """The axes that are attended over."""
    axes = site.config.get("attention_axes")
    if axes is None:
        return list(range(1, query.rank - 1))
    found = sorted(int(axis) % query.rank for axis in ([axes] if isinstance(axes, int) else axes))
    if not found or found[0] == 0 or found[-1] == query.rank - 1:
        raise site.unsupported("attends over the batch or over features")
    return found


@dataclass(frozen=True)
class _Merged:
    """A value whose attended axes stand as one behind all others but the features."""

    tensor: Tensor
    order: tuple[int, ...]
    moved: tuple[Dim, ...]

    @classmethod
    def of(cls, site: Site, x: Tensor, attended: Sequence[int]) -> _Merged:
        others = [axis for axis in range(x.rank - 1) if axis not in attended]
        order = (*others, *attended, x.rank - 1)
        moved = transpose(site, x, order) if order != tuple(range(x.rank)) else x
        if len(attended) == 1:
            return cls(moved, order, moved.shape)
        sizes = [x.shape[axis] for axis in attended]
        if not all(isinstance(one, int) for one in sizes):
            raise site.unsupported("attends over several axes whose sizes are free")
        shape = (*moved.shape[: len(others)], math.prod(map(int, sizes)), x.shape[-1])  # type: ignore[arg-type]
        return cls(reshape(site, moved, shape), order, moved.shape)

    def restored(self, site: Site, y: Tensor) -> Tensor:
        """A result that has features of its own, with the axes as they were."""
        features = y.shape[self.tensor.rank - 1 :]
        y = reshape(site, y, (*self.moved[:-1], *features)) if y.rank or features else y
        count = len(self.order) - 1
        back = [self.order.index(axis) for axis in range(count)]
        back += list(range(count, y.rank))
        return y if back == list(range(y.rank)) else transpose(site, y, back)


def _biased(site: Site) -> bool:
    return bool(site.config.get("use_bias", True))


def _flat_projection(site: Site, part: str, x: Tensor) -> Tensor:
    """``x`` by the kernel [features, *heads, size] of a part, heads and sizes side by side."""
    features = x.shape[-1] if isinstance(x.shape[-1], int) else None
    kernel = site.weight(f"{part}/kernel", (features, None, None))
    flat = kernel.reshape(kernel.shape[0], -1)
    bias = None
    if _biased(site):
        bias = site.weight(f"{part}/bias", kernel.shape[1:]).reshape(-1)
    return last_axis_product(site, x, flat, bias, f"{part}/kernel")


def _project(site: Site, part: str, x: Tensor, heads: tuple[int, ...], size: int) -> Tensor:
    y = _flat_projection(site, part, x)
    if y.shape[-1] != math.prod(heads) * size:
        raise site.unsupported(f"has a kernel of another size for its {part}")
    return reshape(site, y, (*x.shape[:-1], *heads, size))


def _output(site: Site, wide: Tensor, heads: _Heads) -> Tensor:
    stored = site.layer.weights.get("output/kernel")
    rank = 3 if stored is None else max(len(stored.shape), 3)
    kernel = site.weight(
        "output/kernel", (math.prod(heads.query), heads.depth, *[None] * (rank - 2))
    )
    features = kernel.shape[2:]
    flat = kernel.reshape(-1, math.prod(features))
    bias = site.weight("output/bias", features).reshape(-1) if _biased(site) else None
    y = last_axis_product(site, wide, flat, bias, "output/kernel")
    return y if len(features) == 1 else reshape(site, y, (*wide.shape[:-1], *features))


def _refuse_masks(site: Site) -> None:
    masks = (*_MASKS, "attention_mask")
    given = any(site.argument(_place(site, name), name) is not None for name in masks)
    carried = any(one.mask is not None for one in _operands(site))
    if given or carried or site.argument(_place(site, "use_causal_mask"), "use_causal_mask"):
        raise site.unsupported("is masked and attends over other axes than one of time")


_MASKS = ("query_mask", "value_mask", "key_mask")


def _allowed(site: Site, query: Tensor, content: Tensor, key: Tensor) -> Tensor | None:
    """What may be attended to, to be broadcast against [batch, heads, time, keys]; None for all."""
    parts: list[Tensor] = []
    carriers = (query, content, None if key is content else key)
    for name, one, axes in zip(_MASKS, carriers, ([1, 3], [1, 2], [1, 2]), strict=True):
        mask = site.argument_mask(name, one)
        if mask is not None:
            parts.append(unsqueeze(site, cast(site, mask, "bool"), axes))
    if site.argument(_place(site, "use_causal_mask"), "use_causal_mask"):
        parts.append(_causal(site, query, content))
    window = site.config.get("sliding_window")
    if window:
        parts.append(_near(site, query, content, int(window)))
    given = site.argument(_place(site, "attention_mask"), "attention_mask")
    if isinstance(given, Tensor):
        flags = cast(site, given, "bool")
        parts.append(
            unsqueeze(site, flags, [[0, 1], [1], []][flags.rank - 2]) if flags.rank < 4 else flags
        )
    elif given is not None:
        raise site.unsupported("is given a mask that is no tensor")
    return functools.reduce(lambda left, right: both(site, left, right), parts) if parts else None


def _causal(site: Site, query: Tensor, content: Tensor) -> Tensor:
    """[time, keys]: no later key than the query itself."""
    steps, keys = query.shape[1], content.shape[1]
    if isinstance(steps, int) and isinstance(keys, int):
        return constant(np.tril(np.ones((steps, keys), dtype=bool)))
    rows, columns = _rows_and_columns(site, query, content)
    return elementwise(site, "GreaterOrEqual", rows, columns, dtype="bool")


def _near(site: Site, query: Tensor, content: Tensor, window: int) -> Tensor:
    """[time, keys]: keys from ``window`` - 1 steps before the query to as many behind it."""
    rows, columns = _rows_and_columns(site, query, content)
    apart = unary(site, "Abs", elementwise(site, "Sub", rows, columns))
    limit = constant(np.asarray(window, dtype=np.int64))
    return elementwise(site, "Less", apart, limit, dtype="bool")


def _rows_and_columns(site: Site, query: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
    rows = unsqueeze(site, positions(site, query, 1), [1])
    return rows, unsqueeze(site, positions(site, content, 1), [0])


def attention(site: Site) -> Tensor | list[Tensor]:
    """Attention (dot products, or tanh of sums) and AdditiveAttention."""
    tensors = site.inputs
    if not 2 <= len(tensors) <= 3 or any(one.rank != 3 for one in tensors):
        raise site.unsupported("is called with something else than two or three sequences")
    query, content = tensors[0], tensors[1]
    key = tensors[2] if len(tensors) == 3 else content
    query_mask, content_mask = _pair_of_masks(site, query, content)
    scores = _scores(site, query, key)
    parts: list[Tensor] = []
    if content_mask is not None:
        parts.append(unsqueeze(site, cast(site, content_mask, "bool"), [1]))
    if site.argument(4, "use_causal_mask") or site.config.get("causal"):
        parts.append(_causal(site, query, key))
    if parts:
        allowed = functools.reduce(lambda left, right: both(site, left, right), parts)
        low = scalar(site, -65504.0 if scores.dtype == "float16" else -1e9, scores)
        scores = elementwise(site, "Where", allowed, scores, low, dtype=scores.dtype)
    weights = softmax(site, scores, -1)
    y = matmul(site, weights, content)
    if query_mask is not None:
        flags = unsqueeze(site, cast(site, query_mask, "bool"), [2])
        y = elementwise(site, "Where", flags, y, scalar(site, 0.0, y), dtype=y.dtype)
    y.mask = query_mask
    return [y, weights] if site.argument(3, "return_attention_scores") else y


def _pair_of_masks(
    site: Site, query: Tensor, content: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    given = site.argument(1, "mask")
    if given is None:
        return query.mask, content.mask
    if not isinstance(given, (list, tuple)) or len(given) < 2:
        raise site.unsupported("is given something else than a list of masks")
    first, second = (one if isinstance(one, Tensor) else None for one in given[:2])
    return first, second


def _scores(site: Site, query: Tensor, key: Tensor) -> Tensor:
    config = site.config
    additive = site.layer.class_name == "AdditiveAttention"
    scaled = config.get("use_scale", additive)
    if not additive and config.get("score_mode", "dot") == "dot":
        scores = matmul(site, query, transpose(site, key, (0, 2, 1)))
        if scaled:
            scores = elementwise(site, "Mul", scores, constant(site.weight("scale", ())))
        return scores
    total = elementwise(site, "Add", unsqueeze(site, query, [2]), unsqueeze(site, key, [1]))
    if additive:
        y = unary(site, "Tanh", total)
        if scaled:
            width = query.shape[-1] if isinstance(query.shape[-1], int) else None
            y = elementwise(site, "Mul", y, constant(site.weight("scale", (width,))))
        return reduce(site, "ReduceSum", y, [-1], False)
    if scaled:
        total = elementwise(site, "Mul", total, constant(site.weight("scale", ())))
    y = reduce(site, "ReduceSum", unary(site, "Tanh", total), [-1], False)
    return elementwise(site, "Mul", y, constant(site.weight("concat_score_weight", ())))
