"""The log files read by another process, or by ourselves: their end, and what is added to it.

A file may be rotated, cut, removed or made anew while it is read, and hold anything. Nothing is written here.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from ccflare.logs.entries import LogEntry, entry_of, matches
from ccflare.logs.file import NAME, generations, open_to_read
from ccflare.logs.intake import Level

_STEP_BYTES = 64 * 1024
_LONGEST_LINE = 16
"""In steps; what is longer loses its end."""
_LONGEST_BLOCK = 1000
"""In lines; what is longer loses its end."""
_LONGEST_READ_BYTES = 64 * 1024 * 1024
_LONGEST_READ_S = 2.0
_PIECE_BYTES = 1024 * 1024
_POLL_S = 0.2

_Identity: TypeAlias = tuple[int, int]
"""What tells an open file from any other."""


class Place(NamedTuple):
    """Where in which file."""

    file: _Identity
    offset: int


def has_begun(directory: Path) -> bool:
    """Say whether there is a log, if only in files that it was rotated to."""
    return any(path.exists() for path in generations(directory / NAME))


def history(
    directory: Path,
    *,
    limit: int = 200,
    level: Level | None = None,
    text: str | None = None,
    until: Place | None = None,
) -> list[LogEntry]:
    """Return the last entries, oldest first, going back into rotated files; an absent log has none.

    `level` means at least that level, `text` what an entry contains. At most 64 MiB are read, and for about two
    seconds. Raises OSError when a file that is there cannot be read.
    """
    blocks = _blocks_backwards(_lines_backwards(directory / NAME, until))
    wanted = (entry for entry in map(entry_of, blocks) if matches(entry, level=level, text=text))
    return list(islice(wanted, limit))[::-1]


def follow_file(
    directory: Path,
    *,
    last: int = 0,
    level: Level | None = None,
    text: str | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LogEntry]:
    """Yield the last entries there are, then for ever those that are added, also by who rotates or replaces the file.

    Looks five times a second; in between it calls `wait`, which may raise to end it. Raises OSError like `history`.
    """
    with closing(_Followed(directory / NAME)) as followed:
        if last:
            yield from history(directory, limit=last, level=level, text=text, until=followed.place)
        while True:
            blocks = followed.read()
            for block in blocks:
                if matches(entry := entry_of(block), level=level, text=text):
                    yield entry
            if not blocks:
                wait(_POLL_S)


# Backwards.


def _blocks_backwards(lines: Iterator[bytes]) -> Iterator[str]:
    """Yield lines with the continuation lines behind them, last first."""
    block: deque[bytes] = deque(maxlen=_LONGEST_BLOCK)
    for line in lines:
        block.appendleft(line)
        if not _continues(line):
            yield _text(block)
            block.clear()
    if block:
        yield _text(block)


def _lines_backwards(path: Path, until: Place | None) -> Iterator[bytes]:
    """Yield the lines of all files, last first, as far as the bounds allow; empty ones are left out."""
    budget, deadline = _LONGEST_READ_BYTES, time.monotonic() + _LONGEST_READ_S
    for file, end in _files_backwards(path, until):
        start = max(0, end - budget)
        budget -= end - start
        for line in _lines_of(file, start, end):
            if line:
                yield line
            if time.monotonic() > deadline:
                return


def _files_backwards(path: Path, until: Place | None) -> Iterator[tuple[BinaryIO, int]]:
    """Yield every file once, though it may be renamed meanwhile, with its size; newest first."""
    seen: set[_Identity] = set()
    for each in generations(path):
        file = open_to_read(each)
        if file is None:
            continue
        with file:
            state = os.fstat(file.fileno())
            identity, end = _identity(state), state.st_size
            if until is not None and not seen:
                if identity != until.file:
                    continue
                end = min(end, until.offset)
            if identity not in seen:
                seen.add(identity)
                yield file, end


def _lines_of(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the lines between two places, last first; one that begins before the start is left out."""
    pieces: list[bytes] = []  # of the line whose beginning is not read yet, last first
    while end > start:
        step = min(_STEP_BYTES, end - start)
        end -= step
        file.seek(end)
        lines = file.read(step).split(b"\n")
        pieces.append(lines.pop())
        del pieces[:-_LONGEST_LINE]
        if lines:
            yield _joined(pieces)
            yield from reversed(lines[1:])
            pieces = [lines[0]]
    if not start:
        yield _joined(pieces)


