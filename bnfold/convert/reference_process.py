"""The Keras model of a file, run in a process of its own.

Importing TensorFlow takes seconds, in which nothing else can be done in the same process. Here it
is imported elsewhere while the other checks run, and this process never holds it. The process is
told what to do on its stdin and answers on its stdout, one message for one message: a line of JSON,
{"arrays": [{"dtype", "shape"}, ...]} or {"error": text}, then the bytes of the arrays.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import ml_dtypes  # noqa: F401 (numpy knows "bfloat16" by its name once this is imported)
import numpy as np
import numpy.typing as npt

from bnfold.convert.types import Reference

#: The parent's module folders go last on the path: they must shadow nothing there, and nor must
#: the current folder, which is the "" at its beginning.
_START = (
    "import os, sys; sys.path = list(filter(None, sys.path)) + sys.argv[1].split(os.pathsep);"
    " from bnfold.convert.reference_process import serve; serve(sys.argv[2])"
)


class ReferenceProcess:
    """Runs the Keras model of a file on arrays; the process starts when it is first needed.

    Args:
        path: the model.
        here: does the same in this process; it is called where TensorFlow is imported already,
            and for arrays of Python objects.
    """

    def __init__(self, path: Path, here: Reference) -> None:
        self._path = path.resolve()
        self._here = here
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Start the process if that is worth it, without waiting for it."""
        if self._process is not None or "tensorflow" in sys.modules:
            return
        folders = [str(Path(__file__).resolve().parents[2]), *map(_absolute, sys.path)]
        modules = os.pathsep.join(dict.fromkeys(folders))
        with contextlib.suppress(OSError):  # then it is done in this process
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, modules, str(self._path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            weakref.finalize(self, _end, self._process)

    def __call__(self, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.generic]]:
        self.prepare()
        if self._process is None or any(array.dtype.hasobject for array in arrays):
            return self._here(arrays)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            _send(stdin, arrays)
            answer = _receive(stdout)
        except OSError:
            answer = None
        if answer is None:
            code = self._process.wait()
            raise RuntimeError(f"the process that ran Keras ended with exit code {code}")
        return answer


def serve(path: str) -> None:
    """What the process does: load the model, then answer until stdin ends."""
    # Ctrl-C reaches the whole process group: the parent decides, and ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Keras wraps its models for scikit-learn where that is installed, which takes a second.
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]
    from bnfold.convert.roads import load_reference

    run = None
    try:
        run = load_reference(Path(path))
        failure = ""
    except Exception as error:
        failure = str(error) or type(error).__name__
    while (arrays := _receive(sys.stdin.buffer)) is not None:
        try:
            if run is None:
                raise RuntimeError(failure)
            _send(answers, run(arrays))
        except Exception as error:
            text = json.dumps({"error": str(error) or type(error).__name__})
            answers.write(text.encode() + b"\n")
            answers.flush()


def _absolute(entry: str) -> str:
    return str(Path(entry).resolve())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def _send(stream: IO[bytes], arrays: Sequence[npt.NDArray[Any]]) -> None:
    whole = [np.ascontiguousarray(array).reshape(array.shape) for array in arrays]
    heads = [{"dtype": array.dtype.name, "shape": array.shape} for array in whole]
    stream.write(json.dumps({"arrays": heads}).encode() + b"\n")
    for array in whole:
        stream.write(array.tobytes())
    stream.flush()


def _receive(stream: IO[bytes]) -> list[npt.NDArray[Any]] | None:
    """The arrays of the next message; None at the end of the stream.

    Raises:
        RuntimeError: the message is an error.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    if "error" in message:
        raise RuntimeError(message["error"])
    arrays = []
    for head in message["arrays"]:
        dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
        size = dtype.itemsize * int(np.prod(shape))
        data = stream.read(size)
        if len(data) < size:
            return None
        arrays.append(np.frombuffer(data, dtype).reshape(shape))
    return arrays
