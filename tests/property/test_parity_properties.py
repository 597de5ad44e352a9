"""Detectors under arbitrary parameters: what was put in comes out, and undoing it gives the rows back."""

import numpy as np
import pandas as pd
import pytest
from history_rows import DAY, HOUR, history_of, served, source_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.parity import Reference, Status, diagnose
from tallystick.parity.density import fit_share, mixed, mixture_z
from tallystick.parity.detect.drawn import other_window
from tallystick.parity.detect.maps import curve_maps, scalers, scaling_maps, sign_maps, temperature_maps, unit_maps
from tallystick.parity.distribution import cdf, cdf_below, number_shares
from tallystick.parity.profile import cells_of, profile_column, profile_numbers
from tallystick.parity.yardsticks import binomial_nats

CLAIMS = (Status.CAUSE_FOUND, Status.SUSPECTED)
quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_of(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.normal(size=count)
    return pd.DataFrame(
        {
            "size": np.round(50 + 10 * size, 1),
            "price": np.exp(4 + 0.5 * size + rng.normal(0, 0.3, count)),
            "rooms": np.clip(np.round(4 + size + rng.normal(0, 0.7, count)), 1, 9).astype(int),
            "kind": np.array(["flat", "house", "villa"])[np.digitize(size + rng.normal(0, 0.6, count), [-0.3, 0.9])],
        }
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.from_frame(rows_of(2000, 0))


@quick
@given(seed=st.integers(1, 10_000))
def test_fair_samples_are_never_claimed(reference, seed):
    """The claim needs e^6 to 1 against the population; over 25 samples of 4 columns a false one is below 5 %."""
    assert diagnose(reference, rows_of(150, seed)).status not in CLAIMS


def test_powers_of_ten_are_named_with_their_factor(reference):
    """Of 48 fixed draws at most three are missed: some factors of a wide column look like another unit's."""
    named = 0
    for draw in range(48):
        power, column = (-3, -2, 2, 3)[draw % 4], ("size", "price")[draw // 4 % 2]
        live = rows_of(150, 1000 + draw)
        verdict = diagnose(reference, live.assign(**{column: live[column] * 10.0**power}))
        is_named = (verdict.kind, verdict.features) == ("unit", (column,))
        named += is_named and verdict.transformation["factor"] == pytest.approx(10.0**power)
    assert named >= 45


@quick
@given(share=st.floats(0.15, 1.0), seed=st.integers(1, 500), kind=st.sampled_from([str.upper, str.title]))
def test_letter_case_at_any_share_is_proven(reference, share, seed, kind):
    live = rows_of(150, seed)
    some = np.random.default_rng(seed).random(150) < share
    sent = live.kind.where(~some, live.kind.map(kind))
    verdict = diagnose(reference, live.assign(kind=sent))
    if some.any():
        assert (verdict.kind, verdict.status) == ("letter_case", Status.CAUSE_FOUND)
        assert verdict.share == pytest.approx(some.mean())


@quick
@given(digits=st.integers(1, 2), seed=st.integers(1, 500))
def test_lost_digits_are_counted(reference, digits, seed):
    live = rows_of(150, seed)
    verdict = diagnose(reference, live.assign(price=live.price.round(digits)))
    assert (verdict.kind, verdict.transformation["decimals"]) == ("rounded", digits)


def test_defaults_are_named_with_their_value(reference):
    """Of 48 fixed draws at most three are missed: with few of them, 0 is not far from a small price."""
    named = 0
    for draw in range(48):
        filler, share = (0.0, -1.0, -999.0)[draw % 3], 0.2 + 0.8 * draw / 47
        live = rows_of(150, 2000 + draw)
        some = np.random.default_rng(draw).random(150) < share
        verdict = diagnose(reference, live.assign(price=live.price.mask(some, filler)))
        named += (verdict.kind, verdict.transformation.get("value")) == ("default_fill", filler)
    assert named >= 45


def test_bounds_are_named_and_truncated_populations_are_not(reference):
    """Of 40 fixed draws at 40 to 100 % at most six are missed; of 40 truncated populations none is called clipped."""
    named = cut = 0
    for draw in range(40):
        live, bound, share = rows_of(260, 3000 + draw), (75.0, 95.0)[draw % 2], 0.4 + 0.6 * draw / 39
        some = np.random.default_rng(draw).random(260) < share
        verdict = diagnose(reference, live.assign(price=live.price.mask(some & (live.price > bound), bound)))
        named += (verdict.kind, verdict.transformation.get("bound")) == ("clipped", bound)
        inner = live[live.price <= bound].reset_index(drop=True)
        cut += diagnose(reference, inner).kind == "clipped"
    assert (named >= 34, cut) == (True, 0)


@quick
@given(seed=st.integers(1, 500), share=st.floats(0.3, 1.0))
def test_swapped_columns_are_found_at_any_large_share(reference, seed, share):
    live = rows_of(150, seed)
    some = np.random.default_rng(seed).random(150) < share
    verdict = diagnose(
        reference, live.assign(size=live["size"].where(~some, live.price), price=live.price.where(~some, live["size"]))
    )
    assert verdict.kind == "columns_swapped"


@given(st.lists(st.floats(0.5, 40, allow_nan=False), min_size=30, max_size=60, unique=True))
def test_each_map_is_undone_by_its_inverse(values):
    given_values = np.array(values)
    numbers = profile_numbers(given_values)
    reference = Reference.from_frame(pd.DataFrame({"a": given_values, "b": given_values[::-1] * 3}))
    maps = [*unit_maps(), *temperature_maps(), *curve_maps(numbers), *sign_maps(numbers)]
    maps += scaling_maps(reference, "a", numbers, is_standardized=False, others=scalers(reference))
    for each in maps:
        sent = each.forward(given_values)
        inside = np.isfinite(sent) & (np.abs(sent) < 1e12)
        assert np.allclose(each.inverse(sent)[inside], given_values[inside], rtol=1e-6), each
        step = 1e-6 * np.maximum(1.0, np.abs(sent))
        slope = (each.inverse(sent + step) - each.inverse(sent - step)) / (2 * step)
        assert np.allclose(np.abs(slope)[inside], each.slope(sent)[inside], rtol=1e-2, atol=1e-9), each


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=400))
def test_the_distribution_function_rises_from_nothing_to_all(values):
    numbers = profile_numbers(np.array(values))
    points = np.sort(np.concatenate((numbers.grid, [numbers.minimum - 1e7, numbers.maximum + 1e7])))
    upper, lower = cdf(numbers, points), cdf_below(numbers, points)
    assert upper[0] == 0
    assert upper[-1] == 1
    assert np.all(np.diff(upper) >= -1e-12)
    assert np.all(lower <= upper + 1e-12)


@given(
    st.lists(
        st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-5, 5)),
        min_size=1,
        max_size=200,
    )
)
def test_every_value_has_one_cell(values):
    series = pd.Series(values, dtype=object)
    profile = profile_column(series, "x")
    if profile.numbers is not None:
        cells = cells_of(profile, np.array([np.nan if v is None else float(v) for v in values]))
        assert cells.min() >= 0
        assert cells.max() <= profile.cell_count


