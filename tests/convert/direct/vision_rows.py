"""Layers of images and volumes beside the common ones, and layers with tables of their own."""

from __future__ import annotations

from typing import Any

from tests.convert.direct.layer_rows import IMAGE, VOLUME, Row, chain, on

_SMALL = (6, 7, 3)


def _adaptive(kind: str, size: Any, shape: tuple[int, ...]) -> Row:
    name = f"Adaptive{kind}Pooling{len(shape) - 1}D"
    return on(shape, lambda L: getattr(L, name)(size))


ADAPTIVE_3: dict[str, Row] = {
    f"adaptive_{kind.lower()}_{title}": _adaptive(kind, size, shape)
    for kind in ("Average", "Max")
    for title, (size, shape) in {
        "equal": (4, (12, 4)),
        "unequal": (4, (11, 4)),
        "one": (1, IMAGE),
        "overlapping": ((7, 7), (8, 8, 4)),
        "both": ((3, 5), IMAGE),
        "larger": ((5, 9), (3, 9, 4)),
        "as_it_is": ((3, 9), (3, 9, 4)),
        "volume": ((2, 3, 4), VOLUME),
    }.items()
} | {
    "adaptive_in_a_net": chain(
        (9, 9, 4),
        lambda L: [
            L.Conv2D(4, 3),
            L.ReLU(),
            L.BatchNormalization(),
            L.AdaptiveAveragePooling2D(3),
            L.BatchNormalization(),
            L.Flatten(),
            L.Dense(3),
        ],
    ),
}

SIZES: dict[str, Row] = {
    "resizing_cropped": on(IMAGE, lambda L: L.Resizing(5, 5, crop_to_aspect_ratio=True)),
    "resizing_cropped_tall": on(
        (9, 7, 4),
        lambda L: L.Resizing(4, 12, interpolation="nearest", crop_to_aspect_ratio=True),
    ),
    "resizing_lanczos3": on(IMAGE, lambda L: L.Resizing(5, 14, interpolation="lanczos3")),
    "resizing_lanczos5": on(IMAGE, lambda L: L.Resizing(15, 4, interpolation="lanczos5")),
    "upsampling_lanczos": on(IMAGE, lambda L: L.UpSampling2D((2, 3), interpolation="lanczos3")),
    "resizing_bicubic": on(IMAGE, lambda L: L.Resizing(5, 14, interpolation="bicubic")),
    "upsampling_bicubic": on(IMAGE, lambda L: L.UpSampling2D((3, 1), interpolation="bicubic")),
    "random_crop": on(IMAGE, lambda L: L.RandomCrop(5, 5)),
    "random_crop_larger": on(IMAGE, lambda L: L.RandomCrop(12, 11)),
    "center_crop_larger": on(IMAGE, lambda L: L.CenterCrop(12, 11)),
    "center_crop_wider": on(IMAGE, lambda L: L.CenterCrop(5, 11)),
}


def _by(kind: str, name: str, *size: Any, **options: Any) -> Row:
    return on(IMAGE, lambda L: getattr(L, name)(*size, interpolation=kind, **options))


SIZES_2: dict[str, Row] = {
    f"{name.lower()}_{kind}": _by(kind, name, *size)
    for name, size in (("Resizing", (5, 14)), ("UpSampling2D", ((2, 3),)))
    for kind in ("area", "gaussian", "lanczos5", "mitchellcubic")
} | {
    # An axis that stays as large is blurred all the same.
    "upsampling_blurred": _by("gaussian", "UpSampling2D", (2, 1)),
    "upsampling_by_one": _by("mitchellcubic", "UpSampling2D", (1, 1)),
    "resizing_to_itself": _by("gaussian", "Resizing", 7, 9),
}

