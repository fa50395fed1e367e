"""Every layer and activation against Keras itself, for both generations of Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert.direct import UnsupportedLayerError, convert, read
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.read_config import parse_model
from tests.convert.direct import layer_rows, more_rows, vision_rows
from tests.convert.direct.side_by_side import assert_equal, run_keras, run_onnx
from tests.convert.zoo import randomize

_COMMON = {**layer_rows.COMMON, **more_rows.COMMON, **vision_rows.ROWS}
_KERAS3_ONLY = {**layer_rows.KERAS3_ONLY, **more_rows.KERAS3_ONLY, **vision_rows.ROWS_3}
_KERAS3_ONLY |= vision_rows.TABLES_3
_KERAS2_ONLY = {**layer_rows.KERAS2_ONLY, **vision_rows.ROWS_2}
# float32 sums of some ten to a hundred products, in another order than Keras's.
_RELATIVE = 5e-6


def _check(model: Any, opset: int = 17, relative: float = _RELATIVE) -> None:
    randomize(model)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    assert_equal(
        run_onnx(convert(model, opset=opset).model, arrays), run_keras(model, arrays), relative
    )


@pytest.mark.parametrize("row", _COMMON)
def test_layer(keras: Any, row: str) -> None:
    _check(_COMMON[row](keras))


@pytest.mark.parametrize("row", _KERAS3_ONLY)
def test_layer_of_keras3(keras3: Any, row: str) -> None:
    _check(_KERAS3_ONLY[row](keras3))


@pytest.mark.parametrize("row", _KERAS2_ONLY)
def test_layer_of_keras2(keras2: Any, row: str) -> None:
    _check(_KERAS2_ONLY[row](keras2))


@pytest.mark.parametrize("name", layer_rows.ACTIVATIONS_3)
def test_activation_of_keras3(keras3: Any, name: str) -> None:
    _check(layer_rows.on((4, 6), lambda L: L.Activation(name))(keras3))


@pytest.mark.parametrize("name", layer_rows.ACTIVATIONS_2)
def test_activation_of_keras2(keras2: Any, name: str) -> None:
    _check(layer_rows.on((4, 6), lambda L: L.Activation(name))(keras2))


_FILED = {**more_rows.ATTENTION, **more_rows.ATTENTION_3, **more_rows.AUDIO_3}
_FILED |= {**vision_rows.TABLES_3, "pipeline": vision_rows.IMAGES_3["pipeline"]}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("row", [row for row in _FILED if row != "multi_head_given_mask"])
def test_layer_from_a_file(keras3: Any, row: str, suffix: str, tmp_path: Path) -> None:
    """Layers with arrays in layers of their own are found where files keep them."""
    model = randomize(_FILED[row](keras3))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    arrays = layer_rows.inputs_for(model, np.random.default_rng(7))
    assert_equal(run_onnx(convert(path).model, arrays), run_keras(model, arrays), _RELATIVE)


def test_unit_norm_of_next_to_nothing(keras: Any) -> None:
    """The two generations guard the division by different numbers."""
    model = layer_rows.COMMON["unit_norm"](keras)
    values = np.zeros((3, 11, 4), np.float32)
    values[1], values[2] = 1e-9, 1e-5
    assert_equal(run_onnx(convert(model).model, [values]), run_keras(model, [values]), 1e-5)


def test_images_of_whole_numbers_are_rounded(keras3: Any) -> None:
    """Means of pixels that lie between two numbers may go either way."""
    model = layer_rows.on((7, 9, 4), lambda L: L.Resizing(5, 12), dtype="uint8")(keras3)
    images = np.random.default_rng(7).integers(0, 256, (3, 7, 9, 4)).astype(np.uint8)
    (want,), (got,) = run_keras(model, [images]), run_onnx(convert(model).model, [images])
    assert got.dtype == want.dtype
    apart = np.abs(got.astype(int) - want)
    assert apart.max() <= 1
    assert apart.mean() < 0.01


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_augmenting_layers_on_whole_numbers(keras: Any, dtype: str) -> None:
    """Some leave whole numbers what they are, some give floating-point numbers."""
    L = keras.layers
    made = {
        "AugMix": (),
        "CutMix": (),
        "MixUp": (),
        "RandAugment": (),
        "RandomBrightness": (0.2,),
        "RandomColorJitter": (),
        "RandomContrast": (0.2,),
        "RandomElasticTransform": (),
        "RandomErasing": (),
        "RandomFlip": (),
        "RandomGaussianBlur": (),
        "RandomGrayscale": (),
        "RandomHeight": (0.2,),
        "RandomHue": (0.2,),
        "RandomInvert": (),
        "RandomPerspective": (),
        "RandomPosterization": (4,),
        "RandomRotation": (0.2,),
        "RandomSaturation": (0.2,),
        "RandomSharpness": (0.2,),
        "RandomShear": (),
        "RandomTranslation": (0.2, 0.2),
        "RandomWidth": (0.2,),
        "RandomZoom": (0.2,),
        "Solarization": (),
    }
    layers = [getattr(L, name)(*given) for name, given in made.items() if hasattr(L, name)]
    start = L.Input((6, 5, 3), dtype=dtype)
    model = keras.Model(start, [layer(start) for layer in layers])
    images = np.random.default_rng(7).integers(0, 256, (2, 6, 5, 3)).astype(dtype)
    assert_equal(run_onnx(convert(model).model, [images]), run_keras(model, [images]))


def test_adaptive_pooling_of_free_sizes(keras3: Any) -> None:
    model = layer_rows.on((None, 8, 4), lambda L: L.MaxPooling2D(2))(keras3)
    serialized = json.loads(model.to_json())
    layer = serialized["config"]["layers"][1]
    layer["class_name"] = "AdaptiveMaxPooling2D"
    layer["config"] |= {"output_size": [2, 2]}
    with pytest.raises(UnsupportedLayerError, match="sizes that are free"):
        convert(parse_model(serialized))


@pytest.mark.parametrize("row", layer_rows.DATA_FORMATS)
def test_channels_first(keras3: Any, row: str) -> None:
    first, last = (
        layer_rows.DATA_FORMATS[row](order)(keras3) for order in ("channels_first", "channels_last")
    )
    randomize(last)
    first.set_weights(last.get_weights())
    (images,) = layer_rows.inputs_for(last, np.random.default_rng(7))
    (want,) = run_keras(last, [images])
    (got,) = run_onnx(convert(first).model, [images.transpose(0, 3, 1, 2)])
    if want.ndim == 4:
        want = want.transpose(0, 3, 1, 2)
    assert_equal([got], [want], _RELATIVE)


@pytest.mark.parametrize("opset", [13, 15, 18, 20, 24])
def test_layer_at_opset(keras3: Any, opset: int) -> None:
    """Ops that changed between operator sets, each at both sides of the change."""
    rows = ("layer_norm", "rescaling", "batch_norm_4", "global_average2d", "unit_norm", "padding2d")
    rows += ("group_norm", "dot", "split", "gelu", "reduce", "lstm_last", "upsampling2d")
    rows += ("resizing_free", "category_one_hot", "integer_lookup", "multi_head_free_causal")
    rows += ("resizing_cropped", "resizing_lanczos3", "adaptive_average_both", "auto_contrast")
    extra = {
        "split": layer_rows.on((4, 6), lambda L: L.Activation("glu")),
        "gelu": layer_rows.on((4, 6), lambda L: L.Activation("gelu")),
        "reduce": layer_rows.on((4, 6), lambda L: lambda x: keras3.ops.sum(x, axis=1)),
    }
    for row in rows:
        _check(({**_COMMON, **_KERAS3_ONLY, **extra})[row](keras3), opset)


@pytest.mark.parametrize("norms", [False, True], ids=["alone", "between norms, folded"])
@pytest.mark.parametrize("row", more_rows.FORMATS)
def test_other_data_formats(keras3: Any, row: str, norms: bool) -> None:
    """Channels first gives what channels last gives of the same weights, transposed."""
    shape, make = more_rows.FORMATS[row]

    def build(order: str) -> Any:
        L, first = keras3.layers, order == "channels_first"
        x = start = L.Input((shape[-1], *shape[:-1]) if first else shape, name="x")
        axis = 1 if first else -1
        for layer in [
            *([L.BatchNormalization(axis=axis)] if norms else []),
            *make(L, order),
            *([L.BatchNormalization(axis=axis)] if norms and "global" not in row else []),
        ]:
            x = layer(x)
        return keras3.Model(start, x)

    first, last = build("channels_first"), build("channels_last")
    randomize(last)
    first.set_weights(last.get_weights())
    (values,) = layer_rows.inputs_for(last, np.random.default_rng(7))
    (want,) = run_keras(last, [values])
    given = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    graph = fold_graph(read(first)).graph if norms else read(first)
    (got,) = run_onnx(convert(graph).model, [given])
    if want.ndim > 2:
        want = np.moveaxis(want, -1, 1)
    assert_equal([got], [want], 2e-5 if norms else _RELATIVE)


@pytest.mark.parametrize("second", ["float32", "int32", "int64", "bool"])
@pytest.mark.parametrize(
    "name", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]
)
def test_merged_values_of_several_types(keras3: Any, name: str, second: str) -> None:
    """Keras 3 brings them to one; averages of whole numbers, float64 there, are refused."""
    L = keras3.layers
    a, b = L.Input((4,), dtype="int64", name="a"), L.Input((4,), dtype=second, name="b")
    model = keras3.Model([a, b], getattr(L, name)()([a, b]))
    if name == "Average" and second != "float32":
        with pytest.raises(UnsupportedLayerError, match="averages whole numbers"):
            convert(model)
        return
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, (3, 4)), rng.normal(0, 3, (3, 4)).astype(second)]
    assert_equal(run_onnx(convert(model).model, arrays), run_keras(model, arrays))


@pytest.mark.parametrize("shape", [(6, 3), (6, 4, 3)])
def test_attention_in_float64(keras: Any, shape: tuple[int, ...]) -> None:
    """The factor in the scores is one of float32 in Keras 3, whatever its policy."""
    L = keras.layers
    x = L.Input(shape, dtype="float64", name="x")
    y = L.MultiHeadAttention(2, 3, dtype="float64")(x, x)
    _check(keras.Model(x, y), relative=1e-13)
