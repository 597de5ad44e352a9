"""Columns that an endpoint does not want on record: left out of bodies, or replaced by a keyed hash.

Fails closed. A body is given back only when it was read whole, in a form that is known, and no name to be redacted
occurs anywhere but where a column's name stands; of every other body nothing is given back. What is not redacted
keeps its order and meaning. Names are matched, not values: the same value under another name is not found.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.errors import InternalError
from tallystick.protocol.codec import CSV, JSON, parse_content_type
from tallystick.records.redact_json import JsonBody
from tallystick.records.redact_names import Names, fold
from tallystick.records.redact_tables import redact_arrow, redact_csv
from tallystick.records.schema import INFERENCE_FIELDS

KEY_FILE = "hash.key"
_KEY_BYTES = 32
#: Hex digits of a hash that are kept: 64 bits tell apart billions of values.
_HASH_DIGITS = 16
#: A name with this prefix is a column of the model's input, else of the inference table.
INPUT_PREFIX = "request."

_TABLE_COLUMNS = frozenset(entry.name for entry in INFERENCE_FIELDS)
#: Columns of the table that repeat a top-level key of the body.
_BODY_KEYS = frozenset({"client_request_id", "usage_context"})


@dataclass(frozen=True, slots=True)
class Redaction:
    """What to leave out and what to hash, for one endpoint config. Make it with `compile_redaction`."""

    #: Columns of the inference table.
    dropped_columns: frozenset[str]
    hashed_columns: frozenset[str]
    #: Columns of the model's input.
    dropped_inputs: frozenset[str]
    hashed_inputs: frozenset[str]
    #: False when a name is neither of these; then no body is given back, as nobody knows what was meant.
    is_understood: bool
    key: bytes = field(repr=False)
    names: Names = field(repr=False, compare=False)

    @property
    def inputs(self) -> frozenset[str]:
        """Columns of the input that are dropped or hashed."""
        return self.dropped_inputs | self.hashed_inputs

    @property
    def body_keys(self) -> frozenset[str]:
        """Top-level keys of a JSON body that are dropped or hashed, because columns of the table repeat them."""
        return _BODY_KEYS & (self.dropped_columns | self.hashed_columns)

    @property
    def keeps_error_answers(self) -> bool:
        """Whether bodies of answers with status 400 and above may be recorded; they repeat pieces of a request."""
        return self.is_understood and not self.inputs and not self.body_keys

    def column(self, name: str, value: Any) -> Any:
        """Return the value of a column of the inference table as it may be recorded; None where it is dropped.

        A text is hashed whole, of the pairs of a map each value. What is neither has no hash, and is left out.
        """
        if value is None or name in self.dropped_columns:
            return None
        if name not in self.hashed_columns:
            return value
        if isinstance(value, str):
            return self.hash(value)
        if name == "usage_context":
            return [(key, None if item is None else self.hash(item)) for key, item in value]
        return None

    def body(self, body: bytes, content_type: str) -> bytes | None:
        """Return a request's body without the values to be redacted; None when that cannot be done for certain.

        An empty `content_type` means JSON. Never raises. O(body).
        """
        if not self.is_understood:
            return None
        if not self.inputs and not self.body_keys:
            return body
        try:
            media = parse_content_type(content_type) if content_type else JSON
            if media == JSON:
                return JsonBody(self).redact(body)
            if not self.inputs:
                return body
            return redact_csv(self, body) if media == CSV else redact_arrow(self, body)
        except Exception:  # noqa: BLE001  whatever a body does to a parser, it is not recorded, and ends no recorder
            return None

    def hash(self, value: Any) -> str:
        """Return the pseudonym of a JSON value: keyed, so that guesses cannot be tried out without the key.

        HMAC-SHA256 (RFC 2104) of the canonical JSON text, cut to 16 hex digits: keys sorted, no spaces, whole numbers
        without a fraction, so that 42 and 42.0 are one value.
        """
        text = json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        # Half of a surrogate pair is a value like any other.
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def compile_redaction(drop: Iterable[str], hash: Iterable[str], key: bytes) -> Redaction:
    """Return what the names of a `Context` ask for. A column that is in both is dropped. Pure.

    >>> redaction = compile_redaction(["request.ssn"], [], b"k" * 32)
    >>> redaction.body(b'{"dataframe_records": [{"ssn": "123-45", "age": 7}]}', "application/json")
    b'{"dataframe_records":[{"age":7}]}'
    """
    dropped = frozenset(drop)
    hashed = frozenset(hash) - dropped
    parts = dropped & _TABLE_COLUMNS, hashed & _TABLE_COLUMNS, _input_names(dropped), _input_names(hashed)
    is_understood = sum(map(len, parts)) == len(dropped) + len(hashed)
    body_keys = _BODY_KEYS & (parts[0] | parts[1])
    return Redaction(*parts, is_understood, key, Names(parts[2] | parts[3] | body_keys))


def _input_names(names: Iterable[str]) -> frozenset[str]:
    inputs = (name.removeprefix(INPUT_PREFIX) for name in names if name.startswith(INPUT_PREFIX))
    return frozenset(name for name in inputs if fold(name))


def _canonical(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    return value


def load_hash_key(data_dir: Path) -> bytes:
    """Return the key of all hashes of a server: 32 random bytes in the data directory, made at the first call.

    Of two processes that make it, both use the first one's. Raises InternalError when the file cannot be read or
    holds something else: with another key, equal values would no longer have equal hashes.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise InternalError(f"The key file {KEY_FILE} of the data directory cannot be read or made.") from error
    if len(key) != _KEY_BYTES:
        raise InternalError(f"The key file {KEY_FILE} of the data directory is damaged; restore it from a backup.")
    return key


def _make_key(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=KEY_FILE, dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would replace.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
