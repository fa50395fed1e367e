"""Assertions about models for test suites, with messages worth reading.

from bnfold.testing import assert_equivalent, assert_folded

def test_the_shipped_model(tmp_path):
    assert_equivalent("model.keras", "model.onnx")
    assert_folded("model.onnx")
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnfold.core.diagnostics import Fold, Kept
    from bnfold.verify.types import Check, Verification

__all__ = ["assert_equivalent", "assert_folded"]


def assert_equivalent(
    reference: object,
    candidate: object,
    *,
    inputs: object | None = None,
    samples: int = 64,
    seed: int = 0,
    budget_seconds: float = 30.0,
    counterexample: str | Path | None = None,
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
) -> Verification:
    """Assert that two models compute the same, up to what rounding explains.

    Args:
        reference, candidate: anything that `bnfold.verify` takes: paths of ONNX or Keras models,
            a `keras.Model`, an `onnx.ModelProto`, an `onnx_ir.Model`.
        inputs: what to run on; generated from the interface when None.
        samples: rows to generate.
        seed: of everything random.
        budget_seconds: wall time to aim at.
        counterexample: where to save the offending inputs (.npz).
        custom_objects, unsafe_load: as in `bnfold.fold`.

    Returns:
        The verification, for assertions about its figures.

    Raises:
        AssertionError: a check failed, or none could be made; the message names each with its
            figure beside its bound, the first op that differs, and what to do.
        InputError: one of the two models, or the inputs, cannot be used.
    """
    __tracebackhide__ = True
    from bnfold import api

    result = api.verify(
        reference,
        candidate,
        inputs=inputs,
        samples=samples,
        seed=seed,
        budget_seconds=budget_seconds,
        counterexample=counterexample,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
    )
    if not result.passed:
        raise AssertionError(_difference(reference, candidate, result))
    return result


def assert_folded(
    model: object,
    *,
    max_remaining: int | None = None,
    allow: Collection[str] = (),
    custom_objects: Mapping[str, object] | None = None,
    unsafe_load: bool = False,
) -> None:
    """Assert that a model holds no affine that could be folded.

    Args:
        model: anything that `bnfold.fold` takes.
        max_remaining: also assert that at most so many affines are left that cannot be folded;
            None allows any number.
        allow: codes of reasons ("BNF204") for which an affine may be left without counting.
        custom_objects, unsafe_load: as in `bnfold.fold`.

    Raises:
        AssertionError: the message names each affine and where it could go, or why it stays.
        InputError: the model cannot be used.
    """
    __tracebackhide__ = True
    from bnfold import api

    _check_codes(allow)
    result = api.fold(model, verify=False, custom_objects=custom_objects, unsafe_load=unsafe_load)
    lines: list[str] = []
    if result.folds:
        noun = "affine" if len(result.folds) == 1 else "affines"
        lines.append(f"{_name(model)} holds {len(result.folds)} {noun} that can be folded:")
        lines += [f"  {_folded(fold)}" for fold in result.folds]
        lines.append("Fold the model (bnfold MODEL -o OUT) and use the result.")
    left = [kept for kept in result.kept if not _allowed(kept, allow)]
    if max_remaining is not None and len(left) > max_remaining:
        noun = "affine is" if len(left) == 1 else "affines are"
        lines.append(f"{len(left)} {noun} left in {_name(model)}, more than {max_remaining}:")
        lines += [f"  {_stays(kept)}" for kept in left]
    if lines:
        raise AssertionError("\n".join(lines))


# ------------------------------------------------------------------------------ messages


def _difference(reference: object, candidate: object, result: Verification) -> str:
    from bnfold.verify.types import Status

    names = f"{_name(candidate)} and {_name(reference)}"
    failed = [check for check in result.checks if check.status is Status.FAILED]
    if not failed:
        lines = [f"Nothing could be shown about {names}: no check could be made."]
        lines += [f"  {c.kind.value}: {c.detail}" for c in result.checks if c.detail]
        return "\n".join([*lines, *(f"  {note}" for note in result.notes)])
    plural = "check failed" if len(failed) == 1 else "checks failed"
    lines = [f"{names} do not compute the same: {len(failed)} {plural}."]
    lines += [_failed(check) for check in failed]
    if result.difference:
        lines.append(f"Where: {result.difference}.")
    for output in result.outputs:
        if output.max_abs:
            lines.append(
                f"Output '{output.name}' differs by at most {output.max_abs:.3g} at "
                f"{output.where}; its own size is {output.size:.3g}."
            )
    lines.append(f"Seen on {result.samples} samples drawn with seed {result.seed}.")
    if result.counterexample is not None:
        lines.append(f"The inputs that show it best: {result.counterexample}")
    if all(isinstance(model, str | Path) for model in (reference, candidate)):
        words = ["bnfold", "verify", str(reference), str(candidate)]
        if result.counterexample is not None:
            words += ["--inputs", str(result.counterexample)]
        else:
            words += ["--seed", str(result.seed)]
        lines.append(f"To see it again: {shlex.join(words)}")
    return "\n".join(lines)


def _failed(check: Check) -> str:
    from bnfold.verify.codes import Fault

    text = f"  {check.code} {check.kind.value}"
    if check.where:
        text += f" at {check.where}"
    if check.figure is not None:
        text += f": {check.figure:.3g}"
        text += f" > {check.bound:.3g}" if check.bound is not None else ""
        text += f" {check.unit}"
    text += f"; {check.detail}" if check.detail else ""
    fault = next((f for f in Fault if f.code == check.code), None)
    return text if fault is None else f"{text}\n    {fault.why} {fault.hint}"


def _folded(fold: Fold) -> str:
    into = ", ".join(dict.fromkeys(part.op for part in fold.into))
    return f"{fold.source} ({fold.op_type}, {fold.channels} channels) into {into}"


def _stays(kept: Kept) -> str:
    reasons = "; ".join(
        f"{refusal.reason.code} {refusal.reason.title}"
        + (f" at {refusal.op}" if refusal.op else "")
        for refusal in kept.refusals
    )
    return f"{kept.source} ({kept.op_type}): {reasons}"


def _check_codes(codes: Collection[str]) -> None:
    """A code that does not exist would allow nothing, and nobody would notice.

    Raises:
        InputError: naming the code that was probably meant.
    """
    from bnfold.core.diagnostics import Reason
    from bnfold.core.errors import InputError
    from bnfold.formats.text import near_miss

    known = [reason.code for reason in Reason]
    for code in codes:
        if code not in known:
            guess = near_miss(code, known)
            meant = f" (did you mean {guess}?)" if guess else ""
            raise InputError(f"no reason has the code {code!r}{meant}.")


def _allowed(kept: Kept, allow: Collection[str]) -> bool:
    return bool(kept.refusals) and all(r.reason.code in allow for r in kept.refusals)


def _name(model: Any) -> str:
    if isinstance(model, str | Path):
        return str(model)
    name = getattr(model, "name", None) or getattr(getattr(model, "graph", None), "name", None)
    kind = type(model).__name__
    return f"the {kind} '{name}'" if isinstance(name, str) and name else f"the {kind}"
