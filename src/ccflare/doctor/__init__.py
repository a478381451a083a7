"""What is wrong with an installation, and what to do: one report that is safe to paste in public.

Nothing is changed by looking. Every part survives the failure of what it looks at.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ccflare.doctor import machine
from ccflare.doctor.client_keys import examine_client_keys, judge_client_keys
from ccflare.doctor.credentials import examine_credentials
from ccflare.doctor.database import NO_ACCOUNTS, examine_accounts, examine_database, last_hour
from ccflare.doctor.masking import Mask
from ccflare.doctor.report import Finding, Part, ask_all, iso, worst_first
from ccflare.doctor.server import examine_server
from ccflare.records import Admission
from ccflare.settings import Loaded, Settings
from ccflare.settings.file import home
from ccflare.store.checkup import Identity, account_texts, identify

__all__ = ["Report", "examine"]


class Report(msgspec.Struct, frozen=True):
    """What was found out: the findings, worst first, and the facts by part."""

    taken_at: str
    findings: tuple[Finding, ...]
    parts: dict[str, dict[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether nothing keeps requests from being served."""
        return not any(finding.severity == "error" for finding in self.findings)


def examine(environ: Mapping[str, str], flags: Mapping[str, object], *, names: bool = False) -> Report:
    """Look at everything, in a few seconds at most. `names`: show accounts, hosts and addresses as they are."""
    now_ms = int(time.time() * 1000)
    loaded, findings = machine.settings_in_force(flags, environ)
    mask = Mask(environ, home(environ), names=names)
    path = loaded.settings.db_path
    first = ask_all({"database": partial(_identified, path, mask)})["database"]
    identity = first.facts.get("identity") or Identity("unreadable", detail=first.facts["error"])
    answers = ask_all(_questions(environ, loaded, identity, mask, now_ms))
    findings = tuple(Finding(each.severity, mask.text(each.message), each.advice) for each in findings)
    found = [*findings, *first.findings, *(finding for part in answers.values() for finding in part.findings)]
    parts = _split(answers)
    return Report(
        iso(now_ms) or "",
        tuple(_masked(finding, mask) for finding in worst_first(found)),
        {name: mask.everything(_described(parts[name].facts, mask)) for name in _ORDER},
    )


_ORDER = (
    "system",
    "settings",
    "environment",
    "process",
    "port",
    "health",
    "database",
    "files",
    "accounts",
    "credentials",
    "client_keys",
    "last_hour",
    "errors",
    "rate_limits",
)


def _identified(path: Path, mask: Mask) -> Part:
    identity = identify(path)
    for texts in account_texts(path) if identity.has_accounts else ():
        mask.account(texts.name)
        mask.url(texts.base_url or "")
        mask.know_secrets(texts.secrets)
    return Part({"identity": identity})


def _questions(
    environ: Mapping[str, str], loaded: Loaded, identity: Identity, mask: Mask, now_ms: int
) -> dict[str, Callable[[], Part]]:
    settings = loaded.settings
    questions: dict[str, Callable[[], Part]] = {
        "system": machine.system,
        "settings": partial(machine.settings, loaded, mask),
        "environment": partial(machine.environment, environ, mask),
        "server": partial(examine_server, settings, insists=loaded.origins["port"].source == "flag"),
        "database": partial(examine_database, settings.db_path, identity, settings.payload_budget_bytes),
        "files": partial(machine.files, loaded),
        "errors": partial(machine.errors, settings.log_dir, mask, now_ms),
        "rate_limits": partial(machine.rate_limits, settings.log_dir, mask, now_ms),
    }
    if not identity.usable:
        unknown = partial(_not_to_be_had, identity)
        return questions | {
            "accounts": partial(_no_accounts, identity),
            "credentials": unknown,
            "client_keys": partial(_no_keys, identity, settings),
            "last_hour": unknown,
        }
    return questions | {
        "accounts": partial(examine_accounts, settings.db_path, settings.session_duration_ms, mask, now_ms),
        "credentials": partial(examine_credentials, settings),
        "client_keys": partial(examine_client_keys, settings),
        "last_hour": partial(last_hour, settings.db_path, now_ms),
    }


def _no_accounts(identity: Identity) -> Part:
    if identity.belonging in {"missing", "empty"}:
        return Part({"total": 0, "accounts": []}, NO_ACCOUNTS)
    return _not_to_be_had(identity)


def _no_keys(identity: Identity, settings: Settings) -> Part:
    if identity.belonging in {"missing", "empty"}:
        return judge_client_keys(settings, Admission({}, {}))
    return _not_to_be_had(identity)


def _not_to_be_had(identity: Identity) -> Part:
    """Say that the database cannot tell; why stands in its own part."""
    return Part({"error": f"not known: the database is {identity.belonging}"})


def _split(answers: dict[str, Part]) -> dict[str, Part]:
    """Return the answers with what was asked together in parts of its own."""
    server = answers.pop("server")
    for name in ("process", "port", "health"):
        answers[name] = Part(server.facts.get(name, server.facts))
    return answers


def _described(facts: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """Return facts with what went wrong in words for anybody."""
    return facts | {"error": mask.text(facts["error"])} if "error" in facts else facts


def _masked(finding: Finding, mask: Mask) -> Finding:
    return Finding(finding.severity, mask.secrets(finding.message), mask.secrets(finding.advice))
