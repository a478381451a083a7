"""Ids of objects: where they are found in answers and in requests, and where they are not."""

import gzip
import json
import time
import tracemalloc
from typing import Any

import pytest

from answer_kit import CODINGS, block_start, compressed, delta, event, message_delta, start, stop
from ccflare.meter import MATCH_BYTES, Meter, Sightings
from ccflare.providers import PROVIDERS
from ccflare.providers.anthropic_objects import BODY_END_BYTES, KINDS, MOST_NAMED, in_message, in_object

ANTHROPIC = PROVIDERS["anthropic"]
FILE = "file_011CNha8iCJcU1wXNR6q4V8w"
FILE_2 = "file_011CPMxVD3fHLUhvTqtsQA5w"
BATCH = "msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d"
CONTAINER = "container_011CPR5CNjB747bTd36fQLFk"
SKILL = "skill_01JAbcdefghijklmnopqrstuvw"
OUTPUTS = {
    "type": "bash_code_execution_tool_result",
    "tool_use_id": "srvtoolu_01",
    "content": {
        "type": "bash_code_execution_result",
        "stdout": f'{{"file_id": "{FILE_2}"}}',
        "content": [{"type": "bash_code_execution_output", "file_id": FILE}],
    },
}


def named(target: str, body: bytes | bytearray | None = None, kinds: tuple[str, ...] = KINDS) -> list[str]:
    return ANTHROPIC.objects_named(target.encode(), body, kinds)


def shown(answer: Any, **options: Any) -> list[str]:
    return in_object(json.dumps(answer, **options).encode())


# Answers.


@pytest.mark.parametrize("separators", [None, (",", ":"), (" , ", " : ")])
def test_objects_and_pages_show_their_ids(separators: tuple[str, str] | None) -> None:
    """A created object, a page of them and references by `..._id` are seen, however the JSON is spaced."""
    page = {"data": [{"type": "file", "id": FILE}, {"id": FILE_2}], "first_id": FILE, "last_id": FILE_2}
    assert shown(
        {"id": BATCH, "type": "message_batch", "results_url": f"https://x/{BATCH}"}, separators=separators
    ) == [BATCH]
    assert set(shown(page, separators=separators)) == {FILE, FILE_2}
    assert shown({"agent": {"id": "agent_011CZkYpogX7uDKUyvBTophP"}, "session_id": "sesn_011CZkZAtmR3yMPD"}) == [
        "agent_011CZkYpogX7uDKUyvBTophP",
        "sesn_011CZkZAtmR3yMPD",
    ]


def test_what_belongs_to_no_account_is_not_an_object() -> None:
    """Messages, requests, tool uses, users and workspaces are not remembered, nor is what is no id at all."""
    for other in ("msg_01XFDUDYJgAACzvnptvVoYEL", "req_018EeWyXxfu5pfWkrYcMdjWG", "toolu_01D7FLrfh4GYq7yT1ULFeyMV",
                  "wrkspc_011CZkZaBF1tNoB5wlCeusgy", "user_01WCz1FkmYMm4gnmykNKUu3Q", "file_", "file_x/../y", "file",
                  "file_" + "a" * 81, "claude-sonnet-5-5"):  # fmt: skip
        assert shown({"id": other}) == []


def test_what_users_and_models_write_is_not_an_object() -> None:
    """An id inside a text is no sign of ownership: neither in a file's name nor in JSON that is quoted as text."""
    assert shown({"filename": FILE, "text": json.dumps({"id": FILE}), "input": [FILE]}) == []
    tool_use = {"type": "tool_use", "input": {"file_id": FILE, "id": CONTAINER, "container": CONTAINER}}
    text = {"type": "text", "text": json.dumps(OUTPUTS)}
    assert in_message(json.dumps({"content": [tool_use, text], "container": None}).encode()) == []


