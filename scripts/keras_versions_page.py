"""The page docs/keras-versions.md: what becomes of the files of each version of Keras."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from scripts.keras_version_files import ENVIRONMENTS, LOADED, LOST, TOO_OLD, archive_of, members

_HEAD = """# Which versions of Keras

Written by `scripts/keras_version_files.py page` from what `tests/formats/keras/versions` holds:
small models that each version made and saved in every format that it has, with random statistics,
gammas of both signs and nonzero biases, and what that version itself predicted.

A test reads each file, converts it, folds it, writes it back in its format and reads it again,
without TensorFlow; all results are that version's own predictions, but for rounding. *Loaded* says
how many of the folded files were then loaded by the version that wrote the originals, and predicted
there what the originals had predicted.
"""
_NETS = """\
Dense and convolutional nets (one, two and three dimensions, transposed, depthwise, separable),
models within models and called twice, several inputs and outputs, operators, recurrent layers of
all kinds, masked tokens, activations, a Sequential built by its first call, float64, mixed_float16,
preprocessing, attention, a layer of the user's own: as far as the version has them.
"""
_NOTES = """\
What is not read, or not loaded:

- A model of a class of the user's own (one in each version, not counted above) is refused: its code
  is not in the file. A layer of the user's own is kept as it is; such a model goes back to Keras,
  not directly to ONNX.
- Keras 3.0 writes an .h5 with several arrays of one name in a layer such that only one of them is
  in the file: that is refused. It loads less than it writes.
- Where a version cannot load its own file, nothing is asked of the folded one; some of these it
  loads all the same (*and more*).
- Two files with convolutions of Theano were not loaded there, as it needs a C++ compiler for these.
- Theano's convolutions mirror their kernels, and with `padding="same"` they pad other sides where a
  stride or a kernel is even; the first is undone and done again in what is written, the second
  refused.
- An architecture in JSON and weights alone are each refused with a line that says so.
- Keras 1 is refused: load such a file with Keras 2.2 and save it again.
- SavedModel folders, of each version that writes them, go by the tf2onnx road.
"""


def page() -> str:
    """The whole page."""
    loaded = json.loads(LOADED.read_text("utf-8"))
    heads = ["version", "files", "read", "to ONNX", "back to Keras", "loaded"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [_row(name, loaded.get(name)) for name in ENVIRONMENTS]
    return "\n".join([_HEAD, *lines, "", _NETS, _NOTES, *_how(), ""])


def _row(name: str, said: dict[str, Any] | None) -> str:
    files = [file for file in members(name) if Path(file).stem != "named"]
    read = [file for file in files if (name, file) not in LOST]
    direct = [file for file in read if Path(file).stem != "custom"]
    cells = [_title(name), f"{len(files)}", f"{len(read)}", f"{len(direct)}", f"{len(read)}"]
    return f"| {' | '.join(cells)} | {_loaded(read, said)} |"


def _loaded(read: list[str], said: dict[str, Any] | None) -> str:
    if said is None:
        return "not tried"
    own = [file for file in read if not said["originals"][file]]
    good = [file for file in own if not said["folded"][file]]
    extra = sum(not said["folded"][file] for file in read) - len(good)
    more = f", and {extra} more" if extra else ""
    return f"{len(good)} of {len(own)}{more}"


def _title(name: str) -> str:
    with tarfile.open(archive_of(name)) as archive:
        member = archive.extractfile("made.json")
        assert member is not None
        made = json.loads(member.read())["version"]
    if name.startswith("tf.keras"):
        return f"tf.keras of TensorFlow {made['keras']}"
    backend = made["backend"]
    version = f" {made[backend]}" if backend in made else ""
    names = {"jax": "JAX", "tensorflow": "TensorFlow", "theano": "Theano"}
    return f"Keras {made['keras']} on {names[backend]}{version}"


def _how() -> list[str]:
    lines = [
        "## Made again",
        "",
        "In an environment of each version, with the Python and packages of the table:",
        "",
        "```sh",
        "python scripts/keras_versions.py make tf.keras made/tf.keras-2.10   # or: make keras ...",
        "python scripts/keras_versions.py load tf.keras check/originals/tf.keras-2.10",
        "python scripts/keras_versions.py load tf.keras check/folded/tf.keras-2.10",
        "```",
        "",
        "The first makes the models; `python scripts/keras_version_files.py pack made` keeps them,",
        "and `fold check` unpacks and folds them. The other two load what was unpacked and folded,",
        "and `record check` keeps what they said. Weights and inputs are the same each time.",
        "",
        "| version | Python | packages | set |",
        "|---|---|---|---|",
    ]
    for name, one in {**ENVIRONMENTS, **TOO_OLD}.items():
        lines.append(f"| `{name}` | {one.python} | `{one.requirements}` | {one.settings} |")
    return lines
