"""Where an endpoint's inference table is: asked of the server, or looked for in the local data directory.

`tallystick.table` is this module's `table`. Reading itself is `records.reading`, which talks to no server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.discovery import Server, default_data_dir, find_server
from tallystick.errors import TallystickError

if TYPE_CHECKING:
    from tallystick.records.reading import InferenceTable

_TABLES = "tables"


@dataclass(frozen=True, slots=True)
class Place:
    """An inference table: the name to call it by, and its folder or URL."""

    name: str
    location: str


def table(
    name: str,
    *,
    storage_options: Mapping[str, str] | None = None,
    flush: bool = True,
    host: str = "",
    token: str = "",
    data_dir: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> InferenceTable:
    """Return the inference table of an endpoint, or the one at a path or URL, for reading.

    A server that is there is asked where the endpoint's table is, and with `flush` to write what it has recorded so
    far; without one the local data directory is looked at. Nothing is read yet: a table that does not exist is told by
    the first read.
    """
    from tallystick.records.reading import InferenceTable

    place = find_table(
        name,
        environ=os.environ if environ is None else environ,
        flush=flush,
        host=host,
        token=token,
        data_dir=None if data_dir is None else Path(data_dir),
    )
    return InferenceTable(place.location, name=place.name, storage_options=storage_options)


def find_table(
    name: str,
    *,
    environ: Mapping[str, str],
    flush: bool = True,
    host: str = "",
    token: str = "",
    data_dir: Path | None = None,
) -> Place:
    """Return where a table is. Asks the server for an endpoint's name only; a path or URL is taken as it is."""
    if is_location(name):
        location = name if "://" in name else str(Path(name).expanduser().absolute())
        return Place("", location)
    # Here, as the schema brings Arrow and NumPy with it, and every command and the server itself import this module.
    from tallystick.records.schema import PAYLOAD_SUFFIX

    fallback = (data_dir or default_data_dir(environ)) / _TABLES / f"{name}{PAYLOAD_SUFFIX}"
    try:
        server = find_server(environ, host=host, token=token, data_dir=data_dir)
        return Place(name, _ask(server, name, flush) or str(fallback))
    except TallystickError:
        # What was asked for by address is not looked for elsewhere.
        if host:
            raise
        return Place(name, str(fallback))


def is_location(name: str) -> bool:
    """Whether this is a path or URL rather than an endpoint's name.

    >>> is_location("churn"), is_location("./churn_payload"), is_location("s3://bucket/churn_payload")
    (False, True, True)
    """
    return "/" in name or os.sep in name


def _ask(server: Server, name: str, flush: bool) -> str:
    from tallystick.client import Client

    with Client(server) as client:
        location = str(client.inference_table(name).get("location", ""))
        if flush:
            # Rows that are a second late are better than no answer.
            with contextlib.suppress(TallystickError):
                client.flush_inference_table(name)
    return location
