"""Carrying out edits on a Keras model's serialized config and arrays, for either generation.

A layer that is gone is taken out of the config, and what read its result reads its input. Where it
must leave something behind (it makes an output, whose name it gives, or it stands inside a
wrapper), a linear Activation of its name takes its place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bnfold.formats.keras.graph import KerasGraph, Layer, LazyArray
from bnfold.formats.keras.keys import key_of, layers_by_key, map_layers
from bnfold.formats.keras.nodes import is_keras2_tensor
from bnfold.formats.keras.operator_calls import KERAS2_CALLS
from bnfold.formats.keras.order import reorder
from bnfold.formats.keras.read_config import listed_parts, parse_model
from bnfold.formats.keras.roles import roles

Ref = tuple[str, int]


@dataclass
class Edits:
    """Changes of a Keras model, by the keys of layers.

    Attributes:
        arrays: (key, role) to the new array.
        settings: key to changes of the config.
        removed: keys of layers that are gone.
        class_names: key to the class that takes the layer's place.
        dtypes: key of a layer that is gone to the dtype of its result.
    """

    arrays: dict[tuple[str, str], LazyArray] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    class_names: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing changes."""
        return not (self.arrays or self.settings or self.removed or self.class_names)


def apply_edits(graph: KerasGraph, edits: Edits) -> KerasGraph:
    """The edited model; ``graph`` stays as it is. Its ``serialized`` is the edited config."""
    if edits.is_empty:
        return graph
    serialized = edit_serialized(graph.serialized, edits)
    old = layers_by_key(graph)
    bare = parse_model(serialized, graph.generation)
    if reorder(serialized, bare):
        bare = parse_model(serialized, graph.generation)

    def refill(layer: Layer, key: str) -> Layer:
        return _refilled(layer, key, old.get(key), edits)

    return map_layers(replace(bare, named_input=graph.named_input), refill)


def _refilled(layer: Layer, key: str, before: Layer | None, edits: Edits) -> Layer:
    if before is None:
        return layer
    # Old files state no dtype: it was told by the arrays that were there.
    if "dtype" not in before.config and not before.is_operator:
        layer = replace(layer, policy=before.policy)
    if key in edits.removed:
        return layer
    arrays = {role: one for (name, role), one in edits.arrays.items() if name == key}
    known = dict(before.weights) | arrays
    wanted = roles(layer)
    if wanted is not None:
        known = {role.name: known[role.name] for role in wanted if role.name in known}
    return replace(layer, weights=known, loose=before.loose)


