"""Write docs/refusal-codes.md from the codes in the source.

python scripts/refusal_codes.py            writes the page
python scripts/refusal_codes.py --check    fails if the page is not what it would write
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bnfold.core.diagnostics import Reason
from bnfold.verify.codes import Fault
from scripts.pages import main
from tests.formats.onnx.situations.table import TABLE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "refusal-codes.md"
_HEAD = """# Codes

Written by `scripts/refusal_codes.py`. `bnfold explain BNF203` shows the same. A code never gets
another meaning.
"""
_GROUPS = {1: "Structure", 2: "Algebra", 3: "Constants", 4: "Numerics"}


def examples(code: str) -> list[str]:
    """Situations of the tests in which the code is given, at most two."""
    found = [
        case.title
        for cases in TABLE.values()
        for case in cases
        if code in {why.split()[1] for why in case.why}
    ]
    return found[:2]


def entry(item: Reason | Fault) -> Iterator[str]:
    """One code."""
    yield f'### <a id="{item.code.lower()}"></a>{item.code} {item.title}\n'
    yield f"{item.why}\n"
    yield f"*What to do:* {item.hint}\n"
    if isinstance(item, Reason) and (shown := examples(item.code)):
        yield f"*For example:* {'; '.join(shown)}.\n"


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## Why an affine stays\n"]
    group = 0
    for reason in Reason:
        if reason.number // 100 != group:
            group = reason.number // 100
            parts.append(f"**{_GROUPS[group]}** ({group}xx)\n")
        parts += entry(reason)
    parts.append("## Why a check failed\n")
    for fault in Fault:
        parts += entry(fault)
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(PAGE, page()))
