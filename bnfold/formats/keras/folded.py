"""A folded Keras model as something that can be loaded again: a file, or a live model.

Whatever is checked afterwards is this very model, not the plan of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnfold.core.diagnostics import Fold, Kept
from bnfold.core.errors import OutputError
from bnfold.formats.atomic import atomic_output
from bnfold.formats.keras import runtime
from bnfold.formats.keras.fold import fold_graph
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.live_fold import fold_live
from bnfold.formats.keras.read import read_keras
from bnfold.formats.keras.write import write_keras
from bnfold.formats.sniff import KERAS_SUFFIXES, SUFFIXES, FileKind, describe
from bnfold.formats.text import shown


@dataclass(frozen=True)
class FoldedKeras:
    """A folded Keras model and what happened.

    Attributes:
        model: the folded file, in a folder that goes with this object, or the live model.
        original, folded: both as data.
        folds, kept: every affine of the original is in one of them.
        suffixes: how a file of it may be called.
    """

    model: Path | Any
    original: KerasGraph
    folded: KerasGraph
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    suffixes: tuple[str, ...]
    _folder: Any = field(default=None, repr=False)  # goes when nobody needs the file any more

    @property
    def is_file(self) -> bool:
        """Whether the source was a file."""
        return isinstance(self.model, Path)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the model, whole or not at all.

        Raises:
            OutputError: the suffix is not of the model's format, or the file cannot be written.
        """
        check_suffix(path, self.suffixes)
        with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
            if isinstance(self.model, Path):
                whole = self.model
            else:
                whole = Path(folder) / f"model{Path(path).suffix.lower()}"
                with runtime.quiet():
                    self.model.save(whole)
            with atomic_output(path, force=force) as out, whole.open("rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)


def fold_keras(source: Path | Any) -> FoldedKeras:
    """Fold a Keras file, or a live Sequential or Functional model; the source stays as it is.

    Raises:
        UnsupportedModelError: the model is Python code rather than a graph of layers.
        InputError: it cannot be read, or Keras cannot make a live model again from its config.
    """
    if not isinstance(source, Path):
        live = fold_live(source)
        return FoldedKeras(
            live.model, live.original, live.folded, live.folds, live.kept, KERAS_SUFFIXES
        )
    graph = read_keras(source)
    result = fold_graph(graph)
    suffixes = suffixes_of(source)
    folder = tempfile.TemporaryDirectory(prefix="bnfold-")
    file = Path(folder.name) / f"folded{suffixes[0]}"
    write_keras(source, graph, result.graph, file)
    return FoldedKeras(file, graph, result.graph, result.folds, result.kept, suffixes, folder)


def suffixes_of(source: Path) -> tuple[str, ...]:
    """How a folded copy of this Keras file may be called; nothing for any other file."""
    kind = describe(source).kind
    return SUFFIXES[kind] if kind in (FileKind.KERAS_ZIP, FileKind.KERAS_HDF5) else ()


def check_suffix(path: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Refuse a name that says another format than the one that is written.

    Raises:
        OutputError: another suffix.
    """
    if Path(path).suffix.lower() not in suffixes:
        names = " or ".join(dict.fromkeys(suffixes))
        raise OutputError(
            f"{shown(Path(path))}: a Keras model is written back in the format that it came in; "
            f"give a name that ends in {names}, or in .onnx for ONNX."
        )
