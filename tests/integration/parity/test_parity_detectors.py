"""Faults of value: named exactly, with their parameters; and not named where nothing is wrong."""

import numpy as np
import pandas as pd
import pytest

from tallystick.parity import Reference, Status, diagnose, inquire
from tallystick.parity.detect.finding import Finding
from tallystick.parity.detect.schema import read_live

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)


def _column(frame, column, function):
    return frame.assign(**{column: function(frame[column].astype(float))})


MAPS = [
    ("unit", "fare", lambda x: x * 100, {"factor": 100.0}),
    ("unit", "distance", lambda x: x * 1.609344, {"factor": 1.609344}),
    ("unit", "humidity", lambda x: x / 100, {"factor": 0.01}),
    ("affine_unit", "temp", lambda x: x * 1.8 + 32, {"factor": 1.8, "offset": 32.0}),
    ("log", "distance", np.log1p, {"base": "e"}),
    ("log", "fare", np.log10, {"base": "10"}),
    ("sign_flip", "fare", np.negative, {}),
    ("affine", "fare", lambda x: 1.37 * x + 41, {"factor": 1.37}),
    ("rounded", "distance", lambda x: x.round(1), {"decimals": 1}),
    ("lossy_cast", "fare", np.trunc, {"decimals": 0}),
    ("float32", "distance", lambda x: x.astype(np.float32).astype(float), {"bits": 32}),
    ("clipped", "distance", lambda x: x.clip(upper=5.5), {"bound": 5.5}),
]


@pytest.mark.parametrize(("kind", "column", "function", "parameters"), MAPS)
def test_a_map_of_all_rows_is_named(reference, live, kind, column, function, parameters):
    verdict = diagnose(reference, _column(live, column, function))
    assert (verdict.kind, verdict.features) == (kind, (column,))
    assert verdict.status in CLAIMS
    for name, value in parameters.items():
        assert verdict.transformation[name] == (pytest.approx(value, rel=0.02) if isinstance(value, float) else value)


def test_standardisation_by_the_columns_own_constants(reference, training, live):
    mean, sd = training.temp.mean(), training.temp.std()
    verdict = diagnose(reference, _column(live, "temp", lambda x: (x - mean) / sd))
    assert verdict.kind == "standardized"
    assert verdict.transformation["mean"] == pytest.approx(mean, rel=0.01)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_standardisation_of_counts_of_which_many_are_zero(share):
    rng = np.random.default_rng(3)

    def rows(count):
        size = rng.normal(size=count)
        near = size + 0.5 * rng.normal(size=count)
        return pd.DataFrame({"count": rng.poisson(np.exp(0.3 + 0.6 * size)).astype(float), "near": near})

    training, live = rows(4000), rows(200)
    # A scaler that saw somewhat other rows than the reference did.
    mean, sd = 1.01 * training["count"].mean(), 0.99 * training["count"].std()
    scaled = (live["count"] - mean) / sd
    sent = live.assign(count=scaled.where(rng.random(200) < share, live["count"]))
    assert diagnose(Reference.from_frame(training), sent).kind == "standardized"


def test_minmax_by_the_columns_own_range(reference, training, live):
    low, high = training.fare.min(), training.fare.max()
    assert diagnose(reference, _column(live, "fare", lambda x: (x - low) / (high - low))).kind == "minmax_scaled"


def test_the_scaler_of_another_column(reference, training, live):
    mean, sd = training.humidity.mean(), training.humidity.std()
    verdict = diagnose(reference, _column(live, "temp", lambda x: (x - mean) / sd))
    assert (verdict.kind, verdict.transformation["column"]) == ("wrong_scaler", "humidity")


def test_a_share_of_rows_in_another_unit(reference, live):
    some = np.random.default_rng(0).random(200) < 0.3
    verdict = diagnose(reference, live.assign(fare=live.fare.where(~some, live.fare * 100)))
    assert (verdict.kind, verdict.features) == ("unit", ("fare",))
    assert verdict.share == pytest.approx(some.mean(), abs=0.05)


def test_several_columns_of_one_cause_are_one_verdict(reference, live):
    verdict = diagnose(reference, live.assign(fare=live.fare * 100, distance=live.distance * 100))
    assert (verdict.kind, set(verdict.features)) == ("unit", {"fare", "distance"})


def test_swapped_columns(reference, live):
    verdict = diagnose(reference, live.assign(temp=live.humidity, humidity=live.temp))
    assert (verdict.kind, set(verdict.features)) == ("columns_swapped", {"temp", "humidity"})


def test_hours_of_another_zone_though_hours_are_uniform(reference, live):
    verdict = diagnose(reference, live.assign(hour=(live.hour + 5) % 24))
    assert (verdict.kind, verdict.features, verdict.transformation["hours"]) == ("time_zone", ("hour",), 5)


def test_exchanged_codes_are_seen_by_the_other_columns(reference, live):
    turned = {"spring": "summer", "summer": "autumn", "autumn": "winter", "winter": "spring"}
    verdict = diagnose(reference, live.assign(season=live.season.map(turned)))
    assert verdict.kind == "category_relabelled"
    assert verdict.transformation["map"] == turned


