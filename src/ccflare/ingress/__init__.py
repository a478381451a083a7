"""The client's side of the wire: HTTP/1.1 connections, and the requests that come by them."""

from ccflare.ingress.bounds import Bounds
from ccflare.ingress.crowd import Crowd
from ccflare.ingress.protocol import Ingress, IngressSettings
from ccflare.ingress.request import ClientRequest

__all__ = ["Bounds", "ClientRequest", "Crowd", "Ingress", "IngressSettings"]
