"""The examples run as they are."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import bnfold
from bnfold.cli.commands import cli

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SERVING = EXAMPLES / "serving"


def loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_shown_in_the_documentation() -> None:
    page = (ROOT / "docs" / "examples.md").read_text("utf-8")
    for path in EXAMPLES.rglob("*"):
        if path.suffix == ".py" or path.name == "Dockerfile":
            assert f"../{path.relative_to(ROOT).as_posix()}" in page, path.name


# ------------------------------------------------------------------------------ training


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("keras")
def test_the_training_script_ends_in_a_folded_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train_and_fold.py"), "--out", "digits.onnx"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    match = re.search(r"2 affines folded, accuracy (0\.\d+)", done.stdout)
    assert match and float(match[1]) > 0.7, done.stdout
    model = onnx.load(tmp_path / "digits.onnx")
    assert {node.op_type for node in model.graph.node} <= {
        "Flatten",
        "Reshape",
        "Gemm",
        "Relu",
        "Softmax",
    }
    assert (tmp_path / "digits.html").read_text("utf-8").startswith("<!")


# ------------------------------------------------------------------------------ other runtimes


def ran(script: str, *arguments: object) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.usefixtures("keras")
def test_a_folded_model_becomes_tflite(tmp_path: Path, sample_models: Path) -> None:
    said = ran("to_tflite.py", sample_models / "conv.keras", tmp_path / "m.tflite")
    match = re.search(r"2 affines folded, largest difference (\S+)", said)
    # Float32 over a dozen layers: some units in the last place of probabilities.
    assert match and float(match[1]) < 1e-5, said
    assert (tmp_path / "m.tflite").read_bytes()[4:8] == b"TFL3"


@pytest.fixture
def web_model(tmp_path: Path, sample_models: Path) -> Path:
    said = ran("to_tfjs.py", sample_models / "post_activation_keras2.h5", tmp_path / "web")
    assert "3 affines folded" in said
    return tmp_path / "web"


def test_a_folded_model_is_written_for_tensorflow_js(web_model: Path) -> None:
    model = json.loads((web_model / "model.json").read_text("utf-8"))
    layers = model["modelTopology"]["model_config"]["config"]["layers"]
    assert "BatchNormalization" not in [layer["class_name"] for layer in layers]
    (group,) = model["weightsManifest"]
    count = sum(int(np.prod(weight["shape"])) for weight in group["weights"])
    assert (web_model / "weights.bin").stat().st_size == 4 * count


PREDICT = """
const tf = require('@tensorflow/tfjs'), fs = require('fs');
const json = JSON.parse(fs.readFileSync('web/model.json'));
const bytes = new Uint8Array(fs.readFileSync('web/weights.bin'));
(async () => {
    const model = await tf.loadLayersModel(tf.io.fromMemory({
        modelTopology: json.modelTopology,
        weightSpecs: json.weightsManifest[0].weights,
        weightData: bytes.buffer,
    }));
    const result = model.predict(tf.tensor(JSON.parse(fs.readFileSync('x.json'))));
    fs.writeFileSync('y.json', JSON.stringify(await result.array()));
})();
"""


@pytest.mark.slow
def test_tensorflow_js_computes_what_the_model_did(
    web_model: Path, sample_models: Path, rng: np.random.Generator
) -> None:
    home = web_model.parent
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node.js on this machine")
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "@tensorflow/tfjs@4.22.0"]
    if subprocess.run(install, cwd=home, check=False, capture_output=True).returncode:
        pytest.skip("TensorFlow.js cannot be installed here")
    images = rng.random((4, 28, 28), dtype=np.float32)
    (home / "x.json").write_text(json.dumps(images.tolist()))
    (home / "predict.js").write_text(PREDICT)
    subprocess.run(["node", "predict.js"], cwd=home, check=True, capture_output=True)
    given = np.array(json.loads((home / "y.json").read_text()))
    original = bnfold.convert(sample_models / "post_activation_keras2.h5")
    session = ort.InferenceSession(ir.to_proto(original).SerializeToString())
    (expected,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------------------------ serving


@pytest.fixture
def served(tmp_path: Path, sample_models: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server with a folded model, and the model."""
    path = tmp_path / "model.onnx"
    bnfold.fold(sample_models / "autoencoder.onnx", verify=False).save(path)
    module = loaded(SERVING / "server.py")
    server = ThreadingHTTPServer(("127.0.0.1", 0), module.handler(module.Model(path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", path
    server.shutdown()
    server.server_close()


def post(address: str, body: bytes) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(address, data=body, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_server_answers_what_the_model_computes(
    served: tuple[str, Path], rng: np.random.Generator
) -> None:
    address, path = served
    session = ort.InferenceSession(path)
    (name,) = (item.name for item in session.get_inputs())
    (output,) = (item.name for item in session.get_outputs())
    data = rng.random((3, 196), dtype=np.float32)
    code, answer = post(address, json.dumps({"inputs": {name: data.tolist()}}).encode())
    assert code == 200
    given = np.array(answer["outputs"][output], np.float32)
    np.testing.assert_array_equal(given, session.run(None, {name: data})[0])
    with urllib.request.urlopen(f"{address}/healthz", timeout=10) as health:
        assert health.status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{}", "by name"),
        (b'{"inputs": {"wrong": [[1]]}}', "by name"),
        (b'{"inputs": {"NAME": [[1, 2]]}}', ""),
        (b'{"inputs": {"NAME": [["a"]]}}', "could not convert"),
        (b'{"inputs": {"NAME": [[1], [2, 3]]}}', ""),
    ],
)
def test_the_server_refuses_in_one_line(served: tuple[str, Path], body: bytes, said: str) -> None:
    address, path = served
    name = onnx.load(path).graph.input[0].name
    code, answer = post(address, body.replace(b"NAME", name.encode()))
    assert code == 400
    assert said in answer["error"] and "\n" not in answer["error"]
    assert post(address, b"")[0] == 400


def test_the_server_needs_only_what_its_requirements_name() -> None:
    tree = ast.parse((SERVING / "server.py").read_text("utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    required = re.findall(r"^[\w-]+", (SERVING / "requirements.txt").read_text(), re.M)
    assert imported - set(sys.stdlib_module_names) == set(required)


def instructions() -> list[tuple[str, str]]:
    text = (SERVING / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_dockerfile_copies_what_is_there() -> None:
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    # Nothing of what folds is in the image that serves.
    last = [word for word, _ in instructions()][::-1].index("FROM")
    serving = instructions()[len(instructions()) - last - 1 :]
    assert not any("bnfold" in rest for word, rest in serving if word == "RUN")


def test_the_dockerfile_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnfold.cli.main import run

    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")
    (line,) = (rest for word, rest in instructions() if word == "RUN" and "-o" in rest)
    for name, value in arguments.items():
        line = line.replace(f"${name}", value)
    program, *words = shlex.split(line)
    assert program == "bnfold" and cli.commands
    (tmp_path / "bnfold").symlink_to(ROOT)
    monkeypatch.chdir(tmp_path)
    assert run(words) == 0
    (copied,) = (rest for word, rest in instructions() if rest.startswith("--from=fold"))
    assert Path(copied.split()[1]).name == "model.onnx" and (tmp_path / "model.onnx").exists()
