"""Reads feedback: labels, outcomes and other named values for rows of earlier invocations. Pure.

JSON (one line, or ``{"feedback": [...]}``) or CSV with a header. A request is taken whole or not at all, and every
problem is told with its place. Whether there is an invocation of that id is not asked here: its row may be on its way
to the table still; the recorder counts it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tallystick.control.fields import as_integer, shown
from tallystick.errors import BadRequest, InvalidInput, InvalidParameter, Violation
from tallystick.journal.format import Feedback

#: Values of one request; a line with two values counts as two.
MAX_VALUES = 100_000
MAX_TEXT_CHARS, MAX_ID_CHARS = 1024, 256
_MAX_ROW = 10**9
#: Integers up to here are exact as the number that the table holds.
_MAX_EXACT = 2**53

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
#: As JSON writes numbers, so that '007' stays the text that it is.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SERVER_IDS = ("request_id", "databricks_request_id")
_CLIENT_ID = "client_request_id"
_PLAIN = ("label", "outcome")
_KEYS = frozenset((*_SERVER_IDS, _CLIENT_ID, "row", *_PLAIN, "values", "name", "value"))
#: Columns of a CSV file that are no values; with an underscore as the decoded view spells them.
_CSV_IDS = {
    "request_id": True,
    "databricks_request_id": True,
    "_request_id": True,
    "client_request_id": False,
    "_client_request_id": False,
}
_CSV_ROWS = ("row", "_row")


class Line(NamedTuple):
    """One named value for one row of one invocation."""

    #: The id that the server gave; when it is None, `client_request_id` is the one that the client sent.
    request_id: str | None
    client_request_id: str | None
    row: int
    name: str
    #: A number, or a text that is none.
    value: float | str


def parse_feedback(content_type: str, body: bytes, max_values: int = MAX_VALUES) -> list[Line]:
    """Return the lines of a request, in order.

    Everything but ``text/csv`` is read as JSON. Raises BadRequest when it is neither, InvalidInput with every
    problem, and InvalidParameter when there are too many values, or none.
    """
    problems: list[Violation] = []
    kind = content_type.partition(";")[0].strip().lower()
    reader = _csv_lines if kind in ("text/csv", "application/csv") else _json_lines
    lines: list[Line] = []
    for line in reader(body, problems):
        lines.append(line)
        if len(lines) > max_values:
            raise InvalidParameter(f"More than {max_values} values in one request; send them in several.")
    if problems:
        raise InvalidInput("The feedback is not acceptable, and none of it is stored", problems)
    if not lines:
        raise InvalidParameter("There is no value in this feedback.")
    return lines


def parse_cell(text: str) -> float | str:
    """Return what a cell of a CSV file means: a number where it is one exactly, true as 1, false as 0, else the text.

    >>> parse_cell("0.5"), parse_cell("True"), parse_cell("007"), parse_cell("churned")
    (0.5, 1.0, '007', 'churned')
    """
    if text.lower() in ("true", "false"):
        return 1.0 if text.lower() == "true" else 0.0
    # A long number without fraction is a name for something; as a number it would lose digits.
    if not _NUMBER.fullmatch(text) or (text.lstrip("-").isdecimal() and abs(int(text[:20])) > _MAX_EXACT):
        return text
    number = float(text)
    return number if math.isfinite(number) else text


def records_of(
    lines: Sequence[Line],
    *,
    endpoint_name: str,
    table: str,
    payload_table: str,
    time_us: int,
    batch: str,
    by: str,
    retention_days: int = 0,
) -> list[Feedback]:
    """Return the records of one request; their ids, `batch` and a number, sort as the lines do."""
    return [
        Feedback(
            feedback_id=f"{batch}-{number:06d}",
            endpoint_name=endpoint_name,
            table=table,
            time_us=time_us,
            request_id=line.request_id,
            client_request_id=line.client_request_id,
            row=line.row,
            name=line.name,
            value=None if isinstance(line.value, str) else line.value,
            text=line.value if isinstance(line.value, str) else None,
            requester=by,
            payload_table=payload_table,
            retention_days=retention_days,
        )
        for number, line in enumerate(lines)
    ]


# -- JSON ----------------------------------------------------------------------------------------------------


def _json_lines(body: bytes, problems: list[Violation]) -> Iterator[Line]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}. CSV is sent as 'Content-Type: text/csv'.") from error
    except RecursionError as error:
        raise BadRequest("The body is not acceptable JSON: it is nested too deeply.") from error
    if not isinstance(found, Mapping):
        raise BadRequest(f'Expected a JSON object, a line or {{"feedback": [line, ...]}}, got {shown(found)}.')
    if "feedback" not in found:
        yield from _json_line(found, "", problems)
        return
    items = found["feedback"]
    if not isinstance(items, list) or len(found) > 1:
        raise BadRequest('A batch is {"feedback": [line, ...]}, and nothing beside it.')
    for number, item in enumerate(items):
        where = f"feedback[{number}]"
        if isinstance(item, Mapping):
            yield from _json_line(item, where, problems)
        else:
            problems.append(Violation(where, f"expected an object, got {shown(item)}"))


def _json_line(item: Mapping[str, Any], where: str, problems: list[Violation]) -> Iterator[Line]:
    def wrong(key: str, problem: str) -> None:
        problems.append(Violation(f"{where}.{key}" if where and key else where or key or "the line", problem))

    for key in item.keys() - _KEYS:
        wrong(str(key)[:64], "is unknown; values of other names go into 'values'")
    given = {key: item[key] for key in (*_SERVER_IDS, _CLIENT_ID) if item.get(key) is not None}
    for key, value in given.items():
        if problem := _id_problem(value):
            wrong(key, problem)
    if len({str(given[key]) for key in _SERVER_IDS if key in given}) > 1:
        wrong("request_id", "differs from databricks_request_id; give one of the two")
    if not given:
        wrong("request_id", "is missing; give it or client_request_id")
    row = 0 if item.get("row") is None else as_integer(item["row"])
    if row is None or not 0 <= row <= _MAX_ROW:
        wrong("row", f"expected an integer from 0, got {shown(item['row'])}")
    values = list(_json_values(item, wrong))
    if not values:
        wrong("", "has no value; give label, outcome, values, or name and value")
    names = [name for name, _ in values]
    for name in {name for name in names if names.count(name) > 1}:
        wrong(name, "is given twice")
    by_server = next((given[key] for key in _SERVER_IDS if key in given), None)
    for name, value in values:
        checked = _value(value)
        if isinstance(checked, _Problem):
            wrong(name, checked.text)
        else:
            yield Line(by_server, None if by_server is not None else given.get(_CLIENT_ID), row or 0, name, checked)


def _json_values(item: Mapping[str, Any], wrong: Callable[[str, str], None]) -> Iterator[tuple[str, Any]]:
    for name in _PLAIN:
        if item.get(name) is not None:
            yield name, item[name]
    values = item.get("values") or {}
    if not isinstance(values, Mapping):
        wrong("values", f"expected an object, got {shown(values)}")
        values = {}
    pairs = [(str(name), value) for name, value in values.items() if value is not None]
    if (item.get("name") is None) != (item.get("value") is None):
        wrong("name", "and 'value' go together")
    elif item.get("name") is not None:
        pairs.append((str(item["name"]), item["value"]))
    for name, value in pairs:
        if problem := _name_problem(name):
            wrong("values", problem)
        else:
            yield name, value


class _Problem(NamedTuple):
    text: str


def _value(value: object) -> float | str | _Problem:
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARS:
            return _Problem(f"is longer than {MAX_TEXT_CHARS} characters")
        return value
    if not isinstance(value, bool | int | float):
        return _Problem(f"expected a number, true, false or a string, got {shown(value)}")
    if isinstance(value, int) and abs(value) > _MAX_EXACT:
        return _Problem("is beyond what a number holds exactly; send it as a string")
    return float(value)


def _id_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"expected a string, got {shown(value)}"
    if not 0 < len(value) <= MAX_ID_CHARS:
        return f"expected 1 to {MAX_ID_CHARS} characters, got {len(value)}"
    return None


def _name_problem(name: str) -> str | None:
    if _NAME.fullmatch(name):
        return None
    return f"'{name[:40]}' is not a name: a letter or '_', then up to 63 letters, digits, '_', '-' and '.'"


# -- CSV -----------------------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    """Which column is what; the first of each kind that has something in it counts."""

    server_ids: list[int]
    client_ids: list[int]
    rows: list[int]
    values: list[tuple[int, str]]
    width: int


def _csv_lines(body: bytes, problems: list[Violation]) -> Iterator[Line]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The file is not UTF-8 text (byte {error.start}).") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise BadRequest("The file is empty; its first line names the columns.")
        columns = _columns([name.strip() for name in header])
        # Where a record begins: quoted cells may hold line ends.
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                yield from _csv_line(cells, columns, f"line {start}", problems)
            start = reader.line_num + 1
    except csv.Error as error:
        raise BadRequest(f"The file is not CSV, at line {reader.line_num}: {error}.") from error


def _columns(header: list[str]) -> _Columns:
    problems = []
    server_ids = [index for index, name in enumerate(header) if _CSV_IDS.get(name) is True]
    client_ids = [index for index, name in enumerate(header) if _CSV_IDS.get(name) is False]
    rows = [index for index, name in enumerate(header) if name in _CSV_ROWS]
    known = {*server_ids, *client_ids, *rows}
    values = [(index, name) for index, name in enumerate(header) if index not in known]
    if not (server_ids or client_ids):
        problems.append(Violation("line 1", f"no column of ids; give one of {', '.join(_CSV_IDS)}"))
    if not values:
        problems.append(Violation("line 1", "no column of values, such as 'label'"))
    problems += [Violation("line 1", problem) for _, name in values if (problem := _name_problem(name))]
    repeated = sorted({name for name in header if header.count(name) > 1})
    problems += [Violation("line 1", f"the column '{name[:40]}' is there twice") for name in repeated]
    if problems:
        raise InvalidInput("The feedback is not acceptable, and none of it is stored", problems)
    return _Columns(server_ids, client_ids, rows, values, len(header))


def _csv_line(cells: list[str], columns: _Columns, where: str, problems: list[Violation]) -> Iterator[Line]:
    if len(cells) != columns.width:
        problems.append(Violation(where, f"{len(cells)} cells, and the header has {columns.width}"))
        return
    given = [(name, cell) for index, name in columns.values if (cell := cells[index].strip())]
    if not given:
        # No label yet.
        return
    request_id = _first(cells, columns.server_ids)
    client_id = None if request_id else _first(cells, columns.client_ids)
    if problem := _id_problem(request_id or client_id or ""):
        problems.append(Violation(where, "has no id" if not (request_id or client_id) else f"id: {problem}"))
    asked = _first(cells, columns.rows)
    row = as_integer(asked) if asked else 0
    if row is None or not 0 <= row <= _MAX_ROW:
        problems.append(Violation(where, f"row: expected an integer from 0, got {shown(asked)}"))
    for name, cell in given:
        if len(cell) > MAX_TEXT_CHARS:
            problems.append(Violation(where, f"{name}: is longer than {MAX_TEXT_CHARS} characters"))
        else:
            yield Line(request_id, client_id, row or 0, name, parse_cell(cell))


def _first(cells: list[str], indexes: Iterable[int]) -> str | None:
    return next((cell for index in indexes if (cell := cells[index].strip())), None)
