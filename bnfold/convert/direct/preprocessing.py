"""Preprocessing layers: encoding categories, looking up tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant, squeeze, unsqueeze, value
from bnfold.convert.direct.ops import cast, elementwise, reduce
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain


def category_encoding(site: Site) -> Tensor:
    """CategoryEncoding: whole numbers as vectors of zeros and ones, or as counts."""
    if site.argument(1, "count_weights") is not None:
        raise site.unsupported("is given weights to count by")
    x = cast(site, site.input, "int64")
    mode = str(site.config.get("output_mode", "multi_hot"))
    return _encoded(site, x, int(site.config["num_tokens"]), mode)


def _encoded(site: Site, x: Tensor, count: int, mode: str, dtype: str = "") -> Tensor:
    """Indices as they are ("int"), or as vectors of ``count`` elements per sample."""
    if mode == "int":
        return x
    if mode not in ("one_hot", "multi_hot", "count"):
        raise site.unsupported(f"encodes by {mode!r}")
    if x.rank > 2 or (mode != "one_hot" and x.rank != 2):
        raise site.unsupported(f"encodes a value with {x.rank} axes by {mode!r}")
    if mode == "one_hot" and x.rank == 2 and x.shape[1] == 1:
        x = squeeze(site, x, [1])
    shape = (*x.shape, count)
    dtype = dtype or site.dtype
    pair = np.asarray([0, 1]).astype(site.number(0, dtype).dtype)
    made = site.node(
        "OneHot",
        [
            value(site, x, plain(x.rank)),
            site.constant(np.asarray(count, dtype=np.int64), "depth"),
            site.constant(pair, "values"),
        ],
        (dtype, shape),
        axis=-1,
    )
    y = Tensor(shape, dtype, {plain(len(shape)): made})
    if mode == "one_hot":
        return y
    return reduce(site, "ReduceMax" if mode == "multi_hot" else "ReduceSum", y, [-2], False)


def discretization(site: Site) -> Tensor:
    """Discretization: how many of the boundaries a number reaches."""
    x, config = site.input, site.config
    stated = config.get("bin_boundaries")
    if isinstance(stated, dict):
        stated = stated.get("config", {}).get("value", stated.get("value"))
    if stated is None:
        raise site.unsupported("keeps its boundaries elsewhere than in its config")
    if config.get("sparse"):
        raise site.unsupported("gives sparse values")
    x = cast(site, x, "float32")
    boundaries = constant(np.asarray(stated, dtype=np.float32))
    reached = elementwise(
        site, "GreaterOrEqual", unsqueeze(site, x, [x.rank]), boundaries, dtype="bool"
    )
    bins = reduce(site, "ReduceSum", cast(site, reached, "int64"), [-1], False)
    mode = str(config.get("output_mode", "int"))
    if mode == "int":
        return cast(site, bins, "int32" if site.generation == 3 else "int64")
    return _encoded(site, bins, boundaries.shape[0] + 1, mode)  # type: ignore[operator]


def lookup(site: Site) -> Tensor:
    """IntegerLookup, StringLookup: the places of tokens in a vocabulary that the config states."""
    x, config = site.input, site.config
    words = config.get("vocabulary")
    if isinstance(words, dict):
        words = words.get("config", {}).get("value", words.get("value"))
    if not isinstance(words, (list, tuple)):
        raise site.unsupported("keeps its vocabulary elsewhere than in its config")
    mode = str(config.get("output_mode", "int"))
    unknown = int(config.get("num_oov_indices", 1))
    if config.get("invert") or config.get("sparse") or config.get("pad_to_max_tokens"):
        raise site.unsupported("looks up in a way that has no rule")
    if unknown > 1:
        raise site.unsupported("hashes what it does not know")
    tokens = _tokens(site, words)
    masked = config.get("mask_token") is not None and mode == "int"
    special = [config.get("mask_token")] if masked else []
    special += [config.get("oov_token")] * unknown
    # A vocabulary may begin with the special tokens, which are then no tokens of their own.
    if list(tokens[: len(special)]) == special:
        tokens = tokens[len(special) :]
    first = len(special)
    entries = dict(zip(tokens, range(first, first + len(tokens)), strict=True))
    if masked:
        entries = {special[0]: 0, **entries}
    indices = _labels(site, x, entries, int(masked) if unknown else -1)
    # In Keras 3 these count in whole numbers.
    return _encoded(
        site, indices, first + len(tokens), mode, "int64" if site.generation == 3 else ""
    )


def _tokens(site: Site, words: Sequence[Any]) -> list[Any]:
    if site.layer.class_name == "IntegerLookup":
        return [int(word) for word in words]
    return [str(word) for word in words]


def _labels(site: Site, x: Tensor, entries: dict[Any, int], default: int) -> Tensor:
    text = site.layer.class_name == "StringLookup"
    if text != (x.dtype == "string"):
        raise site.unsupported(f"is given values of the type {x.dtype}")
    x = x if text else cast(site, x, "int64")
    keys: dict[str, Any] = {"keys_strings" if text else "keys_int64s": list(entries)}
    made = site.node(
        "ai.onnx.ml::LabelEncoder",
        [value(site, x, plain(x.rank))],
        ("int64", x.shape),
        values_int64s=list(entries.values()),
        default_int64=default,
        **keys,
    )
    return Tensor(x.shape, "int64", {plain(x.rank): made})
