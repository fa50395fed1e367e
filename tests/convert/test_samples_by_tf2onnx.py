"""The sample models, converted in this process and in fresh ones."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bnfold.convert.tf2onnx_road import convert_keras

pytestmark = pytest.mark.keras

SAMPLES = Path(__file__).parents[2] / "sample_models"
DENSE = ["post_activation.h5", "post_activation.keras", "pre_activation.h5", "pre_activation.keras"]
BNS = {
    "post_activation": {"bn_input", "bn_1", "bn_2"},
    "pre_activation": {"bn_input", "bn_1", "bn_2"},
    "conv": {"bn_1", "bn_2", "bn_3"},
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    with np.load(SAMPLES / "digits_test.npz") as data:
        return data["images"] / np.float32(255), data["labels"]


@pytest.mark.parametrize("name", [*DENSE, "conv.keras", "post_activation_keras2.h5"])
def test_sample(keras3: Any, keras2: Any, name: str) -> None:
    images, labels = digits()
    images = images[..., None] if name == "conv.keras" else images
    converted = convert_keras(SAMPLES / name)
    session = ort.InferenceSession(ir.to_proto(converted.model).SerializeToString())
    (result,) = session.run(["digit"], {"image": images})
    assert converted.reference is not None
    (expected,) = converted.reference([images])

    assert np.abs(result - expected).max() < 1e-5
    assert np.mean(result.argmax(axis=1) == labels) > 0.95
    stem = name.partition(".")[0].removesuffix("_keras2")
    for bn in BNS[stem]:
        ops = [n.op_type for n in converted.model.graph if converted.labels.get(n.name or "") == bn]
        assert ops == ["Mul", "Add"]


def test_one_network_from_three_files_is_one_model(keras3: Any, keras2: Any) -> None:
    files = ["post_activation.h5", "post_activation.keras", "post_activation_keras2.h5"]
    made = {ir.to_proto(convert_keras(SAMPLES / f).model).SerializeToString() for f in files}
    assert len(made) == 1


def test_a_fresh_process_says_nothing_and_writes_the_same_bytes(keras3: Any) -> None:
    program = (
        "import hashlib, sys, onnx_ir as ir\n"
        "from bnfold.convert.tf2onnx_road import convert_keras\n"
        "model = convert_keras(sys.argv[1]).model\n"
        "data = ir.to_proto(model).SerializeToString()\n"
        "sys.exit(hashlib.sha256(data).hexdigest() != sys.argv[2])\n"
    )
    path = SAMPLES / "conv.keras"
    data = ir.to_proto(convert_keras(path).model).SerializeToString()
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("TF_") and key != "CUDA_VISIBLE_DEVICES"
    } | {"PYTHONHASHSEED": "77", "PYTHONPATH": str(SAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), hashlib.sha256(data).hexdigest()],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=240,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 0, "other bytes than in this process"
