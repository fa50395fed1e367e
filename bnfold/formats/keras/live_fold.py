"""A live Keras model, folded into a new live model; the original stays as it is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bnfold.core.diagnostics import Fold, Kept
from bnfold.core.errors import InputError
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.graph import KerasGraph, Layer
from bnfold.formats.keras.live import generation_of, part_of, read_live
from bnfold.formats.keras.naming import part_place
from bnfold.formats.keras.roles import roles
from bnfold.formats.text import clip


@dataclass(frozen=True)
class LiveFold:
    """A folded live model and what happened.

    Attributes:
        model: a new model of the same class, backend and dtype policies; not compiled.
        original, folded: both as data.
        folds, kept: every affine of the original is in one of them.
    """

    model: Any
    original: KerasGraph
    folded: KerasGraph
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]


def fold_live(model: Any) -> LiveFold:
    """Fold a live Sequential or Functional model of Keras 3 (any backend) or of tf_keras.

    Raises:
        UnsupportedModelError: the model is subclassed.
        InputError: it was never built, or Keras cannot make it again from its config.
    """
    original = read_live(model)
    result = fold_graph(original)
    folded = rebuild(model, original, result.graph)
    return LiveFold(folded, original, result.graph, result.folds, result.kept)


def rebuild(model: Any, original: KerasGraph, folded: KerasGraph) -> Any:
    """A new live model from the folded config, with the folded arrays."""
    config = folded.serialized["config"] if folded.serialized else original.serialized["config"]
    custom = _custom_objects(model)
    try:
        new = _made(model, config, custom)
    except Exception as error:
        line = clip(f"{type(error).__name__}: {error}", 300)
        raise InputError(f"Keras cannot make the model again from its config: {line}") from error
    if not new.built:
        new.build(model.input_shape)
    _fill(new, model, folded, original)
    return new


def _custom_objects(model: Any) -> dict[str, Any]:
    """Classes of the user's own layers, by name."""
    found: dict[str, Any] = {}
    pending = [model]
    while pending:
        one = pending.pop()
        for attribute in ("layers", "cells"):
            pending.extend(getattr(one, attribute, None) or ())
        inner = [getattr(one, attribute, None) for attribute in ("layer", "cell")]
        pending.extend(part for part in inner if part is not None)
        if type(one).__module__.partition(".")[0] not in ("keras", "tf_keras"):
            found[type(one).__name__] = type(one)
    return found


def _made(model: Any, config: Any, custom: dict[str, Any]) -> Any:
    """A model of the same class. It is the caller's own, so its Lambdas may be made again."""
    cls = type(model)
    if generation_of(model) == 2:
        saving = import_module("tf_keras").saving
        with saving.custom_object_scope(custom):
            return cls.from_config(config)
    saving = import_module("keras").saving
    serialized = {
        "module": cls.__module__,
        "class_name": cls.__name__,
        "config": config,
        "registered_name": cls.__name__,
    }
    return saving.deserialize_keras_object(serialized, custom_objects=custom, safe_mode=False)


def _fill(new: Any, old: Any, folded: KerasGraph, original: KerasGraph) -> None:
    before = {layer.name: layer for layer in old.layers}
    for layer in new.layers:
        data = folded.layers[layer.name]
        known = original.layers.get(layer.name)
        _fill_layer(layer, before.get(layer.name), data, known)


def _fill_layer(new: Any, old: Any, data: Layer, before: Layer | None) -> None:
    if data.graph is not None and before is not None and before.graph is not None:
        _fill(new, old, data.graph, before.graph)
        return
    if data.parts and before is not None:
        for attribute, part in data.parts.items():
            _fill_layer(
                part_of(new, part_place(data, attribute)),
                part_of(old, part_place(before, attribute)),
                part,
                before.parts.get(attribute),
            )
        return
    if before is not None and data.class_name == before.class_name:
        _hand_over(old, new)
        arrays = old.get_weights()
        if data.weights != before.weights:
            own = [data.weights[role.name].read() for role in roles(data) or ()]
            arrays = [*own, *arrays[len(before.weights) :]]
        new.set_weights(arrays)
        # A Normalization computes with copies of its statistics, which it makes when it is told to.
        finalize = getattr(new, "finalize_state", None)
        if finalize is not None and arrays:
            finalize()


def _hand_over(old: Any, new: Any) -> None:
    """What a layer has learned beside arrays, a vocabulary, as Keras itself stores and loads it."""
    if getattr(type(old), "save_assets", None) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        old.save_assets(folder)
        if any(Path(folder).iterdir()):
            new.load_assets(folder)
