"""One row of the fault matrix, and the four things that are asserted of every row.

What the client saw; exactly one row of `requests` with the right attempts; nothing left of it, be it an
exchange, an upstream request or a descriptor; how the accounts stand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness import (
    MODEL,
    Home,
    Row,
    Upstream,
    ask,
    assert_at_rest,
    assert_upstream_clean,
    eventually,
    messages,
    running,
)
from rawhttp import End

SERVED = "alpha deliver 200"
NEXT = "alpha next {0}, beta deliver 200"
NEXT_TOO = "alpha next {0}, beta next {0}"
RECOVERED = "alpha retry {0}, alpha deliver 200"
THREE_TRIES = "alpha retry {0}, alpha retry {0}, alpha retry {0}, beta deliver 200"
ALL_TRIES = "alpha retry {0}, alpha retry {0}, alpha retry {0}, beta retry {0}"
BROKEN = "alpha broken 200"

REFUSED = {"alpha": "auth_failed"}
LIMITED = {"alpha": "rate_limited"}
BOTH_REFUSED = {"alpha": "auth_failed", "beta": "auth_failed"}
BOTH_LIMITED = {"alpha": "rate_limited", "beta": "rate_limited"}


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of alpha, the preferred account, and what follows. What is not said is as on a good day."""

    name: str
    fault: Any
    attempts: str = SERVED
    """`account verdict status`, separated by commas."""
    status: int = 200
    states: Mapping[str, str] = field(default_factory=dict)
    both: bool = False
    """Beta has the fault too."""
    times: int | None = None
    """How often it happens; None: always."""
    stream: bool = False
    end: End = "whole"
    says: str = ""
    """Words in the answer's body."""
    error: str | None = None
    """Words in the row's `error_message`."""
    model: str = MODEL
    settings: Mapping[str, str] = field(default_factory=dict)


def once(name: str, fault: Any, seen: int | None, *, stream: bool = False) -> Case:
    """Describe a fault that passes: the second try of the same account is served."""
    return Case(name, fault, RECOVERED.format(seen), times=1, stream=stream)


def forever(name: str, fault: Any, seen: int | None, *, stream: bool = False) -> Case:
    """Describe a fault of alpha that stays: after three tries beta serves."""
    return Case(name, fault, THREE_TRIES.format(seen), stream=stream)


def everywhere(name: str, fault: Any, seen: int | None, says: str, **more: Any) -> Case:
    """Describe a fault that both accounts have for good."""
    attempts = ALL_TRIES.format(seen)
    return Case(name, fault, attempts, both=True, says=says, **{"status": seen or 503, **more})


def passed_on(name: str, fault: Any, seen: int, states: Mapping[str, str] | None = None, **more: Any) -> Case:
    """Describe a fault for which beta is asked at once."""
    return Case(name, fault, NEXT.format(seen), states=states or {}, **more)


def cut(name: str, fault: Any, **more: Any) -> Case:
    """Describe an answer that breaks off when the client has a part of it."""
    return Case(name, fault, BROKEN, error="truncated", **{"stream": True, "end": "cut", **more})


def check(case: Case, home: Home, upstream: Upstream) -> None:
    """Have the fault happen to one request of a new server, and assert the four things."""
    with running(home) as server:
        assert ask(server.port, messages("warm up", model=case.model), session="before").status == 200
        descriptors = server.descriptors()
        for name in ("alpha", "beta") if case.both else ("alpha",):
            upstream.rule(case.fault, match={"account": name}, times=case.times)
        body = messages("Hello", model=case.model, stream=case.stream)
        found = ask(server.port, body, session="the session")
        assert (found.status, found.end) == (case.status, case.end), found
        assert case.says in found.body.decode("utf-8", "replace"), found
        row = home.rows_when(2)[1]
        assert attempts_of(home, row) == case.attempts
        assert row["status_code"] == case.status
        assert (case.error or "") in (row["error_message"] or ""), row
        assert case.error is None or not row["success"], row
        assert_at_rest(server, upstream, descriptors=descriptors)
        assert len(home.rows()) == 2
    assert_states(home, {"alpha": "active", "beta": "active", **case.states})  # a stop has written all there is
    assert_upstream_clean(upstream)


def attempts_of(home: Home, row: Row) -> str:
    """Return a row's attempts as cases write them; `nobody` is the client's own credential."""
    names = home.names()
    return ", ".join(
        f"{names.get(attempt['account_id'], 'nobody')} {attempt['verdict']} {attempt.get('status')}"
        for attempt in row["attempts"]
    )


def assert_states(home: Home, expected: Mapping[str, str]) -> None:
    """Assert, once the store has caught up, what `--list` says of the accounts."""
    states: dict[str, str] = {}
    if set(expected.values()) == {"active"}:
        home.states()  # so long as a look takes, what would say otherwise has time to be written

    def so() -> bool:
        states.clear()
        states.update(home.states())
        return states == expected

    try:
        eventually(so)
    except AssertionError:
        raise AssertionError(f"{expected}, not {states}") from None
