"""Faults of form: told from single values, on all rows or on few."""

import numpy as np
import pandas as pd
import pytest
from parity_rows import rows_of

from tallystick.parity import Family, Reference, Status, diagnose


def _text(frame, column, function):
    return frame.assign(**{column: frame[column].map(function).astype(object)})


FORMS = [
    ("numeric_as_text", lambda f: _text(f, "temp", str), ("temp",)),
    ("decimal_comma", lambda f: _text(f, "fare", lambda v: f"{v:.2f}".replace(".", ",")), ("fare",)),
    ("boolean_as_text", lambda f: _text(f, "member", lambda v: "true" if v else "false"), ("member",)),
    ("letter_case", lambda f: _text(f, "season", str.upper), ("season",)),
    ("whitespace", lambda f: _text(f, "season", lambda v: v + " "), ("season",)),
    ("encoding_damage", lambda f: _text(f, "city", lambda v: v.encode().decode("latin-1")), ("city",)),
    (
        "encoding_damage",
        lambda f: _text(f, "city", lambda v: v.replace(" ", "&nbsp;").replace("ö", "&ouml;")),
        ("city",),
    ),
    ("encoding_damage", lambda f: _text(f, "city", lambda v: v.encode("ascii", "replace").decode()), ("city",)),
    ("encoding_damage", lambda f: _text(f, "season", lambda v: v.replace("u", "Ã¼")), ("season",)),
    ("encoding_damage", lambda f: _text(f, "city", lambda v: str(v.encode())), ("city",)),
    ("encoding_damage", lambda f: _text(f, "city", lambda v: v.encode("ascii", "ignore").decode()), ("city",)),
    ("encoding_damage", lambda f: _text(f, "city", lambda v: v.replace("ö", "oe").replace("ã", "a")), ("city",)),
    ("renamed_level", lambda f: _text(f, "season", lambda v: f"season_{v}"), ("season",)),
    ("renamed_level", lambda f: _text(f, "season", lambda v: v[:2]), ("season",)),
    ("renamed_level", lambda f: _text(f, "season", lambda v: "fall" if v == "autumn" else v), ("season",)),
    ("new_level", lambda f: _text(f, "season", lambda v: "monsoon"), ("season",)),
    ("null_token", lambda f: _text(f, "temp", lambda v: "NaN" if v > 15 else v), ("temp",)),
    ("null_token", lambda f: _text(f, "temp", lambda v: "(null)" if v > 15 else v), ("temp",)),
    ("default_fill", lambda f: _text(f, "season", lambda v: "__missing__"), ("season",)),
    ("missing_column", lambda f: f.drop(columns="temp"), ("temp",)),
    ("extra_column", lambda f: f.assign(request_id=1), ("request_id",)),
    ("renamed_column", lambda f: f.rename(columns={"temp": "Temp_C"}), ("temp",)),
    ("renamed_column", lambda f: f.assign(temp=0.0, tempValue=f.temp), ("temp",)),
    ("renamed_column", lambda f: f.assign(season=None, quarter=f.season), ("season",)),
    ("columns_swapped", lambda f: f.assign(temp=f.season, season=f.temp), ("season", "temp")),
    ("epoch_unit", lambda f: f.assign(stamp=f.stamp.astype("datetime64[ns]").astype("int64") // 10**6), ("stamp",)),
    (
        "epoch_unit",
        lambda f: f.assign(stamp=pd.to_datetime(f.stamp.astype("datetime64[ns]").astype("int64") // 10**6)),
        ("stamp",),
    ),
]


@pytest.mark.parametrize(("kind", "change", "features"), FORMS)
def test_a_fault_of_form_is_found_with_proof(reference, live, kind, change, features):
    verdict = diagnose(reference, change(live))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, kind, features)


def test_one_row_of_text_is_enough(reference, live):
    sent = live.head(3).astype({"temp": object})
    sent.loc[1, "temp"] = "12.5"
    verdict = diagnose(reference, sent)
    assert (verdict.kind, verdict.status) == ("numeric_as_text", Status.CAUSE_FOUND)
    assert verdict.share == pytest.approx(1 / 3)


def test_words_in_a_column_of_numbers_are_truth_values_only_where_nearly_all_of_them_are(reference, live):
    points = np.array(["N", "NE", "E", "SE", "S", "SW", "W", "NW"], dtype=object)
    compass = diagnose(reference, live.assign(humidity=points[np.arange(len(live)) % 8]))
    assert (compass.kind, compass.features, compass.share) == ("new_level", ("humidity",), 1.0)
    assert "boolean_as_text" not in {each.kind for each in compass.others}
    words = np.where(np.arange(len(live)) % 3 == 0, "Y", "N").astype(object)
    words[:3] = "Nope"
    truth = diagnose(reference, live.assign(humidity=words))
    assert (truth.kind, truth.features) == ("boolean_as_text", ("humidity",))


def test_half_a_character_is_told_as_any_other_new_level(reference, live):
    torn = pd.Series(["\ud800"] * len(live), dtype=object)
    assert diagnose(reference, live.assign(city=torn)).kind == "new_level"


def test_zero_and_one_for_a_boolean_is_no_fault(reference, live):
    assert diagnose(reference, live.assign(member=live.member.astype(int))).status is Status.CONSISTENT


def test_order_of_columns_and_dtype_of_whole_numbers_are_no_fault(reference, live):
    sent = live[list(reversed(live.columns))].astype({"hour": float, "humidity": "Int64"})
    assert diagnose(reference, sent).status is Status.CONSISTENT


def test_columns_that_stand_one_off_are_one_cause(reference, live):
    names = ["temp", "humidity", "distance", "fare"]
    shifted = live.assign(**{name: live[names[(k + 1) % 4]].astype(float) for k, name in enumerate(names)})
    verdict = diagnose(reference, shifted)
    assert (verdict.kind, verdict.family) == ("column_shift", Family.ASSUMPTION)
    assert set(verdict.features) >= set(names)


@pytest.mark.parametrize("step", [1, -1])
def test_columns_that_stand_one_off_in_some_rows_are_told_with_these_rows(reference, live, step):
    names = ["temp", "humidity", "distance", "fare"]
    late = np.random.default_rng(0).random(len(live)) < 0.3
    moved = {name: live[name].astype(float).where(~late, live[names[(k + step) % 4]]) for k, name in enumerate(names)}
    verdict = diagnose(reference, live.assign(**moved), segments=np.where(late, "new", "old"))
    assert (verdict.status, verdict.kind) == (Status.CAUSE_FOUND, "column_shift")
    assert set(verdict.features) == set(names)
    assert verdict.transformation["offset"] == step
    assert verdict.share == pytest.approx(late.mean(), abs=0.03)
    assert verdict.segment["value"] == "new"


def test_text_among_numbers_that_stand_one_off_is_the_same_cause(reference, live):
    names = ["season", "temp", "humidity", "distance"]
    late = np.random.default_rng(0).random(len(live)) < 0.4
    moved = {
        name: live[name].astype(object).where(~late, live[names[(k + 1) % 4]].astype(object))
        for k, name in enumerate(names)
    }
    verdict = diagnose(reference, live.assign(**moved))
    assert (verdict.kind, set(verdict.features)) == ("column_shift", set(names))


def test_answers_on_one_scale_are_not_said_to_stand_one_off():
    """Stated: of 12 samples in which those are more that answer alike none is claimed."""

    def answers(count, seed, tilt=0.0):
        rng = np.random.default_rng(seed)
        mood = rng.normal(tilt, 1, count)
        return pd.DataFrame(
            {f"q{k}": np.clip(np.round(3.5 + mood + rng.normal(0.3 * k, 1, count)), 1, 6) for k in range(8)}
        )

    reference = Reference.from_frame(answers(2000, 0))
    for seed in range(12):
        assert diagnose(reference, answers(200, 1 + seed, 0.15 * seed - 0.8)).kind != "column_shift", seed


def test_a_map_of_levels_is_given(reference, live):
    verdict = diagnose(reference, _text(live, "season", str.title))
    assert verdict.transformation["map"]["Summer"] == "summer"


def test_levels_hidden_by_privacy_are_still_known(training, live):
    from tallystick.parity import Reference

    hidden = Reference.from_frame(training, privacy={"season": "hashed", "city": "none"})
    assert "summer" not in repr(hidden.column("season").levels)
    assert "summer" not in hidden.to_bytes().decode("latin-1")
    assert diagnose(hidden, live).status is Status.CONSISTENT
    wrong = live.assign(season=np.where(np.arange(200) < 60, "monsoon", live.season))
    assert diagnose(hidden, wrong).kind == "new_level"


@pytest.mark.parametrize("word", ["inf", "-Infinity", "nan", "1e400", "\uff11\uff12"])
def test_words_that_read_as_numbers_are_levels_like_others(reference, live, word):
    """Found by drawing: 'inf' has no whole part."""
    verdict = diagnose(reference, _text(live, "season", lambda v: word))
    assert verdict.status in Status
    assert verdict.features == ("season",)


def test_text_in_a_column_of_numbers_is_told_as_that(reference):
    live = rows_of(200, 3).astype({"humidity": object})
    live.loc[:19, "humidity"] = "damp"
    verdict = diagnose(reference, live)
    assert (verdict.kind, verdict.features, verdict.transformation["role"]) == ("new_level", ("humidity",), "number")
    assert "carry text such as 'damp' in humidity, where training had numbers." in str(verdict)
    assert "send a number" in verdict.fix


def test_names_of_another_list_are_renamed_though_one_of_them_is_an_old_one_in_capitals():
    def rows(count: int, seed: int) -> pd.DataFrame:
        drawn = np.random.default_rng(seed)
        place = drawn.choice(5, count, p=[0.3, 0.2, 0.15, 0.1, 0.25])
        return pd.DataFrame(
            {
                "ward": np.array(["cardio", "ortho", "neuro", "onco", "gp"])[place],
                "age": np.round(40 + 5 * place + drawn.normal(0, 10, count)),
                "cost": np.round(drawn.lognormal(5 + 0.3 * place, 0.4), 2),
            }
        )

    names = {"cardio": "CAR", "ortho": "ORT", "neuro": "NEU", "onco": "ONC", "gp": "GP"}
    reference = Reference.from_frame(rows(2000, 0))
    live = rows(200, 1)
    verdict = diagnose(reference, live.assign(ward=live.ward.map(names)))
    assert (verdict.kind, verdict.share) == ("renamed_level", 1.0)
    assert verdict.transformation["map"] == {new: old for old, new in names.items()}
    assert diagnose(reference, live.assign(ward=live.ward.str.upper())).kind == "letter_case"


def test_one_row_sent_many_times_is_one_observation(reference, live):
    for place in range(3):
        verdict = diagnose(reference, pd.concat([live.iloc[[place]]] * 100))
        assert (verdict.status, verdict.rows) == (Status.CANNOT_TELL, 1)


def test_numbers_and_levels_exchanged_in_some_rows_are_told_with_these(reference, live):
    broken = np.random.default_rng(3).random(200) < 0.2
    sent = live.astype({"temp": object, "season": object})
    sent.loc[broken, ["temp", "season"]] = live.loc[broken, ["season", "temp"]].to_numpy()
    verdict = diagnose(reference, sent)
    assert (verdict.kind, set(verdict.features)) == ("columns_swapped", {"temp", "season"})
    assert verdict.share == pytest.approx(broken.mean())
    assert not verdict.others


def test_a_column_beside_one_that_is_the_same_in_all_rows_is_not_its_new_name(reference, live):
    """One season only, and a column of its own."""
    summer = live[live.season == "summer"]
    assert diagnose(reference, summer.assign(request_id=np.arange(len(summer)))).kind == "extra_column"


def test_a_new_name_that_lacks_plain_letters_of_an_old_one_is_no_damage():
    """Pará is a place of its own, and no Paraná in another codec."""
    rng = np.random.default_rng(0)
    place = rng.choice(["Paran\u00e1", "Cear\u00e1", "Bahia"], 1200)
    frame = pd.DataFrame(
        {"place": place, "cost": np.round(rng.lognormal(3, 1, 1200), 2), "age": rng.integers(18, 90, 1200)}
    )
    live = frame[:200].astype({"place": object})
    live.loc[live.index % 10 == 0, "place"] = "Par\u00e1"
    assert diagnose(Reference.from_frame(frame[200:]), live).kind in ("new_level", "renamed_level")


def test_a_word_in_the_place_of_nulls_is_told_as_that_in_any_language():
    rng = np.random.default_rng(0)
    kind = np.where(rng.random(1200) < 0.3, None, rng.choice(["a", "b", "c"], 1200))
    frame = pd.DataFrame({"kind": kind, "cost": np.round(rng.lognormal(3, 1, 1200), 2)})
    reference, live = Reference.from_frame(frame[200:]), frame[:200]
    assert diagnose(reference, live.assign(kind=live.kind.fillna("brak danych"))).kind == "null_token"
    fresh = live.assign(kind=np.where(live.index % 4 == 0, "d", live.kind))
    assert diagnose(reference, fresh).kind == "new_level"


def test_retries_are_one_observation_where_training_has_equal_rows_too():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.integers(0, 30, 2000), "b": rng.integers(0, 30, 2000), "c": rng.choice(["x", "y"], 2000)}
    )
    reference = Reference.from_frame(frame[1000:])
    retried = frame[:25].loc[np.repeat(np.arange(25), 8)]
    assert diagnose(reference, retried).rows <= 25
    assert diagnose(reference, frame[:200]).rows == 200
