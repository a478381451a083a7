"""The log file: opened so that nobody else can steer it, rotated while it is written.

The default place is below a directory that everyone can write to. So the directory and the file must be
ours, the file must not be a link, and both are readable by their owner only. Several processes may append to
one file: each notices when another one has rotated it.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NAME = "app.log"
ROTATE_AT_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5
_WARY = 0
for _name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):  # not every system has every one
    _WARY |= getattr(os, _name, 0)
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _WARY


class LogFile:
    """Appends to `<directory>/app.log`; the files before it are `app.log.1` (newest) and up."""

    def __init__(self, directory: Path, *, rotate_at_bytes: int = ROTATE_AT_BYTES, kept: int = KEPT_FILES) -> None:
        self.path = directory / NAME
        self._rotate_at_bytes = rotate_at_bytes
        self._kept = kept
        self._descriptor = -1

    def open(self) -> None:
        """Open or create the file. Raises OSError saying why it must not or cannot be written."""
        self.close()
        _claim(self.path.parent)
        self._descriptor = _open_own(self.path)

    def append(self, data: bytes) -> None:
        """Write whole lines, after a rotation when they would make the file too long. Raises OSError."""
        if self._descriptor < 0 or self._replaced():
            self.open()
        size = os.fstat(self._descriptor).st_size
        if size and size + len(data) > self._rotate_at_bytes:
            self._rotate()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _replaced(self) -> bool:
        """Say whether the path no longer leads to the open file: rotated by another process, or removed."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        ours = os.fstat(self._descriptor)
        return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)

    def _rotate(self) -> None:
        """Move every file one number up, dropping the last, and begin a new one; of several processes one does it.

        Without the lock two that have seen the same long file would both move it, and the second an almost empty one.
        """
        with _alone(self.path.parent) as alone:
            if alone and not self._replaced():
                self._move_all()
            elif alone:
                self.open()

    def _move_all(self) -> None:
        self.close()  # Windows does not rename an open file
        files = list(generations(self.path, self._kept))
        for older, newer in zip(files[:0:-1], files[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self.open()


@contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Say whether this process may rotate now: False while another one does. A system without such locks has one."""
    if sys.platform == "win32":
        yield True
        return
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False  # what is written meanwhile goes into the long file
        else:
            yield True
    finally:
        os.close(descriptor)


def generations(path: Path, kept: int = KEPT_FILES) -> Iterator[Path]:
    """Yield the file and those it was rotated to, newest first, whether they are there or not."""
    yield path
    for number in range(1, kept + 1):
        yield path.with_name(f"{path.name}.{number}")


def open_to_read(path: Path) -> BinaryIO | None:
    """Open a log file, None when there is none. Raises OSError for what cannot be one, or is not for us."""
    try:
        file = open(path, "rb", buffering=0, opener=_open_warily)  # noqa: SIM115  # the caller closes it
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _explained(error, path) from None
    try:
        _refuse_irregular(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def _claim(directory: Path) -> None:
    """Make the directory, or see that the one that is there is ours. Raises OSError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        state = directory.lstat()
        if stat.S_ISLNK(state.st_mode):
            _refuse_foreign(state, directory)
            state = directory.stat()
        if not stat.S_ISDIR(state.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None
        # A directory of root's is no trap: who is root needs none. Container volumes often are.
        if state.st_uid != 0:
            _refuse_foreign(state, directory)


def _open_own(path: Path) -> int:
    """Open the file for appending when it is a regular one of ours. Raises OSError."""
    descriptor = -1
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
        state = os.fstat(descriptor)
        _refuse_irregular(state, path)
        _refuse_foreign(state, path)
        if stat.S_IMODE(state.st_mode) & 0o077 and hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise _explained(error, path) from None
    return descriptor


def _open_warily(path: str, flags: int) -> int:
    return os.open(path, flags | _WARY)


def _explained(error: OSError, path: Path) -> OSError:
    """Return the error; one that the wary flags cause says so in words for a person."""
    if error.errno == errno.ELOOP:
        return PermissionError(errno.EPERM, "it is a symbolic link", str(path))
    return error


def _refuse_irregular(state: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise PermissionError(errno.EPERM, "it is not a regular file", str(path))


def _refuse_foreign(state: os.stat_result, path: Path) -> None:
    if hasattr(os, "geteuid") and state.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
