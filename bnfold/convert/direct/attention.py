"""Attention layers: projections as MatMul, scores as MatMul, no Einsum."""

from __future__ import annotations

import math

import numpy as np

from bnfold.convert.direct.dense import last_axis_product
from bnfold.convert.direct.layout import constant, reshape, transpose, unsqueeze
from bnfold.convert.direct.ops import cast, elementwise, matmul, reduce, scalar, softmax, unary
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor

_VERY_NEGATIVE = {"float16": -3e4}


def multi_head(site: Site) -> Tensor | list[Tensor]:
    """MultiHeadAttention over one axis of sequences [batch, time, features]."""
    query, content, key = _operands(site)
    config = site.config
    axes = config.get("attention_axes")
    axes = [1] if axes is None else [int(axis) % query.rank for axis in axes]
    if query.rank != 3 or axes != [1] or content.rank != 3:
        raise site.unsupported("attends over other axes than one of time")
    if config.get("use_gate") or config.get("sliding_window") or config.get("output_shape"):
        raise site.unsupported("has a gate, a sliding window or an output shape of its own")
    heads, size = int(config["num_heads"]), int(config["key_dim"])
    depth = int(config.get("value_dim") or size)
    q = _heads(site, _project(site, "query", query, heads, size), heads, size, (0, 2, 1, 3))
    k = _heads(site, _project(site, "key", key, heads, size), heads, size, (0, 2, 3, 1))
    v = _heads(site, _project(site, "value", content, heads, depth), heads, depth, (0, 2, 1, 3))
    q = elementwise(site, "Mul", q, scalar(site, 1.0 / math.sqrt(size), q))
    scores = _masked(site, matmul(site, q, k, "Scores"), query, content)
    weights = softmax(site, scores, -1)
    mixed = transpose(site, matmul(site, weights, v, "Mix"), (0, 2, 1, 3))
    wide = reshape(site, mixed, (query.shape[0], query.shape[1], heads * depth))
    stored = site.weight("output/kernel", (heads, depth, None))
    bias = site.weight("output/bias", (stored.shape[2],)) if _biased(site) else None
    kernel = stored.reshape(heads * depth, stored.shape[2])
    y = last_axis_product(site, wide, kernel, bias, "output/kernel")
    if site.argument(7, "return_attention_scores"):
        return [y, weights]
    return y


def _operands(site: Site) -> tuple[Tensor, Tensor, Tensor]:
    query = site.argument(0, "query")
    content = site.argument(1, "value")
    key = site.argument(2, "key")
    found = [query, content, content if key is None else key]
    if not all(isinstance(one, Tensor) for one in found):
        raise site.unsupported("is called with something else than query, value and key")
    named = (site.argument(i, name) for i, name in enumerate(_MASKS, start=3))
    if any(one.mask is not None for one in found) or any(one is not None for one in named):
        raise site.unsupported("is masked")
    return found[0], found[1], found[2]


_MASKS = ("query_mask", "value_mask", "key_mask")


def _biased(site: Site) -> bool:
    return bool(site.config.get("use_bias", True))


def _project(site: Site, part: str, x: Tensor, heads: int, size: int) -> Tensor:
    features = x.shape[-1] if isinstance(x.shape[-1], int) else None
    kernel = site.weight(f"{part}/kernel", (features, heads, size))
    flat = kernel.reshape(kernel.shape[0], heads * size)
    bias = None
    if _biased(site):
        bias = site.weight(f"{part}/bias", (heads, size)).reshape(heads * size)
    return last_axis_product(site, x, flat, bias, f"{part}/kernel")


def _heads(site: Site, x: Tensor, heads: int, size: int, perm: tuple[int, ...]) -> Tensor:
    split = reshape(site, x, (x.shape[0], x.shape[1], heads, size))
    return transpose(site, split, perm)


def _masked(site: Site, scores: Tensor, query: Tensor, content: Tensor) -> Tensor:
    """Scores with what must not be attended to set very low."""
    mask = site.argument(6, "attention_mask")
    low = scalar(site, _VERY_NEGATIVE.get(scores.dtype, -1e9), scores)
    if isinstance(mask, Tensor):
        flags = mask if mask.dtype == "bool" else cast(site, mask, "bool")
        flags = unsqueeze(site, flags, [1]) if flags.rank == 3 else flags
        scores = elementwise(site, "Where", flags, scores, low, dtype=scores.dtype)
    elif mask is not None:
        raise site.unsupported("is given a mask that is no tensor")
    if site.argument(9, "use_causal_mask"):
        scores = _causal(site, scores, query.shape[1], content.shape[1], low)
    return scores


def _causal(site: Site, scores: Tensor, steps: object, keys: object, low: Tensor) -> Tensor:
    if not isinstance(steps, int) or not isinstance(keys, int):
        raise site.unsupported("has a causal mask over a length that is free")
    allowed = np.tril(np.ones((steps, keys), dtype=bool))
    return elementwise(site, "Where", constant(allowed), scores, low, dtype=scores.dtype)


def attention(site: Site) -> Tensor | list[Tensor]:
    """Attention (dot products, or tanh of sums) and AdditiveAttention."""
    tensors = site.inputs
    if not 2 <= len(tensors) <= 3 or any(one.rank != 3 for one in tensors):
        raise site.unsupported("is called with something else than two or three sequences")
    if any(one.mask is not None for one in tensors) or site.argument(1, "mask") is not None:
        raise site.unsupported("is masked")
    query, content = tensors[0], tensors[1]
    key = tensors[2] if len(tensors) == 3 else content
    scores = _scores(site, query, key)
    if site.argument(4, "use_causal_mask") or site.config.get("causal"):
        low = scalar(site, -65504.0 if scores.dtype == "float16" else -1e9, scores)
        scores = _causal(site, scores, query.shape[1], key.shape[1], low)
    weights = softmax(site, scores, -1)
    y = matmul(site, weights, content)
    return [y, weights] if site.argument(3, "return_attention_scores") else y


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
