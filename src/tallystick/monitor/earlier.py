"""Rows beside the judged ones: those before them, for since when a cause is there, and those of one sender."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from tallystick.errors import DamagedTable, NotFound
from tallystick.monitor.examples import short_time
from tallystick.monitor.explain import Explained, is_claim, look_again, span_of_affected
from tallystick.monitor.keyed import with_keys
from tallystick.monitor.lookback import Began, Seen, TooManyRows, began
from tallystick.monitor.moments import MOMENT_ROWS, READ_ROWS, Moment
from tallystick.monitor.rows import newest_before, read_rows, sampled_between, spread_over
from tallystick.monitor.sent import Sent, sent_rows
from tallystick.parity.conclude import FEWEST_ROWS
from tallystick.parity.history import History
from tallystick.parity.reference import Reference
from tallystick.parity.verdict import Verdict
from tallystick.records.damage import telling_damage
from tallystick.records.reading import InferenceTable

#: Rows of one look.
LOOK_ROWS = 200
#: How far back rows are looked for.
BACK = timedelta(days=30)


@dataclass(frozen=True)
class Earlier:
    """The rows of one served entity before those that were judged, read as these were."""

    table: InferenceTable
    entity_id: str
    reference: Reference
    hidden: Collection[str] = ()
    key: tuple[str, ...] = ()
    history: History | None = None

    def dated(self, explained: Explained, now: datetime, is_over: Callable[[], bool]) -> Explained:
        """Return a verdict with the time since when its cause is there. Reads and judges some hundred rows a look.

        What cannot be read costs no verdict: then the cause may be older than the rows that were judged, as where
        `is_over` leaves no time to look.
        """
        verdict = explained.verdict
        if not (is_claim(verdict) and verdict.features) or explained.first_at is None:
            return explained
        known = _moment(verdict.first_seen) or explained.first_at
        try:
            with telling_damage(self.table.location):
                found = began(known, now, now - BACK, lambda until: self._seen(verdict, until, now - 2 * BACK), is_over)
        except (NotFound, DamagedTable):
            found = Began(known, is_older=True)
        at = short_time(str(pd.Timestamp(found.at)))
        return replace(explained, verdict=msgspec.structs.replace(verdict, first_seen=at, is_older=found.is_older))

    def _seen(self, verdict: Verdict, until: datetime, since: datetime) -> Seen | None:
        sent = self._before(verdict, until, since)
        if sent is None or not len(sent):
            return None
        times = pd.to_datetime(sent.rows.times, utc=True).sort_values()
        first, middle = (times.iloc[place].to_pydatetime() for place in (0, len(times) // 2))
        if len(sent) < FEWEST_ROWS:
            return Seen(middle, is_few=True)
        examined = look_again(self.reference, sent)
        same = examined.verdict
        if not is_claim(same) or same.kind != verdict.kind or not set(same.features) & set(verdict.features):
            return Seen(middle)
        is_step = any(each.question == "onset" for each in same.evidence)
        return Seen(middle, _moment(same.first_seen) or span_of_affected(sent.rows, examined)[0] or first, is_step)

    def newest_of(self, sender: tuple[str, str], until: datetime, since: datetime) -> Sent | None:
        """Return the newest rows of a sender, as many as one look takes or can be found; None where there are none."""
        try:
            chosen = newest_before(self.table, self.entity_id, until, since, LOOK_ROWS, sender)
        except TooManyRows as found:
            chosen = found.found
        except NotFound:
            return None
        return self._chosen(chosen, until, sender)

    def of_moment(self, moment: Moment, since: datetime) -> Sent | None:
        """Return a fair sample of the rows of a moment that came at `since` or later; None where there are none."""
        begin = max(moment.begin, since)
        if begin >= moment.end:
            return None
        try:
            here = self if moment.held is None else replace(self, table=self.table.holding(moment.held))
            chosen = sampled_between(here.table, self.entity_id, begin, moment.end, MOMENT_ROWS, READ_ROWS)
        except NotFound:
            return None
        sent = here._chosen(chosen, moment.end, None)
        return None if sent is None else sent.taken(spread_over(sent.rows.request_ids, MOMENT_ROWS))

    def _before(self, verdict: Verdict, until: datetime, since: datetime) -> Sent | None:
        segment = verdict.segment
        sender = (str(segment["column"]), str(segment["value"])) if "column" in segment else None
        chosen = newest_before(self.table, self.entity_id, until, since, LOOK_ROWS, sender)
        return self._chosen(chosen, until, sender)

    def _chosen(self, chosen: pd.DataFrame | None, until: datetime, sender: tuple[str, str] | None) -> Sent | None:
        """Return rows of requests that were chosen, as they were sent."""
        if chosen is None or chosen.empty:
            return None
        names = self.reference.names
        begin = chosen["at"].min().to_pydatetime()
        where = ds.field("databricks_request_id").isin(chosen["id"].tolist())
        rows = read_rows(self.table, self.entity_id, names, since=begin, until=until, where=where, feedback=False)
        sent = sent_rows(self.table, self.entity_id, rows, self.reference, begin, self.hidden, until)
        sent, _ = with_keys(sent, self.key, names, self.history)
        if sender is None or sender[0] not in sent.rows.segments:
            return sent
        return sent.taken(np.flatnonzero((sent.rows.segments[sender[0]] == sender[1]).to_numpy()))


def _moment(text: str) -> datetime | None:
    return None if not text else pd.Timestamp(text).to_pydatetime().astimezone(UTC)
