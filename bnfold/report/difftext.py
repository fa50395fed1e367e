"""A difference of two models as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnfold.formats.onnx.diff import ModelDiff, Port, WeightChange
from bnfold.report.wording import number, plural, printable

_SHOWN = 20


def render_diff(diff: ModelDiff, *, verbose: bool = False) -> str:
    """The differences, the interface first; long lists are cut unless ``verbose``."""
    if diff.is_empty:
        return "no difference: same interface, nodes and weights\n"
    limit = None if verbose else _SHOWN
    lines = [
        *_interface(diff),
        *diff.header,
        *(f"{op}: {a} -> {b}" for op, (a, b) in diff.ops.items()),
        *_listed("node removed", [f"- {name}" for name in diff.removed], limit),
        *_listed("node added", [f"+ {name}" for name in diff.added], limit),
        *_listed("node changed", [f"~ {c.name}: {'; '.join(c.what)}" for c in diff.changed], limit),
        *_listed("weight removed", [f"- {name}" for name in diff.weights_removed], limit),
        *_listed("weight added", [f"+ {name}" for name in diff.weights_added], limit),
        *_listed("weight changed", [_weight(c) for c in diff.weights_changed], limit),
    ]
    return "\n".join(printable(line) for line in lines) + "\n"


def _interface(diff: ModelDiff) -> Iterator[str]:
    if not diff.interface_changed:
        yield "the interface is the same"
    for kind, pairs in (("input", diff.inputs), ("output", diff.outputs)):
        for before, after in pairs:
            yield f"{kind} {_pair(before, after)}"


def _pair(before: Port | None, after: Port | None) -> str:
    if before is None:
        return f"added: {after}"
    if after is None:
        return f"removed: {before}"
    return f"changed: {before} -> {after}"


def _listed(what: str, items: Sequence[str], limit: int | None) -> Iterator[str]:
    if not items:
        return
    noun, _, verb = what.partition(" ")
    yield f"{plural(len(items), noun)} {verb}"
    shown = items if limit is None else items[:limit]
    yield from (f"  {item}" for item in shown)
    if len(shown) < len(items):
        yield f"  ... {len(items) - len(shown)} more (-v shows all)"


def _weight(change: WeightChange) -> str:
    if change.largest is None:
        return f"~ {change.name}: {change.before} -> {change.after}"
    relative = number(change.relative) if change.relative is not None else "?"
    return (
        f"~ {change.name} {change.before}: {plural(change.elements, 'element')} by up to "
        f"{number(change.largest)} (relative to the largest: {relative})"
    )
