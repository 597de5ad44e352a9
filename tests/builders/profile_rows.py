"""Live rows of one served entity as the monitor counts them, for tests of sketches and profiles."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa

from tallystick.monitor.counting import count
from tallystick.monitor.entity_watch import EntityWatch
from tallystick.monitor.rows import LiveRows, segments_of
from tallystick.parity import Reference
from tallystick.records import schema

NOON = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)


def live_rows(rows: pd.DataFrame, agents: list[str] | None = None, at: datetime = NOON) -> LiveRows:
    """Rows of one requester, a second apart, the last of them first."""
    given = pd.Series(agents or ["web/1.0"] * len(rows))
    times = pd.Series(pd.to_datetime([at - timedelta(seconds=number) for number in range(len(rows))], utc=True))
    ids = pd.Series([f"r{number}" for number in range(len(rows))])
    contexts = pa.chunked_array([[None] * len(rows)], schema.CONTEXT)
    return LiveRows(rows, segments_of(given, pd.Series(["ann"] * len(rows)), contexts), times, ids)


def watched(trained: Reference, rows: LiveRows, withheld: Collection[str] = ()) -> EntityWatch:
    """What is known of a served entity once these rows were counted."""
    watch = EntityWatch("d", trained)
    count(watch, trained, rows, NOON, withheld=withheld)
    return watch
