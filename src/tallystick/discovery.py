"""Where is the server, and with which token? Asked by the commands, the MLflow plugin and the demo.

A running server leaves its address in ``<data_dir>/server.json``, beside the admin token. A token is never sent to
another address than the one it belongs to.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tallystick.errors import InvalidParameter, TallystickError, Unauthenticated
from tallystick.private_file import replace_private

SERVER_FILE = "server.json"
ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105  a file's name
#: What our tokens begin with; others are for another server, such as a Databricks workspace.
TOKEN_PREFIX = "tsk_"  # noqa: S105

_START = "Start one with 'tallystick serve', or say where it is: --host, TALLYSTICK_HOST or DATABRICKS_HOST."


class ServerUnreachable(TallystickError):
    """No server is known here, or none answers at its address."""

    error_code, status, retryable = "TEMPORARILY_UNAVAILABLE", 503, True


class BadAddress(InvalidParameter):
    """What was given as a server's address cannot be one."""


@dataclass(frozen=True, slots=True)
class Server:
    """An address with the token to use there."""

    url: str
    token: str


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return TALLYSTICK_DATA_DIR, or ``~/.tallystick``."""
    return Path(environ.get("TALLYSTICK_DATA_DIR") or "~/.tallystick").expanduser().absolute()


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reached by nobody else.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def with_scheme(host: str) -> str:
    """Return a host as a URL: https where no scheme is given, http on loopback.

    >>> with_scheme("127.0.0.1:8080"), with_scheme("serving.example.org/"), with_scheme("http://10.0.0.5:8080")
    ('http://127.0.0.1:8080', 'https://serving.example.org', 'http://10.0.0.5:8080')
    """
    host = host.strip().rstrip("/")
    if "://" in host:
        return host
    name = urlsplit(f"//{host}").hostname or ""
    return f"{'http' if is_loopback(name) else 'https'}://{host}"


def find_server(environ: Mapping[str, str], *, host: str = "", token: str = "", data_dir: Path | None = None) -> Server:
    """Return the server to talk to: as given, or by the environment, or the one of the data directory.

    The environment is TALLYSTICK_HOST and TALLYSTICK_TOKEN, else DATABRICKS_HOST and DATABRICKS_TOKEN; the latter
    are left alone when the token is not one of ours, as they then mean a Databricks workspace. Raises
    ServerUnreachable when no server is known, BadAddress when what is given is none, Unauthenticated when there is no
    token for it.
    """
    folder = data_dir or default_data_dir(environ)
    local_url = read_server_file(folder)
    env_host, env_token = _from_environment(environ)
    if data_dir is not None and not host:
        # A data directory that was asked for by name is the server that was asked for.
        env_host = env_token = ""
    url = _address(host or env_host) if host or env_host else local_url
    if url is None:
        raise ServerUnreachable(f"No server is running on {folder}{_skipped(environ)}. {_START}")
    if token:
        return Server(url, token)
    if env_token and (not env_host or _origin(_address(env_host)) == _origin(url)):
        return Server(url, env_token)
    if local_url is not None and _origin(local_url) == _origin(url) and (found := read_admin_token(folder)):
        return Server(url, found)
    raise Unauthenticated(
        f"No token for {url}. Set TALLYSTICK_TOKEN or DATABRICKS_TOKEN; 'tallystick token create' makes one, "
        "on the machine of the server."
    )


def _address(host: str) -> str:
    """Return the URL of a host. Raises BadAddress."""
    try:
        url = with_scheme(host)
        parts = urlsplit(url)
        # Reading the port checks it.
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_one = is_one and not parts.netloc.endswith(":")
    except ValueError:
        is_one = False
    if not is_one or any(character.isspace() for character in url):
        raise BadAddress(
            f"'{host}' is no address of a server. Give --host, TALLYSTICK_HOST or DATABRICKS_HOST one such as "
            "127.0.0.1:8080 or https://serving.example.org."
        )
    return url


def _from_environment(environ: Mapping[str, str]) -> tuple[str, str]:
    for prefix in ("TALLYSTICK", "DATABRICKS"):
        host, token = environ.get(f"{prefix}_HOST", ""), environ.get(f"{prefix}_TOKEN", "")
        if (host or token) and (not token or token.startswith(TOKEN_PREFIX)):
            return host, token
    return "", ""


def _skipped(environ: Mapping[str, str]) -> str:
    token = environ.get("DATABRICKS_TOKEN", "")
    if not environ.get("DATABRICKS_HOST") or not token or token.startswith(TOKEN_PREFIX):
        return ""
    return " (DATABRICKS_HOST is left alone: its DATABRICKS_TOKEN is not one of Tallystick's, which begin with tsk_)"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    # All names of this machine's loopback are one place.
    return parts.scheme, "localhost" if is_loopback(host) else host, parts.port


def write_server_file(data_dir: Path, url: str) -> None:
    """Leave the address for the commands on this machine."""
    replace_private(data_dir / SERVER_FILE, json.dumps({"url": url, "pid": os.getpid()}).encode())


def remove_server_file(data_dir: Path) -> None:
    """Take the address away: the server ends."""
    (data_dir / SERVER_FILE).unlink(missing_ok=True)


def read_server_file(data_dir: Path, pid: int | None = None) -> str | None:
    """Return the address of the server on this data directory, or of this process only.

    None when none runs, or it is another user's.
    """
    try:
        found = json.loads((data_dir / SERVER_FILE).read_text())
        url = found["url"] if pid is None or found["pid"] == pid else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


def read_admin_token(data_dir: Path) -> str | None:
    """Return the admin token of the server on this data directory, if this user may read it."""
    try:
        return (data_dir / ADMIN_TOKEN_FILE).read_text().strip() or None
    except OSError:
        return None
