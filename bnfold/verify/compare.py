"""Are two models equivalent? Asks every question that applies and gathers the checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from bnfold.core.errors import InputError
from bnfold.verify.explain import explain, save_counterexample
from bnfold.verify.inputs import Feed, generate_inputs, load_inputs
from bnfold.verify.interface import check_interface
from bnfold.verify.keras_runs import run_keras
from bnfold.verify.local import Ground, find_ground, local_figures
from bnfold.verify.mutate import is_below_noise, mutation_test
from bnfold.verify.prepare import Prepared, prepare
from bnfold.verify.proof.certificate import read_certificate
from bnfold.verify.proofs import attempted, certificate_check, proof_checks
from bnfold.verify.sampling import Reference, Samples, sample
from bnfold.verify.stored import check_stored
from bnfold.verify.strength import SignWatch, measure_strength
from bnfold.verify.threads import threads_by_size
from bnfold.verify.types import Check, CheckKind, Status, Strength, Verification
from bnfold.verify.verdicts import (
    algebra_checks,
    compare_outputs,
    end_to_end_checks,
    keras_checks,
    skipped,
)

# Up to which share of the time budget the samples and the local checks may go.
_SAMPLES_UNTIL = 0.65
_LOCAL_UNTIL = 0.85
_STRENGTH_SHARE = 0.1
_PROOF_SHARE = 0.4


@threads_by_size
def verify_models(
    original: ir.Model,
    folded: ir.Model,
    *,
    inputs: object | None = None,
    samples: int = 64,
    seed: int = 0,
    budget_seconds: float = 30.0,
    lifted: tuple[ir.Model, ir.Model] | None = None,
    reference: Reference | None = None,
    counterexample: str | Path | None = None,
    prove: bool = True,
    overrides: bool = True,
    mutations: int = 0,
    progress: Callable[[float], None] | None = None,
    certificate: str | Path | None = None,
) -> Verification:
    """Check that `folded` computes what `original` does.

    The checks, in order: the interface; the weights and the algebra, proved where they can be; the
    algebra in float64 on samples; the rounding of each rewritten part; end to end in onnxruntime;
    Keras itself. What cannot be asked is skipped with the reason.

    Args:
        original, folded: the models; neither is changed.
        inputs: whatever `inputs.load_inputs` takes; None generates them from the interface.
        samples: rows to generate.
        seed: of everything random.
        budget_seconds: wall time to aim at. One input is run in the runtime however long it takes;
            float64 evaluation is given up when one row takes longer than the budget.
        lifted: the original in float64 and the folded model with unrounded float64 constants; then
            the algebra is checked to float64's own rounding.
        reference: runs Keras on the inputs in the model's order. If it has a method `prepare`,
            that is called as soon as it is known to be needed, and must not wait for anything.
        counterexample: where to save the offending inputs (.npz) if a check fails on inputs.
        overrides: also feed other values for initializers that callers may override; a fold that
            was allowed to take them for constants fails that.
        prove: attempt the proof; without it only what runs decides.
        mutations: how many faults to plant in a model that passed, to see whether the same checks
            catch them; each costs another verification.
        progress: is told the share of the inputs that have been run, 0 to 1.
        certificate: file that a fold wrote; what it claims is derived from the two models anew.

    Raises:
        InputError: if the given inputs or the certificate cannot be used.
        OutputError: if the offending inputs cannot be written.
    """
    start = time.monotonic()
    claimed = None if certificate is None else read_certificate(certificate)
    interface = check_interface(original, folded)
    if any(check.status is Status.FAILED for check in interface):
        kinds = (CheckKind.WEIGHTS, CheckKind.ALGEBRA, CheckKind.LOCAL, CheckKind.END_TO_END)
        rest = [skipped(kind, "the interfaces differ") for kind in kinds]
        if claimed is not None:
            rest.append(certificate_check(claimed, None, original, folded))
        took = time.monotonic() - start
        return Verification((*interface, *rest), seed=seed, seconds=took)
    get_ready = getattr(reference, "prepare", None)
    if get_ready is not None:
        get_ready()
    wanted = prove or claimed is not None
    proof, why_none = (
        attempted(original, folded, _PROOF_SHARE * budget_seconds) if wanted else (None, "")
    )
    prepared = prepare(original, folded, lifted, reference)
    notes = list(prepared.notes)
    feeds = _feeds(prepared, inputs, samples, seed, notes, overrides)
    watch = SignWatch.of(original)
    until = start + _SAMPLES_UNTIL * budget_seconds
    seen = _sampled(prepared, feeds, seed, until, watch, notes, progress)
    if proof is None or proof.share_proved < 1:
        notes += _seldom(seen)
    ground = find_ground(
        prepared,
        feeds,
        seen.seconds_float64,
        seed=seed,
        deadline=start + _LOCAL_UNTIL * budget_seconds,
    )
    local, parts = local_figures(ground, seed=seed)
    run_keras(prepared.runners, seen, start + budget_seconds)
    checks: list[Check] = [
        *interface,
        *([] if lifted is None else [check_stored(folded, lifted[1])]),
        *(proof_checks(proof, why_none) if prove else []),
        *([] if claimed is None else [certificate_check(claimed, proof, original, folded)]),
        *algebra_checks(seen, exact=lifted is not None),
        *local,
        *end_to_end_checks(seen),
        *keras_checks(seen, asked=reference is not None),
    ]
    failed = any(check.status is Status.FAILED for check in checks)
    mutation = None
    if mutations and not failed and feeds:

        def verify_mutant(mutant: ir.Model) -> Verification:
            return verify_models(
                original,
                mutant,
                inputs=feeds,
                seed=seed,
                budget_seconds=budget_seconds,
                prove=prove,
            )

        mutation = mutation_test(
            folded,
            verify_mutant,
            lambda mutant: is_below_noise(folded, mutant, feeds, seed=seed),
            mutations,
            seed=seed,
        )
    return Verification(
        checks=tuple(checks),
        outputs=compare_outputs(seen),
        samples=seen.rows,
        seed=seed,
        counterexample=save_counterexample(seen, feeds, counterexample) if failed else None,
        difference=explain(prepared, seen, feeds, seed=seed) if failed and feeds else "",
        strength=(
            None
            if failed
            else _strength(ground, seen, watch, seed, _STRENGTH_SHARE * budget_seconds)
        ),
        mutation=mutation,
        notes=tuple(notes),
        parts=parts,
        proof=proof,
        seconds=time.monotonic() - start,
    )


def _feeds(
    prepared: Prepared,
    inputs: object | None,
    samples: int,
    seed: int,
    notes: list[str],
    overrides: bool,
) -> list[Feed]:
    if inputs is not None:
        return load_inputs(inputs, prepared.original)
    try:
        return generate_inputs(
            prepared.original,
            samples=samples,
            seed=seed,
            accepts=prepared.runs,
            overrides=overrides,
        )
    except InputError as error:
        notes.append(str(error))
        return []


def _seldom(seen: Samples) -> list[str]:
    """How often discrete outputs may differ though no sample shows it: the rule of three."""
    return [
        f"Output '{tally.name}' is discrete: that {count} elements of it agree shows, with 95 % "
        f"confidence, that fewer than 1 in {max(1, count // 3)} differ. More samples show more."
        for tally in seen.tallies.values()
        if (count := tally.elements.get("stored", 0)) and not tally.mismatches.get("stored")
    ]


def _sampled(
    prepared: Prepared,
    feeds: Sequence[Feed],
    seed: int,
    deadline: float,
    watch: SignWatch,
    notes: list[str],
    progress: Callable[[float], None] | None,
) -> Samples:
    """Run the samples; what was cut short is noted."""
    outputs = [value.name or "" for value in prepared.original.graph.outputs]
    seen = sample(
        prepared.runners,
        feeds,
        list(dict.fromkeys(outputs)),
        seed=seed,
        deadline=deadline,
        observe=watch.see,
        progress=progress,
        known=(prepared.float64_reason, prepared.runtime_reason, prepared.runtime_fault),
    )
    if seen.feeds < seen.total_feeds and not seen.runtime_fault:
        notes.append(f"{seen.feeds} of {seen.total_feeds} inputs were run within the time budget.")
    if not feeds:
        return seen
    if prepared.runners.original is not None and prepared.runners.original.in_float32:
        ops = ", ".join(prepared.runners.original.in_float32[:4])
        notes.append(f"Known to onnxruntime alone, hence in float32 in the reference: {ops}.")
    lost = sum(tally.not_finite for tally in seen.tallies.values())
    if lost:
        notes.append(f"{lost} elements of the original's results are not finite; not compared.")
    return seen


def _strength(
    ground: Ground | str, seen: Samples, watch: SignWatch, seed: int, seconds: float
) -> Strength | None:
    if isinstance(ground, str) or seen.float64_reason:
        return None
    deadline = time.monotonic() + seconds
    return measure_strength(ground, seen, watch, seed=seed, deadline=deadline)
