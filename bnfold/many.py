"""Many models in one run: one row of the result each, whoever fails."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnfold.core.errors import BnfoldError, InputError
from bnfold.report.rows import Outcome, Row

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Outcome", "Row", "fold_many"]

# Beside the results: what is done already, for a run that is taken up again.
JOURNAL = ".bnfold"


@dataclass(frozen=True)
class _Job:
    """One model to fold.

    Attributes:
        run: differs from run to run: an engine that keeps results of equal calls, as Dask does,
            would answer with what an earlier run found.
    """

    source: str
    output: str
    options: Mapping[str, Any]
    force: bool
    resume: bool
    run: str


def fold_many(
    sources: Iterable[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    force: bool = False,
    resume: bool = True,
    progress: Callable[[Row], None] | None = None,
    **options: Any,
) -> tuple[Row, ...]:
    """Fold every source into ``folder`` and say what became of each.

    Args:
        sources: paths of models.
        folder: where the results go, under the sources' names with the suffix .onnx (with
            ``to="keras"`` their own); it is made if it is not there.
        executor: any `concurrent.futures.Executor`, such as a distributed engine's; its workers
            must see the same files. A pool of processes on this machine by default.
        jobs: size of that pool; one per core by default.
        force: replace results that exist and are not from an earlier run of the same job.
        resume: leave out what an interrupted run of the same sources and options has done.
        progress: called with each row as it is known, in the order of completion.
        options: of `bnfold.fold`.

    Returns:
        One row per source, in the order of the sources.

    Raises:
        InputError: two sources would be written to one name, or there are none.
        OutputError: the folder cannot be made.
    """
    work = _jobs([Path(source) for source in sources], Path(folder), options, force, resume)
    pool: AbstractContextManager[Executor] = (
        nullcontext(executor) if executor is not None else _own_pool(jobs, len(work))
    )
    rows: dict[str, Row] = {}
    with pool as running:
        futures: dict[Future[Row], _Job] = {running.submit(_run, job): job for job in work}
        try:
            for future in as_completed(futures):
                row = _row_of(future, futures[future])
                rows[row.source] = row
                if progress is not None:
                    progress(row)
        except BaseException:
            # Ctrl-C: what runs is left to end or to be killed with the pool; nothing new starts.
            for future in futures:
                future.cancel()
            raise
    return tuple(rows[job.source] for job in work)


def _own_pool(jobs: int | None, count: int) -> ProcessPoolExecutor:
    import multiprocessing

    size = max(1, min(jobs or os.cpu_count() or 1, count))
    # Runtimes start threads of their own: a forked copy of them would hang.
    return ProcessPoolExecutor(size, mp_context=multiprocessing.get_context("spawn"))


def _jobs(
    sources: list[Path], folder: Path, options: Mapping[str, Any], force: bool, resume: bool
) -> list[_Job]:
    from bnfold.formats.atomic import output_errors

    if not sources:
        raise InputError("no models were given; name at least one file")
    taken: dict[Path, Path] = {}
    for source in sources:
        suffix = source.suffix if options.get("to") == "keras" else ".onnx"
        output = folder / f"{source.name if source.is_dir() else source.stem}{suffix}"
        if output in taken:
            raise InputError(
                f"{taken[output]} and {source} would both be written to {output}; "
                "rename one or fold them into different folders"
            )
        if _same_file(output, source):
            raise InputError(f"{source} would be replaced by its result; choose another folder")
        taken[output] = source
    with output_errors(folder):
        (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
    run = os.urandom(8).hex()
    return [
        _Job(str(source), str(output), dict(options), force, resume, run)
        for output, source in taken.items()
    ]


def _same_file(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _row_of(future: Future[Row], job: _Job) -> Row:
    try:
        return future.result()
    except Exception as error:  # a worker that died takes down its own row, not the run
        text = f"the worker failed: {type(error).__name__}: {error}".splitlines()[0]
        return Row(job.source, job.output, Outcome.FAILED, error=text, exit_code=3)


def _run(job: _Job) -> Row:
    """Fold one model, in a worker."""
    import time

    started = time.perf_counter()
    try:
        return _fold(job, started)
    except BnfoldError as error:
        message, code = str(error), error.exit_code
    except Exception as error:  # a bug: said in its row, and the others go on
        message, code = f"this is a bug in bnfold: {type(error).__name__}: {error}", 3
    seconds = time.perf_counter() - started
    line = message.splitlines()[0] if message else "failed"
    return Row(job.source, job.output, Outcome.FAILED, 0, 0, None, seconds, line, code)


def _fold(job: _Job, started: float) -> Row:
    import time

    from bnfold import __version__, api

    output = Path(job.output)
    try:
        key = _key(job, __version__)
    except OSError as error:
        raise InputError(f"{job.source}: cannot be read: {error.strerror}") from error
    journal = output.parent / JOURNAL / f"{output.name}.json"
    known = _entry(journal) if job.resume else None
    ours = known is not None and output.exists() and known.get("written") == _digest(output)
    if known is not None and ours and known.get("key") == key and _unchanged(known):
        return Row(**{**known["row"], "outcome": Outcome.DONE_BEFORE})
    result = api.fold(job.source, **job.options)
    result.save(output, force=job.force or ours)
    verification = result.verification
    row = Row(
        job.source,
        job.output,
        Outcome.FOLDED,
        len(result.folds),
        len(result.kept),
        None if verification is None else verification.passed,
        time.perf_counter() - started,
    )
    models = () if result.pair is None else (result.original,)
    beside = {str(path): _digest(path) for one in models for path in _external_files(one)}
    entry = {"key": key, "beside": beside, "written": _digest(output), "row": asdict(row)}
    _note(journal, entry)
    return row


def _key(job: _Job, version: str) -> str:
    """What the result depends on: the source's bytes, the options, the version."""
    return _digest(Path(job.source), repr((version, sorted(job.options.items()))))


def _external_files(model: ir.Model) -> list[Path]:
    """Files beside an ONNX model that hold its weights."""
    import onnx_ir as ir

    tensors = (value.const_value for value in model.graph.initializers.values())
    return sorted({Path(item.path) for item in tensors if isinstance(item, ir.ExternalTensor)})


def _unchanged(entry: Mapping[str, Any]) -> bool:
    """Whether the files of weights are what they were."""
    try:
        beside = dict(entry.get("beside", {})).items()
        return all(_digest(Path(path)) == digest for path, digest in beside)
    except OSError:
        return False


def _digest(path: Path, more: str = "") -> str:
    """Of a file, or of all files of a folder with their names."""
    digest = hashlib.blake2b(more.encode())
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for file in files:
        if file is not path:
            digest.update(repr((str(file.relative_to(path)), file.stat().st_size)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _entry(journal: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(journal.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("row"), dict) else None


def _note(journal: Path, entry: dict[str, Any]) -> None:
    from bnfold.formats.atomic import write_atomically

    write_atomically(journal, json.dumps(entry).encode(), force=True)
