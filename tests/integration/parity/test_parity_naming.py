"""Names that rivals are kept from: the cause that explains more, and nothing where undoing does not help."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def players(count: int, seed: int) -> pd.DataFrame:
    """Grades of one player that nearly agree, money in whole units, a share, an age with its square, and names."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(60, 12, count)
    age = rng.integers(17, 40, count)
    names = np.array([f"CLUB {k:04d}" for k in (rng.pareto(0.6, count) * 20).astype(int) % 9000])
    return pd.DataFrame(
        {
            **{name: np.round(skill + rng.normal(0, 3, count)).clip(20, 99).astype(int) for name in ("pace", "pass")},
            "shot": np.round(skill + rng.normal(0, 4, count)).clip(20, 99).astype(int),
            "wage": np.round(np.exp(4 + skill / 20 + rng.normal(0, 0.3, count))).astype(int),
            "form": np.exp(rng.normal(skill / 30, 0.3, count)),
            "gain": np.round(rng.standard_t(4, count) * 0.01, 6),
            "age": age,
            "age_squared": age.astype(float) ** 2,
            "club": np.where(rng.random(count) < 0.01, np.char.lower(names), names),
            "side": rng.choice(["left", "right", "both"], count, p=[0.25, 0.6, 0.15]),
        }
    )


@pytest.fixture(scope="module")
def squad() -> Reference:
    return Reference.from_frame(players(2000, 0))


@pytest.fixture(scope="module")
def sent() -> pd.DataFrame:
    return players(200, 1)


def test_names_spelled_in_two_ways_in_training_are_no_news(squad, sent):
    club = sent.club.where(np.arange(200) > 1, ["CLUB0007", "club 0009"] + [""] * 198)
    assert diagnose(squad, sent.assign(club=club)).status not in CLAIMS
    spaced = sent.club.where(np.arange(200) > 20, " " + sent.club)
    assert diagnose(squad, sent.assign(club=spaced)).kind == "whitespace"


@pytest.mark.parametrize("column", ["shot", "age"])
def test_a_sentinel_in_few_rows_is_a_default(squad, sent, column):
    some = np.arange(200) % 40 == 0
    verdict = diagnose(squad, sent.assign(**{column: sent[column].where(~some, -999)}))
    assert (verdict.kind, verdict.features, verdict.status) == ("default_fill", (column,), Status.CAUSE_FOUND)


def test_odd_values_that_differ_are_not_a_default(squad, sent):
    some = np.arange(200) % 3 == 0
    verdict = diagnose(squad, sent.assign(age=sent.age.where(~some, 2.37 * sent.age + 31)))
    assert verdict.kind != "default_fill"


def test_a_factor_that_leaves_training_s_digits_is_no_scaler(squad, sent):
    """The deviation is about 0.01, so a scaler and a factor of 100 look alike but for their digits."""
    verdict = diagnose(squad, sent.assign(gain=sent.gain * 100))
    assert (verdict.kind, verdict.transformation["factor"]) == ("unit", 100.0)


@pytest.mark.parametrize(("factor", "offset", "share"), [(3.1, 16.0, 1.0), (2.4, 14.0, 0.4)])
def test_a_fitted_map_is_not_told_as_the_unit_next_to_it(squad, sent, factor, offset, share):
    some = np.arange(200) < 200 * share
    verdict = diagnose(squad, sent.assign(form=sent.form.where(~some, factor * sent.form + offset)))
    assert verdict.kind == "affine"
    assert verdict.transformation["factor"] == pytest.approx(factor, rel=0.15)


def test_values_of_other_rows_are_not_a_map_of_some(squad, sent):
    for seed in range(3):
        moved = sent.wage.sample(frac=1, random_state=seed).to_numpy()
        verdict = diagnose(squad, sent.assign(wage=moved))
        assert (verdict.kind, verdict.features) == ("stale", ("wage",))


def test_a_column_is_not_stale_because_its_only_partner_is_broken(squad, sent):
    verdict = diagnose(squad, sent.assign(age_squared=sent.age_squared.map(np.sin) + 3000))
    assert verdict.kind != "stale"
    assert "age" not in verdict.features


def test_columns_that_nearly_agree_are_not_exchanged_in_another_population(squad):
    rows = players(3000, 2)
    for part in (rows[rows.pace > 75], rows[rows["shot"] < 50], rows[rows.wage > rows.wage.quantile(0.9)]):
        assert diagnose(squad, part.head(200).reset_index(drop=True)).status not in CLAIMS


def test_a_level_renamed_in_a_third_of_its_rows_is_told_from_a_new_one(squad):
    rows = players(300, 5)
    some = np.arange(300) % 5 < 2
    renamed = diagnose(squad, rows.assign(side=rows.side.mask((rows.side == "right") & some, "zz9")))
    assert (renamed.kind, renamed.transformation["map"]) == ("renamed_level", {"zz9": "right"})
    assert diagnose(squad, rows.assign(side=rows.side.mask(some, "zz9"))).kind == "new_level"


