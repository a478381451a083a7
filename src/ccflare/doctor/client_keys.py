"""Who is let in: how many keys there are, and whether anybody can use the server and its dashboard."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from ccflare.client_keys import ClientKeys
from ccflare.doctor.database import BUSY_S
from ccflare.doctor.report import Facts, Finding, Part
from ccflare.records import Admission
from ccflare.settings import Settings
from ccflare.store import open_store

_CREATE = "ccflare keys create NAME --role admin"


def examine_client_keys(settings: Settings) -> Part:
    """Return how many keys of each role there are; their names are nobody's business."""
    with closing(open_store(settings.db_path, busy_timeout_s=BUSY_S)) as store:
        return judge_client_keys(settings, store.client_keys.admission())


def judge_client_keys(settings: Settings, admission: Admission) -> Part:
    """Say what a server with these settings makes of these keys."""
    keys = ClientKeys(private=settings.is_private, open_without_keys=settings.open_without_keys)
    keys.load(admission)
    roles = Counter(key.role for key in admission.keys.values() if key.revoked_at_ms is None)
    facts: Facts = {
        "needed": keys.required,
        "proxy": roles["proxy"],
        "admin": roles["admin"],
        "revoked": len(admission.keys) - roles.total(),
    }
    return Part(facts, tuple(_findings(settings, keys)))


def _findings(settings: Settings, keys: ClientKeys) -> Iterator[Finding]:
    if keys.is_shut():
        yield Finding("error", "A client key is needed and there is none: nobody is let in", f"make one: {_CREATE}")
    elif not keys.required and not settings.is_private:
        message = "Other machines may use the accounts without a key"
        yield Finding("warning", message, f"make a key, which closes it: {_CREATE}")
    elif keys.required and not keys.has_admin():
        message = "There is no client key of role admin: nobody can use the dashboard and the API"
        yield Finding("note", message, f"make one: {_CREATE}")
