"""Write docs/keras-kinds.md from the table of model kinds that the tests hold.

python scripts/keras_kinds.py            writes the page
python scripts/keras_kinds.py --check    fails if the page is not what it would write
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.pages import main
from tests.convert.kinds.table import GENERATIONS, KINDS, ROADS, Kind

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keras-kinds.md"
_HEAD = """# Kinds of Keras models, and where each goes

Written by `scripts/keras_kinds.py` from the table that `tests/convert/kinds` holds: each row is a
model there, made by Keras 3 and by Keras 2 with random statistics, gammas of both signs and nonzero
biases, saved as `.keras` (where the row says nothing else) and compared with what that Keras
itself computes: read and written back folded, converted directly, and by tf2onnx, each before and
after folding.

A cell is *yes* for both Keras 3 and Keras 2, or says for which. *Folded* is how many of the
normalization layers (BatchNormalization, Normalization, Rescaling) go, in Keras and, where that
differs, in ONNX.
"""


def _cell(kind: Kind, road: str) -> str:
    open_for = [one for one in GENERATIONS if not kind.why_closed(road, one)]
    if len(open_for) == len(GENERATIONS):
        return "yes"
    return ", ".join(f"Keras {one}" for one in open_for) or "no"


def _row(kind: Kind) -> str:
    counts = [f"{one} of {kind.norms}" for one in kind.folds]
    folded = counts[0] if len(counts) == 1 else f"{counts[0]} (Keras), {counts[1]} (ONNX)"
    cells = [kind.title, *(_cell(kind, road) for road in ROADS), folded if kind.norms else ""]
    return f"| {' | '.join(cells)} |"


def _notes() -> list[str]:
    return [f"- *{kind.title}*: {kind.note}" for kind in KINDS if kind.note]


def page() -> str:
    """The whole page."""
    heads = ["kind", *ROADS, "folded"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *map(_row, KINDS)]
    return "\n".join([_HEAD, *lines, "", *_notes(), ""])


if __name__ == "__main__":
    sys.exit(main(PAGE, page()))
