"""SavedModel folders of every age, and what is refused before TensorFlow loads one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from bnfold.convert.tf2onnx_road import convert_keras
from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError
from tests.convert import zoo

pytestmark = pytest.mark.keras


def check(converted: ConvertedModel) -> None:
    arrays = zoo.random_inputs(converted.model)
    session = ort.InferenceSession(ir.to_proto(converted.model).SerializeToString())
    names = [value.name for value in session.get_inputs()]
    results = session.run(None, dict(zip(names, arrays, strict=True)))
    assert converted.reference is not None
    for result, wanted in zip(results, converted.reference(arrays), strict=True):
        assert np.ptp(wanted) > 0
        assert np.abs(result - wanted).max() < 2e-6 * max(1, np.abs(wanted).max())


def test_keras3_export(keras3: Any, tmp_path: Path) -> None:
    zoo.randomize(zoo.conv_mixed(keras3)).export(tmp_path / "m", verbose=False)
    converted = convert_keras(tmp_path / "m")
    check(converted)
    assert {"bn_1", "bn_2", "bn_3", "conv_1"} <= set(converted.labels.values())
    assert "scopes" in converted.notes[0]


def test_keras2_saved_model(keras2: Any, tmp_path: Path) -> None:
    zoo.randomize(zoo.two_in_three_out(keras2)).save(tmp_path / "m", save_format="tf")
    converted = convert_keras(tmp_path / "m")
    check(converted)
    assert [v.name for v in converted.model.graph.inputs] == ["first", "second"]
    assert {"bn_a", "bn_both"} <= set(converted.labels.values())


def test_tensorflow1_saved_model(keras3: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        kernel = v1.get_variable("layer/kernel", [4, 3])
        scaled = tf.matmul(x, kernel) * tf.constant([1.0, 2.0, -1.0]) + 0.5
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": scaled})
    converted = convert_keras(tmp_path / "m")
    check(converted)
    assert [v.name for v in converted.model.graph.outputs] == ["y"]


def save(tmp_path: Path, function: Any) -> Path:
    import tensorflow as tf

    class Program(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def run(self, x: Any) -> Any:
            return {"y": function(x)}

    program = Program()
    tf.saved_model.save(program, str(tmp_path / "m"), signatures={"serving_default": program.run})
    return tmp_path / "m"


def test_a_program_that_writes_files_is_refused(keras3: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "x")]):
            return x * 2

    path = save(tmp_path, call)
    with pytest.raises(InputError, match="is a WriteFile, which reaches outside"):
        convert_keras(path)
    assert not (tmp_path / "written").exists()


def test_a_damaged_folder_is_one_line(keras3: Any, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x0a\xff no protobuf")
    with pytest.raises(InputError, match="damaged saved_model"):
        convert_keras(tmp_path)


def test_missing_variables_are_one_line(keras3: Any, tmp_path: Path) -> None:
    import shutil

    zoo.randomize(zoo.dense_post(keras3)).export(tmp_path / "m", verbose=False)
    shutil.rmtree(tmp_path / "m" / "variables")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        convert_keras(tmp_path / "m")
    assert "\n" not in str(caught.value)
