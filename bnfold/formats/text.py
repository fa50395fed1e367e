"""How names and paths from outside are shown: on one line, whatever they hold."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

_LONGEST = 200


def clip(text: str, longest: int = _LONGEST) -> str:
    """Make `text` one printable line of at most `longest` characters.

    Control characters and lone surrogates are written as escapes; line breaks become spaces.
    """
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else _escape(char) for char in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def shown(path: str | os.PathLike[str]) -> str:
    """Show a path as the user gave it, on one printable line."""
    return clip("".join(c if c != "\n" else "\\n" for c in os.fspath(path)), 4096)


def near_miss(word: str, known: Iterable[str]) -> str:
    """The one of these words that was probably meant, "" if none is near."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), names, n=1)
    return names[near[0]] if near else ""


def megabytes(count: int) -> str:
    """Show a number of bytes in a unit that people read: B, kB, MB, GB (powers of 1000)."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
