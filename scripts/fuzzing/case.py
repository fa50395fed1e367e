"""One damaged file, and the traps around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# Bytes of a file that no model may read; they must not turn up in any output.
SECRET = b"TOP-SECRET-BYTES" * 64
# A folder that hostile payloads make when they are executed.
CANARY = "executed"


@dataclass
class Case:
    """Files to lay out before the worker looks at one of them.

    Attributes:
        label: what was done to which model.
        name: the file that is opened.
        data: its content.
        beside: other files of its folder.
        links: symbolic links of its folder, name to target ("{outside}" is the forbidden folder).
        hard_links: the same for hard links.
    """

    label: str
    name: str
    data: bytes
    beside: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    hard_links: dict[str, str] = field(default_factory=dict)

    def lay_out(self, root: Path) -> Path:
        """Write everything into `root`/in, a secret into `root`/outside; return the file."""
        inside, outside = root / "in", root / "outside"
        for folder in (inside, outside, root / "out"):
            folder.mkdir(parents=True)
        (outside / "secret").write_bytes(SECRET)
        for name, data in {self.name: self.data, **self.beside}.items():
            path = inside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for name, target in self.links.items():
            (inside / name).symlink_to(target.format(outside=outside))
        for name, target in self.hard_links.items():
            (inside / name).hardlink_to(target.format(outside=outside))
        return inside / self.name
