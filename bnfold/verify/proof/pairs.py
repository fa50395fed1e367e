"""What a proof rests on: the relation of each pair of values, and what the laws needed of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bnfold.verify.proof.forms import Form
from bnfold.verify.proof.groups import Union
from bnfold.verify.proof.reader import Reader
from bnfold.verify.proof.source import Known
from bnfold.verify.proof.space import Space
from bnfold.verify.proof.types import Condition, GroupProof, ValuePair

_MOVES = "none: it moves with the elements"
_BOUNDS = "bounds that go with it"
_TAKES = "constant along all axes but those that the kernel sums over or makes"
_POSITIVE = "scale > 0 and no shift, or both kept with the base"
_RISING = "scale >= 0, both constant over the window"
_WINDOW = "both constant over the window"

#: What must hold of a relation for an op's law to apply.
NEEDS = {
    **dict.fromkeys(("Clip", "HardSigmoid"), _BOUNDS),
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Abs"), _POSITIVE),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "Max", "Min"), _RISING),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"), _WINDOW),
    **dict.fromkeys(("Gemm", "MatMul", "Einsum"), _TAKES),
    **dict.fromkeys(
        ("Conv", "ConvTranspose"), "constant over space, and no shift where the window pads"
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "constant over batch and time"),
    **dict.fromkeys(("Add", "Sub", "Sum"), "the same scale on every branch"),
    **dict.fromkeys(("Mul", "Div"), "no shift, or it is kept with the base"),
    **dict.fromkeys(
        (
            *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
            *("Gather", "Concat", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Resize"),
            *("Identity", "Cast", "Dropout"),
        ),
        _MOVES,
    ),
}


def conditions_of(
    space: Space, first: Reader, second: Reader, groups: Sequence[GroupProof]
) -> tuple[Condition, ...]:
    """The ops that read something else than their counterpart in the original did.

    Such ops in a row, with those that made what they read, are one region: the way of an affine
    through the graph. It belongs to the groups whose constants lie on it.
    """
    by_name = {(s.op.name, s.op.kind): s for s in first.steps if s.op.name}
    by_output = {v.name: s for s in first.steps for v in s.op.node.outputs if v.name}
    olds = {v.name: known for v, known in first.values.items() if v.name}
    regions = Union()
    found: list[Condition] = []
    for step in second.steps:
        op = step.op
        was = by_name.get((op.name, op.kind)) or by_output.get(op.node.outputs[0].name or "")
        if was is None:
            continue
        for value, before in zip(op.node.inputs, was.op.node.inputs, strict=False):
            if value is None or before is None or not value.name or not before.name:
                continue
            if not _other(space, first.known(before), second.known(value)):
                continue
            needs = NEEDS.get(op.op_type, "its law")
            found.append(Condition(op.name, op.op_type, value.name, needs, before.name))
            maker = value.producer()
            if maker is not None and _other(space, olds.get(value.name), second.known(value)):
                regions.join([op.name, maker.name or ""])
    return tuple(
        replace(
            condition,
            groups=tuple(
                number
                for number, group in enumerate(groups)
                if regions.find(condition.op) in {regions.find(name) for name in group.into}
            ),
        )
        for condition in found
    )


def _other(space: Space, old: Known | None, new: Known) -> bool:
    """Whether a value is tied to the original's by a relation that is not the identity."""
    if not isinstance(old, Form) or not isinstance(new, Form) or old is new:
        return False
    return old.base is not None and old.base is new.base and space.gap(new, old) is None


def paired(space: Space, first: Reader, second: Reader) -> tuple[ValuePair, ...]:
    """Values of both models on one base: the folded model's ops in order.

    A value is paired with the original's of the same name where that is on the same base, else
    with the one that introduced the base.
    """
    named = {
        value.name: known
        for value, known in first.values.items()
        if value.name and value.name not in first.source.parts and isinstance(known, Form)
    }
    found = []
    for step in second.steps:
        for value in step.op.node.outputs:
            new = second.values.get(value)
            if value.name in second.source.parts:
                continue
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