@pytest.mark.parametrize("value", [0.0, -999.0, "mean"])
def test_a_default_for_some_rows(reference, training, live, value):
    filler = float(training.fare.mean()) if value == "mean" else value
    some = np.random.default_rng(0).random(200) < 0.3
    verdict = diagnose(reference, live.assign(fare=live.fare.mask(some, filler)))
    assert verdict.kind == "default_fill"
    assert verdict.transformation["value"] == pytest.approx(filler)


def test_missing_values_where_training_had_none(reference, live):
    some = np.random.default_rng(0).random(200) < 0.3
    verdict = diagnose(reference, live.assign(temp=live.temp.mask(some)))
    assert (verdict.kind, verdict.status) == ("nulls", Status.CAUSE_FOUND)


def test_one_value_for_all_rows(reference, live):
    assert diagnose(reference, live.assign(distance=3.21)).kind == "constant"


def test_values_of_other_rows(reference, live):
    moved = live.fare.sample(frac=1, random_state=0).to_numpy()
    verdict = diagnose(reference, live.assign(fare=moved))
    assert verdict.kind == "stale"
    assert verdict.status is Status.SUSPECTED


def test_a_lag_of_rows_is_measured(reference, live):
    verdict = diagnose(reference, live.assign(temp=live.temp.shift(3).bfill()))
    assert (verdict.kind, verdict.transformation.get("lag_rows")) == ("stale", 3)


def test_fair_samples_are_consistent(reference, fair_samples):
    """False-alarm rate stated: 1 % for any flagged column, none claimed as a fault; 40 samples, fixed seeds."""
    verdicts = [diagnose(reference, sample) for sample in fair_samples]
    assert not [verdict for verdict in verdicts if verdict.status in CLAIMS]
    assert sum(verdict.status is not Status.CONSISTENT for verdict in verdicts) <= 2


@pytest.mark.parametrize(
    "choose",
    [
        lambda f: f[f.season == "summer"],
        lambda f: f[f.temp > 15],
        lambda f: f[f.fare > f.fare.median()],
        lambda f: f[(f.hour >= 7) & (f.hour <= 11)],
        lambda f: pd.concat([f, f.head(80)], ignore_index=True),
    ],
)
def test_other_rows_of_the_same_population_are_no_fault(reference, fair_samples, choose):
    rows = choose(pd.concat(fair_samples[:6], ignore_index=True)).head(250).reset_index(drop=True)
    assert diagnose(reference, rows).status in (Status.POPULATION_CHANGED, Status.CONSISTENT)


def test_a_slice_is_told_as_one(reference, fair_samples):
    rows = pd.concat(fair_samples[:6], ignore_index=True)
    verdict = diagnose(reference, rows[rows.season == "summer"].head(200).reset_index(drop=True))
    assert verdict.kind == "subpopulation"
    assert verdict.transformation == {"column": "season", "value": "summer"}


@pytest.mark.parametrize(("in_training", "is_kept"), [(0.0, True), (0.01, True), (0.1, False)])
def test_what_training_shows_as_well_is_no_fault(reference, live, monkeypatch, in_training, is_kept):
    """A holiday on a weekday looks like two flags exchanged, in golden rows as in live ones."""
    sent, _ = read_live(reference, live)

    def swap(share: float, rows: int) -> Finding:
        return Finding(
            "columns_swapped", ("temp", "humidity"), {}, share, 20.0, False, (), np.ones(rows, dtype=bool), gain=20.0
        )

    def asked(control, i, j):
        assert control.rows == len(reference.rows)
        return swap(in_training, control.rows) if in_training else None

    monkeypatch.setattr(inquire, "swapped", asked)
    monkeypatch.setattr(inquire, "over_training", lambda *_: 9.0)
    assert bool(inquire._not_in_training(sent, [swap(0.11, 200)])) == is_kept
    assert inquire._not_in_training(sent, [swap(0.99, 200)])


def _wide(rows: int, seed: int) -> pd.DataFrame:
    """Thirty columns that go with each other: amounts with two digits, and counts."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    table = {}
    for k in range(30):
        base = hidden[:, k % 3] + rng.normal(size=rows)
        table[f"c{k}"] = rng.poisson(np.exp(1 + 0.5 * base)) if k % 5 == 4 else np.round(50 * np.exp(0.5 * base), 2)
    return pd.DataFrame(table)


@pytest.mark.parametrize("kind", ["unit", "sign_flip"])
def test_a_cause_is_told_of_all_columns_though_detectors_are_asked_in_some(monkeypatch, kind):
    monkeypatch.setattr(inquire, "LOOKS_A_ROUND", 3)
    live = _wide(300, 1)
    verdict = diagnose(Reference.from_frame(_wide(3000, 0)), {"unit": live * 100, "sign_flip": -live}[kind])
    assert verdict.kind == kind
    assert len(verdict.features) >= 28
