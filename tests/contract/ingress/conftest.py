"""Every test of the client's side runs on both event loops."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

import ingress_kit
from ingress_kit import Listener


class Listening(Protocol):
    """Starts a listener on the event loop that the test is run for."""

    def __call__(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Listener]: ...


@pytest.fixture(params=sorted(ingress_kit.LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """Name the event loop."""
    return str(request.param)


@pytest.fixture
def listening(loop_name: str) -> Listening:
    """Return what starts a listener with a script or bounds of its own."""
    return lambda *args, **kwargs: ingress_kit.listening(loop_name, *args, **kwargs)


@pytest.fixture
def listener(listening: Listening) -> Iterator[Listener]:
    """Run a listener that answers with what it is sent."""
    with listening() as running:
        yield running
