"""Lines of feedback, and the ids that they may match."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.dataset as pads

from tallystick.records.schema import FEEDBACK_SCHEMA

DAY = date(2026, 1, 2)


def lines(*given: tuple[str | None, str | None, int, str]) -> pa.Table:
    """Return lines of feedback: id of the server, id of the client, row, name."""
    rows = [
        {
            "feedback_id": f"f{number}",
            "feedback_date": DAY,
            "feedback_time": datetime(2026, 1, 2, tzinfo=UTC),
            "endpoint_name": "churn",
            "databricks_request_id": server,
            "client_request_id": client,
            "row": row,
            "name": name,
            "value": 1.0,
            "text": None,
            "requester": "ann",
        }
        for number, (server, client, row, name) in enumerate(given)
    ]
    return pa.Table.from_pylist(rows, FEEDBACK_SCHEMA)


def payload(*ids: tuple[str, str | None]) -> pads.Dataset:
    server, client = [one for one, _ in ids], [other for _, other in ids]
    columns = {
        "databricks_request_id": pa.array(server, pa.string()),
        "client_request_id": pa.array(client, pa.string()),
    }
    return pads.dataset(pa.table(columns))