@pytest.mark.parametrize("output", [{"type": "code_execution_output", "file_id": FILE}, {"file_id": FILE, "type": "x_execution_output"}])  # fmt: skip  # noqa: E501
def test_messages_show_their_container_and_the_files_that_code_has_written(output: dict[str, str]) -> None:
    """Both orders of the keys are read; what the code printed is not."""
    message = {
        "content": [{**OUTPUTS, "content": {"stdout": FILE_2, "content": [output]}}],
        "container": {"id": CONTAINER, "expires_at": "2026-11-01T00:00:00Z", "skills": None},
    }
    for separators in (None, (",", ":")):
        assert set(in_message(json.dumps(message, separators=separators).encode())) == {CONTAINER, FILE}


@pytest.mark.parametrize(
    ("method", "path", "finder"),
    [
        (b"POST", b"/v1/messages", in_message),
        (b"GET", f"/v1/messages/batches/{BATCH}/results".encode(), in_message),
        (b"GET", b"/v1/sessions/sesn_1/events", in_message),
        (b"POST", b"/v1/files", in_object),
        (b"GET", b"/v1/messages/batches", in_object),
        (b"GET", f"/v1/skills/{SKILL}/versions".encode(), in_object),
        (b"DELETE", f"/v1/files/{FILE}".encode(), None),
        (b"GET", f"/v1/files/{FILE}/content".encode(), None),
        (b"POST", b"/v1/messages/count_tokens", None),
        (b"GET", b"/v1/models/claude-x", None),
    ],
)
def test_how_an_answer_is_read_depends_on_what_was_asked(method: bytes, path: bytes, finder: object) -> None:
    """Messages are read strictly, resources by their ids, and what a user uploaded not at all."""
    assert ANTHROPIC.object_finder(method, path) is finder


# The meter.


def meter_of(streamed: bool, coding: bytes | None = None) -> Meter:
    return Meter(streamed=streamed, coding=coding, find=in_message)


STREAM = b"".join(
    [
        start(),
        block_start(),
        delta(),
        event("content_block_start", {"type": "content_block_start", "index": 1, "content_block": OUTPUTS}),
        event("message_delta", {"type": "message_delta", "usage": {"output_tokens": 5},
                                "delta": {"stop_reason": "end_turn", "container": {"id": CONTAINER}}}),
        stop(),
    ]
)  # fmt: skip


@pytest.mark.parametrize("coding", [None, *CODINGS])
def test_a_stream_shows_its_objects(coding: bytes | None) -> None:
    """Files in a result's block and the container in the last delta, in any coding, byte by byte as well as at once."""
    data = STREAM if coding is None else b"".join(compressed(coding, [STREAM]))
    for size in (1, 7, len(data)):
        meter = meter_of(True, coding)
        for at in range(0, len(data), size):
            meter.feed(data[at : at + size], 0.0)
        told = meter.end(complete=True)
        assert told.objects == (FILE, CONTAINER)
        assert told.usage.output_tokens == 5
        assert told.failure is None


def test_a_cut_stream_still_shows_what_came() -> None:
    """An object that was made stays made when the answer breaks off."""
    meter = meter_of(True)
    meter.feed(STREAM[: STREAM.index(b"message_delta")], 0.0)
    assert meter.end(complete=False).objects == (FILE,)


def test_unnamed_events_show_their_objects() -> None:
    """Where the stream gives no event names the data is read all the same."""
    meter = meter_of(True)
    meter.feed(b"\n".join(line for line in STREAM.split(b"\n") if not line.startswith(b"event")), 0.0)
    assert meter.end(complete=True).objects == (FILE, CONTAINER)


