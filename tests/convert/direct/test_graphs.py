"""What the converted graphs look like: few Transposes, no computed shapes, names of Keras."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bnfold.convert.direct import UnsupportedLayerError, convert, read, table
from bnfold.convert.direct.driver import refuse_unsupported
from bnfold.convert.direct.ops import cast, concat
from bnfold.convert.direct.site import Site
from bnfold.convert.direct.tensor import Tensor
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedModelError
from tests.convert import zoo
from tests.convert.direct import kinds, layer_rows, more_rows
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx

_KINDS = {**zoo.KINDS, **kinds.KINDS}


def _ops(model: Any, **options: Any) -> list[str]:
    return [node.op_type for node in convert(model, **options).model.graph]


# Kind to the Transposes that are needed: one where an image comes in, one where one goes out, two
# around attention's heads and products, one each way between time-first and batch-first.
_TRANSPOSES = {
    "conv_mixed": 1,
    "residual": 1,
    "conv1d": 1,
    "dense_post": 0,
    "dynamic_sizes": 1,
    "fixed_batch": 1,
    "free_image": 2,
    "grouped": 2,
    "mixed_float16": 1,
    "nested": 0,
    "preprocessing": 2,
    "recurrent": 2,
    "separable": 2,
    "time_distributed": 0,
    "transposed": 2,
}


@pytest.mark.parametrize("kind", _TRANSPOSES)
def test_transposes(keras3: Any, kind: str) -> None:
    counts = Counter(_ops(_KINDS[kind](keras3)))
    assert counts["Transpose"] == _TRANSPOSES[kind]


@pytest.mark.parametrize(
    ("row", "pads"),
    [
        ("padding_then_stride", 0),
        ("padding_then_depthwise", 0),
        ("padding_then_same", 1),
        ("padding_then_pool", 1),
        ("padding_twice_read", 1),
    ],
)
def test_a_convolution_pads_by_itself(keras3: Any, row: str, pads: int) -> None:
    """Where nothing else reads the zeros, and it adds none of its own."""
    assert Counter(_ops(more_rows.COMMON[row](keras3)))["Pad"] == pads


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind != "free_time"])
def test_no_shape_is_computed(keras3: Any, kind: str) -> None:
    assert not {"Shape", "Gather", "Range"}.intersection(_ops(_KINDS[kind](keras3))) - {
        "Gather" if kind == "attention" else ""
    }


def test_flatten_goes_into_the_kernel(keras3: Any) -> None:
    """Channels-first elements are flattened as they stand; the next kernel's rows follow."""
    model = layer_rows.COMMON["conv_flatten_bn_dense"](keras3)
    assert _ops(model) == [
        "Transpose",
        "Conv",
        "Flatten",
        "BatchNormalization",
        "Relu",
        "Gemm",
    ]


def test_recurrent_chain_stays_time_first(keras3: Any) -> None:
    model = layer_rows.COMMON["lstm_stack"](keras3)
    counts = Counter(_ops(model))
    assert counts["Transpose"] == 1
    assert counts["Squeeze"] == 3


def test_names(keras3: Any) -> None:
    """Inputs, outputs, nodes and free sizes are called what Keras calls them."""
    L = keras3.layers
    image, extra = L.Input((None, 8, 3), name="image"), L.Input((4,), name="extra")
    x = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    x = L.Dense(2, name="result")(L.Concatenate(name="join")([x, extra]))
    converted = convert(keras3.Model([image, extra], x, name="net"))
    graph = converted.model.graph
    assert graph.name == "net"
    assert [(port.name, list(map(str, port.shape))) for port in graph.inputs] == [
        ("image", ["batch", "image_height", "8", "3"]),
        ("extra", ["batch", "4"]),
    ]
    assert [port.name for port in graph.outputs] == ["result"]
    names = [node.name for node in graph]
    assert names[1:3] == ["conv/Conv", "conv/Relu"]
    assert converted.labels["conv/Relu"] == "conv"
    assert set(converted.labels.values()) == {"conv", "pool", "join", "result"}
    assert {"conv/kernel", "conv/bias", "result/kernel"} <= set(graph.initializers)


def test_nested_labels_are_paths(keras3: Any) -> None:
    labels = set(convert(zoo.nested(keras3)).labels.values())
    assert {"encoder/dense", "encoder/bn", "head/dense", "head/bn", "out"} == labels


def test_every_value_has_its_shape(keras3: Any) -> None:
    for kind in ("residual", "recurrent", "attention"):
        for node in convert(_KINDS[kind](keras3)).model.graph:
            for value in node.outputs:
                if value.name:
                    assert value.shape is not None and value.dtype is not None


def test_what_nobody_reads_is_not_emitted(keras3: Any) -> None:
    """Keras 3 files also hold the making of masks."""
    assert "Equal" not in _ops(
        layer_rows.on((7,), lambda L: L.Embedding(5, 3, mask_zero=True), "int32")(keras3)
    )


