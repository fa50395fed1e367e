"""Steps: affines and other normalizations, activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import activation_name
from .net import NetBuilder


def _epsilon(b: NetBuilder) -> dict[str, Any]:
    """An epsilon that float32 has, too: ONNX keeps it in that."""
    return {"epsilon": b.pick((2.0**-10, 2.0**-10, 2.0**-4, 2.0**-17, 2.0**-20))}


def batch_norm(b: NetBuilder, x: Any) -> Any:
    """BatchNormalization on any axis of a known size."""
    options: dict[str, Any] = _epsilon(b)
    known = [axis for axis in range(1, len(x.shape)) if isinstance(x.shape[axis], int)]
    if known and b.chance(25):
        axis = b.pick(known)
        options["axis"] = axis if b.chance(60) else axis - len(x.shape)
    if b.chance(15):
        options["scale"] = False
    if b.chance(15):
        options["center"] = False
    if b.generation == 2 and len(known) > 1 and b.chance(6):
        options["axis"] = known[:2]
    return b.on(x, "BatchNormalization", **options)


def normalization(b: NetBuilder, x: Any) -> Any:
    """Normalization with stated statistics or adapted ones."""
    axis: Any = -1
    kind = b.chooser.integer(0, 5)
    known = [place for place in range(1, len(x.shape)) if isinstance(x.shape[place], int)]
    if kind == 0:
        axis = None
    elif kind == 1 and known:
        axis = b.pick(known)
    elif kind == 2 and len(known) > 1:
        axis = tuple(known[:2])
    places = [] if axis is None else [one % len(x.shape) for one in np.atleast_1d(axis)]
    sizes = [x.shape[one] for one in places]
    if any(not isinstance(one, int) for one in sizes):
        return None
    # Keras rounds to float32 what is stated.
    mean = b.rng.normal(size=sizes).astype(np.float32).astype(np.float64)
    variance = b.rng.uniform(0.2, 3.0, size=sizes).astype(np.float32).astype(np.float64)
    options: dict[str, Any] = {"axis": axis}
    if b.generation == 3 or b.chance(50):
        options["invert"] = b.chance(20)
    if b.chance(60) or None in tuple(x.shape[1:]):
        options |= {"mean": mean.tolist(), "variance": variance.tolist()}
        if axis is None:
            options |= {"mean": float(mean), "variance": float(variance)}
        return b.on(x, "Normalization", **options)
    layer = b.layer("Normalization", **options)
    layer.adapt(b.rng.normal(0.5, 1.5, size=(9, *x.shape[1:])))
    return b.call(layer, x)


def rescaling(b: NetBuilder, x: Any) -> Any:
    """Rescaling by numbers, or by one per channel of the last axis."""
    if b.chance(50) or not isinstance(x.shape[-1], int):
        scale, offset = b.pick((0.5, -2.0, 1 / 255)), b.pick((0.0, -1.0, 0.25))
        return b.on(x, "Rescaling", scale, offset=offset)
    scales = b.rng.uniform(0.3, 2.0, size=x.shape[-1]) * b.rng.choice([-1, 1, 1], x.shape[-1])
    offset = b.rng.normal(size=x.shape[-1]).tolist() if b.chance(60) else 0.0
    return b.on(x, "Rescaling", scales.tolist(), offset=offset)


def layer_norm(b: NetBuilder, x: Any) -> Any:
    """LayerNormalization over the last axis, or others."""
    axes = [axis for axis in range(1, len(x.shape)) if isinstance(x.shape[axis], int)]
    axis: Any = -1
    if axes and b.chance(40):
        axis = b.pick((b.pick(axes), axes[-2:], axes))
    options = {"scale": b.chance(80), "center": b.chance(80), **_epsilon(b)}
    return b.on(x, "LayerNormalization", axis=axis, **options)


def group_norm(b: NetBuilder, x: Any) -> Any:
    """GroupNormalization of any number of groups."""
    known = [axis for axis in range(1, len(x.shape)) if isinstance(x.shape[axis], int)]
    axis = b.pick(known) if known and b.chance(20) else -1
    size = int(x.shape[axis])
    groups = b.pick([one for one in (1, 2, 3, size, -1) if one == -1 or size % one == 0])
    options = {"scale": b.chance(80), "center": b.chance(80), **_epsilon(b)}
    return b.on(x, "GroupNormalization", groups=groups, axis=axis, **options)


def other_norm(b: NetBuilder, x: Any) -> Any:
    """UnitNormalization, RMSNormalization."""
    axes = [axis for axis in range(1, len(x.shape)) if isinstance(x.shape[axis], int)]
    if b.generation == 3 and b.chance(50):
        epsilon = _epsilon(b)
        return b.on(x, "RMSNormalization", axis=b.pick((-1, axes or -1)), **epsilon)
    return b.on(x, "UnitNormalization", axis=b.pick((-1, axes or -1)))


def activation(b: NetBuilder, x: Any) -> Any:
    """An Activation layer, or one of the layers that are activations."""
    kind = b.chooser.integer(0, 8)
    if kind <= 2:
        return b.on(x, "Activation", activation_name(b))
    if kind == 3:
        return prelu(b, x)
    if kind == 4:
        slope = {"negative_slope": 0.2} if b.generation == 3 else {"alpha": 0.2}
        return b.on(x, "LeakyReLU", **slope)
    if kind == 5:
        return b.on(x, "ELU", 0.7)
    if kind == 6:
        return b.on(x, "Softmax", axis=b.pick(tuple(range(1, len(x.shape)))))
    if kind == 7 and b.generation == 2:
        return b.on(x, "ThresholdedReLU", 0.3)
    options: dict[str, Any] = {}
    if b.chance(40):
        options = {"max_value": 1.5, "negative_slope": b.pick((0.0, 0.2)), "threshold": 0.0}
        if b.chance(40):
            options["threshold"] = 0.4
    return b.on(x, "ReLU", **options)


def prelu(b: NetBuilder, x: Any) -> Any:
    """PReLU, its slopes shared along some axes."""
    axes = list(range(1, len(x.shape)))
    unknown = [axis for axis in axes if not isinstance(x.shape[axis], int)]
    shared = sorted({*unknown, *(axis for axis in axes if b.chance(40))})
    return b.on(x, "PReLU", shared_axes=shared or None)


def training_only(b: NetBuilder, x: Any) -> Any:
    """Layers that predict as if they were not there."""
    kinds = ["Dropout", "GaussianNoise", "GaussianDropout", "ActivityRegularization"]
    if len(x.shape) in (3, 4, 5):
        kinds.append(f"SpatialDropout{len(x.shape) - 2}D")
    if b.generation == 3:
        kinds += ["AlphaDropout", "Identity"]
    kind = b.pick(kinds)
    return b.on(x, kind) if kind in ("Identity", "ActivityRegularization") else b.on(x, kind, 0.3)
