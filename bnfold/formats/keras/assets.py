"""What layers keep in a .keras archive beside arrays: text files, such as vocabularies."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from bnfold.core.errors import InputError
from bnfold.formats.text import clip

_FOLDER = "assets/"
# A vocabulary of millions of words; what claims to be larger is none.
_LARGEST = 1 << 28


class Assets:
    """The text files of one archive.

    Args:
        path: the archive, which must stay where it is until they are read.
        names: of its members.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path = path
        self._names = frozenset(name for name in names if name.startswith(_FOLDER))

    def lines(self, name: str) -> Callable[[], tuple[str, ...]] | None:
        """Reads the lines of a file, without empty ones at the end; None if there is none.

        What is returned raises InputError where the file is damaged.
        """
        if _FOLDER + name not in self._names:
            return None
        return lambda: self._read(_FOLDER + name)

    def _read(self, name: str) -> tuple[str, ...]:
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(name) as member:
                text = member.read(_LARGEST + 1)
            if len(text) > _LARGEST:
                raise InputError(f"{clip(name)} is too large to be a vocabulary.")
            lines = text.decode("utf-8").splitlines()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
            raise InputError(f"{clip(name)} cannot be read: {clip(str(error))}.") from error
        while lines and not lines[-1]:
            lines.pop()
        return tuple(lines)
