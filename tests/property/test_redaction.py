"""No value that is to be redacted survives in a body that is given back, whatever the body looks like.

Two claims, for generated bodies of every form, with the values under the names that are redacted:

* well-formed bodies come back, without the values and with everything else as it was;
* bodies that are bent (escapes, keys twice, names nested, in other places or spelled otherwise, JSON in texts, other
  separators, headers further down) come back without the values or not at all.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tallystick.protocol.codec import ARROW_STREAM, CSV, JSON
from tallystick.records.redact import compile_redaction

SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
#: Parts of every secret, which stand nowhere else.
MARK, NUMBER = "s3cr3t", 987654321
DROPPED, HASHED = "ssn", "größe id"
REDACTION = compile_redaction([f"request.{DROPPED}"], [f"request.{HASHED}"], b"k" * 32)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
secrets = st.one_of(
    st.tuples(texts, texts).map(lambda around: f"{around[0]}{MARK}{around[1]}"),
    st.just(NUMBER),
    st.just(f"{NUMBER}"),
)
deep_secrets = st.recursive(
    secrets,
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(texts, inner, min_size=1),
    max_leaves=3,
)
plain = st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(-9, 9), texts)
ROWS = st.lists(
    st.fixed_dictionaries(
        {DROPPED: secrets, HASHED: secrets}, optional=dict.fromkeys(("age", "ssn2", "größe", "x:y"), plain)
    ),
    min_size=1,
    max_size=4,
)


def is_told(out: bytes, content_type: str) -> bool:
    """Whether a secret is in the body as it is, or as it is read."""
    seen = [out.decode("utf-8", "replace")]
    if content_type == JSON:
        seen.append(json.dumps(json.loads(out), ensure_ascii=False))
    elif content_type == ARROW_STREAM:
        seen.append(str(pa.ipc.open_stream(out).read_all().to_pydict()))
        seen.append(out.decode("utf-16", "replace"))
        if NUMBER.to_bytes(8, "little") in out:
            return True
    seen += [re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text) for text in seen]
    return any(MARK in text or str(NUMBER) in text for text in seen)


def pseudonym(value: Any) -> Any:
    return None if value is None else REDACTION.hash(value)


def expected(row: dict[str, Any]) -> dict[str, Any]:
    return {name: pseudonym(value) if name == HASHED else value for name, value in row.items() if name != DROPPED}


@given(rows=ROWS, form=st.sampled_from(["split", "records", "columns", "instances"]), escapes=st.booleans())
@SETTINGS
def test_well_formed_json_comes_back_without_the_values_and_otherwise_whole(rows, form, escapes):
    names = list(dict.fromkeys(name for row in rows for name in row))
    full = [{name: row.get(name) for name in names} for row in rows]
    beside = {"params": {"a": [1.5, "x"]}, "unknown": {"b": None}}
    if form == "split":
        body: dict[str, Any] = {"dataframe_split": {"columns": names, "data": [[*row.values()] for row in full]}}
    elif form == "columns":
        body = {"inputs": {name: [row[name] for row in full] for name in names}}
    else:
        body = {"dataframe_records" if form == "records" else "instances": full}
    whole = [expected(row) for row in full]
    raw = json.dumps(body | beside, ensure_ascii=escapes).encode()
    # Text that looks like JSON with the name in it is withheld, rightly.
    out = REDACTION.body(raw, JSON)
    assert out is not None
    assert not is_told(out, JSON)
    found = json.loads(out)
    assert found["params"] == beside["params"]
    assert [*found] == [*body, *beside]
    value = found[next(iter(body))]
    if form == "split":
        value = [dict(zip(value["columns"], row, strict=True)) for row in value["data"]]
    elif form == "columns":
        value = [{name: value[name][n] for name in value} for n in range(len(full))]
    assert value == whole


csv_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
# NUL is in no CSV that pandas reads alike.
csv_secrets = secrets.map(lambda value: value.replace("\0", "") if isinstance(value, str) else value)


@given(
    rows=st.lists(st.tuples(csv_secrets, csv_texts, csv_secrets, csv_texts), max_size=4),
    order=st.permutations(range(4)),
    end=st.sampled_from(["\n", "\r\n"]),
)
@SETTINGS
def test_well_formed_csv_comes_back_without_the_values_and_otherwise_whole(rows, order, end):
    table = [[line[n] for n in order] for line in [(DROPPED, "age", HASHED, "a, b"), *rows]]
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    out = REDACTION.body(text.getvalue().encode(), CSV)
    assert out is not None
    assert not is_told(out, CSV)
    names, *found = csv.reader(io.StringIO(out.decode(), newline=""))
    assert set(names) == {"age", "a, b", HASHED}
    for before, after in zip(table[1:], found, strict=True):
        row = dict(zip(table[0], map(str, before), strict=True))
        assert dict(zip(names, after, strict=True)) == {
            "age": row["age"],
            "a, b": row["a, b"],
            HASHED: pseudonym(int(row[HASHED]) if row[HASHED] == str(NUMBER) else row[HASHED]),
        }


BENDS = st.sampled_from(
    [
        *("no", "spelled", "twice", "key twice", "nested", "in JSON", "in a list", "beside", "params", "index"),
        *("ragged", "two inputs", "positions", "reversed"),
    ]
)
FORMS = st.sampled_from(["split", "records", "columns", "instances"])


@given(
    rows=st.lists(
        st.fixed_dictionaries({DROPPED: deep_secrets, HASHED: deep_secrets, "age": plain}), min_size=1, max_size=3
    ),
    form=FORMS,
    bend=BENDS,
    name=st.sampled_from([DROPPED, HASHED]),
    spelling=st.sampled_from([str.upper, str.title, " {}".format, "{}\u200b".format, "\ufeff{}".format]),
    secret=deep_secrets,
    ascii_only=st.booleans(),
    data=st.data(),
)
@SETTINGS
def test_no_value_survives_in_json_that_is_bent(rows, form, bend, name, spelling, secret, ascii_only, data):
    # One order of names for all rows, as forms without names in the rows need it.
    order = data.draw(st.permutations([DROPPED, HASHED, "age"]))
    objects = [Pairs((one, row[one]) for one in order) for row in rows]
    inner = Pairs([(name, secret)])
    if bend in ("spelled", "twice", "nested", "in JSON", "in a list"):
        text = dump(inner, ascii_only, data)
        added = {
            "spelled": (spelling(name), secret),
            "twice": (name, secret),
            "nested": ("b", [Pairs([("c", inner)])]),
            "in JSON": ("b", text),
            "in a list": ("b", [f"x{text}"]),
        }[bend]
        place = data.draw(st.integers(0, len(order)))
        for row in objects:
            row.insert(place, added)
    pairs = [("params", Pairs([("t", 0.5)])), input_of(form, objects)]
    if bend in ("key twice", "two inputs"):
        other = form if bend == "key twice" else data.draw(FORMS)
        pairs.append(input_of(other, [Pairs([*inner, ("age", 1)])]))
    elif bend == "reversed":
        pairs.append(("more", [Pairs([("age", 1)])]))
        pairs.reverse()
    elif bend in ("beside", "params"):
        pairs.insert(0, (name, secret) if bend == "beside" else ("params", inner))
    elif bend in ("index", "ragged", "positions"):
        data_rows = [[secret, 1], [secret] if bend == "ragged" else [secret, 2]]
        split = [("columns", [name, "age"]), ("data", data_rows)]
        if bend == "index":
            split.append(("index", [inner, inner]))
        pairs = [("inputs", data_rows) if bend == "positions" else ("dataframe_split", Pairs(split))]
    out = REDACTION.body(dump(Pairs(pairs), ascii_only, data).encode(), JSON)
    event(f"{bend}: withheld" if out is None else f"{bend}: given back")
    assert out is None or not is_told(out, JSON)
    if bend in ("no", "reversed"):
        assert out is not None


def input_of(form: str, objects: list[Any]) -> tuple[str, Any]:
    """Return an input of this form, with its key; names and values as they are, also where a name is there twice."""
    names = [name for name, _ in objects[0]] if objects else []
    match form:
        case "split":
            return "dataframe_split", Pairs([("columns", names), ("data", [[v for _, v in row] for row in objects])])
        case "columns":
            return "inputs", Pairs([(name, [row[n][1] for row in objects]) for n, name in enumerate(names)])
        case "records":
            return "dataframe_records", objects
    return "instances", objects


class Pairs(list):
    """Keys and values of an object, which may have a key twice."""


def dump(value: Any, ascii_only: bool, data: Any) -> str:
    """Return JSON in which the first letter of some texts is escaped that need not be."""
    if isinstance(value, Pairs):
        items = (f"{dump(key, ascii_only, data)}: {dump(item, ascii_only, data)}" for key, item in value)
        return "{" + ", ".join(items) + "}"
    if isinstance(value, dict):
        return dump(Pairs(value.items()), ascii_only, data)
    if isinstance(value, list):
        return "[" + ", ".join(dump(item, ascii_only, data) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=ascii_only)
    if isinstance(value, str) and value[:1].isascii() and value[:1].isalnum() and data.draw(st.booleans()):
        return f'"\\u{ord(value[0]):04x}{text[2:]}'
    return text


@given(
    lines=st.lists(st.sampled_from(["a title", " ", "", '"a, b"', "#"]), max_size=2),
    names=st.lists(st.sampled_from([DROPPED, "SSN", " ssn", "age", HASHED, "b"]), min_size=1, max_size=3),
    separator=st.sampled_from([",", ",", ";", "\t", "|"]),
    rows=st.integers(0, 3),
    quotes=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    data=st.data(),
)
@SETTINGS
def test_no_value_survives_in_csv_that_is_bent(lines, names, separator, rows, quotes, end, data):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quotes, escapechar="\\")
    writer.writerow(names)
    for _ in range(rows):
        writer.writerow([f"v{data.draw(plain)}" if name in ("age", "b") else data.draw(secrets) for name in names])
    raw = "".join(line + end for line in lines) + text.getvalue()
    assume("\0" not in raw)
    out = REDACTION.body(raw.encode(), CSV)
    event("withheld" if out is None else "given back")
    assert out is None or not is_told(out, CSV), (raw, out)


@given(
    columns=st.lists(
        st.tuples(
            st.sampled_from([DROPPED, HASHED, "Ssn", "age", "b"]),
            st.sampled_from(["text", "large", "dictionary", "binary", "number", "list", "inner", "map", "json"]),
        ),
        min_size=1,
        max_size=4,
    ),
    rows=st.integers(0, 3),
    compression=st.sampled_from([None, "lz4", "zstd"]),
    data=st.data(),
)
@SETTINGS
def test_no_value_survives_in_arrow(columns, rows, compression, data):
    arrays = []
    for name, form in columns:
        values = [data.draw(secrets.map(str) | st.none()) for _ in range(rows)]
        if name in ("age", "b") and form not in ("inner", "map", "json"):
            values = ["kept"] * rows
        arrays.append(arrow(form, values))
    table = pa.Table.from_arrays(arrays, names=[name for name, _ in columns])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema.with_metadata({"pandas": MARK}), options=options) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    out = REDACTION.body(sink.getvalue().to_pybytes() + MARK.encode(), ARROW_STREAM)
    event("withheld" if out is None else "given back")
    assert out is None or not is_told(out, ARROW_STREAM), table
    names = [name for name, _ in columns]
    is_simple = {form for _, form in columns} <= {"text", "large", "dictionary", "binary", "number"}
    if is_simple and len(set(names)) == len(names) and "Ssn" not in names and set(names) != {DROPPED}:
        assert out is not None
        found = pa.ipc.open_stream(out).read_all()
        assert found.column_names == [name for name in names if name != DROPPED]
        for name in set(found.column_names) - {HASHED}:
            assert found[name].to_pylist() == table[name].to_pylist()
        if HASHED in names:
            as_json = [base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in table[HASHED].to_pylist()]
            assert found[HASHED].to_pylist() == [pseudonym(value) for value in as_json]


def arrow(form: str, values: list[str | None]) -> pa.Array:
    match form:
        case "large":
            return pa.array(values, pa.large_string())
        case "dictionary":
            return pa.array(values, pa.string()).dictionary_encode()
        case "binary":
            return pa.array([value and value.encode() for value in values], pa.binary())
        case "number":
            return pa.array([value and (NUMBER if value != "kept" else 1) for value in values], pa.int64())
        case "list":
            return pa.array([value and [value] for value in values], pa.list_(pa.string()))
        case "inner":
            return pa.array([{DROPPED: value} for value in values], pa.struct([(DROPPED, pa.string())]))
        case "map":
            return pa.array([[(DROPPED, value)] for value in values], pa.map_(pa.string(), pa.string()))
        case "json":
            return pa.array([json.dumps({DROPPED: value}) for value in values], pa.string())
    return pa.array(values, pa.string())