@quick
@given(st.integers(2, 400), st.floats(1e-6, 1e3), st.floats(-5, 5), st.booleans(), st.integers(0, 99))
def test_a_number_that_lost_its_last_digits_is_training_s_number(points, step, offset, is_skewed, seed):
    """Few values (a lattice) and many (quantiles and atoms): either way, each stands where it stood in training."""
    rng = np.random.default_rng(seed)
    places = rng.geometric(0.2, 2000) if is_skewed else rng.integers(0, points, 2000)
    values = (places + offset) * step
    profile = profile_column(pd.Series(values), "x")
    assert profile.numbers is not None
    for sent in (values * (1 + 2e-12), values * (1 - 2e-12)):
        assert (cells_of(profile, sent) == cells_of(profile, values)).all()
        assert np.allclose(number_shares(profile, sent), number_shares(profile, values))
        assert np.allclose(cdf(profile.numbers, sent), cdf(profile.numbers, values))


@given(st.integers(0, 200), st.integers(1, 200), st.floats(0.001, 0.9))
def test_evidence_is_never_negative_and_grows_with_hits(hits, rows, rate):
    hits = min(hits, rows)
    assert binomial_nats(hits, rows, rate) >= 0
    if hits < rows:
        assert binomial_nats(hits + 1, rows, rate) >= binomial_nats(hits, rows, rate) - 1e-9


