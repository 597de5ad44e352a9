import base64
import csv
import io
import json
import os
import stat
import threading

import pandas as pd
import pyarrow as pa
import pytest

from tallystick.errors import InternalError
from tallystick.protocol.codec import ARROW_STREAM, CSV, JSON
from tallystick.records.redact import KEY_FILE, compile_redaction, load_hash_key

KEY = bytes(range(32))


def redaction(drop=(), hash=()):
    return compile_redaction(drop, hash, KEY)


def redacted(body, content_type=JSON, drop=("request.ssn",), hash=("request.id",)):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    out = redaction(drop, hash).body(raw, content_type)
    return json.loads(out) if out is not None and content_type == JSON else out


def hashed(value):
    return redaction().hash(value)


def stream(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


# -- hashes ------------------------------------------------------------------------------------------------


def test_a_hash_is_the_keyed_hash_of_the_canonical_json_text():
    import hashlib
    import hmac

    expected = hmac.new(KEY, b'{"a":[1,null],"b":"\xc3\xa9"}', hashlib.sha256).hexdigest()[:16]
    assert hashed({"b": "é", "a": [1.0, None]}) == expected


def test_equal_values_have_one_hash_and_others_another():
    assert hashed(42) == hashed(42.0)
    assert len({hashed(value) for value in [42, "42", 42.5, True, None, [42], {"a": 42}, ""]}) == 8
    assert redaction().hash("x") != compile_redaction([], [], b"k" * 32).hash("x")


def test_half_of_a_surrogate_pair_has_a_hash():
    assert len(hashed("\ud800")) == 16


def test_a_redaction_does_not_show_its_key():
    assert repr(KEY) not in repr(redaction(["requester"]))


# -- columns of the table ----------------------------------------------------------------------------------


def test_columns_are_dropped_hashed_or_left_alone():
    of = redaction(["requester"], ["user_agent"])
    assert of.column("requester", "anna") is None
    assert of.column("user_agent", "curl") == hashed("curl")
    assert of.column("user_agent", None) is None
    assert of.column("route", "champion") == "champion"


def test_of_a_map_each_value_is_hashed_and_what_is_no_text_is_left_out():
    of = redaction(hash=["usage_context", "latency_ms", "ignored_fields"])
    assert of.column("usage_context", [("who", "anna"), ("n", None)]) == [("who", hashed("anna")), ("n", None)]
    assert of.column("latency_ms", 1.5) is None
    assert of.column("ignored_fields", ["a"]) is None
    assert redaction(["latency_ms"]).column("attempt", 2) == 2


def test_a_column_that_is_dropped_and_hashed_is_dropped():
    assert redaction(["requester"], ["requester"]).column("requester", "anna") is None
    assert redacted({"dataframe_records": [{"id": 1}]}, drop=["request.id"]) == {"dataframe_records": [{}]}


def test_bodies_pass_untouched_when_only_other_columns_are_redacted():
    of = redaction(["requester"], ["route"])
    assert of.body(b"anything at all", "text/plain") == b"anything at all"
    assert of.keeps_error_answers


@pytest.mark.parametrize("name", ["ssn", "request.", "request. ", "Request.ssn", ""])
def test_a_name_that_is_no_column_withholds_every_body(name):
    for of in (redaction([name]), redaction([], [name])):
        assert not of.is_understood
        assert of.body(b'{"inputs": {"a": 1}}', JSON) is None
        assert not of.keeps_error_answers


def test_error_answers_are_kept_only_while_bodies_are_whole():
    assert redaction().keeps_error_answers
    assert not redaction(["request.a"]).keeps_error_answers
    assert not redaction([], ["client_request_id"]).keeps_error_answers


# -- JSON --------------------------------------------------------------------------------------------------

FORMS = [
    (
        {"dataframe_split": {"index": [7, 8], "columns": ["a", "ssn", "id"], "data": [[1, "s", 42], [2, "t", None]]}},
        {"dataframe_split": {"index": [7, 8], "columns": ["a", "id"], "data": [[1, hashed(42)], [2, None]]}},
    ),
    (
        {"dataframe_split": {"data": [["s", 42]], "columns": ["ssn", "id"]}},
        {"dataframe_split": {"data": [[hashed(42)]], "columns": ["id"]}},
    ),
    ({"dataframe_split": {"columns": ["ssn", "id"]}}, {"dataframe_split": {"columns": ["id"]}}),
    (
        {"dataframe_split": {"columns": ["ssn"], "data": ["s", "t"]}},
        {"dataframe_split": {"columns": [], "data": [[], []]}},
    ),
    (
        {"dataframe_split": {"columns": ["id"], "data": [4, 2]}},
        {"dataframe_split": {"columns": ["id"], "data": [[hashed(4)], [hashed(2)]]}},
    ),
    (
        {"dataframe_records": [{"a": 1, "ssn": "s", "id": "x"}, {"id": {"k": 1}}]},
        {"dataframe_records": [{"a": 1, "id": hashed("x")}, {"id": hashed({"k": 1})}]},
    ),
    ({"inputs": {"ssn": ["s"], "id": [4, None], "a": [1]}}, {"inputs": {"id": [hashed(4), None], "a": [1]}}),
    ({"inputs": {"id": "x", "a": 1}}, {"inputs": {"id": hashed("x"), "a": 1}}),
    ({"inputs": [{"ssn": "s", "a": 1}]}, {"inputs": [{"a": 1}]}),
    ({"instances": [{"ssn": "s", "id": [1, 2]}]}, {"instances": [{"id": hashed([1, 2])}]}),
    ({"instances": {"ssn": [1], "a": [2]}}, {"instances": {"a": [2]}}),
]


@pytest.mark.parametrize(("sent", "recorded"), FORMS)
def test_every_form_of_json_loses_the_column_and_nothing_else(sent, recorded):
    beside = {"params": {"t": 0.5}, "client_request_id": "c-1"}
    out = redacted(sent | beside)
    assert out == recorded | beside
    assert [*out] == [*sent, *beside]


def test_an_input_named_by_number_is_found():
    body = {"dataframe_split": {"columns": [0, 1], "data": [["s", 2]]}}
    assert redacted(body, drop=["request.0"]) == {"dataframe_split": {"columns": [1], "data": [[2]]}}


def test_a_column_may_have_the_name_of_a_key_of_the_body():
    body = {"inputs": {"inputs": [1], "params": [2], "a": [3]}, "params": {"t": 1}}
    assert redacted(body, drop=["request.inputs", "request.params"]) == {"inputs": {"a": [3]}, "params": {"t": 1}}
    split = {"dataframe_split": {"columns": ["data", "a"], "data": [[1, 2]]}}
    assert redacted(split, drop=["request.data"]) == {"dataframe_split": {"columns": ["a"], "data": [[2]]}}


def test_escapes_do_not_hide_a_name():
    assert redacted(rb'{"inputs": [{"\u0073s\u006E": "s", "a": "\u00e9"}]}') == {"inputs": [{"a": "é"}]}


def test_a_body_without_the_columns_stays_as_it_was_byte_by_byte():
    body = b' {"inputs" : [ {"a":1.10} ],\n "params": {} }'
    assert redaction(["request.ssn"]).body(body, JSON) == body


def test_long_whole_numbers_keep_their_digits():
    assert redacted({"inputs": [{"ssn": 1, "a": 2**80}]}) == {"inputs": [{"a": 2**80}]}


WITHHELD = [
    b"",
    b"[]",
    b"{",
    b'{"inputs": []} x',
    b'\xef\xbb\xbf{"inputs": []}',
    '{"inputs": [{"ssn": 1}]}'.encode("utf-16"),
    b'{"inputs": [{"ssn": "\xff"}]}',
    b'{"inputs": [{"a": NaN, "ssn": 1}]}',
    b'{"inputs": [{"a": 1e999, "ssn": 1}]}',
    b'{"inputs": [{"a": "\\ud800", "ssn": 1}]}',
    b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    # Names that stand twice.
    b'{"inputs": [{"ssn": 1, "ssn": 2}]}',
    b'{"inputs": [{"a": 1, "a": 2}]}',
    b'{"inputs": {"a": 1}, "inputs": {"ssn": 1}}',
    b'{"dataframe_split": {"columns": ["ssn", "ssn"], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": [0, "0"], "data": [[1, 2]]}}',
    # No input, or two.
    b"{}",
    b'{"messages": [{"ssn": 1}]}',
    b'{"inputs": {"a": 1}, "instances": [{"ssn": 1}]}',
    # Values without names.
    b'{"inputs": [[1, 2]]}',
    b'{"inputs": [{"ssn": 1}, [2]]}',
    b'{"inputs": "s"}',
    b'{"instances": [1, 2]}',
    b'{"dataframe_records": {"ssn": ["s"]}}',
    b'{"dataframe_split": {"data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": [["a", "ssn"], ["b", "x"]], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": ["a", true], "data": [[1, 2]]}}',
    # Rows that do not fit the header.
    b'{"dataframe_split": {"columns": ["a", "ssn"], "data": [[1, 2], [3]]}}',
    b'{"dataframe_split": {"columns": ["a", "ssn"], "data": [[1, 2, 3]]}}',
    b'{"dataframe_split": {"columns": ["a", "ssn"], "data": ["s", "t"]}}',
    b'{"dataframe_split": {"columns": ["a", "ssn"], "data": "s"}}',
    b'{"dataframe_split": {"columns": ["a", "ssn"], "data": [[1, 2]], "column_names": ["s"]}}',
    b'{"dataframe_split": [["ssn"], ["s"]]}',
    # A name where no column is.
    b'{"inputs": [{"a": {"ssn": 1}}]}',
    b'{"inputs": [{"ssn": {"ssn": 1}}]}',
    b'{"inputs": [{"a": 1}], "ssn": 1}',
    b'{"inputs": [{"a": 1}], "params": {"ssn": 1}}',
    b'{"inputs": [{"a": 1}], "more": [{"deep": {"ssn": 1}}]}',
    b'{"dataframe_split": {"columns": ["a"], "data": [[{"ssn": 1}]]}}',
    b'{"inputs": [{"a": "{\\"ssn\\": 1}"}]}',
    b'{"inputs": [{"a": "{\\u0022ssn\\u0022: 1}"}]}',
    b'{"inputs": [{"a": "{\\"\\\\u0073sn\\": 1}"}]}',
    b'{"inputs": [{"a": "[\\"{\\\\\\"ssn\\\\\\": 1}\\"]"}]}',
    # Nearly a name.
    b'{"inputs": [{"SSN": 1}]}',
    b'{"inputs": [{" ssn": 1}]}',
    b'{"inputs": [{"s\\u200bsn": 1}]}',
    '{"inputs": [{"\uff53\uff53\uff4e": 1}]}'.encode(),
    b'{"dataframe_split": {"columns": ["Ssn"], "data": [[1]]}}',
]


@pytest.mark.parametrize("body", WITHHELD, ids=lambda body: repr(body[:60]))
def test_a_body_that_leaves_a_doubt_is_withheld(body):
    assert redacted(body) is None


@pytest.mark.parametrize("media", ["text/plain", "application/json; charset=latin-1", "multipart/form-data"])
def test_a_body_of_another_kind_is_withheld(media):
    assert redacted(b'{"inputs": [{"ssn": 1}]}', media) is None


def test_a_content_type_may_name_utf8_or_be_absent():
    for media in ("", "application/json; charset=utf-8", "Application/JSON"):
        assert redaction(["request.ssn"]).body(b'{"inputs":[{"ssn":1}]}', media) == b'{"inputs":[{}]}'


# -- keys that columns of the table repeat -----------------------------------------------------------------


def test_what_a_dropped_column_repeats_leaves_the_body_too():
    body = {"client_request_id": "c", "inputs": [[1, 2]], "usage_context": {"who": "anna"}, "params": {}}
    names = ["client_request_id", "usage_context"]
    assert redacted(body, drop=names, hash=[]) == {"inputs": [[1, 2]], "params": {}}
    out = redacted(body, drop=[], hash=names)
    assert out["client_request_id"] == redaction(hash=names).column("client_request_id", "c") == hashed("c")
    assert out["usage_context"] == {"who": hashed("anna")}


def test_a_repeated_key_in_another_place_is_withheld():
    assert redacted({"inputs": [{"client_request_id": "c"}]}, drop=["client_request_id"]) is None
    assert redacted({"inputs": [[1]], "usage_context": "anna"}, drop=[], hash=["usage_context"]) is None


# -- CSV ---------------------------------------------------------------------------------------------------


def rows(body):
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


def test_csv_loses_the_column_and_hashes_as_json_does():
    out = redacted(b'a,ssn,id\r\n"x, ""y""\nz",s,42\r\n,t,\r\n\r\n7,u,007\r\n', CSV)
    assert rows(out) == [["a", "id"], ['x, "y"\nz', hashed(42)], ["", ""], ["7", hashed("007")]]


def test_csv_of_one_column_keeps_rows_that_look_empty():
    """pandas takes a line of nothing but spaces for no row."""
    out = redacted(b'ssn,a\ns,\nt," "\nu,"x\ry"\n', CSV)
    frame = pd.read_csv(io.BytesIO(out), keep_default_na=False, dtype=str)
    assert frame["a"].tolist() == ["", " ", "x\ry"]


def test_csv_without_the_columns_stays_as_it_was():
    assert redacted(b"a;b\n1;2\n", CSV) == b"a;b\n1;2\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"\xef\xbb\xbfssn,a\n1,2\n",
        b"ssn,a\n\xff,2\n",
        b"ssn,a\n1,2\x00\n",
        b"ssn\n1\n",
        b"ssn,ssn\n1,2\n",
        b"a,ssn\n1\n",
        b"a,ssn\n1,2,3\n",
        b'a,ssn\n"1,2\n',
        b'a,ssn\n"1"x,2\n',
        b"a;ssn\n1;2\n",
        b"a\tssn\n1\t2\n",
        b'"a,ssn"\n"1,2"\n',
        b"SSN,a\n1,2\n",
        b" ssn,a\n1,2\n",
        b" \nssn\n1\n",
        b"a title\nssn\n1\n",
        b"a,b\nx,ssn\n1,2\n",
        b'a,b\n"{""ssn"": 1}",2\n',
        b'a,b\n"{""s\\u0073n"": 1}",2\n',
    ],
)
def test_csv_that_leaves_a_doubt_is_withheld(body):
    assert redacted(body, CSV) is None


