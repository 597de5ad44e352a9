"""Live rows of one served entity as a diagnosis takes them: inputs, who sent them, when, what was answered, labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from tallystick.monitor.lookback import TooManyRows
from tallystick.parity.columns import Mask
from tallystick.parity.profile import Ints
from tallystick.printable import printable
from tallystick.records.reading import InferenceTable
from tallystick.records.view import PREDICTION

#: Columns of the inference table that are read beside the decoded view.
BESIDE = ("usage_context", "coercions")
#: What counts as traffic: not copies of it, and not replays.
TRAFFIC = ("live", "pinned")
LABEL = "label"
#: Status of a request that was refused for its input.
REFUSED_STATUS = 400
#: Names of segments' columns.
CLIENT, REQUESTER, USAGE = "client", "requester", "usage_context."
#: In the place of a value that there is none of.
NOBODY = "(none)"
MAX_USAGE_KEYS = 8
#: How far back rows before a moment are looked for at first, and how much further each time that gave too few.
_FIRST_SPAN, _SPAN_GROWTH = timedelta(seconds=10), 8
_SHORTEST_SPAN = timedelta(milliseconds=10)
#: Requests of one span that are read at most.
_MOST_REQUESTS = 100_000

#: A map as Arrow has it, so that its keys can be counted.
_ENTRIES = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
#: A product up to what ends a token (RFC 9110, 5.6.2 and 10.1.5). Bytes beyond ASCII belong to no token, but end none:
#: a name that is cut at them is another client's.
_PRODUCT = re.compile(r"""([^ \t"(),/:;<=>?@\[\\\]{}]+)(?:/v?([0-9]+)(?:\.([0-9]+))?)?""")
_LONGEST_NAME, _LONGEST_VERSION = 64, 8


@dataclass(frozen=True)
class LiveRows:
    """Rows of one served entity, oldest first; everything has as many entries as `frame` has rows."""

    frame: pd.DataFrame
    segments: pd.DataFrame
    times: pd.Series[Any]
    request_ids: pd.Series[Any]
    predictions: Any = None
    labels: Any = None
    #: What was changed to fit the signature: entries of column, kind and count at the first row of each request.
    ledger: Any = None
    #: Place of each row in its request, from 0.
    numbers: Any = None
    #: Which rows were refused, where some were.
    refused: Mask | None = None
    #: Whom each row is about: a frame of its key's columns; and the source of the features. Neither is ever shown.
    keys: Any = None
    history: Any = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def begins(self) -> Mask:
        """Which rows are the first of their request."""
        if self.numbers is not None:
            return np.asarray(self.numbers == 0)
        return np.asarray(~self.request_ids.duplicated())

    @property
    def coercions(self) -> dict[str, dict[str, int]]:
        """Column -> kind -> values that were changed to fit the signature, in all of these requests."""
        found: dict[str, dict[str, int]] = {}
        for entries in self.ledger if self.ledger is not None else ():
            for entry in entries or ():
                kinds = found.setdefault(entry["column"], {})
                kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + entry["count"]
        return found

    def taken(self, picked: Any) -> LiveRows:
        """Return some of the rows, by positions."""
        return LiveRows(
            self.frame.iloc[picked].reset_index(drop=True),
            self.segments.iloc[picked].reset_index(drop=True),
            self.times.iloc[picked].reset_index(drop=True),
            self.request_ids.iloc[picked].reset_index(drop=True),
            None if self.predictions is None else self.predictions[picked],
            None if self.labels is None else self.labels[picked],
            None if self.ledger is None else self.ledger[picked],
            None if self.numbers is None else self.numbers[picked],
            None if self.refused is None else self.refused[picked],
            None if self.keys is None else self.keys.iloc[picked].reset_index(drop=True),
            self.history,
        )


@dataclass(frozen=True)
class Senders:
    """Who sent some requests, and when; an entry for each."""

    segments: pd.DataFrame
    times: pd.Series[Any]

    def __len__(self) -> int:
        return len(self.times)

    @staticmethod
    def joined(parts: Sequence[Senders]) -> Senders:
        """Return the senders of all parts."""
        if len(parts) == 1:
            return parts[0]
        segments = pd.concat([each.segments for each in parts], ignore_index=True).fillna(NOBODY)
        times = pd.concat([pd.to_datetime(each.times, utc=True) for each in parts], ignore_index=True)
        return Senders(segments, times)


def client_of(user_agent: str | None) -> str:
    """Return product and version of a client, as far as versions make a difference; safe to print, and short.

    `user_agent` has a character for each byte of the header, as it is recorded; names are often in UTF-8.

    >>> client_of("ios/4.2.17 (iPhone; build 3)"), client_of("python-httpx/0.28.1"), client_of(None)
    ('ios/4.2', 'python-httpx/0.28', '(none)')
    >>> client_of("my%20app/2"), client_of("böd/1.0".encode().decode("latin-1"))
    ('my%20app/2', 'böd/1.0')
    """
    found = _PRODUCT.match(user_agent or "")
    if found is None:
        return NOBODY if not user_agent else "(other)"
    name, *numbers = found.groups()
    # What is in another encoding, or was read already, stays as it is.
    with suppress(UnicodeError):
        name = name.encode("latin-1").decode("utf-8")
    version = ".".join(number[:_LONGEST_VERSION] for number in numbers if number is not None)
    return printable(name)[:_LONGEST_NAME] + (f"/{version}" if version else "")


def is_traffic() -> ds.Expression:
    """Return the condition on rows that count."""
    return ds.field("arm").isin(list(TRAFFIC))


def is_judged_of(entity_id: str) -> ds.Expression:
    """Return the condition on a served entity's requests that are judged: answered, or refused for their input."""
    is_judged = ds.field("status_code").isin([200, REFUSED_STATUS])
    return is_traffic() & is_judged & (ds.field("served_entity_id") == entity_id)


def hashes_of(request_ids: Any) -> NDArray[np.uint64]:
    """Return a hash of each id of a request, the same in all processes: those with the least are a fair sample."""
    ids = np.asarray(request_ids, dtype=object)
    return np.asarray(pd.util.hash_array(ids, categorize=False), dtype=np.uint64)


def newest_rows(
    table: InferenceTable, entity_id: str, names: Iterable[str], since: datetime | None, limit: int
) -> LiveRows:
    """Return the newest rows, at most `limit`, of a served entity, with what feedback says of them.

    Raises NotFound when there is no table.
    """
    earliest = _earliest(table, entity_id, since, limit)
    if earliest is None:
        return no_live_rows(names)
    rows = read_rows(table, entity_id, names, since=earliest)
    return rows.taken(slice(-limit, None)) if len(rows) > limit else rows


def read_rows(
    table: InferenceTable,
    entity_id: str,
    names: Iterable[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    where: ds.Expression | None = None,
    feedback: bool = True,
) -> LiveRows:
    """Return rows of a served entity by time, from `since` until before `until`.

    All of them are in memory at once: limit them by what is asked for.
    """
    wanted = is_traffic() if where is None else is_traffic() & where
    reader = table.decoded(
        since=since, until=until, served_entity=entity_id, feedback=feedback, where=wanted, beside=BESIDE
    )
    own = dict(table.own_names)
    decoded = reader.read_all()
    return live_rows(decoded.sort_by(own["_request_time"]), own, set(names))


def newest_before(
    table: InferenceTable,
    entity_id: str,
    until: datetime,
    since: datetime,
    limit: int,
    sender: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """Return the newest requests before `until`, refused ones too, of about `limit` rows: their `id` and `at`.

    `sender` is a column of segments and a value. Looks back no further than `since`, and no further than it takes: a
    busy endpoint has millions of rows in a day. Raises NotFound when there is no table, and TooManyRows when the sender
    is too rare among all others, with those that were found.
    """
    # Spans that had too few rows are shorter than `few`, and those with too many to read longer than `many`.
    few, many, is_crowded = timedelta(0), until - since, False
    span = min(_FIRST_SPAN, many)
    known: pd.DataFrame | None = None
    while True:
        found = _requests_between(table, entity_id, until - span, until, limit, sender)
        known = known if found is None else found
        if found is not None and (span >= many or int(found["rows"].sum()) >= limit):
            newest = found.sort_values("at", ascending=False)
            return newest[newest["rows"].cumsum() - newest["rows"] < limit]
        if found is None:
            many, is_crowded = span, True
        else:
            few = span
        if is_crowded and many - few < (_SHORTEST_SPAN if sender is None else _FIRST_SPAN):
            raise TooManyRows(known)
        span = few + (many - few) / 2 if is_crowded else min(_SPAN_GROWTH * span, many)


def _requests_between(
    table: InferenceTable, entity_id: str, since: datetime, until: datetime, limit: int, sender: tuple[str, str] | None
) -> pd.DataFrame | None:
    """Return the newest `limit` requests of a time, or of a sender then; None where there are too many to read."""
    kept, count = pd.DataFrame({"id": [], "at": [], "rows": []}), 0
    more = [] if sender is None else ["user_agent", "requester", "usage_context"]
    for read, found in _judged_requests(table, entity_id, since, until, more):
        count += len(found)
        if count > _MOST_REQUESTS:
            return None
        if sender is not None:
            segments = _segments(read, "user_agent", "requester", "usage_context")
            is_his = segments[sender[0]] == sender[1] if sender[0] in segments else np.zeros(len(found), dtype=bool)
            found = found[np.asarray(is_his, dtype=bool)]
        if len(found):
            # A request has a row at least.
            kept = pd.concat([kept, found]).nlargest(limit, "at") if len(kept) else found.nlargest(limit, "at")
    return kept


def sampled_between(
    table: InferenceTable, entity_id: str, since: datetime, until: datetime, requests: int, rows: int
) -> pd.DataFrame:
    """Return a fair sample of the requests of a time, refused ones too: their `id` and `at`.

    As many as `requests`, or as have about so many rows together.

    They are those with the least hashes of their ids, so that it is the same sample each time, and memory is bounded
    (a bottom-k sketch; Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches"). Raises NotFound when there is
    no table.
    """
    kept = pd.DataFrame({"id": [], "at": [], "rows": [], "hash": []})
    for _, found in _judged_requests(table, entity_id, since, until):
        found["hash"] = hashes_of(found["id"])
        kept = pd.concat([kept, found] if len(kept) else [found]).nsmallest(requests, "hash")
    return kept[kept["rows"].cumsum() - kept["rows"] < rows].drop(columns="hash")


def spread_over(request_ids: pd.Series[Any], limit: int) -> Ints:
    """Return the places of up to `limit` rows, as many of each request as there is room for, in their order."""
    shuffled = np.random.default_rng(0).permutation(len(request_ids))
    codes = pd.Series(pd.factorize(request_ids.to_numpy()[shuffled])[0])
    turn = codes.groupby(codes).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:limit]])


