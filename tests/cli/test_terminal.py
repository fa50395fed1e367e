"""Colours and progress: only where a terminal listens."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def on_terminal(arguments: list[str], **environment: str) -> str:
    """What a command writes to a terminal that is 72 columns wide."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bnfold", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
        env={**os.environ, "NO_COLOR": "", "TERM": "xterm", "COLUMNS": "72", **environment},
    )
    os.close(side)
    written = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(main)
    assert process.wait(timeout=60) == 0
    return written.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_a_terminal_gets_colours_and_progress(stuck: Path) -> None:
    text = on_terminal(["inspect", str(stuck)])
    assert "\x1b[33m" in text  # what stays is yellow
    assert "folding" in text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_no_color_is_respected(stuck: Path) -> None:
    text = on_terminal(["inspect", str(stuck), "-v"], NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*m", text)
    assert "BNF204" in text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
def test_a_dumb_terminal_gets_plain_text(stuck: Path) -> None:
    assert "\x1b" not in on_terminal(["inspect", str(stuck)], TERM="dumb")


# ------------------------------------------------------------------------------ completion

# How each shell is started without anybody's settings, and told of the completion.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(bnfold completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit; compinit -u; eval "$(bnfold completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "bnfold completion fish | source"),
}


class Shell:
    """An interactive shell on a pseudo terminal."""

    def __init__(self, command: list[str], home: Path) -> None:
        shim = home / "bin" / "bnfold"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnfold "$@"\n')
        shim.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "LANG")}
        path = f"{shim.parent}:{os.environ['PATH']}"
        environment = {**kept, "PATH": path, "HOME": str(home), "TERM": "dumb", "PS1": "> "}
        self._process, self._main = pty.fork()
        if self._process == 0:  # the child, with the terminal as its own
            os.chdir(home)
            os.execvpe(command[0], command, environment)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def wait_for(self, wanted: str, seconds: float = 60) -> str:
        """What the shell shows until the text is among it."""
        shown, end = "", time.monotonic() + seconds
        while wanted not in shown:
            ready, _, _ = select.select([self._main], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{wanted!r} is not in {shown!r}"
            shown += os.read(self._main, 65536).decode(errors="replace")
        return shown

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._main)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
@pytest.mark.parametrize("name", SHELLS)
def test_shells_complete(name: str, tmp_path: Path) -> None:
    command, setting = SHELLS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {name} on this machine")
    if name == "bash" and b"complete" not in subprocess.check_output(
        ["bash", "-c", "type complete"], stderr=subprocess.STDOUT
    ):
        pytest.skip("a bash without programmable completion")
    (tmp_path / "network.onnx").write_bytes(b"")
    shell = Shell(command, tmp_path)
    try:
        shell.type(f"{setting}; echo rea''dy\n")
        shell.wait_for("ready\r\n")
        for typed, completed in (
            ("bnfold insp", "inspect"),
            ("bnfold explain BNF20", "BNF201"),
            ("bnfold --max-rem", "--max-remaining"),
            ("bnfold inspect netw", "network.onnx"),
            ("bnfold netw", "network.onnx"),
        ):
            shell.type(typed)
            time.sleep(0.2)
            shell.type("\t\t")
            shell.wait_for(completed)
            shell.type("\x15")  # away with the line
            shell.type("echo do''ne\n")
            shell.wait_for("done\r\n")
    finally:
        shell.close()


def test_what_a_shell_asks_is_answered_with_success(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "_BNFOLD_COMPLETE": "bash_complete",
        "COMP_WORDS": "bnfold ver",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "bnfold"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["file,ver", "plain,verify"]
