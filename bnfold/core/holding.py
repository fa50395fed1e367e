"""In which form a source can hold an affine."""

from __future__ import annotations

from bnfold.core.affine import Affine
from bnfold.core.transfer import Form, Source


def form_for(source: Source, affine: Affine) -> Form | None:
    """The cheapest form in which the op of ``source`` can stand for ``affine``.

    None if it would take two ops. Any source can be rewritten as a Mul or an Add, unless nobody
    could tell any more that its constant fits; only what was a normalization can hold both, and
    only along its own axis.
    """
    if affine.is_identity:
        return Form.NONE
    if source.sized or affine.is_uniform:
        if affine.is_scale:
            return Form.MUL
        if affine.is_shift:
            return Form.ADD
    if source.form is Form.NORM and _lies_along(affine, source.axis):
        return Form.NORM
    return None


def form_written(source: Source, form: Form, affine: Affine) -> Form:
    """The form that ``source`` is written in where it is held in ``form``."""
    if source.keeps and form in (Form.MUL, Form.ADD) and _lies_along(affine, source.axis):
        return Form.NORM
    return form


def form_read(source: Source) -> Form:
    """The form that ``source`` is held in as it is found: the inverse of `form_written`.

    What was written as a normalization for the runtime's sake costs what it does, in the model that
    comes out of a fold as in the next one that is made of it: else that would find savings which
    are none.
    """
    form = form_for(source, source.affine) if source.keeps else None
    return source.form if form in (None, Form.NONE) else form


def _lies_along(affine: Affine, channel_axis: int) -> bool:
    return all(size == 1 or axis == channel_axis for axis, size in enumerate(affine.shape))
