"""The suite's result as Markdown and as a plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peers import PEERS
from benchmarks.results import (
    TWIN,
    UNFOLDED,
    USELESS_RESOLUTION,
    CaseResult,
    Ratio,
    SuiteResult,
    Timing,
)
from benchmarks.suite import losses

_COLUMNS = (*PEERS, TWIN)
#: Colours that colour-blind readers can tell apart (Okabe & Ito), bnfold's the strongest.
_STYLES = {
    "bnfold": ("#D55E00", "o"),
    "onnxsim": ("#0072B2", "v"),
    "onnxslim": ("#56B4E9", "^"),
    "onnxscript": ("#009E73", "s"),
    "ort-offline": ("#CC79A7", "D"),
    "tf2onnx": ("#E69F00", "P"),
    TWIN: ("#000000", "|"),
}


def to_markdown(result: SuiteResult, command: str, plot: str) -> str:
    """Render all tables.

    Args:
        command: what makes the tables anew.
        plot: file name of the plot, beside the page.
    """
    return "\n".join(_lines(result, command, plot)) + "\n"


def _lines(result: SuiteResult, command: str, plot: str) -> Iterator[str]:
    versions = result.versions.items()
    yield "# How fast the folded models run"
    yield ""
    yield f"Made by `{command}`. Machine: {_sentence(result.environment)}."
    yield f"Versions: {', '.join(f'{name} {number}' for name, number in versions)}."
    yield ""
    yield (
        "Speed-up over the unfolded model in onnxruntime (ENABLE_ALL, CPU): time of the unfolded"
        " model divided by that of the version in the column, from fresh processes of all versions"
        " that run in lockstep. **Bold**: faster, ~~struck~~: slower, both beyond the 95 % interval"
        " and the A/A control of the same launches; plain: no difference that the run can tell;"
        f' "noise": not even a difference of {USELESS_RESOLUTION:.0%} could have been told.'
        " The last column is the same net built without any normalization: the limit."
    )
    yield ""
    yield f"![Speed-up of every version]({plot})"
    for threads, batch in _settings(result.cases):
        yield from _speedups(result.cases, threads, batch)
    yield from _versus(result.cases)
    yield from _losses(result.cases)
    yield from _sizes(result.cases)
    yield from _problems(result.cases)


def _settings(cases: Sequence[CaseResult]) -> list[tuple[int, int]]:
    return sorted({(timing.threads, timing.batch) for case in cases for timing in case.timings})


def _at(case: CaseResult, threads: int, batch: int) -> Timing | None:
    for timing in case.timings:
        if (timing.threads, timing.batch) == (threads, batch):
            return timing
    return None


def _speedups(cases: Sequence[CaseResult], threads: int, batch: int) -> Iterator[str]:
    yield ""
    yield f"## Batch {batch}, {_count(threads, 'thread')}"
    yield ""
    yield _row(["model", "unfolded", *_COLUMNS, "A/A control"])
    yield _row(["---", *["---:"] * (len(_COLUMNS) + 2)])
    for case in cases:
        timing = _at(case, threads, batch)
        if timing is None:
            continue
        cells = [_cell(timing.ratio(UNFOLDED, name)) for name in _COLUMNS]
        control = f"{timing.control_low:.3f} to {timing.control_high:.3f}"
        yield _row([case.name, _time(timing.micros[UNFOLDED]), *cells, control])


def _cell(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    if ratio.useless:
        return "noise"
    text = f"{ratio.value:.2f}"
    return {"faster": f"**{text}**", "slower": f"~~{text}~~"}.get(ratio.verdict, text)


def _versus(cases: Sequence[CaseResult]) -> Iterator[str]:
    yield ""
    yield "## bnfold's model against each other version"
    yield ""
    yield "Counted over all models, batch sizes and threads."
    yield ""
    yield _row(["against", "faster", "no difference", "slower", "noise", "median resolution"])
    yield _row(["---", *["---:"] * 5])
    for name in (UNFOLDED, *_COLUMNS[1:]):
        found = [
            ratio
            for case in cases
            for timing in case.timings
            if (ratio := timing.ratio(name, "bnfold")) is not None
        ]
        told = [ratio for ratio in found if not ratio.useless]
        if not told:
            continue
        counts = [
            str(sum(ratio.verdict == verdict for ratio in told))
            for verdict in ("faster", "no difference", "slower")
        ]
        resolution = statistics.median(
            [ratio.resolution for ratio in told if ratio.verdict == "no difference"] or [0.0]
        )
        yield _row([name, *counts, str(len(found) - len(told)), f"{resolution:.1%}"])


def _losses(cases: Sequence[CaseResult]) -> Iterator[str]:
    yield ""
    found = losses(cases)
    if not found:
        yield (
            "Nowhere was bnfold's version measurably slower than another; smaller differences than"
            " the resolution above are not excluded, nor is anything where there was only noise."
        )
        return
    yield "Where bnfold's version is slower than the unfolded model or another tool's:"
    yield ""
    for name, timing, ratio in found:
        where = f"batch {timing.batch}, {_count(timing.threads, 'thread')}"
        interval = f"{1 / ratio.high:.2f} to {1 / ratio.low:.2f}"
        yield f"- {name}, {where}: {1 / ratio.value:.2f} times {ratio.over}'s time ({interval})"


def _sizes(cases: Sequence[CaseResult]) -> Iterator[str]:
    yield ""
    yield "## Nodes, size, load time and the tools' own time"
    yield ""
    yield (
        "Nodes / KiB / milliseconds to create a session / seconds that the tool's command took,"
        " imports included."
    )
    yield ""
    names = (UNFOLDED, *_COLUMNS)
    yield _row(["model", *names])
    yield _row(["---", *["---"] * len(names)])
    for case in cases:
        by_name = {variant.name: variant for variant in case.variants}
        cells = []
        for name in names:
            variant = by_name.get(name)
            if variant is None or variant.problem:
                cells.append("-")
                continue
            figures = f"{variant.nodes} / {variant.bytes / 1024:.0f} / {variant.load_ms:.1f}"
            tool = f" / {variant.tool_seconds:.1f}" if variant.tool_seconds else ""
            cells.append(figures + tool)
        if case.variants:
            yield _row([case.name, *cells])


def _problems(cases: Sequence[CaseResult]) -> Iterator[str]:
    found = [(case.name, case.problem) for case in cases if case.problem]
    found += [
        (f"{case.name}, {variant.name}", variant.problem)
        for case in cases
        for variant in case.variants
        if variant.problem
    ]
    if found:
        yield ""
        yield "## What did not take part"
        yield ""
        for what, problem in found:
            yield f"- {what}: {problem}"
    yield ""
    yield "## The models"
    yield ""
    for case in cases:
        yield f"- {case.name}: {case.what}"


def _sentence(environment: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _time(micros: float) -> str:
    return f"{micros:.3g} µs" if micros < 1e3 else f"{micros / 1e3:.3g} ms"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(result: SuiteResult, path: Path) -> None:
    """Draw the speed-ups with their intervals, one panel per batch size, one thread, as SVG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "bnfold"  # the same figures give the same file
    from matplotlib import pyplot

    settings = [setting for setting in _settings(result.cases) if setting[0] == 1]
    settings = settings or _settings(result.cases)
    cases = [case for case in result.cases if case.timings]
    size = (3.6 * len(settings) + 1.6, 0.42 * len(cases) + 1.6)
    figure, panels = pyplot.subplots(1, len(settings), figsize=size, sharey=True, squeeze=False)
    for panel, (threads, batch) in zip(panels[0], settings, strict=True):
        panel.axvline(1.0, color="#999999", linewidth=0.8)
        for place, case in enumerate(cases):
            timing = _at(case, threads, batch)
            for number, name in enumerate(_COLUMNS):
                ratio = timing.ratio(UNFOLDED, name) if timing else None
                if ratio is None or ratio.useless:
                    continue
                colour, marker = _STYLES[name]
                offset = place + 0.3 * (number / (len(_COLUMNS) - 1) * 2 - 1)
                panel.plot([ratio.low, ratio.high], [offset] * 2, color=colour, linewidth=1)
                panel.plot(
                    ratio.value,
                    offset,
                    marker,
                    color=colour,
                    markersize=9 if name == TWIN else 4.5,
                    markeredgewidth=2 if name == TWIN else 0.5,
                    label=name if place == 0 else None,
                )
        panel.set_title(f"batch {batch}, {_count(threads, 'thread')}", fontsize=10)
        panel.set_xlabel("speed-up over the unfolded model")
        panel.grid(axis="x", linewidth=0.3)
        for border in range(len(cases) - 1):
            panel.axhline(border + 0.5, color="#dddddd", linewidth=0.5)
    panels[0][0].set_yticks(range(len(cases)), [case.name for case in cases])
    panels[0][0].invert_yaxis()
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncol=len(_COLUMNS), fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / size[1]))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
