"""The golden file: what goes in comes out to the last bit, and what is none of ours is refused."""

import zlib

import numpy as np
import pytest

from tallystick.errors import InvalidParameter
from tallystick.gate import golden
from tallystick.gate.golden import Column, Golden, Matrix


def test_a_matrix_keeps_every_bit_of_numbers():
    values = np.array([[0.1, -0.0], [5e-324, np.nan], [np.inf, 1e308]])
    assert Matrix.of(values).values().tobytes() == values.tobytes()


def test_a_matrix_of_texts_keeps_missing_values_missing():
    matrix = Matrix.of(np.array(["a", None, float("nan")], dtype=object))
    assert matrix.values().tolist() == [["a"], [None], [None]]


def test_a_file_gives_back_what_was_written(tmp_path):
    written = Golden(2, (Column("age", "int64", (1, 2)),), Matrix.of([0.25, 0.75]), degraded=("no labels",))
    (tmp_path / golden.FOLDER).mkdir()
    (tmp_path / golden.FOLDER / golden.FILE).write_bytes(golden.render(written))
    assert golden.find(tmp_path) == written


def test_a_model_without_golden_rows_has_none(tmp_path):
    assert golden.find(tmp_path) is None


@pytest.mark.parametrize("block", [b"", b"PK\x03\x04", zlib.compress(b"\x93\x01"), zlib.compress(b"x" * 100)])
def test_other_files_are_refused(block):
    with pytest.raises(InvalidParameter, match="golden file"):
        golden.parse(block)


def test_a_file_that_unfolds_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(golden, "MAX_BYTES", 1 << 20)
    with pytest.raises(InvalidParameter, match="more than"):
        golden.parse(zlib.compress(b"\0" * (golden.MAX_BYTES + 1)))


def test_a_file_with_fewer_values_than_it_says_is_refused():
    short = Golden(2, (), Matrix(2, 1, numbers=b"12345678"))
    with pytest.raises(InvalidParameter, match="as many values"):
        golden.parse(golden.render(short))
