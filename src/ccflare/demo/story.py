"""What the demo tells: a line for each exchange, and at the end a table of who served what and why."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TextIO

from rich.console import Console
from rich.table import Table

from ccflare.choice import in_words
from ccflare.demo.traffic import Conversation
from ccflare.records import Account, Exchange, state_of
from ccflare.store import Store
from ccflare.strategy import Peek, session_key


class Story:
    """Reads exchanges from the store as they are written, and tells them."""

    def __init__(self, store: Store, output: TextIO) -> None:
        self._store = store
        self._console = Console(file=output, highlight=False, soft_wrap=True)
        self._accounts = {account.id: account for account in store.accounts()}
        self._conversations: dict[str, Conversation] = {}
        self._told: list[Exchange] = []

    def begin(self, base_url: str, conversations: Iterable[Conversation], *, stays: bool) -> None:
        """Say what is about to happen."""
        for each in conversations:
            self._conversations[session_key(Peek(session_id=each.user_id), "127.0.0.1")] = each
        print_ = self._console.print
        print_(f"\n[bold]ccflare[/] listens on {base_url}; behind it a simulated Claude API and three accounts:")
        print_("  work   preferred, but with a small budget that runs out and fills again")
        print_("  home   second choice, now and then overloaded")
        print_("  spare  second choice too\n")
        until = "until Ctrl+C" if stays else "until the table is shown"
        print_(f"Dashboard: {base_url}/?range=1h   ({until})\n")
        print_(
            f"{len(self._conversations)} conversations of the Anthropic SDK begin. "
            "Each stays on one account as long as it can.\n"
        )
        print_(f"[bold]{'time':<9}{'conversation':<14}{'model':<19}{'served by':<11}{'status':<8}{'ms':>5}  why[/]")

    def go_on(self) -> None:
        """Tell what has ended since; ids tell when an exchange began, so all of them are looked at."""
        known = {exchange.id for exchange in self._told}
        for exchange in self._store.exchanges():
            if exchange.id not in known:
                self._told.append(exchange)
                self._tell(exchange)

    def _tell(self, exchange: Exchange) -> None:
        conversation = self._conversations.get(exchange.session or "")
        at = datetime.fromtimestamp(exchange.timestamp_ms / 1000).astimezone()
        colour = (
            "green" if exchange.success and len(exchange.attempts) == 1 else "yellow" if exchange.success else "red"
        )
        self._console.print(
            f"{at:%H:%M:%S} {conversation.name if conversation else '?':<14}{exchange.model or '':<19}"
            f"[{colour}]{self._name(exchange.account_id):<11}[/]{exchange.status_code:<8}"
            f"{exchange.response_time_ms:>5}  {self._why(exchange)}"
        )

    def _why(self, exchange: Exchange) -> str:
        """Say why this account: what the attempts before it met, or why it was chosen first."""
        before = [f"{self._name(a.account_id)}: {a.reason or a.verdict}" for a in exchange.attempts[:-1]]
        if before:
            return "; ".join(before)
        if exchange.error_message:
            return exchange.error_message
        choice = exchange.attempts[0].choice if exchange.attempts else None
        names = {account.id: account.name for account in self._accounts.values()}
        return "" if choice is None else in_words(choice, names)

    def _name(self, account_id: str | None) -> str:
        return self._accounts[account_id].name if account_id in self._accounts else "-"

    def end(self, failed: int) -> None:
        """Sum up."""
        table = Table(title="Who served what, and why not another", title_justify="left", title_style="bold")
        for column in (
            "account",
            "served",
            "by conversation",
            "tokens",
            "cost",
            "failed tries",
            "because",
            "state now",
        ):
            table.add_column(column)
        for account in self._store.accounts():
            table.add_row(*self._row(account))
        self._console.print()
        self._console.print(table)
        switched = sum(len({a.account_id for a in each.attempts}) > 1 for each in self._told)
        self._console.print(
            f"{len(self._told)} requests; {switched} of them moved to another account before the client saw a byte; "
            f"{failed} failed for the client."
        )
        self._console.print("Yours: ccflare --add-account NAME --api-key, then ccflare --serve\n")

    def _row(self, account: Account) -> tuple[str, ...]:
        served = [each for each in self._told if each.account_id == account.id]
        names = Counter(self._conversations[e.session].name for e in served if e.session in self._conversations)
        refused = [
            attempt.reason or attempt.verdict
            for each in self._told
            for attempt in each.attempts
            if attempt.account_id == account.id and attempt.verdict != "deliver"
        ]
        reasons = Counter(refused).most_common(2)
        now_ms = self._told[-1].timestamp_ms + self._told[-1].response_time_ms if self._told else 0
        return (
            account.name,
            str(len(served)),
            ", ".join(f"{name} {count}" for name, count in sorted(names.items())),
            f"{sum(each.usage.total_tokens or 0 for each in served):,}",
            f"${sum(each.cost_microusd or 0 for each in served) / 1_000_000:.4f}",
            str(len(refused)),
            ", ".join(reason.partition(" (")[0] for reason, _ in reasons) or "-",
            state_of(account, now_ms),
        )
