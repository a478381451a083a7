"""Bodies of which only what is new is searched: nothing is kept that a whole search would have masked."""

from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ccflare.journal import searched
from ccflare.journal.searched import SearchedBodies
from ccflare.payload import Captured, Content, Payload, redacted
from ccflare.records import Exchange, Secret
from ccflare.store.difference import difference
from ccflare.store.packing import Packer
from ccflare.wire import ByteBudget

CLIENT_KEY = b"ccf_" + b"k" * 43
SECRETS = [b"sk-ant-api03-account-one", b"sk-ant-api03-account-two"]

HALVES = [b"ccf_", b"k" * 20, b"sk-ant-api03-", b"account-one"]

words = st.sampled_from([b"the request goes through ", b'{"role":"user"}', *HALVES, CLIENT_KEY, *SECRETS])
text = st.lists(words, max_size=6).map(b"".join)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Bodies with the credential that each one was sent with: each is one before it with some places changed."""
    base = b"".join(b"turn %d says this and that. " % number for number in range(20))
    bodies, turns = [base], []
    for _ in range(draw(st.integers(2, 6))):
        body = bytearray(draw(st.sampled_from(bodies)))
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(body)))
            body[at : at + draw(st.integers(0, 40))] = draw(text)
        bodies.append(bytes(body))
        turns.append((bytes(body), draw(st.sampled_from(SECRETS))))
    return turns


def _payload(body: bytes, secret: bytes, known: SearchedBodies) -> Payload:
    captured = Captured(b"/v1/messages", [], ByteBudget(1 << 30))
    captured.request.add(body)
    captured.secrets.append(Secret(secret.decode()))
    exchange = Exchange(
        id="x", timestamp_ms=1, method="POST", path="/", status_code=200, success=True, response_time_ms=1, session="s"
    )
    captured.close(exchange)
    return redacted(captured, lambda _coding, data: data, known)


def _kept(body: bytes, secret: bytes, known: SearchedBodies) -> Content:
    return _payload(body, secret, known).request


@given(conversations())
def test_what_is_new_is_all_that_has_to_be_searched(turns: list[tuple[bytes, bytes]]) -> None:
    """Whatever came before in the session, a body is kept as if it had been searched whole."""
    with patch.object(searched, "_SHORT_BYTES", 1):
        known = SearchedBodies()
        for body, secret in turns:
            assert _kept(body, secret, known) == _kept(body, secret, SearchedBodies())


def test_a_turn_is_searched_where_it_is_new() -> None:
    """Of a long body that continues another one little is looked at; with other credentials, all of it."""
    known, body = SearchedBodies(), b"".join(b"turn %d says this and that. " % number for number in range(2000))
    looked_for = [b"c" * 30]
    assert known.unsearched("s", body, looked_for) == (body,)
    known.note("s", body, looked_for)
    longer = body + b"and one turn more."
    assert b"and one turn more." in known.unsearched("s", longer, looked_for)[-1]
    assert sum(map(len, known.unsearched("s", longer, looked_for))) < 500
    for session, credentials in (("s", [b"d" * 30]), ("t", looked_for), (None, looked_for)):
        assert known.unsearched(session, longer, credentials) == (longer,)


def test_what_is_remembered_is_bounded() -> None:
    """The sessions that were quiet longest are forgotten, and a turn takes the place of the one that it continues."""
    known, body = SearchedBodies(remembered_bytes=100_000), b"x y z " * 5_000
    for number in range(10):
        turn = body + b"%d" % number
        known.unsearched("one", turn, [])
        known.note("one", turn, [])
    assert known.unsearched("one", body, []) != (body,)
    for session in ("two", "three", "four"):
        known.unsearched(session, body, [])
        known.note(session, body, [])
    assert known.unsearched("one", body, []) == (body,)
    assert known.unsearched("four", body, []) != (body,)


def test_what_was_compared_is_stored_without_comparing_again() -> None:
    """A turn is told by the turn before: the packer takes over how, unless the body is kept otherwise than it came."""
    known, packer, secret = SearchedBodies(), Packer(), SECRETS[0]
    body = b"".join(b"turn %d says this and that. " % number for number in range(2000))
    with patch("ccflare.store.packing.difference", wraps=difference) as compare:
        for number, turn in enumerate((body, body + b"one", body + b"one " + secret, body + b"one two")):
            payload = _payload(turn, secret, known)
            payload = msgspec.structs.replace(payload, id=f"{number}")
            [packed] = packer.pack([payload], {} if known.told is None else {payload.id: known.told})
            assert packed.base == (f"{number - 1}" if number else None)
            assert (known.told is None) == (number in {0, 2})
    assert [call.args[1] for call in compare.call_args_list] == [body + b"one " + b"*" * len(secret)]
