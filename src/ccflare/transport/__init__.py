"""The HTTP/1.1 client for upstreams: exact, bounded, and cheap.

`http1` is the protocol without I/O, `connection` puts it on a byte stream, `pool` keeps idle connections,
`egress` makes new ones, `client` is what the rest of the program calls.
"""

from ccflare.transport.client import Deadlines, Transport, address_of
from ccflare.transport.heads import HeaderSection
from ccflare.transport.proxies import Proxy, ProxyRules
from ccflare.transport.response import Response

__all__ = ["Deadlines", "HeaderSection", "Proxy", "ProxyRules", "Response", "Transport", "address_of"]
