"""A small whole Keras model in each of the layouts that Keras writes, made without Keras."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

Config = dict[str, Any]
EditConfig = Callable[[Config], Config | None]
EditWeights = Callable[[h5py.File], None]

_RNG = np.random.default_rng(11)
_SIZES = (4, 3, 2)
_DENSE, _BN = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Layout:
    """A way to store a model.

    Attributes:
        name: for people.
        archive: a .keras zip rather than an HDF5 file.
        generation: the Keras that wrote it, 2 or 3.
    """

    name: str
    archive: bool
    generation: int


LAYOUTS = (
    Layout("keras 3 archive", True, 3),
    Layout("keras 2 archive", True, 2),
    Layout("keras 3 hdf5", False, 3),
    Layout("keras 2 hdf5", False, 2),
)


def model_config(layout: Layout) -> Config:
    """BN, Dense(elu), BN, Dense as a Sequential."""
    shape_key = "batch_shape" if layout.generation == 3 else "batch_input_shape"
    # Keras 2 wrote modules only into archives.
    modules = layout.generation == 3 or layout.archive
    layers: list[Config] = [
        _layer("InputLayer", "x", {shape_key: [None, _SIZES[0]]}, modules),
        _layer("BatchNormalization", "bn", {"axis": -1, "epsilon": 1e-3}, modules),
    ]
    for number, units in enumerate(_SIZES[1:]):
        dense = {"units": units, "activation": "elu", "use_bias": True}
        layers.append(_layer("Dense", f"dense_{number}", dense, modules))
    layers.insert(3, _layer("BatchNormalization", "bn_mid", {"axis": -1}, modules))
    model: Config = {"class_name": "Sequential", "config": {"name": "seed", "layers": layers}}
    if modules:
        model |= {"module": "keras", "registered_name": None}
    return model


def _layer(class_name: str, name: str, settings: Config, modules: bool) -> Config:
    config = {"name": name, "dtype": "float32", **settings}
    layer: Config = {"class_name": class_name, "config": config}
    if modules:
        layer |= {"module": "keras.layers", "registered_name": None}
    return layer


def _weights() -> dict[str, tuple[tuple[str, ...], list[np.ndarray]]]:
    found = {}
    for number, name in enumerate(("bn", "bn_mid")):
        width = _SIZES[number]
        arrays = [_RNG.standard_normal(width).astype(np.float32) for _ in range(3)]
        arrays.append(_RNG.uniform(0.1, 3, width).astype(np.float32))
        found[name] = (_BN, arrays)
        shape = _SIZES[number : number + 2]
        kernel = _RNG.standard_normal(shape).astype(np.float32)
        bias = _RNG.standard_normal(shape[1]).astype(np.float32)
        found[f"dense_{number}"] = (_DENSE, [kernel, bias])
    return found


def make(
    layout: Layout,
    edit_config: EditConfig | None = None,
    edit_weights: EditWeights | None = None,
    *,
    config_text: str | None = None,
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Store the model, after its config and weights were edited.

    Args:
        layout: how.
        edit_config: changes the config or returns another one.
        edit_weights: changes the open HDF5 file.
        config_text: text to store in place of any config.
        extra: further members of the archive.
        compression: of the archive's members.
    """
    config = model_config(layout)
    if edit_config is not None:
        config = edit_config(config) or config
    text = json.dumps(config) if config_text is None else config_text
    version = "3.15.1" if layout.generation == 3 else "2.13.1"
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if layout.archive:
            _archive_weights(file)
        else:
            file.attrs["keras_version"] = version
            file.attrs["backend"] = "tensorflow"
            # HDF5 keeps attributes of up to 64 kB, and without zero bytes.
            with contextlib.suppress(OSError, ValueError):
                file.attrs["model_config"] = text
            _flat_weights(file.create_group("model_weights"))
        if edit_weights is not None:
            edit_weights(file)
    if not layout.archive:
        return buffer.getvalue()
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", buffer.getvalue())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of members by the same name
            for name, data in (extra or {}).items():
                archive.writestr(name, data)
    return archive_bytes.getvalue()


def _archive_weights(file: h5py.File) -> None:
    file.create_group("vars")
    counts: dict[str, int] = {}
    for name, (roles, arrays) in _weights().items():
        base = "batch_normalization" if roles is _BN else "dense"
        number = counts.get(base, 0)
        counts[base] = number + 1
        group = file.create_group(f"layers/{base}_{number}" if number else f"layers/{base}")
        group.attrs["name"] = name
        for index, array in enumerate(arrays):
            group.create_dataset(f"vars/{index}", data=array)


def _flat_weights(root: h5py.Group) -> None:
    weights = _weights()
    root.attrs["layer_names"] = [name.encode() for name in weights]
    for name, (roles, arrays) in weights.items():
        group = root.create_group(name)
        names = [f"{name}/{role}:0" for role in roles]
        group.attrs["weight_names"] = [each.encode() for each in names]
        for each, array in zip(names, arrays, strict=True):
            group.create_dataset(each, data=array)
