"""The relation of each pair of corresponding values, as the certificate writes it down."""

from __future__ import annotations

import numpy as np

from bnfold.verify.proof.forms import Form
from bnfold.verify.proof.reader import Reader
from bnfold.verify.proof.space import Space
from bnfold.verify.proof.types import ValuePair


def paired(space: Space, first: Reader, second: Reader) -> tuple[ValuePair, ...]:
    """Values of both models on one base: the folded model's ops in order.

    A value is paired with the original's of the same name where that is on the same base, else
    with the one that introduced the base.
    """
    named = {
        value.name: known
        for value, known in first.values.items()
        if value.name and isinstance(known, Form)
    }
    found = []
    for step in second.steps:
        for value in step.op.node.outputs:
            new = second.values.get(value)
            if not value.name or not isinstance(new, Form) or new.base is None:
                continue
            for name in (value.name, new.base.maker):
                old = named.get(name)
                if old is not None and old.base is new.base and old.rank == new.rank:
                    found.append(ValuePair(name, value.name, _relation(space, old, new)))
                    break
    return tuple(found)


def _relation(space: Space, old: Form, new: Form) -> tuple[object, object, object] | None:
    """``a v_o + b v_f = c`` from v_o = p u + q and v_f = r u + s; None for the identity.

    The identity is meant up to the rounding of stored constants.
    """
    if space.gap(new, old) is not None:
        return None
    a, b = np.broadcast_arrays(new.coef, -old.coef)
    c = new.coef * old.const - old.coef * new.const
    # Two constants: their difference is all there is to say.
    both = (a == 0) & (b == 0)
    return (
        np.where(both, 1.0, a),
        np.where(both, -1.0, b),
        np.where(both, old.const - new.const, c),
    )