@quick
@given(share=st.floats(0.1, 0.9), seed=st.integers(0, 100))
def test_the_fitted_share_is_the_share(share, seed):
    rng = np.random.default_rng(seed)
    mapped = rng.random(2000) < share
    values = rng.normal(size=2000) + 6 * mapped
    ratio = -((values - 6) ** 2) / 2 + values**2 / 2
    assert fit_share(ratio[None, :])[0][0] == pytest.approx(mapped.mean(), abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_live_frame_gets_a_verdict(reference, data):
    """Whatever is sent, the answer is a verdict: no type, name or length of a column raises."""
    value = st.one_of(st.none(), st.floats(), st.integers(-(2**40), 2**40), st.text(max_size=5), st.booleans())
    rows = data.draw(st.integers(0, 40))
    names = data.draw(st.lists(st.sampled_from(["size", "price", "rooms", "kind", "other"]), unique=True, max_size=5))
    frame = pd.DataFrame(
        {name: pd.Series(data.draw(st.lists(value, min_size=rows, max_size=rows)), dtype=object) for name in names}
    )
    assert diagnose(reference, frame).status in Status


@given(weight=st.floats(0.01, 0.99), spread=st.floats(0.05, 2.0), seed=st.integers(0, 1000))
def test_a_mixture_is_not_believed_where_nothing_was_changed(weight, spread, seed):
    """The ratio of two likelihoods has mean 1 under the second, so its mixture's logarithm has a mean below 0."""
    random = np.random.default_rng(seed)
    ratio = random.normal(-(spread**2) / 2, spread, 4000)
    gain = mixed(np.full(4000, weight), ratio)
    assert gain.mean() < 4 * gain.std() / np.sqrt(4000)
    assert mixture_z(np.full(4000, weight), np.zeros(4000), ratio) < 4


@given(share=st.floats(0.2, 1.0), seed=st.integers(0, 1000))
def test_a_mixture_is_heard_at_its_own_share(share, seed):
    """At the smallest share the statistic is 7.1 on average, and 3.4 for the least of the 1,000 seeds."""
    random, rows = np.random.default_rng(seed), 16_000
    changed = random.random(rows) < share
    ratio = np.where(changed, random.normal(0.5, 1.0, rows), random.normal(-0.5, 1.0, rows))
    assert mixture_z(np.full(rows, share), np.zeros(rows), ratio) > 2


@given(counts=st.lists(st.integers(0, 60), min_size=40, max_size=80), factor=st.sampled_from([1 / 7, 0.5, 2.0, 7.0]))
def test_counts_over_another_window_stay_counts_of_that_size(counts, factor):
    moved = other_window(np.array(counts, dtype=float), factor)
    total = sum(counts) * factor
    assert np.all((moved >= 0) & (moved == np.round(moved)))
    assert abs(moved.sum() - total) <= 6 * np.sqrt(total + 1)


# -- keys, times and the source ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    return source_of()


@pytest.fixture(scope="module")
def timed(source) -> Reference:
    rows, whose, times = served(source, 2000, 1)
    return Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(source))


@quick
@given(
    lag_s=st.floats(0.5 * HOUR, 9 * DAY),
    column=st.sampled_from(["balance", "visits", "score", "tier"]),
    share=st.sampled_from([0.5, 1.0]),
    seed=st.integers(1, 500),
)
def test_any_lag_behind_the_source_is_named_to_its_resolution(source, timed, lag_s, column, share, seed):
    """A lag shorter than the time between changes may be one of a part of the rows that is longer; both are told."""
    rows, whose, times = served(source, 400, seed, {column: lag_s}, share)
    due, _, _ = served(source, 400, seed)
    verdict = diagnose(timed, rows, keys=whose, timestamps=times, history=history_of(source))
    if np.mean(rows[column] != due[column]) < 0.1:
        return
    assert (verdict.kind, verdict.features, verdict.status) == ("stale", (column,), Status.CAUSE_FOUND)
    low, high = verdict.transformation["interval"]
    assert low - 0.1 <= lag_s <= high + 0.1
    if lag_s > DAY:
        assert verdict.transformation["lag_s"] == pytest.approx(lag_s, abs=2 * HOUR)


def test_fair_rows_with_keys_and_a_source_are_never_called_stale(source, timed):
    """None of 60 fixed draws, with the source and without: the false-alarm rate is below 5 % at 95 % confidence."""
    for seed in range(60):
        rows, whose, times = served(source, 200, 3000 + seed)
        for history in (history_of(source), None):
            verdict = diagnose(timed, rows, keys=whose, timestamps=times, history=history)
            assert verdict.kind != "stale"
            assert verdict.status not in CLAIMS


def test_keys_of_one_kind_only_are_never_called_stale(source, timed):
    """Of 15 fixed draws of the richer half none: whoever is asked about, values are the source's of the moment."""
    for seed in range(15):
        rows, whose, times = served(source, 400, 4000 + seed)
        rich = (rows.balance > rows.balance.median()).to_numpy()
        for history in (history_of(source), None):
            verdict = diagnose(timed, rows[rich], keys=whose[rich], timestamps=times[rich], history=history)
            assert verdict.status not in CLAIMS


@settings(quick, max_examples=8)
@given(lag_s=st.floats(HOUR, 5 * DAY), seed=st.integers(1, 500))
def test_a_feature_that_does_not_change_within_the_lag_is_not_called_stale(lag_s, seed):
    still = source_of(1, customers=40, slow=("balance",))
    rows, whose, times = served(still, 1000, 1)
    reference = Reference.from_frame(rows, keys=whose, timestamps=times, history=history_of(still))
    live, customers, at = served(still, 200, seed, {"balance": lag_s})
    verdict = diagnose(reference, live, keys=customers, timestamps=at, history=history_of(still))
    assert verdict.status not in CLAIMS


@settings(quick, max_examples=8)
@given(seed=st.integers(1, 500), has_history=st.booleans())
def test_the_order_of_rows_says_nothing_where_keys_and_times_do(source, timed, seed, has_history):
    rows, whose, times = served(source, 400, seed, {"balance": DAY})
    mixed = np.random.default_rng(seed).permutation(len(rows))
    history = history_of(source) if has_history else None
    one = diagnose(timed, rows, keys=whose, timestamps=times, history=history)
    other = diagnose(timed, rows.iloc[mixed], keys=whose[mixed], timestamps=times[mixed], history=history)
    assert (one.kind, one.features, one.transformation) == (other.kind, other.features, other.transformation)
    assert one.share == pytest.approx(other.share)
