"""Do two models have the same interface: names, order, element types and shapes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from bnfold.verify.codes import Fault
from bnfold.verify.types import Check, CheckKind, Status


@dataclass(frozen=True)
class _Codes:
    missing: Fault
    extra: Fault
    renamed: Fault
    order: Fault
    type: Fault
    shape: Fault


_INPUTS = _Codes(
    Fault.MISSING_INPUT,
    Fault.EXTRA_INPUT,
    Fault.RENAMED_INPUT,
    Fault.INPUT_ORDER,
    Fault.INPUT_TYPE,
    Fault.INPUT_SHAPE,
)
_OUTPUTS = _Codes(
    Fault.MISSING_OUTPUT,
    Fault.EXTRA_OUTPUT,
    Fault.RENAMED_OUTPUT,
    Fault.OUTPUT_ORDER,
    Fault.OUTPUT_TYPE,
    Fault.OUTPUT_SHAPE,
)

# From this IR version on, an initializer that is listed as an input can be overridden by callers.
_OVERRIDABLE_FROM = 4


def feedable(model: ir.Model) -> list[ir.Value]:
    """The inputs that a caller may feed: in IR 3 an initializer is listed too, but is constant."""
    inputs = list(model.graph.inputs)
    if model.ir_version >= _OVERRIDABLE_FROM:
        return inputs
    return [value for value in inputs if value.name not in model.graph.initializers]


def required(model: ir.Model) -> list[ir.Value]:
    """The inputs that a caller must feed."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def check_interface(original: ir.Model, folded: ir.Model) -> tuple[Check, ...]:
    """One passed check, or one failed check for each difference, each with its own code."""
    faults = _compare(feedable(original), feedable(folded), _INPUTS, is_input=True)
    faults += _compare(
        list(original.graph.outputs), list(folded.graph.outputs), _OUTPUTS, is_input=False
    )
    if not faults:
        inputs, outputs = len(original.graph.inputs), len(original.graph.outputs)
        detail = f"same names, order, types and shapes ({inputs} in, {outputs} out)"
        return (Check(CheckKind.INTERFACE, Status.PASSED, None, None, "", detail),)
    return tuple(
        Check(CheckKind.INTERFACE, Status.FAILED, None, None, "", text, fault.code, where)
        for fault, where, text in faults
    )


Difference = tuple[Fault, str, str]


def _compare(
    ours: Sequence[ir.Value], theirs: Sequence[ir.Value], codes: _Codes, *, is_input: bool
) -> list[Difference]:
    found: list[Difference] = []
    noun = "input" if is_input else "output"
    names = [value.name or "" for value in ours]
    others = [value.name or "" for value in theirs]
    missing = [name for name in names if name not in others]
    extra = [name for name in others if name not in names]
    if len(missing) == len(extra) and len(names) == len(others):
        for before, after in zip(names, others, strict=True):
            if before in missing and after in extra:
                missing.remove(before)
                extra.remove(after)
                found.append((codes.renamed, before, f"{noun} '{before}' is called '{after}' now"))
    found += [(codes.missing, name, f"{noun} '{name}' is gone") for name in missing]
    found += [(codes.extra, name, f"{noun} '{name}' is new") for name in extra]
    if not found and names != others:
        text = f"{noun}s are {', '.join(others)} instead of {', '.join(names)}"
        found.append((codes.order, names[0], text))
    by_name = {value.name or "": value for value in theirs}
    for value in ours:
        other = by_name.get(value.name or "")
        if other is not None:
            found += _compare_types(value, other, codes, is_input=is_input)
    return found


def _compare_types(
    ours: ir.Value, theirs: ir.Value, codes: _Codes, *, is_input: bool
) -> list[Difference]:
    name = ours.name or ""
    if ours.type is not None and theirs.type is not None and ours.type != theirs.type:
        return [(codes.type, name, f"'{name}' is {_text(theirs)} instead of {_text(ours)}")]
    before, after = ours.shape, theirs.shape
    if before is None:
        return []
    if after is None or _compatible(before, after, is_input=is_input):
        return []
    return [(codes.shape, name, f"'{name}' has shape {after} instead of {before}")]


def _compatible(before: ir.Shape, after: ir.Shape, *, is_input: bool) -> bool:
    """Sizes must agree; a symbol may become a size only for an output."""
    if len(before) != len(after):
        return False
    for old, new in zip(before.dims, after.dims, strict=True):
        if isinstance(old, int) and isinstance(new, int) and old != new:
            return False
        if is_input and not isinstance(old, int) and isinstance(new, int):
            return False
    return True


def _text(value: ir.Value) -> str:
    return str(value.dtype) if value.dtype is not None else str(value.type)
