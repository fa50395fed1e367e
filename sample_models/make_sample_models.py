"""Make the sample models and the test set beside this file.

    python sample_models/make_sample_models.py [FOLDER]

Everything is trained for real on scikit-learn's handwritten digits, scaled up to 28x28, so that
the statistics inside every BatchNormalization are those of data. Needs tensorflow, keras,
tf_keras, scikit-learn (with scipy) and onnx. Seeds are fixed: a second run on the same machine
writes the same bytes.

Trained kernels are rounded to 11 significant bits before the files are written, so that
compression brings five copies of 270 000 weights down to what a repository can carry.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import h5py
import numpy as np
import numpy.typing as npt
import onnx

SEED = 7
SIGNIFICANT_BITS = 11
EPOCHS = 20
FIXED_DATE = (2020, 1, 1, 0, 0, 0)

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def digits() -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    """Training images (n, 28, 28) in [0, 1] with labels, then the same for testing."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = zoom(images.reshape(-1, 8, 8) / 16.0, (1, 3.5, 3.5), order=1)
    quantised = np.round(scaled * 255).astype(np.uint8)  # so the test set is small and exact
    order = np.random.default_rng(SEED).permutation(len(labels))
    x, y = (quantised[order] / np.float32(255)).astype(np.float32), labels[order].astype(np.int64)
    return x[:1437], y[:1437], x[1437:], y[1437:]


def post_activation(keras: Any) -> Any:
    """Every BatchNormalization stands behind an activation."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Flatten(name="flatten"),
            layers.BatchNormalization(name="bn_input"),
            layers.Dense(300, activation="elu", name="dense_1"),
            layers.BatchNormalization(name="bn_1"),
            layers.Dense(100, activation="elu", name="dense_2"),
            layers.BatchNormalization(name="bn_2"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits_post_activation",
    )


def pre_activation(keras: Any) -> Any:
    """Every BatchNormalization but the first stands between a Dense and its activation."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Flatten(name="flatten"),
            layers.BatchNormalization(name="bn_input"),
            layers.Dense(300, use_bias=False, name="dense_1"),
            layers.BatchNormalization(name="bn_1"),
            layers.Activation("elu", name="elu_1"),
            layers.Dense(100, use_bias=False, name="dense_2"),
            layers.BatchNormalization(name="bn_2"),
            layers.Activation("elu", name="elu_2"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits_pre_activation",
    )


def convolutional(keras: Any) -> Any:
    """Three convolutions; `bn_2` stands between a ReLU and zero padding, so it cannot all go."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv_1"),
            layers.BatchNormalization(name="bn_1"),
            layers.ReLU(name="relu_1"),
            layers.MaxPooling2D(name="pool_1"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv_2"),
            layers.BatchNormalization(name="bn_2"),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="conv_3"),
            layers.BatchNormalization(name="bn_3"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits_conv",
    )


def train(keras: Any, build: Callable[[Any], Any], x: FloatArray, y: IntArray) -> Any:
    """A trained model with rounded kernels, without a compile configuration."""
    keras.utils.set_random_seed(SEED)
    model = build(keras)
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=EPOCHS, batch_size=32, verbose=0)
    fresh = build(keras)
    fresh.set_weights([_rounded(w) if w.ndim > 1 else w for w in model.get_weights()])
    return fresh


def _rounded(array: npt.NDArray[Any]) -> FloatArray:
    """The array with `SIGNIFICANT_BITS` bits in each mantissa."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    step = 2.0**SIGNIFICANT_BITS
    return np.ldexp(np.round(mantissa * step) / step, exponent).astype(np.float32)


def accuracy(model: Any, x: FloatArray, y: IntArray) -> float:
    """Share of images whose most probable digit is the right one."""
    return float(np.mean(np.argmax(model.predict(x, verbose=0), axis=1) == y))


def compress_h5(path: Path) -> None:
    """Rewrite an HDF5 file with shuffled, deflated datasets; names and attributes stay."""
    packed = path.with_suffix(".packed")
    with h5py.File(path, "r") as source, h5py.File(packed, "w") as target:
        _copy_group(source, target)
    packed.replace(path)


def _copy_group(source: h5py.Group, target: h5py.Group) -> None:
    for key, value in source.attrs.items():
        target.attrs[key] = value
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy_group(item, target.create_group(name))
        else:
            packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
            data = item[()]
            made = target.create_dataset(name, data=data, **(packing if data.ndim else {}))
            for key, value in item.attrs.items():
                made.attrs[key] = value


def compress_keras(path: Path) -> None:
    """Rewrite a .keras archive: packed weights, deflated, with fixed dates."""
    packed = path.with_suffix(".packed")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in sorted(source.namelist()):
            content = source.read(entry)
            if entry.endswith(".h5"):
                loose = path.with_suffix(".weights.h5")
                loose.write_bytes(content)
                compress_h5(loose)
                content = loose.read_bytes()
                loose.unlink()
            elif entry == "metadata.json":
                content = json.dumps(
                    {**json.loads(content), "date_saved": "2020-01-01@00:00:00"}
                ).encode()
            elif entry == "config.json":
                content = _stable_ids(content.decode()).encode()
            info = zipfile.ZipInfo(entry, FIXED_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            target.writestr(info, content)
    packed.replace(path)


def _stable_ids(config: str) -> str:
    """Number the shared objects by appearance: Keras writes their memory addresses."""
    seen: dict[str, int] = {}
    return re.sub(
        r'("shared_object_id": )(\d+)',
        lambda match: match[1] + str(seen.setdefault(match[2], len(seen) + 1)),
        config,
    )


def save(model: Any, paths: Sequence[Path]) -> None:
    """Write the model in the format that each suffix names, compressed."""
    for path in paths:
        model.save(path)
        (compress_h5 if path.suffix == ".h5" else compress_keras)(path)


def make_all(folder: Path) -> None:
    """Write every sample model and the test set into `folder`."""
    import keras
    import tensorflow as tf
    import tf_keras
    from onnx_autoencoder import make_autoencoder

    tf.config.experimental.enable_op_determinism()
    x, y, x_test, y_test = digits()
    np.savez_compressed(
        folder / "digits_test.npz",
        images=np.round(x_test * 255).astype(np.uint8),
        labels=y_test.astype(np.uint8),
    )
    post = train(keras, post_activation, x, y)
    save(post, [folder / "post_activation.h5", folder / "post_activation.keras"])
    old = post_activation(tf_keras)
    old.set_weights(post.get_weights())
    save(old, [folder / "post_activation_keras2.h5"])
    pre = train(keras, pre_activation, x, y)
    save(pre, [folder / "pre_activation.h5", folder / "pre_activation.keras"])
    conv = train(keras, convolutional, x[..., None], y)
    save(conv, [folder / "conv.keras"])
    for name, model, images in (
        ("post_activation", post, x_test),
        ("pre_activation", pre, x_test),
        ("conv", conv, x_test[..., None]),
    ):
        print(f"{name}: accuracy {accuracy(model, images, y_test):.4f}")
    autoencoder, error = make_autoencoder(_pooled(x), _pooled(x_test), SEED)
    onnx.save(autoencoder, folder / "autoencoder.onnx")
    print(f"autoencoder: mean squared error {error:.4f}")


def _pooled(images: FloatArray) -> FloatArray:
    """28x28 images averaged to 14x14 and flattened, (n, 196)."""
    blocks = images.reshape(len(images), 14, 2, 14, 2)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(len(images), 196), dtype=np.float32)


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
