"""Options that several commands share, and what becomes of their text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

#: Word of the command line: GraphOptimizationLevel of onnxruntime.
_MODES = {
    "all": "ENABLE_ALL",
    "layout": "ENABLE_LAYOUT",
    "extended": "ENABLE_EXTENDED",
    "basic": "ENABLE_BASIC",
    "off": "DISABLE_ALL",
}

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def _all(*decorators: Callable[[Any], Any]) -> Callable[[_Decorated], _Decorated]:
    def decorate(function: _Decorated) -> _Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _dims(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int] | None:
    """``NAME=SIZE`` as a mapping; None where there is none."""
    sizes = {}
    for text in values:
        name, equals, size = text.rpartition("=")
        if not (name and equals and size.isdecimal() and int(size)):
            raise click.BadParameter(f"{text!r} is no NAME=SIZE, such as length=128.", ctx)
        sizes[name] = int(size)
    return sizes or None


output_options = _all(
    click.option(
        "--report",
        "reports",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Also write the report: .html, .md, .json, .xml (JUnit) or .txt. Repeatable.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--github", is_flag=True, help="Print the report as GitHub annotations."),
    click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
    click.option("-v", "--verbose", count=True, help="Print more; -vv also logs and tracebacks."),
)

loading_options = _all(
    click.option(
        "--converter",
        type=click.Choice(["auto", "direct", "tf2onnx"]),
        help="How Keras becomes ONNX: read as data, without TensorFlow (direct), or traced "
        "(tf2onnx). Default: direct where every layer is known.",
    ),
    click.option(
        "--unsafe-load", is_flag=True, help="Allow code in a Keras file (Lambda layers) to run."
    ),
    click.option(
        "--custom-objects",
        metavar="MODULE:NAME",
        multiple=True,
        help="Custom Keras class or function, or FILE.py for all in it; imports it. Repeatable.",
    ),
)

form_option = _all(
    click.option(
        "--to",
        type=click.Choice(["onnx", "keras"]),
        help="What to make. Default: what the suffix of -o says, else ONNX.",
    ),
)

folding_options = _all(
    click.option("--opset", type=click.IntRange(min=1), help="ONNX opset of the result."),
    click.option(
        "--fold-overridable",
        is_flag=True,
        help="Treat initializers that are also model inputs as constants.",
    ),
    click.option(
        "--collapse",
        is_flag=True,
        help="Make one matrix product of two in a row where that is smaller.",
    ),
)

gate_options = _all(
    click.option(
        "--max-remaining",
        metavar="N",
        type=click.IntRange(min=0),
        help="Fail if more than N affines stay.",
    ),
    click.option(
        "--require-speedup",
        metavar="X",
        type=click.FloatRange(min=0, min_open=True),
        help="Fail unless the measured interval shows a speedup of at least X.",
    ),
    click.option(
        "--max-size-growth",
        metavar="PERCENT",
        type=float,
        help="Fail if the model grows by more.",
    ),
)

input_options = _all(
    click.option(
        "--inputs",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="Arrays to run on: .npz by input name, .npy, or an ONNX test_data_set folder.",
    ),
)

verify_options = _all(
    click.option("--samples", type=click.IntRange(min=1), help="Rows of generated input."),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of the generated input."),
    click.option(
        "--verify-seconds",
        "budget_seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Time to spend on verifying.",
    ),
    click.option(
        "--counterexample",
        metavar="FILE.npz",
        type=click.Path(path_type=Path),
        help="Where to save the offending inputs if a check fails (default: a temporary file).",
    ),
    click.option(
        "--mutation-test",
        "mutations",
        metavar="N",
        type=click.IntRange(min=1),
        help="Then plant N faults and report how many the checks catch.",
    ),
)

force_option = click.option("-f", "--force", is_flag=True, help="Replace files that exist.")

certificate_option = click.option(
    "--certificate",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="What the proof relies on. A fold writes it; verify derives it again from both models.",
)

bench_options = _all(
    click.option(
        "--bench-seconds",
        "bench_seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Time to spend on measuring latency.",
    ),
    click.option(
        "--batch",
        "batches",
        type=click.IntRange(min=1),
        multiple=True,
        help="Batch size to measure. Repeatable.",
    ),
    click.option(
        "--dim",
        "dims",
        metavar="NAME=SIZE",
        multiple=True,
        callback=_dims,
        help="Size of another symbolic dimension of the inputs, to measure with. Repeatable.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=0),
        help="Threads of onnxruntime; 0: one per core. Default: 1.",
    ),
    click.option(
        "--provider",
        "providers",
        metavar="NAME",
        multiple=True,
        help="Execution provider of onnxruntime, such as cpu or cuda. Repeatable, best first.",
    ),
    click.option(
        "--optimization",
        "modes",
        type=click.Choice(list(_MODES)),
        multiple=True,
        callback=lambda ctx, parameter, values: tuple(_MODES[value] for value in values),
        help="What onnxruntime's own optimizer does when it loads a model. Repeatable.",
    ),
)


# Option of the command line: keyword of the API.
_LOADING = {"unsafe_load": "unsafe_load", "converter": "converter"}
_FOLDING = {name: name for name in ("opset", "fold_overridable", "collapse")}
_GATES = ("max_remaining", "require_speedup", "max_size_growth")
_VERIFY = {
    name: name for name in ("samples", "seed", "budget_seconds", "counterexample", "mutations")
}
_BENCH = {
    "bench_seconds": "budget_seconds",
    **{name: name for name in ("batches", "dims", "threads", "providers", "modes")},
}


def loading(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `loading_options` out of `values`, as keywords of the API.

    Raises:
        InputError: custom objects are not there, or importing them fails.
    """
    return {
        "custom_objects": read_custom_objects(values.pop("custom_objects")),
        **_taken(values, _LOADING),
    }


def folding(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `folding_options` out of `values`, as keywords of the API."""
    return _taken(values, _FOLDING)


def gating(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `gate_options` out of `values`, as fields of `Gates`."""
    return _taken(values, {name: name for name in _GATES})


def verifying(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `verify_options` out of `values`, as keywords of the verification."""
    return _taken(values, _VERIFY)


def measuring(values: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `bench_options` out of `values`, as keywords of the benchmark."""
    return _taken(values, _BENCH)


def _taken(values: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    # What was not given is left out: the defaults are the API's.
    taken = {keyword: values.pop(option) for option, keyword in names.items()}
    return {keyword: value for keyword, value in taken.items() if value not in (None, ())}


def read_custom_objects(specs: Iterable[str]) -> Mapping[str, object] | None:
    """The objects that ``--custom-objects`` names; None where it is not given.

    Raises:
        InputError: one is not there, or importing it fails.
    """
    specs = tuple(specs)
    if not specs:
        return None
    from bnfold.formats.keras.custom import parse_custom_objects

    return parse_custom_objects(specs)
