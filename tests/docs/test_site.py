"""The site builds without a warning, and documents what is public."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bnfold
from bnfold.cli.commands import cli
from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; warnings are errors."""
    for module in ("sphinx", "myst_parser", "furo", "sphinx_click"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("site")
    command = ["-W", "--keep-going", "-q", "-d", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, str(ROOT / "docs"), str(folder / "html")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@functools.cache
def ids(page: Path) -> frozenset[str]:
    return frozenset(re.findall(r'\bid="([^"]+)"', page.read_text("utf-8")))


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    """Sphinx warns of pages that are not there; of HTML anchors it knows less."""
    count = 0
    for page in site.glob("**/*.html"):
        for link in re.findall(r'href="([^"]+)"', page.read_text("utf-8")):
            target, _, anchor = link.partition("#")
            if ":" in target or target.startswith("//"):
                continue
            path = target.partition("?")[0]
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {link}"
            if anchor and file.suffix == ".html":
                count += 1
                assert anchor in ids(file), f"{page.name}: {link}"
    assert count > 100


def test_what_is_public_is_documented(site: Path) -> None:
    # Names of the package are documented where they are defined.
    documented = {name.rpartition(".")[2] for name in ids(site / "api.html")}
    public = set(bnfold.__all__) - {"__version__"}
    assert public <= documented
    assert {"fold_many", "FoldBatchNorm", "assert_equivalent", "assert_folded"} <= documented


def test_every_command_and_option_is_documented(site: Path) -> None:
    text = (site / "cli.html").read_text("utf-8")
    for name, command in cli.commands.items():
        assert f"bnfold-{name}" in text
        for option in (option for item in command.params for option in item.opts):
            assert option in text or option.upper() in text


def test_results_of_benchmarks_are_included(site: Path) -> None:
    page = (site / "benchmarks.html").read_text("utf-8")
    for result in (ROOT / "benchmarks" / "results").glob("*.md"):
        title = result.read_text("utf-8").splitlines()[0].lstrip("# ")
        assert title in page


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    for page in site.glob("**/*.html"):
        for tag in re.findall(r"<(?:script|link|img)\b[^>]*>", page.read_text("utf-8")):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), f"{page.name}: {tag}"
