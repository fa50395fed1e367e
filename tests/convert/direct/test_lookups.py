"""Layers that learn from data: vocabularies and boundaries, from live models and files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold
from bnfold.convert.direct import convert
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError
from tests.convert.direct.side_by_side import assert_equal, run_onnx

WORDS = np.array([["rome"], ["oslo"], ["oslo"], ["lima"]])
NUMBERS = np.array([[3], [5], [5], [9]])
ASKED_WORDS = np.array([["lima"], ["rome"], ["nowhere"], [""]], dtype=object)
ASKED_NUMBERS = np.array([[9], [3], [4], [0]], dtype=np.int64)

Make = Callable[[Any], Any]
LOOKUPS: dict[str, Make] = {
    "words": lambda L: L.StringLookup(),
    "words_hot": lambda L: L.StringLookup(output_mode="one_hot"),
    "words_padded": lambda L: L.StringLookup(
        output_mode="multi_hot", max_tokens=7, pad_to_max_tokens=True
    ),
    "words_masked": lambda L: L.StringLookup(mask_token=""),
    "words_masked_hot": lambda L: L.StringLookup(mask_token="", output_mode="one_hot"),
    "words_masked_multi": lambda L: L.StringLookup(mask_token="", output_mode="multi_hot"),
    "words_masked_padded": lambda L: L.StringLookup(
        mask_token="", output_mode="count", max_tokens=6, pad_to_max_tokens=True
    ),
    "words_sure": lambda L: L.StringLookup(
        vocabulary=["oslo", "lima", "rome", "nowhere", ""], num_oov_indices=0, output_mode="one_hot"
    ),
    "words_stated": lambda L: L.StringLookup(vocabulary=["oslo", "lima"]),
    "numbers": lambda L: L.IntegerLookup(),
    "numbers_count": lambda L: L.IntegerLookup(output_mode="count"),
    "numbers_masked": lambda L: L.IntegerLookup(mask_token=0),
}


def _learned(K: Any, make: Make) -> tuple[Any, np.ndarray]:
    """A model of one adapted lookup, and what to ask it."""
    layer = make(K.layers)
    text = type(layer).__name__ == "StringLookup"
    if layer.input_vocabulary is None:
        layer.adapt(WORDS if text else NUMBERS)
    x = K.layers.Input((1,), dtype="string" if text else "int64", name="x")
    return K.Model(x, layer(x)), ASKED_WORDS if text else ASKED_NUMBERS


def _predict(model: Any, *arrays: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    given = [tf.constant(array.tolist() if array.dtype == object else array) for array in arrays]
    return np.asarray(model(given[0] if len(given) == 1 else given))


@pytest.mark.parametrize("name", LOOKUPS)
def test_learned_vocabulary(keras: Any, name: str, tmp_path: Path) -> None:
    model, asked = _learned(keras, LOOKUPS[name])
    model.save(tmp_path / "model.keras")
    want = _predict(model, asked)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_equal([_predict(loaded, asked)], [want])
    for source in (model, tmp_path / "model.keras"):
        assert_equal(run_onnx(convert(source).model, [asked]), [want])


@pytest.mark.parametrize("text", [True, False], ids=["words", "numbers"])
def test_the_way_back(keras: Any, text: bool) -> None:
    """Places to tokens, with one that is none."""
    kind = keras.layers.StringLookup if text else keras.layers.IntegerLookup
    layer = kind(vocabulary=["b", "a"] if text else [7, 5], invert=True)
    x = keras.layers.Input((3,), dtype="int64", name="x")
    model = keras.Model(x, layer(x))
    asked = np.array([[0, 1, 2], [2, 2, 1]], dtype=np.int64)
    (got,) = run_onnx(convert(model).model, [asked])
    want = np.asarray(model(asked))
    if text:
        want = np.vectorize(lambda one: one.decode() if isinstance(one, bytes) else one)(want)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count", [1, 3, 4, 100])
def test_learned_boundaries(keras: Any, count: int, tmp_path: Path) -> None:
    """Of fewer values than bins, as many and many more; Keras 2 loses them with the file."""
    rng = np.random.default_rng(count)
    layer = keras.layers.Discretization(num_bins=4, name="bins")
    layer.adapt(rng.normal(size=(count, 1)).astype(np.float32))
    x = keras.layers.Input((1,), name="x")
    model = keras.Model(x, layer(x))
    asked = np.concatenate([rng.normal(size=(20, 1)), np.reshape(layer.bin_boundaries, (-1, 1))])
    asked = asked.astype(np.float32)
    want = _predict(model, asked)
    assert_equal(run_onnx(convert(model).model, [asked]), [want])
    assert_equal([_predict(bnfold.fold(model, verify=False).model, asked)], [want])
    model.save(tmp_path / "model.keras")
    if keras.__name__ == "keras":
        assert_equal(run_onnx(convert(tmp_path / "model.keras").model, [asked]), [want])
        return
    lost = keras.models.load_model(tmp_path / "model.keras")
    assert list(lost.get_layer("bins").bin_boundaries) == []
    with pytest.raises(UnsupportedLayerError, match=r"'bins'.*loses them with the file"):
        convert(tmp_path / "model.keras")


def _tabular(K: Any) -> tuple[Any, list[np.ndarray]]:
    """Words and numbers, both learned, into a net with a normalization."""
    L = K.layers
    words, numbers = L.StringLookup(output_mode="multi_hot"), L.IntegerLookup()
    words.adapt(WORDS)
    numbers.adapt(NUMBERS)
    a = L.Input((1,), dtype="string", name="a")
    b = L.Input((1,), dtype="int64", name="b")
    x = L.Flatten()(L.Embedding(4, 3)(numbers(b)))
    x = L.Concatenate()([L.Rescaling(1.0)(words(a)), x])
    x = L.BatchNormalization(name="bn")(L.Dense(5)(x))
    model = K.Model([a, b], L.Dense(2, name="y")(L.ReLU()(x)))
    rng = np.random.default_rng(0)
    gamma = np.array([1.5, -0.5, 0.0, 2.0, -1.0])
    statistics = [rng.normal(size=5), rng.normal(size=5), rng.uniform(0.5, 2, 5)]
    model.get_layer("bn").set_weights([gamma, *statistics])
    return model, [ASKED_WORDS, ASKED_NUMBERS]


def test_a_folded_model_keeps_what_was_learned(keras: Any, tmp_path: Path) -> None:
    """As a live model, as a file that Keras loads, and as ONNX."""
    model, asked = _tabular(keras)
    want = _predict(model, *asked)
    result = bnfold.fold(model, verify=False)
    assert [one.source for one in result.folds] == ["bn"]
    assert_equal([_predict(result.model, *asked)], [want])
    assert_equal(run_onnx(result.onnx, asked), [want])
    model.save(tmp_path / "model.keras")
    written = tmp_path / "folded.keras"
    bnfold.fold(tmp_path / "model.keras", to="keras", verify=False).save(written)
    loaded = keras.models.load_model(written)
    assert "bn" not in [layer.name for layer in loaded.layers]
    assert_equal([_predict(loaded, *asked)], [want])
    assert_equal(run_onnx(convert(written).model, asked), [want])


def _saved(model: Any, folder: Path, vocabulary: bytes | None) -> Path:
    """The model as a file with this in place of its vocabulary, or without one."""
    model.save(folder / "model.keras")
    target = folder / "changed.keras"
    with zipfile.ZipFile(folder / "model.keras") as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = vocabulary if name.endswith("vocabulary.txt") else old.read(name)
            if content is not None:
                new.writestr(name, content)
    return target


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"three\nfive\n"], ids=["no text", "no number"])
def test_a_damaged_vocabulary_is_one_line(keras: Any, damage: bytes, tmp_path: Path) -> None:
    model, _ = _learned(keras, LOOKUPS["numbers"])
    with pytest.raises(InputError) as caught:
        convert(_saved(model, tmp_path, damage))
    assert "\n" not in str(caught.value) and "lookup" in str(caught.value)


def test_a_missing_vocabulary_says_what_to_do(keras: Any, tmp_path: Path) -> None:
    model, _ = _learned(keras, LOOKUPS["words"])
    with pytest.raises(UnsupportedLayerError, match=r"no vocabulary.*save it again"):
        convert(_saved(model, tmp_path, None))


def test_feature_space(keras3: Any, tmp_path: Path) -> None:
    """What Keras makes of a description of features: learned layers, joined."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    columns = {
        "city": rng.choice(["rome", "oslo", "lima"], 32),
        "size": rng.normal(4, 2, 32).astype(np.float32),
        "value": rng.normal(size=32).astype(np.float32),
        "zone": rng.integers(1, 5, 32),
    }
    space = keras3.utils.FeatureSpace(
        {
            "city": "string_categorical",
            "size": "float_discretized",
            "value": "float_normalized",
            "zone": "integer_categorical",
        }
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(columns).batch(8))
    y = keras3.layers.Dense(2, name="y")(space.get_encoded_features())
    model = keras3.Model(space.get_inputs(), y)
    model.save(tmp_path / "model.keras")
    asked = {name: column[:5, None] for name, column in columns.items()}
    want = np.asarray(model({name: tf.constant(one) for name, one in asked.items()}))
    result = bnfold.fold(tmp_path / "model.keras", verify=False)
    assert [one.source for one in result.folds] == ["value_preprocessor"]
    kinds = {"city": object, "size": np.float32, "value": np.float32, "zone": np.int32}
    feeds = [asked[port.name].astype(kinds[port.name]) for port in result.onnx.graph.inputs]
    assert_equal(run_onnx(result.onnx, feeds), [want])
