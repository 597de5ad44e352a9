"""How what other tools say becomes scores: no network, no other tool."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.parity.peers import environments
from benchmarks.parity.peers.adapters.common import Finding, judged, read_frame
from benchmarks.parity.peers.environments import DidNotInstall, DidNotRun, read_pins, run_adapter
from benchmarks.parity.peers.files import Written, write_frame
from benchmarks.parity.peers.scoring import WORDS, kinds_named, markdown, score, table
from benchmarks.parity.peers.tuning import tuned

from tallystick.parity.kinds import FAMILY_OF

ADAPTERS = Path(environments.__file__).parent / "adapters"
CASED = Written("0001", "adult", "report", "upper_case", 1.0, ("letter_case",), ("sex",))
PLAIN = Written("0002", "adult", "report", "benign:plain", 0.0, (), ())


def record(alarm=True, says=(), failed=""):
    says = [list(line) for line in says]
    return {"setting": "defaults", "alarm": alarm, "says": says, "failed": failed, "seconds": 0.5}


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        ("String Mismatch Comparison: Found 1 out of 1 relevant columns", {"letter_case", "whitespace"}),
        ("New Category Train Test: Found 1 features with ratio of new categories above threshold", {"new_level"}),
        ("Unexpected string values: Examples contain values missing from the schema: X (~30%)", {"new_level"}),
        ("Column dropped: Column is completely missing", {"missing_column"}),
        ("Column dropped: The feature was present in fewer examples than expected: actual = 0.7", {"nulls"}),
        ("Column dropped: The feature was not present in any examples.", {"nulls"}),
        ("New column: New column (column in data but not in schema)", {"extra_column"}),
        ("missing values: alert in 3 of 10 chunks", {"nulls"}),
        ("unseen values: alert in 10 of 10 chunks", {"new_level"}),
        ("InvalidArgumentsException: missing required columns '['age']' in data set", {"missing_column"}),
        ("KeyError: 'age'", {"missing_column"}),
        ("drift: alert in 3 of 10 chunks", set()),
        ("Feature Drift: Found 1 numeric columns with Kolmogorov-Smirnov above threshold: {'a': '0.5'}", set()),
        ("serving data missing: serving data is missing.", set()),
        ("letter_case", {"letter_case"}),
    ],
)
def test_a_sentence_names_the_kinds_of_its_words(sentence, kinds):
    assert kinds_named(sentence) == kinds


def test_every_kind_of_the_map_exists():
    assert {kind for _, kinds in WORDS for kind in kinds} <= set(FAMILY_OF)


def test_the_kind_counts_only_from_a_sentence_about_the_right_column():
    right = score("tool", record(says=[(["sex"], "string mismatch")]), CASED, ["age", "sex"])
    wrong = score("tool", record(says=[(["sex"], "drift"), (["age"], "string mismatch")]), CASED, ["age", "sex"])
    assert (right.is_column, right.is_only_column, right.is_exact) == (True, True, True)
    assert (wrong.is_column, wrong.is_only_column, wrong.is_exact) == (True, False, False)


def test_columns_named_without_an_alarm_earn_nothing():
    found = score("tool", record(alarm=False, says=[(["sex"], "string mismatch")]), CASED, ["age", "sex"])
    assert (found.alarm, found.columns, found.is_column, found.is_exact) == (False, 0, False, False)


def test_a_tool_that_raises_alarms_and_names_the_columns_its_error_quotes():
    found = score(
        "tool", record(alarm=False, failed="ValueError: column 'sex' must be numerical"), CASED, ["age", "sex"]
    )
    assert (found.alarm, found.columns, found.is_column, found.is_exact) == (True, 1, True, False)


def test_an_alarm_on_a_plain_sample_is_only_a_false_alarm():
    found = score("tool", record(says=[(["sex"], "new category")]), PLAIN, ["age", "sex"])
    assert (found.is_plain, found.alarm, found.is_column, found.is_only_column, found.is_exact) == (
        True,
        True,
        False,
        False,
        False,
    )


def test_the_table_keeps_plain_samples_out_of_the_benign():
    half = Written("0003", "adult", "report", "upper_case", 0.3, ("letter_case",), ("sex",))
    season = Written("0004", "adult", "report", "benign:season", 0.0, (), ())
    line = table(
        [
            score("tool", record(says=[(["sex"], "string mismatch")]), CASED, ["sex"]),
            score("tool", record(alarm=False), half, ["sex"]),
            score("tool", record(), season, ["sex"]),
            score("tool", record(alarm=False), PLAIN, ["sex"]),
        ]
    ).iloc[0]
    assert (line["alarm, faults 100 %"], line["alarm, faults 30 %"]) == (1, 0)
    assert (line["alarm, benign"], line["alarm, plain"]) == (1, 0)
    assert (line["right column"], line["exact kind"], line["raised"]) == (0.5, 0.5, 0)
    assert markdown(pd.DataFrame([line])).splitlines()[2].startswith("| tool | defaults | 100% | 0% | 100% | 0% | 50%")


def test_a_frame_comes_back_from_its_file(tmp_path):
    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [0.1 + 0.2, np.nan, 1e-300],
            "yes": [True, False, True],
            "at": pd.to_datetime(["2026-01-02 03:04:05.678901", None, "2026-01-03 00:00:00.5"]),
            "as_text": ["1.50", "None", None],
        }
    )
    write_frame(frame, tmp_path / "frame.json")
    back = read_frame(tmp_path / "frame.json")
    assert [column.dtype.kind for _, column in back.items()] == ["i", "f", "b", "M", "O"]
    assert back["x"].tolist()[::2] == frame["x"].tolist()[::2]
    assert back["at"].tolist()[::2] == frame["at"].tolist()[::2]
    assert back["as_text"].tolist()[:2] == ["1.50", "None"]
    assert back.isna().to_numpy().tolist() == frame.isna().to_numpy().tolist()


def test_a_column_that_mixes_text_and_numbers_is_read_as_text(tmp_path):
    write_frame(pd.DataFrame({"x": pd.Series([1.5, "1,5", None], dtype=object)}), tmp_path / "frame.json")
    assert read_frame(tmp_path / "frame.json")["x"].tolist()[:2] == ["1.5", "1,5"]


def test_a_tool_that_raises_half_way_keeps_what_it_said():
    def judge(prepared, live):
        yield "first", Finding(alarm=True)
        raise ValueError("no\nsuch thing")

    lines = list(judged(judge, ("first", "second"), None, pd.DataFrame()))
    assert [(line["setting"], line["alarm"], line["failed"]) for line in lines] == [
        ("first", True, ""),
        ("second", False, "ValueError: no such thing"),
    ]


def test_a_reference_that_a_tool_cannot_take_fails_each_of_its_cases():
    lines = list(judged(lambda prepared, live: iter(()), ("only",), KeyError("age"), pd.DataFrame()))
    assert [line["failed"] for line in lines] == ["KeyError: 'age'"]


def test_each_pinned_tool_has_a_script_and_an_exact_pin():
    for tool, pins in read_pins().items():
        assert (ADAPTERS / f"{tool}_adapter.py").exists()
        assert "==" in pins.requirements[0]


def test_a_script_that_ends_early_says_why(tmp_path, monkeypatch):
    """Starts a process: what a tool's own Python does is the point."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "broken_adapter.py").write_text("raise ImportError('no module named wheel')")
    with pytest.raises(DidNotRun, match="ImportError: no module named wheel"):
        run_adapter("broken", Path(sys.executable), tmp_path, tmp_path / "broken.jsonl", 30)


