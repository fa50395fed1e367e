"""A small table for notebooks, which show what an object's ``_repr_html_`` gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from bnfold.formats.text import clip

_LEFT = ' style="text-align: left; vertical-align: top"'


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts, which are escaped; the first column holds the rows' headings."""
    parts = [f"<table><caption{_LEFT}>{_text(caption)}</caption><thead><tr>"]
    parts += [f'<th scope="col"{_LEFT}>{_text(name)}</th>' for name in head]
    parts.append("</tr></thead><tbody>")
    for first, *rest in rows:
        cells = "".join(f"<td{_LEFT}>{_text(cell)}</td>" for cell in rest)
        parts.append(f'<tr><th scope="row"{_LEFT}>{_text(first)}</th>{cells}</tr>')
    parts.append("</tbody></table>")
    return "".join(parts)


def _text(value: str) -> str:
    return escape(clip(value, 500))
