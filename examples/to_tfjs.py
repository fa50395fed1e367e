"""Fold a Keras 2 model and write it for TensorFlow.js, which loads it by tf.loadLayersModel.

python examples/to_tfjs.py sample_models/post_activation_keras2.h5 web_model

The folder gets model.json and weights.bin. This writes TensorFlow.js's layers format itself, with
h5py and NumPy alone: the package tensorflowjs asks for versions of its dependencies that do not go
together with current ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import bnfold


def weights_of(file: h5py.File) -> dict[str, np.ndarray]:
    """Every array of a Keras 2 file by the name that its layer gave it, without the ":0"."""
    found = {}
    for layer in file["model_weights"].attrs["layer_names"]:
        group = file["model_weights"][layer]
        for name in group.attrs["weight_names"]:
            text = name.decode() if isinstance(name, bytes) else name
            found[text.removesuffix(":0")] = group[name][()]
    return found


def layers_model(file: h5py.File) -> tuple[dict[str, Any], bytes]:
    """The contents of model.json and of weights.bin."""
    arrays = weights_of(file)
    manifest = [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        for name, array in arrays.items()
    ]
    topology = {
        "keras_version": file.attrs["keras_version"],
        "backend": file.attrs["backend"],
        "model_config": json.loads(file.attrs["model_config"]),
    }
    model = {
        "format": "layers-model",
        "generatedBy": f"bnfold {bnfold.__version__}",
        "modelTopology": topology,
        "weightsManifest": [{"paths": ["weights.bin"], "weights": manifest}],
    }
    return model, b"".join(array.tobytes() for array in arrays.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, help=".h5 of Keras 2")
    parser.add_argument("out", type=Path, help="folder to write")
    given = parser.parse_args()

    result = bnfold.fold(given.model, to="keras")
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.h5"
        result.save(folded)
        with h5py.File(folded) as file:
            model, data = layers_model(file)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "model.json").write_text(json.dumps(model), encoding="utf-8")
    (given.out / "weights.bin").write_bytes(data)
    print(f"{len(result.folds)} affines folded, {len(data)} bytes of weights, wrote {given.out}")


if __name__ == "__main__":
    main()
