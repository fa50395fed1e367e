"""The table of renderings, by name and by the suffix of a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import cast

from bnfold.core.errors import OutputError
from bnfold.report.model import Report

# name: (module, function). Imported on use: a run without a report file pays for none of them.
_RENDERINGS = {
    "text": ("bnfold.report.text", "render_text"),
    "json": ("bnfold.report.jsonform", "render_json"),
    "markdown": ("bnfold.report.markdown", "render_markdown"),
    "html": ("bnfold.report.html", "render_html"),
    "junit": ("bnfold.report.junit", "render_junit"),
    "github": ("bnfold.report.github", "render_github"),
}
_SUFFIXES = {".txt": "text", ".json": "json", ".md": "markdown", ".html": "html", ".xml": "junit"}

FORMATS = tuple(_RENDERINGS)


def render(report: Report, form: str) -> str:
    """The report in one of `FORMATS`.

    Raises:
        ValueError: no such format.
    """
    if form not in _RENDERINGS:
        raise ValueError(f"no report format {form!r}; there are {', '.join(FORMATS)}")
    module, function = _RENDERINGS[form]
    rendering = cast("Callable[[Report], str]", getattr(import_module(module), function))
    return rendering(report)


def form_of(path: PurePath | str) -> str:
    """The format that the suffix of a report file asks for.

    Raises:
        OutputError: the suffix is none of those known.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(f"{key} ({value})" for key, value in _SUFFIXES.items())
        raise OutputError(f"{path}: unknown kind of report; use one of the suffixes {known}")
    return _SUFFIXES[suffix]
