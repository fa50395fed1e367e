"""Each rewritten part on its own: original against folded on the same input, within rounding.

A part is what lies between values that are equal in both models. Local, because a bound that is
propagated through a whole net is uselessly loose.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bnfold.verify.codes import Fault
from bnfold.verify.dataflow import UNIT_ROUNDOFF, Rounding
from bnfold.verify.evaluate import EvaluationError, Float64Model
from bnfold.verify.inputs import Feed
from bnfold.verify.matching import Matching, match_values
from bnfold.verify.prepare import Prepared, perturbed
from bnfold.verify.running_error import NoBoundError, error_bounds
from bnfold.verify.runtime import RuntimeUnavailableError, Session
from bnfold.verify.types import Check, CheckKind, Status

Array = NDArray[Any]

logger = logging.getLogger(__name__)

# The stored constants of the folded part were rounded once, which no runtime operation is.
_CONSTANT_ROUNDINGS = 1


@dataclass(frozen=True)
class Part:
    """A region of the folded model with its counterpart.

    Attributes:
        inputs: pairs (original, folded) of the equal values before it.
        output: the equal values behind it.
        original, folded: the regions as models of their own.
    """

    inputs: tuple[tuple[str, str], ...]
    output: tuple[str, str]
    original: ir.Model
    folded: ir.Model

    @property
    def label(self) -> str:
        """The folded region's ops, for people."""
        names = [node.name or node.op_type for node in self.folded.graph]
        return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def check_local(prepared: Prepared, feeds: Sequence[Feed], *, seed: int, deadline: float) -> Check:
    """One check over all rewritten parts; the part with the largest share of its bound decides."""
    runners = prepared.runners
    noisy = perturbed(runners)
    if noisy is None or runners.stored is None:
        return _skip(prepared.float64_reason or "there is no float64 evaluation")
    if not feeds:
        return _skip("no inputs could be run")
    feed = feeds[min(1, len(feeds) - 1)]
    try:
        models = (prepared.original, prepared.folded)
        matching = match_values(noisy, runners.stored, models, feed, seed=seed)
        parts, unbounded = find_parts(prepared.original, prepared.folded, matching)
        if not parts and not unbounded:
            return _skip("no part was rewritten")
        values = _values(runners.original, {o for p in parts for o, _ in p.inputs}, feed)
    except EvaluationError as error:
        return _skip(str(error))
    worst: tuple[float, str] | None = None
    done, reasons = 0, list(unbounded)
    for part in parts:
        if time.monotonic() > deadline:
            reasons.append("the time budget was used up")
            break
        try:
            share = _share(part, values, runners.original_rounding)
        except (NoBoundError, EvaluationError, RuntimeUnavailableError) as error:
            reasons.append(str(error))
            continue
        done += 1
        if worst is None or not share <= worst[0]:
            worst = (share, part.label)
    total = len(parts) + len(unbounded)
    if worst is None:
        return _skip(f"none of {total} rewritten parts: {reasons[0]}")
    detail = f"{done} of {total} rewritten parts, each on the same input"
    if reasons:
        detail += f"; the others: {'; '.join(dict.fromkeys(reasons))}"
    held = worst[0] <= 1.0
    return Check(
        CheckKind.LOCAL,
        Status.PASSED if held else Status.FAILED,
        worst[0],
        1.0,
        "of the rounding bound",
        detail,
        "" if held else Fault.LOCAL_ROUNDING.code,
        worst[1],
    )


def _skip(reason: str) -> Check:
    return Check(CheckKind.LOCAL, Status.SKIPPED, None, None, "", reason)


def find_parts(
    original: ir.Model, folded: ir.Model, matching: Matching
) -> tuple[list[Part], list[str]]:
    """The rewritten regions between equal values, and why some could not be cut out."""
    ours = {out.name or "": node for node in original.graph for out in node.outputs}
    theirs = {out.name or "": node for node in folded.graph for out in node.outputs}
    parts: list[Part] = []
    failures: list[str] = []
    for after, before in matching.pairs.items():
        region = _region(theirs, after, set(matching.pairs) - {after})
        if region is None:
            continue
        nodes, border = region
        wanted = {matching.pairs.get(name, name) for name in border}
        counterpart = _region(ours, before, wanted)
        if counterpart is None or _same(counterpart[0], nodes):
            continue
        if not counterpart[1] <= wanted:
            failures.append(f"the part before '{after}' has no counterpart of its own")
            continue
        pairs = tuple((matching.pairs.get(name, name), name) for name in sorted(border))
        try:
            parts.append(
                Part(
                    pairs,
                    (before, after),
                    _cut(original, [o for o, _ in pairs], before),
                    _cut(folded, [f for _, f in pairs], after),
                )
            )
        except (ValueError, KeyError) as error:
            failures.append(str(error).splitlines()[0])
    return parts, failures