def _judged_requests(
    table: InferenceTable, entity_id: str, since: datetime, until: datetime, more: Sequence[str] = ()
) -> Iterator[tuple[pa.Table, pd.DataFrame]]:
    """Yield the requests of a time, answered or refused for their input, with columns in `more`; and what they are."""
    columns = ["databricks_request_id", "request_time", "request_rows", *more]
    for batch in table.invocations(columns=columns, since=since, until=until, where=is_judged_of(entity_id)):
        read = pa.Table.from_batches([batch])
        found = {
            "id": read.column("databricks_request_id").to_pandas(),
            "at": read.column("request_time").to_pandas(),
            "rows": read.column("request_rows").fill_null(1).to_pandas(),
        }
        yield read, pd.DataFrame(found)


def senders_of(read: pa.Table) -> Senders:
    """Return who sent requests and when, of rows of the inference table."""
    return Senders(_segments(read, "user_agent", "requester", "usage_context"), read.column("request_time").to_pandas())


def _earliest(table: InferenceTable, entity_id: str, since: datetime | None, limit: int) -> datetime | None:
    """Return the time of the oldest of the newest invocations that together have `limit` rows."""
    is_wanted = is_traffic() & (ds.field("status_code") == 200) & (ds.field("served_entity_id") == entity_id)
    times, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for batch in table.invocations(columns=["request_time", "request_rows"], since=since, where=is_wanted):
        new = batch.column(0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        rows = batch.column(1).fill_null(1).to_numpy(zero_copy_only=False)
        times, counts = np.concatenate([times, new]), np.concatenate([counts, rows])
        if len(times) > limit:
            kept = np.argpartition(times, len(times) - limit)[len(times) - limit :]
            times, counts = times[kept], counts[kept]
    if not len(times):
        return None
    order = np.argsort(times)[::-1]
    enough = int(np.searchsorted(np.cumsum(counts[order]), limit))
    first = int(times[order[min(enough, len(order) - 1)]])
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first)


