"""Fold thousands of random graphs and hold each to every invariant.

    python scripts/fuzz_graphs.py --count 5000 --seed 0

Prints how many affines were folded and kept, and every graph that broke an invariant; exits 1
if there was one. A failing graph is reproduced with ``--only SEED``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz.graphs import SeededChooser, random_model
from fuzz.invariants import CannotRun, check_fold


def run_one(seed: int) -> tuple[int, int, float, Counter[str]]:
    """Folds, kept, error and refusal codes of one graph."""
    model = random_model(SeededChooser(seed))
    checked = check_fold(model, seed)
    codes = Counter(k.refusals[0].reason.code if k.refusals else "-" for k in checked.result.kept)
    return len(checked.result.folds), len(checked.result.kept), checked.error, codes


def main() -> int:
    """Run the fuzz; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(onnx.printer.to_text(random_model(SeededChooser(arguments.only))))
        print(run_one(arguments.only))
        return 0
    started, worst = time.perf_counter(), 0.0
    folds = kept = failures = skipped = 0
    codes: Counter[str] = Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        try:
            a, b, error, found = run_one(seed)
        except CannotRun:
            skipped += 1
            continue
        except Exception as error:
            failures += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        folds, kept, worst = folds + a, kept + b, max(worst, error)
        codes += found
    seconds = time.perf_counter() - started
    print(f"{arguments.count} graphs from seed {arguments.seed} in {seconds:.0f} s")
    print(
        f"{folds} affines folded, {kept} kept, {failures} graphs broke an invariant, "
        f"{skipped} that cannot be run were not compared"
    )
    print(f"largest relative error {worst:.2g}; reasons {dict(codes.most_common())}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
