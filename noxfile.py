"""The tests on every supported Python, against the wheel; the documentation; the linters.

nox                     everything on the Pythons that are installed
nox -s tests-3.12       one Python
nox -s smoke            the wheel in a minute, on the Python that runs nox
nox -s tests -- -k api  arguments for pytest
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# What the tests need beside the installed package. The package itself is left behind, so that
# nothing but the wheel can be imported.
NEEDED = (
    ".pre-commit-config.yaml",
    ".pre-commit-hooks.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "action.yml",
    "benchmarks",
    "docs",
    "examples",
    "noxfile.py",
    "pyproject.toml",
    "sample_models",
    "scripts",
    "tests",
)
# What the tests need where there is no TensorFlow, and those that need the least time.
WITHOUT_KERAS = (
    "build", "hatchling", "hypothesis", "jsonschema", "markdown-it-py", "pytest",
    "pytest-timeout", "pyyaml", "scikit-learn",
)  # fmt: skip
SMOKE = ("tests/api", "tests/cli", "tests/core", "tests/report", "tests/test_imports.py")
# These look at the tree itself: its sources, its packages, its CI.
OF_THE_TREE = ("tests/release", "tests/docs", "tests/cli/test_readme.py")

nox.options.sessions = ["tests", "docs", "lint"]
nox.options.error_on_missing_interpreters = False


def build_wheel(session: nox.Session) -> str:
    """The wheel of this tree, as a path."""
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    return str(wheel)


def tree_without_package(session: nox.Session) -> Path:
    """A copy of what the tests need, without the package."""
    copy = Path(session.create_tmp()) / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in NEEDED:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, copy / name)
    return copy


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests against the installed wheel, Keras included."""
    wheel = build_wheel(session)
    session.install(f"{wheel}[dev]")
    run_tests(session)


@nox.session(python=PYTHONS)
def onnx_only(session: nox.Session) -> None:
    """The tests against the installed wheel, without TensorFlow: what ONNX users have."""
    session.install(build_wheel(session), *WITHOUT_KERAS)
    run_tests(session, "-m", "not slow and not keras")


@nox.session
def smoke(session: nox.Session) -> None:
    """What people touch, against the installed wheel without TensorFlow."""
    session.install(build_wheel(session), *WITHOUT_KERAS)
    run_tests(session, "-m", "not slow and not keras", *SMOKE)


def run_tests(session: nox.Session, *options: str) -> None:
    """Run pytest where only the installed package can be imported."""
    session.chdir(tree_without_package(session))
    ignored = [f"--ignore={path}" for path in OF_THE_TREE]
    session.run("python", "-m", "pytest", *ignored, *options, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in `site/`; warnings are errors."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "site")


@nox.session
def lint(session: nox.Session) -> None:
    """Linters and types."""
    session.install(".", "ruff", "mypy")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
