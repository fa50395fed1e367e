"""Exceptions: for unusable input and for bugs. Why an affine stayed is data (`diagnostics`)."""

from __future__ import annotations


class BnfoldError(Exception):
    """Base of everything bnfold raises on purpose. Its text is one line for the user."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        # Messages quote names from model files, which may hold anything.
        super().__init__(" ".join(message.splitlines()))


class InputError(BnfoldError):
    """The given model cannot be used: missing, damaged, of another kind, not supported."""


class OutputError(BnfoldError):
    """The result cannot be written where it was asked to be written; nothing was written."""


class MissingExtraError(InputError):
    """An optional dependency is not installed; the text says which extra brings it."""


class VerificationError(BnfoldError):
    """A check failed, so the folded model is withheld.

    Attributes:
        verification: the `bnfold.verify.Verification` with the figures, where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, verification: object | None = None) -> None:
        super().__init__(message)
        self.verification = verification
