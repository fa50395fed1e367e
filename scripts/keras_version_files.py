"""The models that versions of Keras made, as the tests keep them, and the page about them.

    python scripts/keras_version_files.py pack FOLDER    keeps what FOLDER/NAME holds, by version
    python scripts/keras_version_files.py fold FOLDER    unpacks and folds what is kept
    python scripts/keras_version_files.py record FOLDER    keeps what loading all that said
    python scripts/keras_version_files.py page [--check]    writes docs/keras-versions.md

`scripts/keras_versions.py` makes and loads the models, where that version is installed.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.pages import main as write_page  # noqa: E402

KEPT = ROOT / "tests" / "formats" / "keras" / "versions"
PAGE = ROOT / "docs" / "keras-versions.md"
LOADED = KEPT / "loaded.json"
_MODELS = (".h5", ".keras")


@dataclass(frozen=True)
class Environment:
    """Where a version runs.

    Attributes:
        python: the Python it ran in.
        requirements: what pip was asked for.
        settings: environment variables.
    """

    python: str
    requirements: str
    settings: str = ""


_OLD = "h5py==2.10.0 protobuf==3.19.6"
_JAX = "KERAS_BACKEND=jax"
ENVIRONMENTS: Mapping[str, Environment] = {
    "keras-2.0.8-theano": Environment(
        "3.6", "keras==2.0.8 theano==1.0.5 h5py==2.10.0", "KERAS_BACKEND=theano"
    ),
    "keras-2.1.6": Environment("3.6", f"keras==2.1.6 tensorflow==1.12.3 {_OLD}"),
    "keras-2.2.4": Environment("3.6", f"keras==2.2.4 tensorflow==1.13.2 {_OLD}"),
    "keras-2.3.1": Environment("3.7", f"keras==2.3.1 tensorflow==1.15.5 {_OLD}"),
    "tf.keras-1.13": Environment("3.6", f"tensorflow==1.13.2 {_OLD}"),
    "tf.keras-1.15": Environment("3.7", f"tensorflow==1.15.5 {_OLD}"),
    "tf.keras-2.1": Environment("3.7", f"tensorflow-cpu==2.1.4 {_OLD}"),
    "tf.keras-2.3": Environment("3.7", f"tensorflow-cpu==2.3.4 {_OLD}"),
    "tf.keras-2.4": Environment("3.8", "tensorflow-cpu==2.4.4 protobuf==3.19.6"),
    "tf.keras-2.6": Environment("3.9", "tensorflow-cpu==2.6.5 keras==2.6.0 protobuf==3.19.6"),
    "tf.keras-2.8": Environment("3.10", "tensorflow-cpu==2.8.4 protobuf==3.19.6 numpy==1.23.5"),
    "tf.keras-2.10": Environment("3.10", "tensorflow-cpu==2.10.1 protobuf==3.19.6 numpy==1.23.5"),
    "tf.keras-2.12": Environment("3.10", "tensorflow-cpu==2.12.1 numpy==1.23.5"),
    "tf.keras-2.15": Environment("3.11", "tensorflow-cpu==2.15.1"),
    "keras-3.0": Environment("3.10", "keras==3.0.5 jax[cpu]==0.4.25 numpy==1.26.4", _JAX),
    "keras-3.3-tensorflow": Environment(
        "3.11", "keras==3.3.3 tensorflow-cpu==2.16.1", "KERAS_BACKEND=tensorflow"
    ),
    "keras-3.6": Environment("3.11", "keras==3.6.0 jax[cpu]==0.4.33", _JAX),
    "keras-3.9": Environment("3.11", "keras==3.9.2 jax[cpu]==0.5.3", _JAX),
    "keras-3.12": Environment("3.12", "keras==3.12.0 jax[cpu]", _JAX),
}
# Whose files are refused.
TOO_OLD: Mapping[str, Environment] = {
    "keras-1.2.2": Environment(
        "3.6", "keras==1.2.2 theano==1.0.5 h5py==2.10.0", "KERAS_BACKEND=theano"
    )
}
# Keras 3.0 writes these so that arrays are lost.
LOST = {("keras-3.0", f"{net}.h5") for net in ("attention", "masked", "nested", "recurrent")}


def archive_of(name: str) -> Path:
    """The archive of a version's files."""
    return KEPT / f"{name}.tar.xz"


def unpack(name: str, folder: Path) -> Path:
    """Unpack a version's files; the folder that they are in."""
    with tarfile.open(archive_of(name)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def members(name: str) -> list[str]:
    """The names of a version's model files."""
    with tarfile.open(archive_of(name)) as archive:
        return [one for one in archive.getnames() if is_model(Path(one))]


def has_saved_model(name: str) -> bool:
    """Whether a version has made a SavedModel."""
    with tarfile.open(archive_of(name)) as archive:
        return any(one.startswith("dense.saved_model/") for one in archive.getnames())


def is_model(path: Path) -> bool:
    """Whether it is a file of a whole model."""
    return path.suffix in _MODELS and not path.name.startswith("halves") and len(path.parts) == 1


def pack(folder: Path) -> None:
    """Keep the files of every version in the folder."""
    KEPT.mkdir(exist_ok=True)
    for name in (*ENVIRONMENTS, *TOO_OLD):
        if (folder / name).is_dir():
            with tarfile.open(archive_of(name), "w:xz", preset=9) as archive:
                for path in sorted((folder / name).rglob("*")):
                    if path.is_file() and path.name != "loaded.json":
                        _add(archive, path, path.relative_to(folder / name))


def _add(archive: tarfile.TarFile, path: Path, name: Path) -> None:
    info = tarfile.TarInfo(name.as_posix())
    content = path.read_bytes()
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def fold(folder: Path) -> None:
    """Fold every model file that is kept, with the arrays to compare it with beside it."""
    from bnfold.core.errors import BnfoldError
    from bnfold.formats.keras.fold import fold_graph
    from bnfold.formats.keras.read import read_keras
    from bnfold.formats.keras.write import write_keras

    for name in ENVIRONMENTS:
        originals = unpack(name, folder / "originals" / name)
        target = folder / "folded" / name
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(originals.iterdir()):
            if path.suffix == ".npz":
                (target / path.name).write_bytes(path.read_bytes())
            if not is_model(path.relative_to(originals)):
                continue
            try:
                graph = read_keras(path)
                write_keras(path, graph, fold_graph(graph).graph, target / path.name, force=True)
            except BnfoldError as error:
                print(f"{name}: {error}")


def record(folder: Path) -> None:
    """Keep what loading said, of the originals and of the folded files, where both were tried."""
    found: dict[str, Any] = json.loads(LOADED.read_text("utf-8")) if LOADED.exists() else {}
    for name in ENVIRONMENTS:
        files = {kind: folder / kind / name / "loaded.json" for kind in ("originals", "folded")}
        if all(file.exists() for file in files.values()):
            found[name] = {k: json.loads(file.read_text("utf-8")) for k, file in files.items()}
    LOADED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


def main(arguments: list[str]) -> int:
    """Carry out a task; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("pack", "fold", "record", "page"))
    parser.add_argument("folder", type=Path, nargs="?", help="of all tasks but page")
    parser.add_argument("--check", action="store_true", help="page: only compare")
    options = parser.parse_args(arguments)
    if options.task == "page":
        from scripts.keras_versions_page import page

        return write_page(PAGE, page())
    if options.folder is None:
        parser.error(f"{options.task} needs a folder")
    {"pack": pack, "fold": fold, "record": record}[options.task](options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
