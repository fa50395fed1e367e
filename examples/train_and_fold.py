"""Train a Keras model and ship a folded ONNX of it: the last lines of any training script.

python examples/train_and_fold.py --out digits.onnx

Needs the extra "keras". The data is the handwritten digits of sample_models/digits_test.npz.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime as ort

import bnfold
from bnfold.report.render import render

DIGITS = Path(__file__).parent.parent / "sample_models" / "digits_test.npz"
TRAINED_ON = 300  # of 360


def build() -> keras.Model:
    """A small MLP; every normalization stands where training wants it."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28), name="image"),
            layers.Flatten(),
            layers.BatchNormalization(name="bn_input"),
            layers.Dense(64, name="dense_1"),
            layers.BatchNormalization(name="bn_1"),
            layers.Activation("relu"),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("digits.onnx"))
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()

    keras.utils.set_random_seed(0)
    with np.load(DIGITS) as digits:
        images = digits["images"].astype(np.float32) / 255
        labels = digits["labels"].astype(np.int64)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images[:TRAINED_ON], labels[:TRAINED_ON], epochs=given.epochs, verbose=0)

    # Fold, verified on the very images that were held out. A wrong model would raise here.
    held_out = images[TRAINED_ON:]
    result = bnfold.fold(model, inputs=held_out)
    for kept in result.kept:
        print(f"{kept.source} stays: {', '.join(r.reason.code for r in kept.refusals)}")
    result.save(given.out, force=True)
    given.out.with_suffix(".html").write_text(render(result.report, "html"), encoding="utf-8")

    session = ort.InferenceSession(given.out)
    (scores,) = session.run(None, {session.get_inputs()[0].name: held_out})
    accuracy = float(np.mean(scores.argmax(axis=1) == labels[TRAINED_ON:]))
    print(f"{len(result.folds)} affines folded, accuracy {accuracy:.3f}, wrote {given.out}")


if __name__ == "__main__":
    main()
