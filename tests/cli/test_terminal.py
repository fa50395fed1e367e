"""Colours and progress: only where a terminal listens."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
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
