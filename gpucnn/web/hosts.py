"""The names under which the server is reached, and those that it answers to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost")
    (True, True, True)
    >>> is_loopback("0.0.0.0"), is_loopback("192.168.1.5"), is_loopback("example.org")
    (False, False, False)
    """
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def page_url(host: str, port: int) -> str:
    """Return the page's address; of a server on all addresses that for this computer.

    >>> page_url("127.0.0.1", 8000), page_url("::1", 80), page_url("0.0.0.0", 8000)
    ('http://127.0.0.1:8000/', 'http://[::1]:80/', 'http://127.0.0.1:8000/')
    """
    address = _address(host)
    if address is not None and address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def host_check(host: str) -> Callable[[str], bool]:
    """Return the function that returns whether a name in a Host header is the server's.

    Another site can point a name of its own at any address, but not make a browser send an address
    in place of that name. So addresses are accepted: those of this computer only, if others do not
    reach the server.

    >>> check = host_check("127.0.0.1")
    >>> [check(name) for name in ("localhost", "127.0.0.1", "[::1]", "192.168.1.5", "example.org")]
    [True, True, True, False, False]
    >>> check = host_check("0.0.0.0")
    >>> [check(name) for name in ("localhost", "192.168.1.5", "example.org")]
    [True, True, False]
    """
    loopback, names = is_loopback(host), {host.lower(), "localhost"}
    if not loopback:
        names.add(socket.gethostname().lower())

    def is_host(name: str) -> bool:
        address = _address(name.removeprefix("[").removesuffix("]"))
        if address is None:
            return name in names
        return address.is_loopback or not loopback

    return is_host


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
