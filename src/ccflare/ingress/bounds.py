"""How much of everything a client may send, and how long it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sizes in bytes, times in seconds. What happens at each bound is said with it."""

    target_bytes: int = 16 * 1024
    """Longer request targets: 414."""
    head_bytes: int = 64 * 1024
    """Names and values of one head, and a chunk extension or trailer section: 431."""
    fields: int = 200
    """Header fields of one head: 431."""
    length: int = 1 << 40
    """A `Content-Length` above it is nonsense: 413."""
    pipelined: int = 32
    """Requests that wait for the answer before them; one more is refused with 400 when its turn comes."""
    held_bytes: int = 256 * 1024
    """Body bytes kept for a reader of `pieces`, or for one that has not come yet; then the client is held back."""
    idle_s: float = 75.0
    """Without a request: closed."""
    head_s: float = 30.0
    """From the first byte of a head to its last: 408."""
    body_s: float = 60.0
    """Between two pieces of a body that is wanted: 408."""
    whole_body_s: float = 3600.0
    """From the head to the last piece of its body: 408."""
    linger_s: float = 5.0
    """An ending connection whose client has its answer and is silent: cut (RFC 9112 §9.6)."""
    farewell_s: float = 60.0
    """An ending connection whose client goes on sending, or fetches nothing of its answer: cut all the same."""
    look_s: float = 5.0
    """How late any of these times may be noticed: one timer per connection looks this often."""
    held_look_s: float = 0.5
    """The same while a client is held back, because then its leaving is only noticed by looking."""
