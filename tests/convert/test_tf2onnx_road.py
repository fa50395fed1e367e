"""Every kind of Keras model becomes an ONNX model that computes what Keras computes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bnfold.convert.freeze import freeze
from bnfold.convert.signature import signature_of
from bnfold.convert.tf2onnx_road import convert_keras
from bnfold.convert.trace import trace_model
from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError
from tests.convert import zoo

pytestmark = pytest.mark.keras

AFFINE_OPS = {"Mul", "Add", "Sub", "Div", "BatchNormalization"}


def serialized(converted: ConvertedModel) -> bytes:
    return ir.to_proto(converted.model).SerializeToString()


def differences(converted: ConvertedModel, seed: int = 1) -> list[float]:
    """Largest difference from Keras of each output, relative to the output's own size."""
    data = serialized(converted)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    arrays = zoo.random_inputs(converted.model, seed)
    names = [value.name for value in session.get_inputs()]
    results = session.run(None, dict(zip(names, arrays, strict=True)))
    assert converted.reference is not None
    expected = converted.reference(arrays)
    errors = []
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        assert result.dtype == wanted.dtype
        assert np.ptp(wanted.astype(float)) > 0, "an output that never varies shows nothing"
        size = max(1e-3, float(np.abs(wanted.astype(float)).max()))
        errors.append(float(np.abs(result.astype(float) - wanted.astype(float)).max()) / size)
    return errors


def io_names(model: ir.Model) -> tuple[list[str], list[str]]:
    return [v.name or "" for v in model.graph.inputs], [v.name or "" for v in model.graph.outputs]


def batch_normalizations(model: Any, prefix: str = "") -> set[str]:
    """Paths of all BatchNormalization layers, through nested models and wrappers."""
    found = set()
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if hasattr(layer, "layers"):
            found |= batch_normalizations(layer, f"{path}/")
        if type(layer).__name__ == "BatchNormalization":
            found.add(path)
    return found


@functools.cache
def of_kind(keras: Any, kind: str) -> tuple[Any, ConvertedModel]:
    model = zoo.randomize(zoo.KINDS[kind](keras))
    return model, convert_keras(model)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_converts_and_equals_keras(keras: Any, kind: str) -> None:
    converted = of_kind(keras, kind)[1]

    assert max(differences(converted)) < 2e-6
    assert converted.converter == "tf2onnx"
    assert converted.model.opset_imports == {"": 17}
    names = [node.name for node in converted.model.graph]
    assert len(set(names)) == len(names)
    assert set(converted.labels) <= {
        node.name for node in ir.traversal.RecursiveGraphIterator(converted.model.graph)
    }
    for name, path in converted.labels.items():
        assert name == path + name[len(path) :], "a node is named after its layer"
    for value in converted.model.graph.inputs:
        assert value.shape is not None
        assert str(value.shape[0]) == "batch"


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_batch_normalization_is_there_under_its_name(keras: Any, kind: str) -> None:
    """Neither Grappler nor tf2onnx folds one: scale and shift are ops of their own."""
    model, converted = of_kind(keras, kind)
    ops: dict[str, set[str]] = {}
    for node in converted.model.graph:
        ops.setdefault(converted.labels.get(node.name or "", ""), set()).add(node.op_type)
    for path in batch_normalizations(model):
        assert path in ops
        own = ops[path] & AFFINE_OPS
        assert own == {"BatchNormalization"} or own == {"Mul", "Add"}, path


def test_input_and_output_names_and_order(keras: Any) -> None:
    model = zoo.randomize(zoo.two_in_three_out(keras))
    assert io_names(convert_keras(model).model) == (
        ["second", "first"],
        ["c", "bn_a", "c_1", "second_1"],
    )


def test_dict_ports_are_named_by_their_keys(keras: Any) -> None:
    model = zoo.randomize(zoo.dict_ports(keras))
    assert io_names(convert_keras(model).model) == (["left", "right"], ["first", "second"])


