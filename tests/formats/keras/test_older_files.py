"""What older versions of Keras wrote in another way, and what they look for in files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bnfold.convert.direct import convert
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError, UnsupportedModelError
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.read_config import parse_layer, parse_model
from bnfold.formats.keras.write import write_keras
from tests.convert import zoo
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx

_RNG = np.random.default_rng(7)


def _write(path: Path, config: Any, weights: dict[str, dict[str, Any]], **attrs: Any) -> Path:
    """An .h5 file as Keras 2 wrote it with h5py 2: its attributes are bytes."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        for owner in (file, group):
            for key, value in attrs.items():
                owner.attrs.create(key, value, dtype=h5py.string_dtype("ascii"))
        file.attrs.create("model_config", json.dumps(config), dtype=h5py.string_dtype("ascii"))
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                inner[name] = array
    return path


def _layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer as Keras before 2.3 wrote it: without a dtype."""
    return {"class_name": class_name, "config": {"name": name, "trainable": True, **config}}


def _norm(name: str, channels: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    gamma = np.array([1.5, -0.5, 0.0, 0.7])[:channels]
    arrays = (gamma, _RNG.normal(size=channels), _RNG.normal(size=channels), gamma**2 + 0.2)
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{name}/{role}:0": one.astype(dtype) for role, one in zip(roles, arrays, strict=True)}


_VERSION = {"keras_version": "2.2.4", "backend": "tensorflow"}


def _dense_net(path: Path, dtype: str) -> Path:
    layers = [
        _layer(
            "Dense", "dense", units=4, activation="relu", batch_input_shape=[None, 4], dtype=dtype
        ),
        _layer("BatchNormalization", "bn", axis=-1, epsilon=1e-3),
        _layer("Activation", "act", activation="tanh"),
        _layer("Dense", "out", units=4, activation="linear"),
        _layer("BatchNormalization", "last", axis=-1, epsilon=1e-3),
    ]
    weights: dict[str, dict[str, Any]] = {"act": {}}
    for name in ("dense", "out"):
        kernel, bias = _RNG.normal(size=(4, 4)), _RNG.normal(size=4)
        weights[name] = {
            f"{name}/kernel:0": kernel.astype(dtype),
            f"{name}/bias:0": bias.astype(dtype),
        }
    weights |= {name: _norm(name, 4, dtype) for name in ("bn", "last")}
    return _write(path, {"class_name": "Sequential", "config": layers}, weights, **_VERSION)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_layers_that_state_no_dtype_have_that_of_their_arrays(tmp_path: Path, dtype: str) -> None:
    source = _dense_net(tmp_path / "m.h5", dtype)
    graph = read_keras(source)
    folded = fold_graph(graph)
    assert [item.source for item in folded.folds] == ["last"]
    write_keras(source, graph, folded.graph, tmp_path / "folded.h5")
    again = read_keras(tmp_path / "folded.h5")
    assert {layer.policy.compute for layer in again.layers.values()} == {dtype}
    x = _RNG.normal(size=(4, 4)).astype(dtype)
    (want,) = run_onnx(convert(graph).model, [x])
    assert want.dtype == dtype
    # The layer in the last one's place would have had another dtype.
    assert_equal(
        run_onnx(convert(folded.graph).model, [x]), [want], 1e-14 if dtype == "float64" else 2e-6
    )
    assert_equal(run_onnx(convert(again).model, [x]), [want], 1e-14 if dtype == "float64" else 2e-6)


def test_attributes_stay_bytes(tmp_path: Path) -> None:
    """h5py 2 gives them as bytes only then; older versions decode what they are given."""
    source = _dense_net(tmp_path / "m.h5", "float32")
    graph = read_keras(source)
    write_keras(source, graph, fold_graph(graph).graph, tmp_path / "folded.h5")
    with h5py.File(tmp_path / "folded.h5") as file:
        for owner in (file, file["model_weights"]):
            for name in set(owner.attrs) & {"model_config", "keras_version", "backend"}:
                kind = h5py.check_string_dtype(owner.attrs.get_id(name).dtype)
                assert (kind.encoding, kind.length) == ("ascii", None), name
        assert set(file.attrs) == {"model_config", "keras_version", "backend"}
        assert set(file["model_weights"].attrs) == {"layer_names", "keras_version", "backend"}


def test_attributes_of_a_stated_length(tmp_path: Path) -> None:
    source = _dense_net(tmp_path / "m.h5", "float32")
    with h5py.File(source, "r+") as file:
        text = file.attrs["model_config"]
        del file.attrs["model_config"]
        file.attrs["model_config"] = np.bytes_(text)
    graph = read_keras(source)
    write_keras(source, graph, fold_graph(graph).graph, tmp_path / "folded.h5")
    assert read_keras(tmp_path / "folded.h5").layers.keys() == graph.layers.keys()
    with h5py.File(tmp_path / "folded.h5") as file:
        assert isinstance(file.attrs["model_config"], bytes)


def test_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    """Keras 3.0 keeps one of them only."""
    source = _dense_net(tmp_path / "m.h5", "float32")
    with h5py.File(source, "r+") as file:
        group = file["model_weights/dense"]
        names = list(group.attrs["weight_names"])
        group.attrs["weight_names"] = [names[0], names[0]]
    with pytest.raises(InputError, match="'dense' keeps several arrays under one name"):
        read_keras(source)


def _image_net(path: Path, backend: str, padding: str = "valid", **more: Any) -> Path:
    settings = {"kernel_size": [3, 3], "padding": padding, "filters": 3, "activation": "linear"}
    layers = [
        _layer(
            "Conv2D", "conv", batch_input_shape=[None, 7, 6, 3], dtype="float32", **settings, **more
        ),
        _layer("BatchNormalization", "bn", axis=-1, epsilon=1e-3),
        _layer("Conv2D", "untouched", **settings, use_bias=False),
        _layer("Activation", "act", activation="tanh"),
    ]
    weights: dict[str, dict[str, Any]] = {"act": {}, "bn": _norm("bn", 3)}
    for name in ("conv", "untouched"):
        kernel = _RNG.normal(size=(3, 3, 3, 3)).astype("float32")
        weights[name] = {f"{name}/kernel:0": kernel}
    weights["conv"]["conv/bias:0"] = _RNG.normal(size=3).astype("float32")
    config = {"class_name": "Sequential", "config": layers}
    return _write(path, config, weights, keras_version="2.0.8", backend=backend)


def test_kernels_by_theano_are_mirrored(tmp_path: Path) -> None:
    source = _image_net(tmp_path / "m.h5", "theano")
    graph = read_keras(source)
    with h5py.File(source) as file:
        stored = file["model_weights/conv/conv/kernel:0"][()]
    np.testing.assert_array_equal(graph.layers["conv"].weights["kernel"].read(), stored[::-1, ::-1])
    folded = fold_graph(graph)
    assert len(folded.folds) == 1
    write_keras(source, graph, folded.graph, tmp_path / "folded.h5")
    again = read_keras(tmp_path / "folded.h5")
    x = _RNG.normal(size=(3, 7, 6, 3)).astype("float32")
    want = run_onnx(convert(graph).model, [x])
    assert_equal(run_onnx(convert(again).model, [x]), want)
    with h5py.File(tmp_path / "folded.h5") as file:  # as Theano needs it
        kernel = file["model_weights/conv/conv/kernel:0"][()]
    gamma, variance = (graph.layers["bn"].weights[r].read() for r in ("gamma", "moving_variance"))
    np.testing.assert_allclose(kernel, stored * gamma / np.sqrt(variance + 1e-3), rtol=1e-5)


@pytest.mark.parametrize(("more", "good"), [({}, True), ({"strides": [2, 2]}, False)])
def test_padding_of_theano(tmp_path: Path, more: dict[str, Any], good: bool) -> None:
    source = _image_net(tmp_path / "m.h5", "theano", "same", **more)
    if good:
        read_keras(source)
        return
    with pytest.raises(InputError, match=r"'conv'.*pads as only Theano does"):
        read_keras(source)
    read_keras(_image_net(tmp_path / "n.h5", "tensorflow", "same", **more))


@pytest.mark.parametrize("name", ["SpatialDropout1D", "SpatialDropout2D", "Discretization"])
def test_layers_of_keras_3_whose_configs_say_little(name: str) -> None:
    """In an .h5 they look like operators, whose configs do not say "trainable" either."""
    assert not parse_layer({"class_name": name, "config": {"name": "x", "rate": 0.5}}).is_operator
    assert parse_layer({"class_name": "Multiply", "config": {"name": "x"}}).is_operator


def test_every_layer_of_keras_3_is_told_from_operators(keras3: Any) -> None:
    made = 0
    for name, kind in vars(keras3.layers).items():
        if not isinstance(kind, type) or not issubclass(kind, keras3.layers.Layer):
            continue
        for options in ({}, {"units": 2}, {"rate": 0.5}, {"bin_boundaries": [0.0, 1.0]}):
            try:
                config = kind(**options).get_config()
            except Exception:
                continue
            if isinstance(config, dict):
                made += 1
                data = {"class_name": name, "config": json.loads(json.dumps(config, default=str))}
                assert not parse_layer(data).is_operator, name
                break
    assert made > 50


def test_a_sequential_of_keras_3_takes_batches_of_any_size() -> None:
    """Built by its first call, it states the size of that batch."""
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [32, 4]}},
        {"class_name": "Dense", "config": {"name": "d", "trainable": True, "units": 2}},
    ]
    graph = parse_model({"class_name": "Sequential", "config": {"name": "s", "layers": layers}}, 3)
    assert graph.layers["x"].config["batch_shape"] == [None, 4]
    assert layers[0]["config"]["batch_shape"] == [32, 4]


_INPUT = {
    "class_name": "InputLayer",
    "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "x"},
    "name": "x",
    "inbound_nodes": [],
}


def _functional(layers: list[Any], output: str, class_name: str = "Model") -> dict[str, Any]:
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]]}
    return {"class_name": class_name, "config": {**config, "output_layers": [[output, 0, 0]]}}


def _called(layer: dict[str, Any], *names: str) -> dict[str, Any]:
    name = layer["config"]["name"]
    return {**layer, "name": name, "inbound_nodes": [[[one, 0, 0, {}] for one in names]]}


def test_a_model_of_the_users_class_in_a_file_without_modules() -> None:
    dense = _called(_layer("Dense", "d", units=4), "x")
    with pytest.raises(UnsupportedModelError, match=r"\(Net\) is a class of its own"):
        parse_model(_functional([_INPUT, dense], "d", "Net"), 2)
    inner = {**_functional([_INPUT, dense], "d", "Net"), "name": "inner"}
    outer = parse_model(
        _functional([_INPUT, {**inner, "inbound_nodes": dense["inbound_nodes"]}], "inner"), 2
    )
    assert not outer.layers["inner"].is_own
    with pytest.raises(UnsupportedLayerError, match=r"'inner' \(Net\)"):
        convert(outer)


def _op(name: str, op: str, constants: dict[str, Any], *inputs: str) -> dict[str, Any]:
    node = {"name": name, "op": op, "input": ["?"] * 2, "attr": {"T": {"type": "DT_FLOAT"}}}
    layer = _layer("TensorFlowOpLayer", name, dtype=None, node_def=node, constants=constants)
    return {**_called(layer, *inputs), "name": f"tf_op_layer_{name}"}


def _run(graph: KerasGraph, x: np.ndarray) -> np.ndarray:
    (result,) = run_onnx(convert(graph).model, [x])
    return result


def test_operators_of_tensorflow_1_14_to_2_3() -> None:
    layers = [
        _INPUT,
        _op("sub", "Sub", {"0": 1.0}, "x"),
        _op("pow", "Pow", {"1": 2.0}, "tf_op_layer_sub"),
        _op("mul", "Mul", {"0": [1.0, -2.0, 0.0, 3.0]}, "tf_op_layer_pow"),
        _op("div", "RealDiv", {}, "tf_op_layer_mul", "tf_op_layer_neg"),
        _op("neg", "Neg", {}, "exp"),
        {**_op("exp", "Exp", {}, "x"), "name": "exp"},
        _op("add", "AddV2", {"1": 0.5}, "tf_op_layer_div"),
    ]
    graph = parse_model(_functional(layers, "tf_op_layer_add"), 2)
    x = _RNG.normal(size=(4, 4)).astype("float32")
    want = (1 - x) ** 2 * np.float32([1, -2, 0, 3]) / -np.exp(x) + 0.5
    np.testing.assert_allclose(_run(graph, x), want, rtol=1e-5)
    folded = fold_graph(graph).graph
    np.testing.assert_allclose(_run(folded, x), want, rtol=1e-5)


def test_an_operator_without_a_rule_is_named() -> None:
    layers = [_INPUT, _op("mean", "Mean", {"1": [1]}, "x")]
    with pytest.raises(
        UnsupportedLayerError, match=r"tf\.raw_ops\.Mean, for which there is no rule"
    ):
        convert(parse_model(_functional(layers, "tf_op_layer_mean"), 2))


def _uneven(K: Any) -> Any:
    """Without its normalizations the left branch is the shorter one: Keras then lists it later."""
    L = K.layers
    left, right = L.Input((4,), name="left"), L.Input((4,), name="right")
    x = L.BatchNormalization(name="bn_1")(L.Dense(4, name="dense_1")(left))
    x = L.BatchNormalization(name="bn_2")(x)
    y = L.Activation("tanh", name="tanh")(L.Dense(4, name="dense_2")(right))
    return K.Model([left, right], L.Add(name="add")([x, y]), name="uneven")


def _uneven_within(K: Any) -> Any:
    left, right = K.layers.Input((4,), name="a"), K.layers.Input((4,), name="b")
    return K.Model([left, right], K.layers.Dense(2, name="out")(_uneven(K)([left, right])))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("build", [_uneven, _uneven_within])
def test_arrays_stand_where_keras_looks_for_them(
    keras: Any, build: Any, suffix: str, tmp_path: Path
) -> None:
    """By number: kernels of one shape would be mixed up without a word."""
    model = zoo.randomize(build(keras))
    source, target = tmp_path / f"model{suffix}", tmp_path / f"folded{suffix}"
    model.save(source)
    graph = read_keras(source)
    folded = fold_graph(graph)
    assert len(folded.folds) == 2
    write_keras(source, graph, folded.graph, target)
    arrays = [_RNG.normal(size=(4, 4)).astype("float32") for _ in range(2)]
    loaded = keras.models.load_model(target, compile=False)
    want = run_keras(model, arrays)
    assert_equal(run_keras(loaded, arrays), want, 1e-5)
    assert_equal(run_onnx(convert(read_keras(target)).model, arrays), want, 1e-5)
    live = dataclasses.replace(graph)  # what was read is unchanged
    assert list(live.layers)[-1] == list(graph.layers)[-1]