# -- Arrow -------------------------------------------------------------------------------------------------

TABLE = pa.table({"ssn": ["s", "t"], "id": [42, None], "a": [1.5, 2.5]})


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_loses_the_column_and_hashes_as_json_does(compression):
    out = redacted(stream(TABLE, compression=compression), ARROW_STREAM)
    assert pa.ipc.open_stream(out).read_all().to_pydict() == {"id": [hashed(42), None], "a": [1.5, 2.5]}


def test_arrow_values_hash_as_their_json():
    import datetime
    from decimal import Decimal

    for value, as_json in [
        (True, True),
        (1.0, 1),
        ("x", "x"),
        (b"\xff", base64.b64encode(b"\xff").decode()),
        (Decimal("4.0"), 4),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.datetime(2024, 1, 2, 3), "2024-01-02T03:00:00"),
        (float("nan"), None),
    ]:
        out = pa.ipc.open_stream(redacted(stream(pa.table({"id": [value]})), ARROW_STREAM)).read_all()
        assert out["id"].to_pylist() == [None if as_json is None else hashed(as_json)], value


def test_arrow_dictionaries_and_several_batches_are_hashed():
    table = pa.table({"id": pa.chunked_array([["x", "y"], ["y", None]]).dictionary_encode()})
    out = pa.ipc.open_stream(redacted(stream(table, emit_dictionary_deltas=True), ARROW_STREAM)).read_all()
    assert out["id"].to_pylist() == [hashed("x"), hashed("y"), hashed("y"), None]


