"""The log file: nobody else steers it, and it rotates."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ccflare import logs
from ccflare.logs.file import LogFile


def messages(directory: Path) -> list[str]:
    return [entry.message for entry in logs.history(directory, limit=1000)]


def test_the_file_rotates_while_it_is_written(tmp_path: Path) -> None:
    """No file grows beyond the limit, the newest lines are in app.log, and only so many files are kept."""
    file = LogFile(tmp_path / "logs", rotate_at_bytes=100, kept=3)

    for number in range(50):
        file.append(f"line {number:04d}\n".encode())
    file.close()

    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["app.log", "app.log.1", "app.log.2", "app.log.3"]
    assert all(path.stat().st_size <= 100 for path in (tmp_path / "logs").iterdir())
    assert messages(tmp_path / "logs") == [f"line {number:04d}" for number in range(50)][-len(names) * 10 :]


def test_a_line_longer_than_the_limit_is_written(tmp_path: Path) -> None:
    """One write beyond the limit gets a file of its own; nothing is lost and nothing loops."""
    file = LogFile(tmp_path, rotate_at_bytes=10, kept=2)

    for letter in "abc":
        file.append(letter.encode() * 20 + b"\n")
    file.close()

    assert messages(tmp_path) == ["a" * 20, "b" * 20, "c" * 20]


def test_two_writers_share_one_file_through_a_rotation(tmp_path: Path) -> None:
    """A process notices that another one has rotated the file, and does not go on in the old one."""
    one = LogFile(tmp_path, rotate_at_bytes=100)
    two = LogFile(tmp_path, rotate_at_bytes=100)

    for number in range(12):
        (one if number % 2 else two).append(f"line {number:04d}\n".encode())
    one.close()
    two.close()

    assert [len(path.read_text().splitlines()) for path in (tmp_path / "app.log.1", tmp_path / "app.log")] == [10, 2]


def foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534, follow_symlinks=False)


def trap_directory(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    foreign(tmp_path / "logs")
    return "it belongs to another user"


def trap_directory_link(tmp_path: Path) -> str:
    (tmp_path / "target").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "target")
    foreign(tmp_path / "logs")
    return "it belongs to another user"


def trap_file_link(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    (tmp_path / "victim").write_text("precious\n")
    (tmp_path / "logs" / "app.log").symlink_to(tmp_path / "victim")
    return "it is a symbolic link"


def trap_foreign_file(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").touch()
    foreign(tmp_path / "logs" / "app.log")
    return "it belongs to another user"


def trap_pipe(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "app.log")
    return "No such device"


def trap_no_directory(tmp_path: Path) -> str:
    (tmp_path / "logs").touch()
    return "Not a directory"


@pytest.mark.parametrize(
    "trap",
    [trap_directory, trap_directory_link, trap_file_link, trap_foreign_file, trap_pipe, trap_no_directory],
)
def test_a_place_that_is_not_ours_is_refused(tmp_path: Path, trap: Callable[[Path], str]) -> None:
    """A trap in the log's place is left alone, and the error says what it is."""
    why = trap(tmp_path)
    file = LogFile(tmp_path / "logs")

    for _ in range(2):
        with pytest.raises(OSError, match=why):
            file.append(b"x\n")

    assert [path.read_text() for path in tmp_path.glob("victim")] in ([], ["precious\n"])
    assert not (tmp_path / "target" / "app.log").exists()


def test_a_link_of_ours_is_followed(tmp_path: Path) -> None:
    """A directory that we linked elsewhere ourselves is used."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "logs").symlink_to(tmp_path / "disk")
    file = LogFile(tmp_path / "logs")

    file.append(b"x\n")
    file.close()

    assert (tmp_path / "disk" / "app.log").read_text() == "x\n"


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """The directory is made 0700 and the file 0600; a file that was readable by others is closed to them."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "app.log").touch(mode=0o644)

    for name in ("new", "other"):
        file = LogFile(tmp_path / name)
        file.open()
        file.close()

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "app.log").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "other" / "app.log").stat().st_mode) == 0o600
