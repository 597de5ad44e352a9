"""Live rows as they were sent: values before the signature changed them, also of requests that were refused for them.

What is not plain JSON is compared as the model saw it, by the decoded view. A column that a body does not have is told
apart from one that is null, and columns that the endpoint's settings keep out of the record are nobody's fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from tallystick.errors import NotFound
from tallystick.monitor.bodies import column_of, is_nested, looks_hashed, plain, rows_of
from tallystick.monitor.refusals import Refusals, told_of
from tallystick.monitor.rows import NOBODY, REFUSED_STATUS, LiveRows, client_of, is_judged_of, segments_of
from tallystick.parity.columns import Mask
from tallystick.parity.parameters import count
from tallystick.parity.reference import Reference
from tallystick.printable import listed_names
from tallystick.records import schema
from tallystick.records.decode import is_json
from tallystick.records.reading import InferenceTable

#: Rows of refused requests that are judged at most, and of one of them: a broken client must not hide all others.
MAX_REFUSED_ROWS, MAX_REQUEST_ROWS = 1000, 200
#: Bytes of bodies that are read for one diagnosis, the newest ones; rows of others are taken as the model saw them.
MAX_BYTES = 64 << 20
#: Columns that training did not have, of all rows, and clients whose refusals are counted.
MAX_EXTRA, MAX_CLIENTS = 64, 1000

_META = ("databricks_request_id", "request_time", "status_code", "user_agent", "error_code", "request_bytes")
_BODY = (
    "databricks_request_id",
    "request_time",
    "request",
    "response",
    "request_content_type",
    "logging_error_codes",
    "user_agent",
    "requester",
    "usage_context",
)


@dataclass(frozen=True)
class Sent:
    """Rows as they were sent, oldest first; each mask has an entry for each row."""

    rows: LiveRows
    is_refused: Mask
    #: Column of training -> rows whose body did not have it; column that training did not have -> rows with it.
    absent: Mapping[str, Mask] = field(default_factory=dict)
    extra: Mapping[str, Mask] = field(default_factory=dict)
    #: Columns of training that are dropped or hashed before they are recorded.
    withheld: tuple[str, ...] = ()
    refusals: Refusals = field(default_factory=Refusals)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, picked: Any) -> Sent:
        """Return some of the rows, by positions or mask."""
        return replace(
            self,
            rows=self.rows.taken(picked),
            is_refused=self.is_refused[picked],
            absent={name: mask[picked] for name, mask in self.absent.items()},
            extra={name: mask[picked] for name, mask in self.extra.items()},
        )


def as_decoded(rows: LiveRows) -> Sent:
    """Return rows as the model saw them, in this form."""
    return Sent(rows, np.zeros(len(rows), dtype=bool))


def sent_rows(
    table: InferenceTable,
    entity_id: str,
    rows: LiveRows,
    reference: Reference,
    since: datetime,
    hidden: Collection[str] = (),
    until: datetime | None = None,
) -> Sent:
    """Return the given rows of the decoded view as they were sent, with those of refused requests from `since` on.

    With `until`, of refused requests before then. `hidden` are columns of the input that are dropped or hashed before
    they are recorded. Reads two times: sizes and times of what there is, then the bodies of what is chosen.
    """
    if all(name.isdecimal() for name in reference.names):
        # Columns that are counted, not named: requests may name them as they like.
        return as_decoded(rows)
    try:
        chosen = _choose(table, entity_id, set(rows.request_ids), since, until)
        bodies = {each["databricks_request_id"]: each for each in _bodies(table, entity_id, chosen, since, until)}
    except NotFound:
        return as_decoded(rows)
    made = _Made(reference, rows)
    unread = made.add_answered(bodies)
    refused = [each for each in bodies.values() if each["databricks_request_id"] in chosen.refused]
    lost = made.add_refused(sorted(refused, key=lambda each: each["request_time"], reverse=True))
    refusals = _refusals(chosen, refused, reference.names)
    notes = []
    if unread:
        were = count(unread, "row", "was", "were")
        notes.append(f"{were} compared as the model saw them: no JSON of named columns was sent")
    if lost:
        notes.append(f"bodies of {count(lost, 'refused request')} could not be read, or were not recorded")
    return made.sent(refusals, notes, {*hidden})


# -- what is read ------------------------------------------------------------------------------------------


@dataclass
class _Chosen:
    """Requests whose bodies are read."""

    answered: set[str]
    refused: set[str]
    requests: Counter[str]
    refusals: Counter[str]

    def ids(self) -> list[str]:
        return sorted(self.answered | self.refused)


def _choose(
    table: InferenceTable, entity_id: str, wanted: set[str], since: datetime, until: datetime | None
) -> _Chosen:
    """Return the newest requests, of those wanted and of those refused, within the bounds of rows and bytes."""
    requests: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    answered, refused = pd.DataFrame(), pd.DataFrame()
    for batch in table.invocations(columns=_META, since=since, until=until, where=is_judged_of(entity_id)):
        frame = batch.to_pandas()
        agents = frame["user_agent"].fillna("")
        frame["client"] = agents.map({agent: client_of(agent) for agent in agents.unique()})
        is_refused = (frame["status_code"] == REFUSED_STATUS).to_numpy()
        for counter, some in ((requests, frame), (refusals, frame[is_refused])):
            counted = some["client"].value_counts().to_dict()
            counter.update({key: n for key, n in counted.items() if key in counter or len(counter) < MAX_CLIENTS})
        named = frame["databricks_request_id"].isin(wanted).to_numpy()
        answered = pd.concat([answered, frame[named & ~is_refused]])
        refused = pd.concat([refused, frame[is_refused]])
        if len(refused) > MAX_REFUSED_ROWS:
            refused = refused.nlargest(MAX_REFUSED_ROWS, "request_time")
    half = MAX_BYTES // 2
    return _Chosen(_within(answered, half), _within(refused, half), requests, refusals)


def _within(frame: pd.DataFrame, most_bytes: int) -> set[str]:
    if frame.empty:
        return set()
    newest = frame.sort_values("request_time", ascending=False)
    fits = newest["request_bytes"].fillna(0).cumsum() <= most_bytes
    return set(newest.loc[fits, "databricks_request_id"])


def _bodies(
    table: InferenceTable, entity_id: str, chosen: _Chosen, since: datetime, until: datetime | None
) -> Iterator[dict[str, Any]]:
    ids = chosen.ids()
    if not ids:
        return
    where = is_judged_of(entity_id) & ds.field("databricks_request_id").isin(ids)
    for batch in table.invocations(columns=_BODY, since=since, until=until, where=where):
        yield from batch.to_pylist()


def _read_body(entry: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    body, codes = entry["request"], entry["logging_error_codes"] or ()
    if body is None or schema.REQUEST_BASE64 in codes or not is_json(entry["request_content_type"]):
        return None
    try:
        return rows_of(body.encode())
    except UnicodeEncodeError:
        return None


def _refusals(chosen: _Chosen, refused: Sequence[Mapping[str, Any]], names: Collection[str]) -> Refusals:
    words: dict[str, str] = {}
    columns: dict[str, tuple[str, ...]] = {}
    for entry in sorted(refused, key=lambda each: each["request_time"], reverse=True):
        client = client_of(entry["user_agent"])
        if client in words:
            continue
        told, about = told_of(entry["response"], names)
        if told:
            words[client], columns[client] = told, about
    return Refusals(dict(chosen.requests), dict(chosen.refusals), words, columns)


# -- what is made of it ------------------------------------------------------------------------------------


class _Made:
    """Rows on their way from bodies to columns."""

    def __init__(self, reference: Reference, rows: LiveRows) -> None:
        self._reference, self._rows = reference, rows
        #: Of each answered row, then of each refused one; None: as the model saw it.
        self._raw: list[dict[str, Any] | None] = []
        #: Of each refused row: its invocation.
        self._entries: list[dict[str, Any]] = []

    def add_answered(self, bodies: Mapping[str, dict[str, Any]]) -> int:
        """Take the answered rows; return how many are known as the model saw them only."""
        parsed: dict[str, list[dict[str, Any]] | None] = {}
        numbers = self._rows.numbers
        places = np.zeros(len(self._rows), np.int64) if numbers is None else np.asarray(numbers, dtype=np.int64)
        for request_id, place in zip(self._rows.request_ids.tolist(), places.tolist(), strict=True):
            if request_id not in parsed:
                entry = bodies.get(request_id)
                parsed[request_id] = None if entry is None else _read_body(entry)
            found = parsed[request_id]
            self._raw.append(found[place] if found is not None and place < len(found) else None)
        return sum(each is None for each in self._raw)

    def add_refused(self, newest: Sequence[dict[str, Any]]) -> int:
        """Take rows of refused requests, within bounds; return how many requests could not be read."""
        lost = 0
        for entry in newest:
            room = min(MAX_REQUEST_ROWS, MAX_REFUSED_ROWS - len(self._entries))
            if room <= 0:
                break
            found = _read_body(entry)
            if not found:
                lost += 1
                continue
            self._raw += found[:room]
            self._entries += [entry] * len(found[:room])
        return lost

    def sent(self, refusals: Refusals, notes: Sequence[str], hidden: set[str]) -> Sent:
        """Return all rows by time."""
        answered, total = len(self._rows), len(self._raw)
        columns: dict[str, pd.Series[Any]] = {}
        absent, withheld = {}, {name for name in self._reference.names if name in hidden}
        #: Column -> rows with a list or an object in it, which others have no part in.
        odd: dict[str, Mask] = {}
        for name in self._reference.names:
            absent[name] = np.array([raw is not None and name not in raw for raw in self._raw], dtype=bool)
            values, nested = self._values(name)
            if self._is_of_lists(name):
                # What refused requests had is not compared.
                columns[name] = self._as_seen(name)
                withheld |= {name} if total > answered else set()
            elif name in withheld or looks_hashed(values, self._reference.column(name)):
                withheld.add(name)
            else:
                columns[name] = column_of(values, self._reference.column(name))
                odd |= {name: nested} if nested.any() else {}
        extra = {}
        for name in self._extra_names(hidden):
            extra[name] = np.array([raw is not None and name in raw for raw in self._raw], dtype=bool)
            columns[name] = column_of(self._values(name)[0], None)
        frame = pd.DataFrame({name: column for name, column in columns.items() if name not in withheld})
        rows = _joined(self._rows, self._entries, frame)
        is_refused = np.arange(total) >= answered
        made = Sent(rows, is_refused, absent, extra, tuple(sorted(withheld)), refusals, tuple(notes))
        if odd:
            made = _without_odd(made, odd)
        return made.taken(np.argsort(made.rows.times.to_numpy(), kind="stable")) if self._entries else made

    def _extra_names(self, hidden: set[str]) -> list[str]:
        counted: Counter[str] = Counter()
        known = {*self._reference.names, *hidden}
        for raw in self._raw:
            counted.update(name for name in raw or () if name not in known)
        return [name for name, _ in counted.most_common(MAX_EXTRA)]

    def _is_of_lists(self, name: str) -> bool:
        """Whether answered rows have lists or objects in a column, as a rule; refused ones have no say in it."""
        seen = self._seen(name)
        answered = [each if raw is None else raw.get(name) for raw, each in zip(self._raw, seen, strict=False)]
        known = [value for value in answered if value is not None]
        return is_nested(seen) or 2 * sum(is_nested([value]) for value in known) > len(known)

    def _seen(self, name: str) -> list[Any]:
        """Return what the model saw in a column, of the answered rows."""
        return self._rows.frame[name].tolist() if name in self._rows.frame else [None] * len(self._rows)

    def _values(self, name: str) -> tuple[list[Any], Mask]:
        """Return a column's values, each as it was sent where that is known, and which are lists or objects.

        These are given as None: they make no column one of lists.
        """
        seen = self._seen(name)
        known = name in self._reference.names
        profile = self._reference.column(name) if known else None
        is_date = profile is not None and profile.dtype.startswith("datetime")
        values = []
        for place, raw in enumerate(self._raw):
            value = None if raw is None else raw.get(name)
            is_seen = raw is None or (is_date and isinstance(value, str))
            if is_seen and place < len(seen):
                # How a text was read as a date is what the model saw: day and month may have changed places there.
                value = plain(seen[place])
            values.append(value)
        nested = np.array([is_nested([value]) for value in values], dtype=bool)
        return [None if is_odd else value for value, is_odd in zip(values, nested.tolist(), strict=True)], nested

    def _as_seen(self, name: str) -> pd.Series[Any]:
        return pd.Series([*self._seen(name), *[None] * len(self._entries)], dtype=object)


def _without_odd(sent: Sent, odd: Mapping[str, Mask]) -> Sent:
    """Return the rows without those that have a list or an object where others have a value, and say so."""
    out = np.logical_or.reduce(list(odd.values()))
    names = sorted(odd, key=lambda name: -int(odd[name].sum()))
    rows = count(int(out.sum()), "row")
    note = f"{rows} not compared, for lists or objects in {listed_names(names, 20)}"
    return replace(sent.taken(~out), notes=(*sent.notes, note))


def _joined(rows: LiveRows, entries: Sequence[dict[str, Any]], frame: pd.DataFrame) -> LiveRows:
    """Return answered rows and then refused ones, of which nobody knows a prediction or label."""
    frame = frame.reset_index(drop=True) if len(frame.columns) else pd.DataFrame(index=range(len(rows) + len(entries)))
    if not entries:
        return replace(rows, frame=frame)
    more = segments_of(
        pd.Series([entry["user_agent"] for entry in entries], dtype=object),
        pd.Series([entry["requester"] for entry in entries], dtype=object),
        pa.chunked_array([[entry["usage_context"] for entry in entries]], schema.CONTEXT),
    )
    times = pd.to_datetime(pd.Series([entry["request_time"] for entry in entries]), utc=True)
    ids = pd.Series([entry["databricks_request_id"] for entry in entries], dtype=object)
    unknown = np.full(len(entries), None, dtype=object)
    labels = None if rows.labels is None else np.concatenate([np.asarray(rows.labels, dtype=object), unknown])
    if not len(rows):
        return LiveRows(frame, more, times, ids)
    answered = rows.predictions
    if answered is not None and answered.dtype.kind in "biuf":
        answered = np.concatenate([answered.astype(np.float64), np.full(len(entries), np.nan)])
    elif answered is not None:
        # Classes that are texts.
        answered = np.concatenate([np.asarray(answered, dtype=object), unknown])
    return replace(
        rows,
        frame=frame,
        segments=pd.concat([rows.segments, more], ignore_index=True).fillna(NOBODY),
        times=pd.concat([pd.to_datetime(rows.times, utc=True), times], ignore_index=True),
        request_ids=pd.concat([rows.request_ids, ids], ignore_index=True),
        predictions=answered,
        labels=labels,
        ledger=None if rows.ledger is None else np.concatenate([rows.ledger, unknown]),
        numbers=None,
    )


def span_of(rows: LiveRows, since: timedelta | None, recent: timedelta, is_full: bool, now: datetime) -> datetime:
    """Return from when on refused requests are looked at: as far back as the answered ones, or as was asked for."""
    first: datetime | None = rows.times.iloc[0].to_pydatetime() if len(rows) else None
    if is_full and first is not None:
        return first
    begin = now - (since if since is not None else recent)
    return begin if first is None else min(begin, first.astimezone(UTC))
