"""Importing onnx-ir without sympy, which is most of the time that it takes.

onnx-ir computes with symbolic dimensions by sympy. Its modules name functions of sympy when they
are imported, and use them when a model has such dimensions as "2*n + 1" and somebody asks.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from types import ModuleType
from typing import Any

_NAME = "sympy"


class _Later(ModuleType):
    """Stands for sympy in the modules that import it now, and is it from its first use on."""

    naming = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(_call, name) if self.naming else getattr(_sympy(), name)


def import_onnx_ir() -> None:
    """Import onnx-ir; sympy follows when something of it is used."""
    if not {"onnx_ir", _NAME}.isdisjoint(sys.modules):
        return
    stand_in = _Later(_NAME)
    sys.modules[_NAME] = stand_in
    try:
        importlib.import_module("onnx_ir")
    except Exception:  # it did more than to name a function: then as everybody does
        for name in [name for name in sys.modules if name.partition(".")[0] == "onnx_ir"]:
            del sys.modules[name]
    finally:
        stand_in.naming = False
        if sys.modules.get(_NAME) is stand_in:
            del sys.modules[_NAME]


def _sympy() -> ModuleType:
    return importlib.import_module(_NAME)


def _call(name: str, *arguments: Any, **named: Any) -> Any:
    return getattr(_sympy(), name)(*arguments, **named)
