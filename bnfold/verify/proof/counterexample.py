"""An input on which the two models differ beyond rounding, searched for in the runtime."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: What open dims become: the batch, and other axes by the rank of the input.
OPEN_BATCH = 16
OPEN_DIMS = {4: 32, 5: 16}
#: A difference this large, relative to the output's size, is no rounding of float32 ...
RELATIVE = 1e-3
#: ... unless the runtime's own two ways of running the original differ by a share of it.
NOISE_FACTOR = 100.0


def differing_outputs(
    original: ir.Model, folded: ir.Model, names: Sequence[str], seconds: float, seed: int = 0
) -> dict[str, float]:
    """Outputs on which some random input tells the models apart.

    Args:
        original, folded: the models.
        names: outputs to look at.
        seconds: time to spend at most; what it does not suffice for is left out.
        seed: of the inputs.

    Returns:
        Output name to relative difference, for outputs that differ for certain. Outputs that
        agree, and models that cannot be run, are left out.
    """
    end = time.perf_counter() + seconds
    try:
        import onnxruntime as ort

        reference = _session(ort, original, optimized=False)
        other = _session(ort, original, optimized=True)
        candidate = _session(ort, folded, optimized=False)
    except Exception as error:  # the runtime raises anything on models that it cannot load
        logger.debug("no counterexample searched: %s", error)
        return {}
    found: dict[str, float] = {}
    rng = np.random.default_rng(seed)
    for size in (1.0, 4.0, 0.25):
        if time.perf_counter() > end:
            break
        try:
            feeds = {i.name: _random(i, size, rng) for i in reference.get_inputs()}
            first, again, new = (_run(s, names, feeds) for s in (reference, other, candidate))
        except Exception as error:
            logger.debug("no counterexample found: %s", error)
            break
        for name in names:
            distance = _difference(first.get(name), again.get(name), new.get(name))
            if distance is not None:
                found[name] = max(distance, found.get(name, 0.0))
    return found


def _session(ort: Any, model: ir.Model, *, optimized: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    data = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _run(session: Any, names: Sequence[str], feeds: Mapping[str, Any]) -> dict[str, Any]:
    own = [output.name for output in session.get_outputs() if output.name in names]
    wanted = {i.name for i in session.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in wanted}
    return dict(zip(own, session.run(own, given), strict=True))


_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def _random(given: Any, size: float, rng: np.random.Generator) -> NDArray[Any]:
    shape = [
        dim
        if isinstance(dim, int) and dim > 0
        else OPEN_BATCH
        if axis == 0
        else OPEN_DIMS.get(len(given.shape), 4)
        for axis, dim in enumerate(given.shape)
    ]
    kind = np.dtype(_TYPES[given.type])
    if kind.kind == "f":
        return (rng.standard_normal(shape) * size).astype(kind)
    return rng.integers(0, 2, shape).astype(kind)


def _difference(first: Any, again: Any, new: Any) -> float | None:
    """Relative difference, None unless it is certain."""
    if first is None or new is None:
        return None
    a, b, c = (np.asarray(v) for v in (first, again, new))
    if a.shape != c.shape or a.dtype != c.dtype:
        return float("inf")
    if a.dtype.kind != "f":
        return None if np.array_equal(a, c) or not np.array_equal(a, b) else 1.0
    a, b, c = (v.astype(np.float64) for v in (a, b, c))
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return None
    if not np.isfinite(c).all():
        return float("inf")
    size = max(float(np.abs(a).max(initial=0.0)), 1e-30)
    distance = float(np.abs(a - c).max(initial=0.0)) / size
    noise = float(np.abs(a - b).max(initial=0.0)) / size
    return distance if distance > max(RELATIVE, NOISE_FACTOR * noise) else None