def test_a_stream_without_objects_shows_none_and_content_is_not_kept() -> None:
    """Deltas are only counted as before, however many there are."""
    meter = meter_of(True)
    tracemalloc.start()
    meter.feed(start() + block_start(), 0.0)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2000):
        meter.feed(delta(), 0.0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    meter.feed(message_delta({"output_tokens": 1}) + stop(), 0.0)
    assert meter.end(complete=True).objects == ()
    assert grown < 4096


@pytest.mark.parametrize("filler", [0, 10_000, 300_000])
@pytest.mark.parametrize("size", [100, 16_000, 10**7])
def test_a_whole_body_shows_its_objects(filler: int, size: int) -> None:
    """Short and long bodies, in one piece and in many."""
    message = {"content": [{"type": "text", "text": "x" * filler}, OUTPUTS], "container": {"id": CONTAINER}}
    body = json.dumps(message).encode()
    meter = meter_of(False)
    for at in range(0, len(body), size):
        meter.feed(body[at : at + size], 0.0)
    assert set(meter.end(complete=True).objects) == {FILE, CONTAINER}


def test_without_a_finder_nothing_is_looked_for() -> None:
    """A meter that was given none shows no objects."""
    meter = Meter(streamed=True, coding=None)
    meter.feed(STREAM, 0.0)
    assert meter.end(complete=True).objects == ()


# Answers that are no messages.


@pytest.mark.parametrize("size", [1, 13, 4096, 10**7])
@pytest.mark.parametrize("coding", [None, *CODINGS])
def test_every_split_of_an_answer_shows_the_same(size: int, coding: bytes | None) -> None:
    """A page of files that comes in pieces of any size, compressed or not."""
    ids = [f"file_01{number:022d}" for number in range(200)]
    body = json.dumps({"data": [{"id": each, "type": "file"} for each in ids]}).encode()
    data = body if coding is None else b"".join(compressed(coding, [body]))
    seen = Sightings(in_object, coding)
    for at in range(0, len(data), size):
        seen.feed(data[at : at + size])
    assert seen.end() == tuple(ids)


def test_what_cannot_be_read_shows_nothing_and_never_raises() -> None:
    """An unknown coding, a broken one, and bytes that are no text."""
    body = json.dumps({"id": FILE}).encode()
    for coding, data in (
        (b"rot13", body),
        (b"gzip", b"\x1f\x8b" + body),
        (b"br", b"\xff" * 50),
        (None, b"\xff\x00" * 9),
    ):
        seen = Sightings(in_object, coding)
        seen.feed(data)
        assert seen.end() == ()


def test_a_long_answer_costs_bounded_memory_and_is_read_to_its_bound() -> None:
    """Only the first mebibyte is looked at, and nothing of it is held."""
    filler = b'{"filename": "' + b"x" * 1000 + b'"},'
    seen = Sightings(in_object)
    seen.feed(b'{"data": [{"id": "%b"},' % FILE.encode())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5000):
        seen.feed(filler)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    seen.feed(b'{"id": "%b"}' % FILE_2.encode())
    assert seen.end() == (FILE,)
    assert grown < 64 * 1024


def test_matches_are_short_enough_to_be_found_across_pieces() -> None:
    """The longest text that counts as an id fits into what is kept of the piece before."""
    longest = '"container"' + " " * 8 + ":" + " " * 8 + '{"expires_at":"' + "x" * 100 + '",' + '"id"' + " " * 8
    longest += ":" + " " * 8 + '"container_' + "a" * 80 + '"'
    assert in_message(longest.encode()) == ["container_" + "a" * 80]
    assert len(longest) < MATCH_BYTES


# Requests.


def test_a_request_names_what_stands_in_its_path_query_and_body() -> None:
    """In this order, each once, only whole segments, values and strings."""
    body = json.dumps({"container": CONTAINER, "messages": [{"content": [{"source": {"file_id": FILE}}]}]}).encode()
    assert named(f"/v1/messages/batches/{BATCH}/results") == [BATCH]
    assert named(f"/v1/files/{FILE}?beta=true") == [FILE]
    assert named(f"/v1/files?after_id={FILE}&before_id={FILE_2}#x") == [FILE, FILE_2]
    assert named("/v1/messages?beta=true", body) == [CONTAINER, FILE]
    assert named(f"/v1/skills/{SKILL}", bytearray(body)) == [SKILL, CONTAINER, FILE]
    assert named("/v1/sessions", json.dumps({"vault_ids": ["vlt_011CZkZDLs7fYzm1"]}).encode()) == [
        "vlt_011CZkZDLs7fYzm1"
    ]


