"""The law of LSTM, GRU and RNN: their input weights take an affine of the sequence."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from bnfold.verify.proof.constants import Const
from bnfold.verify.proof.forms import Form, UnfitError, of_base
from bnfold.verify.proof.kernels import Kernel
from bnfold.verify.proof.normal_forms import passing
from bnfold.verify.proof.rounding import EXACT, Array, Grain
from bnfold.verify.proof.rules_linear import operand, weight
from bnfold.verify.proof.rules_nonlinear import operand_key
from bnfold.verify.proof.source import Op
from bnfold.verify.proof.space import Space

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(space: Space, op: Op) -> list[Form]:
    """With x = s b + t: W x + c = (W s) b + (c + W t), and the rest of the op sees only that."""
    x, weights = operand(space, op.input(0)), weight(op.input(1))
    if len(x.coef.shape) != 3 or weights.value.ndim != 3:
        raise UnfitError("not a sequence")
    x = passing(space, x, (0, 1))
    kernel = Kernel(weights.value, 2, x.coef, weights.grain, x.doubt)
    total, mag, unit = kernel.weigh(x.const, x.mag, x.unit)
    outer = weights.shape[:2]
    bias, bias_unit, rest = _biases(op, outer)
    grain: Grain = weights.grain
    if bias is not None:
        given = op.input(3)
        grain = given.grain if isinstance(given, Const) else grain
        total = total + bias.ravel()
        mag = mag + np.abs(bias).ravel()
        unit = unit + bias_unit.ravel()
    others = tuple(operand_key(space, known) for known in op.inputs[4:])
    recurrence = op.input(2)
    key: Hashable = (
        op.op_type,
        op.since,
        op.attribute_key,
        x.base.id if x.base is not None and kernel.live.any() else -1,
        operand_key(space, recurrence),
        others,
    )
    gates, _ = space.contract(
        key, kernel, (*outer,), op.dtype(), lambda a: a.reshape(outer), via=x.via, unit_factor=True
    )
    # The bias is compared as a constant of its own: a value on no base.
    whole = Form(
        (*outer,),
        op.dtype(),
        None,
        np.zeros((1, 1)),
        total.reshape(outer),
        mag.reshape(outer),
        unit.reshape(outer),
        np.zeros((1, 1)),
        grain if space.folded else EXACT,
    )
    space.inner, space.covered = [("the bias", whole)], {0, 1, 3}
    full_bias = space.full(whole)
    kinds = [(op.shape(i), op.dtype(i)) for i in range(len(op.node.outputs))]
    results = space.intern_all((op.op_type, gates.id, full_bias.id, rest), kinds)
    return [of_base(base) for base in results]


def _biases(op: Op, outer: tuple[int, ...]) -> tuple[Array | None, Array, Hashable]:
    """The bias that adds to W x, and what of the second bias stands apart.

    Everywhere but in a GRU with linear_before_reset the two halves only ever occur as a sum.
    """
    known = op.input(3)
    if known is None:
        return None, np.zeros(outer), None
    if not isinstance(known, Const) or not known.finite:
        raise UnfitError("bias is no finite constant")
    half = outer[1]
    first, second = known.real[:, :half], known.real[:, half:]
    unit = known.grain.spacing(first) + known.grain.spacing(second)
    if op.op_type == "GRU" and op.integer("linear_before_reset", 0):
        hidden = half // _GATES["GRU"]
        apart = second.copy()
        apart[:, : 2 * hidden] = 0.0
        rest = ("apart", apart.tobytes()) if apart.any() else None
        return first + (second - apart), unit, rest
    return first + second, unit, None
