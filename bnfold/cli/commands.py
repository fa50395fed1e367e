"""The commands: each parses, calls the API and shows the report. No logic of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnfold.cli import options as opt
from bnfold.cli.group import DefaultGroup, examples
from bnfold.cli.lookups import completion_command, diff_command, explain_command, only_layers
from bnfold.cli.output import Output, logging_to_stderr
from bnfold.cli.quick import import_onnx_ir
from bnfold.cli.several import fold_several, names_a_folder
from bnfold.cli.streams import DASH, Sink, received, sink_name
from bnfold.cli.target import choose_target

if TYPE_CHECKING:
    from bnfold.report.model import Report

_EXAMPLES = """\b
Examples:
  bnfold model.h5 -o model.onnx
  bnfold model.onnx -o folded.onnx --report report.md
  bnfold model.keras -o folded.keras
  bnfold inspect model.keras
  bnfold verify model.h5 folded.onnx
  bnfold explain BNF203
  cat model.onnx | bnfold - -o - >folded.onnx

\b
Exit codes:
  0  done
  1  a check failed; no model was written
  2  unusable input, output or usage
  3  a bug in bnfold
"""

_MODEL = click.Path(path_type=Path)
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from bnfold import __version__
        from bnfold.report.build import environment

        click.echo(f"bnfold {__version__}")
        for name, text in environment().items():
            click.echo(f"  {name} {text}")
        ctx.exit()


@click.group(
    cls=DefaultGroup,
    context_settings=_CONTEXT,
    epilog=_EXAMPLES,
    subcommand_metavar="MODEL [-o OUTPUT] [OPTIONS] | COMMAND ...",
    options_metavar="",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the versions of bnfold and of what it stands on.",
)
def cli() -> None:
    """Fold BatchNormalization and other per-channel affines of a Keras or ONNX model.

    Every affine goes exactly into a neighbouring kernel and bias, or the report says why it
    stays. The result is verified against the original, measured, and written as ONNX or Keras.
    """


@cli.command(
    "fold",
    epilog=examples(
        "bnfold model.h5 -o model.onnx --report report.html",
        "bnfold model.keras -o folded.keras",
        "bnfold a.onnx b.onnx -o folded/ --jobs 2",
    ),
)
@click.argument("models", metavar="MODEL...", type=_MODEL, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="File to write, .onnx or (from Keras) .keras or .h5, or the folder for several models. "
    "Default: MODEL.folded.onnx beside the input.",
)
@opt.force_option
@click.option("--no-verify", is_flag=True, help="Do not compare the result with the original.")
@click.option("--no-bench", is_flag=True, help="Do not measure latency.")
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    help="Processes for several models (default: one per core).",
)
@opt.form_option
@opt.folding_options
@opt.gate_options
@opt.loading_options
@opt.input_options
@opt.verify_options
@opt.certificate_option
@opt.bench_options
@opt.output_options
def fold_command(
    models: tuple[Path, ...],
    output: str | None,
    force: bool,
    no_verify: bool,
    no_bench: bool,
    to: str | None,
    jobs: int | None,
    inputs: Path | None,
    certificate: Path | None,
    **rest: Any,
) -> int:
    """Fold MODEL (.h5, .keras or .onnx), verify, measure, write the result and report.

    The result is ONNX, or from a Keras model Keras again where -o ends in .keras or .h5.

    Several models are folded side by side into the folder that -o names, without measuring
    latency; a run that was interrupted goes on where it was.
    """
    to_stdout = output == str(DASH)
    out = _output(rest, force=force, to_stderr=to_stdout)
    if len(models) > 1 or jobs is not None or names_a_folder(output):
        given = {"verify": not no_verify, "inputs": inputs, "to": to, **rest}
        given["certificate"] = certificate
        return fold_several(models, output, jobs, out, given)
    if certificate and no_verify:
        raise click.UsageError("--certificate writes what the proof relied on: no --no-verify.")
    if models[0] == DASH and output is None:
        raise click.UsageError("a model from stdin needs a name for the result: give -o.")
    model = received(models[0])
    target, form = choose_target(model, sink_name(output, to), to, force=force)
    sink = Sink(target, to_stdout)
    checks = _checks(rest)
    out.check((model, target), [certificate, checks["counterexample"]])

    from bnfold import api
    from bnfold.report.gates import Gates, failed_gates

    gates = Gates(**opt.gating(rest))
    with out.progress() as progress:
        result = api.attempt(
            model,
            to=form,
            verify=not no_verify,
            benchmark=not no_bench or gates.needs_benchmark,
            inputs=inputs,
            verify_options={**checks, "progress": progress.share},
            benchmark_options={**opt.measuring(rest), "progress": progress.share},
            progress=progress,
            **opt.loading(rest),
            **opt.folding(rest),
        )
        report = result.report
        failures = failed_gates(report, gates, certificate=certificate is not None)
        written = report.passed and not failures
        if written:
            progress("writing")
            result.save(target, force=force, certificate=certificate, progress=progress.share)
            sink.deliver()
    if written:
        chosen = () if output else (f"no -o was given, so the name {target} was chosen",)
        report = dataclasses.replace(report, output=sink.name, notes=(*report.notes, *chosen))
    report = dataclasses.replace(report, notes=(*report.notes, *failures))
    out.show(_with_command(report))
    result.check()
    for line in failures:
        click.echo(f"bnfold: {line}", err=True)
    return 0 if written else 1


@cli.command(
    "inspect",
    epilog=examples("bnfold inspect model.keras", "bnfold inspect model.onnx --layer bn_3 --json"),
)
@click.argument("model", type=_MODEL)
@click.option(
    "--layer",
    "layers",
    metavar="NAME",
    multiple=True,
    help="Show this layer or op only. Repeatable.",
)
@opt.form_option
@opt.folding_options
@opt.loading_options
@opt.output_options
def inspect_command(model: Path, to: str | None, layers: tuple[str, ...], **rest: Any) -> int:
    """Say what folding MODEL would do and why; write nothing."""
    out = _output(rest)
    model = received(model)
    out.check((model,))

    from bnfold import api

    with out.progress() as progress:
        report = api.inspect(
            model,
            to=to or "onnx",
            progress=progress,
            **opt.loading(rest),
            **opt.folding(rest),
        )
    out.show(only_layers(report, layers))
    return 0


@cli.command(
    "verify",
    epilog=examples(
        "bnfold verify model.h5 folded.onnx",
        "bnfold verify a.onnx b.onnx --inputs data.npz --counterexample bad.npz",
    ),
)
@click.argument("reference", type=_MODEL)
@click.argument("candidate", type=_MODEL)
@opt.loading_options
@opt.input_options
@opt.verify_options
@opt.certificate_option
@opt.force_option
@opt.output_options
def verify_command(
    reference: Path,
    candidate: Path,
    inputs: Path | None,
    certificate: Path | None,
    force: bool,
    **rest: Any,
) -> int:
    """Check that CANDIDATE computes what REFERENCE does; exit 1 if not."""
    out = _output(rest, force=force)
    reference, candidate = received(reference), received(candidate)
    checks = _checks(rest)
    out.check((reference, candidate), [checks["counterexample"]])

    from bnfold import api

    with out.progress() as progress:
        report = api.compare(
            reference,
            candidate,
            verify=True,
            inputs=inputs,
            verify_options={"certificate": certificate, **checks, "progress": progress.share},
            progress=progress,
            **opt.loading(rest),
        )
    out.show(_with_command(report))
    return 0 if report.passed else 1


@cli.command(
    "bench",
    epilog=examples(
        "bnfold bench model.onnx folded.onnx --batch 1 --batch 32",
        "bnfold bench model.onnx folded.onnx --bench-seconds 30 --threads 4",
    ),
)
@click.argument("original", type=_MODEL)
@click.argument("folded", type=_MODEL)
@opt.loading_options
@opt.input_options
@opt.bench_options
@opt.output_options
def bench_command(original: Path, folded: Path, inputs: Path | None, **rest: Any) -> int:
    """Measure the latency of two models in pairs of fresh processes."""
    out = _output(rest)
    original, folded = received(original), received(folded)
    out.check((original, folded))

    from bnfold import api

    with out.progress() as progress:
        report = api.compare(
            original,
            folded,
            benchmark=True,
            inputs=inputs,
            benchmark_options={**opt.measuring(rest), "progress": progress.share},
            progress=progress,
            **opt.loading(rest),
        )
    out.show(report)
    return 0


cli.add_command(completion_command)
cli.add_command(diff_command)
cli.add_command(explain_command)


def _checks(rest: dict[str, Any]) -> dict[str, Any]:
    """Keywords of the verification; offending inputs are kept even where no file is named."""
    from bnfold.cli.again import kept_inputs

    checks = {"counterexample": kept_inputs(), **opt.verifying(rest)}
    path = checks["counterexample"]
    if path.suffix != ".npz":
        checks["counterexample"] = path.with_name(f"{path.name}.npz")
    return checks


def _with_command(report: Report) -> Report:
    """The report with the command that shows a failure again."""
    from bnfold.cli.again import command_again

    again = command_again(click.get_current_context(), report.verification)
    return dataclasses.replace(report, again=again)


def _output(rest: dict[str, Any], *, force: bool = False, to_stderr: bool = False) -> Output:
    own = ("force", "to_stderr")
    names = [field.name for field in dataclasses.fields(Output) if field.name not in own]
    given = {name: rest.pop(name) for name in names}
    output = Output(**given, force=force, to_stderr=to_stderr)
    click.get_current_context().with_resource(logging_to_stderr(output.verbose))
    import_onnx_ir()
    return output
