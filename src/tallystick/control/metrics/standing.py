"""How recording stands, for the status of the server: the recorder, and the journals that it reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.protocol.routes import JournalView, Recorded


def recording(
    recorded: Recorded | None, age_s: float, journals: Mapping[str, JournalView], *, is_connected: bool
) -> dict[str, Any]:
    """Return the recorder as it last said, `age_s` ago, and every journal, by the process that writes it."""
    return {
        "recorder": None
        if recorded is None
        else {
            "is_connected": is_connected,
            "age_s": round(age_s, 1),
            "lag_s": recorded.lag_s,
            "journal_bytes": recorded.journal_bytes,
            "unread_bytes": recorded.unread_bytes,
            "rows": recorded.rows_total,
            "commits": recorded.commits_total,
            "left_out": recorded.left_out_total,
            "torn_bytes": recorded.torn_bytes_total,
            "damaged_bytes": recorded.damaged_bytes_total,
            "tables": {
                table: {
                    "waiting_rows": status.waiting_rows,
                    "lag_s": status.lag_s,
                    "version": status.version,
                    "problem": status.problem,
                }
                for table, status in recorded.tables.items()
            },
        },
        "journals": {
            process: {
                "bytes": journal.bytes,
                "dropped": dict(journal.dropped),
                "sync_failures": journal.sync_failures,
                "problem": journal.problem,
            }
            for process, journal in journals.items()
        },
    }
