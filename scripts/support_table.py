"""Write docs/support-table.md from the table of situations that the tests hold.

python scripts/support_table.py            writes the page
python scripts/support_table.py --check    fails if the page is not what it would write
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.pages import main
from tests.formats.onnx.situations.table import TABLE
from tests.formats.onnx.support.cases import Case
from tests.formats.onnx.support.check import left_in

PAGE = Path(__file__).resolve().parents[1] / "docs" / "support-table.md"
_HEAD = """# What is folded, and what is not

Written by `scripts/support_table.py` from the table that `tests/formats/onnx/test_situations.py`
holds: each row is a model there. It is folded, checked by `onnx.checker`, run in onnxruntime at
every level of optimization, folded again, and compared with the original in float64.

*Before* and *after* are the op types in the order of the graph. A reason such as
[BNF203](refusal-codes.md#bnf203) says why an affine, or a part of it, stays.
"""


def rows_of(cases: list[Case]) -> Iterator[str]:
    """The lines of one section's table."""
    members = Counter(case.family for case in cases)
    shown: set[str] = set()
    for case in cases:
        if case.family in shown:
            continue
        title = case.title
        if case.family:
            shown.add(case.family)
            title = f"{case.family} ({members[case.family]} combinations)"
        codes = dict.fromkeys(why.split()[1] for why in case.why)
        links = ", ".join(f"[{code}](refusal-codes.md#{code.lower()})" for code in codes)
        after = "not folded yet" if case.expected else f"`{case.left}`"
        yield f"| {title} | `{left_in(case.build('float'))}` | {after} | {links} |"


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for section, cases in TABLE.items():
        lines = "\n".join(rows_of(cases))
        parts.append(
            f"## {section}\n\n| situation | before | after | reason |\n|---|---|---|---|\n{lines}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(PAGE, page()))