@pytest.mark.parametrize("factor", [5280.0, 0.745699872, 6.35029318])
def test_a_unit_of_a_column_with_few_values_is_told_with_its_factor(squad, sent, factor):
    verdict = diagnose(squad, sent.assign(age=sent.age * factor))
    assert verdict.kind == "unit"
    assert verdict.transformation["factor"] == pytest.approx(factor)


def test_a_factor_that_is_no_unit_is_told_rather_than_a_line(squad, sent):
    verdict = diagnose(squad, sent.assign(age=sent.age * 8.37))
    assert (verdict.kind, verdict.transformation["name"]) == ("unit", "unnamed")


def test_small_values_are_not_taken_for_the_many_zeros_that_training_had():
    rng = np.random.default_rng(0)
    paid = np.where(rng.random(1500) < 0.7, 0.0, np.round(rng.integers(30, 200, 1500) / 4, 2))
    rows = pd.DataFrame({"paid": paid, "visits": rng.poisson(2 + paid / 20)})
    live = rows.tail(200).reset_index(drop=True)
    some = np.arange(200) % 3 == 0
    verdict = diagnose(Reference.from_frame(rows.head(1300)), live.assign(paid=live.paid.where(~some, live.paid * 1e4)))
    assert (verdict.kind, verdict.transformation["factor"]) == ("unit", 1e4)


def patients(count: int, seed: int) -> pd.DataFrame:
    """Sizes with one decimal, pressure in whole numbers, cholesterol with two decimals."""
    rng = np.random.default_rng(seed)
    height = np.round(rng.normal(170, 9, count), 1)
    return pd.DataFrame(
        {
            "height": height,
            "weight": np.round((height - 100) * 0.9 + rng.normal(0, 9, count), 1),
            "pressure": np.round(rng.normal(130, 15, count)),
            "chol": np.round(np.exp(rng.normal(5.3, 0.2, count)), 2),
            "age": np.clip(np.round(rng.normal(54, 15, count)), 1, 99),
        }
    )


@pytest.fixture(scope="module")
def clinic() -> Reference:
    return Reference.from_frame(patients(4000, 0))


@pytest.mark.parametrize(
    ("column", "convert", "digits", "kind", "factor"),
    [
        ("height", lambda x: x / 2.54, 1, "unit", 1 / 2.54),
        ("height", lambda x: x / 30.48, 2, "unit", 1 / 30.48),
        ("weight", lambda x: x * 2.20462, 0, "unit", 2.20462),
        ("weight", lambda x: x * 2.20462, 1, "unit", 2.20462),
        ("pressure", lambda x: x / 7.5, 1, "unit", 1 / 7.5),
        ("pressure", lambda x: x / 10, 0, "unit", 0.1),
        ("pressure", lambda x: x * 1.8 + 32, 1, "affine_unit", 1.8),
        ("chol", np.log, 2, "log", None),
    ],
)
def test_a_conversion_is_named_though_it_was_rounded(clinic, column, convert, digits, kind, factor):
    live = patients(300, 1)
    verdict = diagnose(clinic, live.assign(**{column: convert(live[column]).round(digits)}))
    assert (verdict.kind, verdict.features) == (kind, (column,))
    if factor is not None:
        assert verdict.transformation["factor"] == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize(("column", "more"), [("age", 5), ("height", 8), ("weight", 9), ("pressure", 12)])
def test_larger_values_with_training_s_digits_are_no_rounded_unit(clinic, column, more):
    live = patients(300, 1)
    assert diagnose(clinic, live.assign(**{column: live[column] + more})).kind not in ("unit", "affine")


def test_a_year_of_birth_is_no_count_over_another_window(clinic):
    live = patients(300, 1)
    assert diagnose(clinic, live.assign(age=2026 - live.age)).kind != "window_changed"


def wards(count: int, seed: int) -> pd.DataFrame:
    """Levels that two columns know a little of."""
    rng = np.random.default_rng(seed)
    place = rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    return pd.DataFrame(
        {
            "ward": np.array(["gp", "ortho", "neuro", "onco"])[place],
            "pulse": np.round(rng.normal(68 + 5 * place, 8)),
            "lungs": np.round(rng.normal(4.5 - 0.3 * place, 0.6), 2),
            "age": rng.integers(20, 80, count),
        }
    )


@pytest.mark.parametrize("level", ["onco", "neuro"])
def test_one_level_put_in_some_rows_is_a_default_and_no_exchange(level):
    """Rows that got it look like any rows; those of the other levels look like none but their own."""
    reference, live = Reference.from_frame(wards(3000, 0)), wards(200, 5)
    some = np.random.default_rng(105).random(200) < 0.35
    filled = diagnose(reference, live.assign(ward=np.where(some, level, live.ward)))
    assert (filled.kind, filled.transformation["value"]) == ("default_fill", level)
    turned = live.ward.map({"gp": "onco", "onco": "gp", "ortho": "ortho", "neuro": "neuro"})
    assert diagnose(reference, live.assign(ward=turned)).kind == "category_relabelled"
