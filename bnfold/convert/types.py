"""What a conversion from Keras to ONNX yields, whichever road it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx_ir as ir

Reference = Callable[["Sequence[npt.NDArray[Any]]"], "list[npt.NDArray[np.generic]]"]
"""Runs the source model itself: one array per input in the ONNX order, one per output back."""


@dataclass(frozen=True)
class ConvertedModel:
    """A Keras model as ONNX, not folded yet.

    Attributes:
        model: the ONNX model. Inputs and outputs have Keras's names and order; the free batch
            dimension is called "batch".
        labels: name of an ONNX node to the name of the Keras layer that it came from; layers of
            nested models as a path, "encoder/bn_1". Nodes of no layer are absent.
        reference: runs Keras itself; None where Keras is not there to run.
        converter: "tf2onnx" or "direct".
        notes: one line each for what a user should know about this conversion.
        steps: names of nodes that are steps of a layer's own formula, such as the factor in a GELU:
            an affine there is none of the model's, and nobody asks why it stays.
    """

    model: ir.Model
    labels: Mapping[str, str]
    reference: Reference | None
    converter: str
    notes: tuple[str, ...] = field(default=())
    steps: frozenset[str] = frozenset()
