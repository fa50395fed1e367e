"""What is read and written, and what is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnfold import api, folding
from bnfold.cli.target import default_output
from tests.cli.conftest import Bnfold
from tests.cli.test_usage import one_line


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when a model is opened at all."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(folding, "open_source", opened)
    monkeypatch.setattr(api, "open_source", opened)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["-o", "{}/taken.onnx"], "exists"),
        (["-o", "{}/missing/out.onnx"], "no folder"),
        (["-o", "{}/out.h5"], "no Keras file"),
        (["-o", "{}/out.tflite"], "ends in .onnx"),
        (["-o", "{}/out.onnx", "--to", "keras"], "--to keras"),
        (["-o", "{}"], "replaced by its result"),
        (["-o", "{}/foldable.onnx"], "exists"),
        (["-o", "{}/out.onnx", "--report", "{}/report.pdf"], "unknown kind of report"),
        (["-o", "{}/out.onnx", "--report", "{}/taken.json"], "exists"),
        (["-o", "{}/out.onnx", "--report", "{}/missing/report.md"], "no folder"),
        (["-o", "{}/out.onnx", "--report", "{}/r.md", "--report", "{}/r.md"], "given twice"),
    ],
)
def test_outputs_are_refused_before_work_begins(
    bnfold: Bnfold, foldable: Path, extra: list[str], words: str
) -> None:
    folder = foldable.parent
    for name in ("taken.onnx", "taken.json"):
        (folder / name).write_bytes(b"precious")
    before = snapshot(folder)
    done = bnfold(foldable, *[item.format(folder) for item in extra])
    assert done.code == 2
    assert one_line(done)
    assert words in done.err
    assert snapshot(folder) == before


@pytest.mark.usefixtures("no_work")
def test_the_default_output_is_refused_when_it_exists(bnfold: Bnfold, foldable: Path) -> None:
    (foldable.parent / "foldable.folded.onnx").write_bytes(b"precious")
    done = bnfold(foldable)
    assert (done.code, one_line(done)) == (2, True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.h5", "model.folded.onnx"),
        ("a.b.keras", "a.b.folded.onnx"),
        ("model", "model.folded.onnx"),
    ],
)
def test_the_default_output_stands_beside_the_input(name: str, expected: str) -> None:
    assert default_output(Path("some") / name) == Path("some") / expected


def test_a_folder_keeps_its_whole_name(tmp_path: Path) -> None:
    folder = tmp_path / "saved.v1"
    folder.mkdir()
    assert default_output(folder) == tmp_path / "saved.v1.folded.onnx"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.h5", None, "not there"),
        ("empty.onnx", b"", "empty"),
        ("lfs.keras", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        ("lite.tflite", b"\x1c\0\0\0TFL3" + bytes(64), "TensorFlow Lite"),
        ("noise.h5", b"\x89HDF\r\n\x1a\n" + bytes(range(200)), "noise.h5"),
        ("zip.keras", b"PK\x03\x04" + bytes(40), "zip.keras"),
        ("text.onnx", b"hello world\n", "text"),
    ],
)
@pytest.mark.parametrize("command", ["fold", "inspect", "verify", "bench"])
def test_an_unusable_model_is_one_line_and_exit_2(
    bnfold: Bnfold, tmp_path: Path, command: str, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    before = snapshot(tmp_path)
    models = [path, path] if command in ("verify", "bench") else [path]
    done = bnfold(command, *models)
    assert done.code == 2, done.err
    assert one_line(done)
    assert words in done.err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content"), [("x.npz", None), ("x.npy", b"no array"), ("x.npz", b"PK\x03\x04")]
)
def test_unusable_inputs_are_one_line(
    bnfold: Bnfold, foldable: Path, name: str, content: bytes | None
) -> None:
    path = foldable.parent / name
    if content is not None:
        path.write_bytes(content)
    done = bnfold(foldable, "--inputs", path)
    assert (done.code, one_line(done)) == (2, True), done.err
    assert name in done.err


def test_pickled_inputs_are_never_loaded(bnfold: Bnfold, foldable: Path) -> None:
    path, trace = foldable.parent / "evil.npy", foldable.parent / "executed"
    np.save(path, np.array([_Evil(str(trace))], dtype=object), allow_pickle=True)
    done = bnfold("verify", foldable, foldable, "--inputs", path)
    assert (done.code, one_line(done)) == (2, True)
    assert not trace.exists()


class _Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("content", "words"), [(None, "not there"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_custom_objects_file_that_fails_is_one_line(
    bnfold: Bnfold, foldable: Path, content: str | None, words: str
) -> None:
    path = foldable.parent / "custom.py"
    if content is not None:
        path.write_text(content)
    done = bnfold(foldable, "--custom-objects", path)
    assert (done.code, one_line(done)) == (2, True)
    assert words in done.err