def test_the_same_of_the_same_is_computed_once(keras3: Any) -> None:
    """Two ReLUs of one value are one node, two poolings of different sizes stay two."""
    L = keras3.layers
    x = L.Input((4, 4, 3), name="x")
    first, second = L.ReLU(name="first")(x), L.ReLU(name="second")(x)
    pooled = L.Add()([L.MaxPooling2D(2)(first), L.MaxPooling2D(2)(second)])
    other = L.MaxPooling2D(3, strides=2, padding="same")(first)
    model = keras3.Model(x, [pooled, other, first, second, first])
    converted = convert(model).model
    counts = Counter(node.op_type for node in converted.graph)
    assert (counts["Relu"], counts["MaxPool"]) == (1, 2)
    assert counts["Identity"] == 2  # an output of each name
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    assert_equal(run_onnx(converted, [images]), run_keras(model, [images]))


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """The whole road, file to ONNX, without TensorFlow, Keras or a runtime."""
    source = Path(__file__).parents[3] / "sample_models" / "conv.keras"
    code = (
        "import sys\n"
        "from bnfold.convert.direct import convert\n"
        "from bnfold.formats.onnx.fold import fold_model\n"
        f"converted = convert({str(source)!r})\n"
        "fold_model(converted.model, labels=converted.labels)\n"
        "heavy = {'tensorflow', 'keras', 'tf_keras', 'tf2onnx', 'onnxruntime', 'torch', 'jax'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_opset_out_of_range(keras3: Any) -> None:
    model = layer_rows.COMMON["dense"](keras3)
    for opset in (12, 999):
        with pytest.raises(InputError, match=f"Opset {opset} cannot be written: choose 13 to"):
            convert(model, opset=opset)


def test_what_is_not_valid_is_not_handed_out(keras3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong about types: its layer is named, and the other road can be taken."""

    def mixed(site: Site) -> Tensor:
        return concat(site, [site.input, cast(site, site.input, "int64")], 1)

    monkeypatch.setitem(table.LAYERS, "Dense", mixed)
    model = layer_rows.on((4,), lambda L: L.Dense(8, name="wrong"))(keras3)
    with pytest.raises(UnsupportedLayerError, match=r"'wrong'.*not valid.*inconsistent type"):
        convert(model)


def test_unknown_layer_is_named_before_any_work(keras3: Any) -> None:
    @keras3.saving.register_keras_serializable("bnfold_tests")
    class Own(keras3.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    L = keras3.layers
    inner = keras3.Sequential([L.Input((4,)), Own(name="mine")], name="inner")
    model = keras3.Sequential([L.Input((4,)), inner])
    with pytest.raises(UnsupportedLayerError, match=r"'inner/mine' \(Own\)") as caught:
        refuse_unsupported(read(model))
    assert (caught.value.layer, caught.value.class_name) == ("inner/mine", "Own")


def test_bfloat16(keras3: Any) -> None:
    """onnxruntime has no kernels for it on the CPU, so onnx's own evaluator is asked."""
    from onnx.reference import ReferenceEvaluator

    L, policy = keras3.layers, "mixed_bfloat16"
    layers = [L.Input((8, 8, 3)), L.Conv2D(4, 3, dtype=policy), L.BatchNormalization(dtype=policy)]
    layers += [L.ReLU(dtype=policy), L.Flatten(), L.Dense(5, dtype=policy), L.Softmax()]
    model = zoo.randomize(keras3.Sequential(layers))
    with pytest.raises(UnsupportedLayerError, match="bfloat16, which ONNX has from opset 22 on"):
        convert(model, opset=17)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    proto = ir.to_proto(convert(model, opset=22).model)
    (got,) = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: images})
    assert_equal([got], run_keras(model, [images]), 2e-2)


def test_lambda_is_refused(keras: Any) -> None:
    L = keras.layers
    model = keras.Sequential([L.Input((4,)), L.Lambda(lambda t: t, output_shape=(4,), name="f")])
    with pytest.raises(UnsupportedLayerError, match="Layer 'f' \\(Lambda\\)"):
        convert(model)


def test_subclassed_model_is_refused(keras: Any) -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Net()
    model(np.zeros((1, 3), np.float32))
    with pytest.raises(UnsupportedModelError, match=r"\(Net\) is a class of its own"):
        convert(model)


def test_model_never_built_is_refused(keras: Any) -> None:
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(InputError, match="never built"):
        convert(model)


def test_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match="int is no Keras model"):
        convert(3)


def test_wrong_shape_is_named(keras3: Any) -> None:
    graph = read(
        keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(5, name="dense")])
    )
    layer = graph.layers["dense"]
    bad = replace(layer.weights["kernel"], shape=(3, 5))
    layers = {**graph.layers, "dense": replace(layer, weights={**layer.weights, "kernel": bad})}
    with pytest.raises(
        InputError, match=r"'dense' \(Dense\): its kernel .* \(3, 5\), not \(4, 5\)"
    ):
        convert(replace(graph, layers=layers))


def test_missing_weights_are_named(keras3: Any) -> None:
    graph = read(
        keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(5, name="dense")])
    )
    layers = {**graph.layers, "dense": replace(graph.layers["dense"], weights={})}
    with pytest.raises(InputError, match=r"'dense' \(Dense\) lacks its kernel"):
        convert(replace(graph, layers=layers))


@pytest.mark.parametrize("name", ["post_activation", "pre_activation", "conv"])
def test_sample_models(sample_models: Path, name: str) -> None:
    """The shipped samples in all their file forms give one and the same graph."""
    graphs = []
    for path in sorted(sample_models.glob(f"{name}*.*")):
        if path.suffix in (".keras", ".h5"):
            converted = convert(path)
            graphs.append([node.op_type for node in converted.model.graph])
    assert graphs and all(one == graphs[0] for one in graphs)