def edit_serialized(serialized: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """The serialized model with the edits carried out on its configs."""
    result: dict[str, Any] = copy.deepcopy(dict(serialized))
    _edit_model(result, "", edits, outermost=True)
    return result


def _edit_model(data: dict[str, Any], key: str, edits: Edits, *, outermost: bool = False) -> None:
    config = data["config"]
    if isinstance(config, list):
        data["config"] = _edit_sequence(config, key, edits)
    elif "input_layers" in config:
        _edit_functional(config, key, edits, outermost=outermost)
    elif "layers" in config:
        config["layers"] = _edit_sequence(config["layers"], key, edits)


def _key(data: Mapping[str, Any], prefix: str) -> str:
    name = _name(data)
    return key_of(data.get("shared_object_id"), f"{prefix}/{name}" if prefix else name)


def _name(data: Mapping[str, Any]) -> str:
    config = data["config"]
    stated = data.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return str(stated or str(data["class_name"]).lower())


def _edit_layer(data: dict[str, Any], key: str, edits: Edits) -> None:
    """Change a layer in place: its own settings, and what is in it."""
    config = data["config"]
    if isinstance(config, list) or ("layers" in config and data["class_name"] != "Pipeline"):
        _edit_model(data, key, edits)
        return
    names = {"layer": "forward_layer"} if data["class_name"] == "Bidirectional" else {}
    for attribute, inner in _parts_of(data).items():
        part = key_of(inner.get("shared_object_id"), f"{key}/.{names.get(attribute, attribute)}")
        _edit_part(inner, part, edits)
    if data["class_name"] == "Bidirectional":
        _edit_mirrored(config, key, edits)
    config.update(edits.settings.get(key, {}))
    if key in edits.class_names:
        _become(data, edits.class_names[key])


def _parts_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The serialized layers in a layer's config, by the attributes that hold them."""
    config = data["config"]
    alone = {name: config.get(name) for name in ("layer", "backward_layer", "cell")}
    found = {
        name: one for name, one in alone.items() if isinstance(one, dict) and "class_name" in one
    }
    return found | listed_parts(str(data["class_name"]), config)


def _edit_mirrored(config: dict[str, Any], key: str, edits: Edits) -> None:
    """The backward layer that has no config of its own follows the forward one."""
    wanted = edits.settings.get(f"{key}/.backward_layer")
    if wanted and "backward_layer" not in config:
        config["layer"]["config"].update(wanted)


def _edit_part(data: dict[str, Any], key: str, edits: Edits) -> None:
    if key in edits.removed:
        _become_linear(data, edits.dtypes.get(key, "float32"))
    else:
        _edit_layer(data, key, edits)


def _become(data: dict[str, Any], class_name: str) -> None:
    """Another layer of Keras's with the settings that all layers have, and its own."""
    old = data["config"]
    kept = ("name", "trainable", "dtype", "batch_input_shape", "scale", "offset")
    data["config"] = {name: old[name] for name in kept if name in old}
    data["class_name"] = class_name
    for stale in ("build_config",):
        data.pop(stale, None)
    if "module" in data:
        data["module"] = "keras.layers"
        data["registered_name"] = None


def _become_linear(data: dict[str, Any], dtype: str) -> None:
    old, is_call = data["config"], data["class_name"] in KERAS2_CALLS
    _become(data, "Activation")
    data["config"] = {
        **{name: one for name, one in data["config"].items() if name not in ("scale", "offset")},
        "activation": "linear",
    }
    if "name" in data:  # TensorFlowOpLayer's config has another
        data["config"]["name"] = data["name"]
    if "trainable" not in old:
        # An operator node has neither. Layers before Keras 2.3 need no dtype.
        data["config"].setdefault("trainable", True)
        data["config"].setdefault("dtype", dtype)
    if is_call:
        data["config"]["dtype"] = dtype  # a function computes in that of its operands
    nodes = data.get("inbound_nodes")
    if nodes:
        data["inbound_nodes"] = [_only_tensor(node) for node in nodes]


def _edit_sequence(layers: list[dict[str, Any]], prefix: str, edits: Edits) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for place, data in enumerate(layers):
        key = _key(data, prefix)
        if key not in edits.removed:
            _edit_layer(data, key, edits)
        elif place == len(layers) - 1 or "batch_input_shape" in data["config"]:
            _become_linear(data, edits.dtypes.get(key, "float32"))
        else:
            continue
        kept.append(data)
    return kept


def _edit_functional(config: dict[str, Any], prefix: str, edits: Edits, *, outermost: bool) -> None:
    layers: list[dict[str, Any]] = config["layers"]
    keys = {_name(data): _key(data, prefix) for data in layers}
    outputs = _named_in(config["output_layers"])
    gone: dict[Ref, Any] = {}
    kept: list[dict[str, Any]] = []
    for data in layers:
        name, nodes = _name(data), data.get("inbound_nodes") or []
        if keys[name] not in edits.removed:
            _edit_layer(data, keys[name], edits)
        elif name in outputs and (outermost or _reads_input(nodes, layers)):
            _become_linear(data, edits.dtypes.get(keys[name], "float32"))
        else:
            gone |= {(name, number): _first_tensor(node) for number, node in enumerate(nodes)}
            continue
        kept.append(data)
    if gone:
        for data in kept:
            nodes = data.get("inbound_nodes")
            if nodes:
                data["inbound_nodes"] = [_rewired(node, gone) for node in nodes]
        config["output_layers"] = _rewired_outputs(config, gone)
    config["layers"] = kept


def _reads_input(nodes: list[Any], layers: list[dict[str, Any]]) -> bool:
    """Whether a call reads an input of the model: that should not become an output itself."""
    inputs = {_name(data) for data in layers if data["class_name"] == "InputLayer"}
    return any(_history(_first_tensor(node))[0] in inputs for node in nodes)


def _named_in(structure: Any) -> set[str]:
    """Names of layers in a config's output_layers."""
    if isinstance(structure, dict):
        return {name for part in structure.values() for name in _named_in(part)}
    if is_keras2_tensor(structure):
        return {structure[0]}
    return {name for part in structure for name in _named_in(part)}


def _is_keras3_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _history(tensor: Any) -> list[Any]:
    """[layer, call, index] of either generation's tensor."""
    found: list[Any] = tensor["config"]["keras_history"] if isinstance(tensor, dict) else tensor[:3]
    return found


def _first_tensor(node: Any) -> Any:
    """The tensor that a call reads; it is the only one where the layer is an affine."""
    if _is_keras3_tensor(node) or is_keras2_tensor(node):
        tensor = node if isinstance(node, dict) else node[:3]
        if isinstance(node, dict) or node[0] != "_CONSTANT_VALUE":
            return tensor
        node = node[3] if len(node) > 3 else {}
    if isinstance(node, dict):
        parts = [node.get("args"), node.get("kwargs")] if "args" in node else list(node.values())
    else:
        parts = list(node) if isinstance(node, list) else []
    for part in parts:
        if isinstance(part, (dict, list)):
            found = _first_tensor(part)
            if found is not None:
                return found
    return None


def _only_tensor(node: Any) -> Any:
    """A call of nothing but the tensor that the node reads."""
    tensor = _first_tensor(node)
    if isinstance(tensor, dict):
        return {"args": [tensor], "kwargs": {}}
    return [[*tensor, {}]]


def _resolved(tensor: Any, gone: Mapping[Ref, Any]) -> Any:
    """The tensor that stands for one whose layer is gone."""
    while True:
        layer, call, _ = _history(tensor)
        if (layer, call) not in gone:
            return tensor
        tensor = gone[layer, call]


def _rewired(node: Any, gone: Mapping[Ref, Any]) -> Any:
    if _is_keras3_tensor(node):
        return _resolved(node, gone)
    if is_keras2_tensor(node) and node[0] != "_CONSTANT_VALUE":
        rest = [_rewired(part, gone) for part in node[3:]]
        return [*_resolved(node, gone)[:3], *rest]
    if isinstance(node, dict):
        return {name: _rewired(part, gone) for name, part in node.items()}
    if isinstance(node, list):
        return [_rewired(part, gone) for part in node]
    return node


def _rewired_outputs(config: Mapping[str, Any], gone: Mapping[Ref, Any]) -> Any:
    """The outputs of a nested model; Keras 3 numbers calls of models otherwise there."""
    models = {_name(data) for data in config["layers"] if _is_functional(data)}

    def rewire(structure: Any) -> Any:
        if isinstance(structure, dict):
            return {name: rewire(part) for name, part in structure.items()}
        if not is_keras2_tensor(structure):
            return [rewire(part) for part in structure]
        if (structure[0], structure[1]) not in gone:
            return structure
        tensor = _resolved(structure, gone)
        layer, call, index = _history(tensor)
        offset = int(isinstance(tensor, dict) and layer in models)
        return [layer, call + offset, index]

    return rewire(config["output_layers"])


def _is_functional(data: Mapping[str, Any]) -> bool:
    config = data["config"]
    return isinstance(config, dict) and "input_layers" in config
