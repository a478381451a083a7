"""Message batches of the simulated upstream: each belongs to the account that made it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ccflare.demo.accounts import SimulatedAccount
from ccflare.demo.reply import Ids, Refusal, Reply, encode, rfc3339

API_ORIGIN = "https://api.anthropic.com"
DAY_S = 86_400


@dataclass(slots=True)
class Batch:
    """A batch and its results, which are ready `ends_at`."""

    id: str
    account: str
    made_at: float
    ends_at: float
    requests: list[dict[str, Any]]
    results: list[dict[str, Any]]
    canceled_at: float | None = None


class Batches:
    """All batches of one server. `run` answers one request of a batch: the message, or why it failed."""

    def __init__(self, ids: Ids, run: Callable[[dict[str, Any]], dict[str, Any] | Refusal]) -> None:
        self._ids = ids
        self._run = run
        self._batches: dict[str, Batch] = {}

    def clear(self) -> None:
        """Forget every batch."""
        self._batches.clear()

    def create(self, body: dict[str, Any], account: SimulatedAccount, now: float, seconds: float) -> Batch | Refusal:
        """Make a batch that ends after so many seconds."""
        requests = body.get("requests")
        if not isinstance(requests, list) or not requests:
            return Refusal(400, "requests: at least one request is required")
        for index, one in enumerate(requests):
            if not isinstance(one, dict) or not isinstance(one.get("custom_id"), str):
                return Refusal(400, f"requests.{index}.custom_id: Field required")
            if not isinstance(one.get("params"), dict):
                return Refusal(400, f"requests.{index}.params: Field required")
        results = [{"custom_id": one["custom_id"], "result": self._result(one["params"])} for one in requests]
        batch = Batch(self._ids.new("msgbatch_"), account.name, now, now + seconds, requests, results)
        self._batches[batch.id] = batch
        return batch

    def _result(self, params: dict[str, Any]) -> dict[str, Any]:
        answer = self._run(params)
        if isinstance(answer, Refusal):
            error = {"type": answer.type or "invalid_request_error", "message": answer.message}
            return {"type": "errored", "error": {"type": "error", "error": error}}
        return {"type": "succeeded", "message": answer}

    def find(self, batch_id: str, account: SimulatedAccount) -> Batch | Refusal:
        """Return an account's own batch."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.account != account.name:
            return Refusal(404, f"Message Batch with id {batch_id} not found.")
        return batch

    def listed(self, account: SimulatedAccount) -> list[Batch]:
        """Return an account's batches, newest first."""
        return [batch for batch in reversed(self._batches.values()) if batch.account == account.name]

    def cancel(self, batch: Batch, now: float) -> None:
        """Cancel a batch: what was not answered yet never will be."""
        if batch.canceled_at is None and now < batch.ends_at:
            batch.canceled_at = batch.ends_at = now
            batch.results = [{**one, "result": {"type": "canceled"}} for one in batch.results]

    def delete(self, batch: Batch, now: float) -> Reply | Refusal:
        """Delete a batch that has ended."""
        if now < batch.ends_at:
            return Refusal(400, f"Message Batch {batch.id} is still processing; cancel it first.")
        del self._batches[batch.id]
        return Reply(200, encode({"id": batch.id, "type": "message_batch_deleted"}))

    def results(self, batch: Batch, now: float) -> Reply | Refusal:
        """Return the results as JSON lines."""
        if now < batch.ends_at:
            return Refusal(400, f"Message Batch {batch.id} has no available results.")
        lines = b"".join(encode(one) + b"\n" for one in batch.results)
        return Reply(200, lines, content_type=b"application/x-jsonl")


def describe(batch: Batch, now: float, origin: str) -> dict[str, Any]:
    """Describe a batch; its results are found under `origin`."""
    ended = now >= batch.ends_at
    counts = {
        "processing": 0 if ended else len(batch.requests),
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    if ended:
        for one in batch.results:
            counts[one["result"]["type"]] += 1
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "ended_at": rfc3339(int(batch.ends_at)) if ended else None,
        "created_at": rfc3339(int(batch.made_at)),
        "expires_at": rfc3339(int(batch.made_at) + DAY_S),
        "archived_at": None,
        "cancel_initiated_at": rfc3339(int(batch.canceled_at)) if batch.canceled_at is not None else None,
        "results_url": f"{origin}/v1/messages/batches/{batch.id}/results" if ended else None,
    }
