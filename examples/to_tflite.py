"""Fold a Keras model and convert it to TFLite: the converter finds no normalization any more.

python examples/to_tflite.py sample_models/conv.keras model.tflite

Needs the extra "keras".
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import bnfold


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, help=".keras or .h5")
    parser.add_argument("out", type=Path, help=".tflite to write")
    given = parser.parse_args()

    # Verified before it is handed over; a wrong model would raise here.
    result = bnfold.fold(keras.saving.load_model(given.model))
    converter = tf.lite.TFLiteConverter.from_keras_model(result.model)
    given.out.write_bytes(converter.convert())

    # What TFLite computes beside what Keras computes of the same input.
    interpreter = tf.lite.Interpreter(str(given.out))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(0).random(source["shape"], dtype=np.float32)
    interpreter.set_tensor(source["index"], image)
    interpreter.invoke()
    expected = result.model.predict(image, verbose=0)
    difference = float(np.abs(interpreter.get_tensor(target["index"]) - expected).max())
    print(f"{len(result.folds)} affines folded, largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
