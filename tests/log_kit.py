"""A log's lines, and a disk that does not answer."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ccflare import logs
from ccflare.logs import Log

Start = Callable[..., Log]


def written(log: Log) -> list[str]:
    assert log.flush(10)
    return log.path.read_text().splitlines()


@contextmanager
def blocked(log: Log) -> Iterator[None]:
    """Hold the writer's thread up as a disk would that does not answer."""
    entered, let_go = threading.Event(), threading.Event()
    append = log._file.append

    def stuck(data: bytes) -> None:
        entered.set()
        assert let_go.wait(10)
        append(data)

    log._file.append = stuck  # type: ignore[method-assign]  # the disk's part is played here
    logs.logger("Test").warning("first")
    assert entered.wait(10)
    try:
        yield
    finally:
        log._file.append = append  # type: ignore[method-assign]  # see above
        let_go.set()
