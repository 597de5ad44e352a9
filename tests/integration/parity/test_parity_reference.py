"""The reference as a file, its privacy, its lint, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info

from tallystick.errors import InvalidParameter
from tallystick.parity import History, Reference, Status, diagnose, joint
from tallystick.parity.profile import cells_of, profile_column
from tallystick.parity.reference import parse_column
from tallystick.parity.words import headline


def test_a_saved_reference_judges_alike(tmp_path, reference, live):
    loaded = Reference.load(reference.save(tmp_path / "parity"))
    assert sorted(path.name for path in (tmp_path / "parity").iterdir()) == [
        "golden.parquet",
        "joint.npz",
        "reference.msgpack",
    ]
    broken = live.assign(fare=live.fare * 100)
    for rows in (live, broken):
        assert diagnose(loaded, rows).kind == diagnose(reference, rows).kind
    assert diagnose(Reference.from_bytes(reference.to_bytes()), broken).kind == "unit"


def test_a_damaged_reference_is_refused(tmp_path, reference):
    with pytest.raises(InvalidParameter, match="not a parity reference"):
        Reference.from_bytes(b"PK")
    folder = reference.save(tmp_path)
    (folder / "joint.npz").unlink()
    with pytest.raises(InvalidParameter, match=r"joint\.npz"):
        Reference.load(folder)
    folder = reference.save(tmp_path)
    (folder / "reference.msgpack").write_bytes(b"\x93")
    with pytest.raises(InvalidParameter):
        Reference.load(folder)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame([[1, 2]], columns=["a", "a"]), [1]]
)
def test_what_is_no_training_frame_is_refused(frame):
    with pytest.raises(InvalidParameter):
        Reference.from_frame(frame)


def test_all_faults_of_privacy_options_are_told(training):
    with pytest.raises(InvalidParameter, match=r"'secret'.*nowhere"):
        Reference.from_frame(training, privacy={"temp": "secret", "nowhere": "raw"})


def test_private_values_are_in_no_file(training):
    frame = training.assign(name=[f"Person {k}" for k in range(len(training))])
    reference = Reference.from_frame(frame, privacy={"name": "none", "fare": "bucketed"})
    block = reference.to_bytes().decode("latin-1")
    assert "Person 1" not in block
    assert list(reference.rows.columns) == [name for name in frame if name not in ("name", "fare")]
    assert any("name" in line for line in reference.degraded)


def test_levels_of_few_rows_are_kept_as_digests_only(training):
    frame = training.assign(season=np.where(np.arange(len(training)) < 3, "eclipse", training.season))
    reference = Reference.from_frame(frame, k_anonymity=10)
    assert "eclipse" not in reference.column("season").levels.levels


def test_a_scaler_left_in_the_notebook_is_seen_at_capture(training):
    numbers = training[["temp", "distance", "fare"]]
    reference = Reference.from_frame((numbers - numbers.mean()) / numbers.std(ddof=0))
    assert "already standardised" in reference.lint[0]
    sent = training[["temp", "distance", "fare"]].sample(200, random_state=0).reset_index(drop=True)
    verdict = diagnose(reference, sent)
    assert (verdict.kind, set(verdict.features)) == ("not_standardized", {"temp", "distance", "fare"})


def test_names_that_read_as_something_else_are_in_quotes_in_what_is_seen_at_capture(training):
    numbers = training[["temp", "distance", "fare"]].set_axis(["temp, °C", "way and back", "fare"], axis=1)
    scaled = Reference.from_frame((numbers - numbers.mean()) / numbers.std(ddof=0))
    assert scaled.lint[0].startswith("'temp, °C', 'way and back', fare: already standardised")
    label = (training.fare > 8).astype(int)
    odd = Reference.from_frame(training.assign(**{"paid: late": label, "5": 1}), y=label)
    assert any(line.startswith("'paid: late': ranks the label") for line in odd.lint)
    assert "'5': constant in training" in odd.lint
    verdict = diagnose(scaled, ((numbers - numbers.mean()) / numbers.std(ddof=0)).head(100)[["fare"]])
    assert any(each.text == "not sent: 'temp, °C', 'way and back'" for each in verdict.evidence)


def test_a_column_that_knows_the_label_is_seen_at_capture(training):
    label = (training.fare > 8).astype(int)
    reference = Reference.from_frame(training.assign(paid_late=label), y=label)
    assert any(line.startswith("paid_late: ranks the label") for line in reference.lint)
    absent = training.head(150).assign(paid_late=np.nan)
    assert diagnose(reference, absent).kind == "feature_absent"
    assert diagnose(reference, training.head(150).assign(paid_late=0)).kind in ("feature_absent", "default_fill")
    assert diagnose(reference, training.head(150).assign(paid_late=-1)).kind == "feature_absent"


def test_golden_rows_cover_levels_and_extremes(reference, training):
    assert set(reference.rows.season) == set(training.season)
    assert reference.rows.distance.max() == training.distance.max()
    assert 256 <= len(reference.rows) <= 512


def test_what_was_not_captured_is_said_in_every_verdict(reference, live):
    assert any("no model" in line for line in diagnose(reference, live).degraded)


def test_wide_frames_stay_small():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(2000, 50)), columns=[f"f{k}" for k in range(50)])
    assert len(Reference.from_frame(frame).to_bytes()) < 1_000_000


def test_golden_rows_with_a_rare_level_are_left_out(training):
    frame = training.assign(season=np.where(np.arange(len(training)) < 3, "eclipse", training.season))
    reference = Reference.from_frame(frame, model=lambda rows: rows.temp, y=frame.temp > 20, k_anonymity=10)
    assert "eclipse" not in set(reference.rows.season)
    assert len(reference.predictions) == len(reference.labels) == len(reference.rows)
    assert any("golden rows left out" in line for line in reference.degraded)


def test_predictions_are_on_the_scale_that_is_served(training):
    from sklearn.linear_model import LogisticRegression

    rows, labels = training[["temp"]].fillna(0), (training.temp > 20).astype(int)
    model = LogisticRegression().fit(rows, labels)
    reference = Reference.from_frame(rows, model, labels, predict=model.predict)
    assert set(reference.predictions) == {0.0, 1.0}
    assert reference.evaluation.metric == "accuracy"
    assert Reference.from_frame(rows, model, labels).evaluation.metric == "auc"


def test_a_scaler_behind_a_step_without_names_is_found(training):
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inner = make_pipeline(SimpleImputer(), StandardScaler())
    model = ColumnTransformer([("num", inner, ["fare", "temp"])]).fit(training)
    reference = Reference.from_frame(training, model, predict=lambda rows: rows.temp)
    assert [scaler.column for scaler in reference.scalers] == ["fare", "temp"]


def test_dependence_is_counted_by_halves_that_add_up(training):
    """Each half is needed for itself, so that all rows are counted once."""
    profiles = tuple(profile_column(training[name], name) for name in training.columns)
    values = [parse_column(profile, training[profile.name]) for profile in profiles]
    fitted = joint.fit_joint(profiles, values)
    cells = [cells_of(profile, column) for profile, column in zip(profiles, values, strict=True)]
    scores, _ = joint.scores_of(profiles, fitted.embeddings, values, cells, fitted.folded)
    for profile, own, means in zip(profiles, cells, fitted.means, strict=True):
        np.testing.assert_allclose(means, joint.cell_means(own, scores, profile.cell_count), atol=1e-12)


def test_small_matrices_are_one_thread_s_work():
    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = threads()
    with joint.one_thread():
        assert threads() == {1}
    assert threads() == before


def test_what_does_not_belong_to_the_rows_is_refused_at_capture(training):
    y = training.iloc[:, 0]
    for arguments, told in (
        ({"y": y[:-1]}, f"y has {len(y) - 1} entries, expected {len(y)}"),
        ({"y": [*y, *y]}, f"y has {2 * len(y)} entries"),
        ({"y": 5}, "y: expected a label for each row, got int"),
        ({"eval_data": (training, [1, 2])}, "eval_data has 2 entries"),
        ({"eval_data": training}, "eval_data: expected a pair"),
        ({"privacy": ["none"]}, "privacy: expected one of raw"),
        ({"timestamps": 5}, "timestamps: expected an entry for each row"),
    ):
        with pytest.raises(InvalidParameter, match=told):
            Reference.from_frame(training, **arguments)
    with pytest.raises(InvalidParameter, match="expected a pandas DataFrame"):
        Reference.from_frame(None)


def test_what_does_not_belong_to_live_rows_is_refused(reference, live):
    twice = pd.DataFrame([["a", "b"]] * len(live), columns=["client", "client"])
    for arguments, told in (
        ({"segments": 5}, "segments: expected an entry for each row, or the name of a column, got int"),
        ({"segments": [["a"]] * len(live)}, "segments: expected one value for each row"),
        ({"segments": twice}, "segments: column 'client' stands twice"),
        ({"segments": {"client": ["a"]}}, "segments has 1 entries"),
        ({"segments": {"client": ["a"], "app": ["b", "c"]}}, "segments: expected a frame"),
        ({"timestamps": 5}, "timestamps: expected an entry for each row"),
        ({"keys": 5}, "keys: expected an entry for each row"),
    ):
        with pytest.raises(InvalidParameter, match=told):
            diagnose(reference, live, **arguments)


def test_segments_may_be_a_dict_of_columns(reference, live):
    some = np.arange(len(live)) % 3 == 0
    broken = live.assign(fare=live.fare.where(~some, live.fare * 100))
    verdict = diagnose(reference, broken, segments={"client": np.where(some, "ios", "web")})
    assert verdict.segment["value"] == "ios"


def test_no_rows_tell_nothing(reference, live):
    for rows in (pd.DataFrame(), live.head(0)):
        verdict = diagnose(reference, rows)
        assert verdict.status is Status.CANNOT_TELL
        assert (headline(verdict), verdict.settle) == ("There are no rows to judge.", ("30 rows or more",))
        assert "names and order of columns" not in verdict.ruled_out


def test_a_source_with_a_column_twice_is_refused():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["id", "at", "x", "x"])
    for names in (["id", "at", "x", "x"], ["id", "at", "at", "x"]):
        with pytest.raises(InvalidParameter, match="stand twice"):
            History(frame.set_axis(names, axis=1), "id", "at")
    with pytest.raises(InvalidParameter, match="expected keys to be"):
        History(frame, 5, "at")


@pytest.mark.parametrize("option", ["hashed", "bucketed"])
def test_resolution_and_frequent_values_that_privacy_rounds_away_are_no_fault(option):
    def rows(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return pd.DataFrame(
            {
                "rate": rng.normal(200, 50, 1000),
                "age": rng.integers(18, 90, 1000).astype(float),
                "site": np.full(1000, 77123.456),
                "started": np.full(1000, pd.Timestamp("2017-07-17 17:17:17")),
            }
        )

    reference = Reference.from_frame(rows(0), privacy=option)
    assert diagnose(reference, rows(1)).status not in (Status.CAUSE_FOUND, Status.SUSPECTED)
    # A default far from anything in training is one still.
    filled = rows(1)
    filled.loc[::2, "age"] = -999.0
    verdict = diagnose(reference, filled)
    assert (verdict.kind, verdict.features) == ("default_fill", ("age",))
