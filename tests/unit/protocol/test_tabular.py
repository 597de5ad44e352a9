"""CSV as pandas reads it for MLflow; Arrow columns by name, cast where that is exact."""

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tallystick.entities import Enforcement
from tallystick.errors import BadRequest, InvalidInput
from tallystick.protocol.codec import ARROW_STREAM
from tallystick.protocol.enforce import Decoded, Decoder, compile_decoder
from tallystick.protocol.signature import parse_signature
from tallystick.worker.frame import assemble


def decoder(**columns: str) -> Decoder:
    inputs = [{"name": name, "type": kind, "required": True} for name, kind in columns.items()]
    return compile_decoder(parse_signature({"inputs": json.dumps(inputs)}))


def csv(on: Decoder, text: str, mode: Enforcement = Enforcement.FLAG) -> Decoded:
    return on.decode(text.encode(), "text/csv; charset=utf-8", mode)


def arrow(on: Decoder, table: pa.Table, mode: Enforcement = Enforcement.FLAG) -> Decoded:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return on.decode(sink.getvalue().to_pybytes(), ARROW_STREAM, mode)


def test_csv_with_other_order_and_extra_columns() -> None:
    decoded = csv(decoder(a="long", s="string"), "z,s,a\n1,x,5\n2,,6\n", Enforcement.STRICT)
    frame = assemble([decoded])
    assert list(frame.columns) == ["a", "s"]
    assert frame["a"].tolist() == [5, 6]
    assert frame["s"].dtype == object
    assert decoded.notes == ("ignored columns: 'z'",)


def test_csv_dates_and_whole_decimals_are_taken() -> None:
    frame = assemble([csv(decoder(d="datetime", n="long"), "d,n\n2024-01-01,1.0\n", Enforcement.STRICT)])
    assert frame["d"].tolist() == [pd.Timestamp("2024-01-01")]
    assert frame["n"].tolist() == [1]


def test_csv_country_na_is_counted() -> None:
    decoded = csv(decoder(c="string"), "c\nNA\nSE\n")
    assert decoded.ledger == {"c": {"text_to_null": 1}}
    with pytest.raises(InvalidInput, match="reads as no value"):
        csv(decoder(c="string"), "c\nNA\nSE\n", Enforcement.STRICT)


def test_csv_names_every_cell() -> None:
    with pytest.raises(InvalidInput) as caught:
        csv(decoder(a="long", b="double"), "a,b\n1.9,1\n2,x\n")
    assert "row 0, column 'a': got the number 1.9" in caught.value.message
    assert "row 1, column 'b': got text 'x'" in caught.value.message


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n4,5,6\n", "\ufeffa\n1\n"])
def test_what_is_no_csv(text: str) -> None:
    with pytest.raises(BadRequest):
        csv(decoder(a="long"), text)


def test_csv_is_for_columns_only() -> None:
    with pytest.raises(BadRequest, match="column signature"):
        csv(compile_decoder(parse_signature(None)), "a\n1\n")


def test_arrow_casts_what_is_exact() -> None:
    table = pa.table(
        {
            "d": pa.array([1, None], pa.int32()),
            "n": pa.array([1.0, 2.0]),
            "s": pa.array(["x", "y"]).dictionary_encode(),
            "t": pa.array([0, 1], pa.timestamp("ms")),
            "b": pa.array([b"a", b"b"]),
        }
    )
    on = decoder(d="double", n="long", s="string", t="datetime", b="binary")
    decoded = arrow(on, table, Enforcement.STRICT)
    frame = assemble([decoded])
    assert [str(dtype) for dtype in frame.dtypes] == [
        "float64",
        "int64",
        str(pd.Series(["x"]).dtype),
        "datetime64[ns]",
        "object",
    ]
    assert frame["n"].tolist() == [1, 2]
    assert frame["b"].tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("kind", "values", "coercion"),
    [
        ("long", [1.5], "fraction_dropped"),
        ("integer", [2**40], "overflow"),
        ("boolean", ["false"], "truthy"),
        ("float", [1e300], "float_overflow"),
    ],
)
def test_arrow_follows_the_mode_where_it_is_not(kind: str, values: list[Any], coercion: str) -> None:
    table = pa.table({"x": pa.array(values)})
    assert arrow(decoder(x=kind), table).ledger == {"x": {coercion: 1}}
    with pytest.raises(InvalidInput, match="row 0, column 'x'"):
        arrow(decoder(x=kind), table, Enforcement.STRICT)


def test_arrow_times_of_a_zone_become_utc_and_are_counted() -> None:
    at = pa.array([datetime(2024, 7, 1, 10, tzinfo=UTC), None]).cast(pa.timestamp("us", tz="Europe/Berlin"))
    table, on = pa.table({"at": at}), decoder(at="datetime")
    decoded = arrow(on, table)
    assert decoded.ledger == {"at": {"timezone_dropped": 1}}
    assert [str(value) for value in decoded.data.columns[0]] == ["2024-07-01T10:00:00.000000000", "NaT"]
    with pytest.raises(InvalidInput, match=r"'at'.*the zone 'Europe/Berlin', expected times in UTC without a zone"):
        arrow(on, table, Enforcement.STRICT)
    assert arrow(on, pa.table({"at": at.slice(1)}), Enforcement.STRICT).ledger == {}


def test_what_is_no_arrow_stream() -> None:
    with pytest.raises(BadRequest):
        decoder(x="long").decode(b"ARROW1", ARROW_STREAM, Enforcement.FLAG)
