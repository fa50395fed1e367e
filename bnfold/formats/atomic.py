"""Output files that appear whole or not at all.

A file is written where nobody looks and put in place in one step when it is complete, so a run
that fails, is interrupted or killed leaves the old file or none. Where the system can (Linux),
the unfinished file has no name at all and vanishes with the process; elsewhere it is a hidden file
beside the target that is removed on every exit but a kill.

Two processes writing the same target do not mix: each has its own unfinished file, and the one
that finishes last wins (with `force`) or is refused (without).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bnfold.core.errors import OutputError
from bnfold.formats.text import shown

_BUFFER = 1 << 20
_PREFIX, _SUFFIX = ".bnfold-", ".tmp"
_PERMISSIONS = 0o666  # less the umask, as for any new file

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the system allows",
    errno.EACCES: "the folder may not be written to",
    errno.EPERM: "the folder may not be written to",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "the folder is not there",
    errno.ENOTDIR: "the folder is not there",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports an error",
}


@contextmanager
def atomic_output(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file for writing that becomes `path` when the block ends without an error.

    Raises:
        OutputError: the target cannot be written (see `check_target`), the disk is full, ...;
            nothing was written then.
    """
    target = check_target(path, force=force)
    with Staged(target.parent) as staged:
        with output_errors(target):
            yield staged.file
        staged.publish(target, force=force)


def write_atomically(
    path: str | os.PathLike[str], data: bytes | str, *, force: bool = False
) -> None:
    """Write a whole file at once; text is encoded as UTF-8.

    Raises:
        OutputError: as `atomic_output`.
    """
    with atomic_output(path, force=force) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check, before any work is done, that a file could be written here; return its path.

    Raises:
        OutputError: the path is a folder or a device, its folder is missing, or the file exists
            and `force` is not given.
    """
    target = Path(path)
    if not target.name or "\0" in str(target):
        raise OutputError(f"{shown(target)} is not the name of a file: give one to write to.")
    with output_errors(target):
        if not target.parent.is_dir():
            folder = shown(target.parent)
            raise OutputError(f"{shown(target)} cannot be written: there is no folder {folder}.")
        if target.is_dir():
            raise OutputError(f"{shown(target)} is a folder: give the name of a file to write.")
        if target.exists() and not target.is_file():
            raise OutputError(f"{shown(target)} is not a regular file: give another name.")
        if not force and os.path.lexists(target):
            raise _exists(target)
        if not os.access(target.parent, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return target


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one line about `target`."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise OutputError(f"{shown(target)} was not written: {reason}.") from error


class Staged:
    """A file that is being written in `folder` and is not yet there for others.

    A context manager: what is not published when the block ends is gone.

    Attributes:
        file: buffered, binary, readable and writable.
        path: where the bytes can be read meanwhile by this process (may lie in /proc).
    """

    file: BinaryIO
    path: Path

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hidden: Path | None = None

    def __enter__(self) -> Staged:
        with output_errors(self._folder):
            descriptor = _open_unnamed(self._folder)
            if descriptor is None:
                self._hidden = _hidden_name(self._folder)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                descriptor = os.open(self._hidden, flags, _PERMISSIONS)
            self.file = os.fdopen(descriptor, "w+b", buffering=_BUFFER)
            self.path = self._hidden or Path(f"/proc/self/fd/{descriptor}")
        return self

    def publish(self, target: Path, *, force: bool) -> None:
        """Put the file in place in one step; it stays open until the block ends.

        Args:
            target: in the folder that was given. A link there is replaced, not followed.
            force: replace an existing file, keeping its permissions.

        Raises:
            OutputError: it exists and `force` is not given, or the system refuses.
        """
        with output_errors(target):
            self._finish(target, force)
            if self._hidden is None:
                self._hidden = self._name_the_unnamed(target, force)
            if self._hidden is not None:
                _move(self._hidden, target, force)
                self._hidden = None

    def __exit__(self, *_: object) -> None:
        # Closing can fail where the last buffer meets a full disk; by then it does not matter.
        with contextlib.suppress(OSError):
            self.file.close()
        if self._hidden is not None:
            with contextlib.suppress(OSError):
                self._hidden.unlink()

    def _finish(self, target: Path, force: bool) -> None:
        self.file.flush()
        if force and hasattr(os, "fchmod"):
            with contextlib.suppress(OSError):
                os.fchmod(self.file.fileno(), stat.S_IMODE(target.stat().st_mode))
        # Without this a power failure could leave the new name with nothing in it.
        os.fsync(self.file.fileno())
        if os.name == "nt" and self._hidden is not None:
            self.file.close()  # Windows does not rename open files

    def _name_the_unnamed(self, target: Path, force: bool) -> Path | None:
        """Give the file a name: the target itself, or a hidden one that is to replace it."""
        name = _hidden_name(self._folder) if force else target
        try:
            _link_descriptor(self.file.fileno(), name)
        except FileExistsError:
            raise _exists(target) from None
        except OSError:
            # A file system that has unnamed files but cannot name them later: copy.
            name = _hidden_name(self._folder)
            shutil.copyfile(self.path, name)
            return name
        return name if force else None


def _open_unnamed(folder: Path) -> int | None:
    """Open a file without a name in `folder`; None where the system has no such thing."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, _PERMISSIONS)
    except OSError as error:
        # EISDIR: a kernel without O_TMPFILE takes it for opening the folder itself.
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS):
            return None
        raise


def _link_descriptor(descriptor: int, name: Path) -> None:
    # os.link follows the /proc link only when it is given a folder's descriptor.
    folder = os.open(name.parent, os.O_RDONLY)
    try:
        source = f"/proc/self/fd/{descriptor}"
        os.link(source, name.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _hidden_name(folder: Path) -> Path:
    return folder / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"


def _move(source: Path, target: Path, force: bool) -> None:
    if force:
        source.replace(target)
        return
    if os.name == "nt":
        try:
            source.rename(target)  # refuses to replace, there
        except FileExistsError:
            raise _exists(target) from None
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:
        # No hard links on this file system: the check and the move are two steps.
        if os.path.lexists(target):
            raise _exists(target) from None
        source.replace(target)
    else:
        source.unlink()


def _exists(target: Path) -> OutputError:
    return OutputError(f"{shown(target)} exists: give another name, or --force to replace it.")
