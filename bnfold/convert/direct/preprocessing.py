"""Preprocessing layers: resizing images, encoding categories, looking up tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnfold.convert.direct.activations import clip
from bnfold.convert.direct.convolutions import is_channels_first, keras_shape, space_of
from bnfold.convert.direct.layout import constant, squeeze, unsqueeze, value
from bnfold.convert.direct.ops import cast, elementwise, reduce, slices, unary
from bnfold.convert.direct.shaping import resize
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor, plain
from bnfold.formats.keras.graph import AnyArray

# -- images --------------------------------------------------------------------------------


def resizing(site: Site) -> Tensor:
    """Resizing to a size that the config states."""
    x, config = site.input, site.config
    if any(config.get(key) for key in _ASPECTS):
        raise site.unsupported("keeps the aspect ratio of images")
    if config.get("antialias"):
        raise site.unsupported("resizes with antialiasing")
    if x.rank != 4:
        raise site.unsupported("is given something else than a batch of images")
    kind = str(config.get("interpolation", "bilinear"))
    target = int(config["height"]), int(config["width"])
    back = x.dtype if _is_whole(x) and site.generation == 3 else ""
    x = cast(site, x, "float32" if back else site.dtype) if _is_whole(x) else x
    channels = x.shape[1] if is_channels_first(site) else x.shape[3]
    shape = keras_shape(site, x.shape[0], channels, target)
    if space_of(site, x.shape) == target:
        return cast(site, x, back) if back else x
    y = resize(site, x, shape, kind, None)
    return _rounded(site, y, back) if back else y


def _rounded(site: Site, y: Tensor, dtype: str) -> Tensor:
    """Whole numbers again, as Keras 3 gives them for images of whole numbers."""
    limits = np.iinfo(dtype)
    whole = unary(site, "Round", y)
    return cast(site, clip(site, whole, float(limits.min), float(limits.max)), dtype)


_ASPECTS = ("crop_to_aspect_ratio", "pad_to_aspect_ratio")


def _is_whole(x: Tensor) -> bool:
    return not x.dtype.startswith(("float", "bfloat"))


def center_crop(site: Site) -> Tensor:
    """CenterCrop of images that are at least as large as what is left of them."""
    x, config = site.input, site.config
    if x.rank != 4:
        raise site.unsupported("is given something else than a batch of images")
    x = cast(site, x, site.dtype) if _is_whole(x) else x
    first = 2 if is_channels_first(site) else 1
    cuts: dict[int, tuple[int | None, int | None, int]] = {}
    for axis, key in ((first, "height"), (first + 1, "width")):
        have, want = x.shape[axis], int(config[key])
        if not isinstance(have, int) or have < want:
            raise site.unsupported("crops images whose size is free or too small")
        start = (have - want) // 2
        cuts[axis] = (start, start + want, 1)
    return slices(site, x, cuts)


# -- categories ----------------------------------------------------------------------------


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
    stated = _stated(site, "bin_boundaries")
    if stated is not None:
        return np.asarray(stated, dtype=np.float32)
    if "summary" not in site.layer.weights:
        raise site.unsupported("has no boundaries: give it some, or adapt it, and save it again")
    summary = site.weight("summary", (2, None), "float32")
    return learned_boundaries(summary, int(site.config.get("num_bins") or 1))


def learned_boundaries(summary: AnyArray, bins: int) -> AnyArray:
    """Boundaries between ``bins`` parts of equal weight, as Keras's Discretization derives them.

    Args:
        summary: float32, shape (2, n): values in order, and the weight of each.
        bins: how many parts; with fewer values than that each is a boundary but the last.

    Returns:
        float32, shape (m,), m < bins.
    """
    if summary.shape[1] < bins:
        return summary[0, :-1]
    shares = summary[1].cumsum()
    ends = 1.0 / bins + np.arange(0.0, 1.0, 1.0 / bins)
    found: AnyArray = np.interp(ends, shares / shares[-1], summary[0]).astype(np.float32)
    return found[:-1]


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
    if words is None and site.layer.vocabulary is not None:
        words = site.layer.vocabulary()
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