def test_layers_of_nested_models_have_paths(keras: Any) -> None:
    converted = convert_keras(zoo.randomize(zoo.nested(keras)))
    assert {"encoder/bn", "head/bn", "out"} <= set(converted.labels.values())


def test_a_second_call_is_not_taken_for_another_layer(keras: Any) -> None:
    """TensorFlow calls the scope of the second call of "bn" what another layer is called."""
    converted = convert_keras(zoo.randomize(zoo.shared(keras)))
    outputs = [converted.model.graph.outputs[i].producer() for i in range(3)]
    assert [converted.labels[node.name or ""] for node in outputs if node] == ["bn", "bn", "bn_1"]


def test_free_sizes_have_readable_names(keras3: Any) -> None:
    graph = convert_keras(zoo.randomize(zoo.dynamic_sizes(keras3))).model.graph
    assert [str(d) for d in graph.inputs[0].shape or ()] == [
        "batch",
        "image_dim_1",
        "image_dim_2",
        "3",
    ]
    assert [str(d) for d in graph.outputs[0].shape or ()] == ["batch", "4"]


def test_a_fixed_batch_stays_fixed(keras3: Any) -> None:
    start = keras3.Input((4,), batch_size=3, name="x")
    model = zoo.randomize(keras3.Model(start, keras3.layers.Dense(2, name="y")(start)))
    converted = convert_keras(model)
    assert list(converted.model.graph.inputs[0].shape or ()) == [3, 4]
    assert max(differences(converted)) < 2e-6


@pytest.mark.parametrize("opset", [9, 13, 18, 21, onnx.defs.onnx_opset_version()])
def test_opsets(keras3: Any, opset: int) -> None:
    if opset > 26:
        opset = 26  # what the installed runtime has released
    converted = convert_keras(zoo.randomize(zoo.conv_mixed(keras3)), opset=opset)
    assert converted.model.opset_imports == {"": opset}
    assert max(differences(converted)) < 2e-6


@pytest.mark.parametrize("opset", [0, 8, 1000])
def test_impossible_opsets_are_refused(keras3: Any, opset: int) -> None:
    with pytest.raises(InputError, match=r"Opset \d+ is not possible here: choose one from 9 to"):
        convert_keras(zoo.dense_post(keras3), opset=opset)


def test_the_same_model_twice_is_the_same_bytes(keras: Any) -> None:
    model = zoo.randomize(zoo.conv_mixed(keras))
    first = serialized(convert_keras(model))
    convert_keras(zoo.randomize(zoo.nested(keras)))  # moves every counter in the process
    assert serialized(convert_keras(model)) == first


def test_recurrent_bodies_are_stable_too(keras3: Any) -> None:
    model = zoo.randomize(zoo.recurrent(keras3))
    first = serialized(convert_keras(model))
    zoo.recurrent(keras3)
    assert serialized(convert_keras(model)) == first


def test_large_kernels_are_bound_not_copied_through(keras: Any) -> None:
    """Kernels of more than 65536 elements bypass TensorFlow's graph; all the rest is as ever."""
    L = keras.layers
    tokens = L.Input((5,), dtype="int32", name="tokens")
    image = L.Input((4, 3, 96), name="image")
    shared = L.Dense(300, name="shared")
    x = L.GlobalAveragePooling1D(name="mean")(L.Embedding(400, 250, name="embedding")(tokens))
    x = L.BatchNormalization(name="bn_1")(shared(x))
    y = L.Conv2D(100, 3, padding="same", strides=2, name="conv")(image)
    y = L.BatchNormalization(name="bn_2")(y)
    y = shared(L.Dense(250, name="narrow")(L.Flatten(name="flatten")(y)))
    model = zoo.randomize(keras.Model([tokens, image], L.Add(name="add")([x, y]), name="large"))
    converted = convert_keras(model)

    assert max(differences(converted)) < 2e-6
    graph = converted.model.graph
    assert io_names(converted.model) == (["tokens", "image"], ["add"])
    kernels = {v.name for v in graph.initializers.values() if v.const_value.size > 65536}
    assert kernels == {  # the shared kernel is there once
        "embedding/Gather.data",
        "shared/MatMul.B",
        "conv/Conv.W",
        "narrow/MatMul.B",
    }
    assert len(freeze(trace_model(model, signature_of(model))).weights) == 4
    for node in graph:
        assert not (node.op_type == "Transpose" and node.inputs[0].is_initializer())


