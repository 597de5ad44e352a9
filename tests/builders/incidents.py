"""An incident that tests of notices share."""

from __future__ import annotations

from tallystick.monitor.incidents import Incident
from tallystick.protocol.monitoring import IncidentState


def incident() -> Incident:
    return Incident(
        id=7, endpoint="churn", served_entity="m", served_entity_id="e1", state=IncidentState.OPEN,
        opened_at="2026-01-31T14:02:11Z", updated_at="2026-01-31T14:02:11Z", verdict={"kind": "unit"},
        text="CAUSE FOUND", rows=({"sent": {"temp": 2000}},),
    )  # fmt: skip
