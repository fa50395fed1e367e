"""bnfold folds BatchNormalization and other per-channel affines of trained networks.

Everything is imported when it is first used: ``import bnfold`` alone costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnfold import passes, testing
    from bnfold.api import benchmark, convert, diff, fold, inspect, verify
    from bnfold.bench.types import Benchmark
    from bnfold.convert.types import ConvertedModel
    from bnfold.core.diagnostics import Fold, Kept, Reason, Refusal
    from bnfold.core.errors import (
        BnfoldError,
        InputError,
        MissingExtraError,
        OutputError,
        VerificationError,
    )
    from bnfold.formats.onnx.diff import ModelDiff
    from bnfold.many import fold_many
    from bnfold.passes import FoldBatchNorm
    from bnfold.report.model import Report
    from bnfold.result import FoldResult
    from bnfold.verify.types import Verification

_HOMES = {
    "Benchmark": "bnfold.bench.types",
    "BnfoldError": "bnfold.core.errors",
    "ConvertedModel": "bnfold.convert.types",
    "Fold": "bnfold.core.diagnostics",
    "FoldBatchNorm": "bnfold.passes",
    "FoldResult": "bnfold.result",
    "InputError": "bnfold.core.errors",
    "Kept": "bnfold.core.diagnostics",
    "MissingExtraError": "bnfold.core.errors",
    "ModelDiff": "bnfold.formats.onnx.diff",
    "OutputError": "bnfold.core.errors",
    "Reason": "bnfold.core.diagnostics",
    "Refusal": "bnfold.core.diagnostics",
    "Report": "bnfold.report.model",
    "Verification": "bnfold.verify.types",
    "VerificationError": "bnfold.core.errors",
    "benchmark": "bnfold.api",
    "diff": "bnfold.api",
    "fold": "bnfold.api",
    "fold_many": "bnfold.many",
    "inspect": "bnfold.api",
}

# These are functions of the API and packages at once, see `_CallablePackage`.
_CALLABLE_PACKAGES = frozenset({"convert", "verify"})
# Public modules that need no import statement of their own.
_MODULES = frozenset({"passes", "testing"})

__all__ = [
    "Benchmark",
    "BnfoldError",
    "ConvertedModel",
    "Fold",
    "FoldBatchNorm",
    "FoldResult",
    "InputError",
    "Kept",
    "MissingExtraError",
    "ModelDiff",
    "OutputError",
    "Reason",
    "Refusal",
    "Report",
    "Verification",
    "VerificationError",
    "__version__",
    "benchmark",
    "convert",
    "diff",
    "fold",
    "fold_many",
    "inspect",
    "passes",
    "testing",
    "verify",
]


class _CallablePackage(ModuleType):
    """A package that can be called as the function of the API that has its name.

    `bnfold.verify` is both: importing ``bnfold.verify.types`` makes the import system set the
    package as the attribute, and ``bnfold.verify(a, b)`` must work before and after that.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from bnfold import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Root(ModuleType):
    """The package `bnfold` itself."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLABLE_PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    from importlib import import_module

    if name in _CALLABLE_PACKAGES | _MODULES:
        return import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
