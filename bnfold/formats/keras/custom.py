"""Custom layers and functions named on the command line: ``module:Name`` or ``FILE.py``."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bnfold.core.errors import BnfoldError, InputError
from bnfold.formats.keras.runtime import said


def parse_custom_objects(specs: Iterable[str]) -> dict[str, Any]:
    """Import the objects that ``--custom-objects`` names.

    Args:
        specs: each "package.module:Name", "path/to/file.py:Name", or "path/to/file.py" for all
            public classes and functions in it, or those in its CUSTOM_OBJECTS; several names may
            follow one module, parted by commas. Modules are also looked for in the current folder.
            Importing them runs their code: this is the user's own, never the model file's.

    Returns:
        Name to object, as Keras's `custom_objects` wants it.

    Raises:
        InputError: the text has another form, or module or name do not exist.
    """
    objects: dict[str, Any] = {}
    for spec in specs:
        if spec.endswith(".py"):
            objects.update(_all_of(Path(spec)))
            continue
        home, _, names = spec.rpartition(":")
        if not home or not names.strip():
            raise InputError(f"--custom-objects {spec}: write it as module:Name, or FILE.py.")
        module = _module(home, spec)
        for name in (part.strip() for part in names.split(",")):
            value: Any = module
            try:
                for attribute in name.split("."):
                    value = getattr(value, attribute)
            except AttributeError:
                raise InputError(f"--custom-objects {spec}: {home} has no {name!r}.") from None
            objects[name.rpartition(".")[2]] = value
    return objects


def _all_of(path: Path) -> Mapping[str, Any]:
    """What a Python file offers: its CUSTOM_OBJECTS, or all that is public and can be called."""
    _refuse_missing(path)
    try:
        found = runpy.run_path(str(path), run_name="bnfold_custom_objects")
    except (Exception, SystemExit) as error:
        raise InputError(f"--custom-objects {path}: {said(error)}") from error
    listed = found.get("CUSTOM_OBJECTS")
    if isinstance(listed, Mapping):
        return dict(listed)
    return {
        name: value for name, value in found.items() if callable(value) and not name.startswith("_")
    }


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"--custom-objects: {path} is not there.")


def _module(home: str, spec: str) -> ModuleType:
    try:
        if home.endswith(".py"):
            return _from_file(Path(home))
        here = str(Path.cwd())
        added = here not in sys.path
        if added:
            sys.path.insert(0, here)
        try:
            return importlib.import_module(home)
        finally:
            if added:
                sys.path.remove(here)
    except BnfoldError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"--custom-objects {spec}: {said(error)}") from error


def _from_file(path: Path) -> ModuleType:
    _refuse_missing(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--custom-objects: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Found again by name when a class of this module is looked up while loading.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
