"""What the simulated service answers: credentials, limits, faults, then the endpoint that was asked for.

The rule: an answer is complete here. How it is delivered, or not, is `script`'s matter.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from ccflare.demo import resources
from ccflare.demo.accounts import Caller, SimulatedAccount, bearer, funds
from ccflare.demo.answers import Message, as_json, compose
from ccflare.demo.batches import API_ORIGIN, Batch, Batches, describe
from ccflare.demo.books import LogEntry
from ccflare.demo.fault_replies import action_lines, fault_reply
from ccflare.demo.faults import DIRECTIVE, Action, Facts, directives, parse_action
from ccflare.demo.grammar import frames
from ccflare.demo.presets import CONCURRENT, EXTRA_USAGE
from ccflare.demo.prompt_cache import count
from ccflare.demo.reply import EVENTS, Refusal, Reply, Usage, encode, line, refuse
from ccflare.demo.request import Request
from ccflare.demo.usage_page import usage
from ccflare.demo.validation import check, check_version, read_json
from ccflare.demo.world import World

Answer: TypeAlias = Reply | Refusal
Endpoint: TypeAlias = Callable[["Turn"], Answer]

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
BATCHES = "/v1/messages/batches"
FILES = "/v1/files"
CHAT = "/v1/chat/completions"
TOKEN = "/v1/oauth/token"  # noqa: S105  # a path
SPOKEN = frozenset({MESSAGES, COUNT, BATCHES, CHAT})
"""Paths whose request body is JSON that rules may ask about."""
MARK = DIRECTIVE.encode()
CACHE_MARK = b'"cache_control"'


class Turn:
    """One request on its way through the service."""

    __slots__ = ("account", "action", "body", "caller", "now", "request", "request_id", "tail")

    def __init__(self, request: Request, request_id: str, now: float) -> None:
        self.request = request
        self.request_id = request_id
        self.now = now
        self.caller: Caller | None = None
        self.account: SimulatedAccount | None = None
        self.body: dict[str, Any] = {}
        self.action: Action = {}
        self.tail = ""
        """What follows the collection's path: an id, or an id and a verb."""


