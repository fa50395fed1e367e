"""Which opset tf2onnx is asked for, and how the model gets from there to the one wanted."""

from __future__ import annotations

import onnx

from bnfold.core.errors import InputError
from bnfold.formats.text import clip

LOWEST = 9
# tf2onnx knows no later one.
_HIGHEST_OF_TF2ONNX = 18
_START = 17


def opset_to_emit(wanted: int) -> int:
    """The opset to convert at, for a model that is wanted at opset `wanted`.

    Raises:
        InputError: the installed onnx does not have that opset, or it is too old.
    """
    newest = onnx.defs.onnx_opset_version()
    if not LOWEST <= wanted <= newest:
        raise InputError(
            f"Opset {wanted} is not possible here: choose one from {LOWEST} to {newest}."
        )
    return wanted if wanted <= _HIGHEST_OF_TF2ONNX else _START


def raised(model: onnx.ModelProto, wanted: int) -> onnx.ModelProto:
    """The model at opset `wanted`, with the IR version that came out with it.

    Raises:
        InputError: an op of the model has no such version.
    """
    current = next(entry.version for entry in model.opset_import if entry.domain == "")
    if current != wanted:
        from onnx import version_converter

        try:
            model = version_converter.convert_version(model, wanted)
        except Exception as error:
            raise InputError(
                f"The model cannot be brought to opset {wanted}: {clip(str(error), 300)}"
            ) from error
        model.ir_version = max(model.ir_version, ir_version_of(wanted))
    return model


def ir_version_of(opset: int) -> int:
    """The lowest IR version that goes with an opset of the default domain."""
    versions = [
        row[1]
        for row in onnx.helper.VERSION_TABLE
        if row[2] == opset  # (release, ir, ai.onnx, ...)
    ]
    return min(versions) if versions else onnx.IR_VERSION
