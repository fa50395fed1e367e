"""Folding a Keras model as data: lower, plan, and edit configs and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from bnfold.core.affine import Affine, Array
from bnfold.core.diagnostics import Fold, Kept, Reason
from bnfold.core.graph import Use
from bnfold.core.plan import Plan
from bnfold.core.planner import plan
from bnfold.core.state import Standing
from bnfold.core.transfer import Form, Source
from bnfold.formats.keras.edit import Edits, apply_edits
from bnfold.formats.keras.errors import making_sense
from bnfold.formats.keras.graph import AnyArray, KerasGraph, Layer, LazyArray, float_dtype
from bnfold.formats.keras.keys import layers_by_key
from bnfold.formats.keras.lower import lower
from bnfold.formats.keras.lower_view import Held, Lowered, Slot, stored_array
from bnfold.formats.onnx.edited import Edited


@dataclass(frozen=True)
class KerasFold:
    """A folded Keras model and what happened.

    Attributes:
        graph: the folded model; its arrays are computed when they are read.
        folds, kept: every affine of the original is in one of them.
        edits: the changes, by layer.
    """

    graph: KerasGraph
    folds: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    edits: Edits = field(repr=False)


@dataclass
class _Problems:
    """What keeps a plan from being carried out.

    Attributes:
        frozen: keys of layers whose calls want different things.
        blocked: constants that do not fit, or forms that a layer cannot take.
    """

    frozen: set[str] = field(default_factory=set)
    blocked: dict[Use, Reason] = field(default_factory=dict)


def fold_graph(graph: KerasGraph) -> KerasFold:
    """Fold every affine that can be folded exactly; ``graph`` stays as it is.

    A layer that is called several times changes only where all its calls agree.
    """
    frozen: frozenset[str] = frozenset()
    blocked: dict[Use, Reason] = {}
    layers = layers_by_key(graph)
    while True:
        lowered = lower(graph, frozen)
        planned = plan(lowered.graph, blocked)
        problems = _Problems()
        edits = _edits(lowered, planned, layers, problems)
        if not problems.frozen and not problems.blocked:
            break
        # Each round freezes a layer or blocks a constant more, so this ends.
        if problems.frozen <= frozen and problems.blocked.keys() <= blocked.keys():
            raise RuntimeError(f"{graph.name!r}: planning does not heed {problems}")
        frozen |= problems.frozen
        blocked |= problems.blocked
    kept = tuple(_as_layers(item, lowered, layers, edits) for item in planned.kept)
    with making_sense(graph.name, "model"):
        edited = apply_edits(graph, edits)
    return KerasFold(edited, planned.folds, kept, edits)


def _as_layers(item: Kept, lowered: Lowered, layers: Mapping[str, Layer], edits: Edits) -> Kept:
    """What stays is a layer: Keras has none for a factor or a shift alone."""
    keys = {
        op.name: origin.key
        for op, origin in zip(lowered.graph.ops, lowered.origins, strict=True)
        if op.name in item.ops
    }
    left = dict.fromkeys(key for key in keys.values() if key not in edits.removed)
    names = tuple(edits.class_names.get(key, layers[key].class_name) for key in left)
    return replace(item, left_as=names)


def _edits(
    lowered: Lowered, planned: Plan, layers: Mapping[str, Layer], problems: _Problems
) -> Edits:
    edits = Edits()
    _edit_arrays(lowered, planned, layers, edits, problems)
    _edit_sources(lowered, planned, layers, edits, problems)
    return edits


def _edit_arrays(
    lowered: Lowered,
    planned: Plan,
    layers: Mapping[str, Layer],
    edits: Edits,
    problems: _Problems,
) -> None:
    readers: dict[Slot, list[Use]] = {}
    for number, origin in enumerate(lowered.origins):
        for operand, slot in enumerate(origin.slots):
            if slot is not None:
                readers.setdefault(slot, []).append(Use(number, operand))
    for slot, uses in readers.items():
        wanted = [planned.edits.get(use) for use in uses]
        if not any(wanted):
            continue
        if len({None if one is None else one.digest for one in wanted}) > 1:
            problems.frozen.add(slot.key)
            continue
        affine = wanted[0]
        assert affine is not None
        _edit_array(layers[slot.key], slot, affine, uses, edits, problems)


def _edit_array(
    layer: Layer,
    slot: Slot,
    affine: Affine,
    uses: list[Use],
    edits: Edits,
    problems: _Problems,
) -> None:
    old = stored_array(layer, slot)
    new, reason = _created(layer, slot, affine) if old is None else _changed(old, slot, affine)
    if slot.role not in layer.weights:
        edits.settings.setdefault(slot.key, {}).update(slot.settings)
    if reason is not None:
        problems.blocked |= dict.fromkeys(uses, reason)
        return
    before = edits.arrays.get((slot.key, slot.role))
    edits.arrays[slot.key, slot.role] = new if before is None else _rows_of(before, new, slot)


def _rows_of(before: LazyArray, new: LazyArray, slot: Slot) -> LazyArray:
    """Two rows of one array, each edited for itself."""

    def read() -> AnyArray:
        array = np.array(before.read())
        array[slot.part] = new.read()[slot.part]
        return array

    return replace(new, read=read)


def _changed(old: LazyArray, slot: Slot, affine: Affine) -> tuple[LazyArray, Reason | None]:
    """An array that is there, with the affine carried out on it or on one of its rows."""
    shape = old.shape if slot.part is None else old.shape[1:]
    if not _fits(affine, shape):
        return old, Reason.NOT_PER_CHANNEL

    def edited(dtype: str) -> Edited:
        base = old.read()
        part = base if slot.part is None else base[slot.part]
        return Edited(part, _fitted(affine, shape), _onnx_type(dtype))

    def read() -> AnyArray:
        row: AnyArray = edited(old.dtype).compute().reshape(shape)
        if slot.part is None:
            return row
        whole = np.array(old.read())
        whole[slot.part] = row
        return whole

    reason = next(
        (why for dtype in {old.dtype, slot.compute} if (why := edited(dtype).why_not())), None
    )
    return replace(old, read=read), reason


def _created(layer: Layer, slot: Slot, affine: Affine) -> tuple[LazyArray, Reason | None]:
    """An array that was not there: the shift alone."""
    dtype = layer.policy.variable
    shape = slot.shape if slot.part is None else slot.shape[1:]
    if not _fits(affine, shape):
        return LazyArray(slot.shape, dtype, lambda: np.zeros(slot.shape)), Reason.NOT_PER_CHANNEL
    target = np.broadcast_to(_fitted(affine, shape).shift, shape)
    content = Edited(np.zeros(shape), Affine(np.ones(()), target), _onnx_type(dtype), is_new=True)

    def read() -> AnyArray:
        row = content.compute().astype(float_dtype(dtype)).reshape(shape)
        if slot.part is None:
            return row
        whole = np.zeros(slot.shape, dtype=row.dtype)
        whole[slot.part] = row
        return whole

    narrow = replace(content, dtype=_onnx_type(slot.compute))
    return LazyArray(slot.shape, dtype, read), content.why_not() or narrow.why_not()


def _fits(affine: Affine, shape: tuple[int, ...]) -> bool:
    """Whether the array keeps its shape, which the layer's config has stated."""
    extra = max(affine.rank - len(shape), 0)
    pairs = zip(affine.shape[extra:], shape[len(shape) - affine.rank + extra :], strict=True)
    return all(size == 1 for size in affine.shape[:extra]) and all(
        size in (1, dim) for size, dim in pairs
    )


