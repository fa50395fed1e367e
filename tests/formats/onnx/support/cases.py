"""A row of a table of tests: a model, and what folding must make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from bnfold.formats.onnx.fold import FoldOptions
from tests.formats.onnx.support.build import Weight, feeds_of, model


@dataclass(frozen=True)
class Case:
    """One situation.

    Attributes:
        title: what it is, for people; unique in its table.
        nodes, inputs, outputs, weights: see `tests.formats.onnx.support.build.model`.
        left: op types that remain, in the order of the graph; constants do not count.
        why: "direction code" of the refusals that must be given; empty if nothing is kept.
        settings: further arguments of the builder (opset, ir_version, ...).
        dtype: the type that the situation is about; "" if it holds in all of them.
        change: a last change of the model that the text cannot express.
        feeds: values of inputs that must not be random.
        options: as for `fold_model`.
        expected: "" or "not yet": foldable, but not folded today.
        reference: False where ONNX's reference gets an op wrong or does not know it.
        runs: False for models that are valid but that no runtime can run.
        valid: False where onnx.checker rejects the original already.
        step: the step of a quantized result, by which rounding may differ.
        family: what rows are that differ in details only, for the documentation.
    """

    title: str
    nodes: str
    inputs: str
    left: str
    why: tuple[str, ...] = ()
    outputs: str = "y"
    weights: Mapping[str, Weight] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    dtype: str = ""
    change: Callable[[ModelProto], None] | None = None
    feeds: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    options: FoldOptions | None = None
    expected: str = ""
    reference: bool = True
    runs: bool = True
    valid: bool = True
    family: str = ""
    step: float = 0.0

    def build(self, dtype: str, seed: int = 0) -> ModelProto:
        """The model in a floating type."""
        proto = model(
            self.nodes,
            self.inputs,
            self.outputs,
            dtype=self.dtype or dtype,
            seed=seed,
            **{**self.settings, **self.weights},  # type: ignore[arg-type]
        )
        if self.change is not None:
            self.change(proto)
        return proto

    def inputs_for(self, proto: ModelProto, seed: int = 1) -> dict[str, NDArray[np.generic]]:
        """Random inputs, but for those that the case prescribes."""
        return {**feeds_of(proto, seed), **self.feeds}


_SETTINGS = frozenset({"opset", "ir_version", "imports", "functions", "listed"})
_FIELDS = frozenset(
    {
        "dtype",
        "change",
        "feeds",
        "options",
        "expected",
        "reference",
        "runs",
        "valid",
        "family",
        "step",
    }
)


def case(
    title: str, nodes: str, inputs: str, left: str, *why: str, outputs: str = "y", **rest: Any
) -> Case:
    """A `Case` whose weights and settings are given by name."""
    return Case(
        title,
        nodes,
        inputs,
        left,
        why,
        outputs,
        weights={k: v for k, v in rest.items() if k not in _SETTINGS | _FIELDS},
        settings={k: v for k, v in rest.items() if k in _SETTINGS},
        **{k: v for k, v in rest.items() if k in _FIELDS},
    )