def test_large_kernels_read_in_another_way_stay_right(keras3: Any) -> None:
    """A kernel that is also an output, or transposed, is no candidate for binding."""
    ops, L = keras3.ops, keras3.layers

    class Tied(L.Layer):
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(300, 250), name="kernel")

        def call(self, x: Any) -> Any:
            hidden = ops.relu(ops.matmul(x, self.kernel))
            return ops.matmul(hidden, ops.transpose(self.kernel))

    start = L.Input((300,), name="x")
    converted = convert_keras(zoo.randomize(keras3.Model(start, Tied(name="tied")(start))))
    assert max(differences(converted)) < 2e-6


def test_a_shift_behind_a_convolution_is_no_bias_of_it(keras2: Any) -> None:
    """tf2onnx would write it as the convolution's bias, and the layer would be gone."""
    start = keras2.Input((6, 5, 3), name="x")
    x = keras2.layers.Conv2D(4, 3, use_bias=False, name="conv")(start)
    x = keras2.layers.ReLU(name="relu")(x + np.array([1.0, -2.0, 0.5, 3.0], np.float32))
    converted = convert_keras(zoo.randomize(keras2.Model(start, x)))
    assert max(differences(converted)) < 2e-6
    ops = {n.op_type: converted.labels.get(n.name or "", "") for n in converted.model.graph}
    assert (ops["Conv"], ops["Add"][:16]) == ("conv", "tf.__operators__")


def test_the_bias_of_a_conv1d_is_in_the_convolution(keras: Any) -> None:
    converted = convert_keras(zoo.randomize(zoo.conv1d(keras)))
    for layer in ("conv_1", "conv_2"):
        own = {n.op_type for n in converted.model.graph if converted.labels.get(n.name) == layer}
        assert "Conv" in own
        assert "Add" not in own


def test_mixed_float16(keras: Any) -> None:
    L = keras.layers
    model = keras.Sequential(
        [
            L.Input((7, 6, 3), name="image"),
            L.Conv2D(8, 3, padding="same", dtype="mixed_float16", name="conv"),
            L.BatchNormalization(dtype="mixed_float16", name="bn"),
            L.Flatten(dtype="mixed_float16", name="flatten"),
            L.Dense(4, dtype="mixed_float16", name="dense"),
        ]
    )
    converted = convert_keras(zoo.randomize(model))
    assert converted.model.graph.outputs[0].dtype is ir.DataType.FLOAT16
    assert max(differences(converted)) < 0.01


def test_bfloat16_is_refused_rather_than_written_as_float16(keras3: Any) -> None:
    model = keras3.Sequential(
        [keras3.Input((4,)), keras3.layers.Dense(3, dtype="mixed_bfloat16", name="dense")]
    )
    with pytest.raises(InputError, match="Layer 'dense' computes in bfloat16"):
        convert_keras(model)


def test_an_unsupported_op_names_its_layer(keras: Any) -> None:
    start = keras.layers.Input((1,), dtype="int32")
    inner = keras.Sequential([keras.layers.Hashing(5, name="buckets")], name="prepare")
    with pytest.raises(InputError) as caught:
        convert_keras(keras.Model(start, inner(start)))
    assert "Layer 'prepare/buckets' uses the TensorFlow op StringToHashBucketFast" in str(
        caught.value
    )


