"""Models that no exporter writes, of kinds that damaged files turned up: refused, no crash.

What they hold is valid protobuf or HDF5, so the readers take it; only the algebra can tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest

from bnfold import api
from bnfold.core.errors import BnfoldError, InputError
from bnfold.formats.keras.errors import UnsupportedModelError
from bnfold.formats.keras.read import read_keras

Node = onnx.NodeProto


def norm(source: str, target: str, *sizes: int) -> tuple[Node, dict[str, np.ndarray]]:
    """A BatchNormalization whose four parameters have these sizes."""
    names = [f"{target}.{part}" for part in ("gamma", "beta", "mean", "var")]
    arrays = {
        name: np.arange(1, size + 1, dtype=np.float32)
        for name, size in zip(names, sizes if len(sizes) > 1 else sizes * 4, strict=True)
    }
    return oh.make_node("BatchNormalization", [source, *names], [target], name=target), arrays


def conv(source: str, target: str, *shape: int) -> tuple[Node, dict[str, np.ndarray]]:
    kernel = {f"{target}.w": np.ones(shape, np.float32)}
    return oh.make_node("Conv", [source, f"{target}.w"], [target], name=target), kernel


def model(
    *parts: tuple[Node, dict[str, np.ndarray]],
    shape: tuple[int | str, ...] = ("N", 4, 8, 8),
    kind: int = onnx.TensorProto.FLOAT,
) -> onnx.ModelProto:
    """The nodes in a row, from "x" to the last one's output; the results between are `kind`."""
    arrays = {name: array for _, found in parts for name, array in found.items()}
    nodes = [node for node, _ in parts]
    ports = [
        oh.make_tensor_value_info("x", 1, shape),
        oh.make_tensor_value_info(nodes[-1].output[0], 1, None),
    ]
    weights = [nh.from_array(array, name) for name, array in arrays.items()]
    graph = oh.make_graph(nodes, "odd", ports[:1], ports[1:], weights)
    named = None if kind == onnx.TensorProto.FLOAT else ["N", 4, "h", "w"]
    for node in nodes[:-1]:
        graph.value_info.append(oh.make_tensor_value_info(node.output[0], kind, named))
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 18)], ir_version=9)


def codes(source: onnx.ModelProto) -> list[set[str]]:
    """The codes of what stays; nothing may be folded."""
    result = api.fold(source, verify=False)
    assert result.folds == ()
    return [{refusal.reason.code for refusal in kept.refusals} for kept in result.kept]


def test_parameters_of_different_sizes() -> None:
    assert codes(model(norm("x", "y", 4, 4, 3, 4))) == [{"BNF201"}]


def test_two_normalizations_that_disagree_on_the_channels() -> None:
    found = codes(model(norm("x", "h", 4), norm("h", "y", 2)))
    assert len(found) == 2 and all("BNF201" in each for each in found)


def test_a_kernel_that_has_other_channels_than_its_input() -> None:
    found = codes(model(norm("x", "h", 4), conv("h", "y", 4, 2, 3, 3)))
    assert found and "BNF201" in found[0]


def test_a_result_that_is_declared_to_be_integer() -> None:
    kinds = (onnx.TensorProto.INT32, onnx.TensorProto.BOOL, onnx.TensorProto.INT4)
    for kind in kinds:
        (found,) = codes(model(conv("x", "h", 4, 4, 3, 3), norm("h", "y", 4), kind=kind))
        assert "BNF304" in found


def test_more_axes_than_an_array_can_have() -> None:
    scale = (oh.make_node("Mul", ["x", "c"], ["h"], name="h"), {"c": np.float32([3.0])})
    shift = (oh.make_node("Add", ["h", "d"], ["y"], name="y"), {"d": np.float32(2.0)})
    found = api.fold(model(scale, shift, shape=(1,) * 203), verify=False)
    assert all(kept.refusals for kept in found.kept)


