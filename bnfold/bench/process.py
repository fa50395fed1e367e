"""The parent's side of a worker process: start it, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from bnfold.core.errors import BnfoldError

#: How long a worker may be silent before it is taken for hung.
PATIENCE_SECONDS = 300.0
#: The parent's module folders go last on the worker's path: they must shadow nothing there.
_START = (
    "import os, sys; sys.path += sys.argv[1].split(os.pathsep);"
    " from bnfold.bench.worker import main; main()"
)


def _module_folders() -> str:
    """Where the parent finds its modules, as absolute paths: the worker runs in another folder."""
    package_root = str(Path(__file__).resolve().parents[2])
    folders = [package_root, *(str(Path(entry).resolve()) for entry in sys.path)]
    return os.pathsep.join(dict.fromkeys(folders))


class WorkerError(BnfoldError):
    """A worker answered with an error, died, or fell silent; the text is one line.

    Attributes:
        label: the label of the worker.
        what: the command that it was given.
    """

    def __init__(self, label: str, what: str, message: str) -> None:
        super().__init__(message)
        self.label = label
        self.what = what


class Worker:
    """A fresh worker process; a context manager that never leaves it behind.

    Args:
        label: what it stands for in error messages, such as "original".
        folder: an empty folder of ours to run in, so that nothing there shadows a module.
        patience: seconds to wait for any answer.
    """

    def __init__(self, label: str, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.label = label
        self._patience = patience
        # A file, not a pipe: nobody reads it while the worker runs, so a pipe could fill up.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, _module_folders()],
                cwd=folder,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(label, "start", f"cannot start a worker process: {error}") from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send one command and wait for its answer.

        Raises:
            WorkerError: the worker answered with an error, died, or fell silent.
        """
        what = str(message["do"])
        line, hung = self._exchange(json.dumps(message))
        if hung:
            problem = f"gave no answer within {self._patience:.0f} s"
            raise WorkerError(self.label, what, f"the worker for the {self.label} {problem}")
        if not line.endswith("\n"):
            raise WorkerError(self.label, what, self._obituary())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(self.label, what, answer["error"])
        return answer

    def close(self) -> None:
        """End the process now and wait for its end."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                # What a dead worker left unsent in the pipe is of no interest.
                with contextlib.suppress(OSError):
                    stream.close()

    def _exchange(self, message: str) -> tuple[str, bool]:
        """Return the answer's line ("" when the process is dead) and whether it was hung."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            self._process.kill()

        watchdog = threading.Timer(self._patience, give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            stdin.write(message + "\n")
            stdin.flush()
            return stdout.readline(), hung.is_set()
        except OSError:
            return "", hung.is_set()
        finally:
            watchdog.cancel()

    def _obituary(self) -> str:
        """Say how the process ended, with the last line that it wrote."""
        code = self._process.wait()
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            how += " (out of memory?)"
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"the worker for the {self.label} {how}" + (f": {last[:200]}" if last else "")
