"""Fold thousands of random Keras nets, as Keras and as ONNX, and hold each to every invariant.

    nice python scripts/fuzz_keras.py --count 2000 --seed 0

Needs TensorFlow, Keras and tf_keras. Prints how many affines were folded and kept, why nets were
refused, and every net that broke an invariant; exits 1 if there was one. A net is looked at with
``--only SEED``, which takes out every step that the failure does not need, and prints the rest.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz.invariants import CannotRun
from fuzz.keras_nets.grow import grow, random_recipe, without
from fuzz.keras_nets.invariants import Checked, check_recipe
from fuzz.keras_nets.net import Recipe

from bnfold.formats.keras import runtime


class Nets:
    """Runs recipes, each with the Keras that it is for."""

    def __init__(self, folder: Path) -> None:
        self._keras: dict[int, Any] = {3: runtime.import_keras(), 2: runtime.import_tf_keras()}
        self._folder = folder

    def check(self, recipe: Recipe) -> Checked:
        """Hold its net to every invariant."""
        return check_recipe(recipe, self._keras[recipe.generation], self._folder)

    def failure(self, recipe: Recipe) -> str:
        """What breaks, "" if nothing does."""
        try:
            self.check(recipe)
        except CannotRun:
            return ""
        except Exception as error:
            return f"{type(error).__name__}: {error!s:.400}"
        return ""

    def shrunk(self, recipe: Recipe, failure: str) -> tuple[Recipe, str]:
        """The recipe without every step that the failure does not need."""
        kind, place = _kind(failure), len(recipe.steps) - 1
        while place >= 0:
            smaller = without(recipe, place)
            found = self.failure(smaller)
            if found and _kind(found) == kind:
                recipe, failure = smaller, found
            place -= 1
        return recipe, failure

    def show(self, recipe: Recipe) -> None:
        """Print the layers of a net."""
        print(recipe)
        net = grow(recipe, self._keras[recipe.generation])
        _show(net.model, "  ")
        print("  steps that Keras refused:", dict(net.failed))


def _show(model: Any, indent: str) -> None:
    for layer in model.layers:
        config = {k: v for k, v in layer.get_config().items() if k in _TELLING and v is not None}
        given = getattr(layer, "input", None)
        shapes = _map(given), _map(getattr(layer, "output", None))
        print(f"{indent}{layer.name}: {type(layer).__name__} {config} {shapes[0]} -> {shapes[1]}")
        if hasattr(layer, "layers"):
            _show(layer, indent + "    ")


_TELLING = frozenset(
    {"units", "filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "equation"}
    | {"data_format", "axis", "bias_axes", "use_bias", "activation", "scale", "center", "dims"}
    | {"target_shape", "cropping", "size", "pool_size", "interpolation", "keepdims", "axes"}
    | {"shared_axes", "return_sequences", "go_backwards", "merge_mode", "depth_multiplier"}
    | {"output_padding", "mask_zero", "reset_after", "function", "invert"}
)


def _map(structure: Any) -> Any:
    if isinstance(structure, (list, tuple)):
        return [_map(one) for one in structure]
    if isinstance(structure, dict):
        return {key: _map(one) for key, one in structure.items()}
    return f"{getattr(structure, 'name', structure)}{tuple(getattr(structure, 'shape', ()))}"


def _kind(failure: str) -> str:
    """A failure without its numbers and names."""
    head = failure.partition(",")[0] if "error" in failure else failure
    return "".join(one for one in head[:60] if one.isalpha() or one in ": ")


def main() -> int:
    """Run the fuzz; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generation", type=int, default=0, choices=(0, 2, 3))
    parser.add_argument("--only", type=int, nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        nets = Nets(Path(folder))
        with runtime.quiet():
            if arguments.only:
                recipes = [random_recipe(seed, arguments.generation) for seed in arguments.only]
                return max([_look(nets, recipe) for recipe in recipes])
            return _run(nets, arguments)


def _look(nets: Nets, recipe: Recipe) -> int:
    failure = nets.failure(recipe)
    if failure:
        recipe, failure = nets.shrunk(recipe, failure)
    nets.show(recipe)
    print(failure or "nothing broke")
    return 1 if failure else 0


def _run(nets: Nets, arguments: argparse.Namespace) -> int:
    started, worst = time.perf_counter(), 0.0
    failures = folds = kept = folded = 0
    examples: dict[str, int] = {}
    counts: dict[str, Counter[str]] = {
        kind: Counter() for kind in ("cannot run", "refused", "codes", "notes")
    }
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        recipe = random_recipe(seed, arguments.generation)
        try:
            checked = nets.check(recipe)
        except CannotRun as error:
            counts["cannot run"][str(error)[:90]] += 1
            continue
        except Exception as error:
            failures += 1
            print(
                f"seed {seed} ({recipe.generation}, {recipe.policy}): "
                f"{type(error).__name__}: {error!s:.400}",
                flush=True,
            )
            continue
        folds, kept, worst = folds + checked.folds, kept + checked.kept, max(worst, checked.error)
        folded += bool(checked.folds)
        counts["codes"] += checked.codes
        counts["notes"] += checked.notes
        counts["refused"][checked.refused] += bool(checked.refused)
        for text in (checked.refused, *checked.notes):
            examples.setdefault(text, seed)
    print(
        f"{arguments.count} nets from seed {arguments.seed} in "
        f"{time.perf_counter() - started:.0f} s: {failures} broke an invariant"
    )
    print(f"{folds} affines folded in {folded} nets, {kept} kept; largest error {worst:.2g}")
    for title, found in counts.items():
        print(f"{title}: {sum(found.values())}")
        for text, count in found.most_common(25):
            if count:
                print(f"  {count:5} {text}" + (f" ({examples[text]})" if text in examples else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
