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


def runs_on_tensorflow(model: Any) -> bool:
    """Whether a live model's Keras has TensorFlow as its backend."""
    if not any(base.__module__.partition(".")[0] == "keras" for base in type(model).__mro__):
        return True  # of Keras 2
    import keras

    return bool(keras.backend.backend() == "tensorflow")


def backend_reference(model: Any) -> Reference:
    """A function that calls a live model of Keras 3 on whatever backend it has."""
    import keras

    def reference(arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[np.generic]]:
        # A Sequential cannot be asked for its `input` before it was called.
        sequential = isinstance(model, keras.Sequential)
        structure = model.inputs[0] if sequential else model.input
        given = keras.tree.pack_sequence_as(structure, list(arrays))
        results = model(given, training=False)
        return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(results)]

    return reference
