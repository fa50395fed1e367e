"""Running the source model itself, as what its conversion is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bnfold.convert.signature import Signature
from bnfold.convert.types import Reference
from bnfold.formats.keras import runtime


def keras_reference(signature: Signature) -> Reference:
    """A function that calls the Keras model for inference, outside any traced graph."""

    def reference(arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.generic]]:
        tf = runtime.start_tensorflow()
        tensors = [
            tf.constant(array, dtype=port.dtype)
            for array, port in zip(arrays, signature.inputs, strict=True)
        ]
        with runtime.quiet():
            return [np.asarray(result) for result in signature.call(tensors)]

    return reference
