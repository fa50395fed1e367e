"""Does a rewritten model still compute what the original computed?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from bnfold.bench.inputs import make_feeds, slots_of

#: Largest RMS difference relative to the output's RMS that rounding explains: float32, float16.
FLOAT32_BOUND, FLOAT16_BOUND = 1e-4, 2e-2


def difference(original: Path, rewritten: Path) -> str:
    """Compare all outputs on random input without the runtime's own rewriting.

    Returns:
        "" when they agree, otherwise what is wrong, in one line.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    model = ir.load(original)
    (feeds,) = make_feeds(slots_of(model), [4], {}, seed=1)
    results = []
    try:
        for path in (original, rewritten):
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            results.append((session.run(None, feeds.arrays), session.get_outputs()))
    except Exception as error:
        return f"invalid model: {str(error).splitlines()[0][:200]}"
    (before, old), (after, new) = results
    if [value.name for value in old] != [value.name for value in new]:
        return "other outputs"
    half = any(
        value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT16
        for value in model.graph.initializers.values()
    )
    for value, first, second in zip(old, before, after, strict=True):
        error = _relative_rms(np.asarray(first), np.asarray(second))
        if not error <= (FLOAT16_BOUND if half else FLOAT32_BOUND):
            return f"wrong: output {value.name} is off by {error:.1e} of its size"
    return ""


def _relative_rms(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape:
        return float("inf")
    a, b = first.astype(np.float64), second.astype(np.float64)
    size = float(np.sqrt(np.mean(a * a))) or 1.0
    return float(np.sqrt(np.mean((a - b) ** 2))) / size
