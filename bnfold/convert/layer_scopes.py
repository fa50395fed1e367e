"""Which Keras layer made which TensorFlow op, recorded while the model is traced.

Op names do not say: TensorFlow numbers a scope that was entered before, so that "bn_1" may be a
layer of this name, or the second call of "bn". Instead, the `call` of every layer is watched, and
the ops that appear in the graph during a call belong to the innermost layer that is being called.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_MISSING = object()
# tf2onnx marks what it adds for a node by a number behind the node's name, several times over.
_SERIAL = re.compile(r"(__\d+)+$")


class LayerNames:
    """The Keras layer of a node, by the name that TensorFlow or tf2onnx gave to the node.

    Args:
        layer_of_op: name of a TensorFlow op to the path of its layer.
        otherwise: what to ask about the names that it lacks.
    """

    def __init__(
        self,
        layer_of_op: Mapping[str, str],
        otherwise: Callable[[str], str | None] = lambda name: None,
    ) -> None:
        self._layer_of_op = layer_of_op
        self._otherwise = otherwise
        self._adopted: dict[str, str] = {}

    def __call__(self, name: str) -> str | None:
        """The path of the layer, None where unknown."""
        known = self._adopted.get(name) or self._layer_of_op.get(tf_name(name))
        return known or self._otherwise(name)

    def adopt(self, name: str, layer: str) -> None:
        """Note the layer of a node that was made under a name of its own."""
        self._adopted[name] = layer


def tf_name(name: str) -> str:
    """The name of the TensorFlow op that an op or tensor of tf2onnx was made for."""
    return _SERIAL.sub("", name.partition(":")[0])


class LayerScopes:
    """The record of one trace.

    Args:
        count_ops: how many ops the traced graph has by now; None while another graph is current.
    """

    def __init__(self, count_ops: Callable[[], int | None]) -> None:
        self._count_ops = count_ops
        self._path: list[str] = []
        self._calls: list[tuple[int, int, str]] = []

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """The time during which layer `name` is being called."""
        self._path.append(name)
        path = "/".join(self._path)
        start = self._count_ops()
        try:
            yield
        finally:
            end = self._count_ops()
            if start is not None and end is not None:
                self._calls.append((start, end, path))
            self._path.pop()

    def layer_of(self, op_names: list[str]) -> dict[str, str]:
        """Path of the innermost layer of each op, given all op names in order of creation."""
        layers: dict[str, str] = {}
        for start, end, path in self._calls:  # inner calls end, so are noted, before outer ones
            for name in op_names[start:end]:
                layers.setdefault(name, path)
        return layers


@contextmanager
def watched(model: Any, scopes: LayerScopes) -> Iterator[None]:
    """Watch the layers inside `model` (not the model itself) for the time of a `with` block."""
    watching: list[tuple[Any, Any]] = []
    try:
        for layer in _parts(model):
            own = vars(layer)
            watching.append((layer, own.get("call", _MISSING)))
            # Into the dict directly: Keras would take an assignment for a new tracked attribute.
            own["call"] = _watched_call(layer.call, str(layer.name), scopes)
        yield
    finally:
        for layer, before in watching:
            if before is _MISSING:
                del vars(layer)["call"]
            else:
                vars(layer)["call"] = before


def _watched_call(call: Callable[..., Any], name: str, scopes: LayerScopes) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with scopes.inside(name):
            return call(*args, **kwargs)

    return wrapper


def _parts(model: Any) -> list[Any]:
    """Every layer and operation inside the model, each once."""
    flatten = getattr(model, "_flatten_layers", None)
    layers = list(flatten(include_self=False)) if flatten else list(getattr(model, "layers", ()))
    parts = {id(layer): layer for layer in layers}
    # Keras 3 keeps `x + y` and the like as operations beside the layers.
    for owner in (model, *layers):
        try:
            operations = list(getattr(owner, "operations", ()))
        except (AttributeError, ValueError):  # not built
            continue
        for operation in operations:
            parts.setdefault(id(operation), operation)
    parts.pop(id(model), None)
    return [part for part in parts.values() if hasattr(part, "call") and hasattr(part, "name")]
