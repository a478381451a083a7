"""ccflare: a load-balancing proxy for the Claude API."""

__version__ = "0.1.0"
