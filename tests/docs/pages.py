"""The fenced blocks of every page, and what a comment before a block says of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "benchmarks", "sample_models", "examples", "scripts")

# `<!-- exit code: 1 -->` on the line before a block.
_REMARK = re.compile(r"<!-- ([a-z ]+): (.+?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: its file, relative to the repository.
        line: of the opening fence, from 1.
        language: the first word behind the fence.
        text: what is inside.
        remarks: what comments right before it say, by name.
    """

    page: str
    line: int
    language: str
    text: str
    remarks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The commands of a shell block, without comments, cut at `&&`, as words."""
        lines = self._lines()
        parts = [p for line in lines if not _needs_shell(line) for p in line.split(" && ")]
        return [words for part in parts if (words := shlex.split(part, comments=True))]

    def pipes(self) -> list[str]:
        """The lines that only a shell can run."""
        return [line for line in self._lines() if _needs_shell(line)]

    def _lines(self) -> list[str]:
        return self.text.replace("\\\n", " ").splitlines()


def _needs_shell(line: str) -> bool:
    return " | " in line or "$(" in line


def pages() -> list[Path]:
    """Every Markdown page that people read, in the repository's order."""
    found = sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        found += sorted((ROOT / folder).rglob("*.md"))
    return [page for page in found if "results" not in page.parts]


def blocks_of(page: Path) -> Iterator[Block]:
    remarks: dict[str, str] = {}
    for token in MarkdownIt("commonmark").parse(page.read_text("utf-8")):
        if token.type == "html_block":
            remarks |= dict(_REMARK.findall(token.content))
        elif token.type == "fence":
            assert token.map is not None
            words = token.info.split()
            yield Block(
                page.relative_to(ROOT).as_posix(),
                token.map[0] + 1,
                words[0] if words else "",
                token.content,
                remarks,
            )
            remarks = {}
        elif token.type not in ("html_inline",):
            remarks = {}


def blocks(*languages: str) -> list[Block]:
    """Every block of these languages, of every page."""
    return [block for page in pages() for block in blocks_of(page) if block.language in languages]
