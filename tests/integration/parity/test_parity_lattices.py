"""Numbers of few values, of many equal ones, and of few digits: which map leads back to exactly these."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose

#: A test score has values at uneven steps.
SCORES = np.unique(np.round(400 + 90 * np.sinh(np.linspace(-1.6, 1.6, 41)) / 2))


def pupils(count: int, seed: int) -> pd.DataFrame:
    """Scores at uneven steps, whole years, calls, wages of which a fifth are 0, and sums over calls."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, 1, count)
    calls = 1 + rng.poisson(np.exp(0.5 + 0.3 * skill))
    return pd.DataFrame(
        {
            "score": SCORES[np.clip(np.round(20 + 7 * skill + rng.normal(0, 3, count)), 0, 40).astype(int)],
            "age": np.round(np.clip(rng.normal(38 + 2 * skill, 12, count), 18, 70)),
            "calls": calls,
            "wage": np.where(rng.random(count) < 0.2, 0.0, np.round(np.exp(rng.normal(3 + 0.3 * skill, 0.5)), 3)),
            "minutes": np.round(calls * rng.gamma(6, 1.5, count), 1),
            "load": np.round(rng.gamma(5, 0.5, count), 2),
            "kind": np.where(rng.random(count) < 1 / (1 + np.exp(-skill)), "a", "b"),
        }
    )


@pytest.fixture(scope="module")
def trained() -> pd.DataFrame:
    return pupils(3000, 0)


@pytest.fixture(scope="module")
def known(trained) -> Reference:
    return Reference.from_frame(trained)


@pytest.fixture(scope="module")
def sent() -> pd.DataFrame:
    return pupils(200, 1)


def some_rows(share: float) -> np.ndarray:
    return np.random.default_rng(5).random(200) < share


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_line_through_values_at_uneven_steps_is_found_exactly(known, sent, share):
    verdict = diagnose(known, sent.assign(score=sent.score.mask(some_rows(share), 2.9 * sent.score + 53.1423)))
    assert (verdict.kind, verdict.features) == ("affine", ("score",))
    assert verdict.transformation["factor"] == pytest.approx(2.9)
    assert verdict.transformation["offset"] == pytest.approx(53.1423)


def test_raw_values_among_scaled_ones_are_told_by_the_line_through_them(trained, sent):
    mean, sd = trained.score.mean(), trained.score.std()
    reference = Reference.from_frame(trained.assign(score=(trained.score - mean) / sd))
    verdict = diagnose(reference, sent.assign(score=((sent.score - mean) / sd).mask(some_rows(0.3), sent.score)))
    assert (verdict.kind, verdict.features) == ("not_standardized", ("score",))
    assert verdict.transformation["factor"] == pytest.approx(sd)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_scaling_twice_is_told_however_the_deviation_was_counted(trained, known, sent, ddof, share):
    mean, sd = trained.age.mean(), trained.age.std(ddof=ddof)
    twice = ((sent.age - mean) / sd - mean) / sd
    verdict = diagnose(known, sent.assign(age=sent.age.mask(some_rows(share), twice)))
    assert (verdict.kind, verdict.features) == ("standardized_twice", ("age",))


def test_raw_whole_numbers_among_logarithms_are_an_exponential(trained, sent):
    reference = Reference.from_frame(trained.assign(age=np.log(trained.age)))
    verdict = diagnose(reference, sent.assign(age=np.log(sent.age).mask(some_rows(0.3), sent.age)))
    assert (verdict.kind, verdict.features) == ("exp", ("age",))


@pytest.mark.parametrize("lowered", [3, 10])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_counts_less_a_constant_are_no_flipped_sign(known, sent, lowered, share):
    verdict = diagnose(known, sent.assign(calls=sent.calls - lowered * some_rows(share)))
    assert (verdict.kind, verdict.features) == ("affine", ("calls",))
    assert verdict.transformation["offset"] == -lowered


def test_a_default_that_another_columns_scaler_could_give_is_a_default(known, sent):
    verdict = diagnose(known, sent.assign(wage=sent.wage.mask(some_rows(0.3), -1.0)))
    assert (verdict.kind, verdict.features, verdict.transformation["value"]) == ("default_fill", ("wage",), -1.0)


def test_a_line_through_a_column_that_is_often_zero_meets_the_zeros(known, sent):
    verdict = diagnose(known, sent.assign(wage=0.62 * sent.wage - 55))
    assert (verdict.kind, verdict.features) == ("affine", ("wage",))
    assert verdict.transformation["offset"] == pytest.approx(-55)


def test_lost_digits_show_beside_values_that_never_had_any(known, sent):
    verdict = diagnose(known, sent.assign(wage=sent.wage.mask(some_rows(0.3), sent.wage.round(1))))
    assert (verdict.kind, verdict.features, verdict.transformation["decimals"]) == ("rounded", ("wage",), 1)