@pytest.mark.parametrize("op", ["Slice", "Tile", "Expand"])
def test_an_axis_of_absurd_length_reserves_no_memory(op: str) -> None:
    long = 1 << 50
    constants = {
        "Slice": {"a": [0], "b": [long - 1], "c": [1]},
        "Tile": {"a": [1, long]},
        "Expand": {"a": [1, long]},
    }[op]
    arrays = {name: np.asarray(value, np.int64) for name, value in constants.items()}
    node = oh.make_node(op, ["x", *arrays], ["h"], name="move")
    shift = (oh.make_node("Add", ["h", "s"], ["y"], name="y"), {"s": np.float32(2.0)})
    shape = (1, long) if op == "Slice" else (1, 1)
    try:
        api.fold(model((node, arrays), shift, shape=shape), verify=False)
    except InputError as error:
        assert "elements" in str(error)


def test_a_split_that_says_another_number_of_outputs_than_it_has() -> None:
    # onnx's own inference of shapes ends the process on it.
    split = oh.make_node("Split", ["x"], ["y", "z"], name="s", axis=1, num_outputs=1)
    with pytest.raises(InputError, match="says 1 outputs and has 2"):
        api.fold(model((split, {})), verify=False)


def test_an_attribute_that_the_op_does_not_know_and_of_another_type() -> None:
    # Pad's amounts are an input since opset 11; a stray attribute of that name is no list of them.
    pad = oh.make_node("Pad", ["x", "amounts"], ["h"], name="p", pads=1.5)
    arrays = {"amounts": np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}
    assert codes(model((pad, arrays), norm("h", "y", 4)))


# ------------------------------------------------------------------------------ Keras


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of an .h5 model with its config changed."""
    target = folder / "odd.h5"
    target.write_bytes(path.read_bytes())
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return target


def layer(config: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in config["config"]["layers"] if each["class_name"] == kind
    )
    return found


def test_a_class_name_of_two_lines(sample_models: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["class_name"] = "a\nb"

    path = changed(sample_models / "post_activation.h5", tmp_path, change)
    with pytest.raises(UnsupportedModelError) as caught:
        read_keras(path)
    assert "(a b)" in str(caught.value) and "\n" not in str(caught.value)


def test_a_layer_class_of_two_lines(sample_models: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        layer(config, "BatchNormalization")["class_name"] = "a\nb"

    path = changed(sample_models / "post_activation.h5", tmp_path, change)
    with pytest.raises(BnfoldError) as caught:
        api.convert(path, converter="direct")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("Dense", "units", {}),
        ("Dense", "units", None),
        ("Dense", "units", float("nan")),
        ("Dense", "activation", 7),
        ("Dense", "dtype", "x"),
        ("BatchNormalization", "axis", "bn"),
        ("BatchNormalization", "epsilon", [1]),
    ],
)
def test_settings_that_keras_never_writes(
    sample_models: Path, tmp_path: Path, kind: str, key: str, value: object
) -> None:
    def change(config: dict[str, Any]) -> None:
        layer(config, kind)["config"][key] = value

    path = changed(sample_models / "post_activation.h5", tmp_path, change)
    with pytest.raises(BnfoldError) as caught:
        api.convert(path, converter="direct")
    assert "\n" not in str(caught.value)


def test_a_list_of_weights_that_cannot_be_read(sample_models: Path, tmp_path: Path) -> None:
    """The names are in a global heap; without its object the library raises, whatever is asked."""
    data = bytearray((sample_models / "post_activation.h5").read_bytes())
    with h5py.File(sample_models / "post_activation.h5") as file:
        group = file["model_weights"]["bn_1"]
        group = group if "weight_names" in group.attrs else file["model_weights/dense_1"]
        assert "weight_names" in group.attrs
    start = data.find(b"GCOL")
    if start < 0:
        pytest.skip("this file keeps the names elsewhere")
    end = start + int.from_bytes(data[start + 8 : start + 16], "little")
    data[start:end] = bytes(end - start)
    target = tmp_path / "odd.h5"
    target.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_keras(target)
    assert "\n" not in str(caught.value)
