"""Where the result of one model goes, and in which form."""

from __future__ import annotations

from pathlib import Path


def choose_target(
    model: Path, output: str | None, form: str | None, *, force: bool
) -> tuple[Path, str]:
    """The file to write and what to make, "onnx" or "keras"; the suffix of -o decides.

    Args:
        model: the source.
        output: from -o.
        form: from --to.
        force: whether a file that exists may be replaced.

    Raises:
        OutputError: a suffix that fits neither form or not the source, a missing folder, or a file
            without --force.
        InputError: Keras is asked for and the source is no Keras file.
    """
    from bnfold.core.errors import OutputError
    from bnfold.formats.atomic import check_target
    from bnfold.formats.sniff import KERAS_SUFFIXES
    from bnfold.formats.text import shown

    target = Path(output) if output else default_output(model, form or "onnx")
    suffix = target.suffix.lower()
    wanted = "keras" if suffix in KERAS_SUFFIXES else "onnx" if suffix == ".onnx" else ""
    if not wanted:
        raise OutputError(
            f"{shown(target)}: give a name that ends in .onnx, or in .keras or .h5 to get a Keras "
            f"model back."
        )
    if form not in (None, wanted):
        raise OutputError(f"{shown(target)} is not the name of a file for --to {form}.")
    check_target(target, force=force)
    if wanted == "keras":
        check_keras(model, target)
    return target, wanted


def check_keras(model: Path, target: Path) -> None:
    """Refuse what cannot be written back as Keras before any work is done.

    Raises:
        InputError: the source is no Keras file.
        OutputError: the target's suffix is not of the source's format.
    """
    from bnfold.core.errors import InputError
    from bnfold.formats.keras.folded import check_suffix, suffixes_of
    from bnfold.formats.text import shown

    suffixes = suffixes_of(model)
    if not suffixes:
        raise InputError(f"{shown(model)} is no Keras file: it can be folded to ONNX only.")
    check_suffix(target, suffixes)


def default_output(model: Path, form: str = "onnx") -> Path:
    """Where the result goes when no -o is given: ``model.h5`` becomes ``model.folded.onnx``."""
    name = model.name or model.resolve().name
    stem = Path(name).stem if not model.is_dir() else name
    suffix = ".onnx" if form == "onnx" else Path(name).suffix
    return model.parent / f"{stem}.folded{suffix}"
