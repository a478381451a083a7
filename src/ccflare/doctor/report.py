"""What the parts of the report are made of, and how they are asked: each in its time, none able to break another."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from ccflare.errors import CcflareError

PART_S: Final = 5.0
"""What takes longer is left out of the report and said to be."""

Severity = Literal["error", "warning", "note"]
Facts: TypeAlias = dict[str, Any]
"""A part of the report in its JSON form."""

_NEEDED: Final = frozenset({"database", "accounts"})
"""Without these no request is served."""
_ORDER: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "note": 2}


class Finding(msgspec.Struct, frozen=True):
    """Something to know, and what to do about it. `error`: requests cannot be served as they should."""

    severity: Severity
    message: str
    advice: str = ""


class Part(NamedTuple):
    """What was found out about one thing."""

    facts: Facts
    findings: tuple[Finding, ...] = ()


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return the findings in the order in which they are to be dealt with."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])


def ask_all(questions: Mapping[str, Callable[[], Part]], within_s: float = PART_S) -> dict[str, Part]:
    """Return the answer to every question; a failure, or no answer in time, is an answer and a finding."""
    answers: dict[str, Part] = {}
    threads = {
        name: threading.Thread(target=_answer, args=(name, question, answers), name=f"doctor-{name}", daemon=True)
        for name, question in questions.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + within_s
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {within_s:g} seconds"
    return {name: answers.get(name) or _failed(name, late) for name in questions}


def _answer(name: str, question: Callable[[], Part], answers: dict[str, Part]) -> None:
    try:
        answers[name] = question()
    except CcflareError as error:
        answers[name] = _failed(name, str(error))
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one part is what the report is for
        answers[name] = _failed(name, f"{type(error).__name__}: {error}")


def _failed(name: str, why: str) -> Part:
    severity: Severity = "error" if name in _NEEDED else "warning"
    finding = Finding(severity, f"The {name.replace('_', ' ')} could not be looked at: {why}")
    return Part({"error": why}, (finding,))


def iso(at_ms: int | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, None for none."""
    if at_ms is None:
        return None
    seconds = at_ms // 1000
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if 0 <= seconds < 253_402_300_800 else str(at_ms)
