"""Wheel and source distribution hold what they must, and install in a clean environment."""

from __future__ import annotations

import configparser
import email
import email.message
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import bnfold

ROOT = Path(__file__).parents[2]
DATA = ("py.typed", "report/report.css", "report/report.js", "report/report.schema.json")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, built from the source distribution, and that itself."""
    for module in ("build", "hatchling"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def the_only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "bnfold").rglob("*.py")}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(the_only(built, "*.whl")) as wheel:
        names = set(wheel.namelist())
    assert modules() <= names
    assert {f"bnfold/{name}" for name in DATA} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"bnfold"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_metadata_says_what_is_so(built: Path) -> None:
    with zipfile.ZipFile(the_only(built, "*-py3-none-any.whl")) as wheel:
        about = metadata(wheel)
        (entries,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
        scripts = configparser.ConfigParser()
        scripts.read_string(wheel.read(entries).decode())
        assert any(name.endswith("LICENSE") for name in wheel.namelist())
    assert about["Name"] == "bnfold"
    assert about["Version"] == bnfold.__version__
    assert about["Requires-Python"] == ">=3.10"
    assert about["License-Expression"] == "Apache-2.0"
    assert scripts["console_scripts"]["bnfold"] == "bnfold.cli.main:main"
    assert {"keras", "legacy", "all", "docs", "dev"} <= set(about.get_all("Provides-Extra", []))
    classifiers = about.get_all("Classifier", [])
    for python in PYTHONS:
        assert f"Programming Language :: Python :: {python}" in classifiers
    needed = [line for line in about.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert needed and not [line for line in needed if "tensorflow" in line or "keras" in line]


def test_the_source_distribution_can_be_tested_and_built_again(built: Path) -> None:
    with tarfile.open(the_only(built, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "noxfile.py",
        "docs/conf.py",
    )
    assert modules() | {f"bnfold/{name}" for name in DATA} | set(wanted) <= names
    assert {
        "tests/conftest.py",
        "sample_models/autoencoder.onnx",
        "examples/train_and_fold.py",
    } <= (names)
    unwanted = ("__pycache__", ".pyc", ".git/", ".venv", ".hypothesis", "_cache/")
    assert not [name for name in names if any(part in name for part in unwanted)]


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in text or f"## [{bnfold.__version__}]" in text


def in_clean(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in an environment that knows nothing of this tree."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=home, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_and_works_in_a_clean_environment(
    built: Path, tmp_path: Path, sample_models: Path, kind: str
) -> None:
    venv = tmp_path / "venv"
    scripts = venv / ("Scripts" if os.name == "nt" else "bin")
    assert in_clean(tmp_path, sys.executable, "-m", "venv", str(venv)).returncode == 0
    python = str(scripts / "python")
    done = in_clean(tmp_path, python, "-m", "pip", "install", "-q", str(the_only(built, kind)))
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in in_clean(tmp_path, python, "-m", "pip", "list").stdout.lower()
    where = in_clean(tmp_path, python, "-c", "import bnfold; print(bnfold.__file__)").stdout
    assert Path(where.strip()).is_relative_to(venv)
    model = sample_models / "autoencoder.onnx"
    command = [str(scripts / "bnfold"), str(model), "-o", "out.onnx", "--report", "r.html"]
    done = in_clean(tmp_path, *command, "--no-bench")
    assert done.returncode == 0, done.stderr
    assert "5 of 5 affines folded" in done.stdout
    assert (tmp_path / "out.onnx").exists() and (tmp_path / "r.html").exists()
    done = in_clean(tmp_path, str(scripts / "bnfold"), str(sample_models / "conv.keras"))
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
