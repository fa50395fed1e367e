"""bnfold folds BatchNormalization and other per-channel affines of trained networks.

Everything is imported when it is first used: ``import bnfold`` alone costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnfold.api import FoldResult, benchmark, convert, fold, inspect, verify
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
    from bnfold.report.model import Report
    from bnfold.verify.types import Verification

_HOMES = {
    "Benchmark": "bnfold.bench.types",
    "BnfoldError": "bnfold.core.errors",
    "ConvertedModel": "bnfold.convert.types",
    "Fold": "bnfold.core.diagnostics",
    "FoldResult": "bnfold.api",
    "InputError": "bnfold.core.errors",
    "Kept": "bnfold.core.diagnostics",
    "MissingExtraError": "bnfold.core.errors",
    "OutputError": "bnfold.core.errors",
    "Reason": "bnfold.core.diagnostics",
    "Refusal": "bnfold.core.diagnostics",
    "Report": "bnfold.report.model",
    "Verification": "bnfold.verify.types",
    "VerificationError": "bnfold.core.errors",
    "benchmark": "bnfold.api",
    "convert": "bnfold.api",
    "fold": "bnfold.api",
    "inspect": "bnfold.api",
    "verify": "bnfold.api",
}

__all__ = [
    "Benchmark",
    "BnfoldError",
    "ConvertedModel",
    "Fold",
    "FoldResult",
    "InputError",
    "Kept",
    "MissingExtraError",
    "OutputError",
    "Reason",
    "Refusal",
    "Report",
    "Verification",
    "VerificationError",
    "__version__",
    "benchmark",
    "convert",
    "fold",
    "inspect",
    "verify",
]


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
