"""Running Keras and the converted model side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime


def run_onnx(model: ir.Model, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs by onnxruntime, after onnx's own full check."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))


def run_keras(model: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The model's outputs by Keras, flat; dicts in the order of their sorted keys."""
    given = dict(zip([id(tensor) for tensor in model.inputs], arrays, strict=True))
    # Keras 3 lets nobody ask a Sequential for its `input` before a call.
    structure = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    if hasattr(model, "_inputs_struct") or type(model).__name__ != "Sequential":
        structure = model.input
    packed = _map(structure, lambda tensor: given[id(tensor)])
    return [np.asarray(one) for one in _flat(model(packed, training=False))]


def _map(structure: Any, function: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _map(one, function) for key, one in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_map(one, function) for one in structure]
    return function(structure)


def _flat(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [one for key in sorted(structure) for one in _flat(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [one for part in structure for one in _flat(part)]
    return [structure]


def assert_equal(got: list[np.ndarray], want: list[np.ndarray], relative: float = 2e-6) -> None:
    """Equal but for rounding: the error is measured against the largest value of the output."""
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if other.dtype.kind not in "f":
            np.testing.assert_array_equal(one, other)
            continue
        assert np.isfinite(other).all()
        size = max(float(np.abs(other).max(initial=0)), 1e-6)
        error = float(np.abs(one.astype(np.float64) - other).max(initial=0))
        assert error <= relative * size, f"{error:.3g} against {size:.3g}"
