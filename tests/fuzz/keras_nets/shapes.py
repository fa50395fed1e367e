"""Steps: layers that move elements, pool, pad, crop, spread."""

from __future__ import annotations

from math import prod
from typing import Any

from .net import VOCABULARY, NetBuilder, is_float, shape_of


def _order(b: NetBuilder) -> dict[str, Any]:
    return {"data_format": "channels_first"} if b.chance(10) else {}


def _count(x: Any) -> int | None:
    count = len(x.shape) - 2
    return count if count in (1, 2, 3) else None


def pooling(b: NetBuilder, x: Any) -> Any:
    """MaxPooling and AveragePooling."""
    count = _count(x)
    if count is None:
        return None
    kind = b.pick(("MaxPooling", "AveragePooling"))
    options = {"padding": b.pick(("valid", "same")), **_order(b)}
    if b.chance(50):
        options["strides"] = b.chooser.integer(1, 3)
    return b.on(x, f"{kind}{count}D", b.pick((1, 2, 2, 3)), **options)


def global_pooling(b: NetBuilder, x: Any) -> Any:
    """GlobalMaxPooling and GlobalAveragePooling."""
    count = _count(x)
    if count is None:
        return None
    kind = b.pick(("GlobalMaxPooling", "GlobalAveragePooling"))
    return b.on(x, f"{kind}{count}D", keepdims=b.chance(40), **_order(b))


def _pairs(b: NetBuilder, count: int, high: int) -> Any:
    if b.chance(30):
        return b.chooser.integer(0, high)
    pairs = tuple((b.chooser.integer(0, high), b.chooser.integer(0, high)) for _ in range(count))
    return pairs if count > 1 else pairs[0]


def padding(b: NetBuilder, x: Any) -> Any:
    """ZeroPadding."""
    count = _count(x)
    if count is None:
        return None
    options = _order(b) if count > 1 else {}
    return b.on(x, f"ZeroPadding{count}D", _pairs(b, count, 2), **options)


def cropping(b: NetBuilder, x: Any) -> Any:
    """Cropping."""
    count = _count(x)
    if count is None or any(isinstance(one, int) and one < 3 for one in shape_of(x)[:-1]):
        return None
    options = _order(b) if count > 1 else {}
    return b.on(x, f"Cropping{count}D", _pairs(b, count, 1), **options)


def upsampling(b: NetBuilder, x: Any) -> Any:
    """UpSampling, nearest and bilinear."""
    count = _count(x)
    if count is None:
        return None
    if count == 2:
        kinds = ("nearest", "nearest", "bilinear", *(("bicubic",) if b.generation == 3 else ()))
        return b.on(x, "UpSampling2D", b.pick((1, 2, (2, 1))), interpolation=b.pick(kinds))
    return b.on(x, f"UpSampling{count}D", b.pick((1, 2)))


def resizing(b: NetBuilder, x: Any) -> Any:
    """Resizing and CenterCrop."""
    if len(x.shape) != 4 or b.compute != "float32":
        return None
    if b.chance(30) and None not in x.shape[1:3]:
        return b.on(x, "CenterCrop", max(1, int(x.shape[1]) - 1), max(1, int(x.shape[2]) - 1))
    kind = b.pick(("nearest", "bilinear"))
    return b.on(x, "Resizing", b.size(), b.size(), interpolation=kind)


def flatten(b: NetBuilder, x: Any) -> Any:
    """Flatten, rarely of channels-first values."""
    options = {"data_format": "channels_first"} if b.chance(15) else {}
    return b.on(x, "Flatten", **options)


def reshape(b: NetBuilder, x: Any) -> Any:
    """Reshape to another split of the elements."""
    shape = shape_of(x)
    if None in shape:
        return b.on(x, "Reshape", (-1, int(shape[-1]))) if isinstance(shape[-1], int) else None
    total = prod(int(one or 1) for one in shape)
    if total == 0:
        return None
    options: list[tuple[int, ...]] = [(total,), (-1, int(shape[-1] or 1)), (1, *map(int, shape))]
    options += [(one, total // one) for one in (2, 3, 4) if total % one == 0]
    options += [(total // one, one) for one in (2, 3, 4) if total % one == 0]
    options += [(2, total // 4, 2)] if total % 4 == 0 else []
    options += [(one, -1, two) for one, two in ((2, 3), (3, 2)) if total % 6 == 0]
    return b.on(x, "Reshape", b.pick([one for one in options if len(one) <= 4]))


def permute(b: NetBuilder, x: Any) -> Any:
    """Permute in any order."""
    left = list(range(1, len(x.shape)))
    if len(left) < 2:
        return None
    order = []
    while left:
        order.append(left.pop(b.chooser.integer(0, len(left) - 1)))
    return b.on(x, "Permute", tuple(order))


def repeat_vector(b: NetBuilder, x: Any) -> Any:
    """RepeatVector."""
    return b.on(x, "RepeatVector", b.size()) if len(x.shape) == 2 else None


def encoding(b: NetBuilder, x: Any) -> Any:
    """Of ids: CategoryEncoding, IntegerLookup; of numbers: Discretization."""
    if is_float(x):
        if len(x.shape) > 3:
            return None
        return b.on(x, "Discretization", [-1.0, 0.0, 0.5])
    kind = b.chooser.integer(0, 2)
    if kind == 0:
        words = list(range(1, VOCABULARY - 2))
        return b.on(x, "IntegerLookup", vocabulary=words)
    if len(x.shape) != 2:
        return None
    mode = b.pick(("multi_hot", "count"))
    return b.on(x, "CategoryEncoding", VOCABULARY, output_mode=mode)
