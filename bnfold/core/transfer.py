"""How an op treats an affine: the closed union that lowering tables speak in."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from bnfold.core.affine import Affine
from bnfold.core.diagnostics import Reason
from bnfold.core.labels import Labels
from bnfold.core.moves import Keep, Move


class Form(enum.Enum):
    """As what an affine stands in the graph, with its cost in elementwise passes."""

    NORM = ("BatchNormalization", 1.1)
    MUL = ("Mul", 1.0)
    ADD = ("Add", 1.0)
    FIXED = ("affine", 1.0)
    NONE = ("Identity", 0.0)

    def __init__(self, title: str, passes: float) -> None:
        self.title = title
        self.passes = passes


@dataclass(frozen=True)
class Source:
    """The op *is* an affine of its operand ``data``.

    Attributes:
        affine: the map.
        form: how it stands there. A NORM can hold any scale and shift along ``axis``; a FIXED
            (a negation, a constant minus the value) can be removed or rewritten only.
        data: index of the operand it acts on.
        axis: channel axis of a NORM.
        keeps: a NORM that is better written as one whatever it holds.
        sized: whether it is known how many channels the value has, so that a Mul or an Add by as
            many constants is known not to widen it.
    """

    affine: Affine
    form: Form
    data: int = 0
    axis: int = 1
    keeps: bool = False
    sized: bool = True


class Sign(enum.Enum):
    """Which scales pass an op."""

    ANY = "any"
    NOT_NEGATIVE = "not negative"
    POSITIVE = "positive"
    NOT_ZERO = "not zero"


class Rewrite(enum.Enum):
    """How an op that has no bias can be given one."""

    OPERAND = "operand"
    CHANGE_OP = "change-op"


@dataclass(frozen=True)
class Bias:
    """Where a contraction adds its bias: ``y = product + gain * operand``.

    Attributes:
        operand: index of the bias operand.
        present: whether the op has it now.
        axis: the one axis of the result it runs along (a convolution's channels);
            None where it broadcasts against the result from the right (Gemm).
        gain: factor on the operand (Gemm's beta).
        create: how it comes into being where it is absent; None where it cannot.
        pad: zeros appended along the last axis of the bias (recurrent layers keep a
            second bias there).
    """

    operand: int
    present: bool
    axis: int | None = None
    gain: float = 1.0
    create: Rewrite | None = Rewrite.OPERAND
    pad: int = 0


@dataclass(frozen=True)
class Contraction:
    """A product of data and kernel summed over shared labels, plus a bias.

    Attributes:
        labels: the axes of data, kernel and result.
        x, w: operand indices of data and kernel.
        bias: where a shift goes; None if it cannot be added in the op.
        gain: factor on the product (Gemm's alpha).
        sign: which factors the kernel takes.
        shift_blocked: why a shift on the data cannot become a bias (zero padding), if so.
        input_blocked: why nothing on the data passes (a layer normalization), if so.
        output_blocked: why nothing on the result can be absorbed (a recurrent layer), if so.
        blocked_detail: the particulars of the above.
    """

    labels: Labels
    x: int = 0
    w: int = 1
    bias: Bias | None = None
    gain: float = 1.0
    sign: Sign = Sign.ANY
    shift_blocked: Reason | None = None
    input_blocked: Reason | None = None
    output_blocked: Reason | None = None
    blocked_detail: str = ""


class Passage(enum.Enum):
    """What may move to the other side of an op for the sake of its type there."""

    ALL = "all"
    SCALE = "a scale"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Border:
    """One number beside the data (padding, a bound); it must undergo the affine as they do.

    Attributes:
        value: it.
        operand: index of the operand that holds it, and may be edited or created; None where
            it cannot be changed.
        reason: why nothing passes if it cannot follow.
    """

    value: float
    operand: int | None = None
    reason: Reason = Reason.PADDING_SHIFT


@dataclass(frozen=True)
class Commute:
    """The affine passes, its parameters moving with the elements.

    Attributes:
        move: how parameters move.
        data: index of the operand it acts on.
        sign: which scales pass.
        shift_blocked: why a shift does not pass; None if it does.
        detail: the particulars of the above.
        borders: numbers beside the data that an affine changes too.
        to_input, to_output: what may move to that side of the op; a Cast has types of different
            digits and range on its two sides.
    """

    move: Move = field(default_factory=Keep)
    data: int = 0
    sign: Sign = Sign.ANY
    shift_blocked: Reason | None = None
    detail: str = ""
    borders: tuple[Border, ...] = ()
    to_input: Passage = Passage.ALL
    to_output: Passage = Passage.ALL


@dataclass(frozen=True)
class Sum:
    """``y = sum(coefficient_i * operand_i)`` with broadcasting from the right."""

    operands: tuple[int, ...]
    coefficients: tuple[float, ...]


@dataclass(frozen=True)
class Join:
    """Every element of the result is one of the operands' elements (Where, Max, Min).

    An affine of the result goes to each of ``operands``.
    """

    operands: tuple[int, ...]
    sign: Sign = Sign.ANY


@dataclass(frozen=True)
class Concat:
    """Operands stand one after the other along ``axis``; ``sizes`` are theirs, None unknown."""

    axis: int
    sizes: tuple[int | None, ...]


@dataclass(frozen=True)
class Split:
    """The operand is cut along ``axis`` into outputs of ``sizes``."""

    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class ShapeOnly:
    """The op reads the shape of its operands, not their elements: no affine disturbs it."""


@dataclass(frozen=True)
class Opaque:
    """Nothing passes.

    Attributes:
        reason: why.
        detail: the particulars.
        candidate: the op looks like an affine but cannot be used as one, so that it is
            reported among the kept ones.
    """

    reason: Reason = Reason.OPAQUE_OP
    detail: str = ""
    candidate: bool = False


Transfer = Source | Contraction | Commute | Sum | Join | Concat | Split | ShapeOnly | Opaque