def test_arrow_metadata_is_left_behind():
    table = pa.table({"ssn": ["s"], "a": [1]}).replace_schema_metadata({"pandas": "of anna"})
    out = redacted(stream(table) + b"of anna", ARROW_STREAM)
    assert b"anna" not in out
    assert pa.ipc.open_stream(out).read_all().to_pydict() == {"a": [1]}


ARROW_WITHHELD = {
    "nothing left": pa.table({"ssn": ["s"]}),
    "twice": pa.Table.from_arrays([pa.array(["s"]), pa.array(["t"])], names=["ssn", "ssn"]),
    "nearly": pa.table({"Ssn": ["s"], "a": [1]}),
    "inner": pa.table({"a": [{"ssn": "s"}]}),
    "inner of a list": pa.table({"a": [[{"b": {"ssn": "s"}}]]}),
    "map": pa.table({"a": pa.array([[("ssn", "s")]], pa.map_(pa.string(), pa.string()))}),
    "json": pa.table({"a": ['{"ssn": 1}']}),
    "json in a dictionary": pa.table({"a": pa.array(['{"ssn": 1}']).dictionary_encode()}),
    "nested hash": pa.table({"id": [[1, 2]]}),
}


@pytest.mark.parametrize("table", ARROW_WITHHELD.values(), ids=ARROW_WITHHELD)
def test_an_arrow_stream_that_leaves_a_doubt_is_withheld(table):
    assert redacted(stream(table), ARROW_STREAM) is None


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_a_broken_arrow_stream_is_withheld_or_holds_no_value(cut):
    out = redacted(stream(TABLE)[:cut], ARROW_STREAM)
    assert out is None or pa.ipc.open_stream(out).read_all().num_rows == 0


