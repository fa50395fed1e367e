"""What happened to every affine, as data: folds, what was kept, and why (`Reason`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Direction(enum.Enum):
    """The way a walk went from the affine."""

    BACKWARD = "backward"
    FORWARD = "forward"
    HERE = "here"


class Reason(enum.Enum):
    """Why an affine could not go. Codes are stable; they are never given a new meaning.

    1xx structure, 2xx algebra, 3xx constants, 4xx numerics.
    """

    OTHER_READER = (
        101,
        "other-reader",
        "Another op reads the same value, so the value must not change for it.",
        "Let every reader absorb the affine, or give this one a producer of its own.",
    )
    GRAPH_OUTPUT = (
        102,
        "graph-output",
        "The value is an output of the model, so callers would see it change.",
        "Drop that output if nobody needs it, then fold again.",
    )
    OUTER_SCOPE = (
        103,
        "outer-scope-use",
        "The value crosses the border of an If, Loop or Scan body.",
        "Inline the body, or move the layer to the same side as its neighbour.",
    )
    GRAPH_INPUT = (
        104,
        "graph-input",
        "The walk arrived at an input of the model: nothing before it can absorb.",
        "Nothing to do, unless the caller can scale the input itself.",
    )
    OPAQUE_OP = (
        105,
        "opaque-op",
        "No rule is known by which this op lets an affine pass.",
        "If the op commutes with a scale or shift, add a row to the table (docs/adding-an-op.md).",
    )
    TRAINING_MODE = (
        106,
        "training-mode",
        "The normalization uses the statistics of the batch, so it is no fixed affine.",
        "Export the model for inference (training=False).",
    )
    EXTRA_OUTPUTS = (
        107,
        "extra-outputs",
        "The normalization also outputs its running statistics, so it must stay.",
        "Export the model for inference, without the extra outputs.",
    )
    UNKNOWN_SHAPE = (
        108,
        "unknown-shape",
        "The shape is not known well enough to tell which axis the affine acts on.",
        "Run shape inference, or export with a known rank and channel count.",
    )
    UNUSED_VALUE = (
        109,
        "unused-value",
        "Nothing reads the value.",
        "Remove the dead part of the model.",
    )
    AXIS_MISMATCH = (
        201,
        "axis-mismatch",
        "The affine varies along another axis than the one the kernel produces or consumes.",
        "Check the layout: the normalized axis must be the channel axis of its neighbour.",
    )
    NOT_PER_CHANNEL = (
        202,
        "not-per-channel",
        "The affine differs within a channel, and one kernel serves the whole channel.",
        "Normalize per channel, or let it stay.",
    )
    PADDING_SHIFT = (
        203,
        "padding-blocks-shift",
        "Padding adds values that the shift does not reach: only a scale passes it.",
        "Use padding 'valid', or place the normalization behind the convolution.",
    )
    ACTIVATION = (
        204,
        "activation",
        "The activation is not linear: no affine passes it.",
        "Place the normalization before the activation, next to its Dense or convolution.",
    )
    NEGATIVE_SCALE = (
        205,
        "negative-scale",
        "The op keeps its meaning only under a positive scale, and some scale is not.",
        "Retrain with gamma constrained to be positive, or move the normalization.",
    )
    ACTIVATION_SHIFT = (
        206,
        "activation-blocks-shift",
        "The op lets a scale pass but not a shift.",
        "Place the normalization before the op, next to its Dense or convolution.",
    )
    MIXES_CHANNELS = (
        207,
        "mixes-channels",
        "The op mixes elements that have different parameters.",
        "Place the normalization on the other side of the op.",
    )
    BRANCH_REFUSES = (
        208,
        "branch-refuses",
        "One of the branches cannot take its part, and all must or none does.",
        "See the branch's own reason; a normalization on each branch could be folded.",
    )
    ZERO_SCALE = (
        209,
        "zero-scale",
        "A scale is zero where the op, or the way around it, needs its inverse.",
        "A channel with gamma = 0 is constant: prune it.",
    )
    NO_BIAS_SLOT = (
        210,
        "no-bias-slot",
        "The op has no bias that can take the shift without a new op.",
        "Give the layer a bias (use_bias=True).",
    )
    NO_KERNEL = (
        211,
        "computed-kernel",
        "Neither operand of the product is constant: there is no kernel to fold into.",
        "Nothing to do: both sides are computed at run time.",
    )
    CROSSES_TIME = (
        212,
        "recurrent-state",
        "The value feeds back into itself, so the affine cannot be taken out of it.",
        "Place the normalization before the recurrent layer.",
    )
    PARAMETERS_NOT_CONSTANT = (
        301,
        "parameters-not-constant",
        "The parameters are computed or given at run time.",
        "Export the model with the parameters as weights.",
    )
    OVERRIDABLE_INITIALIZER = (
        302,
        "overridable-initializer",
        "The initializer is also a model input, so a caller may override it.",
        "Remove it from the inputs, or allow it with --fold-overridable.",
    )
    QUANTIZED = (
        303,
        "quantized",
        "The integers of a quantized tensor cannot take the affine exactly.",
        "Fold before quantizing.",
    )
    UNREADABLE_CONSTANT = (
        304,
        "unreadable-constant",
        "The constant's data cannot be read, or is not floating point.",
        "Check that the external data file is beside the model.",
    )
    NONPOSITIVE_VARIANCE = (
        401,
        "nonpositive-variance",
        "variance + epsilon is not positive for some channel: the layer gives NaN or infinity.",
        "Check the training: the moving variance is damaged.",
    )
    NOT_FINITE = (
        402,
        "not-finite",
        "The parameters hold NaN or infinity.",
        "Check the training: the weights are damaged.",
    )
    OVERFLOW = (
        403,
        "overflow",
        "The folded kernel or bias would leave the range of its data type.",
        "Fold in float32 and convert to the small type afterwards.",
    )
    UNDERFLOW = (
        404,
        "underflow",
        "The folded kernel or bias would lose digits below the smallest normal number.",
        "Fold in float32 and convert to the small type afterwards.",
    )
    COST_WOULD_RISE = (
        405,
        "cost-would-rise",
        "The fold is possible but would leave more work at run time than before.",
        "Nothing to do.",
    )
    NARROWER_TYPE = (
        406,
        "narrower-type",
        "On the other side of the Cast the type has fewer digits or less range.",
        "Fold before the model is converted to mixed precision.",
    )

    def __init__(self, number: int, title: str, why: str, hint: str) -> None:
        self.number = number
        self.title = title
        self.why = why
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable code, like ``BNF204``."""
        return f"BNF{self.number}"