def test_what_is_no_whole_id_names_nothing() -> None:
    """Parts of segments, of values and of texts do not count, nor does JSON that is quoted in a text."""
    assert named(f"/v1/files/x{FILE}/y?z=a{FILE}&w={FILE}%20") == []
    quoted = json.dumps({"messages": [{"content": json.dumps({"file_id": FILE}) + FILE}], "file_path": "x"}).encode()
    assert named("/v1/messages", quoted) == []


def test_only_the_kinds_that_are_known_are_looked_for() -> None:
    """A pool that knows batches does not care for files; one that knows nothing looks at nothing."""
    body = json.dumps({"file_id": FILE}).encode()
    assert named(f"/v1/x/{BATCH}", body, ("msgbatch",)) == [BATCH]
    assert named(f"/v1/x/{BATCH}", body, ("file", "container")) == [FILE]
    assert named(f"/v1/x/{BATCH}", body, ()) == []


def test_bodies_that_are_no_json_objects_are_not_searched() -> None:
    """An upload's bytes are its own business; a compressed or absent body names nothing."""
    form = b'--boundary\r\nContent-Type: application/json\r\n\r\n{"file_id": "%b"}\r\n' % FILE.encode()
    for body in (form, gzip.compress(json.dumps({"file_id": FILE}).encode()), b"", None):
        assert named("/v1/files", body) == []


def test_a_long_body_is_searched_at_its_two_ends() -> None:
    """What is asked last and what frames it is found; the cost of a huge body has a bound."""
    middle = b"x" * (2 * BODY_END_BYTES)
    one, two, three = (b'"%b"' % each.encode() for each in (FILE, SKILL, FILE_2))
    body = b'{"a":%b,"b":"%b",%b,"%b","c":%b}' % (one, middle, two, middle, three)
    assert named("/v1/messages", body) == [FILE, FILE_2]
    around = b"{" + b" " * (BODY_END_BYTES - 20) + one + b"}"
    assert named("/v1/messages", around) == [FILE]
    huge = b'{"text":"%b"}' % (b'\\"file_' * (5 << 20))
    began = time.process_time()
    named("/v1/messages", huge)
    assert time.process_time() - began < 0.5


def test_a_request_names_a_bounded_number_of_objects() -> None:
    """A body full of ids costs no more than so many."""
    body = json.dumps([f"file_01{number:022d}" for number in range(5000)]).replace("[", '{"a":[', 1).encode() + b"}"
    assert len(named("/v1/messages", body)) == MOST_NAMED


def test_a_delete_names_what_it_deletes() -> None:
    """Only the last segment of a DELETE is deleted: not the skill whose version goes."""
    assert ANTHROPIC.object_deleted(b"DELETE", f"/v1/files/{FILE}".encode()) == FILE
    assert ANTHROPIC.object_deleted(b"DELETE", f"/v1/messages/batches/{BATCH}".encode()) == BATCH
    assert ANTHROPIC.object_deleted(b"DELETE", f"/v1/skills/{SKILL}/versions/1759178010641129".encode()) is None
    assert ANTHROPIC.object_deleted(b"GET", f"/v1/files/{FILE}".encode()) is None


def test_the_answer_for_a_limited_owner_speaks_of_the_owner() -> None:
    """The wait is the owner's, and no other account is held out as a hope."""
    status, headers, body = ANTHROPIC.pool_limited_answer(90, None, False, owned=True)
    error = json.loads(body)["error"]
    assert (status, dict(headers)[b"retry-after"], error["type"]) == (429, b"90", "rate_limit_error")
    assert "The account that owns what this request names" in error["message"]
    assert "90 s" in error["message"]
