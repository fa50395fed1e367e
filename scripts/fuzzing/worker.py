"""The process that opens damaged files: reads their paths from stdin, answers one line each.

What it may do is limited and watched: its memory beyond what it had at the start, the files it
writes, and the processes and connections it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
              "socket.connect", "pickle.find_class", "webbrowser.open")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
            "os.truncate", "shutil.rmtree", "shutil.move")  # fmt: skip


class Watch:
    """What a case did that no model file may make bnfold do."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.broken: list[str] = []
        # Keras unpacks archives there. Asked for now, since the question itself opens files.
        self._scratch = Path(tempfile.gettempdir())
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in _FORBIDDEN:
            self.broken.append(f"{event}{given!r:.200}")
        elif event in _CHANGES:
            self._check(event, given[0])
            if event in ("os.rename", "os.link", "os.symlink"):
                self._check(event, given[1])
        elif event == "open" and isinstance(given[2], int):
            if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._check("open for writing", given[0])
            elif "outside" in str(given[0]):
                self.broken.append(f"read {given[0]!r}")

    def _check(self, event: str, path: object) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else repr(path)
        if name.startswith("/proc/self/fd/") or name == os.devnull:
            return
        place = Path(os.path.abspath(name))  # noqa: PTH100 - links are the point
        if not any(place.is_relative_to(each) for each in (self.allowed or place, self._scratch)):
            # A link by descriptor names the file alone, in the folder that is written to.
            if "/" not in name and event == "os.link":
                return
            self.broken.append(f"{event} {name!r}")


def fold_onnx(path: Path, out: Path) -> str:
    """Open, fold, save, and open what was saved."""
    from bnfold.formats.onnx.fold import fold_model
    from bnfold.formats.onnx.open import open_onnx
    from bnfold.formats.onnx.save import save_onnx

    model = open_onnx(path)
    result = fold_model(model)
    target = out / "folded.onnx"
    save_onnx(result.model, target, force=True)
    _reopen(target)
    return f"folded {len(result.folds)}, kept {len(result.kept)}"


def _reopen(target: Path) -> None:
    from bnfold.core.errors import BnfoldError
    from bnfold.formats.onnx.open import open_onnx

    try:
        open_onnx(target)
    except BnfoldError as error:
        raise RuntimeError(f"the output cannot be opened: {error}") from error


def read_keras(path: Path, out: Path) -> str:
    """Read the graph and every array of a Keras file."""
    from bnfold.formats.keras.read import read_keras

    graph = read_keras(path)
    stack, count = [graph], 0
    while stack:
        for layer in stack.pop().layers.values():
            if layer.graph is not None:
                stack.append(layer.graph)
            for array in (*layer.weights.values(), *layer.loose):
                if array.read().nbytes > 2**29:
                    raise RuntimeError("an array of more than 512 MB")
                count += 1
    return f"read {count} arrays"


def fold_any(path: Path, out: Path) -> str:
    """What `bnfold.fold(path).save(...)` does, without checks of the result."""
    import bnfold

    result = bnfold.fold(path, verify=False)
    result.save(out / "folded.onnx", force=True)
    _reopen(out / "folded.onnx")
    return f"folded {len(result.folds)}, kept {len(result.kept)}"


def look(path: Path, out: Path) -> str:
    """Tell the kind, then read it the way its kind is read."""
    from bnfold.formats.sniff import FileKind, sniff

    kind = sniff(path)
    return fold_onnx(path, out) if kind is FileKind.ONNX else read_keras(path, out)


ROADS: dict[str, Callable[[Path, Path], str]] = {"data": look, "api": fold_any}


def run_case(road: Callable[[Path, Path], str], root: Path, name: str, watch: Watch) -> Any:
    """Open one file; return the outcome and what was wrong with how it went."""
    from bnfold.core.errors import BnfoldError

    out = root / "out"
    os.chdir(out)
    watch.broken.clear()
    watch.allowed = out
    wrong = ""
    try:
        outcome, detail = "folded", road(root / "in" / name, out)
    except BnfoldError as error:
        outcome, detail = "refused", str(error)
        if "\n" in detail or not detail or len(detail) > 6000:
            wrong = "not one line"
        # HDF5 asks for what a damaged header claims and is not given it: nothing is used.
        elif "memory" in detail and "damaged at" not in detail:
            outcome = "refused for memory"
    except MemoryError:
        outcome, detail, wrong = "failed", "", "memory: " + _last_frames()
    except BaseException as error:
        outcome, detail = "failed", f"{type(error).__name__}: {error}"
        wrong = f"{type(error).__name__}: {error!s:.300} at {_last_frames()}"
    watch.allowed = None
    os.chdir(root)
    if watch.broken:
        wrong = f"forbidden: {watch.broken[0]}"
    return {"outcome": outcome, "detail": detail, "wrong": wrong}


def _last_frames() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [
        frame for frame in frames if "bnfold" in frame.filename and "scripts" not in frame.filename
    ]
    chosen = {id(frame): frame for frame in (*ours[-1:], *frames[-1:])}.values()
    return " / ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in chosen)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _virtual_size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    """Answer until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--road", choices=ROADS, default="data")
    parser.add_argument("--memory", type=int, default=1000, help="MB beyond the start")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    _warm_up(arguments.road)
    limit = _virtual_size() + arguments.memory * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch, start = Watch(), _peak_mb()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        answer = run_case(ROADS[arguments.road], Path(request["root"]), request["name"], watch)
        answer["seconds"] = time.monotonic() - started
        answer["peak_mb"] = _peak_mb()
        # What ran into the limit may have been caught on the way, and then looks like a success.
        if answer["peak_mb"] - start > 0.8 * arguments.memory:
            answer["wrong"] = f"memory: {answer['peak_mb'] - start:.0f} MB more than at the start"
        print(json.dumps(answer), file=answers, flush=True)


def _warm_up(road: str) -> None:
    """Import everything that a case may need before anything is limited or watched."""
    import h5py  # noqa: F401
    import sympy  # noqa: F401 - onnx-ir imports it late

    import bnfold.formats.keras.read
    import bnfold.formats.onnx.fold
    import bnfold.formats.onnx.save  # noqa: F401
    from fuzzing import keras_seeds, onnx_seeds

    root = Path(os.environ["BNFOLD_FUZZ_ROOT"])
    for number, data in enumerate(
        (
            *(seed().SerializeToString() for seed in onnx_seeds.SEEDS),
            *(keras_seeds.make(layout) for layout in keras_seeds.LAYOUTS),
        )
    ):
        path = root / f"warm{number}"
        path.write_bytes(data)
        (root / "warm").mkdir(exist_ok=True)
        # A seed that cannot be folded would make a damaged one say nothing.
        ROADS[road](path, root / "warm")
        path.unlink()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
