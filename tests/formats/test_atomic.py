"""Output appears whole or not at all, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bnfold.core.errors import OutputError
from bnfold.formats import atomic
from bnfold.formats.atomic import Staged, atomic_output, check_target, write_atomically

OLD, NEW = b"old", b"new" * 1000


@pytest.fixture(params=["unnamed", "hidden"])
def _mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with both ways of keeping an unfinished file out of sight."""
    if request.param == "hidden":
        monkeypatch.setattr(atomic, "_open_unnamed", lambda folder: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("no unnamed files on this system")


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.usefixtures("_mechanism")
class TestWriting:
    def test_a_new_file_is_whole(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", NEW)
        assert (tmp_path / "a").read_bytes() == NEW
        assert names(tmp_path) == ["a"]

    def test_text_is_utf_8(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", "ü")
        assert (tmp_path / "a").read_bytes() == "ü".encode()

    def test_nothing_is_seen_before_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "a"
        target.write_bytes(OLD)
        with atomic_output(target, force=True) as file:
            file.write(NEW)
            file.flush()
            assert target.read_bytes() == OLD
        assert target.read_bytes() == NEW
        assert names(tmp_path) == ["a"]

    def test_an_existing_file_needs_force(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(OLD)
        with pytest.raises(OutputError, match=r"exists.*--force"):
            write_atomically(tmp_path / "a", NEW)
        assert (tmp_path / "a").read_bytes() == OLD

    def test_a_file_that_appears_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        target = tmp_path / "a"
        with (
            pytest.raises(OutputError, match="exists"),
            atomic_output(target) as file,
        ):
            file.write(NEW)
            target.write_bytes(OLD)
        assert target.read_bytes() == OLD
        assert names(tmp_path) == ["a"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_a_failing_block_leaves_the_old_file(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        target = tmp_path / "a"
        target.write_bytes(OLD)
        with pytest.raises(error), atomic_output(target, force=True) as file:
            file.write(NEW)
            raise error
        assert target.read_bytes() == OLD
        assert names(tmp_path) == ["a"]

    def test_a_link_is_replaced_and_what_it_meant_is_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_bytes(OLD)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        write_atomically(tmp_path / "link", NEW, force=True)
        assert (tmp_path / "real").read_bytes() == OLD
        assert (tmp_path / "link").read_bytes() == NEW
        assert not (tmp_path / "link").is_symlink()

    def test_a_dangling_link_counts_as_existing(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        with pytest.raises(OutputError, match="exists"):
            write_atomically(tmp_path / "link", NEW)

    @pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
    def test_permissions_are_the_old_files_or_the_usual_ones(self, tmp_path: Path) -> None:
        mask = os.umask(0o027)
        try:
            write_atomically(tmp_path / "new", NEW)
            (tmp_path / "old").write_bytes(OLD)
            (tmp_path / "old").chmod(0o604)
            write_atomically(tmp_path / "old", NEW, force=True)
        finally:
            os.umask(mask)
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "old").stat().st_mode & 0o777 == 0o604

    def test_unfinished_bytes_can_be_read_by_path(self, tmp_path: Path) -> None:
        with Staged(tmp_path) as staged:
            staged.file.write(NEW)
            staged.file.flush()
            assert staged.path.read_bytes() == NEW
        assert names(tmp_path) == []

    @pytest.mark.parametrize("force", [False, True])
    def test_file_systems_without_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        write_atomically(tmp_path / "a", NEW, force=force)
        assert (tmp_path / "a").read_bytes() == NEW
        with pytest.raises(OutputError, match="exists"), atomic_output(tmp_path / "b") as file:
            file.write(NEW)
            (tmp_path / "b").write_bytes(OLD)
        assert (tmp_path / "b").read_bytes() == OLD
        assert names(tmp_path) == ["a", "b"]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    cases = {
        tmp_path / "folder": "is a folder",
        tmp_path / "missing" / "a": "there is no folder",
        Path("/dev/null"): "not a regular file",
        tmp_path / ("x" * 300): "too long",
        Path("/"): "not the name of a file",
    }
    (tmp_path / "file").write_bytes(OLD)
    cases[tmp_path / "file" / "a"] = "there is no folder"
    for target, message in cases.items():
        with pytest.raises(OutputError, match=message) as refusal:
            write_atomically(target, NEW, force=True)
        assert "\n" not in str(refusal.value)
    assert names(tmp_path) == ["file", "folder"]


def test_device_behind_a_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/dev/null")
    with pytest.raises(OutputError, match="not a regular file"):
        check_target(tmp_path / "out", force=True)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not be written to"),
        (errno.EIO, "disk reports an error"),
    ],
)
@pytest.mark.parametrize("when", ["open", "fsync"])
def test_system_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, when: str
) -> None:
    target = tmp_path / "a"
    target.write_bytes(OLD)
    true_open = os.open

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    def fail_writing(path: str, flags: int, *rest: int, **more: int) -> int:
        return fail() if flags & os.O_RDWR else true_open(path, flags, *rest, **more)

    monkeypatch.setattr(os, when, fail_writing if when == "open" else fail)
    with pytest.raises(OutputError, match=message):
        write_atomically(target, NEW, force=True)
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="resource limits of POSIX")
def test_a_file_beyond_the_size_limit_leaves_nothing(tmp_path: Path) -> None:
    """A write that the system really refuses half-way (EFBIG), in a process of its own."""
    script = (
        "import resource, signal, sys\n"
        "from bnfold.formats.atomic import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "write_atomically(sys.argv[1], bytes(5 * 10**6), force=True)\n"
    )
    target = tmp_path / "a"
    target.write_bytes(OLD)
    run = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False
    )
    assert "OutputError" in run.stderr
    assert "larger than the system allows" in run.stderr
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="root gives its rights away here; others are covered below",
)
def test_read_only_folder_as_another_user(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from bnfold.formats.atomic import write_atomically\n"
        "os.setuid(65534)\n"
        "write_atomically(sys.argv[1], b'x')\n"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "may not be written to" in run.stderr
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may everything")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="may not be written to"):
        write_atomically(tmp_path / "a", NEW)
    tmp_path.chmod(0o755)
    assert names(tmp_path) == []


SLOW_WRITER = (
    "import sys, time\n"
    "from bnfold.formats.atomic import atomic_output\n"
    "letter = sys.argv[2].encode()\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    with atomic_output(sys.argv[1], force=True) as file:\n"
    "        for _ in range(200):\n"
    "            file.write(letter * 10_000)\n"
)


def start_writer(target: Path, letter: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(target), letter], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def is_whole(data: bytes) -> bool:
    return data == OLD or (len(data) == 2_000_000 and len(set(data)) == 1)


def stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_random_moments(tmp_path: Path, rng: object, how: signal.Signals) -> None:
    target = tmp_path / "a"
    target.write_bytes(OLD)
    delays: Callable[[float, float], float] = rng.uniform  # type: ignore[attr-defined]
    for _ in range(8):
        process = start_writer(target, "x")
        time.sleep(delays(0.0, 0.05))
        stop(process, how)
        assert is_whole(target.read_bytes())
    if how is signal.SIGINT:
        assert names(tmp_path) == ["a"]


def test_two_writers_at_once_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(OLD)
    writers = [start_writer(target, letter) for letter in "ab"]
    seen = set()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline or len(seen) < 2:
        data = target.read_bytes()
        assert is_whole(data)
        seen.add(data[:1])
        assert time.monotonic() < deadline + 20
    for writer in writers:
        stop(writer, signal.SIGTERM)
