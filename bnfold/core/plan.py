"""The result of planning: what to change, and what happened to every affine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnfold.core.affine import Affine
from bnfold.core.diagnostics import Fold, Kept
from bnfold.core.graph import Use
from bnfold.core.state import Standing


@dataclass(frozen=True)
class Plan:
    """Changes to one graph. Op numbers are those of the graph that was planned.

    Attributes:
        edits: constants to replace by an affine of them; a use whose operand is absent is a
            bias to create, with the affine's shift as its value.
        standing: sources that change: gone (`Form.NONE`) or standing for another affine.
        folds, kept: the report.
    """

    edits: Mapping[Use, Affine]
    standing: Mapping[int, Standing]
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing changes."""
        return not self.edits and not self.standing
