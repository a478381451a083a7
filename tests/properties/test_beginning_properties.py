"""What matters of an answer's head, whatever its fields are."""

from hypothesis import example, given
from hypothesis import strategies as st

from ccflare.beginning import is_routine, is_stream
from ccflare.transport import HeaderSection
from ccflare.wire import HOP_BY_HOP, Headers, lines_of, pairs_of

NAMES = [
    b"Content-Type", b"content-type", b"Content-Encoding", b"content-length", b"Connection", b"X-Own", b"x-own", b"TE",
    b"anthropic-ratelimit-unified-status", b"Anthropic-RateLimit-Unified-Status", b"date", b"set-cookie", b"Trailer",
]  # fmt: skip
VALUES = [
    b"text/event-stream; charset=utf-8", b"TEXT/Event-Stream", b"application/json", b"gzip", b"allowed", b" Allowed ",
    b"rejected", b"keep-alive, x-own", b"close", b"date", b"", b"a: b", b": ",
]  # fmt: skip
HEADS = st.lists(st.tuples(st.sampled_from([*NAMES, b"close"]), st.sampled_from(VALUES)), max_size=8)


@given(HEADS)
@example([(b"Connection", b"close"), (b"close", b"date")])
def test_a_head_is_what_its_fields_say_one_by_one(headers: Headers) -> None:
    """The last of a repeated field counts; hop-by-hop fields, and those that `Connection` names, stay behind."""
    said = {name.lower(): value for name, value in headers}
    tokens = {
        token.strip() for name, value in headers if name.lower() == b"connection" for token in value.lower().split(b",")
    } - {b"close", b"keep-alive"}
    section = HeaderSection.of(headers)
    assert is_stream(section) == said.get(b"content-type", b"").lower().startswith(b"text/event-stream")
    assert section.coding == said.get(b"content-encoding")
    assert is_routine(section) == (
        said.get(b"anthropic-ratelimit-unified-status", b"allowed").strip().lower() == b"allowed"
    )
    assert pairs_of(section.end_to_end) == [
        pair for pair in headers if pair[0].lower() not in HOP_BY_HOP | {b"content-length"} | tokens
    ]


@given(HEADS)
def test_pairs_come_back_out_of_lines(headers: Headers) -> None:
    """Whoever wants fields as pairs gets those that the lines were made of."""
    section = HeaderSection.of(headers)
    assert section.lines == b"".join(b"%b: %b\r\n" % pair for pair in headers) == lines_of(headers)
    assert section.headers == headers
    assert section.names == tuple(name for name, _ in headers)
