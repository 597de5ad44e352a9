"""Redaction of JSON bodies, in each form that a table has there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tallystick.protocol.codec import INPUT_KEYS
from tallystick.records.redact_names import Withheld

if TYPE_CHECKING:
    from tallystick.records.redact import Redaction

#: Keys with a meaning of their own; a column may have the same name.
_BESIDE = frozenset((*INPUT_KEYS, "params", "client_request_id", "usage_context", "stream", "databricks_options"))
_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_render = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False).encode


class JsonBody:
    """Redacts one body.

    Places where a name is the key of an object are counted, and so are those that were dealt with: when the two
    differ, a name stands where no column is.
    """

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._inputs, self._dropped, self._hashed = redaction.inputs, redaction.dropped_inputs, redaction.hashed_inputs
        self._body_keys = redaction.body_keys
        self._names = redaction.names
        self._seen: set[str] = set()
        #: Names that were met, and how often they were met and dealt with.
        self._met: frozenset[str] = frozenset()
        self._places = self._settled = 0
        self._has_changed = False

    def redact(self, body: bytes) -> bytes:
        """Return the body without what is redacted; as it was where that is nothing. Raises when in doubt."""
        fields = json.loads(body.decode("utf-8"), object_pairs_hook=self._object, parse_constant=_refuse)
        given = [key for key in INPUT_KEYS if key in fields] if type(fields) is dict else []
        if len(given) != 1:
            raise Withheld("not a request")
        self._settled += len(self._met & fields.keys() & _BESIDE)
        if self._inputs:
            fields[given[0]] = self._input(given[0], fields[given[0]])
        for key in self._body_keys & fields.keys():
            self._has_changed = True
            if key in self._redaction.dropped_columns:
                del fields[key]
            else:
                fields[key] = self._hash_context(fields[key]) if key == "usage_context" else self._hash(fields[key])
        if self._places != self._settled:
            raise Withheld("a name where no column is")
        text = _render(fields)
        self._names.check_rendered(text)
        return text.encode("utf-8") if self._has_changed else body

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Make an object, when it has no key twice, and count the names in it."""
        made = dict(pairs)
        if len(made) != len(pairs):
            raise Withheld("a key that stands twice")
        new = made.keys() - self._seen
        if new:
            self._met |= self._names.among(new)
            self._seen |= new
        if self._met:
            self._places += len(self._met & made.keys())
        return made

    def _input(self, key: str, value: Any) -> Any:
        if key == "dataframe_split":
            return self._split(value)
        if type(value) is dict and key != "dataframe_records":
            return self._redact(value, self._hash_column)
        if type(value) is list and all(type(row) is dict for row in value):
            return [self._redact(row, self._hash) for row in value]
        raise Withheld("values without names")

    def _redact(self, row: dict[str, Any], hash_value: Callable[[Any], Any]) -> dict[str, Any]:
        """Return an object of columns without those to be redacted."""
        found = self._inputs & row.keys()
        if not found:
            return row
        self._settled += len(found)
        self._has_changed = True
        kept = {name: value for name, value in row.items() if name not in self._dropped}
        return kept | {name: hash_value(row[name]) for name in found & self._hashed}

    def _split(self, value: Any) -> Any:
        if type(value) is not dict or not value.keys() <= _SPLIT_KEYS:
            raise Withheld("not a split table")
        self._settled += len(self._met & value.keys())
        columns, data = value.get("columns"), value.get("data", [])
        if type(columns) is not list or type(data) is not list or not {type(name) for name in columns} <= {str, int}:
            raise Withheld("a table without names")
        names = [str(name) for name in columns]
        found = self._names.among(names)
        if len(set(names)) != len(names) or not found <= self._inputs:
            raise Withheld("a name that stands twice, or is no column's")
        # A table of one column may have single values for rows.
        is_single = len(names) == 1 and not any(type(row) is list or type(row) is dict for row in data)
        rows = [[row] for row in data] if is_single else data
        if any(type(row) is not list or len(row) != len(names) for row in rows):
            raise Withheld("rows of another length than the header")
        if not found:
            return value
        self._has_changed = True
        kept = [n for n, name in enumerate(names) if name not in self._dropped]
        hashed = {n for n, name in enumerate(names) if name in self._hashed}
        redacted = [[self._hash(row[n]) if n in hashed else row[n] for n in kept] for row in rows]
        changed = {"columns": [columns[n] for n in kept], "data": redacted}
        return value | {key: item for key, item in changed.items() if key in value}

    def _hash(self, value: Any) -> Any:
        """Return the hash of a cell; a missing value stays missing."""
        return None if value is None else self._redaction.hash(value)

    def _hash_column(self, value: Any) -> Any:
        return [self._hash(item) for item in value] if type(value) is list else self._hash(value)

    def _hash_context(self, value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise Withheld("a usage_context that is no object")
        return {name: self._hash(item) for name, item in value.items()}


def _refuse(constant: str) -> None:
    raise Withheld("NaN or Infinity, which is not JSON")