class Service:
    """Answers requests on behalf of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.batches = Batches(world.ids, self._batch_message)
        self._routes: dict[str, dict[str, Endpoint]] = {
            MESSAGES: {"POST": self._messages},
            COUNT: {"POST": self._count},
            BATCHES: {"POST": self._make_batch, "GET": self._list_batches},
            CHAT: {"POST": self._chat},
            "/v1/models": {"GET": lambda turn: resources.models(turn.request.query)},
            FILES: {"POST": self._make_file, "GET": self._list_files},
            "/api/oauth/usage": {"GET": self._usage},
            "/api/oauth/profile": {"GET": self._profile},
            "/api/oauth/claude_cli/create_api_key": {"POST": self._create_key},
        }
        self._open_routes: dict[str, dict[str, Endpoint]] = {
            "/v1/echo": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), self._echo),
            "/api/hello": dict.fromkeys(("GET", "HEAD"), _hello),
            "/v1/oauth/hello": dict.fromkeys(("GET", "HEAD"), _hello),
            TOKEN: {"POST": self._token},
            "/oauth/authorize": {"GET": self._authorize},
        }
        self._collections: tuple[tuple[str, Endpoint], ...] = (
            (BATCHES + "/", self._one_batch),
            (FILES + "/", self._one_file),
            ("/v1/models/", self._one_model),
        )

    def answer(self, request: Request, entry: LogEntry, held: Action | None) -> tuple[Reply, Action]:
        """Answer a whole request. `held` is what a rule said about it when only its head was there."""
        turn = Turn(request, str(entry.request_id), self.world.now())
        refusal = self._identify(turn, entry)
        unreadable = self._read(turn, entry)
        try:
            turn.action = self._action(turn, held)
        except ValueError as error:
            return refuse(Refusal(400, f"fake: {error}"), turn.request_id), {}
        answer = self._settled(turn, refusal or unreadable)
        return self._dressed(turn, answer), turn.action

    def answer_head(self, request: Request, entry: LogEntry, action: Action) -> tuple[Reply, Action]:
        """Answer from the head alone, as an action with `early_response` asks."""
        turn = Turn(request, str(entry.request_id), self.world.now())
        turn.action = action
        self._identify(turn, entry)
        answer = fault_reply(action, TOKEN in request.path, turn.request_id)
        return self._dressed(turn, answer or Reply(200, encode({"early": True}))), action

    def body_limit(self, path: str) -> int:
        """Return the largest body a path takes, in bytes."""
        settings = self.world.settings
        if path.startswith(BATCHES):
            return settings.batches_limit
        return settings.files_limit if path.startswith(FILES) else settings.messages_limit

    def attribute(self, request: Request, entry: LogEntry) -> None:
        """Write into the log whose credential a request carries, valid or not."""
        key = request.fields.get(b"x-api-key") or bearer(request.fields)
        if key is None:
            return
        entry.credential = key[-6:].decode("latin-1")
        caller = self.world.doors.known(key)
        if caller is not None:
            entry.account = caller.account.name

    # Who, what, and what goes wrong.

    def _identify(self, turn: Turn, entry: LogEntry) -> Refusal | None:
        request = turn.request
        found = self.world.doors.identify(request.fields, request.repeated, turn.now)
        if isinstance(found, Refusal):
            self.attribute(request, entry)
            turn.account = self.world.accounts.get(entry.account or "")
            return found
        turn.caller, turn.account = found, found.account
        request.holder = found.account
        found.account.in_flight += 1
        entry.account = found.account.name
        entry.credential = (request.fields.get(b"x-api-key") or request.fields[b"authorization"])[-6:].decode("latin-1")
        return None

    def _read(self, turn: Turn, entry: LogEntry) -> Refusal | None:
        """Decode the body where it is JSON that matters, for the endpoint and for the rules."""
        request = turn.request
        if request.method != "POST" or request.path not in SPOKEN:
            return None
        body = read_json(request.body)
        if isinstance(body, Refusal):
            return body
        turn.body = body
        model = body.get("model")
        if isinstance(model, str):
            entry.model = model
        entry.stream = body.get("stream") is True
        return None

    def _action(self, turn: Turn, held: Action | None) -> Action:
        world, request = self.world, turn.request
        actions: list[Action] = []
        account = turn.account
        if account is not None and account.fault is not None:
            actions.append(parse_action(account.fault))
        facts = None
        if world.faults.rules:
            facts = self._facts(turn)
            actions += world.faults.on_request(facts)
        if held is not None:
            actions.append(held)
        asked = request.fields.get(b"x-fake")
        if asked is not None:
            actions.append(parse_action(asked.decode("latin-1")))
        turns = 0
        if MARK in request.body and request.path in (MESSAGES, CHAT):
            found, turns = directives(turn.body.get("messages"))
            actions += found
        return world.faults.resolve(actions, facts or self._facts(turn), turns) if actions else {}

    def _facts(self, turn: Turn) -> Facts:
        request, body = turn.request, turn.body
        name = turn.account.name if turn.account is not None else None
        model = body.get("model")
        return Facts(
            request.method,
            request.path,
            request.headers,
            name,
            model if isinstance(model, str) else None,
            body.get("stream") is True,
            request.body,
        )

    def _settled(self, turn: Turn, refusal: Refusal | None) -> Answer:
        """Return the fault's answer, or a refusal, or the endpoint's answer."""
        request = turn.request
        if turn.action:
            faulty = fault_reply(turn.action, TOKEN in request.path, turn.request_id)
            if faulty is not None:
                return faulty
        methods = self._open_routes.get(request.path)
        if methods is None:
            methods = self._route(turn)
            refusal = refusal or self._without_version(request)
        else:
            refusal = None
        if methods is None:
            return Refusal(404, "Not Found")
        endpoint = methods.get(request.method)
        if refusal is not None:
            return refusal
        return endpoint(turn) if endpoint is not None else _wrong_method(request.method)

    def _without_version(self, request: Request) -> Refusal | None:
        if not request.path.startswith("/v1/") or request.path == CHAT:
            return None
        return check_version(request.fields.get(b"anthropic-version"))

    def _route(self, turn: Turn) -> dict[str, Endpoint] | None:
        path = turn.request.path
        route = self._routes.get(path)
        if route is not None:
            return route
        for prefix, endpoint in self._collections:
            if path.startswith(prefix) and len(path) > len(prefix):
                turn.tail = path[len(prefix) :]
                return {"GET": endpoint, "POST": endpoint, "DELETE": endpoint}
        return None

    def _dressed(self, turn: Turn, answer: Answer) -> Reply:
        """Add the fields that say whose answer this is and how much is left."""
        action, account = turn.action, turn.account
        lines = b""
        if turn.caller is not None and account is not None:
            model = turn.body.get("model")
            lines = account.identity_lines
            if not (action and action.keys() & {"no_limit_headers", "unified", "minute_reset"}):
                lines += account.limit_lines(model if isinstance(model, str) else None, turn.now)
        if isinstance(answer, Refusal):
            reply = refuse(answer, turn.request_id, lines)
        else:
            reply = answer
            reply.lines = lines + reply.lines
        if action:
            reply.lines += action_lines(action, turn.now)
            if "ctype" in action:
                reply.content_type = str(action["ctype"]).encode("latin-1")
        return reply

    # Messages.

    def _messages(self, turn: Turn) -> Answer:
        problem = check(turn.body, turn.request.fields[b"anthropic-version"], needs_max_tokens=True)
        if problem is not None:
            return problem
        message = self._speak(turn)
        if isinstance(message, Refusal):
            return message
        if turn.body.get("stream") is not True:
            return Reply(200, encode(as_json(message)), usage=message.usage)
        writer = self.world.writer if self.world.settings.padding else self.world.bare_writer
        if "pace" not in turn.action and self.world.settings.pace:
            turn.action = {**turn.action, "pace": self.world.settings.pace}
        events = frames(message, turn.action, writer)
        return Reply(200, content_type=EVENTS, events=events, started=message.started, usage=message.usage)

    def _speak(self, turn: Turn) -> Message | Refusal:
        """Have the model answer, if the account may ask."""
        account, now = turn.account, turn.now
        assert account is not None  # noqa: S101  # endpoints behind a credential are only reached with one
        refusal = funds(account) or self._shape(turn)
        if refusal is not None:
            return refusal
        model = turn.body["model"]
        if CACHE_MARK in turn.request.body:
            told = account.cache.split(turn.body, self.world.settings.cache_min_tokens, now)
        else:
            told = Usage(input=count(turn.body))
        refusal = _admit(account, told, model, now)
        if refusal is not None:
            return refusal
        message = compose(turn.body, turn.action, told, self.world.ids)
        if account.kind == "api_key":
            account.limits.spend(message.usage.output, now)
        else:
            account.subscription.spend(message.usage, model, now)
        return message

    def _shape(self, turn: Turn) -> Refusal | None:
        shape = self.world.settings.oauth_shape
        if shape is None or turn.caller is None or not turn.caller.oauth:
            return None
        if turn.request.fields.get(b"user-agent", b"").startswith(b"claude-cli/"):
            return None
        return Refusal(429, "Error", bare=True) if shape == "429" else Refusal(400, EXTRA_USAGE)

    def _count(self, turn: Turn) -> Answer:
        problem = check(turn.body, turn.request.fields[b"anthropic-version"], needs_max_tokens=False)
        if problem is not None:
            return problem
        assert turn.account is not None  # noqa: S101  # endpoints behind a credential are only reached with one
        refusal = turn.account.limits.count(turn.now)
        return refusal or Reply(200, encode({"input_tokens": count(turn.body)}))

    def _chat(self, turn: Turn) -> Answer:
        asked = turn.body
        turn.body = resources.chat_request(asked)
        problem = check(turn.body, b"", needs_max_tokens=True)
        if problem is not None:
            return problem
        message = self._speak(turn)
        if isinstance(message, Refusal):
            return message
        options = asked.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return resources.chat_answer(message, turn.now, stream=asked.get("stream") is True, with_usage=with_usage)

    # What belongs to an account.

    def _batch_message(self, params: dict[str, Any]) -> dict[str, Any] | Refusal:
        problem = check(params, b"", needs_max_tokens=True)
        if problem is not None:
            return problem
        return as_json(compose(params, {}, Usage(input=count(params)), self.world.ids))

    def _make_batch(self, turn: Turn) -> Answer:
        account = _owner(turn)
        refusal = funds(account)
        if refusal is not None:
            return refusal
        batch = self.batches.create(turn.body, account, turn.now, self.world.settings.batch_seconds)
        return batch if isinstance(batch, Refusal) else self._described(batch, turn)

    def _described(self, batch: Batch, turn: Turn) -> Reply:
        own = self.world.settings.results_url == "self"
        return Reply(200, encode(describe(batch, turn.now, self.world.origin if own else API_ORIGIN)))

    def _list_batches(self, turn: Turn) -> Answer:
        own = self.world.settings.results_url == "self"
        origin = self.world.origin if own else API_ORIGIN
        data = [describe(batch, turn.now, origin) for batch in self.batches.listed(_owner(turn))]
        edge = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return Reply(200, encode({"data": data, "has_more": False, **edge}))

    def _one_batch(self, turn: Turn) -> Answer:
        batch_id, _, verb = turn.tail.partition("/")
        batch = self.batches.find(batch_id, _owner(turn))
        if isinstance(batch, Refusal):
            return batch
        match turn.request.method, verb:
            case "DELETE", "":
                return self.batches.delete(batch, turn.now)
            case "GET", "results":
                return self.batches.results(batch, turn.now)
            case "POST", "cancel":
                self.batches.cancel(batch, turn.now)
            case method, _ if (method, verb) != ("GET", ""):
                return _wrong_method(method) if verb in {"", "cancel", "results"} else Refusal(404, "Not Found")
        return self._described(batch, turn)

    def _make_file(self, turn: Turn) -> Answer:
        return self.world.files.create(turn.request, _owner(turn), turn.now)

    def _list_files(self, turn: Turn) -> Answer:
        return self.world.files.page(_owner(turn))

    def _one_file(self, turn: Turn) -> Answer:
        file_id, _, verb = turn.tail.partition("/")
        if verb not in {"", "content"}:
            return Refusal(404, "Not Found")
        method = turn.request.method
        if method == "POST" or (method == "DELETE" and verb):
            return _wrong_method(method)
        file = self.world.files.find(file_id, _owner(turn))
        if isinstance(file, Refusal):
            return file
        return self.world.files.answer(file, method, content=bool(verb))

    def _one_model(self, turn: Turn) -> Answer:
        if turn.request.method != "GET":
            return _wrong_method(turn.request.method)
        return resources.model(turn.tail)

    # Open endpoints and the account's own pages.

    def _echo(self, turn: Turn) -> Answer:
        return resources.echo(turn.request, turn.account.name if turn.caller and turn.account else None)

    def _token(self, turn: Turn) -> Answer:
        return self.world.oauth.token(turn.request.body, turn.request.fields.get(b"content-type", b""), turn.now)

    def _authorize(self, turn: Turn) -> Answer:
        return self.world.oauth.authorize(turn.request.query, self.world.accounts, turn.now)

    def _usage(self, turn: Turn) -> Answer:
        assert turn.caller is not None  # noqa: S101  # endpoints behind a credential are only reached with one
        account = turn.caller.account
        if "user:profile" not in turn.caller.scopes:
            return Refusal(429, "Rate limited. Please try again later.", bare=True)
        if self.world.oauth.polled_too_fast(account, turn.now):
            return Refusal(429, "Rate limited. Please try again later.", bare=True, retry_after=60)
        return Reply(200, encode(usage(account, turn.now)))

    def _profile(self, turn: Turn) -> Answer:
        return self._scoped(turn, self.world.oauth.profile)

    def _create_key(self, turn: Turn) -> Answer:
        return self._scoped(turn, partial(self.world.oauth.create_api_key))

    def _scoped(self, turn: Turn, page: Callable[[Caller], Reply | str]) -> Answer:
        assert turn.caller is not None  # noqa: S101  # endpoints behind a credential are only reached with one
        answer = page(turn.caller)
        if isinstance(answer, Reply):
            return answer
        return Refusal(403, f"OAuth token does not meet scope requirement {answer}")


def _owner(turn: Turn) -> SimulatedAccount:
    assert turn.account is not None  # noqa: S101  # endpoints behind a credential are only reached with one
    return turn.account


def _admit(account: SimulatedAccount, told: Usage, model: str, now: float) -> Refusal | None:
    most = account.limits.max_concurrency
    if most is not None and account.in_flight > most:
        return Refusal(429, CONCURRENT, retry_after=1)
    if account.kind == "api_key":
        return account.limits.admit(told, now)
    return account.subscription.admit(model, now)


def _wrong_method(method: str) -> Refusal:
    return Refusal(405, f"Method Not Allowed: {method}")


def _hello(turn: Turn) -> Answer:
    return Reply(200, encode({"message": "hello"}), lines=line("cache-control", "no-store"))