def _fitted(affine: Affine, shape: tuple[int, ...]) -> Affine:
    """The affine with as many axes as the array; leading ones of size 1 come and go."""
    return affine.at_rank(len(shape)) if affine.rank != len(shape) else affine


def _onnx_type(dtype: str) -> ir.DataType:
    return ir.DataType.from_numpy(float_dtype(dtype))


def _edit_sources(
    lowered: Lowered,
    planned: Plan,
    layers: Mapping[str, Layer],
    edits: Edits,
    problems: _Problems,
) -> None:
    calls: dict[str, list[int]] = {}
    for number, op in enumerate(lowered.graph.ops):
        if isinstance(op.transfer, Source):
            calls.setdefault(lowered.origins[number].key, []).append(number)
    for key, numbers in calls.items():
        standing = [planned.standing.get(number) for number in numbers]
        if not any(standing):
            continue
        if len({_identity_of(one) for one in standing}) > 1:
            problems.frozen.add(key)
            continue
        now = standing[0]
        assert now is not None
        if now.form is Form.NONE:
            edits.removed.add(key)
            edits.dtypes[key] = lowered.origins[numbers[0]].dtype
            continue
        hold = lowered.origins[numbers[0]].hold
        held = None if hold is None else hold(now.affine)
        if held is None:
            problems.blocked |= {Use(n, -1): Reason.COST_WOULD_RISE for n in numbers}
            continue
        reason = _hold(layers[key], key, held, edits)
        if reason is not None:
            problems.blocked |= {Use(n, -1): reason for n in numbers}


def _identity_of(standing: Standing | None) -> Any:
    return None if standing is None else (standing.form, standing.affine.digest)


def _hold(layer: Layer, key: str, held: Held, edits: Edits) -> Reason | None:
    """Let a layer stand for another affine."""
    for role, target in held.arrays.items():
        old = layer.weights.get(role)
        setting = _SETTINGS.get(role, "")
        neutral = 1.0 if role == "gamma" else 0.0
        if old is None and bool(np.all(target == neutral)):
            continue
        dtype = layer.policy.variable if old is None else old.dtype
        content = Edited(
            np.zeros(target.shape),
            Affine(np.ones(()), np.ascontiguousarray(target)),
            _onnx_type(dtype),
            is_new=True,
        )
        reason = content.why_not()
        if reason is not None:
            return reason
        edits.arrays[key, role] = _computed(content, target, dtype, old)
        if old is None and setting:
            edits.settings.setdefault(key, {})[setting] = True
    if held.settings:
        edits.settings.setdefault(key, {}).update(held.settings)
    if held.class_name:
        edits.class_names[key] = held.class_name
    return None


# What a config must say for a normalization to have these arrays.
_SETTINGS = {"gamma": "scale", "beta": "center"}


def _computed(content: Edited, target: Array, dtype: str, old: LazyArray | None) -> LazyArray:
    def read() -> AnyArray:
        return content.compute().astype(float_dtype(dtype)).reshape(target.shape)

    return LazyArray(target.shape, dtype, read, "" if old is None else old.key)