@pytest.mark.parametrize("activation", ["gelu", "celu"])
def test_activations_that_tf2onnx_lacks(keras3: Any, activation: str) -> None:
    model = keras3.Sequential(
        [keras3.Input((4,)), keras3.layers.Dense(6, activation=activation, name="dense")]
    )
    assert max(differences(convert_keras(zoo.randomize(model)))) < 2e-6


def test_discretization(keras: Any) -> None:
    layer = keras.layers.Discretization(bin_boundaries=[-0.5, 0.0, 0.7], name="bins")
    assert differences(convert_keras(keras.Sequential([keras.Input((9,)), layer]))) == [0]


def subclassed(keras: Any) -> Any:
    L = keras.layers

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.left, self.right = L.Dense(3, name="left"), L.Dense(3, name="right")
            self.bn = L.BatchNormalization(name="bn")

        def call(self, inputs: Any, training: bool = False) -> Any:
            x, y = inputs
            return {"sum": self.bn(self.left(x) + self.right(y), training=training), "x": x}

    return Net()


def test_a_subclassed_model_needs_one_call(keras: Any) -> None:
    model = subclassed(keras)
    with pytest.raises(InputError, match="'net' has never been called"):
        convert_keras(model)
    model([np.ones((2, 4), np.float32), np.ones((2, 5), np.float32)])
    converted = convert_keras(zoo.randomize(model))
    assert [len(v.shape or ()) for v in converted.model.graph.inputs] == [2, 2]
    assert max(differences(converted)) < 2e-6
    assert {"bn", "left", "right"} <= set(converted.labels.values())


def test_a_sequential_without_input_shape_is_refused(keras: Any) -> None:
    with pytest.raises(InputError, match="has never been called"):
        convert_keras(keras.Sequential([keras.layers.Dense(3)]))


def test_what_is_no_keras_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"builtins\.dict is no Keras model"):
        convert_keras({})


def test_a_layer_that_changes_itself_is_refused(keras2: Any) -> None:
    start = keras2.Input((4,))
    model = keras2.Model(start, keras2.layers.BatchNormalization(name="bn")(start, training=True))
    with pytest.raises(InputError, match="Layer 'bn' changes its own state"):
        convert_keras(model)


def test_custom_layer_of_a_live_model(keras: Any) -> None:
    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2 + 1

    model = keras.Sequential(
        [keras.layers.Input((4,)), Doubled(name="doubled"), keras.layers.Dense(3, name="dense")]
    )
    converted = convert_keras(zoo.randomize(model))
    assert max(differences(converted)) < 2e-6
    assert "doubled" in converted.labels.values()


def test_the_model_and_the_process_are_left_as_they_were(keras: Any) -> None:
    import logging

    import tensorflow as tf
    from tf2onnx import utils
    from tf2onnx.graph import Graph

    model = zoo.randomize(zoo.grouped(keras))  # traced twice, the second time eagerly
    before = (
        [set(vars(layer)) for layer in model.layers],
        [np.array(w) for w in model.get_weights()],
        Graph.extract_sub_graph_nodes,
        [logging.getLogger(n).level for n in ("", "absl", "tensorflow", "tf2onnx")],
        list(logging.getLogger().handlers),
        list(logging.getLogger().filters),
    )
    utils.INTERNAL_NAME = 12345
    convert_keras(model)

    assert [set(vars(layer)) for layer in model.layers] == before[0]
    for now, then in zip(model.get_weights(), before[1], strict=True):
        assert np.array_equal(now, then)
    assert Graph.extract_sub_graph_nodes is before[2]
    assert [logging.getLogger(n).level for n in ("", "absl", "tensorflow", "tf2onnx")] == before[3]
    assert list(logging.getLogger().handlers) == before[4]
    assert list(logging.getLogger().filters) == before[5]
    assert utils.INTERNAL_NAME == 12345
    assert not tf.config.functions_run_eagerly()
