"""What a file is, by its bytes: four kinds are taken, all others get one line of their own."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnx.helper as oh
import pytest

from bnfold.core.errors import InputError
from bnfold.formats.sniff import FileKind, describe, sniff

CONFIG = {
    "class_name": "Sequential",
    "config": {"layers": [{"class_name": "InputLayer", "config": {"batch_shape": [None, 4]}}]},
}


def onnx_bytes() -> bytes:
    graph = oh.make_graph(
        [oh.make_node("Relu", ["x"], ["y"])],
        "g",
        [oh.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
        [oh.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def hdf5_bytes(attributes: dict[str, object], groups: tuple[str, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for group in groups:
            file.create_group(group)
    return buffer.getvalue()


def keras_archive(version: str = "3.15.1", config: dict[str, object] = CONFIG) -> bytes:
    return zip_bytes(
        {
            "config.json": json.dumps(config).encode(),
            "metadata.json": json.dumps({"keras_version": version}).encode(),
            "model.weights.h5": hdf5_bytes({}, ("layers",)),
        }
    )


def keras_hdf5(version: str | None = "2.15.0", config: dict[str, object] = CONFIG) -> bytes:
    attributes: dict[str, object] = {"model_config": json.dumps(config)}
    if version is not None:
        attributes["keras_version"] = version
    return hdf5_bytes(attributes, ("model_weights",))


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("model.onnx")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"1234"))
    return buffer.getvalue()


def npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Encode a protobuf message from small varints and short byte strings."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(bytes([number << 3, value]))
        else:
            key = number << 3 | 2
            coded = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
            parts.append(coded + bytes([len(value)]) + value)
    return b"".join(parts)


SAFETENSORS_HEADER = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'

# Contents, a part of what the message must say, and a part of what to do.
REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "empty", "again"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite", "Keras"),
    "ort": (lambda: b"\x1c\0\0\0ORTM" + bytes(40), ".ort", ".onnx"),
    "lfs": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "Git LFS pointer",
        "git lfs pull",
    ),
    "json": (lambda: json.dumps(CONFIG).encode(), "without its weights", "model.save"),
    "other json": (lambda: b'{"a": 1}', "JSON", ".onnx"),
    "tfjs": (lambda: b'{"format": "layers-model", "modelTopology": {}}', "TensorFlow.js", "Keras"),
    "hdf5 weights": (lambda: hdf5_bytes({}, ("layers", "vars")), "weights only", "model.save"),
    "old weights": (lambda: hdf5_bytes({"layer_names": [b"d"]}), "weights only", "model.save"),
    "config only": (
        lambda: hdf5_bytes({"model_config": json.dumps(CONFIG)}),
        "without its weights",
        "model.save",
    ),
    "other hdf5": (lambda: hdf5_bytes({}, ("images",)), "without a Keras model", ".keras"),
    "cut hdf5": (lambda: keras_hdf5()[:1500], "truncated HDF5", "again"),
    "keras 1": (lambda: keras_hdf5("1.2.2"), "Keras 1.2.2", "Keras 2.2"),
    "unstated keras 1": (
        lambda: keras_hdf5(None, {"class_name": "Sequential", "config": [{"output_dim": 3}]}),
        "Keras 1",
        "Keras 2.2",
    ),
    "matrix config": (
        lambda: hdf5_bytes({"model_config": np.zeros((3, 3))}, ("model_weights",)),
        "damaged model_config",
        "again",
    ),
    "cut keras": (lambda: keras_archive()[:-60], "truncated zip", "again"),
    "keras without weights": (
        lambda: zip_bytes({"config.json": b"{}"}),
        "without its weights",
        "model.save",
    ),
    "keras without config": (
        lambda: zip_bytes({"model.weights.h5": b""}),
        "weights only",
        "model.save",
    ),
    "torch zip": (lambda: zip_bytes({"archive/data.pkl": b"x"}), "PyTorch", "ONNX"),
    "torchscript": (
        lambda: zip_bytes({"m/data.pkl": b"x", "m/constants.pkl": b"x", "m/code/a.py": b""}),
        "TorchScript",
        "ONNX",
    ),
    "torch pickle": (
        lambda: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "PyTorch",
        "ONNX",
    ),
    "pickle": (lambda: b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", "pickle", "ONNX"),
    "npz": (lambda: zip_bytes({"a.npy": npy_bytes()}), "NumPy", ".keras"),
    "npy": (npy_bytes, "NumPy", "Keras"),
    "zipped onnx": (lambda: zip_bytes({"a/model.onnx": b"x"}), "zip archive", "unpack"),
    "other zip": (lambda: zip_bytes({"readme": b"x"}), "without a Keras model", ".onnx"),
    "safetensors": (
        lambda: len(SAFETENSORS_HEADER).to_bytes(8, "little") + SAFETENSORS_HEADER + bytes(4),
        "safetensors",
        "ONNX",
    ),
    "gguf": (lambda: b"GGUF\x03\0\0\0" + bytes(30), "GGUF", "ONNX"),
    "gzip": (lambda: gzip.compress(onnx_bytes()), "gzip", "unpack"),
    "tar": (tar_bytes, "tar", "unpack"),
    "html": (lambda: b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page", "download"),
    "xml": (lambda: b"<?xml version='1.0'?><Error>AccessDenied</Error>", "XML", "again"),
    "openvino": (lambda: b"<?xml version='1.0'?>\n<net name='a'/>", "OpenVINO", "made from"),
    "text": (lambda: "bonjour, ça va\n".encode() * 2000, "text file", ".onnx"),
    "onnx text": (lambda: b"ir_version: 8\ngraph { }\n", "ONNX model as text", "binary"),
    "frozen graph": (
        lambda: message((1, b"\n\x01x\x12\x0bPlaceholder"), (4, message((1, 27)))),
        "frozen TensorFlow graph",
        "ONNX",
    ),
    "saved_model.pb": (lambda: message((1, 1), (2, b"\n\x05\x12\x03abc")), "SavedModel", "folder"),
    "core ml": (lambda: message((1, 4), (2, b"\n\x01x")) + b"\xa2\x1f\x02ab", "Core ML", "Keras"),
    "cut onnx": (lambda: onnx_bytes()[:-20], "truncated ONNX", "again"),
    "zeros": (lambda: bytes(5000), "no model", "check"),
    "noise": (lambda: np.random.default_rng(0).bytes(5000), "no model", "check"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    make, what, hint = REFUSED[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(make())
    with pytest.raises(InputError) as refusal:
        sniff(path)
    text = str(refusal.value)
    assert text.startswith(f"{path} is ")
    assert what in text
    assert hint in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("make", "kind", "version", "major"),
    [
        (onnx_bytes, FileKind.ONNX, "", None),
        (keras_archive, FileKind.KERAS_ZIP, "3.15.1", 3),
        (lambda: keras_archive("2.13.1"), FileKind.KERAS_ZIP, "2.13.1", 2),
        (keras_hdf5, FileKind.KERAS_HDF5, "2.15.0", 2),
        (lambda: keras_hdf5("2.1.6-tf"), FileKind.KERAS_HDF5, "2.1.6-tf", 2),
        (lambda: keras_hdf5(None), FileKind.KERAS_HDF5, "", 3),
        (
            lambda: keras_hdf5(None, {"config": [{"batch_input_shape": [None, 3]}]}),
            FileKind.KERAS_HDF5,
            "",
            2,
        ),
        (lambda: bytes(512) + keras_hdf5(), FileKind.KERAS_HDF5, "2.15.0", 2),
    ],
)
@pytest.mark.parametrize("suffix", [".onnx", ".keras", ".h5", ""])
def test_models_are_told_by_their_bytes(
    tmp_path: Path,
    make: Callable[[], bytes],
    kind: FileKind,
    version: str,
    major: int | None,
    suffix: str,
) -> None:
    path = tmp_path / f"a model{suffix}"
    path.write_bytes(make())
    details = describe(path)
    assert (details.kind, details.keras_version, details.keras_major) == (kind, version, major)
    fits = suffix == "" or suffix in {
        FileKind.ONNX: (".onnx",),
        FileKind.KERAS_ZIP: (".keras",),
        FileKind.KERAS_HDF5: (".h5",),
    }.get(kind, ())
    assert (details.suffix_note == "") == fits


def test_hdf5_user_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", userblock_size=1024) as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.create_group("model_weights")
    assert sniff(path) is FileKind.KERAS_HDF5


def test_sample_models_are_all_recognized(sample_models: Path) -> None:
    expected = {
        ".onnx": FileKind.ONNX,
        ".keras": FileKind.KERAS_ZIP,
        ".h5": FileKind.KERAS_HDF5,
    }
    found = [path for path in sample_models.iterdir() if path.suffix in expected]
    assert found
    for path in found:
        assert sniff(path) is expected[path.suffix]


def test_saved_model_folder(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert describe(tmp_path).kind is FileKind.SAVED_MODEL
    (tmp_path / "keras_metadata.pb").write_bytes(b"")
    assert describe(tmp_path).keras_major == 2


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.onnx", "such as model.onnx"),
        ("checkpoint", "checkpoint"),
        ("model.json", "TensorFlow.js"),
        ("notes.txt", "without a model"),
    ],
)
def test_other_folders(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=what):
        sniff(tmp_path)


def test_missing_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        sniff(tmp_path / "model.onnx")
    with pytest.raises(InputError, match="is not there"):
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        sniff(tmp_path / "link")
    with pytest.raises(InputError, match="cannot be read"):
        sniff("a\0b")
    with pytest.raises(InputError, match="cannot be read"):
        sniff("x" * 5000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="not a regular file"):
            sniff(tmp_path / "pipe")


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    for name in ("a\nb.onnx", "a\x1b[31mb.onnx", "ünïcode 模型.onnx", os.fsdecode(b"\xff.onnx")):
        path = tmp_path / name
        path.write_bytes(b"")
        with pytest.raises(InputError) as refusal:
            sniff(path)
        text = str(refusal.value)
        assert "\n" not in text
        assert "\x1b" not in text
        text.encode()


def test_config_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w") as member:
            for _ in range(80):
                member.write(bytes(2**20))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(InputError, match="unpacks to more than 64 MB"):
        sniff(path)


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    path = tmp_path / "model.onnx"
    path.write_bytes(
        b"\x80\x03cos\nmkdir\nX"
        + len(str(trace)).to_bytes(4, "little")
        + str(trace).encode()
        + b"\x85R."
    )
    with pytest.raises(InputError, match="pickle"):
        sniff(path)
    assert not trace.exists()


def damaged_heap(free_space: int) -> bytes:
    """A model whose heap of strings claims that its free space, or its text, has another size."""
    data = bytearray(keras_hdf5())
    start = data.find(b"GCOL\x01\0\0\0")
    assert start > 0
    position = start + 16
    while int.from_bytes(data[position : position + 2], "little"):
        size = int.from_bytes(data[position + 8 : position + 16], "little")
        position += 16 + (size + 7 & ~7)
    data[position + 8 : position + 16] = free_space.to_bytes(8, "little")
    return bytes(data)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("free_space", [0, 2**62, 2**64 - 1])
def test_strings_that_never_end_are_not_waited_for(tmp_path: Path, free_space: int) -> None:
    """The HDF5 library walks such a heap for ever."""
    path = tmp_path / "m.h5"
    path.write_bytes(damaged_heap(free_space))
    with pytest.raises(InputError, match="damaged HDF5"):
        sniff(path)
    path.write_bytes(
        zip_bytes({"config.json": json.dumps(CONFIG).encode(), "model.weights.h5": b""})
    )
    assert sniff(path) is FileKind.KERAS_ZIP


def test_an_archive_whose_hdf5_file_lies_at_a_power_of_two_is_an_archive(
    tmp_path: Path, sample_models: Path
) -> None:
    """HDF5 allows its signature at 512, 1024, ...: what lies there may be a member of a zip."""
    with zipfile.ZipFile(sample_models / "post_activation.keras") as source:
        members = {name: source.read(name) for name in source.namelist()}
    weights = members.pop("model.weights.h5")
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        start = archive.fp.tell() if archive.fp is not None else 0
        wanted = 512
        while wanted < start + 200:
            wanted *= 2
        # A local header takes 30 bytes and the name.
        filler = wanted - start - (30 + len("filler")) - (30 + len("model.weights.h5"))
        archive.writestr("filler", b"\0" * filler)
        archive.writestr("model.weights.h5", weights)
    assert path.read_bytes()[wanted : wanted + 4] == b"\x89HDF"
    assert sniff(path) is FileKind.KERAS_ZIP