def test_an_environment_that_cannot_be_made_is_said_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path)

    def uv(*arguments):
        raise DidNotInstall("no solution found")

    monkeypatch.setattr(environments, "_uv", uv)
    with pytest.raises(DidNotInstall, match="no solution"):
        environments.python_of("tool", environments.Pins("3.11", ("tool==1",), ()))
    assert not (tmp_path / "tool" / ".made-with").exists()


def test_the_tuned_threshold_is_taken_from_the_half_for_tuning_only():
    def case(number, half, top, is_fault):
        written = Written(str(number), "d", half, "unit_10" if is_fault else "benign:season", 1.0, (), ())
        kinds = ("unit",) if is_fault else ()
        line = {
            **record(alarm=True, says=[(["x"], "drift")]),
            "id": str(number),
            "scores": {"x": top, "y": float("nan")},
        }
        return dataclasses.replace(written, kinds=kinds), line

    cases = [
        case(0, "tune", 0.9, True),
        case(1, "tune", 0.8, True),
        case(2, "tune", 0.3, False),
        case(3, "report", 0.2, True),
        case(4, "report", 0.5, False),
    ]
    found = tuned([line for _, line in cases], {written.id: written for written, _ in cases})
    assert [line["alarm"] for line in found] == [True, True, False, False, True]
    assert found[0]["says"] == [(["x"], "score 0.9")]


def test_sentences_that_name_a_kind_have_no_threshold():
    written = {
        str(n): Written(str(n), "d", "tune", "case", 1.0, ("nulls",) if n else (), ("x",) if n else ()) for n in (0, 1)
    }
    says = [(["x"], "missing values: alert")]
    lines = [{**record(says=says if n else ()), "id": str(n), "scores": {"x": 0.1}} for n in (0, 1)]
    assert [(line["alarm"], line["says"]) for line in tuned(lines, written)] == [(False, []), (True, [list(says[0])])]


def test_findings_are_there_only_when_a_script_came_to_its_end(tmp_path, monkeypatch):
    """Starts processes: what a tool's own Python does is the point."""
    monkeypatch.setattr(environments, "HERE", tmp_path)
    (tmp_path / "adapters").mkdir()
    script = tmp_path / "adapters" / "tool_adapter.py"
    script.write_text("import sys; open(sys.argv[2], 'w').write('{}')")
    run_adapter("tool", Path(sys.executable), tmp_path, tmp_path / "tool.jsonl", 30)
    assert (tmp_path / "tool.jsonl").read_text() == "{}"
    script.write_text("import sys; open(sys.argv[2], 'w').write('{}'); sys.exit('killed half way')")
    with pytest.raises(DidNotRun, match="killed half way"):
        run_adapter("tool", Path(sys.executable), tmp_path, tmp_path / "tool.jsonl", 30)
    assert not (tmp_path / "tool.jsonl").exists()
