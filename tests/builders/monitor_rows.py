"""Rows, references and tables that tests of the monitor share."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tallystick.monitor.counters import Counters
from tallystick.monitor.places import WatchedEndpoint, WatchedEntity
from tallystick.parity import Reference
from tallystick.protocol.monitoring import Replayed, Replaying
from tallystick.records import schema
from tallystick.records.delta import DeltaWriter

ENTITY = "e" * 32


def frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """Three numbers that hang together, and a level."""
    random = np.random.default_rng(seed)
    temp = random.normal(20, 6, rows)
    kind = np.where(temp + random.normal(0, 4, rows) > 20, "warm", np.where(random.random(rows) < 0.3, "ice", "cold"))
    return pd.DataFrame(
        {
            "temp": temp.round(1),
            "hum": (60 - 0.8 * temp + random.normal(0, 5, rows)).round(1),
            "wind": random.gamma(2.0, 3.0, rows).round(2),
            "kind": kind,
        }
    )


@functools.cache
def reference(seed: int = 100) -> Reference:
    """Frozen, so that one serves all tests."""
    return Reference.from_frame(frame(4000, seed))


def same(one: Counters, other: Counters) -> bool:
    """Are these the same counts, up to the order in which floats were summed?"""
    return (
        one.rows == other.rows
        and bool((one.cells == other.cells).all() and (one.contract == other.contract).all())
        and np.allclose(one.fit, other.fit)
    )


def endpoint(tmp_path: Path, digest: str = "d" * 64, **changes: Any) -> WatchedEndpoint:
    """An endpoint with a reference of its model on disk, and a table that does not exist yet."""
    folder = tmp_path / "models" / digest / "parity"
    if not folder.exists():
        reference().save(folder)
    entity = WatchedEntity(ENTITY, "m", "1", digest, folder)
    fields = {
        "id": "i" * 32,
        "name": "churn",
        "table": str(tmp_path / "tables" / "churn_payload"),
        "entities": (entity,),
        "folder": tmp_path / "parity" / ("i" * 32),
    }
    return WatchedEndpoint(**(fields | changes))


class Table:
    """The inference table of an endpoint, written as the recorder does."""

    def __init__(self, place: WatchedEndpoint) -> None:
        self._writer = DeltaWriter(place.table, schema.INFERENCE_SCHEMA, "request_date")
        self._sequence = 0

    def add(self, rows: pd.DataFrame, agents: Any = "web/1.0", *, at: datetime | None = None, **values: Any) -> None:
        """Commit an invocation for each row, the last of them `at`."""
        end = at or datetime.now(UTC)
        found = []
        for number, row in enumerate(rows.to_dict("records")):
            moment = end - timedelta(milliseconds=10 * (len(rows) - number))
            self._sequence += 1
            given = {
                "databricks_request_id": f"r{self._sequence:06d}",
                "request_date": moment.date(),
                "request_time": moment,
                "status_code": 200,
                "request": json.dumps({"dataframe_records": [row]}),
                "response": '{"predictions": [1.0]}',
                "served_entity_id": ENTITY,
                "served_entity_name": "m",
                "arm": "live",
                "requester": "ann",
                "user_agent": agents if isinstance(agents, str) else agents[number],
                "request_rows": 1,
            } | values
            found.append({name: given.get(name) for name in schema.INFERENCE_SCHEMA.names})
        self._writer.append(pa.Table.from_pylist(found, schema=schema.INFERENCE_SCHEMA), {"s": self._sequence})


class Line:
    """Control that replays nothing, or what it is given."""

    def __init__(self, *answers: Replayed) -> None:
        self.answers = list(answers)
        self.asked: list[Replaying] = []

    def ask(
        self, what: Replaying, endpoint: str, served_entity: str, body: bytes = b"", timeout_s: float = 20.0
    ) -> Replayed:
        self.asked.append(what)
        return self.answers.pop(0) if self.answers else Replayed(0, problem="not available")

    def send(self, message: Any) -> bool:
        return True
