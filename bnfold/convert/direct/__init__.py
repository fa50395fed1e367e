"""The direct road: a Keras model, read as data, becomes ONNX by one rule per layer class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx

from bnfold.convert.direct.driver import emit
from bnfold.convert.types import ConvertedModel
from bnfold.core.errors import InputError
from bnfold.formats.keras.errors import UnsupportedLayerError, UnsupportedModelError
from bnfold.formats.keras.graph import KerasGraph
from bnfold.formats.keras.live import is_keras_model, read_live
from bnfold.formats.keras.read import read_keras
from bnfold.formats.onnx.shapes import inference_fault
from bnfold.formats.text import clip

OLDEST_OPSET = 13
UnsupportedLayer = UnsupportedLayerError

__all__ = [
    "OLDEST_OPSET",
    "UnsupportedLayer",
    "UnsupportedLayerError",
    "UnsupportedModelError",
    "convert",
    "read",
]


def convert(source: str | Path | KerasGraph | Any, *, opset: int = 17) -> ConvertedModel:
    """Convert a Keras model to ONNX without TensorFlow.

    Args:
        source: a .keras or .h5 file, a `KerasGraph`, or a live model of Keras 3 or tf_keras.
        opset: version of ONNX's default operator set, from 13 to the newest that onnx knows.

    Returns:
        The model, not folded; ``labels`` name the Keras layer of each node. There is no reference:
        nothing here runs Keras.

    Raises:
        UnsupportedLayerError: a layer has no rule, or its rule made something that is no valid
            ONNX; the tf2onnx road may still do it.
        InputError: the model cannot be read, or the opset does not exist.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise InputError(f"Opset {opset} cannot be written: choose {OLDEST_OPSET} to {newest}.")
    graph = read(source)
    converted = emit(graph, opset)
    fault = inference_fault(converted.model)
    if fault:
        node = re.search(r"node name: ([^)]*)\)", fault)
        layer = converted.labels.get(node[1], "") if node else ""
        said = clip(" ".join(fault.split()), 200)
        raise UnsupportedLayerError(
            layer or graph.name, "converted", f"became ONNX that is not valid: {said}"
        )
    return converted


def read(source: str | Path | KerasGraph | Any) -> KerasGraph:
    """The graph of a file or live model.

    Raises:
        InputError: it cannot be read as data.
    """
    if isinstance(source, KerasGraph):
        return source
    if isinstance(source, (str, Path)):
        return read_keras(source)
    if is_keras_model(source):
        return read_live(source)
    raise InputError(f"{type(source).__name__} is no Keras model and no path of one.")
