"""The worker's side of the protocol, without a process, and with one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnfold.bench import process
from bnfold.bench.process import Worker, WorkerError
from bnfold.bench.worker import peak_bytes, serve

Message = dict[str, Any]


def load_message(path: Path, level: str = "ORT_ENABLE_ALL") -> Message:
    return {
        "do": "load",
        "model": str(path),
        "level": level,
        "threads": 1,
        "providers": ["CPUExecutionProvider"],
    }


def talk(*messages: Message) -> list[Message]:
    answers = io.StringIO()
    serve(io.StringIO("".join(json.dumps(message) + "\n" for message in messages)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_the_whole_conversation(model_file: Path, feeds_file: Path) -> None:
    hello, load, feed, warm, timed, memory = talk(
        {"do": "hello"},
        load_message(model_file),
        {"do": "feed", "inputs": str(feeds_file), "names": ["x"]},
        {"do": "warm", "seconds": 0.005},
        {"do": "time", "calls": 7, "prelude": 1},
        {"do": "memory"},
    )
    assert "CPUExecutionProvider" in hello["providers"]
    assert load["seconds"] > 0
    assert feed == {}
    assert warm["seconds"] > 0
    assert warm["calls"] >= 5
    assert timed["seconds"] > 0
    assert memory["peak"] is None or memory["peak"] >= 0


def test_an_error_is_one_line_and_the_worker_goes_on(
    model_file: Path, feeds_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, **{"0": np.ones((2, 5), np.float32)})
    answers = talk(
        load_message(tmp_path / "absent.onnx"),
        load_message(model_file),
        {"do": "feed", "inputs": str(wrong), "names": ["x"]},
        {"do": "warm", "seconds": 0.0},
        {"do": "feed", "inputs": str(feeds_file), "names": ["x"]},
        {"do": "warm", "seconds": 0.0},
    )
    assert "absent.onnx" in answers[0]["error"]
    assert "\n" not in answers[3]["error"]
    assert "x" in answers[3]["error"]
    assert "error" not in answers[5]


def test_pickles_are_not_opened(model_file: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.npz"
    np.savez(evil, **{"0": np.array([{"a": 1}], dtype=object)}, allow_pickle=True)
    answers = talk(load_message(model_file), {"do": "feed", "inputs": str(evil), "names": ["x"]})
    assert "allow_pickle" in answers[1]["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_this_program_s_own() -> None:
    before = peak_bytes()
    block = np.ones(30_000_000)
    after = peak_bytes()
    assert before is not None and after is not None
    assert block.nbytes * 0.5 < after - before or before > after * 0.9
    del block
    code = "from bnfold.bench.worker import peak_bytes; print(peak_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < after


def test_a_process_answers(model_file: Path, feeds_file: Path, run_folder: Path) -> None:
    with Worker("model", run_folder) as worker:
        assert worker.ask(do="hello")["onnxruntime"]
        assert worker.ask(**load_message(model_file))["seconds"] > 0
        worker.ask(do="feed", inputs=str(feeds_file), names=["x"])
        assert worker.ask(do="time", calls=3, prelude=0)["seconds"] > 0
        pid = worker.pid
    assert gone(pid)


def test_modules_are_found_where_the_parent_finds_them(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The parent's own path may be relative or made by hand; a worker runs in another folder.
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "numpy_shadow.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("lib")
    folders = process._module_folders().split(os.pathsep)
    assert str(tmp_path / "lib") in folders
    assert all(Path(folder).is_absolute() for folder in folders)
    with Worker("model", run_folder) as worker:
        assert worker.ask(do="hello")


def test_an_error_keeps_its_label_and_command(run_folder: Path, tmp_path: Path) -> None:
    with Worker("folded model", run_folder) as worker:
        with pytest.raises(WorkerError, match=r"absent\.onnx") as caught:
            worker.ask(**load_message(tmp_path / "absent.onnx"))
        assert (caught.value.label, caught.value.what) == ("folded model", "load")
        assert worker.ask(do="hello")


def test_a_killed_process_is_one_line(run_folder: Path) -> None:
    with Worker("folded model", run_folder) as worker:
        worker.ask(do="hello")
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"folded model was ended by signal 9") as caught:
            worker.ask(do="hello")
    assert "\n" not in str(caught.value)


def test_a_crash_names_its_last_words(run_folder: Path) -> None:
    with Worker("model", run_folder) as worker:
        worker.ask(do="hello")
        # A line that breaks the protocol ends the worker as a bug would.
        assert worker._exchange("no JSON") == ("", False)
        with pytest.raises(WorkerError, match=r"ended with exit code 1: .*JSONDecodeError"):
            worker.ask(do="hello")


def test_a_silent_process_is_given_up(model_file: Path, feeds_file: Path, run_folder: Path) -> None:
    with Worker("model", run_folder, patience=30.0) as worker:
        worker.ask(**load_message(model_file))
        worker.ask(do="feed", inputs=str(feeds_file), names=["x"])
        worker._patience = 0.3
        with pytest.raises(WorkerError, match=r"no answer within 0 s"):
            worker.ask(do="warm", seconds=1000.0)
        pid = worker.pid
    assert gone(pid)


def test_ctrl_c_in_the_parent_leaves_no_process(run_folder: Path) -> None:
    pids = []
    with pytest.raises(KeyboardInterrupt), Worker("model", run_folder) as worker:
        worker.ask(do="hello")
        pids.append(worker.pid)
        os.kill(worker.pid, signal.SIGINT)  # reaches the whole group on a terminal
        assert worker.ask(do="hello"), "the worker leaves the decision to its parent"
        raise KeyboardInterrupt
    assert gone(pids[0])


def test_an_orphan_ends_by_itself(run_folder: Path) -> None:
    worker = Worker("model", run_folder)
    worker.ask(do="hello")
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert worker._process.wait(timeout=20) == 0
    worker.close()


def gone(pid: int) -> bool:
    """True when no such process is left, nor its zombie."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