IMAGES_3: dict[str, Row] = {
    f"antialias_{kind}_{height}": _by(kind, "Resizing", height, 5, antialias=True)
    for kind in ("bilinear", "bicubic", "lanczos3", "nearest")
    for height in (4, 12)
} | {
    "resizing_padded": on(
        IMAGE, lambda L: L.Resizing(5, 5, pad_to_aspect_ratio=True, fill_value=0.5)
    ),
    "resizing_padded_wide": on((9, 6, 4), lambda L: L.Resizing(5, 12, pad_to_aspect_ratio=True)),
    "solarization": on(IMAGE, lambda L: L.Solarization(0.3, 0.2)),
    "auto_contrast": on(IMAGE, lambda L: L.AutoContrast()),
    "auto_contrast_range": on(IMAGE, lambda L: L.AutoContrast(value_range=(-1, 1))),
    "mix_up": on(IMAGE, lambda L: L.MixUp()),
    "cut_mix": on(IMAGE, lambda L: L.CutMix()),
    "pipeline": on(
        IMAGE,
        lambda L: L.Pipeline(
            [
                L.Resizing(5, 4),
                L.Rescaling(2.0, 1.0),
                L.BatchNormalization(),
                L.Conv2D(3, 2),
                L.RandomFlip(),
                L.BatchNormalization(),
            ]
        ),
    ),
}


def _both_ways(L: Any, **options: Any) -> Any:
    def call(tokens: Any) -> Any:
        table = L.ReversibleEmbedding(11, 4, **options)
        return table(L.BatchNormalization()(L.Dense(4)(table(tokens))), reverse=True)

    return call


TABLES_3: dict[str, Row] = {
    "reversible_embedding": on((5,), _both_ways, dtype="int32"),
    "reversible_embedding_untied": on(
        (5,), lambda L: _both_ways(L, tie_weights=False, logit_soft_cap=3.0), dtype="int32"
    ),
    "reversible_embedding_masked": on(
        (5,),
        lambda L: lambda x: L.LSTM(3)(L.ReversibleEmbedding(11, 4, mask_zero=True)(x)),
        dtype="int32",
    ),
}
REVERSED_3: dict[str, Row] = {
    "embedding_reversed": on(
        (5, 4), lambda L: lambda x: L.ReversibleEmbedding(11, 4)(x, reverse=True)
    ),
}


def _local(name: str, shape: tuple[int, ...], *settings: Any, **options: Any) -> Row:
    return on(shape, lambda L: getattr(L, f"LocallyConnected{name}")(*settings, **options))


LOCAL_2: dict[str, Row] = {
    "local1d": _local("1D", (9, 4), 3, 3),
    "local1d_bare": _local("1D", (9, 4), 4, 2, strides=2, use_bias=False, activation="relu"),
    "local2d": _local("2D", _SMALL, 3, (3, 2)),
    "local2d_stride": _local("2D", _SMALL, 4, 2, strides=(2, 3), activation="tanh"),
}
for _way in (2, 3):
    LOCAL_2 |= {
        f"local1d_{_way}": _local("1D", (9, 4), 3, 3, implementation=_way),
        f"local1d_same_{_way}": _local(
            "1D", (9, 4), 3, 4, strides=2, padding="same", implementation=_way
        ),
        f"local2d_{_way}": _local("2D", _SMALL, 3, (3, 2), implementation=_way),
        f"local2d_same_{_way}": _local(
            "2D", _SMALL, 3, (3, 2), strides=2, padding="same", implementation=_way
        ),
    }
for _way in (1, 2, 3):
    _first = {"implementation": _way, "data_format": "channels_first"}
    LOCAL_2 |= {
        f"local1d_first_{_way}": _local("1D", (5, 9), 3, 3, **_first),
        f"local2d_first_{_way}": _local("2D", _SMALL, 3, (3, 2), **_first),
    }

ROWS = SIZES
ROWS_2 = {**SIZES_2, **LOCAL_2}
ROWS_3 = {**ADAPTIVE_3, **IMAGES_3, **REVERSED_3}
