"""What the gateway refuses before it looks at a body: hosts, browsers of other sites, rates, bombs. Pure but for time.

Each refusal names its limit.
"""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tallystick.auth import Principal
from tallystick.errors import BadRequest, PayloadTooLarge, PermissionDenied, TooManyRequests
from tallystick.protocol.routes import RateLimit

_MINUTE_S = 60.0
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# RFC 9110, 7.2: uri-host [":" port]. User information, a path or a second colon make it something else.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\]+)(:[0-9]*)?")


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port, in lower case; '' when it is not a name and a port.

    >>> host_name("[::1]:8080"), host_name("LOCALHOST:80"), host_name("example.org")
    ('::1', 'localhost', 'example.org')
    """
    found = _HOST.fullmatch(header)
    return found[1].strip("[]").lower().rstrip(".") if found else ""


def is_known_host(header: str, allowed: frozenset[str], local_address: str) -> bool:
    """Whether a request addressed to `header` may be for us.

    A page of another site can make a browser resolve *its* name to our address (DNS rebinding); the Host header
    then still holds that name. `local_address` is the address that this connection reached.
    """
    name = host_name(header)
    if name in _LOOPBACK_NAMES or name in allowed:
        return True
    try:
        # An address cannot be rebound to another one.
        return ipaddress.ip_address(name) == ipaddress.ip_address(local_address)
    except ValueError:
        return False


def refuse_cross_site(host: str, origin: str | None, fetch_site: str | None) -> None:
    """Raise PermissionDenied for a request that a browser sends on behalf of another site, whatever its method."""
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        raise PermissionDenied(f"Requests from pages of other sites are refused (Sec-Fetch-Site: {fetch_site[:20]}).")
    if origin is not None and _authority(origin) != host.lower():
        raise PermissionDenied("Requests from pages of other sites are refused (the Origin is not this server).")


def _authority(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets that hold no IPv6 address
        return ""


@dataclass
class RateLimiter:
    """Calls a minute, counted in fixed minutes, in this process. Memory: one counter per key of the current minute."""

    #: Gateway processes that share each limit.
    shared_by: int = 1
    _minute: int = -1
    _counts: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def take(self, endpoint: str, limits: Iterable[RateLimit], principal: Principal, now_s: float) -> None:
        """Count one call. Raises TooManyRequests, and counts nothing, when a limit is met."""
        minute = int(now_s // _MINUTE_S)
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        keys = []
        for limit in limits:
            if limit.principal and limit.principal != principal.name:
                continue
            who = "" if limit.key == "endpoint" else principal.name
            key = (endpoint, limit.key + limit.principal, who)
            allowed = max(1, limit.calls // self.shared_by) if limit.calls else 0
            if self._counts.get(key, 0) >= allowed:
                wait_s = int(_MINUTE_S - now_s % _MINUTE_S) + 1
                whose = "the endpoint" if not who else f"'{who}'"
                raise TooManyRequests(
                    f"The rate limit of {limit.calls} calls a minute of {whose} is used up.", retry_after_s=wait_s
                )
            keys.append(key)
        for key in keys:
            self._counts[key] = self._counts.get(key, 0) + 1


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a gzip or deflate body decompressed, of at most `max_bytes`.

    Stops at the limit: 16 kB can stand for 16 MB. Raises BadRequest, PayloadTooLarge.
    """
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadRequest(f"Content-Encoding '{encoding[:40]}' is not supported; send gzip, or none.")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadRequest(f"The body is not valid {encoding}.") from error
    if len(plain) > max_bytes:
        raise too_large(max_bytes, "after decompression")
    if not inflater.eof:
        raise BadRequest(f"The {encoding} body is cut short.")
    if inflater.unused_data:
        raise BadRequest(f"The {encoding} body has something after its end.")
    return plain


def too_large(max_bytes: int, where: str = "") -> PayloadTooLarge:
    """Return the error for a body over the limit."""
    return PayloadTooLarge(
        f"The body is larger than {max_bytes / 2**20:g} MiB{' ' + where if where else ''}. "
        "Send fewer rows in one request, or raise --max-body-mb."
    )