def no_live_rows(names: Iterable[str]) -> LiveRows:
    """Return no rows, with these columns."""
    nothing: pd.Series[Any] = pd.Series([], dtype=object)
    return LiveRows(pd.DataFrame(dict.fromkeys(names, nothing)), pd.DataFrame(), nothing, nothing)


def live_rows(decoded: pa.Table, own: Mapping[str, str], names: set[str]) -> LiveRows:
    """Return rows of the decoded view, of which our own columns are called `own`; `names` are training's columns."""
    ours = set(own.values())
    inputs = [name for name in decoded.column_names if name not in ours]
    # A column of training that has the name of one of ours is an input all the same: the view calls ours otherwise.
    frame = decoded.select(inputs).to_pandas()
    frame = _without_empty(frame, names)
    requests = decoded.column(own["_request_id"]).to_pandas()
    return LiveRows(
        frame,
        _segments(decoded, *(own[name] for name in ("_user_agent", "_requester", "_usage_context"))),
        decoded.column(own["_request_time"]).to_pandas(),
        requests,
        _plain(decoded, own.get(PREDICTION)),
        _plain(decoded, own.get(LABEL)),
        _ledger(decoded, own),
        decoded.column(own["_row"]).to_numpy(),
    )


def _without_empty(frame: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Leave out columns that no row sent, unless training had them: the signature names them, not the client."""
    kept = [name for name in frame.columns if name in names or bool(frame[name].notna().any())]
    return frame[kept]


def _plain(decoded: pa.Table, name: str | None) -> Any:
    """Return a column of single values as an array; None where there is none, or they are no single values."""
    if name is None or pa.types.is_nested(decoded.schema.field(name).type):
        return None
    values = decoded.column(name)
    return values.to_pandas().to_numpy() if values.null_count < len(values) else None


def _segments(read: pa.Table, agent: str, requester: str, context: str) -> pd.DataFrame:
    agents, requesters = (read.column(name).to_pandas() for name in (agent, requester))
    return segments_of(agents, requesters, read.column(context))


def segments_of(agents: pd.Series[Any], requesters: pd.Series[Any], contexts: pa.ChunkedArray) -> pd.DataFrame:
    """Return who sent each row: a column for each way to tell senders apart. `contexts` are maps of texts."""
    # An endpoint may keep who asked off its records.
    agents = agents.fillna("")
    known = {agent: client_of(agent) for agent in agents.unique()}
    found = {CLIENT: agents.map(known) if len(agents) else agents, REQUESTER: requesters.fillna(NOBODY)}
    entries = pc.list_flatten(contexts.cast(_ENTRIES))
    keys = pc.value_counts(pc.struct_field(entries, "key")).to_pylist()
    for each in sorted(keys, key=lambda each: (-each["counts"], each["values"]))[:MAX_USAGE_KEYS]:
        values = pc.map_lookup(contexts, each["values"], "first")
        found[USAGE + each["values"]] = pc.fill_null(values, NOBODY).to_pandas()
    return pd.DataFrame(found).reset_index(drop=True)


def _ledger(decoded: pa.Table, own: Mapping[str, str]) -> Any:
    entries = decoded.column(own["_coercions"])
    # The view repeats them at each row of a request. Most requests have none.
    has_some = pc.greater(pc.fill_null(pc.list_value_length(entries), 0), 0)
    is_told = pc.and_(pc.equal(decoded.column(own["_row"]), 0), has_some)
    ledger = np.full(len(decoded), None, dtype=object)
    for place, told in zip(np.flatnonzero(is_told.to_numpy()), entries.filter(is_told).to_pylist(), strict=True):
        ledger[place] = told
    return ledger
