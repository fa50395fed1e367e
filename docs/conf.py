"""The documentation site: Sphinx over the Markdown pages of this folder.

sphinx-build -W --keep-going docs site
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "bnfold"
copyright = "bnfold developers"
version = release = import_module("bnfold").__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
html_theme = "furo"
html_title = f"bnfold {release}"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "html_image"]
myst_heading_anchors = 3

# Docstrings mark code by single backticks, as the Markdown pages do.
default_role = "py:obj"
smartquotes = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

_RESULTS = "<!-- benchmarks/results/*.md -->"
_INCLUDE = "```{{include}} ../benchmarks/results/{}\n:relative-images:\n:heading-offset: 2\n```\n"
_NO_NAME = re.compile(r"(?<!`)`(?=[.~!])([^`]+)`(?!`)")
_ANCHOR = re.compile(r'^(#+ )<a id="([\w-]+)"></a>', re.MULTILINE)


def _targets(app: Sphinx, name: str, source: list[str]) -> None:
    """Make link targets of the HTML anchors in headings, which other viewers need as they are."""
    source[0] = _ANCHOR.sub(r"(\2)=\n\1", source[0])


def _results(app: Sphinx, name: str, source: list[str]) -> None:
    """Put in the results of whichever benchmarks were run."""
    if _RESULTS in source[0]:
        found = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
        included = "\n".join(_INCLUDE.format(path.name) for path in found)
        source[0] = source[0].replace(_RESULTS, included)


def _literals(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Code that begins with a dot (`.onnx`) is no abbreviated name."""
    lines[:] = [_NO_NAME.sub(r"``\1``", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _targets)
    app.connect("source-read", _results)
    app.connect("autodoc-process-docstring", _literals)
