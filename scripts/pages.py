"""What the scripts that write pages of the documentation share."""

from __future__ import annotations

import sys
from pathlib import Path


def main(path: Path, text: str) -> int:
    """Write ``text`` to ``path``, or with --check only compare; the exit code."""
    if "--check" not in sys.argv[1:]:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} is not what its script writes: run python scripts/{_script()}")
    return 1


def _script() -> str:
    return Path(sys.argv[0]).name
