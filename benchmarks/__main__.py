"""`python -m benchmarks`: the whole suite, or some models of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import render, results
from benchmarks.models import CASES
from benchmarks.suite import losses, run_case, tool_versions
from bnfold.bench.environment import cpu_count, describe_machine

RESULTS = Path(__file__).with_name("results")
COMMAND = "python -m benchmarks"


def main(arguments: list[str] | None = None) -> int:
    """Run the suite and write results/suite.json, .md and .svg."""
    options = _parse(arguments)
    chosen = [case for case in CASES if not options.models or case.name in options.models]
    threads = sorted({1, cpu_count()} if options.threads is None else set(options.threads))
    options.out.mkdir(parents=True, exist_ok=True)
    partial = options.out / "suite.partial.json"
    settings = {"batches": options.batches, "threads": threads, "seconds": options.seconds}
    done = results.load_partial(partial, settings)
    if done:
        print(f"taken up again: {', '.join(case.name for case in done)}", file=sys.stderr)
    known = {case.name for case in done}
    for number, case in enumerate(chosen, 1):
        if case.name in known:
            continue
        print(f"[{number}/{len(chosen)}] {case.name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bnfold-suite-") as name:
            done.append(run_case(case, Path(name), options.batches, threads, options.seconds))
        for timing in done[-1].timings:
            ratio = timing.ratio(results.UNFOLDED, "bnfold")
            said = f"bnfold {ratio.value:.2f}x, {ratio.verdict}" if ratio else "no bnfold"
            print(f"    batch {timing.batch}, threads {timing.threads}: {said}", file=sys.stderr)
        if done[-1].problem:
            print(f"    {done[-1].problem}", file=sys.stderr)
        results.save_partial(partial, settings, done)
    names = [case.name for case in chosen]
    done = sorted((case for case in done if case.name in names), key=lambda c: names.index(c.name))
    result = results.SuiteResult(describe_machine(), tool_versions(), options.seconds, tuple(done))
    results.save(result, options.out / "suite.json")
    given = sys.argv[1:] if arguments is None else arguments
    _render(result, options.out, " ".join([COMMAND, *given]))
    partial.unlink(missing_ok=True)
    for name, timing, ratio in losses(done):
        print(f"slower than {ratio.over}: {name}, batch {timing.batch}", file=sys.stderr)
    return 0


def _render(result: results.SuiteResult, folder: Path, command: str) -> None:
    page = render.to_markdown(result, command, "suite.svg")
    (folder / "suite.md").write_text(page, encoding="utf-8")
    try:
        render.plot(result, folder / "suite.svg")
    except ModuleNotFoundError:
        print("matplotlib is not installed: no plot", file=sys.stderr)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(names)}")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 1024])
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 and all")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="timing of a model per number of threads"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    unknown = set(options.models) - set(names)
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
