"""Preprocessing layers: encoding categories, looking up tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnfold.convert.direct.layout import constant, squeeze, unsqueeze, value
from bnfold.convert.direct.ops import cast, elementwise, reduce
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain
from bnfold.formats.keras.graph import AnyArray


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
    if config.get("sparse"):
        raise site.unsupported("gives sparse values")
    x = cast(site, x, "float32")
    boundaries = constant(_boundaries(site))
    reached = elementwise(
        site, "GreaterOrEqual", unsqueeze(site, x, [x.rank]), boundaries, dtype="bool"
    )
    bins = reduce(site, "ReduceSum", cast(site, reached, "int64"), [-1], False)
    mode = str(config.get("output_mode", "int"))
    if mode == "int":
        return cast(site, bins, "int32" if site.generation == 3 else "int64")
    return _encoded(site, bins, boundaries.shape[0] + 1, mode)  # type: ignore[operator]


def _boundaries(site: Site) -> AnyArray:
    """The boundaries that the config states, or those that the layer has learned."""
    found = _stated(site, "bin_boundaries")
    if found is None and site.layer.learned is not None:
        found = site.layer.learned()
    if found is None:
        # Their sketch is in the file; tf_keras reads it and makes no boundaries of it.
        lost = ", as Keras 2 loses them with the file: " if site.generation == 2 else ": "
        raise site.unsupported(f"has no boundaries{lost}give it some, or convert the live model")
    return np.asarray(found, dtype=np.float32)


def _stated(site: Site, key: str) -> Any:
    """An entry of the config, which Keras may have wrapped up."""
    found = site.config.get(key)
    if isinstance(found, dict):
        return found.get("config", {}).get("value", found.get("value"))
    return found


def lookup(site: Site) -> Tensor:
    """IntegerLookup, StringLookup: the places of tokens in a vocabulary, or what stands there.

    The vocabulary is stated in the config, or was learned and is kept beside it.
    """
    x, config = site.input, site.config
    mode = str(config.get("output_mode", "int"))
    unknown = int(config.get("num_oov_indices", 1))
    if config.get("sparse"):
        raise site.unsupported("gives sparse values")
    if unknown > 1:
        raise site.unsupported("hashes what it does not know")
    tokens = _tokens(site)
    mask = config.get("mask_token")
    masked = mask is not None and mode == "int"
    special = [mask] if masked else []
    special += [config.get("oov_token")] * unknown
    # A vocabulary may begin with the special tokens, which are then no tokens of their own.
    if list(tokens[: len(special)]) == special:
        tokens = tokens[len(special) :]
    first = len(special)
    entries = dict(zip(tokens, range(first, first + len(tokens)), strict=True))
    count = first + len(tokens)
    if config.get("pad_to_max_tokens") and config.get("max_tokens"):
        count = int(config["max_tokens"])
    if masked:
        entries = {mask: 0, **entries}
    elif mask is not None:
        # A masked token is none of those that are encoded.
        entries[mask] = max(count, first + len(tokens))
    if config.get("invert"):
        return _tokens_at(site, x, entries)
    indices = _labels(site, x, entries, int(masked) if unknown else -1)
    # In Keras 3 these count in whole numbers.
    return _encoded(site, indices, count, mode, "int64" if site.generation == 3 else "")


def _tokens(site: Site) -> list[Any]:
    words = _stated(site, "vocabulary")
    if words is None and site.layer.learned is not None:
        words = site.layer.learned()
    if not isinstance(words, (list, tuple)):
        raise site.unsupported("has no vocabulary: give it one, or adapt it, and save it again")
    if site.layer.class_name == "IntegerLookup":
        return [int(word) for word in words]
    return [str(word) for word in words]


def _tokens_at(site: Site, x: Tensor, entries: dict[Any, int]) -> Tensor:
    """The token at each place; the one for unknown tokens where there is none."""
    kind = "string" if site.layer.class_name == "StringLookup" else "int64"
    tokens: dict[str, Any] = {
        f"values_{kind}s": list(entries),
        f"default_{kind}": site.config.get("oov_token"),
    }
    made = site.node(
        "ai.onnx.ml::LabelEncoder",
        [value(site, cast(site, x, "int64"), plain(x.rank))],
        (kind, x.shape),
        keys_int64s=list(entries.values()),
        **tokens,
    )
    return Tensor(x.shape, kind, {plain(x.rank): made})


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