def test_an_arrow_stream_that_inflates_to_much_is_not_inflated():
    before = pa.total_allocated_bytes()
    body = stream(pa.table({"ssn": ["s"], "a": pa.array([b"\0" * (65 << 20)])}), compression="zstd")
    assert len(body) < 1 << 20
    assert redacted(body, ARROW_STREAM) is None
    assert pa.total_allocated_bytes() <= before


@pytest.mark.parametrize(("rows", "batches"), [((1 << 31) - 1, 1), (1 << 19, 3), (0, 1001)])
def test_few_bytes_that_claim_a_large_table_are_not_read(rows, batches):
    # Made of no buffers: `pa.nulls` would take a bit a row.
    nulls = pa.Array.from_buffers(pa.null(), rows, [None])
    batch = pa.RecordBatch.from_arrays([nulls, nulls], names=["id", "a"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(batches):
            writer.write_batch(batch)
    before = pa.total_allocated_bytes()
    assert redacted(sink.getvalue().to_pybytes(), ARROW_STREAM) is None
    assert pa.total_allocated_bytes() - before < 1 << 20


# -- the key -----------------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_is_private(tmp_path):
    key = load_hash_key(tmp_path)
    assert len(key) == 32
    assert load_hash_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [KEY_FILE]


def test_several_that_make_the_key_at_once_get_the_same_one(tmp_path):
    start, keys = threading.Barrier(8), []

    def load():
        start.wait()
        keys.append(load_hash_key(tmp_path))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path) == [KEY_FILE]


def test_a_damaged_key_is_an_error_and_stays(tmp_path):
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(InternalError, match=KEY_FILE) as failure:
        load_hash_key(tmp_path)
    assert str(tmp_path) not in failure.value.message
    assert (tmp_path / KEY_FILE).read_bytes() == b"short"
    with pytest.raises(InternalError):
        load_hash_key(tmp_path / "absent")