@dataclass(frozen=True)
class Refusal:
    """Where a walk ended and why.

    Attributes:
        reason: the stable reason.
        direction: the way the walk went.
        op: name of the op where it stopped ("" at a graph input or output).
        op_type: type of that op ("" at a graph input or output).
        detail: the particulars: value, axis, channel, numbers. May be "".
        path: names of the ops walked through before the stop, nearest first.
    """

    reason: Reason
    direction: Direction
    op: str
    op_type: str = ""
    detail: str = ""
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Absorption:
    """One op that took an affine, or a part of it.

    Attributes:
        op: name of the op whose constants changed.
        op_type: its type.
        direction: BACKWARD when the op stands before the affine, FORWARD when behind it,
            HERE when another affine took it up.
        part: "scale", "shift", "scale and shift".
    """

    op: str
    op_type: str
    direction: Direction
    part: str


@dataclass(frozen=True)
class Fold:
    """An affine that is gone from the graph.

    Attributes:
        source: name of the affine: the layer where one is known, else the op's name.
        ops: the names of the graph's ops that made it up; all of them are gone.
        op_type: "BatchNormalization", "Mul", "Mul+Add", or the layer class.
        channels: how many pairs of scale and shift it held.
        into: what took it.
    """

    source: str
    ops: tuple[str, ...]
    op_type: str
    channels: int
    into: tuple[Absorption, ...]


@dataclass(frozen=True)
class Kept:
    """An affine that stays, whole or in part, with the refusals of both directions.

    Attributes:
        source, ops, op_type, channels: as in `Fold`.
        refusals: at least one; both directions where both were walked.
        left_as: op types that it costs now, such as ("Mul",); the original ones if untouched.
        into: what took the part that could go, if any.
    """

    source: str
    ops: tuple[str, ...]
    op_type: str
    channels: int
    refusals: tuple[Refusal, ...]
    left_as: tuple[str, ...] = ()
    into: tuple[Absorption, ...] = ()
