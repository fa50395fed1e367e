"""Keras in a process of its own: the same figures, one line when it fails, nothing left behind."""

from __future__ import annotations

import gc
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.convert import reference_process
from bnfold.convert.reference_process import ReferenceProcess

SAMPLES = Path(__file__).parents[2] / "sample_models"
ROWS = np.random.default_rng(3).random((5, 28, 28)).astype(np.float32)


def never(arrays: Any) -> Any:
    raise AssertionError("this is not to be run here")


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had imported TensorFlow in this process."""
    monkeypatch.setattr(reference_process, "sys", FakeSys())


class FakeSys:
    """`sys` with no modules imported."""

    modules: dict[str, object] = {}  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        import sys

        return getattr(sys, name)


def pid_of(reference: ReferenceProcess) -> int:
    assert reference._process is not None
    return reference._process.pid


@pytest.mark.keras
@pytest.mark.usefixtures("fresh")
def test_it_gives_what_keras_gives_and_ends_with_its_owner() -> None:
    from bnfold.convert.roads import load_reference

    path = SAMPLES / "post_activation.h5"
    reference = ReferenceProcess(path, never)
    reference.prepare()
    pid = pid_of(reference)
    (there,) = reference([ROWS])
    (again,) = reference([ROWS[:1]])
    assert pid_of(reference) == pid
    (here,) = load_reference(path)([ROWS])
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-6)
    assert again.shape == (1, *here.shape[1:]) and there.dtype == here.dtype
    del reference
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.keras
@pytest.mark.usefixtures("fresh")
def test_a_file_that_cannot_be_loaded_is_one_error_per_call(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(SAMPLES / "post_activation.h5", path)
    path.write_bytes(path.read_bytes()[:5000])
    reference = ReferenceProcess(path, never)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"model\.h5"):
            reference([ROWS])


@pytest.mark.usefixtures("fresh")
def test_a_process_that_dies_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_process, "_START", "raise SystemExit(7)")
    reference = ReferenceProcess(SAMPLES / "post_activation.h5", never)
    with pytest.raises(RuntimeError, match="ended with exit code 7"):
        reference([ROWS])


@pytest.mark.usefixtures("fresh")
def test_where_no_process_can_start_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(reference_process.subprocess, "Popen", refuse)
    (rows,) = ReferenceProcess(SAMPLES / "x.h5", list)([ROWS])
    assert rows is ROWS


def test_python_objects_and_a_process_that_has_tensorflow_run_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class HasTensorflow(FakeSys):
        modules = {"tensorflow": None}  # noqa: RUF012

    monkeypatch.setattr(reference_process, "sys", HasTensorflow())
    reference = ReferenceProcess(SAMPLES / "post_activation.h5", lambda arrays: ["here"])
    reference.prepare()
    assert reference._process is None
    assert reference([ROWS]) == ["here"]


@pytest.mark.usefixtures("fresh")
def test_getting_ready_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_process, "_START", "import time; time.sleep(60)")
    reference = ReferenceProcess(SAMPLES / "post_activation.h5", never)
    start = time.monotonic()
    reference.prepare()
    reference.prepare()
    assert time.monotonic() - start < 30
    pid = pid_of(reference)
    del reference
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "bool"])
def test_arrays_cross_the_pipe_as_they_are(dtype: str) -> None:
    import io

    arrays = [np.asarray(ROWS > 0.5).astype(dtype), np.zeros((), dtype), np.zeros((0, 3), dtype)]
    pipe = io.BytesIO()
    reference_process._send(pipe, [array.T for array in arrays])
    pipe.seek(0)
    received = reference_process._receive(pipe)
    assert received is not None
    for sent, got in zip(arrays, received, strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent.T)
    assert reference_process._receive(pipe) is None
