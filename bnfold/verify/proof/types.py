"""What a proof says, as data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ProofStatus(enum.Enum):
    """What is known of a claim. UNKNOWN is neither a pass nor a failure."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class OutputProof:
    """One output of the models.

    Attributes:
        name: the output.
        status: whether both models give the same for every input.
        argument: by which argument, one line for people.
    """

    name: str
    status: ProofStatus
    argument: str


@dataclass(frozen=True)
class GroupProof:
    """Constants that a fold changed, and the affines that went into them.

    Attributes:
        ops: names of the original's ops that are gone from the folded model.
        into: names of the folded model's ops whose constants hold them now.
        status: whether the constants are what the relation demands.
        argument: one line for people.
        max_ulps: largest distance of a stored constant from the demanded one, in units of the
            last place of its own type.
        bound: what max_ulps must not exceed.
    """

    ops: tuple[str, ...]
    into: tuple[str, ...]
    status: ProofStatus
    argument: str
    max_ulps: float
    bound: float


@dataclass(frozen=True)
class Refutation:
    """Where the two models stop computing the same.

    Attributes:
        op: the folded model's op; for an output that is wrong itself, the op that makes it.
        op_type: its type.
        reason: what is wrong there, one line for people.
        counterpart: the original's op that it was compared with ("" where there is none).
        removed: the original's affines on the way there that the folded model does without.
        holders: ops before it in the folded model whose constants decide its operand.
    """

    op: str
    op_type: str
    reason: str
    counterpart: str = ""
    removed: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValuePair:
    """Two values that are tied by ``a * original + b * folded = c``, elementwise.

    Attributes:
        original, folded: names of the values.
        a, b, c: float64 arrays that broadcast to the values; None when the relation is the
            identity (a = 1, b = -1, c = 0).
    """

    original: str
    folded: str
    relation: tuple[Any, Any, Any] | None


@dataclass(frozen=True)
class Condition:
    """What an op of the folded model lets pass, where its operand is not the original's own.

    Attributes:
        op, op_type: the op.
        value: the operand.
        needs: what must hold of the operand's relation for the op's law to apply; it was checked.
        original: what the original's op reads in its place.
        groups: numbers of the groups of constants whose affines come this way.
    """

    op: str
    op_type: str
    value: str
    needs: str
    original: str = ""
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class Proof:
    """Whether the folded model computes, for every input, what the original does.

    PROVED means: with each stored constant of the folded model moved by at most ``max_ulps``
    units of its last place, both models compute the same function of real numbers. It says
    nothing about the rounding of run-time arithmetic.

    Attributes:
        status: PROVED if every output is, REFUTED if any is, else UNKNOWN.
        outputs: per output.
        groups: per group of changed constants.
        refutations: the first differences, in the order of the folded model.
        share_proved: share of the outputs that are proved, 0 to 1.
        share_groups_proved: share of the groups that are proved, 0 to 1 (1 without groups).
        max_ulps: largest over kernels and biases.
        kernel_ulps, bias_ulps: the same, apart.
        bias_relative: largest bias difference over the sum of its absolute terms.
        seconds: wall time.
        pairs: the relation of each pair of corresponding values, where all is proved.
        conditions: what the laws needed wherever a relation other than the identity passed.
        notes: remarks, such as why something is unknown.
    """

    status: ProofStatus
    outputs: tuple[OutputProof, ...] = ()
    groups: tuple[GroupProof, ...] = ()
    refutations: tuple[Refutation, ...] = ()
    share_proved: float = 0.0
    share_groups_proved: float = 0.0
    max_ulps: float = 0.0
    kernel_ulps: float = 0.0
    bias_ulps: float = 0.0
    bias_relative: float = 0.0
    seconds: float = 0.0
    pairs: tuple[ValuePair, ...] = ()
    conditions: tuple[Condition, ...] = ()
    notes: tuple[str, ...] = ()
    arguments: Mapping[str, int] = field(default_factory=dict)
