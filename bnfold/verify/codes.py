"""Why a check failed, as data: stable codes with a sentence why and a sentence what to do."""

from __future__ import annotations

import enum


class Fault(enum.Enum):
    """Codes are stable; they are never given a new meaning.

    10x and 11x the interface, 12x weights and algebra, 13x what comes out at run time.
    """

    MISSING_OUTPUT = (
        101,
        "missing-output",
        "The candidate lacks an output that the reference has.",
        "Keep every output; callers ask for it by name.",
    )
    EXTRA_OUTPUT = (
        102,
        "extra-output",
        "The candidate has an output that the reference has not.",
        "Drop it: callers that take all outputs would get one more.",
    )
    RENAMED_OUTPUT = (
        103,
        "renamed-output",
        "An output has another name.",
        "Rename it back; callers ask for it by name.",
    )
    OUTPUT_ORDER = (
        104,
        "output-order",
        "The outputs are the same but in another order.",
        "Restore the order; callers take outputs by position.",
    )
    OUTPUT_TYPE = (
        105,
        "output-type",
        "An output has another element type.",
        "Cast it back to the type that the reference declares.",
    )
    OUTPUT_SHAPE = (
        106,
        "output-shape",
        "An output has another shape.",
        "Compare the two graphs from the op named by the bisection on.",
    )
    MISSING_INPUT = (
        107,
        "missing-input",
        "The candidate lacks an input that callers may feed.",
        "Keep every input, including initializers that callers may override.",
    )
    EXTRA_INPUT = (
        108,
        "extra-input",
        "The candidate demands an input that the reference has not.",
        "Give it a value inside the model.",
    )
    RENAMED_INPUT = (
        109,
        "renamed-input",
        "An input has another name.",
        "Rename it back; callers feed it by name.",
    )
    INPUT_ORDER = (
        110,
        "input-order",
        "The inputs are the same but in another order.",
        "Restore the order; callers feed inputs by position.",
    )
    INPUT_TYPE = (
        111,
        "input-type",
        "An input has another element type.",
        "Declare the type that the reference declares.",
    )
    INPUT_SHAPE = (
        112,
        "input-shape",
        "An input accepts other shapes than the reference does.",
        "Keep dynamic dimensions dynamic and sizes as they are.",
    )
    WEIGHTS = (
        120,
        "weights",
        "A stored weight is not what the original demands, rounded once.",
        "Recompute the fold in float64 and round once to the weight's own type.",
    )
    REFUTED = (
        121,
        "algebra-refuted",
        "At some op the two models provably stop computing the same.",
        "Look at the op that is named: epsilon, shift, axis, activation or padding.",
    )
    ALGEBRA = (
        122,
        "algebra",
        "In float64, where rounding does not count, the two models give different results.",
        "The rewriting is wrong, not merely inexact: look at the op that is named.",
    )
    CONSTANTS = (
        123,
        "constants",
        "The stored constants change the result by more than their rounding explains.",
        "Look at the op that is named; compute its constants in float64 and round once.",
    )
    STALE_CERTIFICATE = (
        124,
        "stale-certificate",
        "The certificate was made for other models than these two.",
        "Fold again with --certificate, and keep it beside the model that it came with.",
    )
    FORGED_CERTIFICATE = (
        125,
        "forged-certificate",
        "The certificate claims what cannot be derived from the two models.",
        "Do not rely on it: fold again with --certificate, and ask where this one came from.",
    )
    NOT_A_NUMBER = (
        130,
        "not-a-number",
        "The candidate gives NaN where the reference gives a number.",
        "Look for a division by zero or an overflow in the folded constants.",
    )
    INFINITE = (
        131,
        "infinite",
        "The candidate gives infinity where the reference gives a finite number.",
        "The folded constants overflow their type: fold in float32.",
    )
    RUN_SHAPE = (
        132,
        "result-shape",
        "A result has another shape than the reference's.",
        "Compare the two graphs from the op named by the bisection on.",
    )
    RUN_TYPE = (
        133,
        "result-type",
        "A result has another element type than the reference's.",
        "Cast it back to the type that the reference gives.",
    )
    DOES_NOT_RUN = (
        134,
        "does-not-run",
        "The candidate does not run where the reference does.",
        "The text is the runtime's own: the candidate's graph is not valid.",
    )
    LOCAL_ROUNDING = (
        135,
        "local-rounding",
        "A rewritten part differs from the original part by more than rounding allows.",
        "Look at the part that is named: its constants or its op are wrong.",
    )
    FARTHER = (
        136,
        "farther-from-truth",
        "The candidate is farther from the float64 reference than rounding allows.",
        "The candidate loses precision: look for cancellation or a smaller type.",
    )
    ARGMAX = (
        137,
        "argmax",
        "The candidate names another class although the margin is larger than the rounding.",
        "Look at the op that is named by the bisection.",
    )
    KERAS = (
        138,
        "keras",
        "The candidate differs from what Keras itself computes.",
        "If the unfolded ONNX differs as much, the conversion is wrong, not the fold.",
    )
    DISCRETE = (
        139,
        "discrete",
        "Integer, boolean or string results differ.",
        "Look at the op that is named by the bisection.",
    )

    FOUND_NUMBER = (
        140,
        "number-for-none",
        "The candidate gives a number where the reference gives NaN or infinity, even in float64.",
        "Look for an op that hides what is not defined, such as Abs, Clip or an added epsilon.",
    )

    def __init__(self, number: int, title: str, why: str, hint: str) -> None:
        self.number = number
        self.title = title
        self.why = why
        self.hint = hint

    @property
    def code(self) -> str:
        """The stable code, like ``BNV122``."""
        return f"BNV{self.number}"