def _joined(pieces: list[bytes]) -> bytes:
    return b"".join(reversed(pieces))


def _continues(line: bytes) -> bool:
    """Say whether a line belongs to the one before it."""
    return line[:1] in {b" ", b"\t"}


def _text(lines: Iterable[bytes]) -> str:
    return b"\n".join(lines).decode("utf-8", "replace")


def _identity(state: os.stat_result) -> _Identity:
    return (state.st_dev, state.st_ino)


# Forwards.


class _Followed:
    """The newest file, read as it grows. Held open, so that no other file can get its identity."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_to_read(path)
        self._offset = 0
        self._rest = b""
        if self._file is not None:
            self._offset = _whole_lines(self._file)

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            self._file.close()

    @property
    def place(self) -> Place | None:
        """Where reading goes on; None when there is no file."""
        return None if self._file is None else Place(_identity(os.fstat(self._file.fileno())), self._offset)

    def read(self) -> list[str]:
        """Return lines that were added, with the continuation lines behind them; none when there are none yet."""
        if self._file is None:
            self._file, self._offset = open_to_read(self._path), 0
        if self._file is None:
            return []
        newer = self._newer(self._file)  # looked for first: what was written before the rotation is read below
        data = self._read_on(self._file)
        blocks = self._blocks(data, last=not data and newer is not None)
        if newer is not None and data:
            newer.close()
        elif newer is not None:
            self._file.close()
            self._file, self._offset = newer, 0
            return blocks or self.read()
        return blocks

    def _read_on(self, file: BinaryIO) -> bytes:
        if os.fstat(file.fileno()).st_size < self._offset:
            self._offset, self._rest = 0, b""
        file.seek(self._offset)
        data = file.read(_PIECE_BYTES)
        self._offset += len(data)
        return data

    def _blocks(self, data: bytes, *, last: bool) -> list[str]:
        """Return what is whole of the rest and the data behind it; all, when it is the file's last."""
        lines = (self._rest + data).split(b"\n")
        self._rest = b"" if last or len(lines[-1]) > _PIECE_BYTES else lines.pop()
        blocks: list[list[bytes]] = []
        for line in filter(None, lines):
            if blocks and _continues(line):
                blocks[-1].append(line)
            else:
                blocks.append([line])
        if len(data) == _PIECE_BYTES and len(blocks) > 1:  # what is behind its last line is still to be read
            self._rest = b"\n".join([*blocks.pop(), self._rest])
        return [_text(block) for block in blocks]

    def _newer(self, file: BinaryIO) -> BinaryIO | None:
        """Return the file that was begun after this one, None while there is none."""
        ours = _identity(os.fstat(file.fileno()))
        if _there(self._path) == ours:
            return None
        for path, older in pairwise(generations(self._path)):
            if _there(older) == ours:
                return _opened_before(path, older, ours)
        return open_to_read(self._path)  # ours was removed


def _whole_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _STEP_BYTES))
    end = file.read(_STEP_BYTES)
    return size - len(end) + end.rfind(b"\n") + 1


def _opened_before(path: Path, older: Path, identity: _Identity) -> BinaryIO | None:
    """Open the file that follows another one; None when the files have been renamed again meanwhile."""
    file = open_to_read(path)
    if file is not None and _there(older) != identity:
        file.close()
        return None
    return file


def _there(path: Path) -> _Identity | None:
    try:
        return _identity(os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return None