def test_whole_numbers_are_cut_or_rounded_as_training_makes_likelier(known, sent):
    assert diagnose(known, sent.assign(load=sent.load.round())).kind == "rounded"
    assert diagnose(known, sent.assign(load=np.trunc(sent.load))).kind == "lossy_cast"


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_means_for_sums_are_told_in_all_rows_and_in_some(known, sent, share):
    means = (sent.minutes / sent.calls).round(3)
    verdict = diagnose(known, sent.assign(minutes=sent.minutes.mask(some_rows(share), means)))
    assert (verdict.kind, verdict.features) == ("aggregate_changed", ("minutes",))
    assert verdict.transformation["by"] == "calls"
    assert verdict.share == pytest.approx(share, abs=0.15)


def test_32_bit_floats_that_are_often_zero_are_no_unit(known, sent):
    verdict = diagnose(known, sent.assign(wage=sent.wage.astype(np.float32).astype(float)))
    assert (verdict.kind, verdict.features) == ("float32", ("wage",))


@pytest.mark.parametrize("privacy", ["bucketed", "hashed"])
def test_fair_samples_are_consistent_with_what_privacy_keeps(trained, privacy):
    reference = Reference.from_frame(trained, privacy=privacy)
    for seed in range(2, 8):
        verdict = diagnose(reference, pupils(200, seed))
        # One column in a hundred samples may differ all the same.
        assert verdict.status is Status.CONSISTENT, (seed, verdict.features)


def test_a_unit_is_told_with_what_privacy_keeps(trained, sent):
    reference = Reference.from_frame(trained, privacy="bucketed")
    verdict = diagnose(reference, sent.assign(load=sent.load * 1000))
    assert (verdict.kind, verdict.features) == ("unit", ("load",))


@pytest.mark.parametrize(
    ("factor", "digits", "name"), [(0.868976, 1, "1 / mph in a knot"), (1.609344, 0, "km in a mile")]
)
def test_of_factors_that_rounding_allows_the_one_that_meets_training_exactly_is_named(
    factor: float, digits: int, name: str
) -> None:
    """Miles per hour that were made from whole knots, sent as knots: metres in a yard are near, too."""

    def winds(rows: int, seed: int) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        wind = (random.gamma(4, 2.3, rows).round().clip(3, 37) * 1.15078).round(5)
        return pd.DataFrame({"wind": wind, "gust": (wind * 1.3 + random.normal(0, 3, rows)).round(1)})

    reference = Reference.from_frame(winds(4000, 0))
    live = winds(300, 1)
    found = diagnose(reference, live.assign(wind=(live["wind"] * factor).round(digits)))
    assert (found.kind, found.features, found.transformation["name"]) == ("unit", ("wind",), name)


def winds(count: int, seed: int, step: float) -> pd.DataFrame:
    """Whole numbers of one unit, kept in another, and a column that goes with them."""
    rng = np.random.default_rng(seed)
    force = rng.normal(0, 1, count)
    whole = np.clip(np.round(10 + 5 * force + rng.normal(0, 2.5, count)), 0, None)
    return pd.DataFrame(
        {"wind": (whole * step).round(5), "other": 50 + 4 * force, "kind": rng.choice(list("abc"), count)}
    )


@pytest.mark.parametrize("step", [1.15078, 5 / 9, 0.3048], ids=["mph of knots", "°C of °F", "metres of feet"])
def test_rounding_of_a_converted_column_is_no_other_unit(step):
    whole, clear = winds(200, 1, step), np.random.default_rng(3).random(200) < 0.3
    reference = Reference.from_frame(winds(4000, 0, step))
    verdict = diagnose(reference, whole.assign(wind=whole.wind.round()))
    assert (verdict.status, verdict.kind, verdict.features) == (Status.CAUSE_FOUND, "rounded", ("wind",))
    # In few rows a cast is as likely as rounding.
    verdict = diagnose(reference, whole.assign(wind=whole.wind.round().where(clear, whole.wind)))
    assert verdict.kind in {"rounded", "lossy_cast"}


@pytest.mark.parametrize("factor", [1 / 1.150779448, 0.9144, 2.54])
def test_a_unit_stays_a_unit_where_training_was_converted_from_another(factor):
    sent = winds(200, 1, 1.15078)
    verdict = diagnose(Reference.from_frame(winds(4000, 0, 1.15078)), sent.assign(wind=sent.wind * factor))
    assert (verdict.status, verdict.kind) == (Status.CAUSE_FOUND, "unit")


@pytest.mark.parametrize("column", ["age", "calls", "score"])
def test_squares_of_whole_numbers_are_squares(known, column):
    """Whole numbers squared are whole too, as other units and counts of other windows are; 0 stays what it is."""
    sent = pupils(200, 31)
    verdict = diagnose(known, sent.assign(**{column: sent[column] ** 2}))
    assert (verdict.kind, verdict.features) == ("step_differs", (column,))
    assert verdict.transformation["function"] == "square"