def _region(
    producers: Mapping[str, ir.Node], output: str, stops: set[str]
) -> tuple[list[ir.Node], set[str]] | None:
    """The nodes back from `output` to `stops` or inputs, and the data values on that border."""
    if output not in producers:
        return None
    nodes: dict[int, ir.Node] = {}
    border: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if (name in stops and name != output) or node is None:
            border.add(name)
            continue
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for value in node.inputs:
            if value is not None and not _is_constant(value):
                waiting.append(value.name or "")
    return list(nodes.values()), border


def _is_constant(value: ir.Value) -> bool:
    node = value.producer()
    return value.is_initializer() or (node is not None and node.op_type == "Constant")


def _same(a: list[ir.Node], b: list[ir.Node]) -> bool:
    """True for a single op that was left alone: same type, same attributes, same constants."""
    if len(a) != 1 or len(b) != 1 or a[0].op_type != b[0].op_type:
        return False
    if set(a[0].attributes) != set(b[0].attributes):
        return False
    for key, attribute in a[0].attributes.items():
        other = b[0].attributes[key]
        if attribute.type != other.type or (
            attribute.type not in _GRAPHS and str(attribute.value) != str(other.value)
        ):
            return False
    if len(a[0].inputs) != len(b[0].inputs):
        return False
    return all(_same_constant(x, y) for x, y in zip(a[0].inputs, b[0].inputs, strict=True))


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _same_constant(x: ir.Value | None, y: ir.Value | None) -> bool:
    if x is None or y is None:
        return x is y
    first, second = ir.convenience.get_const_tensor(x), ir.convenience.get_const_tensor(y)
    if first is None or second is None:
        return first is second
    return first is second or bool(np.array_equal(first.numpy(), second.numpy(), equal_nan=True))


def _cut(model: ir.Model, inputs: list[str], output: str) -> ir.Model:
    """The region as a model; every input and output gets the element type it has in `model`."""
    graph = ir.convenience.extract(model.graph, inputs, [output])
    default = _float_type(model)
    for value in (*graph.inputs, *graph.outputs):
        if value.type is None:
            value.type = ir.TensorType(default)
    for value in graph.inputs:
        value.shape = None if value.shape is None else ir.Shape([None] * len(value.shape))
    graph.opset_imports.update(model.opset_imports)
    return ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))


def _float_type(model: ir.Model) -> ir.DataType:
    for value in (*model.graph.initializers.values(), *model.graph.inputs):
        if value.dtype in UNIT_ROUNDOFF:
            return value.dtype
    return ir.DataType.FLOAT


def _values(model: Float64Model | None, names: set[str], feed: Feed) -> dict[str, Array]:
    """These values of the original on a feed, in float64."""
    kept: dict[str, Array] = {k: np.asarray(v) for k, v in feed.items() if k in names}

    def value(name: str, array: Array) -> Array:
        if name in names:
            kept[name] = array
        return array

    if model is not None:
        model.run(feed, value=value)
    return kept


def _share(part: Part, values: Mapping[str, Array], rounding: Rounding) -> float:
    """Largest |original - folded| over the sum of both rounding bounds, elementwise."""
    feeds: list[Feed] = [{}, {}]
    for (before, after), first, second in zip(
        part.inputs, part.original.graph.inputs, part.folded.graph.inputs, strict=True
    ):
        array = values[before]
        dtype = first.dtype.numpy() if first.dtype is not None else array.dtype
        feeds[0][first.name or before] = array.astype(dtype)
        feeds[1][second.name or after] = array.astype(dtype)
    results = [
        np.asarray(Session(model).run(feed)[output], dtype=np.float64)
        for model, feed, output in zip(
            (part.original, part.folded), feeds, part.output, strict=True
        )
    ]
    u = max(rounding.coarsest, UNIT_ROUNDOFF[ir.DataType.DOUBLE])
    bounds = [
        error_bounds(Float64Model(model), feed, u)[output]
        for model, feed, output in zip(
            (part.original, part.folded), feeds, part.output, strict=True
        )
    ]
    allowed = bounds[0] + bounds[1]
    difference = np.abs(results[0] - results[1])
    finite = np.isfinite(results[0])
    if not np.isfinite(results[1][finite]).all():
        return float("inf")
    difference, allowed = difference[finite], np.broadcast_to(allowed, finite.shape)[finite]
    over = np.where(difference > 0, difference / np.maximum(allowed, np.finfo(float).tiny), 0.0)
    return float(over.max(initial=0.0))
